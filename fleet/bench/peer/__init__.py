"""This fleet beside a livekit-agents worker: ``python -m fleet.bench.peer [--smoke]``.

Both at once on one machine, on the same LiveKit server, OpenAI simulator and participants, taking
turns. Each is asked as its users ask it, both beginning with the room's creation: the fleet by
POST /v1/sessions, the worker by CreateRoom and CreateDispatch.

contract   the one interview both hold
worker     the livekit-agents worker, a child process (interview: what each of its jobs does)
arms       the two behind one face: ask, settle, whose processes
processes  CPU and memory of an arm's own processes, from /proc
scenario   one dispatch, one after the other, bursts
living     what live sessions take: memory, CPU
found      what was counted (pure)
judging    the same as figures and bars (pure)
plot       and as a picture (pure)
"""
