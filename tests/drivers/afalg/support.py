"""What the tests of the AF_ALG driver share."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import opencrypto_afalg
import opencrypto_swcrypto
from opencrypto import Alg, Cryptodesc, Cryptoini, Cryptop, Framework
from opencrypto.constants import CRYPTO_F_CBIMM
from opencrypto.xform import AEAD_PARTNERS, FACTS
from opencrypto_afalg import AfalgDriver

PATIENCE_S = 30.0


@contextmanager
def attached(driver: AfalgDriver | None = None, *, fallback: bool = False) -> Iterator[Framework]:
    """Open a framework with the driver's entries, and with swcrypto to fall back on if asked."""
    with Framework(plugins=False) as framework:
        for each in [driver] if driver is not None else opencrypto_afalg.drivers():
            framework.attach(each)
        if fallback:
            for software in opencrypto_swcrypto.opencrypto_drivers():
                framework.attach(software)
        yield framework


def open_on(
    framework: Framework, ini: Cryptoini | Sequence[Cryptoini], driver: str = "afalg"
) -> int:
    """Open a session on a driver, which it may leave if the driver is ever chosen by itself."""
    elsewhere = []
    try:
        for _ in range(100):
            sid = framework.newsession(ini)
            if framework.driver_of(sid) == (driver,):
                return sid
            elsewhere.append(sid)  # with which the other driver has more sessions than this one
    finally:
        for sid in elsewhere:
            framework.freesession(sid)
    return framework.newsession(ini, driver=driver)  # another is always preferred


def run(
    framework: Framework, sid: int, buf: Any, *desc: Cryptodesc, mac: bytearray | None = None
) -> Cryptop:
    """Dispatch a request and wait until it is completed; EAGAIN is an answer too."""
    bell = threading.Event()
    crp = Cryptop(sid, buf, desc, lambda _: bell.set(), CRYPTO_F_CBIMM, mac=mac)
    framework.dispatch(crp)
    assert bell.wait(PATIENCE_S), "the request was not completed"
    return crp


def follow(framework: Framework, sid: int, buf: Any, *desc: Cryptodesc) -> Cryptop:
    """As `run`, and where the session migrates again with the new one."""
    for _ in range(4):
        crp = run(framework, sid, buf, *desc)
        if crp.etype != errno.EAGAIN:
            break
        sid = crp.sid
    return crp


def partner(alg: int, keylen: int) -> Alg:
    """Return the authenticating half that goes with a key of this many bytes."""
    return next(half for half in sorted(AEAD_PARTNERS[alg]) if FACTS[half].key_ok(keylen))


def pair(alg: int, key: bytes, mlen: int = 0) -> list[Cryptoini]:
    """Return the parameters of an authenticated cipher and its other half."""
    return [Cryptoini(alg, key), Cryptoini(partner(alg, len(key)), key, mlen=mlen)]
