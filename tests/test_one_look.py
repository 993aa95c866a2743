"""How often a text is rendered, hashed and looked up: once each, counted as the calls happen."""

import sys
import threading
from collections import Counter
from contextlib import contextmanager

import pytest

from sklfusion import LLMClassifier, LLMScorer
from sklfusion.prompts._render import quote, render
from sklfusion.replies import ReplyStore, request_key, request_keys
from sklfusion.replies._connections import ConnectionPool

CLASSES = ["sport", "food"]


@contextmanager
def counted():
    """Count texts quoted, prompts rendered, keys made, keys looked up, stores and files opened."""
    seen = Counter()
    counts = {
        quote.__code__: lambda frame: {f"quoted {frame.f_locals['text']}": 1},
        render.__code__: lambda frame: {"rendered": 1},
        request_keys.__code__: lambda frame: {"keys": len(frame.f_locals["contents"])},
        request_key.__code__: lambda frame: {"single keys": 1},
        ReplyStore.get_many.__code__: lambda frame: {"looked up": len(frame.f_locals["keys"])},
        ReplyStore.get_as.__code__: lambda frame: {"looked up": len(frame.f_locals["keys"])},
        ReplyStore.open.__code__: lambda frame: {"stores": 1},
        ConnectionPool._open.__code__: lambda frame: {"files": 1},
    }
    lock = threading.Lock()

    def hook(frame, event, argument):
        count = counts.get(frame.f_code) if event == "call" else None
        if count is not None:
            with lock:
                seen.update(count(frame))

    before = sys.getprofile()
    sys.setprofile(hook)
    threading.setprofile(hook)
    try:
        yield seen
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


def make(server, memory, kind=LLMScorer, **params):
    params = {"strategy": "label", **params}
    made = kind("loopback", classes=CLASSES, base_url=server.base_url, memory=memory, **params)
    return made.fit(["any text"])


def notes(n, name="note"):
    return [f"{name} {k} about {CLASSES[k % 2]}" for k in range(n)]


def quoted(seen, texts):
    return [seen[f"quoted {text}"] for text in texts]


@pytest.mark.parametrize("strategy", ["label", "logprobs", "probabilities", "auto"])
def test_a_new_text_is_rendered_hashed_and_looked_up_once(fault_server, tmp_path, strategy):
    """What the look and the trial of "auto" have found is handed to the run."""
    scorer, texts = make(fault_server, tmp_path, strategy=strategy), notes(40)
    with counted() as seen:
        scorer.transform(texts)
    trial = strategy == "auto"  # of the first text; what is known of the endpoint has a key too
    assert quoted(seen, texts) == [1] * 40
    assert seen["rendered"] == 1 + trial
    # One more for what is around the texts, and one for what is known of the endpoint.
    assert seen["keys"] == 41 + trial
    assert seen["looked up"] == 40 + trial
    assert seen["stores"] == 1
    assert fault_server.ledger().billed == 40


def test_a_known_text_is_looked_up_once_and_opens_one_file(fault_server, tmp_path):
    """Half of the texts are stored."""
    make(fault_server, tmp_path).transform(notes(20))
    scorer = make(fault_server, tmp_path)
    with counted() as seen:
        scorer.transform(notes(20))
    assert quoted(seen, notes(20)) == [1] * 20
    assert (seen["keys"], seen["looked up"]) == (21, 20)
    assert (seen["stores"], seen["files"]) == (1, 1)
    with counted() as seen:
        scorer.transform(notes(20))
    assert (seen["keys"], seen["looked up"], seen["files"]) == (21, 0, 1)
    with counted() as seen:
        scorer.transform(notes(40))
    assert quoted(seen, notes(40)) == [1] * 40
    assert (seen["keys"], seen["looked up"]) == (41, 20)
    assert fault_server.ledger().billed == 40


def test_packs_use_the_keys_of_the_look(fault_server, tmp_path):
    """A text is keyed once; the packs themselves are requests of their own."""
    scorer = make(fault_server, tmp_path, kind=LLMClassifier, texts_per_request=10)
    with counted() as seen:
        scorer.predict(notes(40))
    packs = 4
    assert seen["looked up"] == 40 + packs
    assert seen["keys"] == 40 + packs + 2  # what is around the texts, as sent and as kept
    assert quoted(seen, notes(40)) == [1] * 40


def test_an_unusable_answer_is_left_to_the_run(fault_server, tmp_path):
    """It is there, so its reply is read again; nothing else is."""
    fault_server.script({"fault": {"kind": "content", "content": "?"}, "contains": "note 3 "})
    with pytest.warns(match="no usable answer|without an answer"):
        make(fault_server, tmp_path).transform(notes(10))
    scorer = make(fault_server, tmp_path)
    with counted() as seen, pytest.warns(match="no usable answer|without an answer"):
        scorer.transform(notes(10))
    assert 10 < seen["looked up"] <= 13
