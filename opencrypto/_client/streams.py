"""
Messages in pieces, as programs have them: encryptors, decryptors and hashers of a session.

Each has a session of its own in the framework, with the keys of the one it was made of, so that any
number go on side by side; nothing of the message is kept here but the bytes of a block that is not
whole yet. What an encryptor gives out is what `Session.encrypt` would: the IV, the ciphertext, and
a MAC over the same bytes.
"""

from __future__ import annotations

import ctypes
import errno
import sys
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from opencrypto._client.deadline import Deadline
from opencrypto._client.subject import Subject
from opencrypto._request.buffer import BytesLike, byteview, flat
from opencrypto._request.symmetric import Cryptodesc, Cryptop
from opencrypto._rules.message import BORDER, Layout
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_MORE,
    CRD_F_VERIFY,
    CRYPTO_F_CBIMM,
    Alg,
)
from opencrypto.exceptions import AuthenticationError, CryptoError, UnknownSession, UsageError
from opencrypto.xform import FACTS

Open = Callable[[], int]
"""Opens the session of one message, and returns its SID."""

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MOVES: Final = 8
"""How often in a row the first piece follows its session to another driver before it gives up."""


class Stream:
    """
    One message in pieces. A context manager; for one thread at a time.

    One that is dropped in the midst of its message is freed, with a ResourceWarning.
    """

    _sid = 0  # until it is opened, and after it is closed

    def __init__(
        self, framework: Subject, opened: Open, layout: Layout, timeout: float | None
    ) -> None:
        self._framework = framework
        self._layout = layout
        self._timeout = timeout
        self._begun = False
        self._ended = False
        self._crp = Cryptop(flags=CRYPTO_F_CBIMM)
        self._crp.callback = self._ring
        self._answered = False
        self._bell: threading.Lock | None = None
        self._sid = opened()

    # Asking.

    def _ring(self, crp: Cryptop) -> None:
        """Note the answer; who waits for it shows the lock first, and then looks at the note."""
        self._answered = True
        bell = self._bell
        if bell is not None:
            bell.release()

    def _ask(self, buf: BytesLike, desc: list[Cryptodesc], mac: bytearray | None = None) -> None:
        """Send a piece and wait until it is done; raise what became of it if it failed."""
        if self._ended or not self._sid:
            self._require_open()
        deadline = None if self._timeout is None else Deadline(self._timeout)
        crp = self._crp
        crp.buf, crp.desc, crp.mac = buf, desc, mac
        crp.ilen = len(buf)
        for _ in range(MOVES + 1):
            crp.sid = self._sid
            self._answered, self._bell = False, None
            self._framework.dispatch(crp)
            if not self._answered:
                self._wait(deadline)
            if crp.etype != errno.EAGAIN or self._begun:
                break
            self._sid = crp.sid
        crp.buf = crp.mac = None  # nothing of ours keeps the program's memory
        if crp.etype:
            self._explain()
            self._end()
            crp.check()
        self._begun = True

    def _wait(self, deadline: Deadline | None) -> None:
        deadline = deadline or Deadline(None)
        bell = threading.Lock()
        bell.acquire()
        self._bell = bell
        if self._answered or bell.acquire(timeout=deadline.left()):
            return
        late = deadline.passed(self._framework.holders_of(self._crp))
        self._end()
        self._crp = Cryptop()  # the driver has the other one still
        raise late

    def _explain(self) -> None:
        if self._crp.etype == errno.ENOENT and self._framework.closed:
            self._crp.error = "the framework is closed, and this message with it"

    def _require_open(self) -> None:
        if self._ended:
            raise UsageError("this message has ended; begin another one")
        if not self._sid:
            raise UnknownSession("this message is closed; begin another one")

    def _end(self) -> None:
        """Note that nothing more comes of the message, and wipe what the driver keeps."""
        self._ended = True
        self._free()

    # Its end.

    def close(self) -> None:
        """Give the message up, and wipe what is kept of it. Closing again does nothing."""
        self._free()

    def _free(self) -> None:
        sid, self._sid = self._sid, 0
        try:
            self._framework.freesession(sid)
        except UnknownSession:
            pass  # the framework was closed first, and has freed it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(
        self,
        ending: Callable[[], bool] = sys.is_finalizing,
        warn: Callable[..., None] = warnings.warn,
    ) -> None:
        """Free a message that nobody closed, and say so; quietly where the program ends anyway."""
        if not self._sid or ending() or self._framework.closed:
            return
        name, told = repr(self), self._is_told()
        try:
            self.close()
        except CryptoError:
            pass  # somebody freed it by its number
        if not told:
            warn(
                f"unclosed {name}; finalize it, close it, or use with", ResourceWarning, source=self
            )

    def _is_told(self) -> bool:
        """Tell whether its program has what it wanted of it."""
        return self._ended

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._sid:#x}>"


