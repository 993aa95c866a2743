"""Answers that cannot be read: kept and counted, but not an answer for ever."""

import dataclasses
import sqlite3
import subprocess
import sys
import warnings

import pytest

from sklfusion import CacheMissError, LLMScorer
from sklfusion.replies import encode_reply, open_store
from sklfusion.replies._codec import checksum, decode_reply

DAY = 86400.0
EMPTY = {"index": 0, "message": {"content": None}, "finish_reason": "stop"}
CUT = {"index": 0, "message": {"content": "sp"}, "finish_reason": "length"}
BROKEN = {"index": 0, "message": {"content": "Network"}, "finish_reason": "abort"}


@pytest.fixture
def ask(fault_server, tmp_path):
    """Ask a new object about texts; return (statuses, requests received, estimate before)."""

    def call(*texts, cache_only=False, made=None, **params):
        made = made or LLMScorer(
            "loopback",
            classes=["sport", "food"],
            strategy="label",
            base_url=fault_server.base_url,
            memory=tmp_path,
            cache_only=cache_only,
            **params,
        ).fit(["any"])
        told = made.estimate(list(texts))["requests"]
        before = fault_server.ledger().received
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            status = made.annotate(list(texts)).status.tolist()
        return status, fault_server.ledger().received - before, told

    return call


def outage(server, choice=EMPTY):
    server.script({"fault": {"kind": "merge", "fields": {"choices": [choice]}}})


def age(folder, seconds):
    """Let the replies of a store have arrived that much earlier."""
    path = folder / "replies" / "replies.sqlite"
    with sqlite3.connect(path) as other:
        for key, value in other.execute("SELECT key, value FROM replies").fetchall():
            reply = decode_reply(value)
            older = encode_reply(dataclasses.replace(reply, created=reply.created - seconds))
            row = (checksum(key, older), older, key)
            other.execute("UPDATE replies SET checksum = ?, value = ? WHERE key = ?", row)
    other.close()


@pytest.mark.parametrize("choice", [EMPTY, CUT, BROKEN], ids=["empty", "cut", "broken"])
def test_what_did_not_come_whole_is_asked_again_by_a_later_run(
    fault_server, ask, tmp_path, choice
):
    """An outage with status 200 ends with the outage; a good answer then is the answer."""
    outage(fault_server, choice)
    status, sent, _ = ask("a note about sport")
    assert (status, sent) == (["parse_error"], 2)
    assert ask("a note about sport", cache_only=True)[:2] == (["parse_error"], 0)
    fault_server.script()
    assert ask("a note about sport") == (["ok"], 1, 1)
    assert ask("a note about sport") == (["ok"], 0, 0)
    info = open_store(tmp_path).info()
    assert info["replies"] == 3  # what was paid for is kept and counted
    assert sum(info["unreadable"].values()) == 2


def test_a_second_call_of_one_object_asks_nothing(fault_server, ask, tmp_path):
    """Within one object the limits of the run hold."""
    outage(fault_server)
    made = LLMScorer(
        "loopback",
        classes=["sport", "food"],
        strategy="label",
        base_url=fault_server.base_url,
        memory=tmp_path,
    ).fit(["any"])
    assert ask("a note", made=made)[1:] == (2, 1)
    assert ask("a note", made=made)[1:] == (0, 0)


def test_many_objects_do_not_ask_for_ever(fault_server, ask):
    """A grid search of many fits pays for a hopeless text a few times, not once per fit."""
    outage(fault_server)
    assert sum(ask("a note")[1] for _ in range(8)) == 6


def test_after_an_hour_a_hopeless_text_is_tried_again(fault_server, ask, tmp_path):
    """The patience is not for ever either."""
    outage(fault_server)
    for _ in range(3):
        ask("a note about sport")
    fault_server.script()
    assert ask("a note about sport")[:2] == (["parse_error"], 0)
    age(tmp_path, 2 * 3600)
    assert ask("a note about sport")[:2] == (["ok"], 1)


