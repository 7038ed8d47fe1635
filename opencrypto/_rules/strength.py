"""
Which authenticators a program is not let have by mistake. Pure.

`opencrypto.client` asks; requests of a program's own may use whatever a chain allows, as in BSD.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Final

from opencrypto._rules.chain import Chain
from opencrypto.constants import Alg
from opencrypto.exceptions import UsageError
from opencrypto.xform import Kind

LEAST_MAC: Final = 8
"""Bytes of a MAC of its own, and of CCM's tag (SP 800-38C, appendix B.2)."""

LEAST_TAG: Final = 12
"""Bytes of the tag of any other authenticated cipher (SP 800-38D, section 5.2.1.2)."""

_OF_A_CIPHER: Final = {Alg.AES_XCBC_MAC_96: "AES", Alg.AES_CMAC: "AES"}
"""The MACs that are made of a block cipher."""


def require_strong(chain: Chain) -> None:
    """
    Refuse a chain whose authenticator hardly authenticates, unless its profile says it may.

    Raises:
        UsageError: it has such a one, in a sentence that says what to take instead.
    """
    weakness = None if chain.profile.weak_auth else _weakness(chain)
    if weakness:
        raise UsageError(f"{weakness}, or open the session with Profile(weak_auth=True)")


def _weakness(chain: Chain) -> str | None:
    ciphers = [n for n, facts in enumerate(chain.facts) if facts.kind is Kind.CIPHER]
    for position, facts in enumerate(chain.facts):
        length = chain.macs[position]
        match facts.kind:
            case Kind.HASH if ciphers:
                return f"{facts.name} has no key, so anybody makes a message's digest; use a MAC"
            case Kind.MAC if facts.alg is Alg.NULL_HMAC and ciphers:
                return "NULL_HMAC authenticates nothing; use a MAC"
            case Kind.MAC if length < LEAST_MAC:
                return _soon_guessed(f"{facts.name}: a MAC", length, LEAST_MAC)
            case Kind.MAC if any(_is_of_same_key(chain, cipher, position) for cipher in ciphers):
                return f"{facts.name} under the cipher's own key is forged; use another key"
            case Kind.AEAD_AUTH:
                least = LEAST_MAC if facts.alg is Alg.AES_CCM_MAC else LEAST_TAG
                if length < least:
                    return _soon_guessed(f"{facts.name}: a tag", length, least)
    return None


def _soon_guessed(what: str, length: int, least: int) -> str:
    return f"{what} of {length} bytes is soon guessed; use {least} or more"


def _is_of_same_key(chain: Chain, cipher: int, mac: int) -> bool:
    """Tell whether a MAC is made of a session's cipher, and under its key."""
    family = _OF_A_CIPHER.get(chain.facts[mac].alg)
    if family is None or not chain.facts[cipher].name.startswith(family):
        return False
    keys = [bytes(chain.inis[place].key or b"") for place in (cipher, mac)]
    return compare_digest(*keys)
