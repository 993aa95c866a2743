"""Small problems run on one thread, and whoever comes after has all of them again."""

import os
import threading

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from skorch.callbacks import Callback
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from sklfusion import (
    CascadeClassifier,
    FusionClassifier,
    LabelRepairClassifier,
    MLPTrajectoryEncoder,
    MultiLabelCalibrator,
    MultiLabelThresholds,
    RecordedScorer,
)
from sklfusion._threads import SMALL_CELLS, one_thread


@pytest.fixture(autouse=True)
def _two_threads():
    """Two threads to begin with, whatever the environment says."""
    limits = threadpool_limits(2)
    for pool in ThreadpoolController().lib_controllers:  # any thread may set OpenBLAS again
        getattr(pool, "clear_controlling_thread", lambda force: None)(force=True)
    yield
    limits.restore_original_limits()


def blas():
    """How many threads each BLAS of this process may use."""
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def openmp():
    """How many threads OpenMP, and so torch, may use in the calling thread."""
    return torch.get_num_threads()


class Witness(LogisticRegression):
    """A classifier that remembers how many threads it was fitted with."""

    seen = []

    def fit(self, X, y, sample_weight=None):
        self.seen.append((blas(), openmp()))
        return super().fit(X, y, sample_weight)


class TextWitness(Witness):
    """The same on texts, standing for an encoder."""

    def _numbers(self, X):
        return np.array([[len(text), text.count("e")] for text in X], dtype=float)

    def fit(self, X, y, sample_weight=None):
        return super().fit(self._numbers(X), y, sample_weight)

    def predict_proba(self, X):
        return super().predict_proba(self._numbers(X))


@pytest.fixture(autouse=True)
def _forget():
    Witness.seen.clear()


def in_thread(*calls):
    """Run the calls one after the other in one other thread and return what they give."""
    found = []
    worker = threading.Thread(target=lambda: found.extend(call() for call in calls))
    worker.start()
    worker.join()
    return found


def test_one_inside_and_all_again_after():
    with one_thread():
        assert (blas(), openmp()) == ({1}, 1)
        with one_thread():
            assert (blas(), openmp()) == ({1}, 1)
        assert (blas(), openmp()) == ({1}, 1)
    assert (blas(), openmp()) == ({2}, 2)


def test_all_again_after_an_error():
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert (blas(), openmp()) == ({2}, 2)


def test_sections_that_overlap_restore_in_any_order():
    """The first to come is the first to go: BLAS stays held until the other has gone too."""
    inside, leave, left = (threading.Event() for _ in range(3))

    def first():
        with one_thread():
            inside.set()
            leave.wait()
        left.set()

    worker = threading.Thread(target=first)
    worker.start()
    inside.wait()
    with one_thread():
        leave.set()
        left.wait()
        worker.join()
        assert blas() == {1}
    assert (blas(), openmp()) == ({2}, 2)


def test_torch_in_other_threads_keeps_its_threads():
    """An encoder beside a fit is not slowed down."""
    ready, go, seen = threading.Event(), threading.Event(), []

    def other():
        torch.set_num_threads(2)
        ready.set()
        go.wait()
        seen.append(openmp())

    worker = threading.Thread(target=other)
    worker.start()
    ready.wait()
    with one_thread():
        go.set()
        worker.join()
    assert seen == [2]


def test_a_thread_that_is_new_to_torch_has_it_back_after():
    def section():
        with one_thread():
            return openmp()

    before, held, after = in_thread(openmp, section, openmp)
    assert held == 1
    assert after == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_during_a_section_of_another_thread_is_free():
    """The section never closes in the child, so the child must not wait for that."""
    inside, leave = threading.Event(), threading.Event()

    def other():
        with one_thread():
            inside.set()
            leave.wait()

    worker = threading.Thread(target=other)
    worker.start()
    inside.wait()
    child = os.fork()
    if not child:
        free = blas() == {2}
        with one_thread():
            held = blas() == {1}
        os._exit(0 if free and held and blas() == {2} else 1)
    leave.set()
    worker.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("X", "held"),
    [
        (np.zeros((5, 2)), True),
        (sparse.csr_array((5, 2)), True),
        (np.broadcast_to(0.0, (SMALL_CELLS, 2)), False),
        (["some", "texts"], False),
        (np.array([["a text"]], dtype=object), False),
    ],
    ids=["matrix", "sparse", "large", "texts", "objects"],
)
def test_what_counts_as_small(X, held):
    """Texts may go through an encoder; large matrices are worth several threads."""
    with one_thread(X, openmp=False):
        assert (blas(), openmp()) == ({1} if held else {2}, 2)
    assert blas() == {2}


def _table(n=60, k=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(k, size=n)
    votes = np.eye(k)[np.where(rng.random(n) < 0.8, y, rng.integers(k, size=n))]
    return np.hstack([rng.normal(size=(n, 6)) + y[:, None], votes]), y


def test_the_net_of_the_fusion_trains_on_one_thread():
    seen = []

    class Watch(Callback):
        def on_batch_begin(self, net, **_):
            seen.append((blas(), openmp()))

    X, y = _table()
    clf = FusionClassifier(
        fusion="concat", max_epochs=1, net_params={"callbacks": [Watch()]}, random_state=0
    ).fit(X, y)
    assert seen
    assert all(one == ({1}, 1) for one in seen)
    seen.clear()
    clf.partial_fit(X, y)
    assert seen
    assert all(one == ({1}, 1) for one in seen)
    assert (blas(), openmp()) == ({2}, 2)


def test_the_small_net_of_the_noise_package_trains_on_one_thread(monkeypatch):
    seen, step = [], torch.optim.AdamW.step

    def watched(self, *args, **kwargs):
        seen.append(openmp())
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    X, y = _table()
    MLPTrajectoryEncoder(n_epochs=1, random_state=0).fit(X, y, n_classes=3)
    assert set(seen) == {1}
    assert openmp() == 2


def test_estimators_that_were_handed_in_get_one_blas_thread_for_a_small_matrix():
    """Their OpenMP is left alone: they may be networks."""
    X, y = _table()
    Y = np.eye(3, dtype=int)[y][:, :1]
    LabelRepairClassifier(Witness(), selector="student", budget=0, random_state=0).fit(
        X, y, noisy=y
    )
    MultiLabelThresholds(Witness(), cv=2).fit(X, Y)
    MultiLabelCalibrator(Witness(), cv=2).fit(X, Y)
    assert len(Witness.seen) >= 7
    assert all(one == ({1}, 2) for one in Witness.seen)
    assert blas() == {2}


def test_estimators_on_texts_keep_all_threads():
    texts = [f"{word} {n}" for n in range(10) for word in ("eel", "bat", "seen")]
    y = np.array(["good", "bad", "good"] * 10)
    recorded = RecordedScorer(dict(zip(texts, y.tolist(), strict=True)))
    CascadeClassifier(TextWitness(), recorded, cv=2, random_state=0).fit(texts, y)
    assert Witness.seen
    assert all(one == ({2}, 2) for one in Witness.seen)
