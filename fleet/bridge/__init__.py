"""LiveKit's own agent dispatch: the fleet registers as an agent worker, under a name.

protocol     the words of the worker protocol, and what one connection may say when (pure)
wire         those words as protobuf
connection   the WebSocket: kept up, with a deadline on everything
jobs         which job is offered, held, running, over (pure)
contracts    from a job to the contract of its session (pure)
bridge       a job that is offered is a session that is held; one that is assigned begins
actor        the named Ray actor around it
"""
