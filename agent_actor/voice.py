"""Who speaks when: the framework's word for the interviewer, the server's for the participant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from livekit.agents import AgentStateChangedEvent


class Voice:
    """Who is speaking now, how much each has spoken, and changes to wait on."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.interviewer = False
        self.participant = False
        self.spurts = 0
        """How often the interviewer has begun to speak."""
        self.interruptions = 0
        """How often the participant began to speak over the interviewer."""
        self.last: str | None = None
        """Who was the last to begin to speak."""
        self.participant_heard = False
        """The participant has spoken, for however long."""
        self._spoken_s = {"interviewer": 0.0, "participant": 0.0}
        self._quiet_since = self._last = clock()
        self._changed = asyncio.Event()

    @property
    def speaking(self) -> str | None:
        if self.interviewer:
            return "interviewer"
        return "participant" if self.participant else None

    def agent_state_changed(self, event: AgentStateChangedEvent) -> None:
        speaking = event.new_state == "speaking"
        if speaking and not self.interviewer:
            self.spurts += 1
        self._set(speaking, self.participant)

    def participant_speaking(self, active: bool) -> None:
        self._set(self.interviewer, active)

    def statistics(self) -> dict[str, float | int]:
        """The audio figures of a session's journal: seconds and counts so far."""
        self._count()
        return {
            "interviewer_spoke_s": round(self._spoken_s["interviewer"], 1),
            "participant_spoke_s": round(self._spoken_s["participant"], 1),
            "spurts": self.spurts,
            "interruptions": self.interruptions,
        }

    async def wait_spoken(self, start_timeout_s: float) -> None:
        """Wait for the interviewer's next words to begin and end. Words that never begin are
        given up after ``start_timeout_s``."""
        before = self.spurts
        try:
            async with asyncio.timeout(start_timeout_s):
                while self.spurts == before:
                    await self._change()
        except TimeoutError:
            return
        while self.interviewer:
            await self._change()

    async def wait_quiet(self, quiet_s: float) -> bool:
        """True once nobody has spoken for ``quiet_s``; False if the interviewer speaks first."""
        before = self.spurts
        while self.spurts == before:
            if self.interviewer or self.participant:
                await self._change()
                continue
            left_s = self._quiet_since + quiet_s - self._clock()
            if left_s <= 0:
                return True
            await self._change(left_s)
        return False

    async def _change(self, timeout_s: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    def _set(self, interviewer: bool, participant: bool) -> None:
        if (interviewer, participant) == (self.interviewer, self.participant):
            return
        self._count()
        if participant and not self.participant and self.interviewer:
            self.interruptions += 1
        if interviewer and not self.interviewer:
            self.last = "interviewer"
        elif participant and not self.participant:
            self.last = "participant"
            self.participant_heard = True
        self.interviewer, self.participant = interviewer, participant
        self._quiet_since = self._clock()
        # A fresh event each time: every waiter wakes exactly once per change.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _count(self) -> None:
        now = self._clock()
        for who, speaks in (("interviewer", self.interviewer), ("participant", self.participant)):
            self._spoken_s[who] += (now - self._last) if speaks else 0.0
        self._last = now
