"""A saved model behind HTTP: a micro-batching service that speaks three formats, and its page.

::

    _app       create_app: the routes on one service
    _run       the process: port, signals, the last line
    _service   what the routes share: settings, model, queue, counters
    _served    what a fitted model says about texts, source by source
    _batcher   requests gathered into batches; a bounded queue
    _decide    questions: by the model's own classes, or by an LLM that was not fitted
    _predict, _decisions, _systemone, _label, _status, _page    the routes
    _door      hosts, tokens, sizes, headers, counts: before and after every route
    _errors    one refusal, in the words of each format

Needs the extra ``serve``; nothing else imports this folder.
"""

from sklfusion._lazy import attach as _attach
from sklfusion._optional import import_optional as _import_optional

for _module in ("fastapi", "uvicorn", "prometheus_client"):
    _import_optional(_module, extra="serve", purpose="The service")

__getattr__, __dir__, __all__ = _attach(__name__)
