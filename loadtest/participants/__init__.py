"""Synthetic participants: what a browser would be, without the browser.

A participant gets a LiveKit URL and a token, nothing else. It joins the room, publishes one
microphone, listens to whoever else speaks there, behaves as its script says and measures what a
person would have noticed.

    script.py       what a participant does, as data (parsed strictly from JSON)
    scripts.py      the named scripts
    moves.py        the words for that: state, events, commands
    behaviour.py    the decisions: (state, event, now, rng) -> (state, commands); pure
    listening.py    audio in, talk spurts and sound quality out; pure, numpy
    tally.py        events in, measures out; pure
    narrator.py     keeps the tally and tells the events
    report.py       the lines a participant prints: events and the summary
    voice.py        speech to say and noise to hold
    uplink.py       the microphone: self-paced frames into a LiveKit audio source
    downlink.py     the loudspeaker: frames of a subscribed track into a listener
    visit.py        one stay in a room: every call to livekit.rtc for joining and leaving
    reach.py        whether there is a server, before the SDK is asked to join
    participant.py  the shell that joins these: run_participant
    many.py         many participants in one process
    cli.py          python -m loadtest.participants
    process.py      dying with the parent, and when the process started
    redact.py       tokens out of logs and messages
    errors.py       the error tree
"""
