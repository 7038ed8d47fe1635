"""
What programs hold: a session with methods, answers and exceptions, and the parts it is made of.

It comes before `Framework`, which opens such sessions, and says in a protocol what it needs of
one. What programs import of it is in `opencrypto.client`.
"""
