"""
opencrypto(9) as the man page has it: functions on the default framework, by its names.

Thin and without state: each function is one call of `opencrypto.Framework`. What differs is what
is said back, which is the man page's way: 0 or an errno, -1 for no driver id, None for no
request. Where C has an out-parameter the value follows the errno in a pair. Where the kernel
would panic (a request freed while in use, or completed twice), the call raises. The structures
are the framework's own, with the prefixed names of their fields: ``crp.crp_etype``. A port reads
in them what C has there: the end of a request in its flags and ``crp_olen``, a bad signature in
``krp_status``.

docs/opencrypto.9.md maps the page to the code.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from opencrypto import constants as _constants
from opencrypto._core.default import default_framework
from opencrypto._request.bsdnames import linked, own_arguments
from opencrypto._request.key import Crparam, Cryptkop
from opencrypto._request.sid import caps_of, hid_of, lid_of
from opencrypto._request.symmetric import Cryptodesc, Cryptoini, Cryptop
from opencrypto._state import RequestState
from opencrypto.constants import *
from opencrypto.constants import CRK_MAXPARAM, CRYPTO_F_DONE, CRYPTO_F_ONRETQ, ERESTART
from opencrypto.exceptions import CryptoError, UnknownSession, error_from_errno
from opencrypto.xform import FACTS, Kind

__all__ = [
    "CRYPTO_SESID2CAPS",
    "CRYPTO_SESID2HID",
    "CRYPTO_SESID2LID",
    "crparam",
    "cryptkop",
    "crypto_dispatch",
    "crypto_done",
    "crypto_freereq",
    "crypto_freesession",
    "crypto_get_driverid",
    "crypto_getfeat",
    "crypto_getreq",
    "crypto_kdispatch",
    "crypto_kdone",
    "crypto_kfreereq",
    "crypto_kgetreq",
    "crypto_kregister",
    "crypto_newsession",
    "crypto_register",
    "crypto_unblock",
    "crypto_unregister",
    "crypto_unregister_all",
    "cryptodesc",
    "cryptoini",
    "cryptop",
]
__all__ += [name for name in _constants.__all__ if name not in {"Alg", "EBADMSG", "EOK", "Kop"}]


# The structures. What the framework hands out is of the class below each; only who makes one
# himself needs these.


class cryptoini(Cryptoini):
    """``struct cryptoini``: a `Cryptoini` whose fields may be given by C's names too."""

    __slots__ = ()

    def __init__(self, *args: Any, **named: Any) -> None:
        _fill(self, Cryptoini, args, named)


class cryptodesc(Cryptodesc):
    """``struct cryptodesc``: a `Cryptodesc` whose fields may be given by C's names too."""

    __slots__ = ()

    def __init__(self, *args: Any, **named: Any) -> None:
        _fill(self, Cryptodesc, args, named)


class cryptop(Cryptop):
    """``struct cryptop``: a `Cryptop` whose fields may be given by C's names too."""

    __slots__ = ()

    def __init__(self, *args: Any, **named: Any) -> None:
        _fill(self, Cryptop, args, named)


class crparam(Crparam):
    """``struct crparam``: a `Crparam` whose fields may be given by C's names too."""

    __slots__ = ()

    def __init__(self, *args: Any, **named: Any) -> None:
        _fill(self, Crparam, args, named)


class cryptkop(Cryptkop):
    """``struct cryptkop``: a `Cryptkop` by C's names, with its slots for parameters."""

    __slots__ = ()

    def __init__(self, *args: Any, **named: Any) -> None:
        _fill(self, Cryptkop, args, named)
        missing = CRK_MAXPARAM - len(self.param)
        self.param += [crparam() for _ in range(missing)]


def _fill(made: Any, struct: Any, args: Iterable[Any], named: dict[str, Any]) -> None:
    before, after = own_arguments(struct, named)
    struct.__init__(made, *args, **before)
    for name, value in after.items():
        setattr(made, name, value)


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


def _number(*values: object) -> bool:
    return all(isinstance(value, int) for value in values)


# For drivers.


def crypto_get_driverid(flags: int) -> int:
    """Reserve a driver id; -1 if that fails (see `Framework.get_driverid`)."""
    if not _number(flags):
        return -1
    try:
        return default_framework().get_driverid(flags)
    except CryptoError:
        return -1


