from __future__ import annotations

import base64
import hashlib
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from livekit import api
from pydantic import SecretStr

from fleet.errors import WebhookRejected
from fleet.livekit_client import LiveKitClient, ParticipantPass

KEY, SECRET = "devkey", "a-secret-of-at-least-thirty-two-bytes"
BODY = json.dumps(
    {
        "event": "participant_joined",
        "id": "EV_1",
        "createdAt": "1795000000",
        "room": {"name": "s-1"},
        "participant": {"identity": "agent", "kind": "AGENT"},
    }
).encode()


@pytest.fixture
def client() -> LiveKitClient:
    return LiveKitClient(url="ws://127.0.0.1:1", api_key=KEY, api_secret=SecretStr(SECRET))


def claims(token: str) -> dict[str, Any]:
    decoded: dict[str, Any] = jwt.decode(token, SECRET, issuer=KEY, algorithms=["HS256"])
    return decoded


def signed(
    body: bytes, *, secret: str = SECRET, key: str = KEY, ttl: timedelta = timedelta(minutes=5)
) -> str:
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return api.AccessToken(key, secret).with_ttl(ttl).with_sha256(digest).to_jwt()


def test_a_participant_may_publish_a_microphone_and_nothing_else(client: LiveKitClient) -> None:
    token = claims(client.participant_token(room="s-1", identity="p-7", ttl_s=600))

    assert token["sub"] == "p-7"
    assert token["exp"] - token["nbf"] == 600
    assert token.get("kind", "standard") == "standard"
    assert token["video"] == {
        "roomJoin": True,
        "room": "s-1",
        "canPublish": True,
        "canPublishSources": ["microphone"],
        "canPublishData": False,
        "canSubscribe": True,
        "canUpdateOwnMetadata": False,
    }


def test_an_agent_is_of_kind_agent_and_tells_its_state(client: LiveKitClient) -> None:
    token = claims(client.agent_token(room="s-1", identity="agent", ttl_s=60))

    assert token["kind"] == "agent"
    assert token["video"] == {
        "roomJoin": True,
        "room": "s-1",
        "canPublish": True,
        "canPublishSources": ["microphone"],
        "canPublishData": True,
        "canSubscribe": True,
        "canUpdateOwnMetadata": True,
    }


def test_an_observer_is_hidden_and_only_receives(client: LiveKitClient) -> None:
    token = claims(client.observer_token(room="s-1", identity="o", ttl_s=60))

    assert token["video"] == {
        "roomJoin": True,
        "room": "s-1",
        "canPublish": False,
        "canPublishData": False,
        "canSubscribe": True,
        "canUpdateOwnMetadata": False,
        "hidden": True,
    }


@pytest.mark.parametrize("prefix", ["", "Bearer "])
def test_a_signed_webhook_is_read(client: LiveKitClient, prefix: str) -> None:
    event = client.verify_webhook(BODY, prefix + signed(BODY))

    assert (event.event_id, event.event, event.created_at) == (
        "EV_1",
        "participant_joined",
        1_795_000_000.0,
    )
    assert (event.room, event.participant_identity, event.participant_is_agent) == (
        "s-1",
        "agent",
        True,
    )


def test_a_room_event_has_no_participant(client: LiveKitClient) -> None:
    body = b'{"event": "room_finished", "id": "EV_2", "room": {"name": "s-1"}}'

    event = client.verify_webhook(body, signed(body))

    assert (event.participant_identity, event.participant_is_agent) == (None, False)


@pytest.mark.parametrize(
    ("body", "authorization"),
    [
        (BODY, None),
        (BODY, ""),
        (BODY, "Bearer nonsense"),
        (BODY + b" ", signed(BODY)),
        (BODY, signed(BODY, secret="another-secret-of-thirty-two-bytes!!")),
        (BODY, signed(BODY, key="otherkey")),
        (BODY, signed(BODY, ttl=timedelta(minutes=-5))),
        (BODY, api.AccessToken(KEY, SECRET).to_jwt()),
        (b"\xff\xfe", signed(b"\xff\xfe")),
        (b"not json", signed(b"not json")),
    ],
    ids=[
        "no header",
        "empty header",
        "no token",
        "other body",
        "other secret",
        "other key",
        "expired",
        "token without hash",
        "not text",
        "not json",
    ],
)
def test_other_webhooks_are_refused(
    client: LiveKitClient, body: bytes, authorization: str | None
) -> None:
    with pytest.raises(WebhookRejected):
        client.verify_webhook(body, authorization)


def test_a_participants_token_says_whose_it_is(client: LiveKitClient) -> None:
    token = client.participant_token(room="interview-s-1", identity="p-7", ttl_s=600)

    assert client.read_pass(token) == ParticipantPass(
        room="interview-s-1", identity="p-7", expired=False
    )


def test_a_token_whose_time_is_over_still_does(client: LiveKitClient) -> None:
    token = client.participant_token(room="interview-s-1", identity="p-7", ttl_s=-3_000_000)

    assert client.read_pass(token) == ParticipantPass(
        room="interview-s-1", identity="p-7", expired=True
    )


def test_clocks_may_be_a_little_apart(client: LiveKitClient) -> None:
    read = client.read_pass(client.participant_token(room="s-1", identity="p-7", ttl_s=-30))

    assert read is not None
    assert not read.expired


def test_any_other_text_is_no_pass(client: LiveKitClient) -> None:
    other = LiveKitClient(
        url="ws://127.0.0.1:1", api_key=KEY, api_secret=SecretStr("another-secret-" + SECRET)
    )
    unsigned = jwt.encode({"iss": KEY, "sub": "p-7", "exp": 4e9}, "", algorithm="none")
    texts = [
        "",
        "…",
        "a.b.c",
        unsigned,
        other.participant_token(room="s-1", identity="p-7", ttl_s=600),
        client.worker_token(ttl_s=600),
    ]
    assert [client.read_pass(text) for text in texts] == [None] * len(texts)
