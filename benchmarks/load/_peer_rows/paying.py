"""L: labels. C, P, E: what is paid for once, in every process, and the estimator contract."""

import os
import pickle
import signal
import subprocess
import threading
import time

import numpy as np
from sklearn.base import is_classifier
from sklearn.model_selection import cross_val_score

from benchmarks.load._peer_libraries import CLASSES, KEY, WORKERS
from benchmarks.load._peer_rows._base import (
    fault,
    go,
    quiet,
    row,
    status,
    texts,
)


@row("L02", "integer labels", "classes_ a sorted array; integers come back", wire=False)
def _(d):
    y = np.array([7, -3] * 4)
    if not d.lib.local:
        d.server.reset(script=[fault("content", content=d.lib.say(7), usable=True)])
    estimator = d.fit(y=y)
    with quiet():
        labels = d.lib.predict(estimator, texts(2))
    assert isinstance(estimator.classes_, np.ndarray), (
        f"classes_ is a {type(estimator.classes_).__name__}"
    )
    assert estimator.classes_.tolist() == [-3, 7], f"classes_ is {estimator.classes_.tolist()}"
    kinds = {type(label).__name__ for label in labels}
    assert set(labels) <= {7, -3}, f"labels are {labels} of type {kinds}"
    return "[-3, 7]"


@row("L05", "class names with quotes, newlines, brackets", "come back exactly", wire=False)
def _(d):
    odd = ["it's", 'say "x"', "two\nlines", "a [b]", "{c}"]
    y = np.array(odd)
    X = [f"text {n} for it" for n in range(len(odd))]
    with quiet():
        estimator = d.lib.make()
        estimator.fit([f"text {n}" for n in range(len(odd))], y)
        if d.lib.local:
            labels = d.lib.predict(estimator, ["one", "two"])
            assert set(labels) <= set(odd)
            return "labels from the list"
        if d.lib.name == "sklfusion":
            d.server.reset()  # answers with the ids that our prompt offers
            X = [f"text {n} is {label}" for n, label in enumerate(odd)]
        else:
            says_odd = [fault("content", content=d.lib.say(c), usable=True) for c in odd]
            for rule, x in zip(says_odd, X, strict=True):
                rule["contains"] = x
            d.server.reset(script=says_odd)
        labels = d.lib.predict(estimator, X)
    lost = [name for name, label in zip(odd, labels, strict=True) if label != name]
    assert not lost, f"not returned: {lost}"
    return f"{len(odd)} returned exactly"


@row("C01", "second run on the same texts, new object", "0 requests, equal labels")
def _(d):
    X = texts(20)
    first = d.run(X)
    d.script()
    assert d.run(X) == first
    received = d.server.ledger().received
    assert received == 0, f"{received} requests"
    return "0 requests"


@row("C02", "one text changed of 50", "1 request")
def _(d):
    X = texts(50)
    d.run(X)
    d.script()
    d.run([*X[:20], "another sport", *X[21:]])
    received = d.server.ledger().received
    assert received == 1, f"{received} requests"
    return "1 request"


@row("C06", "two processes, the same 40 texts at once", "billed = distinct texts")
def _(d):
    d.script(latency_ms=30)
    children = [d.child(texts(40)) for _ in range(2)]
    try:
        for child in children:
            go(child)
        for child in children:
            assert child.communicate(timeout=45)[0].strip(), "a child failed"
    finally:
        for child in children:
            child.kill()
            child.wait()
    billed = d.server.ledger().billed
    assert billed == 40, f"{billed} billed"
    return "40 billed"


@row("P01", "kill -9 in the middle of 60 texts, then again", "at most those in flight paid again")
def _(d):
    d.script(latency_ms=40)
    X = texts(60)
    child = d.child(X)
    go(child)
    d.wait_for(30)
    child.kill()
    child.communicate()
    time.sleep(0.2)
    d.all_right(X)
    billed = d.server.ledger().billed
    assert billed <= 60 + WORKERS, f"{billed} billed for 60 texts"
    return f"{billed} billed for 60 texts"


