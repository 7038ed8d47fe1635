"""
The shapes of most requests: one buffer in one piece, each algorithm once, MACs in the buffer.

One recogniser a shape finds out whether a request has it and is sound. If so it hands the places
that it has found to a driver's *exchange*, which does the work; the two together are a session's
quick way. If not it returns False, having touched nothing, and `ChainSession.run` carries the
request out or words the refusal: so a request ends alike whichever way it goes.

A recogniser is compiled from the text of its shape, with the IV's rule inside and without the lines
that a session does not need: calls would cost a small request 5 % of its time. From the same text
comes the session's whole ``process`` (`process_of`), where nothing stands between the two.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Sequence
from enum import Enum
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from opencrypto._request.buffer import is_private
from opencrypto._rules.chain import Chain
from opencrypto._rules.check import Plan, Step
from opencrypto._rules.iv import IV_NAMES, IV_RULE, IV_TAKE
from opencrypto._rules.messages import UNVERIFIED
from opencrypto._rules.template import choose, compile_function, fill, mute
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_VERIFY,
    CRYPTO_AES_GMAC,
    CRYPTO_F_IMBUF,
    CRYPTO_F_IOV,
)
from opencrypto.exceptions import UsageError
from opencrypto.xform import Kind

if TYPE_CHECKING:
    from opencrypto._request.symmetric import Cryptodesc, Cryptop

OF_MALFORMED: Final = (AttributeError, LookupError, TypeError, ValueError)
"""What a quick way raises where a field of the request has a wrong type."""

Quick: TypeAlias = "Callable[[Cryptop], bool]"
"""Carries a request out and returns True, or leaves it as it is and returns False."""

Process: TypeAlias = "Callable[[Cryptop, int], int]"
"""A driver's ``process`` for one session."""

Run: TypeAlias = "Callable[[Cryptop], None]"
"""Carries out or refuses a request that a quick way has left."""

Blame: TypeAlias = "Callable[[Cryptop, Exception], None]"
"""Fails a request for what its carrying out raised, or raises that again."""

CipherExchange: TypeAlias = "Callable[[Cryptop, memoryview, bytes, int, int, int], bool]"
"""``exchange(crp, view, iv, start, end, encrypting)``: ciphers ``view[start:end]`` in place."""

MacExchange: TypeAlias = "Callable[[Cryptop, memoryview, int, int, int, int], bool]"
"""
``exchange(crp, view, start, end, at, verifying)``: makes the MAC of ``view[start:end]``, and
writes it at `at` or compares it with what stands there (see `settle_mac`).
"""

CipherMacExchange: TypeAlias = (
    "Callable[[Cryptop, memoryview, bytes, int, int, int, int, int, int], bool]"
)
"""
``exchange(crp, view, iv, start, end, mac_start, mac_end, at, encrypting)``: encrypts
``view[start:end]`` and then writes the MAC of ``view[mac_start:mac_end]`` at `at`; or, not
`encrypting`, verifies that MAC and then decrypts.
"""

AeadExchange: TypeAlias = (
    "Callable[[Cryptop, memoryview, bytes, int, int, int, int, int, int], bool]"
)
"""
``exchange(crp, view, iv, start, end, aad, aad_end, at, encrypting)``: seals ``view[start:end]``
with the additional data ``view[aad:aad_end]``, which lie before it, and writes the tag at `at`,
which is not before `end`; or opens it, or fails the request with `UNVERIFIED`.
"""


LONGEST: Final = (1 << 30) - 1
"""The quick ways have no greater bound: CPython is quicker to compare numbers of 30 bits."""


class Done(Protocol):
    """What a quick way needs of its driver."""

    def done(self, crp: Cryptop) -> None:
        """Complete a request."""


class Shape(Enum):
    """The usual shape of a session's requests, by what its chain is."""

    CIPHER = "one cipher"
    MAC = "one authenticator or digest"
    CIPHER_MAC = "encrypt, then authenticate; or verify, then decrypt"
    AEAD = "an authenticated cipher: additional data, payload and tag, in this order"


