"""F: what endpoints refuse, and in which words."""

import json
import os
import warnings

from scorecard.rows._base import quiet, raises, row, texts
from sklfusion import AuthenticationError, EndpointError, LLMScorer, ModelNotFoundError, QuotaError


def error(status, message, *, contains="", attempts="all", **rule):
    """Return a rule that refuses with a status and words."""
    body = {"error": {"message": message}}
    fault = {"kind": "status", "status": status, "body": body}
    return {"fault": fault, "contains": contains, "attempts": attempts, **rule}


def inside(code, message, *, attempts="all"):
    """Return a rule that answers 200 with an error inside."""
    body = {"error": {"code": code, "message": message}}
    return {"fault": {"kind": "body", "body": body, "billed": False}, "attempts": attempts}


@row("F01", "45 times 429, 503 or 522 without a wait", "nobody is given up, nothing paid twice")
def _(c):
    seen = []
    for status in (429, 503, 522):
        c.server.reset(script=[error(status, "overloaded", times=45)])
        X = texts(30, start=100 * status)
        _, a, seconds = c.run(X, deadline=60.0, max_concurrency=16)
        assert c.right(a, X) == 30
        assert c.server.ledger().billed == 30
        seen.append(f"{status}: 30 right in {seconds:.1f} s")
    return "; ".join(seen)


@row("F02", "waits stated in words and in fields of the body", "nobody asks before")
def _(c):
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.2s"}
    bodies = {
        "words": {"error": {"message": "Rate limit reached. Please try again in 1.2s."}},
        "mixed": {"error": {"message": "retry after 1200 ms"}},
        "field": [{"error": {"code": 429, "details": [info]}}],
    }
    for word, body in bodies.items():
        c.server.reset(script=[c.fault("status", status=429, body=body, attempts=[1])])
        X = [f"sport {word}"]
        _, a, _ = c.run(X)
        first, second = c.server.ledger(events=True).events
        assert c.right(a, X) == 1
        gap = second["started"] - first["started"]
        assert 1.15 <= gap < 10, f"{word}: {gap:.2f} s"
    return "obeyed in three forms"


@row("F03", "498, 499, 520 to 530, 598, 599 once each", "retried, right")
def _(c):
    codes = (498, 499, *range(520, 531), 598, 599)
    c.server.script(*(error(s, "passing", contains=f"c{s}", attempts=[1]) for s in codes))
    X = [f"sport c{s}" for s in codes]
    _, a, _ = c.run(X)
    ledger = c.server.ledger()
    assert (c.right(a, X), ledger.billed, ledger.received) == (len(X), len(X), 2 * len(X))
    return f"{len(X)} right"


@row("F04", "errors inside a 200: 429, 502, in a choice", "tried again, not counted as paid")
def _(c):
    choice = {"choices": {"0": {"finish_reason": "error", "message": {"content": "sport"}}}}
    rules = [inside(429, "slow"), inside("502", "down"), {"fault": {"kind": "merge",
             "fields": choice, "billed": False}}]  # fmt: skip
    for number, rule in enumerate(rules):
        c.server.reset(script=[{**rule, "attempts": [1]}])
        X = texts(5, word="food", start=10 * number)
        s, a, _ = c.run(X)
        assert (c.right(a, X), s.usage_.requests, c.server.ledger().billed) == (5, 5, 5)
    return "15 right, 15 paid"


@row("F05", "401, 402, 403, an unknown model inside a 200", "stop, nothing paid")
def _(c):
    wanted = {
        401: AuthenticationError,
        402: QuotaError,
        "invalid_api_key": AuthenticationError,
        "model_not_found": ModelNotFoundError,
    }
    for code, kind in wanted.items():
        said = "404" if code == "model_not_found" else "refused"
        body = {"error": {"code": code, "message": said, "status": 404}}
        if code != "model_not_found":
            del body["error"]["status"]
        c.server.reset(script=[c.fault("body", body=body, billed=False)])
        scorer = c.scorer(max_concurrency=2)
        raises(kind, lambda scorer=scorer: scorer.annotate(texts(20)))
        assert c.server.ledger().received <= 2
        assert scorer.usage_.requests == 0
    return "four kinds, at most 2 requests each"


