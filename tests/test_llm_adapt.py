"""Refused fields, and what ends a run: the decisions, without a wire."""

import json
from dataclasses import replace

import pytest

from sklfusion._chat import ChatRequest
from sklfusion.exceptions import AuthenticationError, EndpointError, ModelNotFoundError
from sklfusion.llm._adapt import THINKING_TOKENS, Adaptations, apply, next_change, refuses
from sklfusion.llm._faults import Fault, fault_from_status
from sklfusion.llm._retry import RetryPolicy
from sklfusion.llm._verdict import Verdict

REQUEST = ChatRequest(
    "o",
    "m",
    (("system", "instructions"), ("user", '"text"')),
    {
        "temperature": 0.0,
        "logprobs": True,
        "top_logprobs": 20,
        "max_tokens": 8,
        "n": 5,
        "response_format": {"type": "json_schema"},
        "seed": 1,
    },
)


def refusal(message, status=400, **fields):
    """Return the fault of a refusal in these words."""
    body = json.dumps({"error": {"message": message, **fields}}).encode()
    return fault_from_status(status, {}, body, origin="o", model="m", key_hint="k")


class TestRefusedFields:
    """Which field is meant, in the words of many endpoints."""

    @pytest.mark.parametrize(
        ("message", "fields", "change"),
        [
            ("Unsupported parameter: 'max_tokens' is not supported with this model. Use "
             "'max_completion_tokens' instead.", {},
             {"max_tokens": "max_completion_tokens", "thinking_tokens": THINKING_TOKENS}),
            ("no", {"param": "max_tokens"},
             {"max_tokens": "max_completion_tokens", "thinking_tokens": THINKING_TOKENS}),
            ("max_tokens is too small: expected at least 16", {}, {"least_tokens": 16}),
            ("max_tokens: 8 > 4, which is the maximum allowed", {}, {"most_tokens": 4}),
            ("Unsupported value: 'temperature' does not support 0 with this model.", {},
             {"temperature": None}),
            ("You are not allowed to request logprobs from this model", {"status": 403},
             {"logprobs": None, "top_logprobs": None}),
            ("Extra inputs are not permitted: logprobs", {"status": 422},
             {"logprobs": None, "top_logprobs": None}),
            ("logprobs are not implemented", {"status": 500},
             {"logprobs": None, "top_logprobs": None}),
            ("logprobs are not implemented", {"status": 501},
             {"logprobs": None, "top_logprobs": None}),
            ("top_logprobs must be <= 5", {}, {"top_logprobs": 5}),
            ("Requested sample logprobs of 20, which is greater than max allowed: 5", {},
             {"top_logprobs": 5}),
            ("Expected a value <= 5, but got 20 instead", {"param": "top_logprobs"},
             {"top_logprobs": 5}),
            ("top_logprobs is not supported", {}, {"top_logprobs": None}),
            ("'n' : number must be at most 1", {}, {"n": None}),
            ("This response_format type is unavailable now", {}, {"response_format": None}),
            ("json_schema is not supported", {}, {"response_format": None}),
            ("Unrecognized request argument supplied: seed", {}, {"seed": None}),
            ("System role not supported", {}, {"system": "user"}),
            ("no", {"param": "messages[0].role"}, {"system": "user"}),
            ("Developer instruction is not enabled for models/gemma", {}, {"system": "user"}),
            ("Conversation roles must alternate user/assistant/...", {}, {"system": "user"}),
        ],
    )  # fmt: skip
    def test_named(self, message, fields, change):
        """The field is found, and left out, renamed or changed."""
        assert next_change(REQUEST, {}, refusal(message, **fields)) == change

    @pytest.mark.parametrize(
        ("message", "status"),
        [
            ("bad", 400),
            ("Not implemented", 501),
            ("temperature", 429),
            ("temperature", 401),
            ("seed", 503),
            ("Your prompt was flagged, whatever the temperature", 400),
            ("This model's maximum context length is 10 tokens. Reduce max_tokens", 400),
        ],
    )
    def test_not_about_a_field(self, message, status):
        """Other refusals are left alone."""
        assert next_change(REQUEST, {}, refusal(message, status)) is None

    def test_one_after_the_other(self):
        """What is still refused is changed further, and it comes to an end."""
        changes = {}
        for message in ("top_logprobs must be <= 8 for llama-8b", "top_logprobs must be <= 5"):
            changes = next_change(REQUEST, changes, refusal(message))
        assert changes == {"top_logprobs": 5}
        changes = next_change(REQUEST, changes, refusal("unknown: max_tokens"))
        changes = next_change(REQUEST, changes, refusal("unknown: max_completion_tokens"))
        sent = apply(REQUEST, changes)
        assert not {"max_tokens", "max_completion_tokens"} & set(sent.params)
        assert next_change(REQUEST, changes, refusal("unknown: max_tokens")) is None

    def test_essential_fields_stay(self):
        """A strategy that lives on a field is refused with it; what is less is changed."""
        essential = {"logprobs", "top_logprobs"}
        fault = refusal("no logprobs here", 403)
        assert next_change(REQUEST, {}, fault, essential) is None
        assert refuses(REQUEST, {}, fault, essential)
        assert not refuses(REQUEST, {}, refusal("bad"), essential)
        lower = next_change(REQUEST, {}, refusal("top_logprobs must be <= 5"), essential)
        assert lower == {"top_logprobs": 5}

    def test_what_is_sent(self):
        """The request as it goes out; its own key does not change."""
        changes = {"system": "user", "max_tokens": "max_completion_tokens",
                   "thinking_tokens": 100, "temperature": None}  # fmt: skip
        sent = apply(REQUEST, changes)
        assert sent.messages == (("user", 'instructions\n\n"text"'),)
        assert sent.params["max_completion_tokens"] == 108
        assert not {"temperature", "max_tokens", "system", "thinking_tokens"} & set(sent.params)
        assert apply(REQUEST, {}) is REQUEST
        shown = (("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"))
        several = apply(replace(REQUEST, messages=shown), {"system": "user"})
        assert several.messages == (("user", "s\n\na"), ("assistant", "b"), ("user", "c"))

    def test_memory(self):
        """What holds is told in plain values, and news once."""
        known = Adaptations()
        known.learn({"temperature": None, "top_logprobs": 5, "system": "user"})
        told = {"temperature": "left out", "top_logprobs": 5, "system": "in the user message"}
        assert known.told() == told
        assert known.news(["temperature", "seed"]) == {"temperature": "left out"}
        assert known.news(["temperature", "seed"]) == {}


