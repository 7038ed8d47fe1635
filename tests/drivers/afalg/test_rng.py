"""The kernel's random generators: gathering, seeding, and plain words for what cannot be."""

from __future__ import annotations

import errno
import threading

import pytest

from opencrypto import (
    Crparam,
    Cryptkop,
    CryptoError,
    DriverUnavailable,
    Framework,
    UsageError,
)
from opencrypto.constants import CRK_RANDOM, CRYPTO_F_CBIMM
from opencrypto_afalg import GENERATORS, Kernel, KernelRng
from tests.drivers.afalg.support import PATIENCE_S, attached

pytestmark = pytest.mark.kernel


def test_a_mebibyte_is_gathered_in_blocks() -> None:
    """1 MiB, in reads of 128 bytes: no block comes twice, and bits are as often 1 as 0."""
    with KernelRng() as rng:
        data = rng.read(1 << 20)
    blocks = {data[at : at + 128] for at in range(0, len(data), 128)}
    assert len(blocks) == len(data) // 128
    ones = int.from_bytes(data).bit_count()
    assert abs(ones - 4 * len(data)) < 8000  # 5.5 standard deviations


@pytest.mark.parametrize("name", sorted(GENERATORS))
@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 1000])
def test_any_length_from_any_generator(name: str, size: int) -> None:
    """Lengths about the 128 bytes that the kernel gives at once."""
    with KernelRng(name) as rng:
        assert len(rng.read(size)) == size
        buffer = bytearray(b"\xaa" * (size + 2))
        rng.fill(memoryview(buffer)[1 : 1 + size])
        assert buffer[0] == buffer[-1] == 0xAA


def test_a_personalization_string_does_not_determine() -> None:
    """Two generators with the same seed differ: the kernel's own entropy is in both."""
    with KernelRng(seed=b"personal") as one, KernelRng(seed=b"personal") as other:
        assert one.read(64) != other.read(64)
        one.reseed()
        one.reseed(b"another")
        assert len(one.read(10)) == 10


def test_the_kernel_gives_nothing_unseeded() -> None:
    """Why the constructor seeds: a generator without that call answers EINVAL."""
    with Kernel().socket() as transform:
        transform.bind(("rng", "stdrng"))
        with transform.accept()[0] as operation, pytest.raises(OSError) as refusal:
            operation.recv(16)
    assert refusal.value.errno == errno.EINVAL


def test_drbg_entropy_is_refused_in_plain_words() -> None:
    """Kernels are hardly ever built for validation: the error says that."""
    with KernelRng() as rng:
        with pytest.raises(CryptoError, match="this kernel is not built for that") as refusal:
            rng.set_entropy(bytes(48))
        assert refusal.value.errno == errno.ENOPROTOOPT
        with pytest.raises(CryptoError, match="not built for that"):
            rng.read(16, additional=b"more")
        with pytest.raises(UsageError, match="random bytes"):
            rng.read(-1)


def test_names_outside_the_table_are_not_bound() -> None:
    """A bind may change the system, so the kernel is asked for known names only."""
    for name in ("ansi_cprng", "drbg_nopr_ctr_aes128", "cryptd(stdrng)"):
        with pytest.raises(UsageError, match="is no generator"):
            KernelRng(name)


def test_a_closed_generator_says_so() -> None:
    """After close() nothing is read, and closing again does nothing."""
    rng = KernelRng()
    rng.close()
    rng.close()
    with pytest.raises(UsageError, match="closed"):
        rng.read(1)


def test_a_kernel_without_it() -> None:
    """Where a socket cannot be had, the reason is in the exception."""

    class Forbidden(Kernel):
        def socket(self):  # type: ignore[no-untyped-def]  # a stand-in's
            raise OSError(errno.EPERM, "")

    with pytest.raises(DriverUnavailable, match="forbidden to this process"):
        KernelRng(kernel=Forbidden())


@pytest.mark.parametrize("bits", [0, 1, 7, 8, 1000, 8192, 100_000])
def test_crk_random(bits: int) -> None:
    """The key operation gives as many bits as asked, none beyond, inline and by a thread."""
    with attached() as framework:
        bell = threading.Event()
        output = Crparam(bytearray(b"\xff" * ((bits + 7) // 8 + 1)), bits)
        krp = Cryptkop(CRK_RANDOM, [output], 0, 1, lambda _: bell.set())
        krp.flags = CRYPTO_F_CBIMM
        framework.kdispatch(krp)
        assert bell.wait(PATIENCE_S)
        krp.check()
        assert output.to_int().bit_length() <= bits
        assert bytes(output.p)[-1] == 0xFF
        if bits >= 1000:
            assert abs(output.to_int().bit_count() - bits / 2) < 3 * bits**0.5


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_the_framework_gives_them_by_name(name: str) -> None:
    """And goes on with the software driver's when the kernel's driver leaves."""
    with Framework(["afalg", "swcrypto"]) as framework:
        with framework.rng(name, driver="afalg") as rng:
            assert len(rng.generate(300)) == 300
            rng.reseed(b"more")
            with pytest.raises(CryptoError, match="not built for that"):
                rng.set_entropy(bytes(48))
        with pytest.raises(CryptoError, match="not built for that"):
            framework.rng(name, driver="afalg", entropy=bytes(48))
        if name == "jitterentropy_rng":
            return
        rng = framework.rng(name, hard=-1)
        served = [rng.driver]
        framework.detach(rng.driver)
        assert len(rng.generate(5)) == 5
        served.append(rng.driver)
        assert sorted(served) == ["afalg", "swcrypto"]
        rng.close()
