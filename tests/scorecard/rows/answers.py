"""A: answers that are right and look odd: tokens, wrapping, thoughts, numbers."""

import math

from scorecard.rows._base import quiet, row
from scorecard.rows.replies import bad, good
from sklfusion import LLMClassifier
from sklfusion._chat import Reply
from sklfusion.replies import open_store
from sklfusion.scoring._strategies import Plan

INTENTS = ["card_arrival", "card_linking", "card_not_working", "exchange_rate", "top_up_failed"]


def logprobs_of(label, width, others=(), before=""):
    """Return the log-probabilities of a label in tokens of ``width`` bytes.

    ``others`` are listed at the first token with a hundredth of the mass each.
    """
    raw = label.encode()
    pieces = [raw[i : i + width] for i in range(0, len(raw), width)]
    steps = [entry(piece, 0.9) for piece in ([before.encode()] if before else []) + pieces]
    first = steps[1 if before else 0]
    first["top_logprobs"] += [entry(o.encode()[:width], 0.01) for o in others]
    return {"content": steps}


def entry(raw, p):
    """Return one token as the wire has it."""
    token = {"token": raw.decode("utf-8", "replace"), "bytes": list(raw), "logprob": math.log(p)}
    return {**token, "top_logprobs": [dict(token)]}


def written(c, label, logprobs, content=None, **params):
    """Return the annotations of a text about which the model wrote ``label``."""
    message = {"content": label if content is None else content}
    fields = {"choices": {"0": {"message": message, "logprobs": logprobs}}}
    return c.answers([f"about {label}"], fields=fields, strategy="logprobs", **params)[1]


@row("A01", "labels that share their first tokens", "the written label; others where they part")
def _(c):
    seen = 0
    for classes in (INTENTS, ["negative", "neutral", "positive"], ["2019", "2020", "2021"]):
        for width in (1, 3, 5):
            for number, label in enumerate(classes):
                others = [name for name in classes if name[:width] != label[:width]]
                inner = type(c)(c.server, c.folder / f"{classes[0]}{width}{number}")
                a = written(inner, label, logprobs_of(label, width, others), classes=classes)
                assert a.labels()[0] == label, (label, width, a.probs)
                seen += 1
    return f"{seen} of {seen} right"


@row("A02", "tokens of half a character", "read by their bytes, also from the store")
def _(c):
    classes = ["😀", "😡", "😐", "体育", "体操"]
    for label in classes:
        inner = type(c)(c.server, c.folder / label)
        for _ in range(2):
            a = written(inner, label, logprobs_of(label, 2, classes), classes=classes)
            assert a.labels()[0] == label, (label, a.probs)
        assert c.server.ledger().received == 1
    return "5 of 5, once from the wire and once from the store"


@row("A03", "quotation marks, a field, a thought before the label's tokens", "skipped")
def _(c):
    earlier = ['"', "Label: ", " ", "<think>food</think>", "**", "The answer is "]
    for number, before in enumerate(earlier):
        inner = type(c)(c.server, c.folder / str(number))
        a = written(inner, "sport", logprobs_of("sport", 2, ["food"], before), before + "sport")
        assert a.labels()[0] == "sport", (before, a.probs)
    return f"{len(earlier)} of {len(earlier)}"


@row("A04", "tokens that contradict the written label", "the written label, flagged")
def _(c):
    a = written(c, "sport", logprobs_of("food", 2))
    assert a.labels()[0] == "sport"
    assert a.meta["flags"].get("written_label") == 1, a.meta["flags"]
    return str(a.meta["flags"])


