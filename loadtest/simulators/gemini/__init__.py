"""A server that speaks the Gemini Live wire protocol (BidiGenerateContent over WebSocket + TLS).

Pure: `wire` reads and writes frames, `setup` is what a client asked for, `context` counts tokens,
`usage` prices them, `session` is what outlives a connection, `floor` decides whose turn it is,
`listening` hears the user, `limits` and `resumption` bound and keep sessions. Shells:
`connection`, `turn`, `closing`, and loadtest.simulators.gemini_server around them all.

What a generation costs is known in this order: it is owed when its content is complete or cut
off (the invoice has its line from then on, `usage_sent` false); a function call carries its usage
in the same message; speech is reported beside turnComplete, which comes when the client must have
played it out, or at once after `interrupted`. A connection that ends in between leaves the line
unreported.
"""