_SHAPES: Final = {
    (Kind.CIPHER,): Shape.CIPHER,
    (Kind.MAC,): Shape.MAC,
    (Kind.HASH,): Shape.MAC,
    (Kind.CIPHER, Kind.MAC): Shape.CIPHER_MAC,
    (Kind.MAC, Kind.CIPHER): Shape.CIPHER_MAC,
    (Kind.AEAD, Kind.AEAD_AUTH): Shape.AEAD,
    (Kind.AEAD_AUTH, Kind.AEAD): Shape.AEAD,
}


def shape_of(chain: Chain) -> Shape | None:
    """
    Tell which usual shape the requests of a session have.

    Args:
        chain: The session's.

    Returns:
        The shape, or None if its chain has no usual one.
    """
    return _SHAPES.get(tuple(facts.kind for facts in chain.facts))


def places_of(chain: Chain) -> tuple[int, int]:
    """
    Tell where in a chain its cipher is, and where its authenticator.

    Args:
        chain: One with at most one of either.

    Returns:
        The place of each, from 0 on; -1 for one that is missing.
    """
    cipher = mac = -1
    for position, facts in enumerate(chain.facts):
        if facts.authenticates:
            mac = position
        else:
            cipher = position
    return cipher, mac


def settle_mac(crp: Cryptop, view: memoryview, at: int, mac: bytes, verifying: int) -> None:
    """
    Write a MAC to its place; or fail the request if another one stands there, with EBADMSG.

    The comparison takes as long wherever they differ.

    Args:
        crp: The request, which is not completed here.
        view: Its buffer.
        at: Where the MAC's place begins, in **bytes**.
        mac: The right MAC, as long as it stands there.
        verifying: Not 0 to compare, 0 to write.
    """
    to = at + len(mac)
    if not verifying:
        view[at:to] = mac
    elif not compare_digest(mac, view[at:to]):
        crp.fail(errno.EBADMSG, UNVERIFIED)


def _is_bytes(buf: Any) -> bool:
    """Tell whether a buffer that is no bytearray is memory of our own that can be used like one."""
    return (
        type(buf) is memoryview
        and not buf.readonly
        and buf.c_contiguous
        and buf.ndim == 1
        and buf.format == "B"
        and is_private(buf)
    )


_CIPHER: Final = """
desc = crp.desc
buf = crp.buf
if len(desc) != 1 or crp.mac is not None or crp.flags & SEGMENTED:
    return False
crd = desc[0]
alg = crd.ini.alg
if alg is not cipher_alg and alg != cipher_alg:
    return False
if type(buf) is not bytearray and not is_bytes(buf):
    return False
start = crd.skip
end = start + crd.len
size = len(buf)
end | 0  # a TypeError, if one is no whole number
if not 0 <= start < end <= size:
    return False
if end - start > longest: return False  # where longest
if (end - start) % granule: return False  # where granule
flags = crd.flags
encrypting = flags & CRD_F_ENCRYPT
view = memoryview(buf)  # where works
# here: iv
return exchange(crp, view, iv, start, end, encrypting)  # where works
"""

_MAC: Final = """
desc = crp.desc
buf = crp.buf
if len(desc) != 1 or crp.mac is not None or crp.flags & SEGMENTED:
    return False
crd = desc[0]
ini = crd.ini
flags = crd.flags
if flags & STRANGE_TO_MAC:
    if flags != CRD_F_ENCRYPT:
        return False
    flags = 0  # it says nothing else than that the MAC is to be made
alg = ini.alg
if alg is not mac_alg and alg != mac_alg or ini.iv is not None or ini.mlen:
    return False
if type(buf) is not bytearray and not is_bytes(buf):
    return False
start = crd.skip
at = crd.inject
end = start + crd.len
size = len(buf)
end | at  # a TypeError, if one is no whole number
if not 0 <= start <= end <= size or not 0 <= at <= size - maclen:
    return False
if end - start > longest: return False  # where longest
return exchange(crp, memoryview(buf), start, end, at, flags)  # where works
"""

