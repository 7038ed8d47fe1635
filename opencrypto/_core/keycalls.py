"""
The calls of opencrypto(9) for key operations, as `Framework` has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opencrypto._core.attach import Attachments
from opencrypto._core.key_requests import KeyOps
from opencrypto._core.returns import ReturnQueue
from opencrypto._core.slots import DriverTable
from opencrypto._core.views import Settings
from opencrypto._request.key import Cryptkop
from opencrypto._state import REQUEST, RequestEvent, RequestState, step
from opencrypto.driver import Driver
from opencrypto.exceptions import BusyError, UsageError


class KeyCalls:
    """Half of `Framework`: what it is made of, it makes itself."""

    _attachments: Attachments
    _drivers: DriverTable
    _keyops: KeyOps
    _retkq: ReturnQueue[Cryptkop]
    _settings: Settings

    # Drivers.

    def kregister(
        self, hid: int, op: int, flags: int, kprocess: Callable[..., int] | None, arg: Any = None
    ) -> None:
        """
        Offer a key operation. The first call for a hid installs the callback, later ones only add.

        Args:
            hid: From `get_driverid`.
            op: ``CRK_*``.
            flags: ``CRYPTO_ALG_FLAG_*``.
            kprocess: ``kprocess(arg, krp, hint) -> 0 | ERESTART``; it answers by `kdone`.
            arg: Handed to the callback first.

        Raises:
            UsageError: no such hid or operation, no callback yet, or the driver is leaving.
        """
        self._attachments.kregister(hid, op, flags, kprocess, arg)

    def kdone(self, krp: Cryptkop) -> None:
        """
        Complete a key request; for drivers.

        With ``status`` EAGAIN the request is not complete: it goes to another driver, and ends
        with ENODEV if there is none. Else it is called back, at once with ``CRYPTO_F_CBIMM`` (or
        ``CRYPTO_F_CBIFSYNC``, if the driver is ``CRYPTOCAP_F_SYNC``), or from the return queue.

        Raises:
            DriverBug: this request is not in a driver's hands; it was completed before.
        """
        self._keyops.done(krp)

    # Consumers.

    def kgetreq(self, n: int = 1) -> Cryptkop | None:
        """
        Take a key request, all fields zero.

        Args:
            n: How many; 1, as in the man page.

        Returns:
            The request; None while the return queue is over ``opencrypto.crypto_ret_kq.maxlen``.

        Raises:
            UsageError: `n` is not 1.
        """
        if n != 1:
            raise UsageError(f"kgetreq gives one request at a time, not {n!r}")
        if self._retkq.over():
            self._retkq.drop()
            return None
        return Cryptkop()

    def kfreereq(self, krp: Cryptkop | None) -> None:
        """
        Give a key request back. None does nothing. Its parameters stay the consumer's.

        Raises:
            BusyError: it is dispatched and not called back yet.
            UsageError: it has been freed already.
        """
        if krp is None:
            return
        if krp.state == RequestState.FREED:
            raise UsageError("the key request has been freed already; free it once")
        if krp.state:
            raise BusyError("the key request is in use; free it in its callback or after")
        krp.state = step(REQUEST, RequestState.IDLE, RequestEvent.FREEREQ)
        krp.reset()

    def kdispatch(self, krp: Cryptkop, *, driver: int | str | Driver | None = None) -> None:
        """
        Carry a key operation out; its callback is called exactly once, with ``status`` set.

        The driver is chosen here, for each request: drivers that take requests at the moment
        before blocked ones, hardware before software, then the one with the least key requests in
        flight. ``hid`` says which it was. ``status`` is EFBIG for more than 8 parameters; EINVAL
        for an unknown operation, a wrong number of parameters, or bad values; ERANGE if an output
        is too small; ENODEV if no driver has the operation, or the last that had it left.

        Args:
            krp: The request. The outputs are written when it is complete and ``status`` is 0.
            driver: Take this driver, by hid, name or object, and no other.

        Raises:
            UsageError: the request has no callback, has been freed, or no such driver.
            BusyError: it is dispatched already.
        """
        self._keyops.dispatch(krp, None if driver is None else self._drivers.find(driver))

    def getfeat(self, hard: int = 0) -> int:
        """
        Return which key operations there are drivers for, as a mask of ``CRF_*``.

        Args:
            hard: The classes of driver asked for, as for `newsession`.

        Returns:
            The mask; 0 while ``kern.userasymcrypto`` is 0.
        """
        return self._keyops.features(hard) if self._settings.userasymcrypto else 0
