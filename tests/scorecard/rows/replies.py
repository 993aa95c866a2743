"""R: replies that are well-formed HTTP but wrong."""

import json
import math
import random
import time
import warnings
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scorecard.rows._base import quiet, raises, row, same, texts
from sklfusion import ScoringWarning
from sklfusion.llm._faults import CallError
from sklfusion.llm._reply import reply_from_bytes
from sklfusion.prompts import ReplyError, parse_label, parse_label_set, parse_scores
from sklfusion.testing import text_digest


def bad(c, contents, strategy="label", **params):
    """Assert that every content, said for ever, is a bad reply asked for once more."""
    X = [f"{n} sport" for n in range(len(contents))]
    c.server.reset(
        script=[
            c.fault("content", content=content, contains=x)
            for x, content in zip(X, contents, strict=True)
        ]
    )
    # Sound answers first: a run of which nothing can be used is stopped.
    sound = texts(3)
    s, a, _ = c.run([*sound, *X], strategy=strategy, max_concurrency=2, **params)
    wrong = [contents[i] for i in range(len(X)) if a.ok[len(sound) + i]]
    assert not wrong, f"accepted {wrong}"
    received = c.server.ledger().texts
    tries = {received[text_digest(x)]["received"] for x in X}
    assert tries <= {2}, f"tries: {tries}"
    return dict(s.usage_.failures)


def good(c, contents, strategy="label", **params):
    """Assert that every content is read as sport."""
    X = [f"{n} thing" for n in range(len(contents))]
    c.server.reset(
        script=[
            c.fault("content", content=content, contains=x, usable=True)
            for x, content in zip(X, contents, strict=True)
        ]
    )
    _, a, _ = c.run(X, strategy=strategy, **params)
    wrong = [t for t, label in zip(contents, a.labels(), strict=True) if label != "sport"]
    assert not wrong, f"not read: {wrong}"
    return a


@row(
    "R01",
    "JSON in a fence, after prose; trailing comma, invalid",
    "one object: read; else bad reply",
)
def _(c):
    value = '{"sport": 0.8, "food": 0.2}'
    good(c, [value, f"```json\n{value}\n```", f"Here it is: {value}"], "probabilities")
    wrong = ['{"sport": 0.8, "food": 0.2,}', "{sport: 1}", f"{value} {value}", value[:-1]]
    return str(bad(type(c)(c.server, c.folder / "2"), wrong, "probabilities"))


@row("R02", "a class is missing", "bad reply, never renormalised")
def _(c):
    return str(bad(c, ['{"sport": 0.8}', "{}"], "probabilities"))


@row("R03", "an unknown class besides", "bad reply")
def _(c):
    said = ['{"sport": 0.5, "food": 0.2, "other": 0.3}']
    assert parse_scores(said[0], ["sport", "food"], extra="ignore")[0][0] > 0.7
    return str(bad(c, said, "probabilities"))


@row(
    "R04",
    "label in other case, spaces, full width, NFD",
    "matched; colliding labels refused at fit",
)
def _(c):
    good(c, ["SPORT", " sport \n", "\uff53\uff50\uff4f\uff52\uff54", "Sport.", '"sport"'])
    for pair in (["Sport", "sport "], ["\u00e9t\u00e9", "e\u0301te\u0301"]):
        raises(ValueError, lambda pair=pair: c.scorer(classes=pair), "equal")
    return "5 forms read, 2 collisions refused"


@row("R05", "label that is not in the list", "bad reply, never a near one")
def _(c):
    return str(bad(c, ["sports", "politics", "spor", "none", "42"]))


@row("R06", "two labels for one text", "bad reply")
def _(c):
    return str(bad(c, ["sport, food", "sport and food", "food\nsport"]))


@row(
    "R07",
    "NaN, Infinity, -0.1, 1.7, true, 1e400, null as score",
    "refused; plain decimals as text read",
)
def _(c):
    numbers = [
        "NaN",
        "Infinity",
        "-0.1",
        "1.7",
        "true",
        "1e400",
        "null",
        '"1e-1"',
        '"high"',
        "[1]",
    ]
    failures = bad(c, [f'{{"sport": {n}, "food": 0.2}}' for n in numbers], "probabilities")
    good(type(c)(c.server, c.folder / "2"), ['{"sport": "0.7", "food": 0.3}'], "probabilities")
    return str(failures)


@row("R08", "scores sum to 0, 0.2, 3", "0: bad; others normalised once and flagged")
def _(c):
    bad(c, ['{"sport": 0, "food": 0}'], "probabilities")
    c2 = type(c)(c.server, c.folder / "2")
    said = [
        '{"sport": 0.15, "food": 0.05}',
        '{"sport": 1, "food": 1, "x": 1}'.replace(', "x": 1', ""),
    ]
    c2.server.reset(script=[c.fault("content", content=said[0], usable=True)])
    _, a, _ = c2.run(texts(1), strategy="probabilities")
    assert math.isclose(a.probs[0, 0], 0.75)
    assert a.meta["flags"], "not flagged"
    return str(a.meta["flags"])