class TestVerdict:
    """When failures are the set-up's."""

    def ends(self, verdict, fault, most=100):
        """Return after how many such failures the run ends, and with what."""
        for number in range(1, most + 1):
            error = verdict.failure(fault, "o")
            if error is not None:
                return number, type(error)
        return None

    @pytest.mark.parametrize(
        ("fault", "end"),
        [
            (Fault("text", "http_400", "m", 400), (8, EndpointError)),
            (Fault("text", "http_422", "m", 422), (8, EndpointError)),
            (Fault("unknown", "timeout", "m"), (8, EndpointError)),
            (Fault("bad_reply", "unknown_label"), (8, EndpointError)),
            (Fault("refused", "auth", "m", 403), (3, AuthenticationError)),
            (Fault("refused", "model", "m", 404), (3, ModelNotFoundError)),
            (Fault("text", "content_filter", "m", 400), None),
            (Fault("text", "content_filter", "m", 403), None),
            (Fault("text", "too_long", "m", 413), None),
            (Fault("text", "refusal"), None),
            (Fault("wait", "http_503", "m", 503), None),
            (Fault("text", "http_501", "m", 501), None),
        ],
    )
    def test_before_anything_worked(self, fault, end):
        """So many alike end the run; what a text brings on itself never does."""
        assert self.ends(Verdict(RetryPolicy()), fault) == end
        assert self.ends(Verdict(RetryPolicy(), judges=False), fault) is None

    def test_after_an_answer(self):
        """Then a failure is its text's, unless a key stops being taken in the middle."""
        for fault in (
            Fault("text", "http_400", "m", 400),
            Fault("bad_reply", "unknown_label"),
            Fault("unknown", "timeout", "m"),
        ):
            verdict = Verdict(RetryPolicy())
            verdict.answer()
            assert self.ends(verdict, fault) is None
        refused = Fault("refused", "auth", "m", 403)
        verdict = Verdict(RetryPolicy())
        verdict.answer()
        assert self.ends(verdict, refused, 23) is None
        verdict.answer()
        assert self.ends(verdict, refused) == (24, AuthenticationError)
        # A later run over what was refused has nothing else to ask.
        assert self.ends(Verdict(RetryPolicy(), worked=True), refused) is None

    def test_different_failures_do_not_add_up(self):
        """Filtered and long texts do not count, and unlike failures are not alike."""
        verdict = Verdict(RetryPolicy())
        for _ in range(7):
            assert verdict.failure(Fault("text", "content_filter", "m", 400), "o") is None
            assert verdict.failure(Fault("text", "http_400", "m", 400), "o") is None
        assert verdict.failure(Fault("text", "http_422", "m", 422), "o") is None
        assert not verdict.doubtful
        verdict.failure(Fault("refused", "auth", "m", 403), "o")
        assert verdict.doubtful
        verdict.answer()
        assert not verdict.doubtful

    def test_an_end_that_spares_little_is_none(self):
        """With few texts left, their answers are worth more than the payments that they cost."""
        fault = Fault("bad_reply", "unknown_label")
        verdict = Verdict(RetryPolicy(first_k=3))
        assert [verdict.failure(fault, "o", left) for left in (5, 4, 3 - 1)] == [None] * 3
        assert verdict.failure(fault, "o", 3) is not None

    def test_unreadable_answers_are_shown(self):
        """The error says what the model writes instead of a label."""
        verdict = Verdict(RetryPolicy(first_k=2))
        fault = Fault("bad_reply", "unknown_label", said="I think it is spam")
        assert verdict.failure(fault, "o") is None
        error = verdict.failure(Fault("bad_reply", "truncated"), "o")
        assert "I think it is spam" in str(error)
        assert "truncated, unknown_label" in str(error)