_ORDER: Final = """
crd, mac = desc
alg = crd.ini.alg
if alg is cipher_alg or alg == cipher_alg:
    flags = crd.flags
    encrypting = flags & CRD_F_ENCRYPT
    if not encrypting or mac.flags & STRANGE_TO_MAKE:
        return False
else:
    mac, crd = desc
    flags = crd.flags
    encrypting = flags & CRD_F_ENCRYPT
    if encrypting or mac.flags ^ CRD_F_VERIFY or crd.ini.alg != cipher_alg:
        return False
"""
"""Encrypts and then authenticates, or verifies and then decrypts, with the two in that order."""

_CIPHER_MAC: Final = """
desc = crp.desc
buf = crp.buf
if len(desc) != 2 or crp.mac is not None or crp.flags & SEGMENTED:
    return False
# here: order
ini = mac.ini
alg = ini.alg
if alg is not mac_alg and alg != mac_alg or ini.iv is not None or ini.mlen:
    return False
if type(buf) is not bytearray and not is_bytes(buf):
    return False
start = crd.skip
mac_start = mac.skip
at = mac.inject
end = start + crd.len
mac_end = mac_start + mac.len
size = len(buf)
# None is negative; and a TypeError, if one is no whole number.
if (start | mac_start | at | end | mac_end) < 0:
    return False
if not start < end <= size or not mac_start <= mac_end <= size or at > size - maclen:
    return False
if end - start > longest: return False  # where longest
if mac_end - mac_start > longest: return False  # where longest
if (end - start) % granule: return False  # where granule
view = memoryview(buf)  # where works
# here: iv
return exchange(crp, view, iv, start, end, mac_start, mac_end, at, encrypting)  # where works
"""

_AEAD: Final = """
desc = crp.desc
buf = crp.buf
if len(desc) != 2 or crp.mac is not None or crp.flags & SEGMENTED:
    return False
crd, tag = desc
alg = crd.ini.alg
if alg is not cipher_alg and alg != cipher_alg:
    tag, crd = desc
    if crd.ini.alg != cipher_alg:
        return False
ini = tag.ini
alg = ini.alg
if alg is not mac_alg and alg != mac_alg or ini.iv is not None or ini.mlen:
    return False
if type(buf) is not bytearray and not is_bytes(buf):
    return False
start = crd.skip
aad = tag.skip
at = tag.inject
end = start + crd.len
aad_end = aad + tag.len
verifying = tag.flags
size = len(buf)
end | aad_end | at | verifying  # a TypeError, if one is no whole number
# Additional data behind the payload, or a tag before it, is for ChainSession.run.
if not 0 <= aad <= aad_end <= start <= end <= at <= size - maclen:
    return False
if at != end: return False  # where adjacent
if end > longest: return False  # where longest
if start != end: return False  # where no payload
flags = crd.flags
encrypting = flags & CRD_F_ENCRYPT
if verifying and (encrypting or verifying & STRANGE_TO_MAC):
    return False
view = memoryview(buf)  # where works
# here: iv
return exchange(crp, view, iv, start, end, aad, aad_end, at, encrypting)  # where works
"""


_NO_IV: Final = """
iv = b""
if crd.ini.iv is not None or flags & STRANGE:
    return False
"""

_TEXTS: Final = {
    Shape.CIPHER: _CIPHER,
    Shape.MAC: _MAC,
    Shape.CIPHER_MAC: fill(_CIPHER_MAC, "order", _ORDER),
    Shape.AEAD: _AEAD,
}

_NAMES: Final = {
    **IV_NAMES,
    "CRD_F_ENCRYPT": CRD_F_ENCRYPT,
    "STRANGE_TO_MAC": ~CRD_F_VERIFY,
    "STRANGE_TO_MAKE": ~CRD_F_ENCRYPT,
    "CRD_F_VERIFY": CRD_F_VERIFY,
    "SEGMENTED": CRYPTO_F_IOV | CRYPTO_F_IMBUF,
    "is_bytes": _is_bytes,
}

_in_order: Callable[[Sequence[Cryptodesc], int], bool] = compile_function(
    "in_order(desc, cipher_alg)", f"{_ORDER}return True", _NAMES, "order of cipher and MAC"
)