@row("A05", "53, 150 and 255 classes, by name and by id", "all answered; 256 ids refused")
def _(c):
    for k in (53, 150, 255):
        classes = [f"intent {n:03d} topic" for n in range(k)]
        for form in ("words", "ids"):
            inner = type(c)(c.server, c.folder / f"{k}{form}")
            task = inner.scorer(classes=classes, label_form=form)._task
            for place in (0, k // 2, k - 1):
                said = task.keys[place]
                fields = {"message": {"content": said}, "logprobs": logprobs_of(said, 1)}
                c.server.reset(
                    script=[c.fault("merge", fields={"choices": {"0": fields}}, usable=True)]
                )
                _, a, _ = inner.run(
                    [f"text {place}"], classes=classes, label_form=form, strategy="logprobs"
                )
                assert a.labels()[0] == classes[place], (k, form, place)
    try:
        c.scorer(classes=[f"class {n}" for n in range(256)], label_form="ids")
    except ValueError as error:
        return f"18 of 18; {str(error)[:60]}"
    raise AssertionError("256 ids were accepted")


@row("A06", "one label in brackets, marks, fields, explanations", "read")
def _(c):
    said = ["[sport]", '["sport"]', "sport</s>", "sport<|im_end|>", "- sport", "sport (surely)"]
    said += ["sport\n\nThe text is about a match.", '{"label": "sport", "reason": "a match"}']
    said += ["**Label:** sport", "The final answer is sport.", "sport - because of the match"]
    good(c, said)
    return f"{len(said)} of {len(said)}"


@row("A07", "answers that look like one label and are not", "bad reply, never a guess")
def _(c):
    said = ["not sport", "sport or food", "sport, politics", "sport\nfood", "[sport, food]"]
    said += ["sport - no, wait, food", "sport (not food)", '{"label": true}', "sports-like"]
    said += ["<think>it is sport", "sport\n\nIt is not sport at all."]
    return str(bad(c, said))


@row("A08", "empty, closed and half thoughts; content in parts", "set aside; parts joined")
def _(c):
    said = ["<think>\n\n</think>\n\nsport", "food?\n</think>sport", "[THINK]food[/THINK]sport"]
    good(c, [*said, [{"type": "thinking", "thinking": "food"}, {"type": "text", "text": "sport"}]])
    return "4 of 4"


@row("A09", "numbers, booleans and percentages as answers", "read where one reading exists")
def _(c):
    cases = [
        ("label", ["0", "1"], '{"label": 1}', "1"),
        ("label", ["1.0", "2.0"], "1", "1.0"),
        ("label", ["False", "True"], '{"label": true}', "True"),
        ("label", ["*", "**", "!"], "!", "!"),
        ("probabilities", ["ham", "spam"], '{"ham": 10, "spam": 90}', "spam"),
        ("probabilities", ["ham", "spam"], '{"ham": "10%", "spam": "90%"}', "spam"),
    ]
    for number, (strategy, classes, said, wanted) in enumerate(cases):
        inner = type(c)(c.server, c.folder / str(number))
        descriptions = {name: f"the kind {name}" for name in classes}
        _, a, _ = inner.answers(
            ["a text"],
            content=said,
            strategy=strategy,
            classes=classes,
            class_descriptions=descriptions,
        )
        assert a.labels()[0] == wanted, (said, a.labels())
    return f"{len(cases)} of {len(cases)}"


@row("A10", "stored answers that an older parser could not read", "read, and nothing is sent")
def _(c):
    scorer = c.scorer(label_form="words")
    plan: Plan = scorer._plans()[0]
    (job,) = plan.jobs("an old text")
    open_store(c.folder / "memory").put(job.key, Reply(("sport\n\nIt is about a match.",)))
    with quiet():
        a = scorer.set_params(cache_only=True).annotate(["an old text"])
    assert a.labels().tolist() == ["sport"]
    assert c.server.ledger().received == 0
    return "1 read, 0 requests"


@row("A11", "K >= 53 classes on a model in this process", "every text has an answer")
def _(c):
    colours = ("red", "green", "blue", "grey", "black", "white")
    things = ("car", "house", "coat", "door", "boat", "book", "bird", "flag", "chair")
    classes = [f"{colour} {thing}" for colour in colours for thing in things]
    text = "a blue boat sails over the lake"
    clf = LLMClassifier("local/smollm2-135m", classes=classes, calibrate=False)
    with quiet():
        a = clf.fit([text]).annotate([text])
    assert a.ok.all()
    assert a.coverage[0] > 0
    return f"{len(classes)} classes, answered {a.labels()[0]!r}"


@row("A12", "names with other joins, in quotation marks of any script", "read where one is meant")
def _(c):
    said = [
        "card arrival",
        "Card-Arrival.",
        "\u00abcard_arrival\u00bb",
        "\u200fcard arrival\u3002",
    ]
    for number, content in enumerate(said):
        inner = type(c)(c.server, c.folder / str(number))
        _, a, _ = inner.answers(["a text"], content=content, classes=INTENTS)
        assert a.labels()[0] == "card_arrival", (content, a.labels())
    inner = type(c)(c.server, c.folder / "twins")
    _, a, _ = inner.answers(["a text"], content="a b", classes=["a_b", "a-b"])
    assert not a.ok[0]
    return f"{len(said)} of {len(said)}; of two that only a join tells apart, none"


@row("A13", "the limit cuts the explanation after a label", "read from one request")
def _(c):
    said = ["sport\n\nThe text is ab", '{"label": "sport", "reason": "it is']
    for number, content in enumerate(said):
        inner = type(c)(c.server, c.folder / str(number))
        choice = {"message": {"content": content}, "finish_reason": "length"}
        _, a, _ = inner.answers(["a text"], fields={"choices": {"0": choice}})
        assert a.labels()[0] == "sport", (content, a.labels())
        assert c.server.ledger().received == 1
        c.server.reset()
    return f"{len(said)} of {len(said)}, 1 request each"
