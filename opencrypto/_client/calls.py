"""
A session's calls by the short way: compiled for its layout, once for each driver that it is on.

Each returns `NOT_TAKEN` where that way is not to be had; then nothing was done, and a request does
it. Lengths are counted as that request's would be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import Any, Final

from opencrypto._client.written import LARGE, written
from opencrypto._core.short import NOT_TAKEN, ShortWay
from opencrypto._request.buffer import BytesLike
from opencrypto._rules.message import Layout, own_bytes, too_short
from opencrypto._rules.messages import UNVERIFIED, Bytes
from opencrypto.exceptions import AuthenticationError

Call = Callable[..., Any]

VIEWED: Final = 1 << 12
"""From so many **bytes** on a part of a token is viewed; a shorter one is sooner copied."""


def not_taken(*given: object) -> Any:
    """Stand in for a call that a session has not."""
    return NOT_TAKEN


class Calls:
    """
    What a session does by the short way; `not_taken` for what it does not.

    Attributes:
        seal: ``seal(data, aad, iv) -> token``; `iv` None for a fresh one.
        seal_into: ``seal_into(data, aad, iv, place) -> True``; `place` as long as the token.
        seal_some: ``seal_some(messages, aad, tokens)``: appends the token of each; None at the
            first that does not verify, as with all of its kind.
        open: ``open(token, aad) -> data``.
        open_into: ``open_into(token, aad, place) -> True``; `place` as long as the data.
        open_some: ``open_some(tokens, aad, messages)``.
        mac: ``mac(data) -> mac``.
        mac_some: ``mac_some(messages, macs)``.
        verify: ``verify(data, mac) -> True``.
    """

    __slots__ = (
        "mac", "mac_some", "open", "open_into", "open_some", "seal", "seal_into", "seal_some",
        "verify",
    )  # fmt: skip

    mac: Call
    mac_some: Call
    open: Call
    open_into: Call
    open_some: Call
    seal: Call
    seal_into: Call
    seal_some: Call
    verify: Call

    def __init__(self, **calls: Call) -> None:
        for name in self.__slots__:  # those of a tuple are found more slowly
            setattr(self, name, calls.get(name, not_taken))


NONE: Final = Calls()


def compile_calls(short: ShortWay | None, layout: Layout) -> Calls:
    """Return the calls of a session whose driver has this short way, if it has any."""
    if short is None or layout.comp is not None:
        return NONE
    if layout.cipher is None:
        return _of_mac(short, layout)
    if layout.auth is None or layout.auth_covers_all:
        return NONE
    return _of_aead(short, layout)


def _of_mac(short: ShortWay, layout: Layout) -> Calls:
    work = short.messages.mac
    if work is None:
        return NONE
    maclen, longest = layout.maclen, short.messages.longest
    mac_ = short.compile(
        "mac(data)",
        "answer = work(data)",
        _names(work=work, maclen=maclen, limit=longest),
        before=_DATA + "size = len(data) + maclen",
    )

    def is_right(data: Bytes, mac: Bytes) -> bool | None:
        return compare_digest(work(data), mac) or None

    def verify(data: BytesLike, mac: BytesLike) -> Any:
        data, mac = own_bytes(data, "data"), own_bytes(mac, "a MAC")
        if len(data) > longest or len(mac) != maclen:
            return NOT_TAKEN
        return _verified(short.run(is_right, len(data) + maclen, data, mac))

    def loop(messages: Sequence[Bytes], macs: list[bytes]) -> bool:
        for data in messages:
            macs.append(work(data))  # noqa: PERF401 - what was done before one that raises counts
        return True

    def mac_some(messages: Sequence[Bytes], macs: list[bytes]) -> Any:
        lengths = list(map(len, messages))
        if max(lengths) > longest:
            return NOT_TAKEN
        return short.some(loop, messages, lengths, maclen, macs)

    return Calls(mac=mac_, mac_some=mac_some, verify=verify)


def _of_aead(short: ShortWay, layout: Layout) -> Calls:
    return Calls(**_sealing(short, layout), **_opening(short, layout))


def _sealing(short: ShortWay, layout: Layout) -> dict[str, Call]:
    work, into, fresh = short.messages.seal, short.messages.seal_into, short.fresh
    if work is None:
        return {}
    longest, ivlen = short.messages.longest, layout.ivlen
    extra = ivlen + layout.maclen

    def write(iv: bytes | None, data: Bytes, aad: Bytes, place: memoryview) -> bool:
        if iv is None:
            iv = fresh()
        place[:ivlen] = iv
        into(iv, data, aad, place[ivlen:])  # type: ignore[misc]  # there, or else it is not called
        return True

    def large(iv: bytes, data: Bytes, aad: Bytes) -> bytes:
        if into is None:
            return iv + work(iv, data, aad)
        return written(len(data) + extra, lambda place: write(iv, data, aad, place))

    seal = short.compile(
        "seal(data, aad, iv)",
        _SEAL,
        _names(
            work=work, large=large, fresh=fresh, extra=extra, limit=longest,
            aad_of=layout.aad, iv_of=layout.iv,
        ),
        before=_DATA + _AAD + _IV + "size = len(data) + len(aad) + extra",
    )  # fmt: skip

    def seal_into(data: Bytes, aad: BytesLike, iv: BytesLike | None, place: memoryview) -> Any:
        if len(data) > longest:
            return NOT_TAKEN
        aad = own_bytes(layout.aad(aad), "aad")
        given = None if iv is None else layout.iv(iv)
        return short.run(write, len(data) + len(aad) + extra, given, data, aad, place)

    def seal_some(messages: Sequence[Bytes], aad: Bytes, tokens: list[bytes]) -> Any:
        def loop(messages: Sequence[Bytes], tokens: list[bytes]) -> bool:
            add = tokens.append
            for data in messages:
                iv = fresh()
                add(iv + work(iv, data, aad))
            return True

        def loop_of_large(messages: Sequence[Bytes], tokens: list[bytes]) -> bool:
            for data in messages:
                tokens.append(large(fresh(), data, aad))  # noqa: PERF401 - as in `_of_mac`
            return True

        lengths = list(map(len, messages))
        most = max(lengths)
        if most > longest:
            return NOT_TAKEN
        chosen = loop if most < LARGE else loop_of_large
        return short.some(chosen, messages, lengths, len(aad) + extra, tokens)

    calls: dict[str, Call] = {"seal": seal, "seal_some": seal_some}
    return calls if into is None else calls | {"seal_into": seal_into}


def _opening(short: ShortWay, layout: Layout) -> dict[str, Call]:
    work, into = short.messages.open, short.messages.open_into
    if work is None:
        return {}
    longest, ivlen = short.messages.longest, layout.ivlen
    extra = ivlen + layout.maclen
    open_ = short.compile(
        "open(data, aad)",
        _OPEN,
        _names(work=work, ivlen=ivlen, extra=extra, limit=longest, aad_of=layout.aad),
        before=_AAD + _SEALED,
        after=_VERIFIED,
    )

    def open_into(token: Bytes, aad: BytesLike, place: memoryview) -> Any:
        if len(token) > longest:
            return NOT_TAKEN
        aad = own_bytes(layout.aad(aad), "aad")
        view = memoryview(token)
        size = len(token) + len(aad)
        return _verified(short.run(into, size, bytes(view[:ivlen]), view[ivlen:], aad, place))

    def open_some(tokens: Sequence[Bytes], aad: Bytes, messages: list[bytes]) -> Any:
        def loop(tokens: Sequence[Bytes], messages: list[bytes]) -> bool | None:
            add = messages.append
            for token in tokens:
                sealed = token[ivlen:] if len(token) < VIEWED else memoryview(token)[ivlen:]
                data = work(bytes(token[:ivlen]), sealed, aad)
                if data is None:
                    return None
                add(data)
            return True

        lengths = list(map(len, tokens))
        if max(lengths) > longest or min(lengths) < extra:
            return NOT_TAKEN
        return short.some(loop, tokens, lengths, len(aad), messages)

    calls: dict[str, Call] = {"open": open_, "open_some": open_some}
    return calls if into is None else calls | {"open_into": open_into}


def _verified(answer: Any) -> Any:
    if answer is None:
        raise AuthenticationError(UNVERIFIED)
    return answer


def _names(**names: Any) -> dict[str, Any]:
    """Return what the texts name: some functions, and what is given."""
    return {
        "own_bytes": own_bytes,
        "too_short": too_short,
        "AuthenticationError": AuthenticationError,
        **names,
    }


_DATA: Final = """
if type(data) is not bytes:
    data = own_bytes(data, "data")
if len(data) > limit:
    return NOT_TAKEN
"""

_AAD: Final = """
if type(aad) is not bytes:
    aad = own_bytes(aad_of(aad), "aad")
"""

_IV: Final = """
if iv is not None:
    iv = iv_of(iv)
"""

_SEAL: Final = f"""
if iv is None:
    iv = fresh()
answer = iv + work(iv, data, aad) if size < {LARGE} else large(iv, data, aad)
"""

_SEALED: Final = """
if type(data) is not bytes:
    data = own_bytes(data, "a token")
size = len(data)
if size < extra:
    raise AuthenticationError(too_short(size, extra))
if size > limit:
    return NOT_TAKEN
size += len(aad)
"""

_OPEN: Final = f"""
iv = data[:ivlen]
if type(iv) is not bytes:
    iv = bytes(iv)
answer = work(iv, data[ivlen:] if size < {VIEWED} else memoryview(data)[ivlen:], aad)
"""

_VERIFIED: Final = f"""
if answer is None:
    raise AuthenticationError({UNVERIFIED!r})
return answer
"""