@row("R09", "the same key twice", "bad reply")
def _(c):
    return str(bad(c, ['{"sport": 0.8, "food": 0.2, "sport": 0.1}'], "probabilities"))


@row("R10", "refusal field, refusal prose", "abstains, cause refusal, no retry")
def _(c):
    message = {"choices": {"0": {"message": {"refusal": "I cannot help", "content": None}}}}
    c.server.script(
        c.fault("merge", fields=message, contains="one"),
        c.fault("content", content="I'm sorry, but I can't label this.", contains="two"),
    )
    s, a, _ = c.run(["one sport", "two sport", *texts(3)])
    assert s.usage_.failures == {"refusal": 2}, s.usage_.failures
    assert c.server.ledger().received == 5
    assert a.status[:2].tolist() == ["refused", "refused"]
    return str(s.usage_.failures)


@row("R11", "content filter by finish reason and by 400", "abstains, one cause for both")
def _(c):
    body = {"error": {"code": "content_filter", "message": "filtered"}}
    fields = {"choices": {"0": {"finish_reason": "content_filter"}}}
    c.server.script(
        c.fault("merge", fields=fields, contains="one"),
        c.fault("status", status=400, body=body, contains="two"),
    )
    s, _, _ = c.run(["one sport", "two sport", *texts(3)])
    assert s.usage_.failures == {"content_filter": 2}, s.usage_.failures
    assert c.server.ledger().received == 5
    return str(s.usage_.failures)


@row(
    "R12",
    "finish reason length with JSON that parses",
    "one try with twice the tokens, else abstains",
)
def _(c):
    fields = {"choices": {"0": {"finish_reason": "length"}}}
    c.server.reset(keep_bodies=True, script=[c.fault("merge", fields=fields)])
    _, a, _ = c.run(texts(1), strategy="probabilities")
    bodies = c.server.ledger(events=True).bodies
    limits = [b["max_tokens"] for b in bodies]
    assert not a.ok[0]
    assert len(limits) == 2
    assert limits[1] == 2 * limits[0]
    return f"limits {limits}"


@row("R13", "no choices, content null, empty, a tool call", "bad reply")
def _(c):
    call = {"content": None, "tool_calls": [{"function": {"name": "f"}}]}
    faults = {
        "one": {"choices": []},
        "two": {"choices": {"0": {"message": {"content": None}}}},
        "three": {"choices": {"0": {"message": {"content": ""}}}},
        "four": {"choices": {"0": {"message": call}}},
        "five": {"choices": None},
        "six": {"choices": [None]},
    }
    c.server.script(*(c.fault("merge", fields=f, contains=n) for n, f in faults.items()))
    X = [f"sport {name}" for name in faults]
    s, a, _ = c.run([*X, *texts(3)])
    assert not a.ok[:6].any()
    assert c.server.ledger().received == 15, c.server.ledger().received
    return str(s.usage_.failures)


@row("R14", "two choices", "the first")
def _(c):
    two = [
        {"message": {"content": "sport"}, "finish_reason": "stop"},
        {"message": {"content": "food"}, "finish_reason": "stop"},
    ]
    c.server.script(c.fault("merge", fields={"choices": two}, usable=True))
    X = texts(2)
    _, a, _ = c.run(X)
    assert a.labels().tolist() == ["sport"] * 2
    return f"sport; flags {a.meta['flags']}"


@row("R15", "depth 10,000; 1 MB of digits", "typed failure within 50 ms")
def _(c):
    values = [
        "[" * 10_000,
        '{"a":' * 10_000,
        "9" * 1_000_000,
        '{"sport": ' + "9" * 1_000_000 + "}",
    ]
    values += [" " * 1_000_000, "sport," * 150_000, '"' * 1_000_000, "\\" * 1_000_000]
    worst = 0.0
    for value in values:
        for parse in (parse_label, parse_label_set, parse_scores):
            begin = time.thread_time()
            raises(ReplyError, lambda v=value, p=parse: p(v, ["sport", "food"]))
            worst = max(worst, time.thread_time() - begin)
        begin = time.thread_time()
        raises(CallError, lambda v=value: reply_from_bytes(v.encode()))
        worst = max(worst, time.thread_time() - begin)
    assert worst < 0.2, f"{worst * 1e3:.0f} ms"  # four times the line, for a busy machine
    return f"at most {worst * 1e3:.0f} ms"


@row(
    "R16",
    "lone surrogate, NUL, bidi marks in a reply",
    "bad reply or cleaned, stored and shown safely",
)
def _(c):
    failures = bad(c, ["sp\ud800rt", "sport\x00", "\u202esport<script>"])
    store_text = (c.folder / "memory" / "replies" / "replies.sqlite").read_bytes()
    assert b"SQLite" in store_text[:16]
    return str(failures)


