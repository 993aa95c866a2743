"""Faults, retries, the gate, endpoints, prices and replies: the LLM layer without a wire."""

import email.utils
import json
import pickle
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklfusion._chat import Usage
from sklfusion.exceptions import (
    AuthenticationError,
    EndpointError,
    ModelNotFoundError,
    QuotaError,
    SklFusionWarning,
)
from sklfusion.llm import _gate
from sklfusion.llm._faults import (
    UNEXPLAINED,
    CallError,
    Fault,
    error_from_fault,
    fault_from_status,
    parse_retry_after,
)
from sklfusion.llm._gate import Gate, Stopped
from sklfusion.llm._prices import Price, estimate_tokens, find_price
from sklfusion.llm._reply import reply_from_bytes
from sklfusion.llm._retry import Attempts, RetryBudget, RetryPolicy
from sklfusion.llm._usage import Meter, UsageReport
from sklfusion.llm.endpoints import (
    ENDPOINTS,
    Endpoint,
    check_origin,
    is_loopback,
    read_key,
    register_endpoint,
    resolve_endpoint,
)
from sklfusion.scoring._base import shorten


def fault_of(status, body=None, headers=None):
    """Return the fault of a status."""
    return fault_from_status(
        status,
        headers or {},
        json.dumps(body or {}).encode(),
        origin="http://127.0.0.1:1/v1",
        model="m",
        key_hint="the environment variable K",
    )


