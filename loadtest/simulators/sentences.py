"""What the scripted interviewer says: open, neutral research questions, no names."""

from __future__ import annotations

GREETINGS = (
    "Hello, and thank you for taking the time today. To begin, how has your week been so far?",
    "Welcome, it is good to have you here. Could you tell me a little about your usual day?",
    "Hi there, thank you for joining. What made you interested in taking part in this study?",
)
QUESTIONS = (
    "Can you walk me through the last time that happened, step by step?",
    "What was going through your mind at that moment?",
    "How did that compare with what you had expected beforehand?",
    "What would you say was the hardest part of it for you?",
    "Could you give me an example that shows what you mean?",
    "If you could change one thing about it, what would it be, and why?",
    "Who else was involved, and what did they do?",
    "How do you usually deal with situations like that one?",
    "What happened right after that, and how did you feel about it?",
    "Thinking back, what did you learn from that experience?",
)
ACKNOWLEDGEMENTS = (
    "Thank you, that is very helpful.",
    "I see, that makes sense.",
    "That is clear, thank you for explaining it.",
)
TRANSITIONS = (
    "Let us move on to the next topic. What stands out to you when you think about it?",
    "I would now like to turn to something different. How would you describe it in your own words?",
    "Thank you, let us look at the next part. Where would you like to start?",
)
WRAP_UPS = (
    "We are close to the end of our time, so thank you for everything you have shared.",
    "That brings us almost to the end. Thank you for your patience and your openness.",
)
GOODBYES = (
    "Thank you very much for your time today. Goodbye, and take care.",
    "That was all from my side. Many thanks, and goodbye.",
)
USER_TALK = (
    "well I think it was mostly fine although the beginning took longer than I had hoped and "
    "then we found a way that worked for everyone so in the end I was quite happy with it and "
    "I would probably do it the same way again maybe with a bit more time to prepare"
)
USER_WORDS_PER_S = 2.5


def user_transcript(*, choice: int, speech_ms: int) -> str:
    """A plausible transcript for `speech_ms` of a participant's voice."""
    count = max(1, round(speech_ms / 1000 * USER_WORDS_PER_S))
    talk = USER_TALK.split()
    words = [talk[(choice + index) % len(talk)] for index in range(count)]
    return " ".join(words).capitalize() + "."
