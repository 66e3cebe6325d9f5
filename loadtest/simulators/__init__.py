"""Simulators of speech-to-speech providers that speak the providers' real wire protocols.

Shared by every provider, all of it pure (seeds and clock readings are arguments):
`speech` (audible PCM16), `vad` (turn detection on energy), `script` (what the interviewer
says and when it calls a tool), `faults` (what goes wrong on request), `invoice` (what the
provider would bill). Shells: `control` (HTTP under /sim), `runtime` (process life), and one
`<provider>_*.py` family each. Nothing here is imported by the code under test.
"""
