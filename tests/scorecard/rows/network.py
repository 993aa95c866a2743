"""N: the network and HTTP."""

import email.utils
import os
import socket
import threading
import time
from itertools import pairwise

import psutil

from scorecard.rows._base import raises, row, texts
from sklfusion import (
    AuthenticationError,
    EndpointError,
    LLMScorer,
    ModelNotFoundError,
    QuotaError,
)
from sklfusion.testing import FaultServer, text_digest


def gaps(c):
    """Seconds between the attempts at each text, by digest."""
    rows = c.server.ledger().texts
    return {d: [b - a for a, b in pairwise(r["at"])] for d, r in rows.items()}


@row("N01", "429 once without a header", "retried after a pause, 1 billed, right")
def _(c):
    c.server.script(c.fault("status", status=429, attempts=[1]))
    X = texts(1)
    _, a, _ = c.run(X)
    ledger = c.server.ledger()
    (gap,) = gaps(c)[text_digest(X[0])]
    assert (ledger.received, ledger.billed, c.right(a, X)) == (2, 1, 1)
    assert 0.2 < gap < 3
    return f"gap {gap:.2f} s, billed 1"


@row("N02", "429, Retry-After 2, 16 workers", "nobody before 2 s; spread over 0.2 s or more")
def _(c):
    headers = {"Retry-After": "2"}
    c.server.script({"fault": {"kind": "status", "status": 429, "headers": headers}, "times": 16})
    X = texts(40)
    # where threads start slowly the 429s come in several rounds of 2 s
    _, a, _ = c.run(X, max_concurrency=16, deadline=120.0)
    events = c.server.ledger(events=True).events
    assert c.right(a, X) == 40
    first = min(e["started"] for e in events)
    after = sorted(e["started"] - first for e in events[16:])
    again = [e["started"] for e in events if e["attempt"] == 2]
    spread = max(again) - min(again)
    assert after[0] >= 1.95, f"a request after {after[0]:.2f} s"
    assert spread >= 0.2, f"spread {spread:.2f} s"
    return f"next after {after[0]:.2f} s, spread {spread:.2f} s"


@row("N03", "Retry-After: date, past, 0, negative, abc, inf", "date obeyed, others back off")
def _(c):
    soon = email.utils.formatdate(time.time() + 3, usegmt=True)
    c.server.script(c.fault("status", status=503, headers={"Retry-After": soon}, attempts=[1]))
    X = texts(1)
    _, a, _ = c.run(X)
    (gap,) = gaps(c)[text_digest(X[0])]
    assert gap > 1.5, f"date not obeyed: {gap:.2f} s"
    past = email.utils.formatdate(time.time() - 999, usegmt=True)
    said = {"past": past, "zero": "0", "minus": "-5", "abc": "abc", "inf": "inf"}
    X = [f"sport {name}" for name in said]
    c.server.reset(
        script=[
            c.fault("status", status=503, headers={"Retry-After": v}, attempts=[1], contains=name)
            for name, v in said.items()
        ]
    )
    _, a, seconds = c.run(X)
    assert c.right(a, X) == 5
    assert seconds < 3
    return f"date: {gap:.1f} s; others within {seconds:.1f} s"


@row("N04", "retry-after-ms 250", "obeyed")
def _(c):
    headers = {"retry-after-ms": "250"}
    c.server.script(c.fault("status", status=429, headers=headers, attempts=[1]))
    X = texts(1)
    _, a, _ = c.run(X)
    (gap,) = gaps(c)[text_digest(X[0])]
    assert c.right(a, X) == 1
    assert 0.25 <= gap < 1.2, gap
    return f"gap {gap:.2f} s"


@row("N05", "Retry-After 3600", "error now that says when to come back, saved rows kept")
def _(c):
    rule = c.fault("status", status=429, headers={"Retry-After": "3600"})
    c.server.script({**rule, "after": 20})
    X = texts(40)
    start = time.monotonic()
    error = raises(EndpointError, lambda: c.run(X), "3600 s.*run again")
    seconds = time.monotonic() - start
    paid = c.server.ledger().billed
    c.server.script()
    _, a, _ = c.run(X)
    assert seconds < 5
    assert c.right(a, X) == 40
    assert c.server.ledger().billed == 40
    return f"{type(error).__name__} after {seconds:.1f} s; {paid} kept"


