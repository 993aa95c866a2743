"""``POST /predict``: texts in, labels, probabilities and each source's part out."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from sklfusion.serve._body import BoundedRoute
from sklfusion.serve._served import ServedModel, TextAnswer
from sklfusion.serve._service import Service

predict_routes = APIRouter(route_class=BoundedRoute)


class PredictBody(BaseModel):
    """What to predict."""

    texts: list[str] = Field(min_length=1, description="The texts, none of them empty.")
    sources: bool = Field(True, description="Whether to tell what each source said.")
    ask: Literal["auto", "never"] = Field(
        "auto", description="'never' keeps a cascade from asking its LLM."
    )


@predict_routes.post("/predict")
async def post_predict(body: PredictBody, request: Request) -> dict[str, Any]:
    """Predict labels and probabilities of texts."""
    service: Service = request.app.state.service
    served = service.served  # one that is fitted meanwhile may take its place
    answers = await service.predict(body.texts, ask=body.ask == "auto", served=served)
    return {
        "model": service.settings.name,
        "classes": served.classes,
        "multilabel": served.multilabel,
        "predictions": [as_json(answer, served, body.sources) for answer in answers],
    }


def as_json(answer: TextAnswer, served: ServedModel, sources: bool) -> dict[str, Any]:
    """Return one prediction as plain values; null stands for "no answer"."""

    def by_class(values: Any) -> dict[str, float] | None:
        return None if values is None else dict(zip(served.names, values.tolist(), strict=True))

    told: dict[str, Any] = {"label": answer.label, "probabilities": by_class(answer.proba)}
    if answer.asked is not None:
        told |= {"asked_llm": answer.asked, "doubt": answer.doubt}
    if sources:
        told["sources"] = [
            {
                "name": view.name,
                "trust": view.trust,
                "probabilities": by_class(view.says),
                "log_odds": by_class(view.adds),
            }
            for view in answer.sources
        ]
    return told
