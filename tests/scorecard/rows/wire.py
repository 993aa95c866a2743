"""W: where is asked, with what, and what the wire may do."""

import os
import pickle
import signal
import time

import psutil

from scorecard.rows._base import CLASSES, quiet, raises, row, texts
from sklfusion import BudgetExceededError, LLMEndpoint, LLMScorer


def at_deadline(c, kind, **options):
    """Seconds until a text whose reply never comes whole is given up, with a deadline of 3 s."""
    c.server.script(c.fault(kind, contains="slow", seconds=0.2, **options))
    _, a, seconds = c.run(["slow sport", *texts(2)], deadline=3.0)
    assert a.ok.tolist() == [False, True, True]
    assert 2.5 < seconds < 8, f"{seconds:.1f} s"
    return f"given up after {seconds:.1f} s, the others answered"


@row("W01", "a head that drips, each read in time", "ends at the deadline")
def _(c):
    return at_deadline(c, "drip_head")


@row("W02", "replies 103 for ever", "ends at the deadline")
def _(c):
    return at_deadline(c, "informational")


@row("W03", "Ctrl-C while a head drips", "ends within 2 s, what arrived is saved")
def _(c):
    c.server.script(c.fault("drip_head", contains="slow", seconds=0.2))
    code = """if True:
        import signal, sys, time
        from sklfusion import LLMScorer
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a person's shell
        s = LLMScorer("loopback", classes=["sport", "food"], strategy="label",
                      base_url=sys.argv[1], memory=sys.argv[2],
                      deadline=120.0, timeout=60.0).fit(["any"])
        try:
            s.annotate(["good sport", "slow sport"])
        except KeyboardInterrupt:
            print(time.time(), flush=True)
        """
    memory = c.folder / "memory"
    child = c.popen(code, c.server.base_url, memory)
    try:
        end = time.monotonic() + 60
        while c.server.ledger().received < 2 or c.server.ledger().usable < 1:
            assert time.monotonic() < end, "the requests never came"
            time.sleep(0.1)
        sent = time.time()
        child.send_signal(signal.SIGINT)
        seconds = float(child.communicate(timeout=60)[0]) - sent
    finally:
        child.kill()
        child.wait()
    assert seconds < 2, f"{seconds:.1f} s"
    _, a, _ = c.run(["good sport"], memory=str(memory), cache_only=True)
    assert a.ok.all()
    return f"after {seconds:.1f} s, 1 reply saved"


@row("W04", "200 MB packed twice, in a reply and in an error", "row abstains, memory flat")
def _(c):
    size = {"bytes": 200_000_000, "encodings": ["gzip", "gzip"]}
    c.server.script(
        c.fault("packed", contains="bomb", **size),
        c.fault("packed", contains="error", status=400, **size),
    )
    c.run(texts(1))
    process = psutil.Process()
    before = process.memory_info().rss
    _, a, _ = c.run([*texts(2), "bomb sport", "error sport"], timeout=20.0)
    grown = (process.memory_info().rss - before) / 2**20
    assert a.ok.tolist() == [True, True, False, False]
    assert grown < 100, f"{grown:.0f} MB"
    return f"abstained, {grown:.0f} MB"


@row("W05", "a second reply, or bytes, behind a reply", "connection dropped, all answers right")
def _(c):
    c.server.script(c.fault("stray", content="food", contains="1"), c.fault("trailing", body="x"))
    X = [f"sport {n}" for n in range(8)]
    s, a, _ = c.run(X, max_concurrency=1)
    assert (c.right(a, X), c.server.ledger().received, s.usage_.unknown) == (8, 8, 0)
    return "8 right of 8 requests"


@row("W06", "OPENAI_* of the environment, another address", "nothing of it travels")
def _(c):
    canary = {
        "OPENAI_CUSTOM_HEADERS": "X-Canary: canary\nHost: canary",
        **{f"OPENAI_{n}": "canary" for n in ("ORG_ID", "PROJECT_ID", "API_KEY", "BASE_URL")},
    }
    code = """if True:
        import sys
        from sklfusion import LLMScorer
        s = LLMScorer("m", classes=["sport", "food"], strategy="label", base_url=sys.argv[1])
        print(s.fit(["any"]).annotate(["sport"]).ok.all())
        """
    assert c.python(code, c.server.base_url, **canary) == "True"
    names = set(c.server.ledger().header_names)
    usual = {"accept", "accept-encoding", "connection", "host", "user-agent"}
    assert names <= usual | {"content-length", "content-type"}, names
    return f"headers sent: {len(names)}"


@row("W07", "Azure: dated version, deployment, api-key", "sent as Azure wants, key nowhere else")
def _(c):
    os.environ["SKL_AZURE_KEY"] = "canary-of-azure"
    try:
        endpoint = LLMEndpoint(
            "azure/my-gpt",
            base_url=c.server.origin,
            api_key_env="SKL_AZURE_KEY",
            query={"api-version": "2024-10-21"},
            headers_env={"x-gateway": "SKL_AZURE_KEY"},
        )
        scorer = LLMScorer(endpoint, classes=list(CLASSES), strategy="label").fit(["any"])
        assert scorer.annotate(texts(1)).ok.all()
    finally:
        del os.environ["SKL_AZURE_KEY"]
    ledger = c.server.ledger()
    path = "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    assert path in ledger.paths
    assert {"api-key", "x-gateway"} <= set(ledger.header_names)
    assert "authorization" not in ledger.header_names
    assert "canary" not in repr(scorer) + str(pickle.dumps(scorer))
    return path


@row("W08", "keys in base_url and api_key_env", "neither repr nor pickle, refused in fit")
def _(c):
    shown = 0
    for bad in (
        {"base_url": "http://user:canary1@h/v1"},
        {"base_url": "http://h/v1?sig=canary1"},
        {"base_url": "http://h/sk-canary1/v1"},
        {"api_key_env": "sk-canary1"},
    ):
        scorer = LLMScorer("m", classes=list(CLASSES), **bad)
        error = raises(ValueError, lambda s=scorer: s.fit(["any"]), next(iter(bad)))
        places = repr(scorer) + scorer._repr_html_() + str(pickle.dumps(scorer)) + str(error)
        shown += "canary" in places
    assert shown == 0
    return "4 refused, 0 shown"


@row("W09", "addresses that cannot be", "one clear ValueError each, nothing sent")
def _(c):
    bad = ["http://h\0/v1", "http://a b/v1", "http://::1/v1", "http://h:99999/v1", "http://h:x/v1"]
    bad += ["http://256.1.1.1/v1", "http://.h/v1", "http://" + "a" * 300, "http://h/" + "p" * 9000]
    for url in bad:
        raises(
            ValueError, lambda u=url: LLMScorer("m", base_url=u).fit(["any"], ["a"]), "base_url"
        )
    return f"{len(bad)} refused"


@row("W10", "two scorers of one LLMEndpoint", "one budget, one account; a clone has its own")
def _(c):
    endpoint = LLMEndpoint("m", base_url=c.server.base_url, budget={"requests": 5})
    made = {"classes": list(CLASSES), "strategy": "label"}
    one, two = (LLMScorer(endpoint, **made).fit(["any"]) for _ in range(2))
    with quiet():
        one.annotate(texts(3))
        two.annotate(texts(2, start=10))
    raises(BudgetExceededError, lambda: one.annotate(texts(1, start=20)))
    assert endpoint.usage_.requests == c.server.ledger().billed == 5
    raises(ValueError, lambda: LLMScorer(endpoint, timeout=3.0, **made).fit(["any"]), "timeout")
    return "5 of 5 requests; a setting beside it is refused"
