"""Every error that the ingress itself raises. Those of the fleet and the agent come through as
they are; serve/problems.py turns all of them into problem documents.

    ServeError
    ├── BodyNotJson          400  not UTF-8, not JSON, not an object, a key given twice
    ├── HeaderInvalid        400  a header or cursor that cannot be read
    ├── KeyMissing           401  no bearer key
    ├── KeyWrong             401  a bearer key that is not one of ours
    ├── LinkInvalid          401  a participant's token that is not this session's
    ├── StudyNotFound        404
    ├── SessionOver          409  a limit or an observer for a session that has ended
    ├── SessionStarting      409  an observer for a session that has no room yet
    ├── BodyTooSlow          408
    ├── BodyTooLarge         413  refused before it is parsed
    ├── TargetTooLong        414
    ├── MediaTypeWrong       415
    ├── HostNotAllowed       421  an open (keyless, loopback) ingress addressed by another name
    ├── RequestInvalid       422  names every bad field
    ├── HeadTooLarge         431  too many headers, or too long
    ├── NotReady             503  says which checks fail
    ├── PagesMissing         503  the web pages were not built
    └── StillEnding          503  an erasure has to wait for the session's end
"""

from __future__ import annotations

from typing import Any, ClassVar

from agent_actor.contract import FieldProblem


class ServeError(Exception):
    """Base. ``code`` is stable; ``http_status`` and ``headers`` are what is answered."""

    code: ClassVar[str] = "serve_error"
    http_status: ClassVar[int] = 500

    def __init__(
        self,
        detail: str,
        *,
        errors: tuple[FieldProblem, ...] = (),
        headers: dict[str, str] | None = None,
        members: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.errors = errors
        self.headers = headers or {}
        self.members = members or {}
        """Extra members of the problem document (RFC 9457, 3.2)."""


class BodyNotJson(ServeError):
    code = "body_not_json"
    http_status = 400


class HeaderInvalid(ServeError):
    code = "header_invalid"
    http_status = 400


class KeyMissing(ServeError):
    code = "key_missing"
    http_status = 401

    def __init__(self) -> None:
        super().__init__(
            "this ingress needs a key: send 'Authorization: Bearer KEY'",
            headers={"WWW-Authenticate": 'Bearer realm="interview-fleet"'},
        )


class KeyWrong(ServeError):
    code = "key_wrong"
    http_status = 401

    def __init__(self) -> None:
        super().__init__(
            "the bearer key is not one that this ingress knows",
            headers={"WWW-Authenticate": 'Bearer realm="interview-fleet", error="invalid_token"'},
        )


class LinkInvalid(ServeError):
    code = "link_invalid"
    http_status = 401

    def __init__(self) -> None:
        super().__init__(
            "send the participant's token of this session as 'Authorization: Bearer TOKEN'",
            headers={"WWW-Authenticate": 'Bearer realm="interview"'},
        )


class StudyNotFound(ServeError):
    code = "study_not_found"
    http_status = 404


class SessionOver(ServeError):
    code = "session_over"
    http_status = 409


class SessionStarting(ServeError):
    code = "session_starting"
    http_status = 409


class BodyTooSlow(ServeError):
    code = "body_too_slow"
    http_status = 408


class BodyTooLarge(ServeError):
    code = "body_too_large"
    http_status = 413

    def __init__(self, *, limit_bytes: int) -> None:
        super().__init__(f"the body is larger than the {limit_bytes} bytes this route takes")


class TargetTooLong(ServeError):
    code = "target_too_long"
    http_status = 414


class HeadTooLarge(ServeError):
    code = "head_too_large"
    http_status = 431


class MediaTypeWrong(ServeError):
    code = "media_type_wrong"
    http_status = 415


class HostNotAllowed(ServeError):
    code = "host_not_allowed"
    http_status = 421


class RequestInvalid(ServeError):
    code = "request_invalid"
    http_status = 422

    def __init__(self, errors: list[FieldProblem]) -> None:
        super().__init__("; ".join(str(e) for e in errors), errors=tuple(errors))


class NotReady(ServeError):
    code = "not_ready"
    http_status = 503


class StillEnding(ServeError):
    code = "still_ending"
    http_status = 503


class PagesMissing(ServeError):
    code = "pages_missing"
    http_status = 503

    def __init__(self) -> None:
        super().__init__("the web pages are not built here: run `python -m fleet.local.web`")
