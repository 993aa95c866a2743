"""N: the network and HTTP."""

import threading
import time

from benchmarks.load._peer_libraries import KEY, WORKERS
from benchmarks.load._peer_rows._base import (
    fault,
    row,
    skip,
    status,
    texts,
)


def _nothing_paid_again(d, X):
    """Run again without faults; return how many texts the broken run had paid for."""
    paid = d.server.ledger().billed
    d.script()
    d.all_right(X)
    again = d.server.ledger().billed + paid - len(X)
    assert again == 0, f"{again} texts paid for again"
    return paid


@row("N01", "429 once without a header", "retried, 1 billed, right")
def _(d):
    d.script(status(429, attempts=[1]))
    d.all_right(texts(1))
    assert d.server.ledger().billed == 1
    return "right, billed 1"


@row("N02", "429 with Retry-After 2 for 8 workers", "nobody within the 2 s; spread over 0.2 s")
def _(d):
    d.script({**status(429, headers={"Retry-After": "2"}), "times": WORKERS})
    X = texts(24)
    d.all_right(X)
    events = d.server.ledger(events=True).events
    first = min(e["started"] for e in events)
    early = [e for e in events[WORKERS:] if e["started"] - first < 1.9]
    assert not early, f"{len(early)} requests within the 2 s"
    again = [e["started"] for e in events if e["attempt"] == 2]
    spread = max(again) - min(again)
    assert spread >= 0.2, f"all come back within {spread:.2f} s of each other"
    return f"none within 2 s, spread over {spread:.1f} s"


@row("N05", "Retry-After 3600", "an error within 15 s; what was paid for is kept")
def _(d):
    X = texts(16)
    d.script({**status(429, headers={"Retry-After": "3600"}), "after": 8})
    start = time.monotonic()
    error = d.fails(X)
    seconds = time.monotonic() - start
    assert error is not None, "no error"
    assert seconds < 15, f"the error came after {seconds:.0f} s"
    paid = _nothing_paid_again(d, X)
    return f"{type(error).__name__} after {seconds:.1f} s, {paid} kept"


@row("N06", "429 with a quota code after 8 texts", "stops: at most one more request per worker")
def _(d):
    body = {"error": {"code": "insufficient_quota", "message": "exceeded your current quota"}}
    d.script({**status(429, body=body), "after": 8})
    error = d.fails(texts(24))
    assert error is not None, "no error"
    more = d.server.ledger().received - 8
    assert more <= WORKERS, f"{more} requests after the quota was gone"
    return f"{type(error).__name__}, {more} more requests"


@row("N07", "500, 502, 503, 504, 529 once each", "retried, right, 5 billed")
def _(d):
    codes = (500, 502, 503, 504, 529)
    d.script(*(status(code, attempts=[1], contains=f"c{code}") for code in codes))
    d.all_right([f"sport c{code}" for code in codes])
    assert d.server.ledger().billed == 5
    return "5 right, 5 billed"


@row("N08", "500 for ever for one text of 7", "abstains after at most 8 tries, others right")
def _(d):
    d.script(status(500, contains="bad"))
    return d.gives_up_on(["bad sport"], 8)


@row("N10", "401 at the first call", "stops after at most one request per worker; key not shown")
def _(d):
    d.script(status(401, body={"error": {"code": "invalid_api_key", "message": "bad key"}}))
    error = d.fails(texts(16))
    assert error is not None, "no error"
    assert KEY not in repr(error) + str(error), "the error shows the key"
    received = d.server.ledger().received
    assert received <= WORKERS, f"{received} requests with a key that is refused"
    return f"{type(error).__name__} after {received} request(s)"


@row("N11", "401 in the middle of a run", "what was paid for is kept; a second run pays the rest")
def _(d):
    d.script({**status(401), "after": 8})
    X = texts(16)
    assert d.fails(X) is not None, "no error"
    paid = _nothing_paid_again(d, X)
    return f"{paid} kept, {len(X) - paid} paid after"


@row("N12", "404, unknown model", "stops after at most one request per worker; names the model")
def _(d):
    body = {"error": {"code": "model_not_found", "message": "no such thing"}}
    d.script(status(404, body=body))
    error = d.fails(texts(16), model="no-such-model")
    assert error is not None, "no error"
    received = d.server.ledger().received
    assert received <= WORKERS, f"{received} requests to a model that is not there"
    assert "no-such-model" in str(error), "the error does not name the model"
    return f"{type(error).__name__} after {received} request(s)"


@row("N13", "400 for one text of 20", "abstains after 1 try, others right")
def _(d):
    d.script(status(400, contains="bad"))
    return d.gives_up_on(["bad sport"], 1, texts(19))