def crypto_register(
    hid: int,
    alg: int,
    maxoplen: int,
    flags: int,
    newsession: Callable[[Any, int, Cryptoini], int | tuple[int, int]] | None,
    freesession: Callable[[Any, int], object] | None,
    process: Callable[[Any, Cryptop, int], int] | None,
    arg: Any = None,
) -> int:
    """
    Offer an algorithm (see `Framework.register`); `maxoplen` is in **bits**.

    `newsession` gets `arg`, the driver id, which C has in the second argument on entry, and the
    first ``cryptoini``, linked by ``cri_next``; it returns ``(errno, lid)``, or the lid alone.
    What `process` returns is 0, ERESTART, or the errno that ends the request.

    Returns:
        0, or EINVAL: no such hid or algorithm, no callbacks yet, or the driver is leaving.
    """
    if not _number(hid, alg, maxoplen, flags) or not _callable(newsession, freesession, process):
        return errno.EINVAL
    framework = default_framework()
    opener = None if newsession is None else _opener(newsession, hid)
    worker = None if process is None else _worker(process, framework.done)
    return _said(framework.register, hid, alg, maxoplen, flags, opener, freesession, worker, arg)


def _callable(*callbacks: object) -> bool:
    return all(each is None or callable(each) for each in callbacks)


def _opener(
    newsession: Callable[[Any, int, Cryptoini], int | tuple[int, int]], hid: int
) -> Callable[[Any, Sequence[Cryptoini]], int]:
    def opener(arg: Any, ini: Sequence[Cryptoini]) -> int:
        answer = newsession(arg, hid, linked(ini))
        if not isinstance(answer, tuple):
            return answer
        code, lid = answer
        if code:
            raise error_from_errno(code)
        return lid

    return opener


def _worker(
    process: Callable[[Any, Any, int], int], done: Callable[[Any], None]
) -> Callable[[Any, Any, int], int]:
    """Have an errno that a driver returns end the request, unless it ended that itself before."""

    def worker(arg: Any, request: Any, hint: int) -> int:
        answer = process(arg, request, hint)
        if answer == ERESTART or not _number(answer) or answer <= 0:
            return answer
        if request.state == RequestState.SUBMITTED:
            request.fail(answer)
            done(request)
        return 0

    return worker


def crypto_kregister(
    hid: int,
    kalg: int,
    flags: int,
    kprocess: Callable[[Any, Cryptkop, int], int] | None,
    karg: Any = None,
) -> int:
    """Offer a key operation (see `Framework.kregister`); 0, or EINVAL as for `crypto_register`."""
    if not _number(hid, kalg, flags) or not _callable(kprocess):
        return errno.EINVAL
    framework = default_framework()
    worker = None if kprocess is None else _worker(kprocess, framework.kdone)
    return _said(framework.kregister, hid, kalg, flags, worker, karg)


def crypto_unregister(hid: int, alg: int) -> int:
    """Withdraw an algorithm; 0, or EINVAL if the driver has not registered it."""
    if not _number(hid, alg):
        return errno.EINVAL
    return _said(default_framework().unregister, hid, alg)


def crypto_unregister_all(hid: int) -> int:
    """Withdraw a driver: its sessions migrate; 0, or EINVAL if there is none."""
    if not _number(hid):
        return errno.EINVAL
    return _said(default_framework().unregister_all, hid)


def crypto_unblock(hid: int, what: int) -> int:
    """Say that a driver takes requests again after ERESTART; 0, or EINVAL if there is none."""
    if not _number(hid, what):
        return errno.EINVAL
    return _said(default_framework().unblock, hid, what)


def crypto_done(crp: Cryptop) -> None:
    """
    Complete a request.

    Raises:
        DriverBug: the driver does not hold it.
    """
    default_framework().done(crp)


def crypto_kdone(krp: Cryptkop) -> None:
    """
    Complete a key request.

    Raises:
        DriverBug: the driver does not hold it.
    """
    default_framework().kdone(krp)


# For consumers.


def crypto_newsession(ini: Cryptoini | Sequence[Cryptoini], hard: int) -> tuple[int, int]:
    """
    Open a session.

    Args:
        ini: The first of the algorithms, linked by ``cri_next``, or a sequence of them.
        hard: > 0 for hardware only, < 0 for software only, 0 for the best there is.

    Returns:
        ``(0, sid)``, or ``(errno, 0)``: EINVAL if no driver takes the chain or it is malformed,
        or the error of the last driver that refused.
    """
    chain = [ini] if isinstance(ini, Cryptoini) else ini
    sound = isinstance(chain, Sequence) and all(isinstance(each, Cryptoini) for each in chain)
    if not sound or not _number(hard):
        return errno.EINVAL, 0
    try:
        return 0, default_framework().newsession(ini, hard)
    except CryptoError as error:
        return error.errno or errno.EINVAL, 0


