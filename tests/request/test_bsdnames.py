"""The names of the man page, with their prefixes, lead to the same fields."""

from __future__ import annotations

from opencrypto import (
    CRYPTO_NULL_CBC,
    Cryptodesc,
    Cryptoini,
    Cryptop,
)
from tests.toy import Toy, stepped


def test_prefixed_names_are_the_same_fields() -> None:
    """crp_, crd_ and cri_ names read and write what the plain names do, chains included."""
    crp, crds = Cryptop(), [Cryptodesc(), Cryptodesc()]
    pairs = {"sid": 1, "ilen": 2, "olen": 3, "etype": 4, "flags": 5, "buf": b"b", "opaque": "o"}
    for name, value in pairs.items():
        setattr(crp, f"crp_{name}", value)
        assert getattr(crp, name) == value
        assert getattr(crp, f"crp_{name}") == value
    for name in ("skip", "len", "inject", "flags", "alg", "klen", "rnd", "key", "iv"):
        setattr(crds[0], f"crd_{name}", 7)
        assert getattr(crds[0], name) == getattr(crds[0], f"crd_{name}") == 7
    crp.desc = crds
    assert crp.crp_desc is crds[0]
    assert crp.crp_desc.crd_next is crds[1]
    assert crds[1].crd_next is None
    first, second = Cryptoini(CRYPTO_NULL_CBC, b"k"), Cryptoini(CRYPTO_NULL_CBC, b"l")
    first.cri_next = second
    with stepped(Toy()) as fw:
        sid = fw.newsession(first)
        assert len(fw._sessions.table[sid].chain.inis) == 2
