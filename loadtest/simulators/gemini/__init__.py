"""A server that speaks the Gemini Live wire protocol (BidiGenerateContent over WebSocket + TLS).

`wire` reads and writes frames, `setup` is what a client asked for, `context` counts tokens,
`floor` decides whose turn it is, `resumption` keeps sessions between connections; all pure.
`connection` and `server` are the shells around them.
"""
