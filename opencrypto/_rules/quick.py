"""
The quick way of a session made of transforms: the exchange that any of them has.

A quick way that has returned has no view of the buffer left, so the consumer may resize it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, TypeVar

from opencrypto._rules.chain import Chain
from opencrypto._rules.messages import UNVERIFIED, Messages
from opencrypto._rules.shapes import (
    Quick,
    Shape,
    places_of,
    recognise_aead,
    recognise_cipher,
    recognise_cipher_mac,
    recognise_mac,
    settle_mac,
    shape_of,
)

if TYPE_CHECKING:
    from opencrypto._request.symmetric import Cryptop

F = TypeVar("F", bound="Callable[..., Any]")


def with_messages(function: F, messages: Messages | None) -> F:
    """
    Hang on a quick way, or a compiled ``process``, what it does with whole messages.

    Args:
        function: A function of this session alone. Whoever wraps it in another one, which lacks
            the attribute, sees all messages as requests.
        messages: What to hang on it; None for nothing.

    Returns:
        The same function.
    """
    if messages is not None:
        function.messages = messages  # type: ignore[attr-defined]  # functions take any
    return function


def at_once(answer: Any) -> Any:
    """
    Return what a transform has answered.

    Raises:
        TypeError: it has not yet: nothing is done, whatever the answer looks like.
    """
    if answer is not None and hasattr(answer, "__await__"):
        raise TypeError("a transform that answers later, in a driver that does not say `later`")
    return answer


def compile_quick(chain: Chain, transforms: Sequence[Any]) -> Quick | None:
    """
    Return the quick way of a session, if its chain has a usual shape.

    Args:
        chain: The session's.
        transforms: One for each place of it; None for an authenticating half.

    Returns:
        What carries a request out and returns True; or returns False, with the request untouched,
        if that has another shape. None if there is no quick way.
    """
    match shape_of(chain):
        case Shape.CIPHER:
            return _cipher(chain, transforms[0].crypt)
        case Shape.MAC:
            return _mac(chain, transforms[0].mac)
        case Shape.CIPHER_MAC:
            cipher, mac = places_of(chain)
            return _cipher_mac(chain, transforms[cipher].crypt, transforms[mac].mac)
        case Shape.AEAD:
            aead = transforms[places_of(chain)[0]]
            return _aead(chain, aead.seal, aead.open)
    return None


def _cipher(chain: Chain, crypt: Any) -> Quick:
    def exchange(
        crp: Cryptop, view: memoryview, iv: bytes, start: int, end: int, encrypting: int
    ) -> bool:
        answer = crypt(iv, [view[start:end]], bool(encrypting))
        if answer is not None:
            at_once(answer)
        return True

    return recognise_cipher(chain, exchange)


def _mac(chain: Chain, mac_of: Any) -> Quick:
    maclen = chain.macs[0]

    def exchange(
        crp: Cryptop, view: memoryview, start: int, end: int, at: int, verifying: int
    ) -> bool:
        settle_mac(crp, view, at, mac_of([view[start:end]])[:maclen], verifying)
        return True

    def whole(data: bytes | memoryview) -> bytes:
        return mac_of([memoryview(data)] if data else [])[:maclen]  # type: ignore[no-any-return]  # bytes

    return with_messages(recognise_mac(chain, exchange), Messages(mac=whole))


def _cipher_mac(chain: Chain, crypt: Any, mac_of: Any) -> Quick:
    maclen = chain.macs[places_of(chain)[1]]

    def exchange(
        crp: Cryptop, view: memoryview, iv: bytes, start: int, end: int,
        mac_start: int, mac_end: int, at: int, encrypting: int,
    ) -> bool:  # fmt: skip
        to = at + maclen
        if encrypting:
            at_once(crypt(iv, [view[start:end]], True))
            view[at:to] = mac_of([view[mac_start:mac_end]])[:maclen]
        elif compare_digest(mac_of([view[mac_start:mac_end]])[:maclen], view[at:to]):
            at_once(crypt(iv, [view[start:end]], False))
        else:
            crp.fail(errno.EBADMSG, UNVERIFIED)
        return True

    return recognise_cipher_mac(chain, exchange)


def _aead(chain: Chain, seal: Any, unseal: Any) -> Quick:
    maclen = chain.macs[places_of(chain)[1]]

    def exchange(
        crp: Cryptop, view: memoryview, iv: bytes, start: int, end: int,
        aad: int, aad_end: int, at: int, encrypting: int,
    ) -> bool:  # fmt: skip
        additional = [view[aad:aad_end]] if aad < aad_end else []
        payload = [view[start:end]] if start < end else []
        if encrypting:
            view[at : at + maclen] = seal(iv, additional, payload, maclen)
        elif not at_once(unseal(iv, additional, payload, bytes(view[at : at + maclen]))):
            crp.fail(errno.EBADMSG, UNVERIFIED)
        return True

    return recognise_aead(chain, exchange)
