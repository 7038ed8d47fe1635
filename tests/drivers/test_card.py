"""A card behind a socket: depth 8, pulled in the midst of its work, and plugged in again."""

from __future__ import annotations

import errno
import threading
import time

import pytest

from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_AES_CBC,
    CRYPTO_F_CBIMM,
    CRYPTO_SHA2_256_HMAC,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
)
from opencrypto.testing import DriverContract
from opencrypto_swcrypto._driver import SwcryptoDriver
from tests.drivers.card import DEPTH, Card, CardDriver

KEY, MAC_KEY = bytes(range(16)), bytes(range(32))
IV = bytes(16)
INIS = (Cryptoini(CRYPTO_AES_CBC, KEY), Cryptoini(CRYPTO_SHA2_256_HMAC, MAC_KEY))
WAIT_S = 20.0
SIZE = 256


@pytest.mark.slow
@pytest.mark.alone
class TestContract(DriverContract):
    """Every clause, as of any driver."""

    driver_class = CardDriver


def packet(sid: int, number: int) -> Cryptop:
    """Encrypt and authenticate a message that is all one byte."""
    flags = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
    desc = [
        Cryptodesc(0, SIZE, flags=flags, alg=CRYPTO_AES_CBC, iv=IV),
        Cryptodesc(0, SIZE, SIZE, alg=CRYPTO_SHA2_256_HMAC),
    ]
    buf = bytearray([number % 256]) * SIZE + bytes(16)
    return Cryptop(sid, buf, desc, flags=CRYPTO_F_CBIMM, opaque=number)


def right(number: int) -> bytes:
    """What that has to become, by another driver."""
    with Framework(plugins=False) as fw:
        fw.attach(SwcryptoDriver())
        crp = packet(fw.newsession(INIS), number)
        crp.callback = Cryptop.check
        fw.dispatch(crp)
        return bytes(crp.buf)


RIGHT = {number: right(number) for number in range(8)}


class Sender:
    """Sends messages, each until it is done, and keeps the order of the answers."""

    def __init__(self, fw: Framework, count: int) -> None:
        self.fw = fw
        self.sid = fw.newsession(INIS)
        self.left = threading.Semaphore(0)
        self.order: list[int] = []
        self.again = 0
        self.wrong: list[str] = []
        self.count = count

    def answered(self, crp: Cryptop) -> None:
        if crp.etype == errno.EAGAIN:
            if bytes(crp.buf) != bytes([crp.opaque % 256]) * SIZE + bytes(16):
                self.wrong.append(f"{crp.opaque} handed back, and touched")
            self.again += 1
            self.sid = crp.sid
            self.fw.dispatch(crp)
            return
        self.order.append(crp.opaque)
        if crp.etype or bytes(crp.buf) != RIGHT[crp.opaque % 8]:
            self.wrong.append(f"{crp.opaque}: {crp.error or 'a wrong answer'}")
        self.left.release()

    def send(self) -> None:
        for number in range(self.count):
            crp = packet(self.sid, number)
            crp.buf[:SIZE] = bytes([number % 8]) * SIZE
            crp.opaque = number % 8
            crp.callback = self.answered
            self.fw.dispatch(crp)

    def wait(self) -> None:
        for _ in range(self.count):
            assert self.left.acquire(timeout=WAIT_S), f"{len(self.order)} of {self.count} came"


def test_it_is_given_eight_jobs_at_a_time_and_answers_in_order() -> None:
    card = Card(delay=0.001)
    with Framework(plugins=False) as fw:
        fw.attach(CardDriver(card))
        sender = Sender(fw, 64)
        sender.send()
        sender.wait()
        assert sender.wrong == []
        assert sender.order == [number % 8 for number in range(64)]
        assert 1 < card.most <= DEPTH
        assert card.jobs > 2 * 64  # and those of the known answers
    assert fw.stats.driver_bugs == 0


def test_pulled_it_leaves_and_what_it_had_is_done_by_another() -> None:
    card = Card(delay=0.002)
    with Framework(plugins=False) as fw:
        fw.attach(CardDriver(card))
        fw.attach(SwcryptoDriver())
        sender = Sender(fw, 40)
        assert fw.driver_of(sender.sid) == ("card",)
        sender.send()
        card.pull()
        sender.wait()
        assert sender.wrong == []
        assert sender.again > 0
        assert fw.driver_of(sender.sid) == ("swcrypto",)
        reasons = {info.name: info.reason for info in fw.drivers}
        assert reasons == {"swcrypto": "", "card": "left: the card was pulled"}
    assert fw.stats.driver_bugs == 0


@pytest.mark.slow
@pytest.mark.alone
def test_under_load_it_is_pulled_and_plugged_in_again_and_again() -> None:
    """Nothing is lost, doubled or wrong, whoever does it."""
    card = Card()
    with Framework(plugins=False) as fw:
        driver = CardDriver(card)
        fw.attach(SwcryptoDriver())
        fw.attach(driver)
        senders = [Sender(fw, 600) for _ in range(4)]
        threads = [threading.Thread(target=sender.send) for sender in senders]
        for thread in threads:
            thread.start()
        pulled = 0
        while any(thread.is_alive() for thread in threads) or pulled < 10:
            time.sleep(0.02)
            card.pull()
            pulled += 1
            card.plug()
            while any(info.hid is not None and info.name == "card" for info in fw.drivers):
                fw.newsession(INIS)  # which finds out that the old wire is dead
                time.sleep(0.001)
            fw.attach(driver)
            for sender in senders:
                sender.sid = fw.newsession(INIS)
        for sender in senders:
            sender.wait()
            assert sender.wrong == []
            assert len(sender.order) == sender.count
        assert sum(sender.again for sender in senders) > 0
        assert card.jobs > pulled
    assert fw.stats.driver_bugs == 0
