"""What a span may be called and may say: docs/telemetry.md has the same table. Pure.

Names of the semantic conventions where there are some (``gen_ai.*`` is experimental), else
``fleet.*``. None holds anybody's words, a contract's texts, a participant's name or a key.
"""

from __future__ import annotations

from collections.abc import Mapping

Value = str | bool | int | float | tuple[str, ...]
Attributes = Mapping[str, Value]

# Spans
HTTP_REQUEST = "POST /v1/sessions"
DISPATCH = "dispatch"
DISPATCH_STEPS = ("validate", "claim", "reserve", "budget", "room", "join")
ATTEMPT, RECOVER, MOVE = "attempt", "recover", "move"
JOIN_ROOM = "join room"
WAIT_FOR_METADATA = "wait for metadata"
READ_CHECKPOINT = "read checkpoint"
CONNECT_PROVIDER = "connect provider"
RECONNECT_PROVIDER = "reconnect provider"
FIRST_AUDIO = "wait for first audio"
PHASE = "phase"
SILENCE = "silence of a recovery"
GOODBYE = "say goodbye"
LEAVE = "leave"
END = "end"

SPANS: Mapping[str, str] = {
    HTTP_REQUEST: "the ingress: from the request to the end of its answer",
    DISPATCH: "the dispatcher: until the agent is in the room, or all is undone",
    **dict.fromkeys(DISPATCH_STEPS, "a step of the dispatch"),
    ATTEMPT: "the supervisor: an actor given the session, until its agent is in the room",
    RECOVER: "the same of a successor, from its predecessor's loss",
    MOVE: "the same of one that takes over from an actor that was asked to leave",
    JOIN_ROOM: "the actor: from its assignment to the room",
    WAIT_FOR_METADATA: "until the contract was there",
    READ_CHECKPOINT: "a successor: from its assignment until it knew where it stands",
    CONNECT_PROVIDER: "until the provider's session was set up",
    RECONNECT_PROVIDER: "from a lost or left connection to the next",
    FIRST_AUDIO: "from the participant's coming to the interviewer's first frame",
    PHASE: "a phase of the protocol; a successor's begins when it takes up",
    "chat MODEL": "a response of OpenAI's",
    "generate_content MODEL": "a response of Gemini's",
    SILENCE: "from the last checkpoint to audio again",
    GOODBYE: "from the goodbye's request to its last word",
    LEAVE: "from the end being decided to the actor being gone",
    END: "the supervisor: record, account, room, actor, permit",
}

# Attributes
ACTOR_ID = "fleet.actor.id"
ATTEMPT_NUMBER = "fleet.attempt"
CAUSE = "fleet.cause"
COST_MICRO_USD = "fleet.cost.micro_usd"
CUT_SHORT = "fleet.provider.cut_short"
END_REASON = "fleet.end.reason"
ERROR_TYPE = "error.type"
EXISTING = "fleet.dispatch.existing"
GAP_S = "fleet.recovery.gap_s"
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
PHASE_ID = "fleet.phase.id"
PHASE_INDEX = "fleet.phase.index"
PLANNED = "fleet.provider.planned"
PRICED = "fleet.cost.priced"
RESPONSE_CANCELLED = "fleet.response.cancelled"
RESUMPTION = "fleet.recovery.resumption"
SESSION_ID = "session.id"
SPENT_MICRO_USD = "fleet.session.spent_micro_usd"
STUDY_ID = "fleet.study.id"
TURN_SILENCE_S = "fleet.turn.silence_s"
GEN_AI_CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_CONVERSATION = "gen_ai.conversation.id"
GEN_AI_FINISH_REASONS = "gen_ai.response.finish_reasons"
GEN_AI_FIRST_CHUNK_S = "gen_ai.response.time_to_first_chunk"
GEN_AI_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_OPERATION = "gen_ai.operation.name"
GEN_AI_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
GEN_AI_OUTPUT_TYPE = "gen_ai.output.type"
GEN_AI_PROVIDER = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL = "gen_ai.request.model"
GEN_AI_RESPONSE_ID = "gen_ai.response.id"

ATTRIBUTES: Mapping[str, str] = {
    SESSION_ID: "the session; on all spans but the request's and the steps of a dispatch",
    ERROR_TYPE: "of a span that failed: the error's code; never its words",
    HTTP_METHOD: "of the request",
    HTTP_ROUTE: "of the request",
    HTTP_STATUS: "of the answer",
    STUDY_ID: "the study",
    EXISTING: "the Idempotency-Key was known: nothing was begun",
    ATTEMPT_NUMBER: "1 for the first actor of a session",
    ACTOR_ID: "the actor, as Ray's dashboard and the logs have it",
    CAUSE: "how a phase was entered; why an actor was lost or another tried",
    RESUMPTION: "how a successor takes up: carry_on, ask_again, listen",
    GAP_S: "seconds from the checkpoint to its being read",
    PLANNED: "the connection was left between turns, by intent",
    CUT_SHORT: "words of the interviewer went with the connection",
    PHASE_ID: "the phase; on responses the one they were in",
    PHASE_INDEX: "its place in the protocol, from 0",
    TURN_SILENCE_S: "seconds from the end of the participant's turn to this answer's first audio",
    RESPONSE_CANCELLED: "cut off, by the participant or by us",
    COST_MICRO_USD: "of a response: what it was billed, micro-dollars, rounded up",
    PRICED: "false: no usage came, an upper bound was charged",
    SPENT_MICRO_USD: "of a session: all attempts, micro-dollars",
    END_REASON: "why the session, or its actor, ended",
    GEN_AI_OPERATION: "chat, or generate_content for Gemini",
    GEN_AI_PROVIDER: "openai, gcp.gemini",
    GEN_AI_REQUEST_MODEL: "the model",
    GEN_AI_OUTPUT_TYPE: "speech",
    GEN_AI_CONVERSATION: "the session",
    GEN_AI_RESPONSE_ID: "the provider's id; for Gemini, which has none, ours",
    GEN_AI_FINISH_REASONS: "completed, cancelled, interrupted, failed, incomplete, lost",
    GEN_AI_FIRST_CHUNK_S: "seconds from the response's beginning to its first audio",
    GEN_AI_INPUT_TOKENS: "billed, cached ones included",
    GEN_AI_CACHED_TOKENS: "of the input tokens",
    GEN_AI_OUTPUT_TOKENS: "billed",
}
