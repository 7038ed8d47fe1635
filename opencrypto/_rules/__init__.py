"""
What a session's chain allows, and whether a request fits it.

Pure, but for the locks of keys and IVs: a rule is told all that it judges, and judges the same for
every driver. What authors of drivers need of it comes out through `opencrypto.chain`.
"""
