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
import time
from collections.abc import Callable, Iterator, Mapping
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
from opencrypto.driver import Driver, Process
from opencrypto.exceptions import CryptoError, NoDriverError, UsageError
from opencrypto.xform import AEAD_CIPHERS, AEAD_PARTNERS, FACTS, Kind

__all__ = ["Answer", "Trial", "answers", "failures"]


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


def failures(driver: Driver, timeout: float = 2.0) -> dict[int, str]:
    """
    Run the known answers of what a driver offers, before it is attached.

    An algorithm whose known answer has a key that the driver does not take is not tested: it says
    so in its capabilities, by ``refusal``, or by a UsageError or NoDriverError of ``newsession``.
    Any other error there is a failure, such as a device's that does not work. After one answer
    that does not come nothing more is asked, and what was not tried has failed as well.

    Args:
        driver: A driver that is attached nowhere; its ports are the trial's from here on.
        timeout: Seconds that it may keep us waiting for all its answers together. What this thread
            computes meanwhile is not counted, so a slow machine is no reason to fail.

    Returns:
        For each algorithm that fails, why; an authenticated cipher fails with its partners.
    """
    return Trial(driver, timeout).failures()


def _partners(driver: Driver, answer: Answer) -> Iterator[int | None]:
    """Yield the authenticating half that goes with an answer; None where it needs none."""
    if FACTS[answer.alg].kind is not Kind.AEAD:
        yield None
        return
    for partner in sorted(AEAD_PARTNERS[answer.alg]):
        if partner in driver.capabilities and FACTS[partner].key_ok(len(answer.key)):
            yield partner


def _widowed(driver: Driver, failed: Mapping[int, str]) -> dict[int, str]:
    """Return the authenticating halves all of whose ciphers fail, with the reason of one."""
    found: dict[int, str] = {}
    for half in driver.capabilities:
        ciphers = [alg for alg in AEAD_CIPHERS.get(half, ()) if alg in driver.capabilities]
        if ciphers and half not in failed and all(cipher in failed for cipher in ciphers):
            found[int(half)] = failed[ciphers[0]]
    return found


def _idle() -> float:
    """Return a clock in seconds that stands while this thread computes."""
    return time.monotonic() - time.thread_time()


class Trial:
    """Drives a driver that is not attached, one request at a time, until it once keeps silent."""

    def __init__(self, driver: Driver, timeout: float) -> None:
        self._driver = driver
        self._timeout = timeout
        self._deadline = _idle() + timeout
        self._asked: dict[Cryptop, threading.Event] = {}  # what the driver has: one, or none
        self._opened: list[int] = []  # its session; whoever takes it out has it freed
        self._given_up = ""
        driver.done = self._done
        driver.unblock = self._unblock

    def failures(self) -> dict[int, str]:
        """Try everything; see the function of this name."""
        found: dict[int, str] = {}
        for alg in self._driver.capabilities:
            answer = answers().get(alg)
            if answer is None:
                continue
            if self._given_up:
                found[int(alg)] = self._given_up
                continue
            for partner in _partners(self._driver, answer):
                reason = self.run(answer, partner)
                if reason:
                    found[int(alg)] = reason
                    if partner is not None:
                        found[int(partner)] = reason
            if not self._left() and not self._given_up:
                self._give_up(answer)
        return found | _widowed(self._driver, found)

    def port(self, done: Callable[[Cryptop], None]) -> Callable[[Cryptop], None]:
        """Return ``done`` as the driver is to have it: an answer that comes late is the trial's."""
        if not self._asked:
            return done

        def after_the_trial(crp: Cryptop) -> None:
            if crp in self._asked:
                self._done(crp)
            else:
                done(crp)

        return after_the_trial

    def _left(self) -> float:
        return max(0.0, self._deadline - _idle())

    def _give_up(self, answer: Answer) -> None:
        name = FACTS[answer.alg].name
        self._given_up = (
            f"not tried: the time for all known answers, {self._timeout:g} s, was over at {name}"
        )

    def _done(self, crp: Cryptop) -> None:
        """Take an answer, in whatever thread it comes; one that nobody asked for is nobody's."""
        answered = self._asked.pop(crp, None)
        if answered is None:
            return
        answered.set()
        if self._given_up:
            self._free()

    def _free(self) -> None:
        try:
            lid = self._opened.pop()
        except IndexError:
            return  # the other of the trial and the late answer has
        self._driver.freesession(lid)

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
        self._opened.append(lid)
        try:
            reason = self._ask(answer, partner, lid, process)
            if not self._asked:  # or the driver has it still, and its session with it
                self._free()
        except Exception as error:
            return f"its known answer raised {type(error).__name__}"
        return reason

    def _ask(self, answer: Answer, partner: int | None, lid: int, process: Process) -> str:
        """Ask the questions of an answer until one is answered wrongly, and return how."""
        try:
            for question in _questions(answer, partner):
                question.crp.sid = lid
                answered = self._asked[question.crp] = threading.Event()
                if process(question.crp, 0) == ERESTART:
                    self._asked.clear()
                    return "its known answer was refused for the moment"
                if not answered.wait(self._left()):
                    self._give_up(answer)
                    return "its known answer did not come"
                reason = self._verdict(question)
                if reason:
                    return reason
        except Exception:
            self._asked.clear()
            raise
        return ""

    def _verdict(self, question: _Question) -> str:
        crp = question.crp
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
