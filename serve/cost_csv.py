"""What a study or a session cost, as a CSV file: a row for each session, provider and minute."""

import csv
import io
from collections.abc import AsyncIterator, Iterable
from typing import Any

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from fleet.budget.export import CostRow
from serve.context import PortsDep, SessionIdPath, StudyIdPath
from serve.errors import StudyNotFound
from serve.models.base import rfc3339, usd
from serve.ports import Ports
from serve.problems import responses

router = APIRouter(prefix="/v1", tags=["costs"])

TEXT_CSV = "text/csv"
COLUMNS = (
    "study_id",
    "session_id",
    "provider",
    "model",
    "minute",
    "micro_usd",
    "usd",
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_EXAMPLE = (
    ",".join(COLUMNS) + "\r\n"
    "study-7,s-8f3b21c07a9d4e66,openai_realtime,gpt-realtime-2025-08-28,"
    "2026-11-23T09:30:00.000Z,431200,0.431200\r\n"
)
CSV_RESPONSE: dict[str, Any] = {
    TEXT_CSV: {"schema": {"type": "string"}, "example": _EXAMPLE},
}


@router.get(
    "/studies/{study_id}/cost.csv",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The rows, streamed", "content": CSV_RESPONSE},
        **responses(401, 404, 422, 503),
    },
)
async def get_study_csv(study_id: StudyIdPath, ports: PortsDep) -> StreamingResponse:
    """Each minute of each session of a study, by provider. The rows add up to what the study has
    spent. Sessions are read one after the other, so of a study under way each is as it stands
    when its turn comes. A file that breaks off is not complete: the connection is cut.
    """
    return await study_csv(study_id, ports)


@router.get(
    "/sessions/{session_id}/cost.csv",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The rows; none before anything was spent", "content": CSV_RESPONSE},
        **responses(401, 404, 422, 503),
    },
)
async def get_session_csv(session_id: SessionIdPath, ports: PortsDep) -> StreamingResponse:
    """Each minute of a session, by provider. The rows add up to what it has spent."""
    await ports.sessions.get(session_id)
    rows = await ports.money.session_rows(session_id)
    return _answer(f"cost-{session_id}.csv", _lines(_one(rows)))


async def study_csv(study_id: str, ports: Ports) -> StreamingResponse:
    """Raises StudyNotFound, BudgetUnavailable before anything is sent."""
    pages = ports.money.study_rows(study_id)
    try:
        first = await anext(pages)
    except StopAsyncIteration:
        raise StudyNotFound(f"no session of study {study_id} has an account") from None
    return _answer(f"cost-{study_id}.csv", _lines(_chain(first, pages)))


def prefers_csv(accept: str | None) -> bool:
    """Whether CSV is asked for by name, and JSON not before it. Wildcards mean JSON."""
    kinds = [part.partition(";")[0].strip().lower() for part in (accept or "").split(",")]
    named = [kind for kind in kinds if kind in (TEXT_CSV, "application/json")]
    return named[:1] == [TEXT_CSV]


def cell(text: str) -> str:
    """Spreadsheets run a cell that begins like a formula. Identifiers never do; a model's name
    is whatever the operator's table calls it.
    """
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _answer(filename: str, body: AsyncIterator[str]) -> StreamingResponse:
    # An Identifier has no quote, no blank and no line break, so it can stand there as it is.
    headers = {
        "Content-Disposition": f'attachment; filename="{filename}"',
        "Cache-Control": "no-store",
        "Vary": "Accept",
        "X-Accel-Buffering": "no",
    }
    return StreamingResponse(body, media_type=f"{TEXT_CSV}; header=present", headers=headers)


async def _lines(pages: AsyncIterator[tuple[CostRow, ...]]) -> AsyncIterator[str]:
    yield _text([COLUMNS])
    async for page in pages:
        if page:
            yield _text(map(_fields, page))


def _fields(row: CostRow) -> tuple[str, ...]:
    return (
        cell(row.study_id),
        cell(row.session_id),
        cell(row.provider),
        cell(row.model),
        rfc3339(row.minute_epoch) or "",
        str(row.micro_usd),
        usd(row.micro_usd),
    )


def _text(rows: Iterable[tuple[str, ...]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue()


async def _one(rows: tuple[CostRow, ...]) -> AsyncIterator[tuple[CostRow, ...]]:
    yield rows


async def _chain(
    first: tuple[CostRow, ...], pages: AsyncIterator[tuple[CostRow, ...]]
) -> AsyncIterator[tuple[CostRow, ...]]:
    yield first
    async for page in pages:
        yield page