@row("N06", "429 with a quota code", "stop after those in flight, error names billing")
def _(c):
    body = {"error": {"code": "insufficient_quota", "message": "exceeded your current quota"}}
    c.server.script({**c.fault("status", status=429, body=body), "after": 10})
    raises(QuotaError, lambda: c.run(texts(60), max_concurrency=4), "billing")
    received = c.server.ledger().received
    assert received <= 10 + 4, received
    return f"QuotaError, {received - 10} requests beyond"


@row("N07", "500, 502, 503, 504, 529 once each", "retried, right")
def _(c):
    codes = (500, 502, 503, 504, 529)
    c.server.script(*(c.fault("status", status=s, attempts=[1], contains=f"c{s}") for s in codes))
    X = [f"sport c{s}" for s in codes]
    _, a, _ = c.run(X)
    ledger = c.server.ledger()
    assert (c.right(a, X), ledger.received, ledger.billed) == (5, 10, 5)
    return "5 right, 5 billed"


@row("N08", "500 for ever", "attempts bounded, abstains, within the deadline")
def _(c):
    c.server.script(c.fault("status", status=500, contains="bad"))
    X = [*texts(10), "bad sport"]
    _, a, seconds = c.run(X, deadline=3.0)
    tries = c.server.ledger().texts[text_digest("bad sport")]["received"]
    assert (c.right(a, X[:10]), a.ok[10]) == (10, False)
    assert tries <= 8
    assert seconds < 4.5
    return f"{tries} attempts, {seconds:.1f} s, abstained"


@row("N09", "501, 505", "no retry")
def _(c):
    c.server.script(*(c.fault("status", status=s, contains=f"c{s}") for s in (501, 505)))
    X = [*texts(3), "sport c501", "sport c505"]
    _, a, _ = c.run(X)
    assert c.server.ledger().received == 5
    assert a.ok.tolist() == [True] * 3 + [False] * 2
    return "1 attempt each, abstained"


@row("N10", "401 and 403 at the first call", "stop, at most one per worker, names the variable")
def _(c):
    os.environ["SKL_SCORECARD_KEY"] = "sk-canary-9876543210"
    try:
        seen = []
        for code in (401, 403):
            c.server.reset(script=[c.fault("status", status=code)])
            error = raises(
                AuthenticationError,
                lambda: c.run(texts(30), api_key_env="SKL_SCORECARD_KEY", max_concurrency=4),
                "SKL_SCORECARD_KEY",
            )
            assert "canary" not in repr(error)
            seen.append(c.server.ledger().received)
            assert seen[-1] <= 4, seen
    finally:
        del os.environ["SKL_SCORECARD_KEY"]
    return f"{seen} requests"


@row("N11", "401 in the middle of a run", "stop, all delivered is saved, resume pays the rest")
def _(c):
    c.server.script({**c.fault("status", status=401), "after": 25})
    X = texts(60)
    raises(AuthenticationError, lambda: c.run(X))
    paid = c.server.ledger().billed
    c.server.script()
    _, a, _ = c.run(X)
    ledger = c.server.ledger()
    assert (c.right(a, X), ledger.billed, ledger.avoidable) == (60, 60, 0)
    return f"{paid} saved, {60 - paid} paid after"


@row("N12", "404, unknown model", "stop, names the model")
def _(c):
    body = {"error": {"code": "model_not_found"}}
    c.server.script(c.fault("status", status=404, body=body))
    raises(ModelNotFoundError, lambda: c.run(texts(20), model="no-such-model"), "no-such-model")
    assert c.server.ledger().received <= 8
    return f"{c.server.ledger().received} requests"


