"""An interview that nobody gave, for pictures of a transcript."""

from __future__ import annotations

PHASES = (
    ("warmup", "Warm-up"),
    ("habits", "Habits"),
    ("visits", "A visit remembered"),
    ("closing", "Closing"),
)

_ASKS, _SAYS = "interviewer", "participant"

CONVERSATION = (
    (0, _ASKS, "Hello, and thank you for taking the time. Shall we begin with you?"),
    (0, _SAYS, "Sure. I live with my two children, close to the river."),
    (0, _ASKS, "Is there a park near you that you think of as yours?"),
    (0, _SAYS, "There is. Ten minutes by foot, behind the old waterworks."),
    (1, _ASKS, "How does an ordinary week with that park look?"),
    (1, _SAYS, "On weekdays I only cross it. On Sundays we stay until somebody is hungry."),
    (1, _ASKS, "What makes you stay rather than walk through?"),
    (1, _ASKS, "You said that on Sundays –"),
    (1, _SAYS, "Shade, mostly. And that the other parents are there, honestly."),
    (1, _ASKS, "Tell me more about the other parents."),
    (1, _SAYS, "We never arrange anything. You just know that after three someone will be there."),
    (2, _ASKS, "Think of one visit that stayed with you. What happened?"),
    (
        2,
        _SAYS,
        "Last spring the power was out in our street. Half the block came down with candles and "
        "whatever was in their fridges. My son still asks when we do that again.",
    ),
    (2, _ASKS, "What did the place have to be like, for that to happen there?"),
)
