"""
The driver: sessions over kernel transforms, small requests at once and large ones by threads.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from opencrypto import (
    CRK_RANDOM,
    CRYPTO_ASYMQ,
    CRYPTO_SYMQ,
    CRYPTOCAP_F_SOFTWARE,
    ERESTART,
    Alg,
    Cryptkop,
    CryptoError,
    Cryptoini,
    Cryptop,
    Driver,
    UsageError,
)
from opencrypto.chain import Chain, ChainSession, ChainStream, Segments, Transform, check
from opencrypto.driver import Process, WorkerPool, renew_after_fork
from opencrypto.xform import Kind
from opencrypto_afalg.authenc import FusedSession, authenc_key
from opencrypto_afalg.build import TRIAL, Builder, WrongAnswer, key_serial
from opencrypto_afalg.capability import KernelCapability, capabilities
from opencrypto_afalg.catalogue import Catalogue, Served
from opencrypto_afalg.kernel import Kernel
from opencrypto_afalg.names import NAMES, Form, Name, authenc_name
from opencrypto_afalg.pieces import KernelStream
from opencrypto_afalg.quick import compile_session
from opencrypto_afalg.random_op import INLINE_BITS, RandomOp
from opencrypto_afalg.rng import makers
from opencrypto_afalg.sockets import Descriptors, KernelBroke, KernelRefused, KernelTransform
from opencrypto_afalg.transforms import Aead, Mac, wipe
from opencrypto_afalg.zerocopy import refusal as refusal_of_zerocopy

log: Final = logging.getLogger("opencrypto.afalg")

INLINE_NS: Final = 200_000
"""How long `process` keeps its caller, in nanoseconds; what takes longer goes to a thread."""

INLINE_MOST: Final = 128 * 1024
"""Bytes over which a request goes to a thread, however quick the kernel is."""

THREADS: Final = 4
DEPTH: Final = 256
"""How many requests wait for a thread before the framework is told to hold more back."""


class AfalgDriver(Driver):
    """
    The Linux kernel's algorithms, by AF_ALG sockets.

    Args:
        kernel: The kernel to use; another one in tests.
        device: True for the entry whose sessions only a device serves.
        names: The table of names; for tests, and to leave algorithms out.
        algs: Offer only these algorithms.
        inline_ns: How long a caller may be kept, in nanoseconds.
        limit: How many sockets to keep open; 0 for a quarter of what the process may have.
        threads: How many threads at most do what takes longer.
        zerocopy: Hand large regions to hashes by splice. It does not pay.
    """

    name = "afalg"
    flags = CRYPTOCAP_F_SOFTWARE
    key_serials = True
    selftest = False  # it would load every module there is; each name is tried when first wanted

    def __init__(
        self,
        kernel: Kernel | None = None,
        *,
        device: bool = False,
        names: Mapping[Alg, tuple[Name, ...]] = NAMES,
        algs: Iterable[int] | None = None,
        inline_ns: int = INLINE_NS,
        limit: int = 0,
        threads: int = THREADS,
        zerocopy: bool = False,
    ) -> None:
        self.kernel = kernel or Kernel()
        self.device = device
        if device:
            self.name = "afalg.hw"
            self.flags = 0
        self._catalogue = Catalogue(self.kernel, device=device)
        offered = capabilities(self._catalogue, names)
        wanted = set(offered) if algs is None else {int(alg) for alg in algs}
        self.capabilities: dict[int, KernelCapability] = {
            alg: each for alg, each in offered.items() if alg in wanted
        }
        self.descriptors = Descriptors(limit)
        self._builder = Builder(self.kernel, self.descriptors)
        self._inline_ns = inline_ns
        self.remarks: list[str] = []
        self.zerocopy = zerocopy and not self._no_zerocopy()
        self._lock = threading.Lock()  # guards _inline and remarks
        self._inline: dict[tuple[str, str], int] = {}
        self.keyops = frozenset() if device else frozenset({int(CRK_RANDOM)})
        self._random = RandomOp(self.kernel)
        self.rngs = {} if device else makers(self.kernel)
        self._sessions: dict[int, tuple[Process, list[KernelTransform]]] = {}
        self._chains: dict[int, tuple[ChainSession, int]] = {}
        self.pool = WorkerPool(self.name, self._unblock, size=threads, depth=DEPTH)
        renew_after_fork(self)

    def _no_zerocopy(self) -> str:
        reason = refusal_of_zerocopy(self.kernel)
        if reason:
            log.warning("driver %s: no zero copy: %s", self.name, reason)
            self.remarks.append(f"no zero copy: {reason}")
        return reason

    def _unblock(self) -> None:
        self.unblock(CRYPTO_SYMQ | CRYPTO_ASYMQ)

    def probe(self) -> dict[int, str]:
        """
        Find out about every algorithm now; return the reason for each that the kernel lacks.

        Binds each name once, which may load modules: from milliseconds to seconds in all.
        """
        found = {alg: each.served() for alg, each in self.capabilities.items()}
        return {alg: reason for alg, reason in found.items() if isinstance(reason, str)}

    def newsession(self, ini: Sequence[Cryptoini]) -> tuple[int, Process]:
        """Open a session; its sockets are opened by its first request."""
        chain = Chain.of_session(ini)
        sockets: list[KernelTransform] = []
        inline = INLINE_MOST
        transforms: list[Transform | None] = []
        for cri, facts in zip(chain.inis, chain.facts, strict=True):
            served = self._served(cri)
            if facts.kind is Kind.AEAD_AUTH:  # its cipher does the work
                transforms.append(None)
                continue
            maclen = self._taglen(chain) if facts.kind is Kind.AEAD else 0
            try:
                transform, opened = self._builder.build(served, cri, maclen)
            except KernelRefused as refusal:
                raise UsageError(f"driver {self.name}: {refusal.what}") from None
            if self.zerocopy and isinstance(transform, Mac):
                transform.zerocopy = True
            transforms.append(transform)
            sockets.append(opened)
            inline = min(inline, self._pace(served, cri))
        session = self._session(chain, transforms, sockets)
        lid = self.newlid()
        while lid in self._sessions:  # after 2**32 of them
            lid = self.newlid()
        inline //= max(1, len(sockets))
        process = self._compile(session, inline, len(sockets) > 1)
        self._sessions[lid] = process, sockets
        self._chains[lid] = session, inline
        return lid, process

    def _served(self, cri: Cryptoini) -> Served:
        capability = self.capabilities.get(cri.alg)
        served = "is not offered" if capability is None else capability.served(cri)
        if isinstance(served, str):
            raise UsageError(f"driver {self.name}: {cri!r} {served}")
        return served

    @staticmethod
    def _taglen(chain: Chain) -> int:
        return next(
            length
            for length, facts in zip(chain.macs, chain.facts, strict=True)
            if facts.kind is Kind.AEAD_AUTH
        )

    def _session(
        self, chain: Chain, transforms: list[Transform | None], sockets: list[KernelTransform]
    ) -> ChainSession:
        """Return the session; of a cipher and a MAC, one that can do both at once."""
        kinds = [facts.kind for facts in chain.facts]
        if sorted(kind.value for kind in kinds) != [Kind.CIPHER.value, Kind.MAC.value]:
            return ChainSession(chain, transforms)
        cipher = chain.inis[kinds.index(Kind.CIPHER)]
        at = kinds.index(Kind.MAC)
        mac = chain.inis[at]
        name = authenc_name(cipher.alg, mac.alg)
        # Its key is made of both, which a serial number does not show.
        hidden = key_serial(cipher) or key_serial(mac)
        served = self._catalogue.find([name]) if name is not None and not hidden else ""
        if isinstance(served, str):
            return ChainSession(chain, transforms)
        both = self._builder.socketed(served, lambda: authenc_key(mac, cipher), chain.macs[at])
        sockets.append(both)
        return FusedSession(chain, transforms, Aead(both, Form.PLAIN))

    def _pace(self, served: Served, cri: Cryptoini) -> int:
        """Return how many bytes this name does while a caller may be kept; tried out once."""
        with self._lock:
            known = self._inline.get(served.address)
        if known is None:
            try:
                taken = self._builder.trial(served, cri.alg, cri.klen // 8)
            except KernelRefused as refusal:
                if isinstance(refusal, WrongAnswer):
                    self._catalogue.distrust(served.address, refusal.what)
                raise UsageError(f"driver {self.name}: {refusal.what}") from None
            known = min(INLINE_MOST, TRIAL * self._inline_ns // max(1, taken))
            with self._lock:
                self._inline[served.address] = known
        return known

    def _compile(self, session: ChainSession, inline: int, several: bool) -> Process:
        submit = self.pool.submit
        both = session.both if isinstance(session, FusedSession) else None
        quick = compile_session(session, both)

        def in_full(crp: Cryptop) -> None:
            undo = Undo(crp, session.chain) if several else None
            try:
                session.run(crp)
            except KernelBroke:
                raise
            except KernelRefused:
                if undo is not None:
                    undo.restore()
                raise
            finally:
                if undo is not None:
                    undo.wipe()

        def run(crp: Cryptop) -> None:
            try:
                if quick is None or not quick(crp):
                    in_full(crp)
            except KernelBroke as broken:
                crp.fail(errno.EIO, broken.what)
            except KernelRefused as refusal:
                self._note(refusal)
                crp.fail(errno.EAGAIN, refusal.what)
            except (AttributeError, LookupError, TypeError, ValueError):
                if not session.faults(crp):
                    raise

        def work(crp: Cryptop) -> None:
            try:
                run(crp)
            except Exception as error:
                crp.fail(errno.EIO, f"driver {self.name} raised {type(error).__name__}")
                self.raised(error)
            self.done(crp)  # no copy of it: see Driver.done

        def process(crp: Cryptop, hint: int) -> int:
            desc = crp.desc
            try:
                long = (desc[0].len if len(desc) == 1 else sum([crd.len for crd in desc])) > inline
            except (AttributeError, LookupError, TypeError):
                long = False  # the request is malformed, which `run` will put into words
            if long:
                return 0 if submit(partial(work, crp), more=bool(hint)) else ERESTART
            run(crp)
            self.done(crp)
            return 0

        return process

    def _note(self, refusal: KernelRefused) -> None:
        """Say once why sessions are handed back; open no new ones on what has gone."""
        if self.descriptors.gone:
            self._catalogue.lost(self.descriptors.gone)
        with self._lock:
            remark = f"hands sessions back: {refusal.what}"
            if remark in self.remarks:
                return
            self.remarks.append(remark)
        log.warning("driver %s %s", self.name, remark)

    def newstream(self, lid: int, done: Callable[[Cryptop], None]) -> KernelStream:
        """
        Begin a message in pieces: hashes by ``MSG_MORE``, ciphers by chaining and counting.

        Raises:
            UsageError: an algorithm of the session takes whole messages only.
        """
        session, inline = self.chain_of(lid)
        return KernelStream(self, ChainStream(session), inline, done)

    def chain_of(self, lid: int) -> tuple[ChainSession, int]:
        """
        Return a session, and the bytes over which its work goes to a thread.

        Raises:
            UsageError: there is none.
        """
        known = self._chains.get(lid)
        if known is None:
            raise UsageError(f"driver {self.name} has no session {lid}", errno=errno.ENOENT)
        return known

    def freesession(self, lid: int) -> None:
        """Close a session's sockets."""
        self._chains.pop(lid, None)
        _, sockets = self._sessions.pop(lid, (None, []))
        for each in sockets:
            each.close()

    def process(self, crp: Cryptop, hint: int) -> int:
        """Serve a request by its session number, for callers that kept no compiled ``process``."""
        known = self._sessions.get(crp.lid)
        if known is not None:
            return known[0](crp, hint)
        crp.fail(errno.ENOENT, f"driver {self.name} has no session {crp.lid}")
        self.done(crp)
        return 0

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        """Take a request for random bits, the one key operation of the kernel."""

        def work() -> None:
            self._random.serve(krp)
            self.kdone(krp)

        if krp.param[0].nbits > INLINE_BITS:
            return 0 if self.pool.submit(work, more=bool(hint)) else ERESTART
        work()
        return 0

    def close(self) -> None:
        """Do what waits, end the threads, close every socket."""
        self.pool.close()
        self._random.close()
        for lid in list(self._sessions):
            self.freesession(lid)
        # What a detach found in use was closed when it was given back; this is for the rest.
        for opened in list(self.descriptors.sockets):
            self.descriptors.close(opened)

    def after_fork(self) -> None:
        """In the child of a fork: a lock may be held by a thread that is not there."""
        self._random.after_fork()
        self._lock = threading.Lock()


class Undo:
    """
    A copy of a request's buffer, to put back if the second of two kernel calls is refused.

    A request that is handed back must be as it came: it is carried out again elsewhere.
    """

    __slots__ = ("_copy", "_parts")

    def __init__(self, crp: Cryptop, chain: Chain) -> None:
        try:
            self._parts: Segments = check(crp, chain).parts
        except CryptoError:
            self._parts = []  # the session will say so itself
        self._copy = bytearray().join(self._parts)

    def restore(self) -> None:
        """Put the copy back."""
        at = 0
        for part in self._parts:
            if not part.readonly:
                part[:] = self._copy[at : at + len(part)]
            at += len(part)

    def wipe(self) -> None:
        """Overwrite the copy."""
        wipe(self._copy)
