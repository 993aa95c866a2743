"""Fitting as a whole: an estimator whose fit was broken off is what it was before."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

# skorch brings torch in, which the functions here do not need.
if TYPE_CHECKING:
    from skorch import NeuralNet as _Net
else:
    _Net = object


def whole(method=None, *, keep=()):
    """Decorate a method that fits: an exception leaves the estimator as it was before the call.

    Without this a refit that Ctrl-C ends may leave new classes over an old net. What the method
    sets on ``self`` is taken back, so it must build anew, and not change in place, what an earlier
    fit left there.

    Parameters
    ----------
    method : callable
        ``fit``, ``fit_transform`` or ``partial_fit``.
    keep : sequence of str
        Attributes that stay as the broken call left them: what was paid is paid.

    Returns
    -------
    callable
    """
    if method is None:
        return functools.partial(whole, keep=keep)

    @functools.wraps(method)
    def wrapped(self, *args, **kwargs):
        before = dict(vars(self))
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            kept = {name: vars(self)[name] for name in keep if name in vars(self)}
            self.__dict__ = {**before, **kept}  # in one step, so that a second Ctrl-C finds either
            raise

    return wrapped


class _EndOfTraining(Exception):
    """A callback has seen enough epochs."""


class WholeTraining(_Net):
    """Makes Ctrl-C end the fit of a skorch net; comes before `NeuralNet` among the bases.

    skorch takes it as a wish to stop early and goes on with weights that are trained half. Its
    callbacks raise the same exception to stop early, and that wish is granted.
    """

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        """Train on, from the weights that are there."""
        if not self.initialized_:
            self.initialize()
        self.notify("on_train_begin", X=X, y=y)
        with contextlib.suppress(_EndOfTraining):
            self.fit_loop(X, y, **fit_params)
        self.notify("on_train_end", X=X, y=y)
        return self

    def notify(self, method_name, **cb_kwargs):
        """Tell the callbacks."""
        try:
            return super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as error:
            if method_name == "on_epoch_end" and _raised_in(error) == method_name:
                raise _EndOfTraining from None
            raise


def _raised_in(error):
    """Return the name of the function that an exception comes from."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_name
