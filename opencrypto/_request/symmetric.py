"""
What a consumer fills in and a driver reads: requests, descriptors, and session parameters.

The classes are ``struct cryptop`` and its companions with the prefix stripped. They hold data;
the framework alone moves them through their states.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol, Self

from opencrypto._facts import FACTS
from opencrypto._names import Named, algorithm
from opencrypto._request.bsdnames import CryptodescNames, CryptoiniNames, CryptopNames
from opencrypto._request.buffer import BytesLike, flat
from opencrypto._request.sid import LID, hid_of
from opencrypto._state import RequestState
from opencrypto.exceptions import CryptoError, SessionMigrated, UsageError, error_from_errno

DECOMPRESSED_LIMIT: Final = 64 << 20
"""How many bytes one request may decompress to unless its session says otherwise."""


def alg_name(alg: int) -> str:
    """Name an algorithm number for people, whether or not it is known."""
    return FACTS[alg].name if alg in FACTS else f"algorithm {alg!r}"


class KeySerial:
    """
    In place of a key: the serial number of one that the system's kernel keeps.

    The key itself never comes into this process. Only drivers whose work is the kernel's take
    sessions of it (``Driver.key_serials``); the others are passed over.

    Attributes:
        serial: The number, as ``keyctl`` prints it.
        length: Its length in **bytes**.
    """

    __slots__ = ("_length", "_serial")

    def __init__(self, serial: int, length: int) -> None:
        self._serial = serial
        self._length = length

    @property
    def serial(self) -> int:
        """The number."""
        return self._serial

    @property
    def length(self) -> int:
        """The bytes of the key."""
        return self._length

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, KeySerial):
            return NotImplemented
        return (self._serial, self._length) == (other._serial, other._length)

    def __hash__(self) -> int:
        return hash((self._serial, self._length))

    def __repr__(self) -> str:
        return f"KeySerial(serial={self._serial!r}, length={self._length!r})"


def _key_bits(key: BytesLike | KeySerial) -> int:
    """Return the length of a key, or 0 of what is none: the session that is given it says so."""
    try:
        return 8 * len(key if isinstance(key, KeySerial) else flat(key, "a key"))
    except UsageError:
        return 0


def _called(alg: object) -> Named | None:
    """Look a name up; what is none is for the session to refuse."""
    if isinstance(alg, str):
        return algorithm(alg)
    return alg if isinstance(alg, Named) else None


def _mac_bytes(named: Named, asked: int) -> int:
    """Return how many bytes of MAC a session by name has; one may ask for fewer than it says."""
    if named.mlen and asked > named.mlen:
        raise UsageError(f"{named.name} has a MAC of {named.mlen} bytes, and mlen asks for {asked}")
    return asked or named.mlen


class FreshIvs(Protocol):
    """Where the fresh IVs of one algorithm of one session come from."""

    def fresh(self) -> bytes:
        """Return an IV that was never returned before."""


class Cryptoini(CryptoiniNames):
    """
    The parameters of one algorithm of a session (``struct cryptoini``).

    Args:
        alg: The algorithm, one of ``CRYPTO_*``; or the name of one algorithm or one authenticated
            cipher (see `opencrypto.xform.named`), of which a session makes both halves; or what
            `opencrypto.xform.algorithm` makes of a name. The attribute is the number.
        key: The key; counter modes and GCM have their nonce or salt at its end (RFC 3686, 4106).
            Or a `KeySerial`.
        klen: The key's length in **bits**; taken from `key` if not given.
        rnd: Rounds; 0, since no algorithm here has a choice of them.
        iv: The IV of a request, when its descriptor says ``CRD_F_IV_EXPLICIT``.
        mlen: How many **bytes** of MAC to inject or verify; 0 for what the name says, and for a
            number the algorithm's usual length.
        limit: How many **bytes** one request may decompress to; 0 for `DECOMPRESSED_LIMIT`.

    Raises:
        UsageError: nothing is called so, or the key or `mlen` is not as long as the name says.
    """

    __slots__ = ("_next", "alg", "iv", "ivs", "key", "klen", "limit", "mlen", "named", "rnd")

    def __init__(
        self,
        alg: int | str | Named = 0,
        key: BytesLike | KeySerial | None = None,
        klen: int = 0,
        rnd: int = 0,
        iv: BytesLike | None = None,
        mlen: int = 0,
        limit: int = 0,
    ) -> None:
        named = None
        if not isinstance(alg, int):
            named = _called(alg)
            if named is not None:
                alg, mlen = int(named.alg), _mac_bytes(named, mlen)
        self.named: Named | None = named
        self.alg: int = alg  # type: ignore[assignment]  # or what the session refuses
        # Drivers that take no serial numbers, nearly all, are never given one.
        self.key: BytesLike | None = key  # type: ignore[assignment]  # as if there were none
        self.klen = klen or (0 if key is None else _key_bits(key))
        self.rnd = rnd
        self.iv = iv
        self.mlen = mlen
        self.limit = limit
        self._next: Cryptoini | None = None
        self.ivs: FreshIvs | None = None  # of a session's own parameters
        if named is not None and self.klen:
            named.check_key(self.klen // 8)

    def reset(self) -> None:
        """Set every field to its zero."""
        self.alg = self.klen = self.rnd = self.mlen = self.limit = 0
        self.key = self.iv = self._next = self.ivs = self.named = None

    def copy(self) -> Cryptoini:
        """
        Return a record of the same values, as an assignment of the structure in C makes one.

        The key is the same object, which C has a pointer to; the IV, which C has in the record,
        is copied.
        """
        iv = bytes(self.iv) if isinstance(self.iv, BytesLike) else self.iv
        made = Cryptoini(self.alg, self.key, self.klen, self.rnd, iv, self.mlen, self.limit)
        made.klen = self.klen
        made.named = self.named
        made._next = self._next
        return made

    def fresh_iv(self) -> bytes:
        """
        Return an IV never used before in this session. For drivers, on the `ini` they were given.

        Raises:
            UsageError: these parameters belong to no session, or the algorithm takes no IV.
        """
        if self.ivs is None:
            raise UsageError("only the parameters a driver got at newsession make fresh IVs")
        return self.ivs.fresh()

    def __repr__(self) -> str:
        return f"<Cryptoini {alg_name(self.alg)} klen={self.klen} mlen={self.mlen}>"


class Cryptodesc(CryptodescNames):
    """
    One operation of a request: which region, which algorithm (``struct cryptodesc``).

    `skip` and `len` give the region, `inject` where the IV (ciphers) or the MAC (authenticators)
    stands, all in **bytes** from the start of the buffer. `flags` are ``CRD_F_*``.
    """

    __slots__ = ("_next", "_own", "flags", "ini", "inject", "len", "skip")

    def __init__(
        self,
        skip: int = 0,
        len: int = 0,
        inject: int = 0,
        flags: int = 0,
        ini: Cryptoini | None = None,
        *,
        alg: int = 0,
        iv: BytesLike | None = None,
    ) -> None:
        self.skip = skip
        self.len = len
        self.inject = inject
        self.flags = flags
        self._own = Cryptoini(alg, iv=iv) if ini is None else None
        self.ini: Cryptoini = self._own or ini  # type: ignore[assignment]  # one of them is there
        self._next: Cryptodesc | None = None

    @property
    def alg(self) -> int:
        """The algorithm; short for ``ini.alg``."""
        return self.ini.alg

    @alg.setter
    def alg(self, value: int) -> None:
        self.ini.alg = value

    @property
    def klen(self) -> int:
        """Key length in bits; short for ``ini.klen``."""
        return self.ini.klen

    @klen.setter
    def klen(self, value: int) -> None:
        self.ini.klen = value

    @property
    def rnd(self) -> int:
        """Rounds; short for ``ini.rnd``."""
        return self.ini.rnd

    @rnd.setter
    def rnd(self, value: int) -> None:
        self.ini.rnd = value

    @property
    def key(self) -> BytesLike | None:
        """The key, which sessions ignore here; short for ``ini.key``."""
        return self.ini.key

    @key.setter
    def key(self, value: BytesLike | None) -> None:
        self.ini.key = value

    @property
    def iv(self) -> BytesLike | None:
        """The explicit IV; short for ``ini.iv``."""
        return self.ini.iv

    @iv.setter
    def iv(self, value: BytesLike | None) -> None:
        self.ini.iv = value

    def reset(self) -> None:
        """Set every field to its zero, as a new descriptor has it."""
        self.skip = self.len = self.inject = self.flags = 0
        ini = self._own
        if ini is None:
            ini = self._own = Cryptoini()
        else:
            ini.reset()
        self.ini = ini

    def __repr__(self) -> str:
        return (
            f"<Cryptodesc {alg_name(self.alg)} skip={self.skip} len={self.len} "
            f"inject={self.inject} flags={self.flags:#x}>"
        )


class Cryptop(CryptopNames):
    """
    A request (``struct cryptop``): a buffer, and the chain of operations on it.

    Attributes:
        sid: The session; on EAGAIN, the session to dispatch again with.
        ilen: Bytes of input in `buf`: for the statistics, 0 to 2**48 - 1.
        olen: Bytes of output, where an operation changes the length.
        etype: 0, or the errno of what went wrong; valid when the callback runs.
        flags: ``CRYPTO_F_*``.
        buf: A writable bytes-like object, a sequence of them, or an `Mbuf`.
        opaque: The consumer's own; nobody else touches it.
        desc: The descriptors, in the order in which they are carried out.
        callback: Called once with the request when it is complete.
        mac: Where MACs go, if not into the buffer at ``inject``.
        error: One sentence to `etype`, if it is known.
    """

    __slots__ = (
        "_own", "buf", "callback", "desc", "error", "etype", "flags", "holder", "ilen", "mac",
        "olen", "opaque", "sid", "since", "stamps", "state",
    )  # fmt: skip

    desc: Sequence[Cryptodesc]
    buf: Any
    mac: bytearray | memoryview | None
    callback: Callable[[Cryptop], object] | None

    def __init__(
        self,
        sid: int = 0,
        buf: Any = None,
        desc: Iterable[Cryptodesc] = (),
        callback: Callable[[Cryptop], object] | None = None,
        flags: int = 0,
        *,
        opaque: Any = None,
        mac: bytearray | memoryview | None = None,
    ) -> None:
        self.sid = sid
        self.ilen = 0
        self.olen = 0
        self.etype = 0
        self.flags = flags
        self.buf = buf
        self.opaque = opaque
        self.desc = list(desc)
        self.callback = callback
        self.mac = mac
        self.error = ""
        self.state: int = RequestState.IDLE
        self.holder: Any = None  # its session, while the framework has it
        # The descriptors that getreq made, with which the request goes back to the pool.
        self._own: tuple[Cryptodesc, ...] = ()
        self.since = 0.0  # when it was queued, or not answered at once; of `time.monotonic`
        self.stamps: Any = None  # its moments, while somebody watches (`_measure.watcher`)

    def keep_descriptors(self) -> Self:
        """Keep the descriptors it has now, with which it goes back to a pool; return it."""
        self._own = tuple(self.desc)
        return self

    @property
    def made_with(self) -> int:
        """How many descriptors it keeps; 0 if it comes from no pool."""
        return len(self._own)

    @property
    def hid(self) -> int:
        """The driver's id, as the SID names it."""
        return hid_of(self.sid)

    @property
    def lid(self) -> int:
        """The driver's own number of the session, as the SID names it."""
        return self.sid & LID  # no call: drivers ask this of each request

    def fail(self, etype: int, error: str = "") -> None:
        """Record what went wrong; the driver then calls ``done`` as ever."""
        self.etype = etype
        self.error = error

    def fail_for(self, error: CryptoError) -> None:
        """Record a typed error as what went wrong: its errno and its sentence."""
        self.fail(error.errno or errno.EINVAL, error.strerror or "")

    def check(self) -> None:
        """
        Raise the typed error of `etype`, if it is not 0.

        Raises:
            CryptoError: the subclass that ``etype`` stands for (see `ERRNO_CLASSES`).
        """
        if not self.etype:
            return
        if self.etype == errno.EAGAIN:
            raise SessionMigrated(self.error or "the session has moved; dispatch again", self.sid)
        raise error_from_errno(self.etype, self.error)

    def reset(self) -> None:
        """Set every field to its zero, as ``getreq`` hands a request out."""
        self.sid = self.ilen = self.olen = self.etype = self.flags = 0
        self.buf = self.opaque = self.callback = self.mac = None
        self.error = ""
        for crd in self._own:
            crd.reset()
        self.desc = list(self._own)

    def __repr__(self) -> str:
        return (
            f"<Cryptop sid={self.hid}:{self.lid} {RequestState(self.state).name} "
            f"etype={self.etype} flags={self.flags:#x} desc={self.desc!r}>"
        )
