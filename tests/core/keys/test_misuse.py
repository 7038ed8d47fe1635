"""Key requests that are made wrongly reach no driver."""

import errno

import pytest

from opencrypto import (
    CRK_MOD,
    BusyError,
    Crparam,
    Cryptkop,
    CryptoError,
    Framework,
    UsageError,
)
from tests.core.keys.scripted import (
    Scripted,
    framework,
    keep,
    mod,
)
from tests.core.keys.support import run

__all__ = ["framework"]


# Misuse.


def test_a_request_in_use_is_busy(framework: Framework) -> None:
    """It is neither dispatched twice nor freed."""
    driver = Scripted("a", keep)
    framework.attach(driver)
    krp, done = mod()
    framework.kdispatch(krp)
    for call in (framework.kdispatch, framework.kfreereq):
        with pytest.raises(BusyError):
            call(krp)
    driver.finish()
    done.wait()
    framework.kfreereq(krp)
    for call in (framework.kdispatch, framework.kfreereq):
        with pytest.raises(UsageError, match="freed"):
            call(krp)


def test_a_request_without_a_callback_raises(framework: Framework) -> None:
    """There is nobody to tell."""
    with pytest.raises(UsageError, match="callback"):
        framework.kdispatch(Cryptkop.of(CRK_MOD, [5, 3], [8]))
    with pytest.raises(UsageError):
        framework.kgetreq(2)
    framework.kfreereq(None)


@pytest.mark.parametrize(
    ("krp", "status"),
    [
        (Cryptkop.of(99, [1], [1]), errno.EINVAL),
        (Cryptkop.of(11, [1], [1]), errno.EINVAL),
        (Cryptkop.of(CRK_MOD, [1], [1]), errno.EINVAL),
        (Cryptkop.of(CRK_MOD, [1, 2], []), errno.EINVAL),
        (Cryptkop(CRK_MOD, [Crparam(nbits=1)], 2, 1), errno.EINVAL),
        (Cryptkop(CRK_MOD, [None] * 3, 2, 1), errno.EINVAL),  # type: ignore[list-item]  # wrong on purpose
        (Cryptkop.of(CRK_MOD, [1] * 8, [1]), errno.EFBIG),
        (Cryptkop(CRK_MOD, [Crparam(nbits=1)] * 9, 2, 1), errno.EFBIG),
    ],
)
def test_malformed_requests_reach_no_driver(
    framework: Framework, krp: Cryptkop, status: int
) -> None:
    """They are called back with the errno that says what is wrong."""
    driver = Scripted("a")
    framework.attach(driver)
    run(framework, krp=krp, status=status)
    with pytest.raises(CryptoError):
        krp.check()
    assert not driver.hints


def test_parameters_that_claim_too_much_reach_no_driver(framework: Framework) -> None:
    """More bits than bytes, an output that cannot be written, no bytes at all."""
    driver = Scripted("a")
    framework.attach(driver)
    krp = Cryptkop.of(CRK_MOD, [5, 3], [8])
    good = krp.param
    bad: list[tuple[int, Crparam]] = [
        (0, Crparam(b"\x01", 9)),
        (2, Crparam(b"\x01")),
        (0, Crparam("text", 8)),  # type: ignore[arg-type]  # wrong on purpose
    ]
    for place, parameter in bad:
        krp.param = [*good[:place], parameter, *good[place + 1 :]]
        run(framework, krp=krp, status=errno.EINVAL)
    assert not driver.hints


# Parameters.


def test_parameters_to_and_from_integers() -> None:
    """Little-endian, with bits that need not fill a byte."""
    p = Crparam.from_int(0x1FF)
    assert (p.nbits, bytes(p.p), p.to_int()) == (9, b"\xff\x01", 0x1FF)
    assert Crparam(b"\xff\xff", 9).to_int() == 0x1FF
    assert (Crparam.from_int(0).nbits, Crparam.from_int(0).to_int()) == (0, 0)
    assert Crparam.from_int(3, 20).to_bytes() == b"\x03\x00\x00"
    assert Crparam.from_bytes(b"digest").to_bytes() == b"digest"
    out = Crparam(bytearray(b"\xee" * 4), 12)
    out.store(0xABC)
    assert out.p == b"\xbc\x0a\xee\xee"
    with pytest.raises(CryptoError) as caught:
        out.store(0x1000)
    assert caught.value.errno == errno.ERANGE
    with pytest.raises(UsageError):
        Crparam.from_int(-1)
    with pytest.raises(UsageError):
        Crparam(nbits=-1)
    with pytest.raises(UsageError) as refused:
        Crparam.from_int(256, 8)
    assert refused.value.errno == errno.ERANGE