@row("R17", "another answer each time", "the first stored wins; repeated runs agree")
def _(c):
    X = texts(20)
    first, _, _ = c.run(X)
    with quiet():
        scores = first.transform(X)
        c.server.script(c.fault("content", content="food", usable=True))
        same(c.scorer().transform(X), scores)
    return "equal"


@row(
    "R18",
    "log-probabilities missing, partial, of other tokens",
    "falls back as documented, flagged",
)
def _(c):
    entry = {"token": "sp", "logprob": -0.1, "top_logprobs": []}
    faults = {
        "one": None,
        "two": {"content": [entry]},
        "three": {"content": []},
        "four": {"content": [{"token": 3}]},
    }
    c.server.script(
        *(
            c.fault("merge", fields={"choices": {"0": {"logprobs": f}}}, contains=n, usable=True)
            for n, f in faults.items()
        )
    )
    X = [f"sport {name}" for name in faults]
    _, a, _ = c.run([*X, *texts(2)], strategy="logprobs")
    flags = a.meta["flags"]
    assert flags.get("no_logprobs", 0) >= 3, flags
    assert all(label in (None, "sport") for label in a.labels())
    return f"labels {a.labels()[:4].tolist()}, flags {flags}"


@row(
    "R19",
    "packed request: an item missing, reordered, an id twice, a foreign id",
    "by id; only those asked again",
)
def _(c):
    from sklfusion.prompts import pack_ids

    X = texts(10)
    ids = pack_ids(X)
    pairs = [f'"{one}": "sport"' for one in ids]
    pairs[3] = pairs[4].replace("sport", "food")  # id 3 is missing, id 4 is there twice
    pairs[6] = pairs[6].replace("sport", "politics")
    content = "{" + ", ".join([*pairs[::-1], '"ffffffff": "food"']) + "}"
    rule = c.fault("content", content=content, contains=ids[0], usable=True)
    c.server.reset(script=[rule], keep_bodies=True)
    _, a, _ = c.run(X, texts_per_request=10)
    bodies = c.server.ledger(events=True).bodies
    alone = sorted(json.loads(b["messages"][-1]["content"]) for b in bodies[1:])
    assert c.right(a, X) == 10
    assert alone == sorted(X[n] for n in (3, 4, 6)), alone
    return f"1 packed request, {len(alone)} alone"


@row("R20", "usage missing or negative", "cost told as a guess, budget uses the guess")
def _(c):
    prices = {"input": 1.0, "output": 1.0}
    seen = []
    for usage in (None, {"prompt_tokens": -5, "completion_tokens": 3}):
        c.server.reset(script=[c.fault("merge", fields={"usage": usage}, usable=True)])
        s, _, _ = c.run(texts(5, start=len(seen) * 10), prices=prices)
        assert s.usage_.uncounted == 5, s.usage_
        assert s.usage_.cost != 0
        seen.append(s.usage_.cost)
    return f"uncounted 5; guessed {seen[0]:.2g}"


@row("R21", "reply of another model than asked", "stored as such, one warning")
def _(c):
    c.server.script(c.fault("merge", fields={"model": "cheaper-one"}, usable=True))
    scorer = c.scorer()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        a = scorer.annotate(texts(5))
        scorer.annotate(texts(5, start=10))
    told = [w for w in caught if issubclass(w.category, ScoringWarning)]
    assert a.meta["answered_by"] == ["cheaper-one"]
    assert len(told) == 1
    assert "cheaper-one" in str(told[0].message)
    return str(told[0].message)


@row("R22", "any bytes as body, any text as answer", "scores or a typed failure, linear time")
def _(c):
    rng = random.Random(3)
    keys = ["sport", "food"]
    pieces = ['{"sport": 0.8, "food": 0.2}', "sport", "[", "]", "{", "}", '"', ":", ",", "1e400"]
    pieces += ["NaN", "\ud800", "\x00", "```json", "\\u0000", "food", "0.5", "null", " ", "\n"]
    structured = st.lists(st.sampled_from(pieces), max_size=12).map("".join)

    @settings(
        max_examples=2000,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(st.one_of(st.binary(max_size=200), st.text(max_size=100), structured))
    def anything(value):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        with suppress(CallError):
            reply_from_bytes(body)
        said = value.decode("latin-1") if isinstance(value, bytes) else value
        for parse in (parse_label, parse_label_set, parse_scores):
            with suppress(ReplyError):
                parse(said, keys)

    anything()
    for _ in range(6000):
        said = "".join(rng.choices(pieces, k=rng.randrange(30)))
        for parse in (parse_label, parse_label_set, parse_scores):
            with suppress(ReplyError):
                parse(said, keys)
    worst = 0.0
    for unit in pieces:
        said = unit * (10_000 // len(unit))
        for parse in (parse_label, parse_label_set, parse_scores):
            begin = time.thread_time()
            with suppress(ReplyError):
                parse(said, keys)
            worst = max(worst, time.thread_time() - begin)
    assert worst < 0.02, f"{worst * 1e3:.1f} ms for 10 KB"  # four times the line
    return f"20,000 parses, 0 other errors, {worst * 1e3:.1f} ms per 10 KB"
