"""Keys, the JSON form of a reply, and the way from memory= to a store."""

import json
import math
import os
import subprocess
import sys

import joblib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklfusion import CacheError, CacheWarning
from sklfusion._chat import ChatRequest, Reply, TokenLogprobs, Usage
from sklfusion.replies import decode_reply, encode_reply, open_store, request_key
from sklfusion.replies._locate import store_path

REQUEST = ChatRequest(
    "http://127.0.0.1:9/v1",
    "m",
    (("system", "Classes: a, b"), ("user", '"hi"')),
    {"temperature": 0, "max_completion_tokens": 8},
)

texts = st.text(st.characters(), max_size=20)  # with lone surrogates
logprobs = st.floats(max_value=0, min_value=-1e9) | st.just(-math.inf)
tokens = st.builds(
    TokenLogprobs, texts, logprobs, st.lists(st.tuples(texts, logprobs), max_size=3).map(tuple)
)
counts = st.none() | st.integers(0, 10**9)
replies = st.builds(
    Reply,
    contents=st.lists(st.none() | texts, max_size=3).map(tuple),
    finish_reasons=st.lists(st.none() | texts, max_size=3).map(tuple),
    model=st.none() | texts,
    usage=st.builds(Usage, counts, counts, counts),
    logprobs=st.none() | st.lists(tokens, max_size=3).map(tuple),
    refusal=st.none() | texts,
    created=st.floats(0, 4e9),
)


# ---------------------------------------------------------------------------------------- keys


def test_key_is_pinned():
    """The key of a request never changes between versions: each change would pay all again."""
    assert request_key(REQUEST) == (
        "562f6e56599afcbb7092891d48debc8abfee27fbd4f1b75baf2f837ae84833da"
    )
    assert request_key(REQUEST, sample=3) == (
        "0ea773ec7df322f614b83d59b309bf34105fc9439bcbf4d26b3330d0a89b7219"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "http://127.0.0.1:9/v2"},
        {"model": "n"},
        {"messages": (("system", "Classes: b, a"), ("user", '"hi"'))},
        {"messages": (("user", '"hi"'), ("system", "Classes: a, b"))},
        {"params": {"temperature": 0.5, "max_completion_tokens": 8}},
        {"params": {"temperature": 0, "max_completion_tokens": 8, "seed": 1}},
    ],
)
def test_key_depends_on_everything_sent(change):
    """Every part of the request is in the key."""
    from dataclasses import replace

    assert request_key(replace(REQUEST, **change)) != request_key(REQUEST)


def test_key_does_not_depend_on_the_order_of_parameters():
    """Two dictionaries that send the same body have one key."""
    from dataclasses import replace

    turned = replace(REQUEST, params=dict(reversed(REQUEST.params.items())))
    assert request_key(turned) == request_key(REQUEST)


def test_key_distinguishes_unicode_forms():
    """NFC and NFD are different bytes and so different requests; lone surrogates have keys."""
    keys = {
        request_key(ChatRequest("o", "m", (("user", text),)))
        for text in ("\u00e9", "e\u0301", "\ud800", "\x00", "")
    }
    assert len(keys) == 5


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), texts), max_size=4))
@settings(max_examples=100, deadline=None)
def test_key_is_the_digest_of_what_is_sent(messages):
    """However it is computed, the key is the digest of the canonical text."""
    from hashlib import sha256

    request = ChatRequest("o", "m", tuple(messages), {"n": 1, "response_format": {"a": ["b"]}})
    text = f"sklfusion-reply-1\n5\n{request.canonical()}"
    assert request_key(request, sample=5) == sha256(text.encode()).hexdigest()