def cipher_and_mac(plan: Plan, chain: Chain) -> tuple[Step, Step] | None:
    """
    Return the steps of a request's cipher and its MAC, if it has the shape `Shape.CIPHER_MAC`.

    For requests that `recognise_cipher_mac` leaves, since their buffers have several pieces.

    Args:
        plan: The request, as `check` resolves it.
        chain: The session's, of one cipher and one MAC.

    Returns:
        The cipher's step and the MAC's, in this order; None if it has another shape.
    """
    if len(plan.steps) != 2:
        return None
    first, second = plan.steps
    place, _ = places_of(chain)
    if first.position == second.position:
        return None
    if not _in_order((first.crd, second.crd), chain.inis[place].alg):
        return None
    return (first, second) if first.position == place else (second, first)


_MAKER: Final = (
    "recogniser(exchange, longest, *, cipher_alg=0, ivlen=0, granule=1, fresh=None,"
    " mac_alg=0, maclen=0)"
)


def recognise_cipher(chain: Chain, exchange: CipherExchange, *, writes_iv: bool = True) -> Quick:
    """
    Return the quick way of a session of one cipher.

    Args:
        chain: The session's.
        exchange: What works on the places found. Its region is not empty, and a whole number of
            the cipher's granules. `encrypting` is 0 or not.
        writes_iv: Whether an IV is written into the buffer where that is asked for. False leaves
            such requests to `ChainSession.run`, so that nothing is touched before the exchange.

    Returns:
        What carries a request out and returns True; or returns False, with the request untouched,
        if that has another shape: it is then `ChainSession.run`'s.

    Raises:
        UsageError: the chain is another.
    """
    return _recogniser(Shape.CIPHER, chain, exchange, {"unwritten": not writes_iv})


def recognise_mac(chain: Chain, exchange: MacExchange) -> Quick:
    """
    Return the quick way of a session of one authenticator or digest.

    Args:
        chain: The session's.
        exchange: What works on the places found. Its region may be empty, and there is room for
            the session's MAC at `at`. `verifying` is 0 or not.

    Returns:
        What carries a request out and returns True; or returns False, with the request untouched,
        if that has another shape: it is then `ChainSession.run`'s.

    Raises:
        UsageError: the chain is another.
    """
    return _recogniser(Shape.MAC, chain, exchange, {})


def recognise_cipher_mac(
    chain: Chain, exchange: CipherMacExchange, *, writes_iv: bool = True
) -> Quick:
    """
    Return the quick way of a session of one cipher and one MAC, in either order.

    It is for requests that encrypt and then authenticate, or verify and then decrypt, with their
    descriptors in that order.

    Args:
        chain: The session's.
        exchange: What works on the places found. The cipher's region is not empty, and a whole
            number of its granules; the MAC's region and its place may lie anywhere.
        writes_iv: As for `recognise_cipher`.

    Returns:
        What carries a request out and returns True; or returns False, with the request untouched,
        if that has another shape: it is then `ChainSession.run`'s.

    Raises:
        UsageError: the chain is another.
    """
    return _recogniser(Shape.CIPHER_MAC, chain, exchange, {"unwritten": not writes_iv})


def recognise_aead(
    chain: Chain,
    exchange: AeadExchange,
    *,
    writes_iv: bool = True,
    adjacent: bool = False,
    longest: int = 0,
) -> Quick:
    """
    Return the quick way of a session of one authenticated cipher.

    Args:
        chain: The session's.
        exchange: What works on the places found: ``aad <= aad_end <= start <= end <= at``. The
            payload may be empty, and is in a session of GMAC. `encrypting` is 0 or not.
        writes_iv: As for `recognise_cipher`.
        adjacent: Whether the tag must follow the payload at once: ``at == end``.
        longest: The greatest `end`, in **bytes**; 0 for any.

    Returns:
        What carries a request out and returns True; or returns False, with the request untouched,
        if that has another shape: it is then `ChainSession.run`'s.

    Raises:
        UsageError: the chain is another.
    """
    options = {"unwritten": not writes_iv, "adjacent": adjacent}
    return _recogniser(Shape.AEAD, chain, exchange, options, longest)


