"""What the service says about itself: models, health, readiness, counters."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from sklfusion import __version__
from sklfusion.serve._errors import Refusal
from sklfusion.serve._service import Service

status_routes = APIRouter()


@status_routes.get("/v1/models")
async def get_models(request: Request) -> dict[str, Any]:
    """Tell which model is served, in the shapes of both formats."""
    service: Service = request.app.state.service
    served = service.known  # None as long as texts are labelled for the first one
    about = {
        "classes": [] if served is None else served.classes,
        "multilabel": served is not None and served.multilabel,
        "cascade": served is not None and served.is_cascade,
        "mode": service.settings.mode,
        "thresholds": {} if served is None else served.thresholds,
        "model": served is not None,
        "labelling": service.desk is not None,
    }
    name = service.settings.name
    entry = {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "sklfusion",
        "x_about": about,
    }
    other = {"name": name, "description": f"{len(about['classes'])} classes", "release_date": None}
    return {"object": "list", "data": [entry], "models": [other]}


@status_routes.get("/health")
async def get_health() -> dict[str, str]:
    """Tell that the process lives."""
    return {"status": "ok", "version": __version__}


@status_routes.get("/ready")
async def get_ready(request: Request) -> dict[str, str]:
    """Tell whether requests are welcome: not while starting, stopping, or with a full queue."""
    service: Service = request.app.state.service
    if not service.ready or service.batcher.waiting >= service.batcher.max_queue:
        raise Refusal(503, "Not ready.", "not_ready", headers={"Retry-After": "1"})
    return {"status": "ready"}


@status_routes.get("/metrics")
async def get_metrics(request: Request) -> Response:
    """Return all counters as Prometheus reads them."""
    service: Service = request.app.state.service
    return Response(service.metrics.page(), media_type=CONTENT_TYPE_LATEST)
