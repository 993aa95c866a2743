"""Q: questions to decision models."""

import time

import numpy as np

from scorecard.rows._base import Context, quiet, raises, row, texts
from sklfusion import AuthenticationError, EndpointError, QuotaError
from sklfusion.testing import expected_labels, text_digest

LABELS = [f"t{n}" for n in range(12)]
OPENAI, SYSTEM_ONE = {"/v1/decisions": "openai"}, {"/v1/systemone": "systemone"}
BOTH = {"openai": OPENAI, "systemone": SYSTEM_ONE}


def several(n):
    """Return n distinct texts of which each has two or three of twelve labels."""
    return [f"note {k} on t{k % 12}, t{k * 5 % 12} and t{k * 7 % 11}" for k in range(n)]


def right(annotations, X):
    """Number of rows with exactly the labels that the endpoint's rule gives."""
    said = [[LABELS[k] for k in np.flatnonzero(r)] for r in annotations.labels()]
    return sum(a == expected_labels(t, LABELS) for a, t in zip(said, X, strict=True))


def decide(c: Context, X, **params):
    """Ask for decisions; return (scorer, annotations, seconds)."""
    return c.run(X, **{"strategy": "decision", **params})


def decide_several(c: Context, X, **params):
    """Ask twelve questions about each text."""
    return decide(c, X, **{"classes": LABELS, "multilabel": True, **params})


@row(
    "Q01", "1,000 texts x 12 labels, 20 % faults", "1,000 answers paid, 0 lost, 0 delivered twice"
)
def _(c):
    seen = []
    for dialect, served in BOTH.items():
        n = 1000 if dialect == "openai" else 300
        X = several(n)
        assert len(set(X)) == n
        c.server.reset(profile="mixed20", seed=7, decisions=served)
        _, a, seconds = decide_several(
            c,
            X,
            max_concurrency=32,
            deadline=120.0,
            memory=str(c.folder / dialect),
            dialect=dialect,
        )
        ledger = c.server.ledger()
        injected = ledger.injected_billed
        assert right(a, X) == n, f"{n - right(a, X)} lost"
        assert (ledger.usable, ledger.avoidable) == (n, 0), ledger
        assert max(r["usable"] for r in ledger.texts.values()) == 1
        assert ledger.billed == n + injected, ledger
        seen.append(
            f"{dialect}: {ledger.usable} usable, {injected} cut or garbled, {seconds:.0f} s"
        )
    return "; ".join(seen)


@row("Q02", "each fault of the wire at a decision", "asked again, right, paid as for chat")
def _(c):
    kinds = {
        "s429": {"kind": "status", "status": 429},
        "s503": {"kind": "status", "status": 503},
        "reset": {"kind": "reset"},
        "cut": {"kind": "reset_body"},
        "short": {"kind": "short"},
        "chunks": {"kind": "chunked"},
        "half": {"kind": "truncated"},
        "page": {"kind": "body", "body": "<html>busy</html>"},
        "empty": {"kind": "body", "body": ""},
        "nothing": {"kind": "body", "body": "null"},
        "bytes": {"kind": "bad_utf8"},
        "bomb": {"kind": "gzip_bomb", "bytes": 5_000_000},
        "stray": {"kind": "stray"},
        "close": {"kind": "close"},
    }
    for served in BOTH.values():
        rules = [{"fault": f, "contains": n, "attempts": [1]} for n, f in kinds.items()]
        c.server.reset(decisions=served, script=rules)
        X = [f"{name} sport" for name in kinds]
        memory = str(c.folder / str(len(served)) / next(iter(served))[4:])
        _, a, _ = decide(c, X, memory=memory, dialect=next(iter(served.values())))
        ledger = c.server.ledger()
        assert c.right(a, X) == len(X), a.status
        assert (ledger.avoidable, ledger.usable) == (0, len(X)), ledger
    return f"{len(kinds)} kinds in both dialects, all right, 0 avoidable"


