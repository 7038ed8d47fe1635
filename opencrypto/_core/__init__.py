"""
The running framework: drivers, sessions, queues, and a request's way among them.

All state that threads share is here, each with its lock named beside it. `Framework` puts the rooms
together and is what comes out, through `opencrypto`; no driver, consumer or face imports from here.
"""