@row("N13", "400 for one text of 100", "99 right, 1 abstained, cause counted")
def _(c):
    c.server.script(c.fault("status", status=400, contains="bad"))
    X = [*texts(99), "bad sport"]
    s, a, _ = c.run(X)
    assert (c.right(a, X[:99]), a.ok[99]) == (99, False)
    assert s.usage_.failures == {"http_400": 1}
    return f"99 right, {s.usage_.failures}"


@row("N14", "400 for the first texts", "stop after 8 and those in flight")
def _(c):
    c.server.script(c.fault("status", status=400))
    raises(EndpointError, lambda: c.run(texts(60), max_concurrency=4), "set-up|setup")
    received = c.server.ledger().received
    assert received <= 8 + 4, received
    return f"stopped after {received}"


@row("N15", "408, 409, 425", "retried")
def _(c):
    codes = (408, 409, 425)
    c.server.script(*(c.fault("status", status=s, attempts=[1], contains=f"c{s}") for s in codes))
    X = [f"sport c{s}" for s in codes]
    _, a, _ = c.run(X)
    assert (c.right(a, X), c.server.ledger().billed) == (3, 3)
    return "3 right"


@row("N16", "413 and a context-length error", "that text abstains, never sent again unchanged")
def _(c):
    body = {"error": {"code": "context_length_exceeded", "message": "maximum context length"}}
    c.server.script(
        c.fault("status", status=413, contains="one"),
        c.fault("status", status=400, body=body, contains="two"),
    )
    X = [*texts(5), "one sport", "two sport"]
    s, a, _ = c.run(X)
    assert c.right(a, X[:5]) == 5
    assert not a.ok[5:].any()
    assert c.server.ledger().received == 7
    assert s.usage_.failures == {"too_long": 2}
    return str(s.usage_.failures)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@row("N17", "connection refused at the start", "tried within the deadline, one error with origin")
def _(c):
    url = f"http://127.0.0.1:{free_port()}/v1"
    start = time.monotonic()
    raises(EndpointError, lambda: c.run(texts(20), base_url=url, deadline=6.0), url[:20])
    seconds = time.monotonic() - start
    assert seconds < 8
    return f"after {seconds:.1f} s"


@row("N18", "server gone for 2 s in the run", "run completes, 0 lost")
def _(c):
    c.server.reset(latency_ms=20)
    X = texts(300)
    timer = threading.Timer(0.4, c.server.outage, (2.0,))
    timer.start()
    _, a, seconds = c.run(X)
    timer.join()
    ledger = c.server.ledger()
    assert c.right(a, X) == 300, f"{c.right(a, X)} of 300 right"
    assert ledger.avoidable == 0
    return f"300 right in {seconds:.1f} s, {ledger.unavoidable} paid again"


@row("N19", "reset before any byte", "retried once, counted as unknown")
def _(c):
    c.server.script(c.fault("reset", attempts=[1]))
    X = texts(1)
    s, a, _ = c.run(X)
    assert (c.right(a, X), s.usage_.unknown, c.server.ledger().billed) == (1, 1, 1)
    return "unknown: 1"


def cut(c, kind):
    c.server.script(c.fault(kind, attempts=[1]))
    X = texts(10)
    _, a, _ = c.run(X)
    ledger = c.server.ledger()
    assert (c.right(a, X), ledger.billed, ledger.unavoidable) == (10, 20, 10), ledger
    c.server.reset(script=[c.fault(kind, contains="bad")])
    _, a, _ = c.run(["bad sport", *texts(5, start=100)])
    bad = c.server.ledger().texts[text_digest("bad sport")]
    assert (a.ok[0], bad["billed"]) == (False, 2), bad
    return f"{kind}: unavoidable 10 = injected 10; for ever: 2 billed"


@row("N20", "reset in mid body after billing", "at most 1 more try, unavoidable = injected")
def _(c):
    return cut(c, "reset_body")


@row("N21", "end of a short body; chunks without end", "as N20")
def _(c):
    return cut(c, "short") + "; " + cut(type(c)(c.server, c.folder / "2"), "chunked")


