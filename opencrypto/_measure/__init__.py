"""
What is counted, timed and traced while requests go by, and summed when somebody looks.

The straight path only adds to plain integers here. The names come out through `opencrypto`
(`Stats`, `DriverStats`) and through the tree of `opencrypto.sysctl`.
"""