@row(
    "P02", "Ctrl-C in the middle of 80 texts", "ends within 10 s; nothing delivered is paid again"
)
def _(d):
    d.script(latency_ms=200)
    X = texts(80)
    child = d.child(X)
    go(child)
    d.wait_for(20)
    start = time.monotonic()
    child.send_signal(signal.SIGINT)
    try:
        child.communicate(timeout=25)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
    seconds = time.monotonic() - start
    time.sleep(0.4)
    assert seconds < 10, f"ended after {seconds:.0f} s"
    paid = d.server.ledger().billed
    d.script()
    d.all_right(X)
    again = d.server.ledger().billed + paid - 80
    assert again <= 0, f"{again} texts paid for again"
    return f"ended after {seconds:.1f} s, {paid} kept"


@row(
    "P05", "an error inside a joblib worker", "arrives as an error with its message, no key in it"
)
def _(d):
    import joblib

    d.script(status(401, body={"error": {"code": "invalid_api_key", "message": "bad key"}}))
    estimator, caught = d.fit(), None
    try:
        with quiet(), joblib.parallel_config("loky", n_jobs=2):
            jobs = (joblib.delayed(_ask)(estimator, x) for x in texts(2))
            joblib.Parallel()(jobs)
    except Exception as error:
        caught = error
    assert caught is not None, "no error"
    assert "Pool" not in type(caught).__name__, f"the pool broke: {type(caught).__name__}"
    assert "401" in str(caught) or "key" in str(caught).lower(), f"said {str(caught)[:60]!r}"
    assert KEY.encode() not in pickle.dumps(caught), "the pickled error holds the key"
    return type(caught).__name__


def _ask(estimator, text):
    return estimator.predict([text])


@row("P07", "inside a running event loop", "works")
def _(d):
    import asyncio

    async def main():
        return d.run(texts(8))

    assert d.right(asyncio.run(main()), texts(8)) == 8
    return "8 right"


@row("P09", "100 predictions", "descriptors and threads flat")
def _(d):
    estimator = d.fit()
    with quiet():
        for n in range(10):
            d.lib.predict(estimator, [f"warm {n} sport"])
        before = len(os.listdir("/proc/self/fd")), threading.active_count()
        for n in range(100):
            d.lib.predict(estimator, [f"text {n} sport"])
    files = len(os.listdir("/proc/self/fd")) - before[0]
    threads = threading.active_count() - before[1]
    assert files <= 10, f"{files} descriptors more"
    assert threads <= 1, f"{threads} threads more"
    return f"{files:+d} descriptors, {threads:+d} threads"


@row("E06", "cross-validation of 4 candidates x 5 folds, 40 texts", "billed = distinct texts")
def _(d):
    X = np.array([f"note {n} about {w}" for n in range(20) for w in CLASSES], dtype=object)
    y = np.array(list(CLASSES) * 20)
    with quiet():
        for _candidate in range(4):
            scores = cross_val_score(d.lib.make(), X, y, cv=5, error_score="raise")
            assert min(scores) == 1.0, f"score {min(scores):.2f}"
    billed = d.server.ledger().billed
    assert billed == 40, f"{billed} billed for 40 texts"
    return "40 billed"


@row("E10", "predict_proba", "exists; rows sum to 1; columns as classes_", wire=False)
def _(d):
    estimator = d.fit()
    assert hasattr(estimator, "predict_proba"), "there is none"
    with quiet():
        X = [*texts(3), *texts(3, "food")]
        probs = np.asarray(estimator.predict_proba(X))
        labels = np.asarray(estimator.predict(X))
    assert probs.shape == (6, 2), f"shape {probs.shape}"
    assert np.allclose(probs.sum(axis=1), 1, atol=1e-5), "rows do not sum to 1"
    assert (np.asarray(estimator.classes_)[probs.argmax(axis=1)] == labels).all()
    return "sums to 1, largest column is the label"


@row("E11", "scikit-learn sees a classifier", "is_classifier; folds are stratified", wire=False)
def _(d):
    assert is_classifier(d.lib.make()), "is_classifier is False: folds are not stratified"
    return "True"
