"""
Key operations with arguments, answers and exceptions: what `Framework` has of them for programs.

Each is there three times: it waits; as ``submit_``, it returns a `concurrent.futures.Future`; and
`Framework.aio` has those whose answers are awaited. What each means is in `_request.keycall`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from opencrypto._client.deadline import Deadline
from opencrypto._request import keycall
from opencrypto._request.buffer import BytesLike
from opencrypto._request.key import Cryptkop
from opencrypto._request.keycall import KeyCall, Number, Operand, Signature
from opencrypto._rules.seconds import check_seconds
from opencrypto.driver import Driver

if TYPE_CHECKING:
    from concurrent.futures import Future

Which: TypeAlias = "int | str | Driver | None"
"""A driver by hid, name or object; None for the best of the moment."""

T = TypeVar("T")


class KeyOperations(ABC):
    """
    The key operations of a `Framework`, as calls.

    A number is an int, or bytes with the most significant first. What an operation is applied to
    says what its result is: an int makes an int, bytes make as many bytes as the modulus has.

    Each takes `timeout`, the seconds that it may take, queues included (None: as long as it takes),
    and `driver`, which names the one driver that may carry it out. Each raises

    * UsageError: an argument is no number, or none that the operation takes; no such driver.
    * LimitError: a number is longer than the driver takes.
    * DriverGone: no driver has the operation, or the last that had it left.
    * DriverTimeout: no answer came in time.
    * CryptoError: the driver failed; the class is by the error (see docs/errors.md).
    """

    __slots__ = ()

    @abstractmethod
    def kdispatch(self, krp: Cryptkop, *, driver: Which = None) -> None:
        """Carry a key request out."""

    @abstractmethod
    def holders_of(self, request: Cryptkop) -> tuple[str, ...]:
        """Name who has a key request now."""

    def modexp(
        self,
        base: Operand,
        exp: Number,
        mod: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> Operand:
        """Return ``base ** exp % mod``. An exponent of more than 64 bits is taken for a secret."""
        return self._wait(keycall.modexp(base, exp, mod), timeout, driver)

    def submit_modexp(
        self, base: Operand, exp: Number, mod: Number, *, driver: Which = None
    ) -> Future[Operand]:
        """As `modexp`, without waiting."""
        return self._submit(keycall.modexp(base, exp, mod), driver)

    def rsa_private(
        self,
        message: Operand,
        p: Number,
        q: Number,
        dp: Number,
        dq: Number,
        qinv: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> Operand:
        """Apply RSA's private operation to a padded message, by the primes (RFC 8017, 5.1.2)."""
        return self._wait(keycall.rsa_private(message, p, q, dp, dq, qinv), timeout, driver)

    def submit_rsa_private(
        self,
        message: Operand,
        p: Number,
        q: Number,
        dp: Number,
        dq: Number,
        qinv: Number,
        *,
        driver: Which = None,
    ) -> Future[Operand]:
        """As `rsa_private`, without waiting."""
        return self._submit(keycall.rsa_private(message, p, q, dp, dq, qinv), driver)

    def dsa_sign(
        self,
        digest: BytesLike,
        p: Number,
        q: Number,
        g: Number,
        x: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> Signature:
        """Sign a digest by DSA with the private key `x` (FIPS 186-4, 4.6); return r and s."""
        return self._wait(keycall.dsa_sign(digest, p, q, g, x), timeout, driver)

    def submit_dsa_sign(
        self, digest: BytesLike, p: Number, q: Number, g: Number, x: Number, *, driver: Which = None
    ) -> Future[Signature]:
        """As `dsa_sign`, without waiting."""
        return self._submit(keycall.dsa_sign(digest, p, q, g, x), driver)

    def dsa_verify(
        self,
        digest: BytesLike,
        p: Number,
        q: Number,
        g: Number,
        y: Number,
        r: Number,
        s: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> None:
        """Verify a signature by DSA (FIPS 186-4, 4.7): AuthenticationError if it is not `y`'s."""
        self._wait(keycall.dsa_verify(digest, p, q, g, y, r, s), timeout, driver)

    def submit_dsa_verify(
        self,
        digest: BytesLike,
        p: Number,
        q: Number,
        g: Number,
        y: Number,
        r: Number,
        s: Number,
        *,
        driver: Which = None,
    ) -> Future[None]:
        """As `dsa_verify`, without waiting."""
        return self._submit(keycall.dsa_verify(digest, p, q, g, y, r, s), driver)

    def dh(
        self,
        priv: Number,
        pub: Operand,
        p: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> Operand:
        """Return the secret shared with the peer whose public key is `pub`: ``pub ** priv % p``."""
        return self._wait(keycall.dh(priv, pub, p), timeout, driver)

    def submit_dh(
        self, priv: Number, pub: Operand, p: Number, *, driver: Which = None
    ) -> Future[Operand]:
        """As `dh`, without waiting."""
        return self._submit(keycall.dh(priv, pub, p), driver)

    def modadd(
        self,
        a: Operand,
        b: Number,
        mod: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> Operand:
        """Return ``(a + b) % mod``."""
        return self._wait(keycall.modadd(a, b, mod), timeout, driver)

    def submit_modadd(
        self, a: Operand, b: Number, mod: Number, *, driver: Which = None
    ) -> Future[Operand]:
        """As `modadd`, without waiting."""
        return self._submit(keycall.modadd(a, b, mod), driver)

    def modsub(
        self,
        a: Operand,
        b: Number,
        mod: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> Operand:
        """Return ``(a - b) % mod``."""
        return self._wait(keycall.modsub(a, b, mod), timeout, driver)

    def submit_modsub(
        self, a: Operand, b: Number, mod: Number, *, driver: Which = None
    ) -> Future[Operand]:
        """As `modsub`, without waiting."""
        return self._submit(keycall.modsub(a, b, mod), driver)

    def modmult(
        self,
        a: Operand,
        b: Number,
        mod: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> Operand:
        """Return ``a * b % mod``."""
        return self._wait(keycall.modmult(a, b, mod), timeout, driver)

    def submit_modmult(
        self, a: Operand, b: Number, mod: Number, *, driver: Which = None
    ) -> Future[Operand]:
        """As `modmult`, without waiting."""
        return self._submit(keycall.modmult(a, b, mod), driver)

    def modaddinv(
        self, a: Operand, mod: Number, *, timeout: float | None = None, driver: Which = None
    ) -> Operand:
        """Return ``-a % mod``."""
        return self._wait(keycall.modaddinv(a, mod), timeout, driver)

    def submit_modaddinv(self, a: Operand, mod: Number, *, driver: Which = None) -> Future[Operand]:
        """As `modaddinv`, without waiting."""
        return self._submit(keycall.modaddinv(a, mod), driver)

    def modmultinv(
        self, a: Operand, mod: Number, *, timeout: float | None = None, driver: Which = None
    ) -> Operand:
        """Return the inverse of `a` modulo `mod`; UsageError if there is none."""
        return self._wait(keycall.modmultinv(a, mod), timeout, driver)

    def submit_modmultinv(
        self, a: Operand, mod: Number, *, driver: Which = None
    ) -> Future[Operand]:
        """As `modmultinv`, without waiting."""
        return self._submit(keycall.modmultinv(a, mod), driver)

    def mod(
        self, a: Operand, mod: Number, *, timeout: float | None = None, driver: Which = None
    ) -> Operand:
        """Return ``a % mod``."""
        return self._wait(keycall.mod(a, mod), timeout, driver)

    def submit_mod(self, a: Operand, mod: Number, *, driver: Which = None) -> Future[Operand]:
        """As `mod`, without waiting."""
        return self._submit(keycall.mod(a, mod), driver)

    def _wait(self, call: KeyCall[T], timeout: float | None, driver: Which) -> T:
        """Carry an operation out, and wait for its answer."""
        deadline = Deadline(None if timeout is None else check_seconds(timeout, "timeout"))
        bell = threading.Lock()
        bell.acquire()

        def ring(_: Cryptkop) -> None:
            call.over()
            bell.release()

        call.krp.callback = ring
        try:
            self.kdispatch(call.krp, driver=driver)
            if not bell.acquire(timeout=deadline.left()):
                raise deadline.passed(self.holders_of(call.krp))
        except BaseException:  # of a signal handler too: what comes now is wiped
            call.abandon()
            raise
        return call.answer()

    def _submit(self, call: KeyCall[T], driver: Which) -> Future[T]:
        """Carry an operation out; the driver's thread gives its answer to the future."""
        from concurrent.futures import Future

        future: Future[T] = Future()

        def settle(_: Cryptkop) -> None:
            call.over()
            if not future.set_running_or_notify_cancel():
                call.abandon()
                return
            try:
                answer = call.answer()
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(answer)

        call.krp.callback = settle
        self.kdispatch(call.krp, driver=driver)
        return future
