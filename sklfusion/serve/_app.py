"""`create_app`: the routes on one service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sklfusion import __version__
from sklfusion.labelling import LabelDesk
from sklfusion.serve._decisions import decisions_routes
from sklfusion.serve._door import Door, refusal
from sklfusion.serve._errors import Refusal, first_fault
from sklfusion.serve._label import label_routes
from sklfusion.serve._page import page_routes
from sklfusion.serve._predict import predict_routes
from sklfusion.serve._service import Service
from sklfusion.serve._settings import LOGGER, ServiceSettings
from sklfusion.serve._status import status_routes
from sklfusion.serve._systemone import systemone_routes

_ROUTES = (
    *(predict_routes, decisions_routes, systemone_routes),
    *(label_routes, status_routes, page_routes),
)


def create_app(
    model: Any, settings: ServiceSettings | None = None, desk: LabelDesk | None = None
) -> FastAPI:
    """Make the ASGI application that serves a model.

    Parameters
    ----------
    model : estimator or None
        A fitted classifier of texts with ``predict_proba``; of `AutoFusionClassifier`,
        `CascadeClassifier` and pipelines that end in a `FusionClassifier` each source is told.
        With a desk it may be None: that which is fitted at the desk is then served.
    settings : ServiceSettings, optional
    desk : LabelDesk, optional
        A pool of texts to label on the page, and at ``/label``.

    Returns
    -------
    FastAPI
        With ``/predict``, ``/v1/decisions``, ``/v1/systemone``, ``/v1/models``, ``/health``,
        ``/ready``, ``/metrics``, ``/openapi.json`` and the page at ``/``.

    Raises
    ------
    TypeError
        If the model has no ``predict_proba`` or is not fitted.

    See Also
    --------
    serve_file : Runs it as a process, from a saved model.

    Notes
    -----
    Cost: texts of requests that come within ``settings.batch_wait`` of each other are one call
    of the model. The model runs in one thread of its own.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from sklearn.naive_bayes import MultinomialNB
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklfusion.serve import create_app
    >>> model = make_pipeline(CountVectorizer(), MultinomialNB())
    >>> app = create_app(model.fit(["a goal", "a bank"], ["sport", "money"]))
    >>> "/predict" in app.openapi()["paths"]
    True
    """
    service = Service(model, settings or ServiceSettings(), desk)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        service.ready = True
        yield
        service.ready = False
        await service.batcher.stop()
        counts = service.metrics
        LOGGER.info("stopped: %d requests, %d answers", counts.accepted, counts.answered)

    app = FastAPI(
        title="sklfusion", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.service = service
    for routes in _ROUTES:
        app.include_router(routes)
    _refuse_in_format(app)
    app.add_middleware(Door, service=service)
    return app


def _refuse_in_format(app: FastAPI) -> None:
    """Give every refusal the shape of its route."""

    @app.exception_handler(Refusal)
    async def _refused(request: Request, error: Refusal) -> Response:
        return refusal(request.url.path, error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        return refusal(request.url.path, first_fault(error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        told = Refusal(error.status_code, str(error.detail), "http", (), dict(error.headers or {}))
        return refusal(request.url.path, told)
