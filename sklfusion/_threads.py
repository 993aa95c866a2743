"""Small problems on one thread.

A fit here is thousands of products and solves that take microseconds each. With several threads
each of them ends in a wait for the slowest, and a thread that waits spins; where other work holds
a core, that costs a hundred times the arithmetic. Encoders and LLMs are not small: nothing here
goes around them.
"""

import contextlib
import os
import sys
import threading

from threadpoolctl import ThreadpoolController

#: Cells of X up to which a problem is small: beyond, one product is long enough to share.
SMALL_CELLS = 20_000_000

_lock = threading.Lock()
_sections = 0  # open ones, over all threads
_held: list = []  # BLAS libraries, and how many threads each gets back when the last one closes
_pools: tuple = (None, None)  # the libraries found, and whether torch was loaded then
_own = threading.local()  # what the calling thread holds


def _forget_after_fork():
    """The child has the forking thread only; sections of the others will never close in it."""
    global _lock, _sections
    _lock = threading.Lock()
    _sections = getattr(_own, "depth", 0)
    if not _sections:
        _release_blas()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


@contextlib.contextmanager
def one_thread(X=None, *, openmp=True):
    """Hold BLAS, and this thread's OpenMP (torch), at one thread inside; as a decorator too.

    BLAS counts threads for the whole process, so the first of several sections that overlap in
    time sets its limit and the last one restores it. OpenMP counts per thread: other threads keep
    theirs. Sections may nest. Entering costs some microseconds, the first time some milliseconds.

    Parameters
    ----------
    X : array-like, sparse matrix, DataFrame or texts, optional
        What the problem is about. BLAS is held only for a matrix of at most ``SMALL_CELLS`` cells:
        a larger one is worth several threads, and texts may go through an encoder.
    openmp : bool, default=True
        False around estimators that were handed in, which may be networks of any size.
    """
    with contextlib.ExitStack() as held:
        if X is None or _is_small(X):
            held.enter_context(_one_blas_thread())
        if openmp:
            held.enter_context(_one_openmp_thread())
        yield


def _is_small(X):
    shape: tuple[int, ...] = getattr(X, "shape", ())
    types = getattr(X, "dtypes", [getattr(X, "dtype", None)])
    if len(shape) != 2 or any(getattr(t, "kind", "O") not in "biuf" for t in types):
        return False
    return shape[0] * shape[1] <= SMALL_CELLS


@contextlib.contextmanager
def _one_blas_thread():
    global _sections
    with _lock:
        if not _sections:
            _hold_blas()
        _sections += 1
        _own.depth = getattr(_own, "depth", 0) + 1
    try:
        yield
    finally:
        with _lock:
            _own.depth -= 1
            _sections -= 1
            if not _sections:
                _release_blas()


def _hold_blas():
    for pool in _found_libraries().select(user_api="blas").lib_controllers:
        threads = pool.get_num_threads()
        if threads and threads > 1:
            pool.set_num_threads(1)
            # threadpoolctl lets one thread at a time set OpenBLAS; another's wish is respected.
            if pool.get_num_threads() == 1:
                _held.append((pool, threads))


def _release_blas():
    while _held:
        pool, threads = _held.pop()
        let_go = getattr(pool, "clear_controlling_thread", lambda force=False: None)
        let_go(force=True)  # from the thread of the first section, which may be another one
        pool.set_num_threads(threads)
        let_go()


@contextlib.contextmanager
def _one_openmp_thread():
    with _lock:
        pools = _found_libraries().select(user_api="openmp")
    # No "with": its end would also let go of BLAS, which an outer section may still hold.
    limit = pools.limit(limits=1)
    try:
        yield
    finally:
        limit.restore_original_limits()


def _found_libraries():
    """Return the thread pools of this process; torch brings one of its own when it is loaded."""
    global _pools
    torch = "torch" in sys.modules
    if _pools[1] is not torch:
        import scipy.linalg  # noqa: F401 - SciPy has a BLAS of its own

        _pools = ThreadpoolController(), torch
    return _pools[0]
