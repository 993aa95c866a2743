"""Answers that are there already: keys, values and rows made in bulk equal those made singly."""

import json
import sqlite3
import time
from collections import Counter
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklfusion import CacheWarning, LLMScorer
from sklfusion._chat import ChatRequest, Reply, Usage
from sklfusion.exceptions import ScoringWarning
from sklfusion.prompts import DEFAULT_TEMPLATE, ReplyError, Task
from sklfusion.replies import encode_reply, open_store, request_key, request_keys
from sklfusion.replies._codec import checksum
from sklfusion.scoring._packs import Packer
from sklfusion.scoring._strategies import Plan
from sklfusion.scoring._texts import Inquiries, Texts, recall

TASK = Task(("ham", "spam"), instructions='say "so" \\ é')


def texts_of(texts):
    return Texts(list(texts), np.arange(len(texts)))


any_text = st.text(st.characters(), max_size=30)  # with lone surrogates
plans = st.builds(
    Plan,
    origin=st.just("http://127.0.0.1:9/v1"),
    model=any_text,
    task=st.builds(
        replace, st.just(TASK), multilabel=st.booleans(), instructions=st.none() | any_text
    ),
    mode=st.sampled_from(["label", "logprobs", "probabilities", "probabilities_plain", "votes"]),
    local=st.booleans(),
    template=st.just(DEFAULT_TEMPLATE),
    extra=st.dictionaries(st.text(max_size=5), st.integers() | any_text, max_size=2),
)


@given(plans, st.lists(st.tuples(any_text, st.booleans()), max_size=6), st.booleans())
@settings(max_examples=300, deadline=None)
def test_keys_in_bulk_are_those_of_the_requests(plan, items, packed):
    """Whatever the text, the plan and the examples: bit for bit the key of what would be sent."""
    target = frozenset({1}) if plan.task.multilabel else 1
    distinct = [text for text, _ in items]
    examples = [[("see", target), (text, target)] if shown else [] for text, shown in items]
    texts = Texts(distinct, np.arange(len(items)), examples=examples)
    entry = Packer(plan, 3).entry if packed and plan.mode == "label" else None
    singly = []
    for ask in texts.asks(range(len(items))):
        job = plan.jobs(ask.text, ask.examples)[0]
        job = job if entry is None else entry(job)
        singly.append(job.key)
        # Neither is the other's shortcut: this is the definition.
        canonical = f"sklfusion-reply-1\n0\n{job.request.canonical()}"
        assert job.key == sha256(canonical.encode("ascii")).hexdigest()
    assert Inquiries(plan, texts, range(len(items)), entry).keys == singly
    if not any(shown for _, shown in items):
        texts.examples = None
        assert Inquiries(plan, texts, range(len(items)), entry).keys == singly


@given(any_text, any_text, st.integers(0, 3))
def test_keys_of_a_request_without_a_plan(one, other, sample):
    """The content that the given request happens to have does not matter."""
    request = ChatRequest("o", "m", (("system", one), ("user", other), ("assistant", one)))
    wanted = replace(request, messages=(("system", one), ("user", one), ("assistant", one)))
    assert request_keys(request, [one], sample) == [request_key(wanted, sample)]


def test_a_request_without_a_user_message_has_no_bulk():
    """There is nothing in which the requests could differ."""
    with pytest.raises(ValueError, match="no user message"):
        request_keys(ChatRequest("o", "m", (("system", "x"),)), ["a"])


def reply(text="ham", created=1.0, tokens=5):
    return Reply((text,), ("stop",), "m", Usage(tokens, 1), created=created)


@pytest.mark.parametrize("others", [0, 20_000])
def test_get_as_equals_get_many(tmp_path, others):
    """Whether the table is read through or rows are looked up, and each kind is parsed once."""
    store = open_store(tmp_path)
    keys = [f"{n:064x}" for n in range(3000)]
    store.insert((k, encode_reply(reply("ab"[n % 2], n + 0.5))) for n, k in enumerate(keys[:2500]))
    if others:
        store.insert((f"{n:064x}", encode_reply(reply())) for n in range(5000, 5000 + others))
    seen = Counter()

    def parse(one):
        seen[one.contents] += 1
        return one.contents[0]

    found = store.get_as(keys * 2, parse)
    assert found == {k: r.contents[0] for k, r in store.get_many(keys).items()}
    assert len(found) == 2500
    assert set(seen.values()) == {1}