class _CipherStream(Stream):
    """What encryptors and decryptors have in common."""

    _encrypts = 0

    def __init__(
        self,
        framework: Subject,
        opened: Open,
        layout: Layout,
        timeout: float | None,
        iv: BytesLike | None,
        aad: BytesLike,
    ) -> None:
        self._layout = layout
        self._iv = None if iv is None else _checked(iv, layout.ivlen)
        self._aad = bytearray(flat(aad, "aad"))
        self._aadlen = 0
        self._granule = 1 if layout.cipher is None else FACTS[layout.cipher].granule
        self._held = bytearray()  # of a block that is not whole yet
        if self._aad:
            self._require_authenticator()
        self._more = self._descriptors(self._cipher(0, 0, self._encrypts | CRD_F_MORE), (0, 0))
        super().__init__(framework, opened, layout, timeout)  # last: it opens what must be freed

    @property
    def iv(self) -> bytes:
        """The message's IV; a fresh one is made with the first look at it, or the first piece."""
        if self._iv is None:
            self._begin()
        assert self._iv is not None
        return self._iv

    def authenticate_additional_data(self, data: BytesLike) -> None:
        """
        Authenticate data that is not part of the message; before any of the message.

        Raises:
            UsageError: the message has begun, or nothing would authenticate it.
        """
        self._require_authenticator()
        self._require_open()
        if self._begun:
            raise UsageError("additional data comes before the message; it has begun")
        self._aad += flat(data, "data")

    def update(self, data: BytesLike) -> bytes:
        """
        Go on with the message; return what of it can be given out by now.

        A block cipher gives out whole blocks: what is left of `data` comes with the next piece.

        Raises:
            UsageError: the message has ended, or `data` is not bytes-like.
            DriverGone: the driver left in the midst of the message: begin it again.
            DriverTimeout: the answer did not come within the session's `timeout`.
            CryptoError: the driver failed.
        """
        work = self._held + flat(data, "data")
        size = self._hold(work)
        if not size:
            return b""
        try:
            self._crypt(memoryview(work)[:size])
            return bytes(memoryview(work)[:size])
        finally:
            if self._encrypts == 0:
                work[:] = bytes(len(work))  # it was plaintext

    def update_into(self, data: BytesLike, out: bytearray | memoryview) -> int:
        """
        As `update`, into memory of the program's: no copy is made if both are the same object.

        Args:
            data: What comes next of the message.
            out: Where it goes: as many **bytes** as `data`, and what was left of a block. It may be
                the memory of `data`, which is then changed in place; where they overlap otherwise,
                nothing is promised.

        Returns:
            How many bytes have been written.

        Raises:
            UsageError: as `update`; or `out` is too short, or read-only.
        """
        self._require_open()
        view = byteview(out, what="out")
        if self._held or self._timeout is not None or len(flat(data, "data")) % self._granule:
            result = self.update(data)
            if len(result) > len(view):
                self._end()
                raise UsageError(f"out has {len(view)} bytes, {len(result)} are needed")
            view[: len(result)] = result
            return len(result)
        source = flat(data, "data")
        size = len(source)
        if size > len(view):
            raise UsageError(f"out has {len(view)} bytes, {size} are needed")
        if data is not out and not _is_same(source, view):
            view[:size] = source
        if size:
            self._crypt(view[:size])
        return size

    def _hold(self, work: bytearray) -> int:
        """Keep what is behind the last whole block; return how many bytes are before it."""
        self._require_open()
        size = len(work) - len(work) % self._granule
        self._held = work[size:]
        return size

    def _begin(self) -> None:
        """Send the first piece: the additional data and the IV, and nothing of the message."""
        if self._begun:
            return
        layout, iv = self._layout, self._iv
        aad, self._aad = self._aad, bytearray()
        self._aadlen = start = len(aad)
        buf = aad + bytes(layout.ivlen) if iv is None else aad + iv
        flags = self._encrypts
        if iv is not None and self._encrypts:
            flags |= CRD_F_IV_EXPLICIT
        cipher = self._cipher(len(buf), 0, flags | CRD_F_MORE, start)
        if flags & CRD_F_IV_EXPLICIT:
            cipher.ini.iv = iv
        self._send(buf, cipher, (0, len(buf) if layout.auth_covers_all else start))
        self._iv = bytes(buf[start:])

    def _crypt(self, view: memoryview) -> None:
        self._begin()
        size = len(view)
        for crd in self._more:
            crd.len = size if crd.alg == self._layout.cipher or self._layout.auth_covers_all else 0
        self._ask(view, self._more)

    def _last(self, mac: bytearray | None, verify: int = 0) -> None:
        if self._held:
            self._end()
            raise UsageError(
                f"the message is not whole blocks of {self._granule} bytes; pad it first"
            )
        self._begin()
        border = bytearray((8 * self._aadlen).to_bytes(BORDER, "big") if self._layout.tail else b"")
        cipher = self._cipher(len(border), 0, self._encrypts)
        self._send(border, cipher, (0, len(border)), mac, verify)
        self._end()

    def _cipher(self, start: int, length: int, flags: int, inject: int = 0) -> Cryptodesc:
        return Cryptodesc(start, length, inject, flags, alg=self._layout.cipher or 0)

    def _send(
        self,
        buf: bytearray | memoryview,
        cipher: Cryptodesc,
        region: tuple[int, int],
        mac: bytearray | None = None,
        verify: int = 0,
    ) -> None:
        """Send a piece; `region` is what its authenticator covers, if there is one."""
        self._ask(buf, self._descriptors(cipher, region, verify), mac)

    def _descriptors(
        self, cipher: Cryptodesc, region: tuple[int, int], verify: int = 0
    ) -> list[Cryptodesc]:
        if self._layout.auth is None:
            return [cipher]
        flags = verify | cipher.flags & CRD_F_MORE
        start, length = region
        auth = Cryptodesc(start, length, 0, flags, alg=self._layout.auth)
        return [cipher, auth] if self._encrypts else [auth, cipher]

    def _require_authenticator(self) -> None:
        if not self._layout.keyed:
            raise UsageError(
                "the session has no authenticator with a key, so nothing would protect the aad; "
                "add one, or give no aad"
            )

    def close(self) -> None:
        """Give the message up, and wipe what is kept of it. Closing again does nothing."""
        super().close()
        self._held[:] = bytes(len(self._held))


