"""Drivers that leave, drivers that answer late, and drivers that will not."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence

import pytest

from opencrypto import Capability, Cryptoini, Cryptop, Driver, Framework, NoDriverError, UsageError
from opencrypto.constants import CRYPTOCAP_F_SOFTWARE, Alg
from opencrypto_esp import Esp, Reason
from tests.consumers.esp.ends import Ends
from tests.consumers.esp.packets import ipv4, make_sa

PACKETS = [ipv4(bytes([n]) * n) for n in range(100)]

EVERYTHING = {int(alg): Capability() for alg in Alg}


class Scripted(Driver):
    """A driver that answers each request as it is told to."""

    flags = CRYPTOCAP_F_SOFTWARE
    capabilities = EVERYTHING

    def __init__(self, name: str, answer: Callable[[Cryptop], int]) -> None:
        self.name = name
        self.answer = answer
        self.open: set[int] = set()

    def newsession(self, ini: Sequence[Cryptoini]) -> int:
        lid = self.newlid()
        self.open.add(lid)
        return lid

    def freesession(self, lid: int) -> None:
        self.open.discard(lid)

    def process(self, crp: Cryptop, hint: int) -> int:
        crp.etype = self.answer(crp)
        self.done(crp)
        return 0


def test_all_drivers_of_a_chain_that_no_driver_has_alone_are_named() -> None:
    cipher, authenticator = (Scripted(name, lambda crp: 0) for name in ("cipher", "hash"))
    cipher.capabilities = {int(Alg.AES_CBC): Capability()}
    authenticator.capabilities = {int(Alg.SHA1_HMAC_96): Capability()}
    with Framework(plugins=False) as framework:
        framework.attach(cipher)
        framework.attach(authenticator)
        with Ends(framework, [make_sa("aes-cbc")]) as esp:
            assert esp.protect(PACKETS[1]).packet
            assert esp.counters().protected.drivers == {"cipher + hash": 1}


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("encryption", ["aes-cbc", "aes-gcm-16"])
def test_the_driver_in_use_leaves(encryption: str, batch: bool) -> None:
    sa = make_sa(encryption)
    with Framework() as framework, Ends(framework, [sa], batch=batch) as esp:
        esp.open()
        wires = [esp.protect(packet).packet or b"" for packet in PACKETS[:50]]
        (first,) = esp.counters().protected.drivers
        framework.detach(first)
        wires += [result.packet or b"" for result in esp.protect_many(PACKETS[50:])]
        assert [r.packet for r in esp.unprotect_many(wires)] == PACKETS
        counters = esp.counters()
        for flow in (counters.protected, counters.unprotected):
            assert (flow.packets, flow.lost, flow.migrations) == (100, 0, 1)
            assert flow.resubmitted >= 1
        assert counters.protected.drivers[first] == 50
        assert len(counters.protected.drivers) == 2
        assert sum(i.sessions for i in framework.drivers) == 2
        esp.close()
        assert sum(i.sessions for i in framework.drivers) == 0


def test_the_last_driver_leaves() -> None:
    with Framework(["openssl"]) as framework, Ends(framework, [make_sa()]) as esp:
        assert esp.protect(PACKETS[1]).reason is None
        framework.detach("openssl")
        assert esp.protect(PACKETS[1]).reason is Reason.NO_DRIVER
        assert esp.counters().protected.dropped == {Reason.NO_DRIVER: 1}


def test_there_is_no_driver() -> None:
    with Framework(plugins=False) as framework, Ends(framework, [make_sa()]) as esp:
        assert esp.protect(PACKETS[1]).reason is Reason.NO_DRIVER
        with pytest.raises(NoDriverError, match="AES_CBC"):
            esp.open()


def test_a_session_that_keeps_moving_is_given_up() -> None:
    drivers = [Scripted(name, lambda crp: errno.EAGAIN) for name in ("here", "there")]
    with Framework(plugins=False) as framework, Ends(framework, [make_sa()]) as esp:
        for driver in drivers:
            framework.attach(driver)
        assert esp.protect(PACKETS[1]).reason is Reason.MOVING
        assert esp.counters().protected.resubmitted == 8
        esp.close()
        assert not any(driver.open for driver in drivers)


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize("encryption", ["aes-cbc", "aes-gcm-16", "null"])
def test_each_try_is_of_the_packet_as_it_came(encryption: str, esn: bool) -> None:
    """A driver that spoils the buffer before it hands a packet back does not spoil the packet."""

    def spoil(crp: Cryptop) -> int:
        crp.buf[8:] = bytes(len(crp.buf) - 8)
        return errno.EAGAIN

    sa = make_sa(encryption, esn=esn, sequence=(1 << 32) + 7 if esn else 7)
    packets = PACKETS[20:60]
    with Framework() as good, Ends(good, [sa]) as right:
        wires = [right.protect(packet).packet or b"" for packet in packets]
        received = [right.unprotect(wire).packet for wire in wires]
    with Framework() as framework:
        spoiler = Scripted("spoiler", spoil)
        spoiler.flags = 0  # hardware, which is preferred
        framework.attach(spoiler, selftest=False)
        with Ends(framework, [sa]) as esp:
            mine = [esp.protect(packet).packet or b"" for packet in packets]
            assert [esp.unprotect(wire).packet for wire in mine] == received
            assert esp.counters().protected.resubmitted
    with Framework() as good, Ends(good, [sa]) as right:
        assert [right.unprotect(wire).packet for wire in mine] == received
    head = 28
    assert [wire[:head] for wire in mine] == [wire[:head] for wire in wires], "another number"


def test_a_driver_that_fails() -> None:
    with Framework(plugins=False) as framework, Ends(framework, [make_sa()]) as esp:
        framework.attach(Scripted("sick", lambda crp: errno.EIO))
        assert esp.protect(PACKETS[1]).reason is Reason.FAILED


class Late(Scripted):
    """A driver that answers from another thread, in the opposite order, every few requests."""

    def __init__(self) -> None:
        super().__init__("late", lambda crp: 0)
        self.held: list[Cryptop] = []
        self.most = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="late")
        self._ending = False
        self._thread.start()

    def process(self, crp: Cryptop, hint: int) -> int:
        with self._changed:
            self.held.append(crp)
            self.most = max(self.most, len(self.held))
            self._changed.notify()
        return 0

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ending or len(self.held) >= 8, timeout=0.02)
                taken, self.held = self.held, []
                if self._ending and not taken:
                    return
            for crp in reversed(taken):
                self.done(crp)

    def close(self) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()


def test_many_in_flight_come_back_in_order() -> None:
    late = Late()
    with Framework(plugins=False) as framework:
        framework.attach(late)
        with Ends(framework, [make_sa()]) as esp:
            results = list(esp.protect_many(PACKETS, depth=16))
    assert [int.from_bytes(r.packet[24:28]) for r in results if r.packet] == list(range(1, 101))
    assert late.most > 1, "they were in flight together"


def test_threads_share_one_esp() -> None:
    """No sequence number comes twice, nothing is lost, and each packet is the right one."""
    wires: list[bytes] = []
    with Framework() as framework, Ends(framework, [make_sa(replay_window=4096)]) as esp:

        def work() -> None:
            wires.extend(esp.protect(packet).packet or b"" for packet in PACKETS * 3)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({wire[24:28] for wire in wires}) == len(wires) == 1200
        back = [esp.unprotect(wire).packet for wire in wires]
        assert sorted(packet or b"" for packet in back) == sorted(PACKETS * 12)
        assert esp.counters().protected.packets == 1200


def test_closing_the_framework_first_is_no_error() -> None:
    framework = Framework()
    esp = Ends(framework, [make_sa()])
    esp.protect(PACKETS[1])
    framework.close()
    assert esp.protect(PACKETS[1]).reason is not None
    esp.close()
    esp.close()


def test_spis_are_unique() -> None:
    with Framework(plugins=False) as framework:
        with pytest.raises(UsageError, match="an SPI of its own"):
            Ends(framework, [make_sa(), make_sa()])
        with pytest.raises(UsageError, match="at least one"):
            Esp(framework, [])
        with Ends(framework, [make_sa()]) as esp, pytest.raises(UsageError, match="0x9999"):
            esp.counters(0x9999)