def test_get_as_leaves_out_what_is_none_or_not_a_reply(tmp_path):
    """Poisoned and broken rows are absent, as they are for get_many."""
    store = open_store(tmp_path)
    good = encode_reply(reply())
    values = {
        "good": good,
        "other": encode_reply(reply("other")),
        "no end": "{}",
        "endless": good.replace('"created":1.0', '"created":1e999'),
        "empty": ',"created":1}',
        "pickle": "\x80\x04.",
        "also good": good.replace("1.0", "2.0"),
    }
    keys = {name: f"{n:064x}" for n, name in enumerate(values)}
    with sqlite3.connect(store.path) as connection:
        rows = [(keys[n], checksum(keys[n], v), v) for n, v in values.items()]
        rows.append(("f" * 64, "00000000", good))
        connection.executemany("INSERT INTO replies VALUES (?, ?, ?)", rows)
    connection.close()
    wanted = [*keys.values(), "f" * 64, "no key"]
    with pytest.warns(CacheWarning, match="damaged replies: 5"):
        found = store.get_as(wanted, lambda one: None if one.contents == ("other",) else one.model)
    assert found == {keys["good"]: "m", keys["also good"]: "m"}
    assert set(store.get_many(wanted[:-1])) == {*found, keys["other"]}


def test_unusable_and_incomplete_answers_are_left_to_the_run(tmp_path):
    """A reply without a label, and votes that are too few, may be followed by requests."""
    store = open_store(tmp_path)
    plan = Plan("o", "m", TASK, "votes", n_votes=2)
    texts = texts_of("abcd")
    keys = Inquiries(plan, texts, range(4)).keys
    contents = {0: ("ham", "spam"), 1: ("ham",), 2: ("what", "else")}
    for n, content in contents.items():
        store.put(keys[n], Reply(content, ("stop",) * len(content), "m"))
    memo = {}
    missing = recall(Inquiries(plan, texts, range(4)), store, memo)
    assert [ask.place for ask in missing] == [1, 2, 3]
    assert [ask.jobs[0].absent for ask in missing] == [False, False, True]
    assert texts.rows[0].votes.tolist() == [0.5, 0.5]
    assert texts.models == {"m"}
    assert recall(Inquiries(plan, texts_of("a"), [0]), None, memo) == []
    with pytest.raises(ReplyError):
        plan.reader(Reply(("what",), ("stop",)))


def test_rows_from_the_store_equal_rows_from_the_wire(fault_server, tmp_path):
    """Failures, flags, duplicates and counts too, for every strategy, bit for bit."""
    texts = [f"note {n}: {'ham' if n % 3 else 'spam'}" for n in range(12)] * 2 + ["", "x" * 9000]
    fault_server.script({"fault": {"kind": "status", "status": 422}, "contains": "note 5"})
    for strategy in ("label", "logprobs", "probabilities", "votes"):
        for multilabel in (False, True):
            made = []
            for _ in range(2):
                scorer = LLMScorer(
                    "loopback",
                    classes=["ham", "spam"],
                    strategy=strategy,
                    multilabel=multilabel,
                    examples=[("note 1: ham", ["ham"] if multilabel else "ham")],
                    base_url=fault_server.base_url,
                    memory=tmp_path,
                    max_text_tokens=500,
                ).fit(["any"])
                with pytest.warns(ScoringWarning):
                    made.append((scorer.annotate(texts), scorer.usage_))
            (first, paid), (second, read) = made
            for name in ("probs", "votes", "repeats", "coverage"):
                one, other = getattr(first, name), getattr(second, name)
                assert (one is None) == (other is None)
                assert one is None or np.array_equal(one, other, equal_nan=True)
            assert first.status.tolist() == second.status.tolist()
            assert first.meta == second.meta
            assert first.meta["flags"].get("shortened") == 1
            assert (paid.texts, paid.duplicates) == (read.texts, read.duplicates) == (26, 12)
            assert paid.failures == read.failures
            assert (paid.requests, read.requests, read.cached) == (12, 0, 12)


@pytest.mark.slow
def test_a_warm_run_costs_microseconds(tmp_path):
    """Twenty thousand stored texts take this process seconds at most."""
    texts = [f"note {n} about ham and other things" for n in range(20_000)]
    params = {"classes": ["ham", "spam"], "strategy": "label", "memory": tmp_path}
    make = lambda: LLMScorer("m", base_url="http://127.0.0.1:9/v1", **params).fit(["any"])  # noqa: E731
    plan = make()._session().plan
    keys = Inquiries(plan, texts_of(texts), range(len(texts))).keys
    open_store(tmp_path).insert((k, encode_reply(reply(tokens=n % 9))) for n, k in enumerate(keys))
    times = []
    for _ in range(3):
        scorer = make()
        start = time.process_time()
        scores = scorer.transform(texts)
        times.append(time.process_time() - start)
    assert scores.argmax(axis=1).sum() == 0
    assert min(times) / len(texts) < 400e-6  # 5 on an idle machine; a request costs milliseconds
    assert json.dumps(scorer.usage_.to_dict())
