"""One refusal, in the words of each format."""

from __future__ import annotations

from typing import Any

#: The route whose errors have the shape of System One; all others have that of OpenAI.
SYSTEM_ONE = "/v1/systemone"
#: The route where a malformed request is 400, as at OpenAI, and not 422.
DECISIONS = "/v1/decisions"

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "method_not_allowed_error",
    408: "timeout_error",
    413: "request_too_large_error",
    415: "unsupported_media_type_error",
    421: "misdirected_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    502: "upstream_error",
    503: "overloaded_error",
    504: "timeout_error",
    507: "storage_error",
}


class Refusal(Exception):
    """A request that gets no answer, and why.

    Parameters
    ----------
    status : int
        Of HTTP. 422 becomes 400 on routes that say it so.
    message : str
        What arrived, what was wanted. Never a text that was sent.
    code : str
        A word for programs.
    where : tuple of str or int
        Keys and indices that lead to the fault in the body.
    headers : dict
        Further headers of the reply.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "invalid",
        where: tuple[Any, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, code, where, headers)
        self.status, self.message, self.code, self.where = status, message, code, where
        self.headers = headers or {}


def status_at(path: str, refused: Refusal) -> int:
    """Return the status that the format of a route has for a refusal."""
    if path == DECISIONS and refused.status == 422 and refused.code != "unknown_question":
        return 400
    if path == SYSTEM_ONE and refused.status == 400:
        return 422
    return refused.status


def body_at(path: str, refused: Refusal) -> dict[str, Any]:
    """Return the body that the format of a route has for a refusal."""
    status = status_at(path, refused)
    kind = _TYPES.get(status, "api_error")
    if path == SYSTEM_ONE:
        if status == 422:
            place = ["body", *refused.where]
            return {"detail": [{"loc": place, "msg": refused.message, "type": refused.code}]}
        return {"detail": {"error_type": kind, "message": refused.message}}
    param = ".".join(map(str, refused.where)) or None
    error = {"message": refused.message, "type": kind, "param": param, "code": refused.code}
    return {"error": error}


def first_fault(errors: Any) -> Refusal:
    """Return the refusal for what pydantic found; its words never quote what was sent."""
    fault = errors[0]
    where = tuple(part for part in fault["loc"] if part != "body")
    place = ".".join(map(str, where)) or "the body"
    more = f" ({len(errors) - 1} more faults)" if len(errors) > 1 else ""
    return Refusal(422, f"{place}: {fault['msg']}{more}", fault["type"], where)
