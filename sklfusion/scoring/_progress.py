"""A progress bar with the things that matter while money is spent, and a summary after."""

from typing import Any

from sklfusion._progress import log_line, progress_bar


class Progress:
    """Shows how far the requests are when ``verbose`` is 1 or more; does nothing otherwise.

    Parameters
    ----------
    verbose : int
        0: silent, 1: bar and summary.
    name : str
        Shown before the bar.

    Attributes
    ----------
    usage : UsageReport
        What is shown; set it before the first request.
    """

    def __init__(self, verbose, name):
        self._verbose = verbose
        self._name = name
        self.usage: Any = None
        self._bar: Any = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def update(self, done, total):
        """Show that ``done`` of ``total`` requests have an answer."""
        if not self._verbose or (self._bar is None and done >= total):
            return  # all of it was kept: there is nothing to watch
        if self._bar is None:
            self._bar = progress_bar(total, self._name)
        if done == self._bar.n:
            return
        usage = self.usage
        shown = {"cached": usage.cached, "failed": sum(usage.failures.values())}
        if usage.cost:
            shown["spent"] = f"{usage.cost:.4f}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def summary(self):
        """Tell in one line what was used, if anything was: folds of kept answers say nothing."""
        used = self.usage.requests or self.usage.unknown or self.usage.failures
        if self._verbose and used:
            log_line(f"{self._name}: {summarise(self.usage)}")


def summarise(usage):
    """Return a UsageReport as one line.

    Examples
    --------
    >>> from sklfusion.llm._usage import UsageReport
    >>> summarise(UsageReport(texts=3, requests=2, cached=1, cost=None))
    '3 texts, 2 paid requests, 1 cached, 0 + 0 tokens, cost unknown'
    """
    cost = "cost unknown" if usage.cost is None else f"cost {usage.cost:.6g}"
    if usage.uncounted:
        cost += f" (tokens of {usage.uncounted} replies guessed)"
    parts = [
        f"{usage.texts} texts",
        f"{usage.requests} paid requests",
        f"{usage.cached} cached",
        f"{usage.prompt_tokens} + {usage.completion_tokens} tokens",
        cost,
    ]
    if usage.retries:
        parts.append(f"{usage.retries} retries")
    if usage.unknown:
        parts.append(f"{usage.unknown} perhaps paid without an answer")
    if usage.failures:
        causes = ", ".join(f"{c}: {n}" for c, n in sorted(usage.failures.items()))
        parts.append(f"{sum(usage.failures.values())} rows without an answer ({causes})")
    return ", ".join(parts)