def _is_same(source: bytes | memoryview, view: memoryview) -> bool:
    """Tell whether two views begin at the same place; False where that cannot be seen."""
    if type(source) is not memoryview or source.readonly or source.obj is not view.obj:
        return False
    place = ctypes.c_char.from_buffer
    return ctypes.addressof(place(source)) == ctypes.addressof(place(view))


def _checked(iv: BytesLike, length: int) -> bytes:
    given = bytes(flat(iv, "an iv"))
    if len(given) != length:
        raise UsageError(f"an iv of {len(given)} bytes; the session takes {length}")
    return given


class Encryptor(_CipherStream):
    """
    Encrypts one message in pieces: `opencrypto.client.Session.encryptor` makes it.

    ``iv``, all that `update` returns, and ``tag`` are what `Session.encrypt` would have returned.
    """

    _encrypts = CRD_F_ENCRYPT
    _tag: bytes | None = None

    def finalize(self) -> bytes:
        """
        End the message; return what was left of it: nothing, as all was given out.

        Raises:
            UsageError: the message is not whole blocks, or has ended.
        """
        mac = bytearray(self._layout.maclen) if self._layout.maclen else None
        self._last(mac)
        self._tag = None if mac is None else bytes(mac)
        return b""

    @property
    def tag(self) -> bytes:
        """
        The message's MAC or tag, once it has been finalized.

        Raises:
            UsageError: it has not, or the session has no authenticator.
        """
        if self._layout.auth is None:
            raise UsageError("the session has no authenticator, so there is no tag")
        if self._tag is None:
            raise UsageError("the tag comes with finalize()")
        return self._tag


class Decryptor(_CipherStream):
    """
    Decrypts one message in pieces: `opencrypto.client.Session.decryptor` makes it.

    What it gives out of an authenticated message has not been verified until `finalize` returns:
    see there.
    """

    def finalize(self, tag: BytesLike | None = None) -> bytes:
        """
        End the message, and verify it; return what was left of it: nothing, as all was given out.

        Args:
            tag: The MAC or tag, if the session has an authenticator.

        Raises:
            AuthenticationError: it does not match. **All that was given out before must then be
                discarded**, and what was done with it undone: somebody may have made it up.
            UsageError: the message is not whole blocks, or has ended; or there is no tag where
                there must be one.
        """
        self._require_open()
        maclen = self._layout.maclen
        if tag is None or not maclen:
            if tag is None and not maclen:
                self._last(None)
                return b""
            words = "a tag, which the session has none of" if maclen == 0 else "no tag"
            raise UsageError(
                f"finalize with {words}; give the message's tag where the session has one"
            )
        theirs = bytearray(flat(tag, "a tag"))
        if len(theirs) != maclen:
            self._end()
            raise AuthenticationError(f"a tag of {len(theirs)} bytes; the session's has {maclen}")
        self._last(theirs, CRD_F_VERIFY)
        return b""

    def finalize_with_tag(self, tag: BytesLike) -> bytes:
        """As `finalize`, by the name that `cryptography` has for it."""
        return self.finalize(tag)