@row("Q03", "a question refused; all refused", "others count; status refused, stored, never again")
def _(c):
    rules = [
        c.fault("refuse", questions=[2], contains="one"),
        c.fault("refuse", questions=list(range(12)), contains="all"),
    ]
    c.server.reset(decisions=OPENAI, script=rules)
    X = ["one t2 t3", "all t2 t3", "no t2 t3"]
    for _ in range(2):
        _, a, _ = decide_several(c, X)
        assert a.status.tolist() == ["ok", "refused", "ok"]
        assert a.probs[0, [2, 3]].tolist() == [0.5, 0.9]
        assert a.meta["flags"] == {"refused_question": 1}
        assert c.server.ledger().received == 3
    return "0.5 for the refused label, 1 text refused, 3 requests in two runs"


@row("Q04", "either dialect on either path, none named", "found by the first question, kept")
def _(c):
    seen = []
    for number, served in enumerate((OPENAI, {"/v1/decisions": "systemone"}, SYSTEM_ONE)):
        c.server.reset(decisions=served)
        X = texts(40)
        _, a, _ = decide(c, X, memory=str(c.folder / str(number)), max_concurrency=16)
        ledger = c.server.ledger()
        assert c.right(a, X) == 40
        assert (ledger.billed, ledger.avoidable) == (40, 0)
        refused = ledger.received - ledger.billed
        assert refused <= 1, f"{refused} refused"
        seen.append(f"{a.meta['adapted']['path']}/{a.meta['adapted']['dialect']}")
    return ", ".join(seen)


@row("Q05", "answers that are none to what was asked", "cause malformed_answer, 2 paid, abstains")
def _(c):
    good = {"type": "choice", "choice": "food", "confidence": 1.0}

    def said(*pairs):
        return [{**good, "probabilities": [{"value": v, "probability": p} for v, p in pairs]}]

    wrong = {
        "foreign": said(("sport", 0.5), ("drink", 0.5)),
        "missing": said(("sport", 1.0)),
        "nan": said(("sport", float("nan")), ("food", 0.5)),
        "sum": said(("sport", 0.2), ("food", 0.2)),
        "none": [],
        "two": said(("sport", 0.5), ("food", 0.5)) * 2,
        "named": [{**said(("sport", 0.5), ("food", 0.5))[0], "name": "other"}],
        "prose": "it is about sport",
    }
    rules = [c.fault("content", content=answers, contains=n) for n, answers in wrong.items()]
    c.server.reset(decisions=OPENAI, script=rules)
    X = ["good sport", *(f"{name} sport" for name in wrong)]
    s, a, _ = decide(c, X)
    assert a.status.tolist() == ["ok"] + ["parse_error"] * len(wrong)
    assert s.usage_.failures == {"malformed_answer": len(wrong)}
    tries = {c.server.ledger().texts[text_digest(text)]["billed"] for text in X[1:]}
    assert tries == {2}
    return f"{len(wrong)} kinds, 2 paid each, none believed"


@row(
    "Q06",
    "fewer questions taken than documented",
    "halved until taken, remembered, not paid twice",
)
def _(c):
    c.server.reset(decisions=OPENAI, limits={"questions": 5})
    X = several(60)
    _, a, _ = decide_several(c, X, max_concurrency=16)
    ledger = c.server.ledger()
    assert right(a, X) == 60
    assert (ledger.billed, ledger.avoidable) == (60 * 4, 0)
    refused = ledger.received - ledger.billed
    assert refused == 3, f"{refused} refused"
    _, a, _ = decide_several(c, [*X, "new t3"])
    assert right(a, [*X, "new t3"]) == 61
    assert c.server.ledger().received == ledger.received + 4
    return "12, 6, then 3 at a time; 3 refused in all; a second run asks 4"


