"""The queue of the service: batches, bounds, timeouts, failures that stay with their request."""

import asyncio
import threading

import pytest

from sklfusion.exceptions import BudgetExceededError
from sklfusion.serve._batcher import Batcher, where_raised
from sklfusion.serve._errors import Refusal, body_at, first_fault, status_at

#: Far more than any of these takes, far less than a hung test.
LONG = 60.0


class Worker:
    """Answers each text with its length; waits at the gate, and fails at what it is told to."""

    def __init__(self, **failures):
        self.gate = threading.Event()
        self.gate.set()
        self.calls, self.failures, self.sizes = [], failures, []

    def __call__(self, key, texts):
        assert self.gate.wait(LONG)
        self.calls.append((key, list(texts)))
        for text in texts:
            if text in self.failures:
                raise self.failures[text]
        return [len(text) for text in texts]


def play(scene, worker, **settings):
    """Run a scene with a batcher around the worker."""
    told = {"max_queue": 8, "max_batch": 4, "wait": 0.001} | settings

    async def run():
        batcher = Batcher(worker, observe=lambda n, s: worker.sizes.append(n), **told)
        batcher.start()
        try:
            return await scene(batcher)
        finally:
            worker.gate.set()
            await batcher.stop()

    return asyncio.run(run())


async def fill(batcher, worker, *batches):
    """Let a first request into the worker, which waits; queue the others behind it."""
    worker.gate.clear()
    first = asyncio.ensure_future(batcher.submit("k", ["first"], LONG))
    while batcher.waiting or not batcher._wake.is_set():
        await asyncio.sleep(0.001)
    others = [asyncio.ensure_future(batcher.submit(*batch, LONG)) for batch in batches]
    await asyncio.sleep(0)
    return first, others


def test_what_waits_goes_in_one_call():
    """Requests of equal keys, in order, up to the size of a batch; each gets its own answers."""
    worker = Worker()

    async def scene(batcher):
        queue = [("k", ["a", "bb"]), ("other", ["ccc"]), ("k", ["dddd"]), ("k", ["e", "ff"])]
        first, others = await fill(batcher, worker, *queue)
        worker.gate.set()
        return await asyncio.gather(first, *others)

    assert play(scene, worker) == [[5], [1, 2], [3], [4], [1, 2]]
    assert worker.calls == [
        ("k", ["first"]),
        ("k", ["a", "bb", "dddd"]),
        ("other", ["ccc"]),
        ("k", ["e", "ff"]),
    ]
    assert worker.sizes == [1, 3, 1, 2]


def test_a_large_request_is_a_batch_of_its_own():
    """It is not cut, and nobody shares it."""
    worker = Worker()

    async def scene(batcher):
        first, others = await fill(batcher, worker, ("k", ["x"] * 6), ("k", ["y"]))
        worker.gate.set()
        return await asyncio.gather(first, *others)

    assert play(scene, worker) == [[5], [1] * 6, [1]]
    assert [len(texts) for _, texts in worker.calls] == [1, 6, 1]


def test_a_full_queue_refuses_with_a_time_to_come_again():
    """429 for now, 413 for what would never fit; what waits is not touched."""
    worker = Worker()

    async def scene(batcher):
        first, others = await fill(batcher, worker, ("k", ["x"] * 5), ("k", ["y"] * 3))
        with pytest.raises(Refusal) as full:
            await batcher.submit("k", ["z"], LONG)
        with pytest.raises(Refusal) as never:
            await batcher.submit("k", ["z"] * 9, LONG)
        worker.gate.set()
        return full.value, never.value, await asyncio.gather(first, *others)

    full, never, answers = play(scene, worker)
    assert (full.status, never.status) == (429, 413)
    assert int(full.headers["Retry-After"]) >= 1
    assert answers == [[5], [1] * 5, [1] * 3]


def test_who_waits_too_long_is_told_and_leaves_the_queue():
    """504; the model is not asked for nobody."""
    worker = Worker()

    async def scene(batcher):
        first, _ = await fill(batcher, worker)
        with pytest.raises(Refusal) as late:
            await batcher.submit("k", ["late"], 0.01)
        assert batcher.waiting == 0
        worker.gate.set()
        await first
        return late.value.status

    assert play(scene, worker) == 504
    assert worker.calls == [("k", ["first"])]


