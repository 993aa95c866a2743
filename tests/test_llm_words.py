"""The endpoint's own words: read from any body, shown on one line, without anything like a key."""

import json
import os
import string
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklfusion._chat import ChatRequest
from sklfusion.llm._faults import error_from_fault, fault_from_status, without_text
from sklfusion.llm._words import MASK, SHOWN, clean, error_of, read_error, seconds_in

VARIABLE = "SKLFUSION_TEST_WORDS_KEY"
KEYS = st.text(st.sampled_from(string.ascii_letters + string.digits + "-_./+="), min_size=10)
# What may stand before, after and inside of a key: everything but what could be a part of it.
NOISE = st.text(st.characters(exclude_categories=("L", "N", "M", "Cs")), max_size=30)


def holds_part(text, key):
    """Tell whether eight characters in a row of a key stand in a text."""
    return any(key[i : i + 8].lower() in text.lower() for i in range(len(key) - 7))


class TestClean:
    """One line, short, and no key."""

    @given(KEYS, NOISE, NOISE)
    def test_the_key_in_use_never_shows(self, key, before, after):
        """Wherever it stands, however it is cut or put together."""
        with mock.patch.dict(os.environ, {VARIABLE: key}):
            for said in (before + key + after, key + key, before + key[:-1] + after, key.upper()):
                assert not holds_part(clean(said, [VARIABLE], 10_000), key)

    @given(KEYS, st.sampled_from(["code", "type", "message"]))
    def test_in_every_field(self, key, field):
        """An error made of a body that echoes the key in any field does not hold it."""
        body = json.dumps({"error": {field: f"bad key {key} given", "param": key}}).encode()
        with mock.patch.dict(os.environ, {VARIABLE: key}):
            for status in (400, 401, 403, 404, 429, 500):
                fault = fault_from_status(
                    status, {}, body, origin="o", model="m", key_hint="k", secrets=[VARIABLE]
                )
                error = error_from_fault(fault, "o")
                for text in (fault.said, fault.words, repr(fault), repr(error.args), str(error)):
                    assert not holds_part(text, key)

    @given(st.text(max_size=600), st.integers(10, 300))
    def test_one_short_line(self, said, limit):
        """Nothing that could move a cursor, break a line or hide."""
        shown = clean(said, (), limit)
        assert len(shown) <= limit
        assert shown.isprintable()
        assert clean(shown, (), limit) == shown

    @pytest.mark.parametrize(
        "secret",
        [
            "sk-abc123",
            "sk-proj-AbCdEf0123456789",
            "gsk_0a1b2c3d4e5f6g7h",
            "xai-abcdef",
            "AIzaSyA-0123456789abcdefghijklmnopqrstu",
            "hf_abcdefghijklmnopqrst",
            "Bearer abcdefg",
            "bearer  x.y.z",
            "0123456789abcdef0123456789abcdef",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
            "0f8fad5bd9cb469fa165708767",
        ],
    )
    def test_what_looks_like_a_key(self, secret):
        """Any key is masked, not only the one in use."""
        for said in (f"bad key {secret} given", f'"{secret}"', f"x={secret}", secret):
            shown = clean(said)
            assert MASK in shown
            assert not holds_part(shown, secret.split()[-1].ljust(8, "?"))

    @pytest.mark.parametrize(
        "said",
        [
            "The model 'meta-llama/Llama-3.3-70B-Instruct-Turbo' does not exist",
            "context_length_exceeded",
            "ResponsibleAIPolicyViolation",
            "max_tokens: 8192 > 4096, which is the maximum for claude-3-5-sonnet-20241022",
            "Rate limit reached for gpt-4o-mini-2024-07-18 in 1m20s",
            "'messages[0].role' does not support 'system' with this model.",
        ],
    )
    def test_what_does_not_is_left(self, said):
        """Names of models, codes and dates say what is wrong."""
        assert clean(said) == said

    def test_control_characters_cannot_part_a_key(self):
        """Invisible ones are taken out before anything is looked for."""
        with mock.patch.dict(os.environ, {VARIABLE: "geheimnis42"}):
            assert clean("my ge\u200bheim\x00nis\x1b42 is", [VARIABLE]) == f"my {MASK} is"
            assert clean("a\x1b[31m red\r\nline") == "a[31m red line"
        assert len(clean("word " * 100)) == SHOWN


