"""Drivers that have a part of a chain each, and requests for sessions made of them."""

import threading
from collections.abc import Collection, Sequence

import opencrypto_swcrypto
from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_AES_CBC,
    CRYPTO_SHA1_HMAC,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Driver,
    Framework,
)

KEY, OTHER = bytes(range(16)), bytes(range(16, 32))


def driver(name: str, *algs: int) -> Driver:
    """Make the software driver under another name, with some of its algorithms."""
    made: Driver = opencrypto_swcrypto.opencrypto_drivers()[0]
    made.name = name
    made.capabilities = {alg: made.capabilities[alg] for alg in algs}
    made.keyops = ()
    return made


class Late:
    """Has a driver answer from another thread, after its process has returned."""

    def __init__(self, inner: Driver) -> None:
        self.threads: list[threading.Thread] = []
        opened, self.inner = inner.newsession, inner

        def newsession(ini: Sequence[Cryptoini]) -> object:
            lid, process = opened(ini)  # type: ignore[misc]  # it compiles

            def late(crp: Cryptop, hint: int) -> int:
                thread = threading.Thread(target=process, args=(crp, hint))
                self.threads.append(thread)
                thread.start()
                return 0

            return lid, late

        inner.newsession = newsession  # type: ignore[assignment, method-assign]  # a stand-in

    def join(self) -> None:
        """Wait for the threads."""
        for thread in list(self.threads):
            thread.join()


def perform(framework: Framework, crp: Cryptop) -> Cryptop:
    """Dispatch a request and wait for its one completion."""
    calls: list[Cryptop] = []
    event = threading.Event()

    def called(done: Cryptop) -> None:
        calls.append(done)
        event.set()

    crp.callback = called
    framework.dispatch(crp)
    assert event.wait(20), "never completed"
    assert len(calls) == 1
    return crp


def cipher(alg: int, size: int, *, encrypt: bool, key: bytes | None = None) -> Cryptodesc:
    """Describe a cipher over the first bytes, with an IV in the descriptor."""
    crd = Cryptodesc(0, size, 0, CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT, alg=alg, iv=bytes(16))
    crd.flags |= CRD_F_ENCRYPT if encrypt else 0
    if key is not None:
        crd.key, crd.klen = key, len(key) * 8
    return crd


def mac(alg: int, size: int, at: int, *, verify: bool) -> Cryptodesc:
    """Describe a MAC over the first bytes."""
    return Cryptodesc(0, size, at, CRD_F_VERIFY if verify else 0, alg=alg)


def sealing(size: int) -> list[Cryptodesc]:
    """Have the first bytes encrypted, and their MAC put behind them: a request on `ETM`."""
    return [
        cipher(CRYPTO_AES_CBC, size, encrypt=True),
        mac(CRYPTO_SHA1_HMAC, size, size, verify=False),
    ]


def opening(size: int) -> list[Cryptodesc]:
    """Have that undone: the MAC verified, and the first bytes decrypted."""
    return [
        mac(CRYPTO_SHA1_HMAC, size, size, verify=True),
        cipher(CRYPTO_AES_CBC, size, encrypt=False),
    ]


ETM = (Cryptoini(CRYPTO_AES_CBC, KEY), Cryptoini(CRYPTO_SHA1_HMAC, KEY))


def split_framework(*parts: Collection[int]) -> Framework:
    """Make a framework with one driver for each group of algorithms."""
    framework = Framework(plugins=False)
    for n, algs in enumerate(parts):
        framework.attach(driver(f"part{n}", *algs))
    return framework


def reference(ini: Sequence[Cryptoini], desc: list[Cryptodesc], data: bytes) -> bytearray:
    """Have a request done by a driver that has all of the chain."""
    with Framework([opencrypto_swcrypto]) as framework:
        sid = framework.newsession(ini)
        crp = perform(framework, Cryptop(sid, bytearray(data), desc))
        crp.check()
        buf: bytearray = crp.buf
        return buf


def sessions_of(framework: Framework) -> dict[str, int]:
    """Return how many sessions each driver has."""
    return {info.name: info.sessions for info in framework.drivers}
