"""
Known answers, run when a driver attaches: an algorithm that answers wrongly is not offered.

One answer per algorithm, from the standard that `opencrypto.xform` names (the file beside this one
tells each one's source). This finds a broken library or device before it touches data; it is no
proof. Driver authors have `opencrypto.testing.DriverContract`.
"""

from __future__ import annotations

import errno
import functools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from opencrypto._request.buffer import Mbuf
from opencrypto._request.symmetric import Cryptodesc, Cryptoini, Cryptop
from opencrypto._rules.chain import Chain
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_F_CBIMM,
    ERESTART,
    Alg,
)
from opencrypto.driver import Driver
from opencrypto.exceptions import CryptoError, NoDriverError, UsageError
from opencrypto.xform import AEAD_PARTNERS, FACTS, Kind

__all__ = ["PATIENCE", "Answer", "answers", "failures"]

PATIENCE: Final = 5.0
"""Seconds that a driver has for one answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one algorithm makes of one input. For compression, `output` decompresses to `input`."""

    alg: Alg
    key: bytes
    iv: bytes
    aad: bytes
    input: bytes
    output: bytes
    mac: bytes
    source: str


@functools.cache
def answers() -> dict[int, Answer]:
    """Return the known answers by algorithm number."""
    from importlib.resources import files  # wanted once, when the first driver attaches

    text = files("opencrypto").joinpath("selftest.json").read_text("ascii")
    return {entry.alg: entry for entry in map(_answer, json.loads(text)["answers"])}


def _answer(entry: dict[str, str]) -> Answer:
    parts = {name: bytes.fromhex(entry.get(name, "")) for name in _FIELDS}
    return Answer(Alg[entry["alg"]], **parts, source=entry["source"])


_FIELDS: Final = ("key", "iv", "aad", "input", "output", "mac")


def failures(driver: Driver) -> dict[int, str]:
    """
    Run the known answers of what a driver offers, before it is attached.

    An algorithm whose known answer has a key that the driver does not take is not tested: it says
    so in its capabilities, by ``refusal``, or by a UsageError or NoDriverError of ``newsession``.
    Any other error there is a failure, such as a device's that does not work.

    Returns:
        For each algorithm that fails, why; an authenticated cipher fails with its partners.
    """
    found: dict[int, str] = {}
    trial = _Trial(driver)
    for alg in driver.capabilities:
        answer = answers().get(alg)
        if answer is None:
            continue
        for partner in _partners(driver, answer):
            reason = trial.run(answer, partner)
            if reason:
                found[int(alg)] = reason
                if partner is not None:
                    found[int(partner)] = reason
    return found


def _partners(driver: Driver, answer: Answer) -> Iterator[int | None]:
    """Yield the authenticating half that goes with an answer; None where it needs none."""
    if FACTS[answer.alg].kind is not Kind.AEAD:
        yield None
        return
    for partner in sorted(AEAD_PARTNERS[answer.alg]):
        if partner in driver.capabilities and FACTS[partner].key_ok(len(answer.key)):
            yield partner