def crypto_freesession(sid: int) -> None:
    """
    Free a session; 0 does nothing.

    Raises:
        UnknownSession: there is none with this SID.
    """
    if not _number(sid):
        raise UnknownSession(f"a SID is a number, not {type(sid).__name__}")
    default_framework().freesession(sid)


def crypto_dispatch(crp: Cryptop | None) -> int:
    """
    Carry a request out; the outcome is in ``crp_etype`` when its callback is called.

    By then ``crp_flags`` has ``CRYPTO_F_DONE``, and ``crp_olen`` the length of the result.

    Returns:
        0; EINVAL if there is no request, no callback to call, or a field of another type;
        EBUSY if the request is under way already.
    """
    if not isinstance(crp, Cryptop) or not _number(crp.crp_sid, crp.crp_ilen, crp.crp_flags):
        return errno.EINVAL
    return _dispatch(crp, default_framework().dispatch, _symmetric_answer)


def crypto_kdispatch(krp: Cryptkop | None) -> int:
    """
    Carry a key operation out; as `crypto_dispatch`, with ``krp_status``.

    There a bad signature is EBADMSG: C has no other place for a verdict.
    """
    if not isinstance(krp, Cryptkop) or not _number(
        krp.krp_op, krp.krp_iparams, krp.krp_oparams, krp.krp_flags
    ):
        return errno.EINVAL
    if not isinstance(krp.krp_param, Sequence):
        return errno.EINVAL
    return _dispatch(krp, default_framework().kdispatch, _key_answer)


def _dispatch(request: Any, dispatch: Callable[[Any], None], answer: Callable[[Any], None]) -> int:
    """Dispatch a request whose end is first put into the fields where C has it."""
    if request.state:
        return _said(dispatch, request)  # which says why not; nothing of it may be changed
    consumer = request.callback
    if not callable(consumer):
        return errno.EINVAL

    def ended(request: Any) -> None:
        request.callback = consumer
        answer(request)
        request.flags |= CRYPTO_F_DONE
        consumer(request)

    request.callback = ended
    request.flags &= ~(CRYPTO_F_DONE | CRYPTO_F_ONRETQ)
    said = _said(dispatch, request)
    if said and request.callback is ended:
        request.callback = consumer
    return said


def _symmetric_answer(crp: Cryptop) -> None:
    """Say how long the result is, which a driver says where the length changes."""
    if not crp.etype and not any(_changes_length(crd.alg) for crd in crp.desc):
        crp.olen = crp.ilen


def _changes_length(alg: int) -> bool:
    return FACTS[alg].kind is Kind.COMP


def _key_answer(krp: Cryptkop) -> None:
    """Say by the status that a signature is bad."""
    if krp.verdict is False:
        krp.fail(errno.EBADMSG, "the signature is not good")


def crypto_getreq(num: int) -> Cryptop | None:
    """Take a request with `num` descriptors; None over the limit of the return queue."""
    if not _number(num):
        return None
    try:
        return default_framework().getreq(num)
    except CryptoError:
        return None


def crypto_freereq(crp: Cryptop | None) -> None:
    """
    Give a request back.

    Raises:
        BusyError: it is under way.
    """
    default_framework().freereq(crp)


def crypto_kgetreq(num: int, prflags: int = 0) -> cryptkop | None:
    """
    Take a key request with its ``CRK_MAXPARAM`` slots for parameters.

    `num` must be 1, `prflags` means nothing here. None as above.
    """
    try:
        return None if default_framework().kgetreq(num) is None else cryptkop()
    except CryptoError:
        return None


def crypto_kfreereq(krp: Cryptkop | None) -> None:
    """
    Give a key request back.

    Raises:
        BusyError: it is under way.
    """
    default_framework().kfreereq(krp)


def crypto_getfeat() -> tuple[int, int]:
    """Return 0 and the mask of key operations, ``CRF_*``; it is 0 without kern.userasymcrypto."""
    return 0, default_framework().getfeat()