def test_one_bad_text_does_not_spoil_the_answers_of_others(caplog):
    """Its request gets 500, the others of the batch theirs; the log does not quote it."""
    worker = Worker(poison=ValueError("poison is in the text"))

    async def scene(batcher):
        queue = [("k", ["a"]), ("k", ["poison"]), ("k", ["bb"])]
        first, others = await fill(batcher, worker, *queue)
        worker.gate.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    first, a, bad, b = play(scene, worker)
    assert (first, a, b) == ([5], [1], [2])
    assert (bad.status, bad.code) == (500, "model_failed")
    assert "poison" not in caplog.text + bad.message
    assert "ValueError at " in caplog.text


def test_an_llm_that_cannot_be_asked_is_not_asked_again_for_each(caplog):
    """An error of the endpoint is everybody's: one call, 503 for all."""
    worker = Worker(a=BudgetExceededError("spent"))

    async def scene(batcher):
        first, others = await fill(batcher, worker, ("k", ["a"]), ("k", ["bb"]))
        worker.gate.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    _, *refused = play(scene, worker)
    assert [(r.status, r.code) for r in refused] == [(503, "no_answer")] * 2
    assert len(worker.calls) == 2


def test_stopping_answers_what_waits():
    """Nothing that was taken is lost."""
    worker = Worker()

    async def scene(batcher):
        first, others = await fill(batcher, worker, ("k", ["a"]), ("other", ["bb"]))
        stopping = asyncio.ensure_future(batcher.stop())
        await asyncio.sleep(0.01)
        worker.gate.set()
        await stopping
        return await asyncio.gather(first, *others)

    assert play(scene, worker) == [[5], [1], [2]]


def test_stopping_waits_for_the_call_that_runs():
    """Its requests have left the queue, and are answered all the same."""
    worker = Worker()

    async def scene(batcher):
        first, _ = await fill(batcher, worker)
        stopping = asyncio.ensure_future(batcher.stop())
        await asyncio.sleep(0.05)
        assert not stopping.done()
        worker.gate.set()
        await stopping
        return first.done(), first.result()

    assert play(scene, worker) == (True, [5])


def test_only_texts_of_one_kind_go_in_one_call():
    """A job of another kind is passed over, and keeps its turn."""
    worker = Worker()

    async def scene(batcher):
        first, others = await fill(
            batcher, worker, ("k", ["a"]), ("other", ["bb"]), ("k", ["ccc"]), ("other", ["d"])
        )
        worker.gate.set()
        return await asyncio.gather(first, *others)

    assert play(scene, worker) == [[5], [1], [2], [3], [1]]
    assert worker.calls[1:] == [("k", ["a", "ccc"]), ("other", ["bb", "d"])]


def test_who_gives_up_while_it_is_answered_harms_nobody():
    """Its answer comes to nothing, and the next request is served."""
    worker = Worker()

    async def scene(batcher):
        first, _ = await fill(batcher, worker)
        first.cancel()
        await asyncio.sleep(0)
        worker.gate.set()
        return await batcher.submit("k", ["next"], LONG), batcher.waiting

    assert play(scene, worker) == ([4], 0)


def test_where_an_error_arose():
    """Type, file and line, no message."""
    assert where_raised(ValueError("secret")) == "ValueError"
    try:
        raise KeyError("secret")
    except KeyError as error:
        told = where_raised(error)
    assert told.startswith("KeyError at ")
    assert "secret" not in told


@pytest.mark.parametrize(
    ("path", "status", "code", "wanted"),
    [
        ("/predict", 422, "empty_text", 422),
        ("/v1/decisions", 422, "empty", 400),
        ("/v1/decisions", 422, "unknown_question", 422),
        ("/v1/systemone", 400, "not_json", 422),
        ("/v1/systemone", 429, "queue_full", 429),
    ],
)
def test_each_format_has_its_status_and_shape(path, status, code, wanted):
    """One refusal, said as the callers of each route expect it."""
    refusal = Refusal(status, "Why.", code, ("texts", 3))
    assert status_at(path, refusal) == wanted
    body = body_at(path, refusal)
    if path != "/v1/systemone":
        assert body["error"]["param"] == "texts.3"
        assert (body["error"]["message"], body["error"]["code"]) == ("Why.", code)
    elif wanted == 422:
        assert body == {"detail": [{"loc": ["body", "texts", 3], "msg": "Why.", "type": code}]}
    else:
        assert body["detail"] == {"error_type": "rate_limit_error", "message": "Why."}


def test_a_fault_names_its_place_and_how_many_there_are():
    """What was sent is not among the words."""
    fault = {"loc": ("body", "texts", 0), "msg": "Input should be a string", "type": "string_type"}
    told = first_fault([{**fault, "input": "secret"}, fault])
    assert told.message == "texts.0: Input should be a string (1 more faults)"
    assert told.where == ("texts", 0)