class TestFaults:
    """Every HTTP error is one of the kinds."""

    @pytest.mark.parametrize(
        "status",
        [408, 409, 425, 429, 498, 499, 500, 502, 503, 504, *range(520, 531), 598, 599],
    )
    def test_told_to_wait(self, status):
        """These are tried again."""
        assert fault_of(status).kind == "wait"

    @pytest.mark.parametrize(
        ("status", "body", "kind", "cause"),
        [
            (401, None, "stop", "auth"),
            (403, None, "refused", "auth"),
            (403, {"error": {"message": "Input was flagged by moderation", "code": 403}},
             "text", "content_filter"),
            (403, {"error": {"message": "You have no permission", "code": 403}}, "stop", "auth"),
            (403, {"error": {"code": "invalid_api_key"}}, "stop", "auth"),
            (403, {"error": {"message": "The team has no credits"}}, "stop", "quota"),
            (451, None, "refused", "auth"),
            (410, None, "refused", "model"),
            (402, None, "stop", "quota"),
            (404, None, "refused", "model"),
            (404, {"error": {"code": "model_not_found"}}, "stop", "model"),
            (404, {"error": {"message": "The model 'x' does not exist"}}, "stop", "model"),
            (400, {"error": {"message": "Model Not Exist"}}, "stop", "model"),
            (400, {"error": {"message": "API key not valid. Please pass a valid API key."}},
             "stop", "auth"),
            (400, {"error": {"code": "data_inspection_failed"}}, "text", "content_filter"),
            (400, {"error": {"message": "violates our usage policies"}},
             "text", "content_filter"),
            (429, {"error": {"code": "insufficient_quota"}}, "stop", "quota"),
            (307, None, "stop", "redirect"),
            (501, None, "text", "http_501"),
            (505, None, "text", "http_505"),
            (422, None, "text", "http_422"),
            (413, None, "text", "too_long"),
            (400, {"error": {"code": "context_length_exceeded"}}, "text", "too_long"),
            (400, {"error": {"code": "content_filter"}}, "text", "content_filter"),
            (400, {"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}}},
             "text", "content_filter"),
            (400, {"error": "exceed_context_size"}, "text", "too_long"),
            (400, [{"error": {"message": "bad"}}], "text", "http_400"),
            (400, {"error": None}, "text", "http_400"),
        ],
    )  # fmt: skip
    def test_the_others(self, status, body, kind, cause):
        """Stop the run, or give this text up."""
        fault = fault_of(status, body)
        assert (fault.kind, fault.cause) == (kind, cause)

    @given(st.integers(300, 599), st.binary(max_size=60))
    def test_no_body_breaks_it(self, status, body):
        """Whatever the body is, there is a fault of a known kind."""
        fault = fault_from_status(status, {}, body, origin="o", model="m", key_hint="k")
        assert fault.kind in ("wait", "stop", "text", "refused")
        assert fault.status == status

    def test_public_errors_survive_pickling(self):
        """They go through worker processes with their fields."""
        for status, cls in [(401, AuthenticationError), (404, ModelNotFoundError),
                            (403, AuthenticationError), (402, QuotaError),
                            (307, EndpointError)]:  # fmt: skip
            error = pickle.loads(pickle.dumps(error_from_fault(fault_of(status), "http://o")))
            assert type(error) is cls
            assert (error.status, error.origin) == (status, "http://o")
            assert str(error)
        assert pickle.loads(pickle.dumps(CallError(fault_of(500)))).fault == fault_of(500)

    def test_retry_after(self):
        """Milliseconds, seconds, dates; what makes no sense counts as not said."""
        now = 1_000_000.0
        assert parse_retry_after({"retry-after": "2"}, now) == 2
        assert parse_retry_after({"retry-after": "9", "retry-after-ms": "250"}, now) == 0.25
        date = email.utils.formatdate(now + 30, usegmt=True)
        assert parse_retry_after({"retry-after": date}, now) == 30
        past = email.utils.formatdate(now - 30, usegmt=True)
        for bad in ("0", "-3", "abc", "inf", "nan", "", past, "Mon, 99 Foo"):
            assert parse_retry_after({"retry-after": bad}, now) is None


class FakeClock:
    """Time that passes only by waiting."""

    def __init__(self):
        self.time = 100.0

    def now(self):
        return self.time

    def wait(self, condition, seconds):
        self.time += max(seconds, 1e-6)


class TestRetries:
    """One policy, few tries."""

    def test_kinds(self):
        """Unknown outcomes and bad replies once more, 500 a few times, what is free always."""
        policy, budget = RetryPolicy(max_attempts=3, max_unexplained=2), RetryBudget()

        def tries(kind, **fields):
            attempts = Attempts()
            for number in range(1, 10):
                attempts.total = number
                if not attempts.may_retry(Fault(kind, "x", **fields), policy, budget):
                    return number
            return 10

        assert tries("text") == tries("stop") == tries("refused") == 1
        assert tries("unknown") == tries("bad_reply") == 2
        assert tries("wait", status=500) == 3
        assert tries("not_sent") == tries("wait", status=429) == tries("wait", status=503) == 10
        assert Attempts(total=1).may_retry(Fault("wait", UNEXPLAINED), policy, budget)
        assert not Attempts(total=2).may_retry(Fault("wait", UNEXPLAINED), policy, budget)

    def test_the_budget_of_a_run(self):
        """Retries that may be paid twice end at 30 % and 20; what is free does not count."""
        policy, budget = RetryPolicy(), RetryBudget()
        for _ in range(100):
            budget.count_request()
        allowed = sum(
            Attempts(total=1).may_retry(Fault("unknown", "x"), policy, budget) for _ in range(200)
        )
        assert allowed == 50
        assert Attempts(total=1).may_retry(Fault("wait", "x"), policy, budget)
        assert Attempts(total=1).may_retry(Fault("not_sent", "x"), policy, budget)

    @given(st.integers(1, 40), st.integers(0, 1000))
    def test_delays_grow_and_are_bounded(self, attempt, seed):
        """Exponential with jitter, never above the cap."""
        policy = RetryPolicy()
        delay = policy.delay(attempt, random.Random(seed))
        full = min(policy.cap, policy.base * 2 ** (attempt - 1))
        assert full / 2 <= delay <= full


class TestGate:
    """Pace, pauses, breaker and stop, without waiting."""

    def test_pace(self):
        """60 requests a minute are one a second."""
        clock = FakeClock()
        gate = Gate(60, None, clock)
        for _ in range(11):
            gate.enter()
        assert clock.time == pytest.approx(110, abs=0.1)

    def test_pace_by_tokens(self):
        """600 tokens a minute let 100-token requests out every 10 seconds."""
        clock = FakeClock()
        gate = Gate(None, 600, clock)
        for _ in range(3):
            gate.enter(100)
        assert clock.time == pytest.approx(120, abs=0.1)

    def test_a_pause_holds_for_all_and_spreads(self):
        """Nobody before the time is up, then not all in one instant."""
        starts = []
        for _ in range(50):
            clock = FakeClock()
            gate = Gate(clock=clock)
            gate.pause_all(2.0)
            gate.enter()
            starts.append(clock.time - 100)
        assert min(starts) >= 2.0
        assert max(starts) <= 2.0 + _gate.SPREAD + 0.01
        assert max(starts) - min(starts) > 0.2

    def test_the_breaker_opens_probes_and_closes(self):
        """Half failing opens it; one probe at a time; a success closes it."""
        clock = FakeClock()
        gate = Gate(clock=clock)
        failing = Fault("wait", "http_500")
        for _ in range(_gate.MIN_OUTCOMES):
            gate.report(failing)
        start = clock.time
        gate.enter()
        assert clock.time >= start + 1.0
        gate.report(failing)
        gate.enter()
        assert clock.time >= start + 3.0
        gate.report(None)
        before = clock.time
        gate.enter()
        gate.enter()
        assert clock.time == before

    def test_the_breaker_gives_up(self):
        """After all probes failed there is no hope; where they were free, after the patience."""
        for fault, least, most in [
            (Fault("unknown", "timeout"), 10, 100),
            (Fault("wait", "http_503", status=503), 180, 300),
        ]:
            clock = FakeClock()
            gate = Gate(clock=clock, patience=180.0)
            for _ in range(_gate.MIN_OUTCOMES):
                gate.report(fault)
            while not gate.hopeless:
                gate.enter()
                gate.report(fault)
            assert least < clock.time - 100 < most
            assert gate.last == fault

    def test_too_late_is_told(self):
        """Whoever would have to wait beyond a moment is told so at that moment."""
        clock = FakeClock()
        gate = Gate(clock=clock)
        gate.pause_all(50.0)
        assert not gate.enter(until=120.0)
        assert clock.time == pytest.approx(120, abs=0.1)
        assert gate.enter(until=200.0)

    def test_faults_of_texts_do_not_open_it(self):
        """Refused texts and bad answers say nothing about the endpoint."""
        clock = FakeClock()
        gate = Gate(clock=clock)
        for _ in range(200):
            gate.report(Fault("text", "http_400"))
            gate.report(Fault("refused", "auth"))
            gate.report(Fault("wait", "http_429", retry_after=1.0))
        gate.enter()
        assert clock.time == 100

    def test_stop_wakes_everybody(self):
        """Workers that wait an hour leave at once."""
        gate = Gate()
        gate.pause_all(3600)
        left = []

        def work():
            try:
                gate.enter()
            except Stopped:
                left.append(1)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        gate.stop()
        for thread in threads:
            thread.join(5)
        assert len(left) == 4
        with pytest.raises(Stopped):
            gate.sleep(100)


class TestEndpoints:
    """Where to, and with which key."""

    def test_the_table(self, monkeypatch):
        """Each provider has an https origin and a variable, or is on this machine."""
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://my-resource.openai.azure.com/")
        for name in ENDPOINTS:
            known, model = resolve_endpoint(f"{name}/org/model")
            assert model == "org/model"
            assert check_origin(known.origin) == known.origin
            if not is_loopback(known.origin):
                assert known.origin.startswith("https://")
                assert known.api_key_env.endswith(("_API_KEY", "HF_TOKEN"))

    def test_base_url_goes_first(self):
        """An address of one's own takes the whole model name."""
        endpoint, name = resolve_endpoint("openai/x", "http://localhost:1/v1/", "MY_KEY")
        assert (endpoint.origin, name) == ("http://localhost:1/v1", "openai/x")
        assert endpoint.api_key_env == "MY_KEY"

    @pytest.mark.parametrize(
        "url", ["", "ftp://x", "127.0.0.1:8000", "http://u:p@h/v1", "http://h/v1?key=p", 5]
    )
    def test_bad_addresses(self, url):
        """Refused without repeating what could be secret."""
        with pytest.raises(ValueError, match="base_url") as caught:
            check_origin(url)
        assert "u:p" not in str(caught.value)
        assert "key=p" not in str(caught.value)

    @pytest.mark.parametrize("value", ["", "sk-canary\n", "sk-can\u00e4ry", " sk-canary"])
    def test_unusable_keys(self, monkeypatch, value):
        """The variable is named, the value never shown."""
        monkeypatch.setenv("SOME_KEY", value)
        with pytest.raises(AuthenticationError, match="SOME_KEY") as caught:
            read_key(Endpoint("https://example.invalid/v1", "SOME_KEY"))
        assert "can" not in str(caught.value).replace("that no header can carry", "")

    def test_keys_are_read_at_call_time(self, monkeypatch):
        """A key set later is found; this machine needs none; plain http warns."""
        endpoint = Endpoint("https://example.invalid/v1", "SOME_KEY")
        monkeypatch.delenv("SOME_KEY", raising=False)
        with pytest.raises(AuthenticationError, match="not set"):
            read_key(endpoint)
        assert read_key(Endpoint("http://127.0.0.1:1/v1", "SOME_KEY")) is None
        assert read_key(Endpoint("https://example.invalid/v1")) is None
        monkeypatch.setenv("SOME_KEY", "abc")
        assert read_key(endpoint) == "abc"
        with pytest.warns(SklFusionWarning, match="without encryption"):
            read_key(Endpoint("http://example.invalid/v1", "SOME_KEY"))

    def test_more_providers(self, monkeypatch):
        """A provider can be added."""
        monkeypatch.setitem(ENDPOINTS, "acme", None)
        register_endpoint("acme", Endpoint("https://acme.invalid/v1/", "ACME_KEY"))
        assert resolve_endpoint("acme/x")[0].origin == "https://acme.invalid/v1"


class TestMoney:
    """Prices, guesses, budgets."""

    def test_cost(self):
        """Cached tokens have their own price; what was not counted has none."""
        price = find_price({"input": 2, "output": 10, "cached": 1}, local=False)
        assert price.cost(Usage(1_000_000, 100_000, 500_000)) == pytest.approx(2.5)
        assert price.cost(Usage(5, None)) is None
        assert find_price((1, 2), local=False) == Price(1.0, 2.0)
        assert find_price(None, local=True).cost(Usage(10, 10)) == 0
        assert find_price(None, local=False) is None

    @pytest.mark.parametrize("prices", [5, {"input": 1}, (1,), (1, "x"), (1, float("nan"))])
    def test_bad_prices(self, prices):
        """Anything that is no price is refused."""
        with pytest.raises(ValueError, match="prices="):
            find_price(prices, local=False)

    @given(st.text(max_size=500))
    def test_guessed_tokens(self, text):
        """At least a fifth of a token per character, at most one and a half."""
        guess = estimate_tokens(text)
        assert len(text) / 5 <= guess <= 1.5 * len(text) + 1

    @given(st.text(max_size=400), st.integers(1, 60))
    def test_shortening(self, text, limit):
        """A cut text keeps its two ends and fits, a short one is untouched."""
        short, cut = shorten(text, limit)
        assert cut == (estimate_tokens(text) > limit and len(text) >= limit)
        if not cut:
            assert short == text
        else:
            head, tail = short.split(" [...] ", 1)[0], short.rsplit(" [...] ", 1)[1]
            assert text.startswith(head)
            assert text.endswith(tail)

    def test_the_budget_counts_what_is_under_way(self):
        """Requests in flight are set aside, so that all together stay below the limit."""
        meter = Meter(UsageReport(), None, {"tokens": 100})
        guess = Usage(30, 5)
        assert [meter.reserve(guess) is None for _ in range(3)] == [True, True, False]
        meter.give_back(guess)
        meter.paid(Usage(60, 1), guess)
        assert "61 of 100" in meter.reserve(guess)

    def test_uncounted_replies_are_guessed_and_said(self):
        """Without usage in the reply the cost is the guess, and the report says so."""
        report = UsageReport()
        meter = Meter(report, Price(1e6, 0.0), None)
        meter.paid(Usage(), Usage(7, 1))
        assert (report.uncounted, report.cost) == (1, 7.0)


class TestReplies:
    """A status of 200 promises nothing."""

    @pytest.mark.parametrize(
        "body",
        [b"", b"null", b"[]", b"<html>", b'{"choices": []}', b'{"choices": [{}]}', b"\xff\xfe",
         b'{"choices": [{"message": {"content"', b"[" * 100_000, b"1" * 1_000_000],
    )  # fmt: skip
    def test_no_completion(self, body):
        """Everything else is a bad reply."""
        with pytest.raises(CallError) as caught:
            reply_from_bytes(body)
        assert caught.value.fault.kind == "bad_reply"

    @given(st.binary(max_size=200))
    def test_any_bytes(self, body):
        """A reply or a bad reply, never another exception."""
        try:
            reply_from_bytes(body)
        except CallError as error:
            assert error.fault.kind == "bad_reply"  # noqa: PT017

    def test_what_is_optional_may_be_wrong(self):
        """Odd usage, log-probabilities and reasons do not cost the answer."""
        body = {
            "choices": [{"message": {"content": "x"}, "finish_reason": 3,
                         "logprobs": {"content": [{"token": 1}]}}],
            "usage": {"prompt_tokens": -4, "completion_tokens": True},
        }  # fmt: skip
        reply = reply_from_bytes(json.dumps(body).encode())
        assert reply.contents == ("x",)
        assert reply.usage == Usage()
        assert reply.logprobs is None
