"""
What a bound socket holds: the algorithm, its key and tag size, and how many operations use them.

As in the kernel, key and tag size stay as they are while an operation socket is open (EBUSY), and
those that are open outlive the socket that they came of.
"""

from __future__ import annotations

import errno
import sys
import threading

from opencrypto import Alg, CryptoError, Framework, KeySerial
from opencrypto.chain import BytesLike
from opencrypto.client import Hasher, Session
from opencrypto.xform import AEAD_PARTNERS, FACTS
from opencrypto_algsocket.aead import AeadOperation
from opencrypto_algsocket.asking import Asked
from opencrypto_algsocket.ciphers import CipherOperation
from opencrypto_algsocket.errors import as_kernel, refused
from opencrypto_algsocket.hashes import HashOperation
from opencrypto_algsocket.keys import chain_of
from opencrypto_algsocket.names import Bound
from opencrypto_algsocket.numbers import (
    ALG_SET_AEAD_AUTHSIZE,
    ALG_SET_DRBG_ENTROPY,
    ALG_SET_KEY,
    ALG_SET_KEY_BY_KEY_SERIAL,
)
from opencrypto_algsocket.rngs import RngOperation, Source
from opencrypto_algsocket.waiting import Operation

_ORDER = sys.byteorder


class Transform:
    """
    One transform, which a socket and its operation sockets share.

    Args:
        framework: Where its sessions are opened.
        bound: What it is.
    """

    def __init__(self, framework: Framework, bound: Bound) -> None:
        self.bound = bound
        self._framework = framework
        self._lock = threading.Lock()  # guards what follows
        self._users = 1
        self._operations = 0  # of those, that work under the key
        self._key: bytearray | KeySerial | None = None
        self._taglen = 0
        self._session: Asked | Session | None = None
        self._source = Source(framework, bound) if bound.type == "rng" else None
        if bound.type != "rng" and not any(part.takes_key for part in bound.parts):
            self._open()

    @property
    def digest_size(self) -> int:
        """The length in **bytes** of what a hash answers with."""
        part = self.bound.parts[-1]
        return part.mlen or FACTS[part.alg].digest

    def set(self, option: int, value: bytes | int) -> None:
        """
        Set an option of SOL_ALG.

        Raises:
            OSError: EBUSY while operation sockets are open; ENOPROTOOPT for an option that the type
                does not have; EINVAL for a value that it does not take; ENOSYS for the key of a
                hash that has none.
        """
        setters = {
            ALG_SET_KEY: self._set_key,
            ALG_SET_KEY_BY_KEY_SERIAL: self._set_serial,
            ALG_SET_AEAD_AUTHSIZE: self._set_taglen,
            ALG_SET_DRBG_ENTROPY: self._set_entropy,
        }
        setter = setters.get(option)
        if setter is None:
            raise refused(errno.ENOPROTOOPT, f"SOL_ALG has no option {option}")
        with self._lock:
            if self._operations:
                raise refused(errno.EBUSY, "an operation socket is open; close it first")
            setter(value)

    def _set_key(self, value: bytes | int) -> None:
        key = _bytes(value)
        if self._source is not None:
            self._source.seed(key)
            return
        if not any(part.takes_key for part in self.bound.parts):
            code = errno.ENOSYS if self.bound.type == "hash" else errno.EINVAL
            if key or code == errno.ENOSYS:
                raise refused(code, f"{self.bound.name} takes no key")
            return
        self._rekey(bytearray(key))

    def _rekey(self, key: bytearray | KeySerial) -> None:
        """Take another key; where it is refused there is none, as in the kernel."""
        if self.bound.type == "skcipher" and not self._may_be_key(len(key)):
            chain_of(self.bound, key, 0)  # raises, and the one before stays
        before, self._key = self._key, key
        _wipe(before)
        try:
            self._open()
        except BaseException:
            self._key = None
            session, self._session = self._session, None
            _wipe(key)
            if session is not None:
                session.close()
            raise

    def _may_be_key(self, length: int) -> bool:
        """Tell whether a length lies between the cipher's shortest key and its longest."""
        lengths = self.bound.parts[0].keys
        return lengths is None or min(lengths) <= length <= max(lengths)

    def _set_serial(self, value: bytes | int) -> None:
        """Take a key out of the kernel's keyring; the drivers that can have sessions of it."""
        serial = value if isinstance(value, int) else int.from_bytes(value[:4], _ORDER)
        lengths = sorted(self.bound.parts[0].keys or (32,), reverse=True)
        refusal: OSError | None = None
        for length in lengths:
            try:
                self._rekey(KeySerial(serial, length))
                return
            except (OSError, CryptoError) as error:
                refusal = refusal or refused(errno.ENOPROTOOPT, str(error))
        raise refusal or refused(errno.ENOPROTOOPT, "no driver takes keys by serial number")

    def _set_taglen(self, value: bytes | int) -> None:
        if self.bound.type != "aead":
            raise refused(errno.ENOPROTOOPT, f"{self.bound.name} has no tag")
        # The size is the option's length; of a number the kernel makes 4, the length of an int.
        if isinstance(value, int):
            raise refused(errno.EINVAL, "the size of a tag is the option's length: give None, size")
        size = len(value)
        if size not in self._tags():
            raise refused(errno.EINVAL, f"{self.bound.name} makes no tag of {size} bytes")
        before, self._taglen = self._taglen, size
        if self._key is not None:
            try:
                self._open()
            except BaseException:
                self._taglen = before
                raise

    def _tags(self) -> frozenset[int] | range:
        part = self.bound.parts[-1]
        macs = FACTS[min(AEAD_PARTNERS[part.alg]) if part.joined else part.alg].macs
        if self.bound.name.startswith("rfc4106"):
            return frozenset({8, 12, 16})
        return macs

    def _set_entropy(self, value: bytes | int) -> None:
        if self._source is None:
            raise refused(errno.ENOPROTOOPT, f"{self.bound.name} is no generator")
        self._source.set_entropy(_bytes(value))

    def _open(self) -> None:
        """Open the session of the key and tag size as they are now; the one before is freed."""
        before = self._session
        chain = chain_of(self.bound, self._key_bytes(), self._taglen)
        if self.bound.type == "hash":
            try:
                self._session = Session(
                    chain,
                    framework=self._framework,
                    hard=self.bound.hard,
                    driver=self.bound.driver,
                )
            except CryptoError as error:
                raise as_kernel(error) from None
        else:
            self._session = Asked(self._framework, self.bound, chain)
        if before is not None:
            before.close()

    def _key_bytes(self) -> BytesLike | KeySerial:
        return b"" if self._key is None else self._key

    def operation(self, room: int) -> tuple[Operation, Use]:
        """Make what stands behind a new operation socket of `room` bytes, and count it."""
        use = Use(self)
        return self._made(room, use), use

    def _made(self, room: int, use: Use) -> Operation:
        if self._source is not None:
            return RngOperation(self._source)
        if self.bound.type == "hash":
            return HashOperation(self.digest_size, use.hasher, use.check_key)
        if self.bound.type == "skcipher":
            return CipherOperation(self.bound, use.asked, room)
        return AeadOperation(self.bound, use.asked, self._half, self._tag, room)

    def enter(self) -> bool:
        """Count a socket; tell whether it works under a key, which then stays."""
        with self._lock:
            self._users += 1
            return self._claimed()

    def claim(self) -> bool:
        """Have the key stay as it is while an operation socket is open; tell whether it is set."""
        with self._lock:
            return self._claimed()

    def _claimed(self) -> bool:
        keyed = self._source is not None or self._session is not None
        self._operations += keyed
        return keyed

    @property
    def asked(self) -> Asked:
        """The session of ciphers."""
        assert isinstance(self._session, Asked)
        return self._session

    def hasher(self) -> Hasher:
        """Begin a message of a hash."""
        assert isinstance(self._session, Session)
        try:
            return self._session.hasher()
        except CryptoError as error:
            raise as_kernel(error) from None

    def _half(self) -> Alg:
        part = self.bound.parts[-1]
        return part.half(len(self._key_bytes())) if part.joined else part.alg

    def _tag(self) -> int:
        part = self.bound.parts[-1]
        return self._taglen or part.mlen or FACTS[part.alg].digest

    def leave(self, *, keyed: bool = False) -> None:
        """Count a socket that was closed; with the last one the key goes."""
        with self._lock:
            self._users -= 1
            self._operations -= keyed
            if self._users:
                return
            session, self._session = self._session, None
            key, self._key = self._key, None
        _wipe(key)
        if session is not None:
            session.close()
        if self._source is not None:
            self._source.close()


