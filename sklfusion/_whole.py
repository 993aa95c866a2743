"""Fitting as a whole: an estimator whose fit was broken off is what it was before."""

import functools


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