@row("N22", "headers never come", "ends at the read timeout, within the deadline")
def _(c):
    c.server.script(c.fault("hang", seconds=20, contains="bad"))
    X = [*texts(3), "bad sport"]
    _, a, seconds = c.run(X, timeout=0.7, deadline=2.0)
    assert a.ok.tolist() == [True] * 3 + [False]
    assert seconds < 3
    return f"abstained after {seconds:.1f} s"


@row("N23", "8 bytes every 0.3 s", "cut at the deadline of the call")
def _(c):
    c.server.script(c.fault("drip", bytes=8, seconds=0.3, contains="bad"))
    X = [*texts(3), "bad sport"]
    _, a, seconds = c.run(X, timeout=1.0, deadline=2.0)
    assert a.ok.tolist() == [True] * 3 + [False]
    assert seconds < 3.2, f"{seconds:.1f} s"
    return f"cut after {seconds:.1f} s"


@row(
    "N24", "always 1 s later than the timeout", "at most 2 billed per text, error advises timeout"
)
def _(c):
    c.server.script(c.fault("late", seconds=1.4))
    error = raises(EndpointError, lambda: c.run(texts(80), timeout=0.4), "larger timeout")
    time.sleep(1.5)
    ledger = c.server.ledger()
    most = max(r["billed"] for r in ledger.texts.values())
    assert most <= 2
    assert ledger.received < 80, ledger.received
    return f"{ledger.received} requests, at most {most} per text; {str(error)[:40]}"


@row("N25", "200 with HTML, nothing, null, a list, a string", "bad reply, one more try, no crash")
def _(c):
    said = {"html": "<html>", "empty": "", "null": "null", "list": "[1]", "text": '"sport"'}
    for attempts, right in (([1], 5), ("all", 0)):
        c.server.reset(
            script=[
                c.fault("body", body=b, contains=n, attempts=attempts) for n, b in said.items()
            ]
        )
        X = [f"sport {n} {right}" for n in said]
        _, a, _ = c.run(X)
        assert (c.right(a, X), c.server.ledger().received) == (right, 10)
    return "once: 5 right; always: 5 abstained, 2 tries each"


@row("N26", "200 with half of the JSON", "bad reply, 1 more try")
def _(c):
    c.server.script(c.fault("truncated", attempts=[1]))
    X = texts(3)
    _, a, _ = c.run(X)
    assert (c.right(a, X), c.server.ledger().billed) == (3, 6)
    return "3 right, 6 billed"


@row("N27", "50 MB of body; gzip bomb", "read limit, abstains, memory flat")
def _(c):
    c.server.script(
        c.fault("big", bytes=50_000_000, contains="big"),
        c.fault("gzip_bomb", bytes=400_000_000, contains="bomb"),
    )
    process = psutil.Process()
    c.run(texts(1))
    before = process.memory_info().rss
    X = [*texts(2), "big sport", "bomb sport"]
    _, a, seconds = c.run(X, timeout=10)
    grown = (process.memory_info().rss - before) / 2**20
    assert a.ok.tolist() == [True, True, False, False]
    assert grown < 150, f"{grown:.0f} MB"
    return f"abstained, {grown:.0f} MB, {seconds:.1f} s"


@row("N28", "307 to another origin", "not followed, stop, nothing reaches the other")
def _(c):
    with FaultServer() as other:
        headers = {"Location": f"{other.base_url}/chat/completions"}
        c.server.script(c.fault("status", status=307, headers=headers))
        raises(EndpointError, lambda: c.run(texts(5)), "redirect")
        assert other.ledger().received == 0
        assert other.ledger().connections <= 2  # our own questions about the ledger
    return "other server: 0 requests"


@row("N29", "307 to the same origin", "not followed")
def _(c):
    headers = {"Location": f"{c.server.base_url}/chat/completions"}
    c.server.script(c.fault("status", status=307, headers=headers))
    raises(EndpointError, lambda: c.run(texts(1)), "redirect")
    assert c.server.ledger().received == 1
    return "1 request"