def test_key_is_the_same_in_another_process(tmp_path):
    """Neither hash randomisation nor the process is in the key."""
    code = (
        "from sklfusion._chat import ChatRequest\n"
        "from sklfusion.replies import request_key\n"
        "print(request_key(ChatRequest('o', 'm', (('user', 'x'),), {'b': 1, 'a': 2})))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "77"}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    here = request_key(ChatRequest("o", "m", (("user", "x"),), {"a": 2, "b": 1}))
    assert out.stdout.strip() == here


# --------------------------------------------------------------------------------------- codec


@given(replies)
@settings(max_examples=100, deadline=None)
def test_a_reply_survives_the_round_trip(reply):
    """Any reply is read back as it was, and its text is plain ASCII JSON."""
    text = encode_reply(reply)
    assert text.isascii()
    assert decode_reply(text) == reply


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = list(json.loads(encode_reply(Reply(("a",)))))


@given(
    st.binary(max_size=50)
    | st.text(max_size=50)
    | json_values.map(json.dumps)
    | st.tuples(st.sampled_from(FIELDS), json_values).map(
        lambda change: json.dumps(
            {**json.loads(encode_reply(Reply(("a",)))), change[0]: change[1]}
        )
    )
)
@settings(max_examples=500, deadline=None)
def test_anything_else_is_refused_with_value_error(text):
    """A value of the store is a reply or a ValueError, never another exception."""
    try:
        reply = decode_reply(text)
    except ValueError:
        return
    assert decode_reply(encode_reply(reply)) == reply


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"contents":' * 50_000,
        "9" * 100_000,
        " " * 9_000_000,
        encode_reply(Reply(("a",))).replace('"created":0.0', '"created":NaN'),
        encode_reply(Reply(("a",))).replace('"created":0.0', '"created":1e999'),
        encode_reply(Reply(("a",))).replace('"created":0.0', '"created":true'),
    ],
    ids=["depth", "objects", "digits", "size", "nan", "overflow", "bool"],
)
def test_hostile_values_are_refused(text):
    """Deep, huge and non-finite values are refused without a RecursionError."""
    with pytest.raises(ValueError):
        decode_reply(text)


# -------------------------------------------------------------------------------------- locate


def test_no_memory_keeps_nothing():
    """None and a Memory without location mean: no store."""
    assert open_store(None) is None
    assert open_store(joblib.Memory(None)) is None


def test_a_path_and_a_memory_share_replies(tmp_path):
    """A joblib.Memory stands for its location, so replies are found either way."""
    key = request_key(REQUEST)
    open_store(joblib.Memory(tmp_path, verbose=0)).put(key, Reply(("a",)))
    assert open_store(str(tmp_path)).get_many([key])[key].contents == ("a",)
    assert store_path(tmp_path) == tmp_path / "replies" / "replies.sqlite"


def test_only_the_owner_can_read_the_store(tmp_path):
    """The folder has mode 0700, the file and its journal 0600, whatever the umask."""
    old = os.umask(0)
    try:
        store = open_store(tmp_path / "new" / "cache")
        store.put(request_key(REQUEST), Reply(("a",)))
    finally:
        os.umask(old)
    modes = {path.name: path.stat().st_mode & 0o777 for path in store.path.parent.iterdir()}
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    assert set(modes.values()) == {0o600}, modes


def test_memory_that_is_a_file_is_refused(tmp_path):
    """A file where a folder is needed: an error that names it, at opening."""
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(CacheError, match="cache, which is a file"):
        open_store(tmp_path / "cache")
    with pytest.raises(CacheError, match=r"cannot be created|which is a file"):
        open_store(tmp_path / "cache" / "below")


def test_memory_that_is_a_dangling_link_is_refused(tmp_path):
    """A link to nowhere is not followed."""
    (tmp_path / "cache").symlink_to(tmp_path / "gone")
    with pytest.raises(CacheError, match="does not exist"):
        open_store(tmp_path / "cache")


@pytest.mark.parametrize(
    "name", ["a\0b", "n" * 300, "/".join(["n" * 200] * 25), "loop", "~nobody!"]
)
def test_memory_that_no_path_can_be_is_refused(tmp_path, name):
    """NUL, names that are too long, a loop of links, the home of nobody: one CacheError."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(CacheError, match="memory"):
        open_store(name if name[0] == "~" else f"{tmp_path}/{name}")


def test_a_store_that_is_no_file_is_refused(tmp_path):
    """A pipe in its place would block the run for ever."""
    (tmp_path / "replies").mkdir()
    os.mkfifo(tmp_path / "replies" / "replies.sqlite")
    with pytest.raises(CacheError, match="is no file"):
        open_store(tmp_path)


def test_memory_of_another_type_is_refused():
    """The message says what memory may be."""
    with pytest.raises(TypeError, match=r"memory is int; it must be None, a folder or a joblib"):
        open_store(3)


def test_read_only_needs_a_store(tmp_path):
    """Replaying from a path with a typing error fails instead of making an empty store."""
    with pytest.raises(CacheError, match="There is no reply store"):
        open_store(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_open_to_others_is_reported(tmp_path):
    """Replies that others can change are worth a warning."""
    (tmp_path / "replies").mkdir()
    (tmp_path / "replies").chmod(0o777)
    with pytest.warns(CacheWarning, match="chmod 700"):
        open_store(tmp_path)


def test_stores_of_one_process_are_one_object(tmp_path):
    """All scorers of a process share locks and commits."""
    first = open_store(tmp_path)
    assert open_store(tmp_path) is first
    assert open_store(tmp_path, durability="power") is not first
