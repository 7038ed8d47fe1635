"""
The functions of `opencrypto.bsd`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

from opencrypto._core.framework import default_framework
from opencrypto._request.bsdnames import linked
from opencrypto._request.key import Cryptkop as cryptkop
from opencrypto._request.sid import caps_of, hid_of, lid_of
from opencrypto._request.symmetric import Cryptoini as cryptoini
from opencrypto._request.symmetric import Cryptop as cryptop
from opencrypto.exceptions import CryptoError, error_from_errno


def CRYPTO_SESID2HID(sid: int) -> int:
    """Return the driver id in a SID; that of SID 0 is -1."""
    return hid_of(sid)


def CRYPTO_SESID2LID(sid: int) -> int:
    """Return the driver's own number of a session."""
    return lid_of(sid)


def CRYPTO_SESID2CAPS(sid: int) -> int:
    """Return the capability flags in a SID, which nobody fills in: 0."""
    return caps_of(sid)


def _said(call: Callable[..., object], *args: Any) -> int:
    try:
        call(*args)
    except CryptoError as error:
        return error.errno or errno.EINVAL
    return 0


# For drivers.


def crypto_get_driverid(flags: int) -> int:
    """Reserve a driver id; -1 if that fails (see `Framework.get_driverid`)."""
    try:
        return default_framework().get_driverid(flags)
    except CryptoError:
        return -1


def crypto_register(
    hid: int,
    alg: int,
    maxoplen: int,
    flags: int,
    newsession: Callable[[Any, cryptoini], int | tuple[int, int]] | None,
    freesession: Callable[[Any, int], object] | None,
    process: Callable[[Any, cryptop, int], int] | None,
    arg: Any = None,
) -> int:
    """
    Offer an algorithm (see `Framework.register`); `maxoplen` is in **bits**.

    `newsession` gets `arg` and the first ``cryptoini``, linked by ``cri_next``; it returns
    ``(errno, lid)``, or the lid alone.

    Returns:
        0, or EINVAL: no such hid or algorithm, no callbacks yet, or the driver is leaving.
    """
    opener = None if newsession is None else _opener(newsession)
    register = default_framework().register
    return _said(register, hid, alg, maxoplen, flags, opener, freesession, process, arg)


def _opener(
    newsession: Callable[[Any, cryptoini], int | tuple[int, int]],
) -> Callable[[Any, Sequence[cryptoini]], int]:
    def opener(arg: Any, ini: Sequence[cryptoini]) -> int:
        answer = newsession(arg, linked(ini))
        if not isinstance(answer, tuple):
            return answer
        code, lid = answer
        if code:
            raise error_from_errno(code)
        return lid

    return opener


def crypto_kregister(
    hid: int,
    kalg: int,
    flags: int,
    kprocess: Callable[[Any, cryptkop, int], int] | None,
    karg: Any = None,
) -> int:
    """Offer a key operation (see `Framework.kregister`); 0, or EINVAL as for `crypto_register`."""
    return _said(default_framework().kregister, hid, kalg, flags, kprocess, karg)


def crypto_unregister(hid: int, alg: int) -> int:
    """Withdraw an algorithm; 0, or EINVAL if the driver has it not."""
    return _said(default_framework().unregister, hid, alg)


def crypto_unregister_all(hid: int) -> int:
    """Withdraw a driver: its sessions migrate; 0, or EINVAL if there is none."""
    return _said(default_framework().unregister_all, hid)


def crypto_unblock(hid: int, what: int) -> int:
    """Have requests again after ERESTART; 0, or EINVAL if there is no such driver."""
    return _said(default_framework().unblock, hid, what)


def crypto_done(crp: cryptop) -> None:
    """Complete a request. Raises DriverBug if the driver does not hold it."""
    default_framework().done(crp)


def crypto_kdone(krp: cryptkop) -> None:
    """Complete a key request. Raises DriverBug if the driver does not hold it."""
    default_framework().kdone(krp)


# For consumers.


def crypto_newsession(ini: cryptoini | Sequence[cryptoini], hard: int) -> tuple[int, int]:
    """
    Open a session.

    Args:
        ini: The first of the algorithms, linked by ``cri_next``, or a sequence of them.
        hard: > 0 for hardware only, < 0 for software only, 0 for the best there is.

    Returns:
        ``(0, sid)``, or ``(errno, 0)``: EINVAL if no driver takes the chain or it is malformed,
        or the error of the last driver that refused.
    """
    try:
        return 0, default_framework().newsession(ini, hard)
    except CryptoError as error:
        return error.errno or errno.EINVAL, 0


def crypto_freesession(sid: int) -> None:
    """Free a session; 0 does nothing. Raises UnknownSession if there is none."""
    default_framework().freesession(sid)


def crypto_dispatch(crp: cryptop) -> int:
    """
    Carry a request out; the outcome is in ``crp_etype`` when its callback is called.

    Returns:
        0, or EINVAL if there is no callback to call, EBUSY if the request is under way already.
    """
    return _said(default_framework().dispatch, crp)


def crypto_kdispatch(krp: cryptkop) -> int:
    """Carry a key operation out; as `crypto_dispatch`, with ``krp_status``."""
    return _said(default_framework().kdispatch, krp)


def crypto_getreq(num: int) -> cryptop | None:
    """Take a request with `num` descriptors; None over the limit of the return queue."""
    try:
        return default_framework().getreq(num)
    except CryptoError:
        return None


def crypto_freereq(crp: cryptop | None) -> None:
    """Give a request back. Raises BusyError if it is under way."""
    default_framework().freereq(crp)


def crypto_kgetreq(num: int, prflags: int = 0) -> cryptkop | None:
    """Take a key request; `num` must be 1, `prflags` means nothing here. None as above."""
    try:
        return default_framework().kgetreq(num)
    except CryptoError:
        return None


def crypto_kfreereq(krp: cryptkop | None) -> None:
    """Give a key request back. Raises BusyError if it is under way."""
    default_framework().kfreereq(krp)


def crypto_getfeat() -> tuple[int, int]:
    """Return 0 and the mask of key operations, ``CRF_*``; it is 0 without kern.userasymcrypto."""
    return 0, default_framework().getfeat()
