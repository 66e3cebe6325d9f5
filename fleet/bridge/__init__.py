"""LiveKit's own agent dispatch: the fleet registers as an agent worker, under a name.

protocol     the words of the worker protocol (pure)
wire         those words as protobuf
connection   the WebSocket: kept up, with a deadline on everything
contracts    from a job to the contract of its session (pure)
load         how busy the fleet is, told again and again
lost_jobs    those that a lost bridge had been given, found and taken up
bridge       a job that is offered is a slot that is taken; one that is assigned, a session
actor        the named Ray actor around it
"""
