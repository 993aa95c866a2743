"""The benchmark data sets that have gold labels and real LLM outputs, in one form."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

_BABE = ("gpt_4__0shot", "mixtral_8x7b__0shot", "zephyr__0shot", "falcon_7b__0shot")
_FPB = ("gpt4", "chatgpt", "h2o", "falcon_7b", "dolly")
_CSS = ("chatgpt", "flan-ul2", "text-davinci-003")


@dataclass
class LLMSet:
    """Texts, gold labels and the answers of one or several LLMs.

    ``y`` holds class numbers (n,) or label indicators (n, K). Each entry of ``votes`` is an
    array (n, K) of 0 and 1; a row without an answer is uniform (multi-class) or one half.
    """

    name: str
    llm: str
    texts: list
    y: np.ndarray
    votes: list
    classes: list
    test: np.ndarray | None = None  # fixed test rows, else half of the rows per draw

    @property
    def multilabel(self):
        """Whether y is an indicator."""
        return self.y.ndim == 2


def one_hot(votes, n_classes):
    """Votes (n,) of class numbers, -1 for none, as rows of 0 and 1 or of 1 / K."""
    votes = np.asarray(votes).astype(int)
    rows = np.full((len(votes), n_classes), 1.0 / n_classes)
    told = votes >= 0
    rows[told] = np.eye(n_classes)[votes[told]]
    return rows


def load(data):
    """Every data set with LLM outputs and gold labels, one entry per LLM (or group of LLMs).

    ``data`` is the folder of the benchmark data.
    """
    yield from _news(data)
    yield from _finance(data)
    yield from _babe(data)
    yield from _css(data)
    yield from _others(data)


def _news(data):
    rows = pd.read_parquet(data / "replay/agnews_test.parquet")
    texts = (rows.title + ". " + rows.description).tolist()
    classes = ["World", "Sports", "Business", "SciTech"]
    votes = one_hot(rows.openai_fewshot, 4)
    yield LLMSet("AG News", "gpt-5-nano", texts, rows.gold.to_numpy(), [votes], classes)

    parts = [
        pd.read_parquet(data / f"replay/{name}.parquet")
        for name in ("reuters_val", "reuters_test_shared")
    ]
    yield _indicator(
        "Reuters",
        "gpt-5-nano",
        pd.concat(parts, ignore_index=True),
        "openai_fewshot",
        test=np.arange(sum(map(len, parts))) >= len(parts[0]),
    )
    rows = pd.read_parquet(data / "replay/commodity_llm.parquet")
    rows = rows[rows["gpt5nano_1000__gold"].notna()]
    yield _indicator("Commodity", "gpt-5-nano", rows, "gpt5nano_1000")


def _indicator(name, llm, rows, source, test=None):
    labels = [c.removeprefix("gold__") for c in rows.columns if c.startswith("gold__")]
    y = rows[[f"gold__{c}" for c in labels]].to_numpy(dtype=int)
    votes = rows[[f"{source}__{c}" for c in labels]].to_numpy(dtype=float)
    return LLMSet(name, llm, rows.text.tolist(), y, [votes], labels, test)


def _finance(data):
    rows = pd.read_parquet(data / "llm/fpb_llm.parquet")
    rows = rows[rows.seed == rows.seed.min()]
    classes = ["positive", "negative", "neutral"]
    y, texts = rows.gold.to_numpy(), rows.text.tolist()
    votes = {llm: one_hot(rows[llm], 3) for llm in _FPB}
    for llm in _FPB:
        yield LLMSet("FPB", llm, texts, y, [votes[llm]], classes)
    yield LLMSet("FPB", "all five", texts, y, list(votes.values()), classes)


def _babe(data):
    rows = pd.read_parquet(data / "llm/babe_llm_votes.parquet")
    y, texts = rows.gold.to_numpy(dtype=int), rows.text.tolist()
    votes = {llm: one_hot(rows[llm], 2) for llm in _BABE}
    for llm in _BABE:
        yield LLMSet("BABE", llm.split("__")[0], texts, y, [votes[llm]], ["unbiased", "biased"])
    yield LLMSet("BABE", "all four", texts, y, list(votes.values()), ["unbiased", "biased"])


def _css(data):
    items = pd.read_parquet(data / "llm/css_items.parquet")
    answers = pd.read_parquet(data / "llm/css_votes.parquet")
    for task, rows in items.groupby("task"):
        classes = sorted(rows.gold_name.unique())
        number = {c: i for i, c in enumerate(classes)}
        y = rows.gold_name.map(number).to_numpy()
        said = answers[answers.task == task].pivot(index="row_id", columns="model", values="vote")
        said = said.loc[rows.row_id]
        votes = {
            llm: one_hot([number.get(v, -1) for v in said[llm]], len(classes)) for llm in _CSS
        }
        for llm in _CSS:
            yield LLMSet(f"CSS {task}", llm, rows.text.tolist(), y, [votes[llm]], classes)


def _others(data):
    rows = pd.read_parquet(data / "llm/semeval_relation_mixtral.parquet")
    classes = rows.drop_duplicates("gold").sort_values("gold").gold_name.tolist()
    votes = one_hot(rows.mixtral8x22b, len(classes))
    yield LLMSet(
        "SemEval", "mixtral-8x22b", rows.text.tolist(), rows.gold.to_numpy(), [votes], classes
    )
    rows = pd.read_parquet(data / "llm/mr_chatgpt.parquet")
    rows = rows[rows.chatgpt >= 0].sample(4000, random_state=0)
    votes = one_hot(rows.chatgpt, 2)
    y = rows.gold.to_numpy(dtype=int)
    yield LLMSet("MR", "chatgpt", rows.text.tolist(), y, [votes], ["negative", "positive"])

    rows = pd.read_parquet(data / "llm/global_warming_gpt.parquet")
    share = rows.gpt_confidence.to_numpy()
    p = np.where(rows.gpt == 1, share, 1 - share)
    yield LLMSet(
        "Global warming",
        "gpt",
        rows.text.tolist(),
        rows.gold.to_numpy(dtype=int),
        [np.column_stack([1 - p, p])],
        ["no", "yes"],
    )
    rows = pd.read_parquet(data / "llm/goemotions_test_gemma_shared.parquet")
    labels = sorted({label for cell in rows.labels for label in cell.split("|")})

    def indicate(cells):
        return np.array([[c in (cell or "").split("|") for c in labels] for cell in cells])

    yield LLMSet(
        "GoEmotions",
        "gemma-3-12b tuned",
        rows.text.tolist(),
        indicate(rows.labels).astype(int),
        [indicate(rows.gemma3_12b_finetuned.fillna("")).astype(float)],
        labels,
    )
