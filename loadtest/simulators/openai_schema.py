"""Checks of client JSON in the real service's words. Pure.

A check takes (value, path) and returns the accepted value; it raises `ClientError`, which becomes
one `error` event. Messages and codes follow what the service was seen to send.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], Any]


class ClientError(Exception):
    """The client sent something wrong; `kind` is the error's `type` on the wire."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None,
        param: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message, code, param, kind)
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind

    def as_json(self, client_event_id: str | None) -> dict[str, Any]:
        return {
            "type": self.kind,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": client_event_id,
        }


def invalid_type(path: str, expected: str, value: Any) -> ClientError:
    got = _NAMES.get(type(value), "something else")
    return ClientError(
        f"Invalid type for '{path}': expected {expected}, but got {got} instead.",
        code="invalid_type",
        param=path,
    )


def invalid_value(path: str, value: Any, supported: tuple[str, ...]) -> ClientError:
    names = ", ".join(f"'{name}'" for name in supported)
    return ClientError(
        f"Invalid value: '{value}'. Supported values are: {names}.",
        code="invalid_value",
        param=path,
    )


_NAMES: dict[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def anything(value: Any, path: str) -> Any:
    return value


def text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise invalid_type(path, "a string", value)
    return value


def text_up_to(length: int) -> Check:
    def check(value: Any, path: str) -> str:
        if len(text(value, path)) > length:
            raise ClientError(
                f"Invalid '{path}': string too long. Expected a string with maximum length "
                f"{length}, but got a string with length {len(value)} instead.",
                code="string_above_max_length",
                param=path,
            )
        return str(value)

    return check


def boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise invalid_type(path, "a boolean", value)
    return value


def whole(low: int, high: int) -> Check:
    def check(value: Any, path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid_type(path, "an integer", value)
        return int(_within(value, low, high, path, "integer"))

    return check


def decimal(low: float, high: float) -> Check:
    def check(value: Any, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid_type(path, "a decimal", value)
        return _within(value, low, high, path, "decimal")

    return check


def _within(value: float, low: float, high: float, path: str, what: str) -> float:
    if value < low:
        side, bound, limit = "below_min", f">= {low}", f"{what}_below_min_value"
    elif value > high:
        side, bound, limit = "above_max", f"<= {high}", f"{what}_above_max_value"
    else:
        return value
    raise ClientError(
        f"Invalid '{path}': {what} {side.replace('_', ' ')} value. Expected a value {bound}, "
        f"but got {value} instead.",
        code=limit,
        param=path,
    )


def one_of(*values: str) -> Check:
    def check(value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise invalid_type(path, "a string", value)
        if value not in values:
            raise invalid_value(path, value, values)
        return value

    return check


def nullable(inner: Check) -> Check:
    return lambda value, path: None if value is None else inner(value, path)


def first_match(*checks: Check) -> Check:
    """Accept what any check accepts; the last one's complaint is the one told."""

    def check(value: Any, path: str) -> Any:
        for attempt in checks[:-1]:
            try:
                return attempt(value, path)
            except ClientError:
                continue
        return checks[-1](value, path)

    return check


def listing(inner: Check) -> Check:
    def check(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise invalid_type(path, "an array", value)
        return [inner(entry, f"{path}[{index}]") for index, entry in enumerate(value)]

    return check


def record(fields: Mapping[str, Check], *, required: tuple[str, ...] = ()) -> Check:
    """An object with these fields and no other."""

    def check(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise invalid_type(path, "an object", value)
        for name in required:
            if name not in value:
                raise missing(f"{path}.{name}" if path else name)
        accepted = {}
        for name, entry in value.items():
            full = f"{path}.{name}" if path else name
            if name not in fields:
                raise ClientError(
                    f"Unknown parameter: '{full}'.", code="unknown_parameter", param=full
                )
            accepted[name] = fields[name](entry, full)
        return accepted

    return check


def tagged(variants: Mapping[str, Check]) -> Check:
    """An object whose `type` picks the check."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise invalid_type(path, "an object", value)
        if "type" not in value:
            raise missing(f"{path}.type")
        chosen = one_of(*variants)(value["type"], f"{path}.type")
        return variants[chosen](value, path)

    return check


def missing(path: str) -> ClientError:
    return ClientError(
        f"Missing required parameter: '{path}'.", code="missing_required_parameter", param=path
    )