class Hasher(Stream):
    """
    Makes the MAC or digest of one message in pieces: `opencrypto.client.Session.hasher` makes it.

    It does what the objects of `hashlib` do, and `hashlib.file_digest` takes it.
    """

    _result: bytes | None = None
    _looked = False

    def __init__(
        self, framework: Subject, opened: Open, layout: Layout, timeout: float | None
    ) -> None:
        super().__init__(framework, opened, layout, timeout)
        self._more = [self._auth(0, CRD_F_MORE)]

    @property
    def name(self) -> str:
        """What it makes, as `hashlib` and `hmac` call it."""
        alg = self._layout.auth or 0
        return _NAMES.get(alg) or Alg(alg).name.lower()

    @property
    def digest_size(self) -> int:
        """How many **bytes** the result has."""
        return self._layout.maclen

    @property
    def block_size(self) -> int:
        """How many **bytes** the algorithm takes at a time."""
        return FACTS[self._layout.auth or 0].block

    def update(self, data: BytesLike | ReadableBuffer, /) -> None:
        """
        Go on with the message.

        Raises:
            UsageError: it has ended, or `data` is not bytes-like.
            DriverGone: the driver left in the midst of the message: begin it again.
            DriverTimeout: the answer did not come within the session's `timeout`.
            CryptoError: the driver failed.
        """
        view = flat(data, "data")
        if self._timeout is not None:
            view = bytes(view)  # a driver that is late reads it still
        self._more[0].len = len(view)
        self._ask(view, self._more)

    def copy(self) -> Self:
        """
        Return another hasher that has come as far; either goes on by itself.

        Raises:
            UsageError: it has ended, or its driver cannot copy what it keeps of this algorithm.
        """
        self._require_open()
        if not self._begun:
            self.update(b"")
        sid = self._framework.copystream(self._sid)
        twin = type(self)(self._framework, lambda: sid, self._layout, self._timeout)
        twin._begun = True
        return twin

    def digest(self) -> bytes:
        """
        Return the MAC or digest of what has come so far.

        More may be added afterwards, as with `hashlib`; where the driver cannot copy what it keeps,
        the message has ended with this.

        Raises:
            UsageError: it was closed.
            CryptoError: as `update`.
        """
        if self._result is not None:
            return self._result
        self._require_open()
        try:
            twin = self.copy()
        except UsageError:
            self._result = self._finish()
            return self._result
        with twin:
            result = twin._finish()
        self._looked = True
        return result

    def hexdigest(self) -> str:
        """Return what `digest` does, in hexadecimal digits."""
        return self.digest().hex()

    def verify(self, mac: BytesLike) -> None:
        """
        End the message, and verify its MAC.

        Raises:
            AuthenticationError: it does not match.
            UsageError, CryptoError: as `update`.
        """
        theirs = bytearray(flat(mac, "a MAC"))
        if len(theirs) != self._layout.maclen:
            self._require_open()
            self._end()
            raise AuthenticationError(
                f"a MAC of {len(theirs)} bytes; the session's has {self._layout.maclen}"
            )
        self._ask(b"", [self._auth(0, CRD_F_VERIFY)], theirs)
        self._end()

    def _finish(self) -> bytes:
        mac = bytearray(self._layout.maclen)
        self._ask(b"", [self._auth(0, 0)], mac)
        self._end()
        return bytes(mac)

    def _auth(self, length: int, flags: int) -> Cryptodesc:
        return Cryptodesc(0, length, 0, flags, alg=self._layout.auth or 0)

    def _is_told(self) -> bool:
        return self._ended or self._looked


_NAMES: Final[dict[int, str]] = {
    Alg.MD5: "md5",
    Alg.SHA1: "sha1",
    Alg.SHA2_224: "sha224",
    Alg.SHA2_256: "sha256",
    Alg.SHA2_384: "sha384",
    Alg.SHA2_512: "sha512",
    Alg.SHA3_256: "sha3_256",
    Alg.SHA3_512: "sha3_512",
    Alg.BLAKE2B: "blake2b",
    Alg.BLAKE2S: "blake2s",
    Alg.MD5_HMAC: "hmac-md5",
    Alg.MD5_HMAC_96: "hmac-md5",
    Alg.SHA1_HMAC: "hmac-sha1",
    Alg.SHA1_HMAC_96: "hmac-sha1",
    Alg.SHA2_224_HMAC: "hmac-sha224",
    Alg.SHA2_256_HMAC: "hmac-sha256",
    Alg.SHA2_384_HMAC: "hmac-sha384",
    Alg.SHA2_512_HMAC: "hmac-sha512",
    Alg.RIPEMD160_HMAC: "hmac-ripemd160",
    Alg.RIPEMD160_HMAC_96: "hmac-ripemd160",
}
"""By hashlib's and hmac's names what they have; the rest has the constant's, in small letters."""