class Use:
    """
    One operation socket's use of a transform. It may be opened before there is a key.

    Args:
        transform: Whose key it works under.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform
        self._keyed = transform.enter()
        self._left = False

    def check_key(self) -> None:
        """Refuse to work without a key (ENOKEY); from now on it stays."""
        if not self._keyed:
            self._keyed = self.transform.claim()
        if not self._keyed:
            raise refused(errno.ENOKEY, f"{self.transform.bound.name} needs a key; set ALG_SET_KEY")

    def asked(self) -> Asked:
        """Return the session to ask (ENOKEY without a key)."""
        self.check_key()
        return self.transform.asked

    def hasher(self) -> Hasher:
        """Begin a message (ENOKEY without a key)."""
        self.check_key()
        return self.transform.hasher()

    def another(self) -> Use:
        """Count an operation socket that was cloned."""
        return Use(self.transform)

    def end(self) -> None:
        """Let go of the transform; once."""
        if not self._left:
            self._left = True
            self.transform.leave(keyed=self._keyed)


def _wipe(key: bytearray | KeySerial | None) -> None:
    if isinstance(key, bytearray):
        key[:] = bytes(len(key))


def _bytes(value: bytes | int) -> bytes:
    return value if not isinstance(value, int) else value.to_bytes(4, _ORDER)
