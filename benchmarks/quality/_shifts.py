"""Data sets whose rows come from two places: labels are had in the old one, texts in the new."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks._common import data_dir, embed
from benchmarks.quality import _llm_sets
from benchmarks.quality._domains import CLASSES, embed_domains, llm_scorer, load_domains
from benchmarks.quality._llm_sets import one_hot

#: Texts of each sentiment domain, all of which the embedded LLM is asked about, and how many
#: domains are old.
_PER_DOMAIN, _N_OLD_DOMAINS = 50, 3
#: On these the two remedies were made; no table shows them.
_MADE_ON = ("airline", "blog", "kitchen")
LEANINGS = ("left", "center", "right")
BABE_SAME, BABE_OTHER = "BABE: left and right", "BABE: centre and the rest"
#: Rows of a set that one place gives at most.
_MOST = 600


@dataclass
class Shift:
    """Rows of an old place, of which some are labelled, and of new ones.

    Shifts of one ``family`` are of the same texts. ``E`` (n, d) are embeddings, ``scores`` (n, K)
    the LLM's, ``y`` (n,) classes or (n, K) labels, ``old`` (n,) bool, and ``new`` has one or
    several (n,) bool by the name of the new place.
    """

    family: str
    E: np.ndarray
    scores: np.ndarray
    y: np.ndarray
    old: np.ndarray
    new: dict


def shifts(seed, part, *, shown=True):
    """Yield the shifts of one draw: those a table shows, or those the remedies were made on.

    ``part`` is "sentiment", which asks the embedded LLM about 350 texts, "recorded", all others,
    or "few", one of them.
    """
    if part == "few":
        yield from _by_outlet(("gpt_4__0shot",), ("left",))
    elif part == "sentiment":
        yield from _sentiment(seed, shown)
    elif shown:
        yield from _by_outlet(("gpt_4__0shot", "falcon_7b__0shot"), LEANINGS)
        yield from _by_agency()
        yield from _by_date()
    else:
        yield from _by_outlet(("zephyr__0shot", "flan_t5_large__0shot_cot"), LEANINGS)


def _sentiment(seed, shown):
    """Three domains to others, and film sentences with ChatGPT's votes to all of them."""
    domains = load_domains(_PER_DOMAIN)
    names = np.array(list(domains))
    texts = [text for texts, _ in domains.values() for text in texts]
    y = np.concatenate([y for _, y in domains.values()])
    E = np.concatenate(list(embed_domains(domains).values()))
    where = np.repeat(names, [len(labels) for _, labels in domains.values()])
    first = np.random.default_rng(seed).choice(names, _N_OLD_DOMAINS, False)
    old = np.isin(where, first)
    asked = llm_scorer().fit([text for text, known in zip(texts, old, strict=True) if known])
    scores = np.asarray(asked.transform(texts))
    targets = [name for name in names if (name in _MADE_ON) != shown]
    new = {f"domains: {name}": [where == name] for name in targets if name not in first}
    yield Shift("sentiment", E, scores, y, old, new)

    films = next(one for one in _llm_sets.load(data_dir()) if one.name == "MR")
    n = _MOST
    votes = np.vstack([films.votes[0][:n], one_hot(scores.argmax(axis=1), len(CLASSES))])
    there = np.concatenate([np.full(n, "MR"), where])
    yield Shift(
        "sentiment",
        np.vstack([embed(films.texts[:n]), E]),
        votes,
        np.concatenate([films.y[:n], y]),
        there == "MR",
        {"film sentences to reviews, other LLM": [there == name for name in targets]},
    )


def _by_outlet(llms, leanings):
    """News sentences of outlets of one leaning to those of the others."""
    rows = pd.read_parquet(data_dir() / "llm/babe_llm_votes.parquet")
    rows = rows[rows.outlet_leaning.notna()]
    E, y, where = embed(rows.text), rows.gold.to_numpy(dtype=int), rows.outlet_leaning.to_numpy()
    for llm in llms:
        votes = one_hot(rows[llm].fillna(-1), 2)
        for old in leanings:
            # sentences of outlets in the centre are seldom labelled as biased, others mostly
            new = {BABE_SAME: [], BABE_OTHER: []}
            for name in np.unique(where):
                kind = BABE_OTHER if "center" in (old, name) else BABE_SAME
                new[kind] += [where == name] if name != old else []
            new = {kind: places for kind, places in new.items() if places}
            yield Shift("BABE", E, votes, y, where == old, new)


def _by_agency():
    """News that name their agency to others, and the other way round."""
    data = next(one for one in _llm_sets.load(data_dir()) if one.name == "AG News")
    wire = pd.Series(data.texts).str.contains(r"\b(?:Reuters|AP|AFP)\b").to_numpy()
    E = embed(data.texts)
    yield Shift(
        "AG News", E, data.votes[0], data.y, wire, {"AG News: agencies to others": [~wire]}
    )
    yield Shift(
        "AG News", E, data.votes[0], data.y, ~wire, {"AG News: others to agencies": [wire]}
    )


def _by_date():
    """Reuters up to early April 1987 to later months; made-up commodity news by their date."""
    sets = {one.name: one for one in _llm_sets.load(data_dir()) if one.multilabel}
    reuters, commodity = sets["Reuters"], sets["Commodity"]
    parts = [
        pd.read_parquet(data_dir() / f"replay/{name}.parquet", columns=["row_id"])
        for name in ("reuters_val", "reuters_test_shared")
    ]
    # their numbers run with the date; the official split is one of date too
    number = pd.concat(parts).row_id.str.partition("/")[2].to_numpy(dtype=int)
    late = number >= np.quantile(number[reuters.test], 0.5)
    new = {
        "Reuters: next months": [reuters.test & ~late],
        "Reuters: last months": [reuters.test & late],
    }
    yield Shift("Reuters", embed(reuters.texts), reuters.votes[0], reuters.y, ~reuters.test, new)

    rows = pd.read_parquet(data_dir() / "replay/commodity_llm.parquet")
    year = rows[rows["gpt5nano_1000__gold"].notna()].date.str[:4].to_numpy(dtype=int)
    middle = int(np.median(year))
    new, E = {f"Commodity: from {middle + 1} on": [year > middle]}, embed(commodity.texts)
    yield Shift("Commodity", E, commodity.votes[0], commodity.y, year < middle, new)