@row("F06", "403 and 404 for one text, first or later", "that row refused, the others answered")
def _(c):
    page = "<html><title>Attention Required!</title></html>"
    flagged = {"error": {"code": 403, "message": "Input was flagged by moderation"}}
    for status, body in ((403, flagged), (403, page), (404, page), (403, {"error": "Forbidden"})):
        for place in (0, 6):
            rule = c.fault("status", status=status, body=body, contains=f"note {place} ")
            c.server.reset(script=[rule])
            scorer = LLMScorer(**c.params(memory=None)).fit(["any"])
            with quiet():
                a = scorer.annotate(texts(12))
            assert (~a.ok).nonzero()[0].tolist() == [place], a.status.tolist()
            assert a.status[place] == "refused"
    return "8 times one row of 12"


@row("F07", "403 and 404 that every text gets, from the start or in the middle", "the run stops")
def _(c):
    for status, kind in ((403, AuthenticationError), (404, ModelNotFoundError)):
        c.server.reset(script=[c.fault("status", status=status, body="<html>no</html>")])
        raises(kind, lambda: c.run(texts(60), max_concurrency=2))
        assert c.server.ledger().received <= 3
    c.server.reset(script=[{**error(403, "Forbidden"), "after": 20}])
    raises(AuthenticationError, lambda: c.run(texts(200, start=500), max_concurrency=4))
    received = c.server.ledger().received
    assert received <= 20 + 24 + 8, received
    return f"after 3; in the middle after {received - 20}"


@row("F08", "log-probabilities refused with six statuses", "auto falls back and says so")
def _(c):
    for status in (400, 403, 404, 422, 500, 501):
        c.server.reset(script=[error(status, "sorry", field="logprobs")])
        X = texts(6, start=status)
        scorer = LLMScorer(**c.params(memory=None, strategy="auto")).fit(["any"])
        with quiet():
            a = scorer.annotate(X)
        assert (c.right(a, X), a.meta["strategy"]) == (6, "probabilities"), status
    return "probabilities, six times"


@row("F09", "refused: max_tokens, temperature, system role", "changed once, told, stored as asked")
def _(c):
    c.server.script(
        error(400, "Unsupported parameter: 'max_tokens'", field="max_tokens"),
        error(400, "'temperature' does not support 0", field="temperature"),
        error(400, "System role not supported", role="system"),
    )
    X = texts(30)
    s, a, _ = c.run(X, max_concurrency=1)
    assert c.right(a, X) == 30
    assert c.server.ledger().received == 30 + 3
    assert {"max_tokens", "temperature", "system"} <= set(a.meta["adapted"])
    assert s.usage_.requests == 30
    _, a, _ = c.run(X)
    assert c.right(a, X) == 30
    assert c.server.ledger().received == 33
    return f"33 requests, then 0; {a.meta['adapted'] or 'nothing to adapt from the store'}"


@row("F10", "refused: n, top_logprobs above 5, response_format", "each strategy still answers")
def _(c):
    rules = {
        "votes": error(400, "'n' : number must be at most 1", field="n", above=1),
        "logprobs": error(400, "top_logprobs must be <= 5", field="top_logprobs", above=5),
        "probabilities": error(422, "response_format is unknown", field="response_format"),
    }
    told = {}
    for strategy, rule in rules.items():
        c.server.reset(script=[rule])
        X = texts(6)
        _, a, _ = c.run(X, strategy=strategy, n_votes=3)
        assert c.right(a, X) == 6, strategy
        told |= a.meta["adapted"]
    assert told == {"n": "left out", "top_logprobs": 5, "response_format": "left out"}
    return str(told)


