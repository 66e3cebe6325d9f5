"""What a session may still spend, and so who may begin its next response. Pure.

The purse joins the meter to the allowance in hand. It never lets more be begun than the
allowance covers at its worst; see ``agent_actor.permits`` for how that is reckoned.
"""

from __future__ import annotations

from agent_actor.messages import PICO_PER_MICRO, Allowance
from agent_actor.metering import Meter
from agent_actor.permits import (
    Permit,
    PermitPolicy,
    goodbye_permit,
    may_hear,
    server_may_begin,
    turn_permit,
)

DEFAULT_POLICY = PermitPolicy()


class Purse:
    """``capped``: the provider can be made to ask first and takes bounds for each response
    (OpenAI). Where it does not, the uplink is stopped when the next turn could not be paid for.
    """

    def __init__(
        self,
        meter: Meter,
        allowance: Allowance,
        *,
        capped: bool,
        policy: PermitPolicy = DEFAULT_POLICY,
    ) -> None:
        self.allowance = allowance
        self._meter = meter
        self._capped = capped
        self._policy = policy
        self._server_begins = True
        """Responses are begun by the server's own turn detection."""
        self._heard = True
        """What the server has confirmed of it: until then it may still begin one."""
        self.closing = False
        """Nothing but the goodbye is paid for any more."""
        self._kept_back_ms = 0.0
        self.short = False
        """Something was not paid for. It may be when more is allowed."""

    def left_pico(self, *, with_goodbye: bool = False) -> int:
        """Of the allowance, after what is spent and what is at risk. Can be negative."""
        allowance = self.allowance
        up_to = allowance.up_to_micro_usd + (allowance.goodbye_micro_usd if with_goodbye else 0)
        left = (up_to - allowance.spent_before_micro_usd) * PICO_PER_MICRO
        return left - self._meter.spent_pico - self._meter.at_risk_pico

    def take_turns(self, *, asking: bool = False) -> bool | None:
        """Whether the server may begin responses from now on; None if that is as it was.
        ``asking``: we are about to ask for one, beside what it may begin.
        """
        if not self._capped:
            return None
        before, left = self._server_begins, self.left_pico()
        self._server_begins = not self.closing and server_may_begin(
            self._policy, self._meter, left, may_now=before, asking=asking
        )
        return None if self._server_begins == before else self._server_begins

    def confirmed(self, *, server_begins: bool) -> None:
        """What the server now goes by."""
        self._heard = server_begins

    @property
    def unconfirmed(self) -> bool:
        """The server was told to begin no more responses, and has not said that it heard."""
        return self._capped and not self._server_begins and self._heard

    @property
    def must_answer(self) -> bool:
        """The server answers no turn by itself any more."""
        return not self._heard

    def permit(self) -> Permit | None:
        """For a response that is to be asked for now. None: it must not be."""
        permit = self._goodbye() if self.closing else self._turn()
        self.short = self.short or permit is None
        return permit

    def may_hear(self, more_ms: float) -> bool:
        """Whether so much more audio may be sent to the provider."""
        if self._capped:
            return True
        if self.closing:
            return False
        self._kept_back_ms = more_ms
        self.short = not may_hear(self._meter, self.left_pico(), more_ms)
        return not self.short

    def ease(self) -> bool:
        """More may be allowed now: whether what was too dear can be paid for after all."""
        if self.closing:
            return False
        if self._capped:
            self.short = turn_permit(self._policy, self._meter, self._unreserved_pico()) is None
        else:
            self.short = not may_hear(self._meter, self.left_pico(), self._kept_back_ms)
        return not self.short

    @property
    def goodbye_fits(self) -> bool:
        return self._goodbye() is not None

    def _turn(self) -> Permit | None:
        if not self._capped:
            return Permit() if may_hear(self._meter, self.left_pico(), 0.0) else None
        if self._server_begins:
            return Permit()
        return turn_permit(self._policy, self._meter, self._unreserved_pico())

    def _unreserved_pico(self) -> int:
        """Less what the server may still begin until it has heard that it must not."""
        unheard = self._meter.worst_response_pico() if self._heard else 0
        return self.left_pico() - unheard

    def _goodbye(self) -> Permit | None:
        return goodbye_permit(self._policy, self._meter, self.left_pico(with_goodbye=True))