def test_a_whole_answer_is_asked_for_again_after_a_day(fault_server, ask, tmp_path):
    """What the model says in full is read again for nothing, until it may have changed."""
    fault_server.script({"fault": {"kind": "content", "content": "dunno"}})
    assert ask("a note about sport")[1] == 2
    fault_server.script()
    age(tmp_path, DAY / 2)
    assert ask("a note about sport")[:2] == (["parse_error"], 0)
    age(tmp_path, DAY)
    assert ask("a note about sport")[:2] == (["ok"], 1)


def test_a_refusal_stays(fault_server, ask, tmp_path):
    """A clear refusal is an answer of a kind, whenever it was given."""
    said = "I'm sorry, I can't help with that."
    fault_server.script({"fault": {"kind": "content", "content": said}})
    ask("a note")
    fault_server.script()
    age(tmp_path, 30 * DAY)
    assert ask("a note") == (["refused"], 0, 0)


def test_cache_only_never_asks(fault_server, ask):
    """An unreadable answer is the answer there; a text without any is an error."""
    outage(fault_server)
    ask("a note")
    assert ask("a note", cache_only=True)[:2] == (["parse_error"], 0)
    with pytest.raises(CacheMissError):
        ask("another note", cache_only=True)


# --------------------------------------------------------------------------------------- forget


def run(*args):
    return subprocess.run(
        [sys.executable, "-m", "sklfusion.cli", "cache", "forget", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_replies_are_forgotten_by_cause_and_stay_counted(fault_server, ask, tmp_path):
    """Only what was asked for goes, only on request, and what it cost is still told."""
    outage(fault_server)
    ask("a note")
    fault_server.script()
    ask("a note about sport")
    with open_store(tmp_path) as store:
        before = store.info()
        assert store.forget(status="no_content")["replies"] == 2
        assert store.info() == before
        assert store.forget(status="unreadable", dry_run=False)["deleted"] == 2
        after = store.info()
        assert store.verify()["ok"]
    assert (after["replies"], after["forgotten"]) == (before["replies"] - 2, 2)
    assert after["prompt_tokens"] == before["prompt_tokens"]
    assert ask("a note")[:2] == (["ok"], 1)


def test_replies_are_forgotten_by_model_and_age(fault_server, ask, tmp_path):
    """All conditions have to apply; without one nothing is deleted."""
    ask("a note about sport")
    age(tmp_path, 3 * DAY)
    ask("another note about food")
    with open_store(tmp_path) as store:
        (model,) = store.info()["models"]
        assert store.forget(model="another model")["replies"] == 0
        assert store.forget(model=model)["replies"] == 2
        assert store.forget(model=model, older_than=2)["replies"] == 1
        with pytest.raises(ValueError, match="older_than="):
            store.forget()
        assert store.forget(older_than=2, dry_run=False)["deleted"] == 1
    assert ask("another note about food")[1] == 0
    assert ask("a note about sport")[1] == 1


def test_a_salvage_does_not_bring_back_what_was_forgotten(fault_server, ask, tmp_path):
    """The bytes are gone from the file; what they had cost is carried over."""
    ask("a note about sport")
    with open_store(tmp_path) as store:
        store.forget(older_than=0, dry_run=False)
    with sqlite3.connect(tmp_path / "replies" / "replies.sqlite") as other:
        other.execute("PRAGMA user_version = 0")  # calls for a salvage
    other.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = open_store(tmp_path).info()
    assert (info["replies"], info["forgotten"]) == (0, 1)
    assert info["prompt_tokens"] > 0


def test_the_shell_forgets_only_with_yes(fault_server, ask, tmp_path):
    """A dry run by default, in the words of the option."""
    ask("a note about sport")
    said = run(tmp_path, "--older-than", "0").stdout
    assert "replies: 1" in said
    assert "add --yes" in said
    assert open_store(tmp_path).info()["replies"] == 1
    assert "deleted: 1" in run(tmp_path, "--older-than", "0", "--yes").stdout
    assert open_store(tmp_path).info()["replies"] == 0
    assert "older_than=" in run(tmp_path).stderr
