"""Traps of AF_ALG about which algorithms there are: names are bound, and failures remembered."""

from __future__ import annotations

import socket
import time

import pytest

from opencrypto import Alg, Cryptoini
from opencrypto_afalg import AfalgDriver, Kernel
from opencrypto_afalg.catalogue import Catalogue, Served
from opencrypto_afalg.names import NAMES, Name
from tests.drivers.afalg.requests import driver, framework
from tests.drivers.afalg.support import attached

__all__ = ["driver", "framework"]

pytestmark = pytest.mark.kernel


def test_only_names_of_the_table_are_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bind of ``cryptd(...)`` would change what the whole system gets."""
    bound: list[str] = []
    real = socket.socket.bind

    def note(self: socket.socket, address: object) -> None:
        if self.family == socket.AF_ALG:
            assert isinstance(address, tuple)
            bound.append(address[1])
        real(self, address)  # type: ignore[arg-type]  # AF_ALG's addresses

    class Noting(socket.socket):
        bind = note

    class Watched(Kernel):
        def socket(self) -> socket.socket:
            return Noting(socket.AF_ALG, socket.SOCK_SEQPACKET, 0)

    driver = AfalgDriver(Watched())
    driver.probe()
    allowed = {name.name for names in NAMES.values() for name in names}
    assert set(bound) <= allowed
    assert len(bound) > 30


def test_names_too_long_for_python_are_absent() -> None:
    """CPython takes 63 bytes of name; a longer one is no more than another absent name."""
    long = Name("aead", "authenc(hmac(sha512),rfc3686(ctr(cbc(ecb(aes-generic)))))" + "x" * 20)
    answer = Catalogue(Kernel()).find([long])
    assert isinstance(answer, str)
    assert "too long" in answer


def test_a_failing_bind_is_remembered() -> None:
    """Each costs the start of a modprobe, so the second is answered from memory."""
    catalogue = Catalogue(Kernel())
    absent = Name("skcipher", "cbc(skipjack)")
    start = time.perf_counter()
    assert catalogue.find([absent]) == "this kernel has no cbc(skipjack), or does not allow it"
    first = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(1000):
        assert isinstance(catalogue.find([absent]), str)
    assert time.perf_counter() - start < max(first, 0.05)
    assert isinstance(catalogue.find([absent, Name("hash", "sha256")]), Served)


def test_nothing_is_probed_before_it_is_wanted() -> None:
    """Attaching binds nothing: it would load every module that the kernel has."""
    opened: list[int] = []

    class Counting(Kernel):
        def socket(self) -> socket.socket:
            opened.append(1)
            return super().socket()

    with attached(AfalgDriver(Counting())) as framework:
        assert not opened
        framework.newsession(Cryptoini(Alg.SHA1))
        assert 0 < len(opened) < 8
        count = len(opened)
        framework.newsession(Cryptoini(Alg.SHA1))
        assert len(opened) == count, "a second session opens nothing before its first request"