class TestReadError:
    """Bodies in all forms that are in use."""

    @pytest.mark.parametrize(
        ("body", "code", "number", "param", "message"),
        [
            ({"error": {"message": "m", "code": "c", "param": "p"}}, "c", None, "p", "m"),
            ({"error": {"message": "m", "code": 402}}, None, 402, None, "m"),
            ({"error": {"message": "m", "code": "429", "type": "t"}}, "t", 429, None, "m"),
            ({"error": "m"}, None, None, None, "m"),
            ({"message": "m", "type": "T", "code": 400, "object": "error"}, "T", 400, None, "m"),
            ({"detail": "m"}, None, None, None, "m"),
            ({"detail": [{"loc": ["body", "seed"], "msg": "m", "input": "secret"}]},
             None, None, "seed", "seed: m"),
            ([{"error": {"code": 429, "message": "m", "status": "EXHAUSTED"}}],
             "EXHAUSTED", 429, None, "m"),
            ({"error": {"message": "m", "metadata": {"raw": "r"}}}, None, None, None, "m: r"),
        ],
    )  # fmt: skip
    def test_forms(self, body, code, number, param, message):
        """OpenAI, OpenRouter, vLLM, FastAPI, Google."""
        said = read_error(json.dumps(body).encode())
        assert (said.code, said.number, said.param, said.message) == (code, number, param, message)
        assert "secret" not in said.words

    def test_pages_and_plain_words(self):
        """What proxies send."""
        said = read_error(b"<html><style>p {x: y}</style><title>No way</title></html>")
        assert (said.html, said.message) == (True, "No way")
        assert read_error(b"Forbidden").message == "Forbidden"

    @given(st.binary(max_size=200))
    def test_any_bytes(self, body):
        """No body breaks it."""
        assert isinstance(read_error(body).words, str)

    @given(st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
            st.sampled_from(["error", "code", "message", "detail", "loc", "msg", "retryDelay",
                             "metadata", "raw", "param", "status"]), inner, max_size=5),
        max_leaves=20,
    ))  # fmt: skip
    def test_any_value(self, value):
        """Nor does any JSON value."""
        said = error_of(value)
        assert isinstance(said.message, str)
        assert said.wait is None or said.wait > 0


class TestWaits:
    """How long, in words and in fields."""

    @pytest.mark.parametrize(
        ("words", "seconds"),
        [
            ("Please try again in 20s.", 20),
            ("try again in 1m20s", 80),
            ("Please try again in 7.66s. Visit our site", 7.66),
            ("try again in 350ms", 0.35),
            ("Retry after 20 seconds", 20),
            ("retrying in 2 minutes and 5 seconds", 125),
            ("Limit 3 rpm. Please try again in 6m0s", 360),
            ("The quota resets in 2 hours", 7200),
            ("wait 3 sec", 3),
            ("try again later", None),
            ("it took 30 s", None),
            ("try again in 0s", None),
            ("retry with 8 messages", None),
        ],
    )
    def test_in_words(self, words, seconds):
        """A wait is a number with a unit after words that ask for it."""
        assert seconds_in(words) == (seconds and pytest.approx(seconds))

    @pytest.mark.parametrize(
        ("error", "seconds"),
        [
            ({"details": [{"@type": "google.rpc.RetryInfo", "retryDelay": "7s"}]}, 7),
            ({"retryDelay": "0.5s"}, 0.5),
            ({"retry_after": 3.5}, 3.5),
            ({"retry_after": "4"}, 4),
            ({"retry_after_ms": 250}, 0.25),
            ({"retryDelay": -1}, None),
            ({"retryDelay": None}, None),
        ],
    )
    def test_in_fields(self, error, seconds):
        """Google's RetryInfo and the like."""
        assert error_of({"error": error}).wait == (seconds and pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "said", "shown"),
    [
        ("Maria Zauberberg is ill", "cannot take 'Maria Zauberberg is ill'", False),
        ("Maria Zauberberg is ill " * 9, "cannot take Maria Zauberberg is ill Maria Zaub", False),
        ("Maria Zauberberg is ill", "the request is too odd", True),
        ("odd", "the request is too odd", True),
    ],
)
def test_words_that_repeat_the_text_are_not_shown(text, said, shown):
    """Texts may be private."""
    fault = fault_from_status(400, {}, said.encode(), origin="o", model="m", key_hint="k")
    assert said in fault.message
    request = ChatRequest("o", "m", (("system", "s"), ("user", json.dumps(text))))
    after = without_text(fault, request)
    assert (said in after.message) == (after.said == said) == shown
