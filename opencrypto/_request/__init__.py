"""
What is asked for: requests, descriptors, session parameters, buffers. Data alone.

Nothing here acts, knows a driver, or takes a lock; the framework alone moves a request through its
states. The names come out through `opencrypto` and, with their prefixes, through `opencrypto.bsd`.
"""
