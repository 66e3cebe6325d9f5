"""The one wrapper around LiveKit's server API: rooms, who may do what in them, webhooks.

Calls are not retried here, the caller holds the deadline; each has the client's own timeout.
They raise LiveKitUnavailable (no answer, may be tried again) or LiveKitRefused (it said no;
RoomNotFound where that was why).

What each token allows is enforced by the server, silently: a client that does more is told
"OK" and nobody receives anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from time import perf_counter
from typing import Self

import aiohttp
from livekit import api
from livekit.protocol.agent_dispatch import AgentDispatch
from pydantic import SecretStr

from fleet.errors import (
    LiveKitError,
    LiveKitRefused,
    LiveKitUnavailable,
    RoomNotFound,
    WebhookRejected,
)
from fleet.settings import FleetSettings

_CLOCKS_APART, _ANY_AGE = timedelta(minutes=1), timedelta(days=36_500)
"""What a token's times may be off by: as LiveKit's server takes it, and to read it all the same."""

MICROPHONE = "microphone"
"""Lower case: the server takes "MICROPHONE" for a source that does not exist."""


Observe = Callable[[str, str, float], None]


@dataclass(frozen=True, kw_only=True)
class RoomInfo:
    name: str
    sid: str
    participants: int
    metadata: str = field(repr=False)
    created_at: float


@dataclass(frozen=True, kw_only=True)
class GivenJob:
    """``identity``: of its agent, as the worker that was given it had said."""

    id: str
    identity: str


@dataclass(frozen=True, kw_only=True)
class DispatchInfo:
    """``jobs``: those of it that a worker was given."""

    id: str
    agent_name: str
    metadata: str = field(repr=False)
    created_at: float
    jobs: tuple[GivenJob, ...]


@dataclass(frozen=True, kw_only=True)
class ParticipantInfo:
    """``is_agent`` by the token's kind; ``is_hidden``: an observer, whom only the server's API
    shows. A dead agent stays listed for about 20 s.
    """

    identity: str
    sid: str
    is_agent: bool
    is_hidden: bool
    is_active: bool
    joined_at: float
    published_tracks: int


@dataclass(frozen=True, kw_only=True)
class ParticipantPass:
    """Whom a participant's token was given to. ``expired``: it opens its room no more."""

    room: str
    identity: str
    expired: bool


WEBHOOK_EVENTS = ("room_finished",)
"""Of the server's webhooks, those that mean something to the ingress. All others of an interview
(ten and more) are answered and cost CPU, for nothing."""


@dataclass(frozen=True, kw_only=True)
class WebhookEvent:
    """A verified event. ``event_id`` is the same when the server delivers it again."""

    event_id: str
    event: str
    """room_started, room_finished, participant_joined, participant_left, track_published, …"""
    created_at: float
    room: str | None
    participant_identity: str | None
    participant_is_agent: bool


