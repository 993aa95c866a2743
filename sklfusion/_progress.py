"""How far a long job is: a bar on a terminal or in a notebook, lines in the log elsewhere."""

import logging
import sys

#: What sklfusion tells about long jobs; files of logs want a line now and then, not a bar.
progress_logger = logging.getLogger("sklfusion")
_LINES = 10


def progress_bar(total, name, unit="text"):
    """Return what shows the progress of a job: a tqdm bar, or what logs a line every tenth.

    Parameters
    ----------
    total : int
        Steps of the job.
    name : str
        Shown before the bar or in the line.
    unit : str
        What a step is.

    Returns
    -------
    tqdm or ProgressLog
    """
    if not _somebody_watches():
        return ProgressLog(total, name, unit)
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=name, unit=unit, file=sys.stderr)


def _somebody_watches():
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


class ProgressLog:
    """Takes the calls of a tqdm bar; logs the start, every tenth and the end.

    Parameters
    ----------
    total : int
        Steps of the job.
    name, unit : str
        Of the line.

    Attributes
    ----------
    n : int
        Steps done.
    """

    def __init__(self, total, name, unit="text"):
        self.total = total
        self.n = 0
        self._name = name
        self._unit = unit
        self._told = 0
        self._more = {}
        self._log()

    def set_postfix(self, more, **_):
        """Tell these values with the next lines."""
        self._more = more

    def update(self, steps=1):
        """Count steps, and log where another tenth is done."""
        self.n += steps
        tenths = self.n * _LINES // max(self.total, 1)
        if tenths > self._told:
            self._told = tenths
            self._log()

    def close(self):
        """Log where the job ended, if it ended early."""
        if self.n < self.total:
            self._log("stopped at ")

    def _log(self, how=""):
        more = "".join(f", {name} {value}" for name, value in self._more.items() if value)
        log_line(f"{self._name}: {how}{self.n} of {self.total} {self._unit}s{more}")


def log_line(line):
    """Log a line that was asked for by ``verbose``; print it where nobody set up logging."""
    if progress_logger.hasHandlers() and progress_logger.isEnabledFor(logging.INFO):
        progress_logger.info("%s", line)
    else:
        print(line, file=sys.stderr)