@row("N15", "408, 409, 425 once each", "retried, right")
def _(d):
    codes = (408, 409, 425)
    d.script(*(status(code, attempts=[1], contains=f"c{code}") for code in codes))
    d.all_right([f"sport c{code}" for code in codes])
    return "3 right"


@row("N16", "413 and a context-length error", "abstain, never sent again unchanged")
def _(d):
    body = {"error": {"code": "context_length_exceeded", "message": "maximum context length"}}
    d.script(status(413, contains="one"), status(400, body=body, contains="two"))
    return d.gives_up_on(["one sport", "two sport"], 1)


@row("N17", "nobody listens", "one error within 30 s that names the address")
def _(d):
    start = time.monotonic()
    error = d.fails(texts(8), port=9, deadline=5.0)
    assert error is not None, "no error"
    assert time.monotonic() - start < 30
    assert "127.0.0.1" in str(error), f"the error does not say where: {str(error)[:60]!r}"
    return f"{type(error).__name__} after {time.monotonic() - start:.1f} s"


@row("N18", "server gone for 2 s in the run", "the run completes, all right")
def _(d):
    d.script(latency_ms=20)
    X = texts(120)
    timer = threading.Timer(0.2, d.server.outage, (2.0,))
    timer.start()
    try:
        d.all_right(X)
    finally:
        timer.join()
        time.sleep(2.2)
    return "120 right"


@row("N19", "reset before any byte, once", "tried again, right")
def _(d):
    d.script(fault("reset", attempts=[1]))
    d.all_right(texts(1))
    return "right"


@row("N20", "reset in mid body after billing, always, one text", "at most 2 billed, abstains")
def _(d):
    d.script(fault("reset_body", contains="bad"))
    return d.gives_up_on(["bad sport"], 2)


@row("N21", "body shorter than promised, always, one text", "at most 2 billed, abstains")
def _(d):
    d.script(fault("short", contains="bad"))
    return d.gives_up_on(["bad sport"], 2)


@row("N22", "headers never come for one text", "abstains within 15 s, others right", seconds=40)
def _(d):
    d.script(fault("hang", seconds=25, contains="bad"))
    start = time.monotonic()
    d.gives_up_on(["bad sport"], 8, timeout=1.0, deadline=3.0)
    seconds = time.monotonic() - start
    assert seconds < 15, f"took {seconds:.0f} s"
    return f"abstained after {seconds:.1f} s"


@row("N23", "8 bytes every 0.3 s for one text", "cut at a deadline, abstains in 10 s", seconds=60)
def _(d):
    d.script(fault("drip", bytes=8, seconds=0.3, contains="bad"))
    start = time.monotonic()
    d.run([*texts(3), "bad sport"], timeout=1.0, deadline=3.0)
    seconds = time.monotonic() - start
    assert seconds < 10, f"waited {seconds:.0f} s for one reply"
    return f"cut after {seconds:.1f} s"


@row("N24", "always 1 s later than the timeout", "at most 2 billed per text")
def _(d):
    if not d.lib.timed:
        skip("no timeout can be set")
    d.script(fault("late", seconds=1.4))
    d.fails(texts(40), timeout=0.4)
    time.sleep(1.5)
    most = max(r["billed"] for r in d.server.ledger().texts.values())
    assert most <= 2, f"{most} billed for one text"
    return f"at most {most} billed per text"


@row("N25", "200 with HTML, nothing, null, a list", "abstains after 2 tries, others right")
def _(d):
    said = {"html": "<html>", "empty": "", "null": "null", "list": "[1]"}
    d.script(*(fault("body", body=body, contains=name) for name, body in said.items()))
    return d.gives_up_on([f"sport {name}" for name in said], 2)


@row("N26", "200 with half of the JSON, once", "tried again, right")
def _(d):
    d.script(fault("truncated", attempts=[1]))
    d.all_right(texts(3))
    return "3 right"


@row("N27", "50 MB of body for one text", "abstains, memory grows less than 150 MB")
def _(d):
    import resource

    d.run(texts(1, start=90))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    d.script(fault("big", bytes=50_000_000, contains="bad"))
    said = d.gives_up_on(["bad sport"], 2)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 150, f"{grown:.0f} MB more memory"
    return said


@row("N28", "307 to another origin", "not followed: the other server gets no text")
def _(d):
    path = "/v1/chat/completions"
    d.script(status(307, headers={"Location": f"http://127.0.0.1:{d.other.port}{path}"}))
    d.fails(texts(2))
    got = d.other.ledger().received
    assert got == 0, f"{got} texts sent to the other server"
    return "0 requests to the other server"