class LiveKitClient:
    """Tokens and ``verify_webhook`` need no server and no event loop. Close with ``aclose``.

    ``observe`` is told of each call: its name, "ok" or the error's code, and its seconds.
    """

    def __init__(
        self,
        *,
        url: str,
        api_key: str,
        api_secret: SecretStr,
        timeout_s: float = 3.0,
        observe: Observe | None = None,
    ) -> None:
        self._url = url
        self._key = api_key
        self._secret = api_secret
        self._timeout_s = timeout_s
        self._observe = observe
        self._api: api.LiveKitAPI | None = None
        verifier = api.TokenVerifier(api_key, api_secret.get_secret_value())
        self._webhooks = api.WebhookReceiver(verifier)

    @classmethod
    def from_settings(cls, settings: FleetSettings, *, observe: Observe | None = None) -> Self:
        return cls(
            url=settings.livekit_url,
            api_key=settings.livekit_api_key,
            api_secret=settings.livekit_api_secret,
            timeout_s=settings.livekit_timeout_s,
            observe=observe,
        )

    async def aclose(self) -> None:
        client, self._api = self._api, None
        if client is not None:
            await client.aclose()

    async def ping(self) -> None:
        """Returns if the server answers and takes our key."""
        await self.list_rooms(names=["-"])

    async def create_room(
        self,
        name: str,
        *,
        metadata: str = "",
        empty_timeout_s: int = 120,
        departure_timeout_s: int = 60,
    ) -> RoomInfo:
        """A room that exists already is answered as it is, its metadata untouched. The server
        removes it if nobody came for ``empty_timeout_s``, and ``departure_timeout_s`` after the
        last one left; agents do not count, whoever waits for a participant in vain.
        """
        request = api.CreateRoomRequest(
            name=name,
            metadata=metadata,
            empty_timeout=empty_timeout_s,
            departure_timeout=departure_timeout_s,
        )
        async with self._calling("create_room"):
            return _room_info(await self._rooms.create_room(request))

    async def delete_room(self, name: str) -> bool:
        """Disconnects everybody in it. False if there was none."""
        try:
            async with self._calling("delete_room"):
                await self._rooms.delete_room(api.DeleteRoomRequest(room=name))
        except RoomNotFound:
            return False
        return True

    async def list_rooms(self, names: Sequence[str] = ()) -> tuple[RoomInfo, ...]:
        """Those of ``names`` that exist; with none named, all."""
        async with self._calling("list_rooms"):
            answer = await self._rooms.list_rooms(api.ListRoomsRequest(names=names))
        return tuple(_room_info(room) for room in answer.rooms)

    async def update_metadata(self, room: str, metadata: str) -> RoomInfo:
        request = api.UpdateRoomMetadataRequest(room=room, metadata=metadata)
        async with self._calling("update_metadata"):
            return _room_info(await self._rooms.update_room_metadata(request))

    async def list_participants(self, room: str) -> tuple[ParticipantInfo, ...]:
        """Hidden ones too. Empty for a room that does not exist."""
        async with self._calling("list_participants"):
            answer = await self._rooms.list_participants(api.ListParticipantsRequest(room=room))
        return tuple(_participant_info(person) for person in answer.participants)

    async def remove_participant(self, room: str, identity: str) -> bool:
        """Disconnects one; a token it still holds lets it in again. False if not there."""
        request = api.RoomParticipantIdentity(room=room, identity=identity)
        try:
            async with self._calling("remove_participant"):
                await self._rooms.remove_participant(request)
        except RoomNotFound:
            return False
        return True

    def participant_token(
        self, *, room: str, identity: str, ttl_s: int, name: str | None = None
    ) -> str:
        """Publish audio as a microphone and listen; no data, no attributes, no metadata.
        ``name`` is what others in the room are shown.
        """
        grants = api.VideoGrants(
            room_join=True,
            room=room,
            can_publish=True,
            can_publish_sources=[MICROPHONE],
            can_publish_data=False,
            can_subscribe=True,
            can_update_own_metadata=False,
        )
        token = self._token(identity, ttl_s).with_grants(grants)
        return (token if name is None else token.with_name(name)).to_jwt()

    def agent_token(self, *, room: str, identity: str, ttl_s: int) -> str:
        """The interviewer, of kind agent: speaks, listens, sends transcripts as data, and tells
        its state in its own attributes.

        Give a successor the identity of the agent it replaces: the server then puts the old one
        out at once, so that one that was frozen cannot talk over it.
        """
        grants = api.VideoGrants(
            room_join=True,
            room=room,
            can_publish=True,
            can_publish_sources=[MICROPHONE],
            can_publish_data=True,
            can_subscribe=True,
            can_update_own_metadata=True,
        )
        return self._token(identity, ttl_s).with_kind("agent").with_grants(grants).to_jwt()

    def worker_token(self, *, ttl_s: int) -> str:
        """Registers an agent worker, see ``fleet.bridge``."""
        token = api.AccessToken(self._key, self._secret.get_secret_value())
        grants = api.VideoGrants(agent=True)
        return token.with_ttl(timedelta(seconds=ttl_s)).with_grants(grants).to_jwt()

    async def dispatches(self, room: str) -> tuple[DispatchInfo, ...]:
        """The agents that were dispatched into the room. None for a room that does not exist."""
        try:
            async with self._calling("list_dispatch"):
                found = await self._server.agent_dispatch.list_dispatch(room)
        except RoomNotFound:
            return ()
        return tuple(_dispatch_info(dispatch) for dispatch in found)

    def observer_token(self, *, room: str, identity: str, ttl_s: int) -> str:
        """Hears everything, sends nothing, and is not seen by the others in the room."""
        grants = api.VideoGrants(
            room_join=True,
            room=room,
            can_publish=False,
            can_publish_data=False,
            can_subscribe=True,
            can_update_own_metadata=False,
            hidden=True,
        )
        return self._token(identity, ttl_s).with_grants(grants).to_jwt()

    def verify_webhook(self, body: bytes, authorization: str | None) -> WebhookEvent:
        """The event in ``body``, exactly as it came, if ``authorization`` (the header) is a
        token of our key over its SHA-256. Raises WebhookRejected; says nothing about why.
        """
        token = (authorization or "").removeprefix("Bearer ").strip()
        try:
            event = self._webhooks.receive(body.decode(), token)
        except Exception as error:  # the library raises bare Exception for a wrong hash
            raise WebhookRejected("webhook signature does not fit") from error
        return _webhook_event(event)

    def read_pass(self, token: str) -> ParticipantPass | None:
        """None unless it is signed with our key and opens a room. How long ago its time ended does
        not matter: it still says who somebody is.
        """
        claims = self._claims(token, _ANY_AGE)
        if claims is None or claims.video is None or not claims.video.room_join:
            return None
        return ParticipantPass(
            room=claims.video.room,
            identity=claims.identity,
            expired=self._claims(token, _CLOCKS_APART) is None,
        )

    def _claims(self, token: str, leeway: timedelta) -> api.access_token.Claims | None:
        secret = self._secret.get_secret_value()
        try:
            return api.TokenVerifier(self._key, secret, leeway=leeway).verify(token)
        except Exception:  # whatever the JWT library makes of what a stranger sent
            return None

    def _token(self, identity: str, ttl_s: int) -> api.AccessToken:
        token = api.AccessToken(self._key, self._secret.get_secret_value())
        return token.with_identity(identity).with_ttl(timedelta(seconds=ttl_s))

    @property
    def _rooms(self) -> api.room_service.RoomService:
        return self._server.room

    @property
    def _server(self) -> api.LiveKitAPI:
        if self._api is None:
            # Here and not in the constructor: it opens a client session, which needs a loop.
            self._api = api.LiveKitAPI(
                self._url,
                self._key,
                self._secret.get_secret_value(),
                failover=False,
            )
        return self._api

    @asynccontextmanager
    async def _calling(self, call: str) -> AsyncIterator[None]:
        began, outcome = perf_counter(), "ok"
        try:
            with _typed_errors(call):
                # The library's own timeout does nothing: it passes timeout=None with each
                # request, which for aiohttp means "for ever", whatever the session says.
                async with asyncio.timeout(self._timeout_s):
                    yield
        except LiveKitError as error:
            outcome = error.code
            raise
        finally:
            if self._observe is not None:
                self._observe(call, outcome, perf_counter() - began)