@row(
    "N30",
    "TLS: self-signed, wrong name, expired, plain port",
    "refused; no parameter turns it off",
)
def _(c):
    import datetime

    import trustme

    ca = trustme.CA()
    then = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    kinds = {
        "self-signed": (ca.issue_cert("127.0.0.1"), False),
        "wrong name": (ca.issue_cert("elsewhere.example"), True),
        "expired": (ca.issue_cert("127.0.0.1", not_before=then, not_after=then), True),
        "good": (ca.issue_cert("127.0.0.1"), True),
    }
    ca.cert_pem.write_to_path(c.folder / "ca.pem")
    old = os.environ.pop("SSL_CERT_FILE", None)
    seen = []
    try:
        for name, (cert, trusted) in kinds.items():
            key, chain = c.folder / "key.pem", c.folder / "chain.pem"
            cert.private_key_pem.write_to_path(key)
            for number, blob in enumerate(cert.cert_chain_pems):
                blob.write_to_path(chain, append=number > 0)
            os.environ.pop("SSL_CERT_FILE", None)
            if trusted:
                os.environ["SSL_CERT_FILE"] = str(c.folder / "ca.pem")
            with FaultServer(certfile=chain, keyfile=key) as server:
                if name == "good":
                    _, a, _ = c.run(texts(1), base_url=server.base_url)
                    assert c.right(a, texts(1)) == 1
                else:
                    url = server.base_url
                    raises(
                        EndpointError, lambda url=url: c.run(texts(1), base_url=url, deadline=3.0)
                    )
                assert server.ledger().received == (name == "good")
                seen.append(f"{name}: {'answered' if name == 'good' else 'refused'}")
    finally:
        os.environ.pop("SSL_CERT_FILE", None)
        if old is not None:
            os.environ["SSL_CERT_FILE"] = old
    plain = c.server.base_url.replace("http:", "https:")
    raises(EndpointError, lambda: c.run(texts(1), base_url=plain, deadline=1.5))
    assert not {"verify", "verify_ssl", "insecure"} & set(LLMScorer("m").get_params())
    return "; ".join(seen)


@row("N31", "idle connection closed between requests", "transparent, not counted as paid")
def _(c):
    c.server.script(c.fault("close"))
    X = texts(60)
    s, a, _ = c.run(X, max_concurrency=4)
    ledger = c.server.ledger()
    assert c.right(a, X) == 60
    assert (ledger.billed, ledger.avoidable, s.usage_.requests) == (60, 0, 60)
    return f"60 right, 60 billed, unknown {s.usage_.unknown}"


@row("N32", "1,000 headers, 64 KB headers, bad UTF-8", "bad reply or ignored, no crash")
def _(c):
    c.server.script(
        c.fault("many_headers", count=1000, contains="many", usable=True),
        c.fault("many_headers", count=1, bytes=65536, contains="long", usable=True),
        c.fault("bad_utf8", contains="utf"),
    )
    X = [*texts(3), "many sport", "long sport", "utf sport"]
    _, a, _ = c.run(X)
    assert c.right(a, X[:3]) == 3
    assert not a.ok[5]
    return f"answered: {a.ok.tolist()[3:]}"


@row(
    "N33",
    "limit of 100 requests/s by 429, 64 workers",
    "under 5 % refused, 90 % of the limit used",
)
def _(c):
    c.server.reset(limit_rps=100, latency_ms=50)
    X = texts(1000)
    _, a, seconds = c.run(X, max_concurrency=64, requests_per_minute=5700, deadline=120.0)
    ledger = c.server.ledger()
    refused = ledger.injected.get("rate", 0) / ledger.received
    assert c.right(a, X) == 1000
    assert refused < 0.05, f"{refused:.1%} refused"
    assert 1000 / seconds > 90, f"{1000 / seconds:.0f}/s"
    return f"{refused:.1%} refused, {1000 / seconds:.0f}/s"


@row("N34", "proxy variables in the environment", "loopback is never proxied")
def _(c):
    dead = f"http://127.0.0.1:{free_port()}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy")
    old = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, dead))
    try:
        X = texts(3)
        # Another timeout makes another client, which reads the environment anew.
        _, a, _ = c.run(X, timeout=4.321)
    finally:
        for name, value in old.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    assert c.right(a, X) == 3
    return "3 right, proxy unused"