@row(
    "Q07",
    "401; quota; 401 after 25 answers",
    "stop, what was answered is kept, resume pays the rest",
)
def _(c):
    quota = {"error": {"code": "insufficient_quota", "message": "exceeded your current quota"}}
    for kind, options in (
        (AuthenticationError, {"status": 401}),
        (QuotaError, {"status": 429, "body": quota}),
    ):
        c.server.reset(decisions=OPENAI, script=[c.fault("status", **options)])
        raises(kind, lambda: decide(c, texts(40), max_concurrency=4))
        assert c.server.ledger().received <= 4
    stop = {**c.fault("status", status=401), "after": 25}
    c.server.reset(decisions=OPENAI, script=[stop])
    raises(AuthenticationError, lambda: decide(c, texts(60)))
    paid = c.server.ledger().billed
    c.server.script()
    _, a, _ = decide(c, texts(60))
    ledger = c.server.ledger()
    assert (c.right(a, texts(60)), ledger.billed, ledger.avoidable) == (60, 60, 0)
    return f"{paid} kept, {60 - paid} paid after"


@row("Q08", "probabilities rounded to two decimals", "no zeros, sums of 1, unit told in meta")
def _(c):
    c.server.reset(decisions=SYSTEM_ONE, script=[c.fault("rounded", decimals=2)])
    names = [f"c{n}" for n in range(40)]
    _, a, _ = decide(c, ["about c3", "about c4"], classes=names)
    assert (a.probs > 0.003).all()
    np.testing.assert_allclose(a.probs.sum(axis=1), 1)
    assert a.labels().tolist() == ["c3", "c4"]
    assert a.meta["flags"] == {"rounded_to_0.01": 2}
    return f"least probability {a.probs.min():.4f}, {a.meta['flags']}"


@row(
    "Q09", "no route for decisions", "typed failure per row; a run of 100 ends early, nothing paid"
)
def _(c):
    _, a, _ = decide(c, texts(3))
    assert a.meta["causes"] == {"no_route": 3}
    error = raises(EndpointError, lambda: decide(c, texts(100)), "no route for decisions.*path=")
    assert c.server.ledger().billed == 0
    return f"3 rows abstained; then {str(error)[:60]}"


@row("Q10", "two processes, one store, the same 200 texts", "each text paid once")
def _(c):
    c.server.reset(decisions=OPENAI, latency_ms=5)
    code = """
import sys, warnings
warnings.simplefilter("ignore")
from sklfusion import LLMScorer
X = [f"note {n} about sport" for n in range(200)]
s = LLMScorer("m", classes=["sport", "food"], strategy="decision", base_url=sys.argv[1],
              memory=sys.argv[2]).fit(["any"])
print(sum(label == "sport" for label in s.annotate(X).labels()))
"""
    with quiet():
        workers = [c.popen(code, c.server.base_url, str(c.folder / "m")) for _ in range(2)]
        said = [worker.communicate(timeout=120)[0].strip() for worker in workers]
    ledger = c.server.ledger()
    assert said == ["200", "200"], said
    assert (ledger.billed, ledger.avoidable) == (200, 0), ledger
    return "200 right in both, 200 billed"


@row(
    "Q11",
    "an answer that hangs, one that drips, 40 good ones",
    "cut at the deadline, the others right",
)
def _(c):
    rules = [
        c.fault("hang", seconds=30, contains="hang"),
        c.fault("drip", bytes=1, seconds=0.3, contains="drip"),
    ]
    c.server.reset(decisions=OPENAI, script=rules)
    X = [*texts(40), "hang sport", "drip sport"]
    start = time.monotonic()
    _, a, _ = decide(c, X, timeout=0.7, deadline=2.5)
    seconds = time.monotonic() - start
    assert c.right(a, X[:40]) == 40
    assert a.status.tolist()[40:] == ["transport_error"] * 2
    assert seconds < 6
    return f"cut after {seconds:.1f} s"


@row(
    "Q12", "auto: decision model, chat model, no chat", "decision, logprobs, decision; meta tells"
)
def _(c):
    plays = (("jev-1", {}), ("chat-1", {}), ("chat-1", {"chat": False}))
    seen = []
    for number, (model, settings) in enumerate(plays):
        c.server.reset(decisions=True, **settings)
        _, a, _ = decide(
            c, texts(5), strategy="auto", model=model, memory=str(c.folder / str(number))
        )
        assert c.right(a, texts(5)) == 5
        assert c.server.ledger().billed == 5
        seen.append(a.meta["strategy"])
    assert seen == ["decision", "logprobs", "decision"]
    return ", ".join(seen)
