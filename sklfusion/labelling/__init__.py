"""Labelling a pool of texts: what to show next, a file that loses no answer, files of others.

::

    _desk      LabelDesk: answers in, the next text out, the model that is fitted on demand
    _learnt    what the last fit said of the pool
    _record    what has become of each text
    _journal   a line per event, on the disk before anything else happens
    _exchange  CSV out; tasks in and out
    _studio    how Label Studio writes a task
"""

from sklfusion._lazy import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__)