def recognise(chain: Chain) -> Quick | None:
    """
    Return what only tells of a request that it has the usual shape and is sound.

    It is for drivers that do all else themselves: nothing is touched, no IV is taken or written.

    Args:
        chain: The session's.

    Returns:
        None if its chain has no usual shape.
    """
    shape = shape_of(chain)
    return None if shape is None else _recogniser(shape, chain, None, {})


def _recogniser(
    shape: Shape, chain: Chain, exchange: object, options: dict[str, bool], longest: int = 0
) -> Quick:
    if shape_of(chain) is not shape:
        raise UsageError(f"{chain!r} is no chain of {shape.value}")
    # A request beyond the least of all bounds may still be good: `ChainSession.run` knows.
    longest = min(filter(None, (longest, *chain.longest)), default=0)
    longest = min(longest, LONGEST)
    facts_of_it: dict[str, Any] = {}
    wanted = {"longest": longest > 0, "works": exchange is not None, **options}
    for cri, facts, ivlen, maclen in zip(
        chain.inis, chain.facts, chain.ivlens, chain.macs, strict=True
    ):
        if facts.authenticates:
            facts_of_it |= {"mac_alg": cri.alg, "maclen": maclen}
            continue
        facts_of_it |= {
            "cipher_alg": cri.alg, "ivlen": ivlen, "granule": facts.granule, "fresh": cri.fresh_iv,
        }  # fmt: skip
        wanted["iv"] = ivlen > 0
        wanted["granule"] = facts.granule > 1
        wanted["no payload"] = cri.alg == CRYPTO_AES_GMAC
    make = _maker(shape, frozenset(option for option, is_wanted in wanted.items() if is_wanted))
    return make(exchange, longest, **facts_of_it)


_QUICK: Final = """
def quick(crp):
    # here: quick
"""

_PROCESS: Final = """
def process_of(run, blame, driver):
    def process(crp, hint):
        served = False
        try:
            while True:
                # here: quick
                break
            if not served:
                run(crp)
        except Exception as error:
            blame(crp, error)
        view = None  # the consumer may resize the buffer when it is called back
        done = driver.done
        done(crp)
        return 0
    return process
quick.process_of = process_of
"""
"""What `process_of` says in Python, without the call of the quick way."""


@functools.cache
def _maker(shape: Shape, options: frozenset[str]) -> Callable[..., Quick]:
    """Return what makes the recogniser of a session, with the lines that `options` ask for."""
    works = "works" in options
    iv = fill(IV_RULE, "take", IV_TAKE if works else "pass") if "iv" in options else _NO_IV
    text = mute(choose(fill(_TEXTS[shape], "iv", iv), options), "return False")
    text += "" if works else "\nreturn True"
    body = fill(_QUICK, "quick", text)
    if works:
        body += fill(_PROCESS, "quick", _within(text))
    title = ", ".join((f"quick way of {shape.name}", *sorted(options)))
    made: Callable[..., Quick] = compile_function(_MAKER, f"{body}return quick", _NAMES, title)
    return made


def _within(text: str) -> str:
    """Return the text of a recogniser for a function that goes on when it has ended."""
    return text.replace("return False", "break").replace("return exchange(", "served = exchange(")


def process_of(quick: Quick, run: Run, blame: Blame, driver: Done) -> Process:
    """
    Return the ``process`` of a session that has a quick way, and is served by the calling thread.

    Args:
        quick: The quick way.
        run: What carries out the requests that it leaves.
        blame: What is told of exceptions from either.
        driver: Whose ``done`` is called; it is looked up for each request, since it changes.
    """
    make: Callable[[Run, Blame, Done], Process] | None = getattr(quick, "process_of", None)
    if make is not None:
        return make(run, blame, driver)

    def process(crp: Cryptop, hint: int) -> int:
        try:
            if not quick(crp):
                run(crp)
        except Exception as error:
            blame(crp, error)
        driver.done(crp)
        return 0

    return process