class _Trial:
    """Drives a driver that is not attached, one request at a time."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._answered = threading.Semaphore(0)
        driver.done = self._done
        driver.unblock = self._unblock

    def _done(self, crp: Cryptop) -> None:
        self._answered.release()

    def _unblock(self, what: int) -> None:
        """Take note of nothing: a request refused for the moment fails the test."""

    def run(self, answer: Answer, partner: int | None) -> str:
        """Return why the answer is wrong, or an empty string."""
        inis = [Cryptoini(answer.alg, answer.key)]
        if partner is not None:
            inis.append(Cryptoini(partner, answer.key))
        chain = Chain(inis)
        try:
            return self._open(answer, partner, chain)
        finally:
            chain.wipe()

    def _refused(self, chain: Chain) -> bool:
        """Tell whether the driver says beforehand that it does not serve the chain."""
        capabilities = self._driver.capabilities
        refusals = [capabilities[cri.alg].refusal(cri) for cri in chain.inis]
        return any(refusals) or bool(self._driver.refusal(chain.inis, chain.profile))

    def _open(self, answer: Answer, partner: int | None, chain: Chain) -> str:
        try:
            if self._refused(chain):
                return ""
            opened = self._driver.newsession(chain.inis)
        except (UsageError, NoDriverError):
            return ""
        except CryptoError as error:
            return f"opening a session failed with {_name(error.errno or errno.EIO)}"
        except Exception as error:
            return f"opening a session raised {type(error).__name__}"
        lid, process = opened if isinstance(opened, tuple) else (opened, self._driver.process)
        try:
            for question in _questions(answer, partner):
                question.crp.sid = lid
                reason = self._verdict(question, process(question.crp, 0))
                if reason:
                    return reason
        except Exception as error:
            return f"its known answer raised {type(error).__name__}"
        finally:
            self._driver.freesession(lid)
        return ""

    def _verdict(self, question: _Question, taken: int) -> str:
        crp = question.crp
        if taken == ERESTART or not self._answered.acquire(timeout=PATIENCE):
            return "its known answer did not come"
        if crp.etype != question.etype:
            if crp.etype:
                return f"its known answer failed with {_name(crp.etype)}"
            return "it takes a wrong MAC for a right one"
        return "" if bytes(crp.buf) == question.expected else "its known answer is wrong"


class _Question(NamedTuple):
    """A request, what it must leave in its buffer, and how it must end."""

    crp: Cryptop
    expected: bytes
    etype: int = 0


def _name(code: int) -> str:
    return errno.errorcode.get(code, str(code))


def _questions(answer: Answer, partner: int | None) -> Iterator[_Question]:
    """Yield requests in both directions, and one whose MAC is wrong."""
    aad, size = len(answer.aad), len(answer.input)
    plain = answer.aad + answer.input
    sealed = answer.aad + answer.output
    match FACTS[answer.alg].kind:
        case Kind.COMP:
            crd = Cryptodesc(0, len(answer.output), alg=answer.alg)
            yield _Question(_request(Mbuf([bytearray(answer.output)]), crd), answer.input)
        case Kind.MAC | Kind.HASH:
            make = Cryptodesc(0, size, size, alg=answer.alg)
            check = Cryptodesc(0, size, size, CRD_F_VERIFY, alg=answer.alg)
            room = bytearray(plain + bytes(len(answer.mac)))
            yield _Question(_request(room, make), plain + answer.mac)
            yield from _verified(plain, answer.mac, plain, check)
        case Kind.CIPHER:
            yield _Question(_request(bytearray(plain), _cipher(answer, CRD_F_ENCRYPT)), sealed)
            yield _Question(_request(bytearray(sealed), _cipher(answer, 0)), plain)
        case _:
            make = Cryptodesc(0, aad, aad + size, alg=partner or 0)
            check = Cryptodesc(0, aad, aad + size, CRD_F_VERIFY, alg=partner or 0)
            room = bytearray(plain + bytes(len(answer.mac)))
            seal = _request(room, _cipher(answer, CRD_F_ENCRYPT), make)
            yield _Question(seal, sealed + answer.mac)
            yield from _verified(sealed, answer.mac, plain, check, _cipher(answer, 0))


def _verified(
    data: bytes, mac: bytes, verified: bytes, *descriptors: Cryptodesc
) -> Iterator[_Question]:
    """Yield the data with its MAC, and with a wrong one, which must leave all as it is."""
    wrong = mac[:-1] + bytes([mac[-1] ^ 1])
    yield _Question(_request(bytearray(data + mac), *descriptors), verified + mac)
    yield _Question(_request(bytearray(data + wrong), *descriptors), data + wrong, errno.EBADMSG)


def _cipher(answer: Answer, flags: int) -> Cryptodesc:
    if answer.iv:
        flags |= CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
    return Cryptodesc(
        len(answer.aad), len(answer.input), 0, flags, alg=answer.alg, iv=answer.iv or None
    )


def _request(buf: bytearray | Mbuf, *descriptors: Cryptodesc) -> Cryptop:
    return Cryptop(0, buf, descriptors, _ignore, CRYPTO_F_CBIMM)


def _ignore(crp: Cryptop) -> None:
    """Stand in for a consumer's callback; the trial hears of the end from ``done``."""
