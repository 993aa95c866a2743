"""What a command has spent, as it tells it."""


def spent(scorer):
    """Return requests, tokens and money of an LLM estimator; nothing where there is none."""
    usage = getattr(scorer, "usage_", None)
    if usage is None:
        return {}
    return {
        "paid_requests": usage.requests,
        "kept_answers": usage.cached,
        "tokens": usage.prompt_tokens + usage.completion_tokens,
        "cost": usage.cost,
    }
