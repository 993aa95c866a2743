"""Data sets of the alignment benchmark: texts, rates, and fixed splits."""

from itertools import zip_longest

import numpy as np

from benchmarks._common import read

EKMAN = {
    "anger": ("anger", "annoyance", "disapproval"),
    "disgust": ("disgust",),
    "fear": ("fear", "nervousness"),
    "joy": (
        "joy", "amusement", "approval", "excitement", "gratitude", "love", "optimism", "relief",
        "pride", "admiration", "desire", "caring",
    ),
    "sadness": ("sadness", "disappointment", "embarrassment", "grief", "remorse"),
    "surprise": ("surprise", "realization", "confusion", "curiosity"),
}  # fmt: skip
SEMEVAL = (
    "anger", "anticipation", "disgust", "fear", "joy", "love", "optimism", "pessimism",
    "sadness", "surprise", "trust",
)  # fmt: skip

#: Attributes and the words by which the model is asked about them.
UNHEALTHY = {
    "antagonize": "antagonism", "condescending": "condescension", "dismissive": "dismissal",
    "generalisation": "generalisation", "generalisation_unfair": "prejudice",
    "hostile": "hostility", "sarcastic": "sarcasm",
}  # fmt: skip


def goemotions():
    """GoEmotions pooled to the six Ekman groups; neutral is the empty set."""
    group = {fine: name for name, fines in EKMAN.items() for fine in fines}

    def indicator(frame):
        sets = [{group[f] for f in said.split("|") if f in group} for said in frame.labels]
        return np.array([[name in on for name in EKMAN] for on in sets], dtype=int)

    test = read("llm/goemotions_test_gemma_shared")
    train = read("train/goemotions_train_dev")
    train = train[~train.text.isin(set(test.text))]
    pools = {
        "train": (train.text.tolist(), indicator(train)),
        "test": (test.text.tolist(), indicator(test)),
    }
    return Source(tuple(EKMAN), pools, max_count=2)


def semeval():
    """SemEval-2018 E-c, eleven emotions. Only its train split could be had: it is cut in two."""
    frame = read("train/semeval2018_ec_train").drop_duplicates("text")
    y = np.array([[name in said.split("|") for name in SEMEVAL] for said in frame.labels], int)
    held_out = np.array([int(i.rsplit("-", 1)[1]) % 2 == 0 for i in frame.row_id])
    pools = {
        "train": (frame[~held_out].text.tolist(), y[~held_out]),
        "test": (frame[held_out].text.tolist(), y[held_out]),
    }
    return Source(SEMEVAL, pools, max_count=3)


def unhealthy():
    """Unhealthy comments: crowd confidence as rates; val trains, test tests.

    "healthy", which the crowd says where it sees none of the seven attributes, is the empty set.
    """
    frame = read("train/unhealthy_comments_val_test")
    # The corpus gives the trust in the label that won; as a rate of "yes" it is p or 1 - p.
    rates = np.column_stack(
        [np.where(frame[n] == 1, frame[f"{n}_confidence"], 1 - frame[f"{n}_confidence"])
         for n in UNHEALTHY]
    ).clip(0, 1)  # fmt: skip
    train = (frame.split == "val").to_numpy()
    texts = np.array(frame.text.tolist(), dtype=object)
    pools = {
        "train": (texts[train].tolist(), rates[train]),
        "test": (texts[~train].tolist(), rates[~train]),
    }
    return Source(
        tuple(UNHEALTHY), pools, max_count=2, topic="attitude", aliases=UNHEALTHY, soft=True
    )


def kern():
    """Kern tweets: rates of 14 to 15 annotators for two labels."""
    from sklfusion.alignment import annotator_rates

    frame = read("train/kern_tweets_annotations")
    names = ["hate_speech", "offensive_language"]
    answered = frame.dropna(subset=names)
    rates = annotator_rates(answered[names].to_numpy(), answered.tweet_id)
    first = frame.dropna(subset=["text"]).set_index("tweet_id").sort_index()
    train = (first.split == "train").to_numpy()
    texts = np.array(first.text.tolist(), dtype=object)
    pools = {
        "train": (texts[train].tolist(), rates[train]),
        "test": (texts[~train].tolist(), rates[~train]),
    }
    words = {name: name.replace("_", " ") for name in names}
    return Source(tuple(names), pools, max_count=2, topic="problem", aliases=words, soft=True)


class Source:
    """A training pool and a test pool: texts and their rates (or 0/1).

    A label of a text is on where its rate is above one half; strata and demonstrations use that.
    """

    def __init__(self, labels, pools, max_count, topic="emotion", aliases=None, soft=False):
        self.labels = labels
        self.pools = pools
        self.max_count = max_count
        self.topic = topic
        self.aliases = aliases
        self.soft = soft

    def examples(self, n=6, seed=0):
        """Short demonstrations from the training pool that cover the labels, one without any."""
        texts, rates = self.pools["train"]
        y = (rates > 0.5).astype(int)
        rng = np.random.default_rng(seed)
        short = [
            i
            for i in rng.permutation(len(texts))[:2000]
            if 20 < len(texts[i]) < 90 and texts[i][0].isalpha() and y[i].sum() <= self.max_count
        ]
        chosen = [next(i for i in short if y[i].sum() == 0)]
        while len(chosen) < n:
            seen = y[chosen].sum(axis=0)
            left = [i for i in short if i not in chosen]
            gain = [(y[i] / (1 + seen) ** 2).sum() - 0.15 * y[i].sum() for i in left]
            chosen.append(left[int(np.argmax(gain))])
        names = np.array(self.labels)
        return [(texts[i], names[y[i] == 1].tolist()) for i in rng.permutation(chosen)]

    def draw(self, pool, n, seed=1):
        """Return n texts and their rates, an equal share of each number of labels.

        Rows come round robin over the strata, so any beginning is balanced too, as long as no
        stratum is used up.
        """
        texts, y = self.pools[pool]
        used = {text for text, _ in self.examples()}
        counts = np.minimum((y > 0.5).sum(axis=1), self.max_count)
        rng = np.random.default_rng(seed)
        order = [i for i in rng.permutation(len(texts)) if texts[i] not in used]
        strata = [[i for i in order if counts[i] == c] for c in range(self.max_count + 1)]
        rows = [row for group in zip_longest(*strata) for row in group if row is not None][:n]
        return [texts[i] for i in rows], y[rows].astype(float)


def babe():
    """BABE: five experts per sentence, and the votes of up to 13 LLMs under 9 prompts."""
    votes = read("llm/babe_llm_votes").drop_duplicates("row_id")
    experts = read("llm/babe_annotators")
    rates = experts.groupby("row_id").biased.mean()
    votes = votes[votes.row_id.isin(rates.index)]
    columns = [c for c in votes if "__" in c]
    table = votes[columns].to_numpy(dtype=float, copy=True)
    table[table < 0] = np.nan
    return (
        votes.text.tolist(), rates.loc[votes.row_id].to_numpy(), table, columns,
    )  # fmt: skip