@row("F11", "every answer is prose", "stops after eight and those in flight, shows one")
def _(c):
    c.server.script(c.fault("content", content="That is hard to say."))
    raises(EndpointError, lambda: c.run(texts(300), max_concurrency=4), "hard to say")
    received = c.server.ledger().received
    assert received <= 2 * (8 + 4), received
    return f"{received} of up to 600 requests"


@row("F12", "twenty filtered and twenty long texts first", "they abstain, the rest is answered")
def _(c):
    c.server.script(
        error(400, "content_filter", contains="dark"),
        error(400, "maximum context length is 8192 tokens", contains="long"),
    )
    X = [f"{kind} {n}" for n in range(20) for kind in ("dark", "long")] + texts(10)
    s, a, _ = c.run(X, max_concurrency=1)
    assert not a.ok[:40].any()
    assert a.ok[40:].all()
    assert s.usage_.failures == {"content_filter": 20, "too_long": 20}
    return str(s.usage_.failures)


@row("F13", "the key in code, type, param and message of errors", "masked; the words are shown")
def _(c):
    key = "swordfish-in-a-row-of-9"
    os.environ["SKL_SCORECARD_WORDS"] = key
    shown = []
    try:
        for status in (400, 401, 403, 404, 429):
            fields = dict.fromkeys(("code", "type", "param"), key)
            body = {"error": {"message": f"we close\nat noon, {key}", **fields}}
            headers = {"retry-after": "999"} if status == 429 else {}
            c.server.reset(script=[c.fault("status", status=status, body=body, headers=headers)])
            caught = raises(
                EndpointError,
                lambda: c.run(texts(20), api_key_env="SKL_SCORECARD_WORDS"),
                "we close at noon",
            )
            shown.append(f"{caught} {caught!r} {caught.args} {vars(caught)}")
        c.server.reset(script=[c.fault("status", status=400, body=body, contains="note 1 ")])
        scorer = c.scorer(api_key_env="SKL_SCORECARD_WORDS")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            a = scorer.annotate(texts(3))
        shown += [str(w.message) for w in warned] + [str(a.meta)]
    finally:
        del os.environ["SKL_SCORECARD_WORDS"]
    assert any("we close at noon" in text for text in shown[5:])
    assert not any("swordfish" in text for text in shown)
    return f"{len(shown)} texts, 0 hits"


@row(
    "F14", "no credit (400), a budget used up (400), a network shut out (403)", "ends at the first"
)
def _(c):
    cases = [
        (400, "Your credit balance is too low to access the API.", QuotaError),
        (400, "Budget has been exceeded! Max budget: 1.0", QuotaError),
        (403, "Access denied due to Virtual Network/Firewall rules.", AuthenticationError),
    ]
    for status, words, kind in cases:
        c.server.reset(script=[error(status, words)])
        raises(kind, lambda: c.run(texts(40), max_concurrency=1))
        assert c.server.ledger().received == 1
    return f"{len(cases)} of {len(cases)} after 1 request"


@row(
    "F15",
    "a stream of events where none was asked for; an error in a list",
    "put together; classed",
)
def _(c):
    pieces = [json.dumps({"choices": [{"delta": {"content": part}}]}) for part in ("sp", "ort")]
    stream = "".join(f"data: {piece}\n\n" for piece in pieces) + "data: [DONE]\n\n"
    down = [{"error": {"code": 503, "message": "overloaded"}}]
    c.server.script(
        c.fault("body", body=stream, contains="streamed"),
        c.fault("body", body=down, billed=False, contains="listed", attempts=[1]),
    )
    s, a, _ = c.run(["streamed", "listed sport"])
    assert a.labels().tolist() == ["sport"] * 2
    assert s.usage_.requests == 2
    return "2 right, 2 counted as paid"


@row("F16", "prose to the first eight of ten texts", "the last two are answered")
def _(c):
    c.server.script(
        *(c.fault("content", content="Hard to say.", contains=f"n{n}.") for n in range(8))
    )
    _, a, _ = c.run([f"n{n}. sport" for n in range(10)], max_concurrency=1)
    assert a.ok.tolist() == [False] * 8 + [True] * 2
    return "2 of 10 answered, no error"