@contextmanager
def _typed_errors(call: str) -> Iterator[None]:
    try:
        yield
    except api.ServerError as error:
        reason = f"{error.code} ({error.status})"
        if error.status == 404 and error.code == api.ServerErrorCode.NOT_FOUND:
            raise RoomNotFound(call, reason) from error
        if error.status >= 500 or error.code == api.ServerErrorCode.RESOURCE_EXHAUSTED:
            raise LiveKitUnavailable(call, reason) from error
        raise LiveKitRefused(call, reason) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise LiveKitUnavailable(call, type(error).__name__) from error


def _room_info(room: api.Room) -> RoomInfo:
    return RoomInfo(
        name=room.name,
        sid=room.sid,
        participants=room.num_participants,
        metadata=room.metadata,
        created_at=float(room.creation_time),
    )


def _dispatch_info(dispatch: AgentDispatch) -> DispatchInfo:
    return DispatchInfo(
        id=dispatch.id,
        agent_name=dispatch.agent_name,
        metadata=dispatch.metadata,
        created_at=dispatch.state.created_at / 1e9,
        jobs=tuple(
            GivenJob(id=job.id, identity=job.state.participant_identity)
            for job in dispatch.state.jobs
        ),
    )


def _participant_info(person: api.ParticipantInfo) -> ParticipantInfo:
    return ParticipantInfo(
        identity=person.identity,
        sid=person.sid,
        is_agent=person.kind == api.ParticipantInfo.Kind.AGENT,
        is_hidden=person.permission.hidden,
        is_active=person.state == api.ParticipantInfo.State.ACTIVE,
        joined_at=float(person.joined_at),
        published_tracks=len(person.tracks),
    )


def _webhook_event(event: api.WebhookEvent) -> WebhookEvent:
    someone = event.HasField("participant")
    return WebhookEvent(
        event_id=event.id,
        event=event.event,
        created_at=float(event.created_at),
        room=event.room.name or None,
        participant_identity=event.participant.identity if someone else None,
        participant_is_agent=someone and event.participant.kind == api.ParticipantInfo.Kind.AGENT,
    )
