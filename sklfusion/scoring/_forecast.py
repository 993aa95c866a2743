"""What asking about texts would take, from what is stored and from the length of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from sklfusion._chat import Usage
from sklfusion.llm._attempt import guess_usage
from sklfusion.llm._call import Call
from sklfusion.llm._job import Job
from sklfusion.llm._reader import ReplyReader
from sklfusion.scoring._packs import Packer
from sklfusion.scoring._strategies import Plan
from sklfusion.scoring._texts import Inquiries, Texts, recall

# Stored replies from which the guess of tokens is corrected.
_LEARN_FROM = 500


def forecast(plan: Plan, texts: Texts, call: Call, pack_size: int) -> dict[str, Any]:
    """Return how many requests are missing and the tokens they will take; sends nothing.

    Parameters
    ----------
    plan : Plan
        How the texts would be asked about.
    texts : Texts
        The texts.
    call : Call
        Changed where it notes what it knows, so one made for this.
    pack_size : int
        Texts per request.
    """
    places = texts.open()
    jobs: dict[str, Job] = {}
    for ask in texts.asks(places):
        for job in plan.jobs(ask.text, ask.examples):
            jobs.setdefault(job.key, job)
    if pack_size > 1:
        packer = Packer(plan, pack_size)
        unknown = recall(Inquiries(plan, texts, places, packer.entry), call.store, call.memo)
        missing = [job for _, job in packer.packs([ask.text for ask in unknown])]
        cached = len(jobs) - len(unknown)
    else:
        missing = ReplyReader(call).unanswered(list(jobs.values()))
        cached = len(jobs) - len(missing)
    usage = _expected(missing, *_learn(jobs, call.store))
    return {
        "strategy": plan.mode,
        "distinct_requests": len(jobs),
        "cached": cached,
        "requests": len(missing),
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "usage": usage,
    }


def _expected(missing: Sequence[Job], scale: float, answer: float | None) -> Usage:
    """Return the tokens that requests will take, by guesses that what is stored corrects."""
    guesses = [guess_usage(job.request, job.answer_tokens) for job in missing]
    prompt = sum(round((guess.prompt_tokens or 0) * scale) for guess in guesses)
    if answer is not None:
        return Usage(prompt, round(answer * len(missing)))
    return Usage(prompt, sum(guess.completion_tokens or 0 for guess in guesses))


def _learn(jobs: dict[str, Job], store: Any) -> tuple[float, float | None]:
    """Learn from stored replies how far the guess of tokens is off, and how long answers are."""
    stored = {} if store is None else store.get_many(list(islice(jobs, _LEARN_FROM)))
    guessed = counted = answers = n = 0
    for key, reply in stored.items():
        usage = reply.usage
        if usage.prompt_tokens is not None and usage.completion_tokens is not None:
            guessed += guess_usage(jobs[key].request, 0).prompt_tokens or 0
            counted += usage.prompt_tokens
            answers += usage.completion_tokens
            n += 1
    return (counted / guessed, answers / n) if n and guessed else (1.0, None)
