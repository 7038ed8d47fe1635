"""
Key operations: the request and its parameters; the facts of each; whether a request fits them.

``struct cryptkop`` and ``struct crparam`` with the prefix stripped. The order and the number of an
operation's parameters are NetBSD's, which no header of it states: they are what its OpenSSL engine
sends and its drivers take. All are integers, little-endian and packed, with a length in bits, but
for the digest of DSA, which is bytes in their natural order.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Self

from opencrypto._request.bsdnames import CrparamNames, CryptkopNames
from opencrypto._request.buffer import BytesLike, byteview, flat, viewed
from opencrypto._state import RequestState
from opencrypto.constants import CRK_MAXPARAM, Kop
from opencrypto.exceptions import CryptoError, OutputTooSmall, UsageError, error_from_errno


class Crparam(CrparamNames):
    """
    A parameter of a key operation: an integer, packed little-endian, with its length in **bits**.

    `p` holds ``ceil(nbits / 8)`` bytes, or more. An output is preallocated by giving `nbits`
    alone; what it holds before the operation does not matter.

    Raises:
        UsageError: `nbits` is negative, or `p` is not bytes-like.
    """

    __slots__ = ("nbits", "p")

    def __init__(self, p: BytesLike | None = None, nbits: int | None = None) -> None:
        if nbits is None:
            nbits = 0 if p is None else len(flat(p, "a parameter")) * 8
        if nbits < 0:
            raise UsageError(f"a parameter of {nbits} bits; give 0 or more")
        self.nbits = nbits
        self.p: BytesLike = bytearray((nbits + 7) // 8) if p is None else p

    @classmethod
    def from_int(cls, value: int, nbits: int | None = None) -> Self:
        """
        Pack a non-negative integer; its own bit length unless `nbits` asks for more room.

        Raises:
            UsageError: `value` is negative, or has more than `nbits` bits (ERANGE).
        """
        if value < 0:
            raise UsageError("a parameter must not be negative; reduce it first")
        size = value.bit_length() if nbits is None else nbits
        if value.bit_length() > size:
            raise UsageError(
                f"a number of {value.bit_length()} bits does not fit {size}", errno=errno.ERANGE
            )
        return cls(bytearray(value.to_bytes((size + 7) // 8, "little")), size)

    @classmethod
    def from_bytes(cls, data: BytesLike) -> Self:
        """
        Take bytes as they are, in their natural order: a DSA digest. They are not copied.

        Raises:
            UsageError: `data` is not bytes-like.
        """
        return cls(data, len(flat(data, "a parameter")) * 8)

    def to_int(self) -> int:
        """Unpack the integer: the first `nbits` bits of `p`."""
        return int.from_bytes(self.to_bytes(), "little") & ((1 << self.nbits) - 1)

    def to_bytes(self) -> bytes:
        """Return the ``ceil(nbits / 8)`` bytes as they stand: a DSA digest, random bytes."""
        return bytes(flat(self.p, "a parameter")[: (self.nbits + 7) // 8])

    def store(self, value: int) -> None:
        """
        Write an output: all its ``ceil(nbits / 8)`` bytes, and none beyond. For drivers.

        Raises:
            OutputTooSmall: `value` has more than `nbits` bits (ERANGE); nothing was written.
            UsageError: `p` is read-only, or has gaps.
        """
        if value.bit_length() > self.nbits:
            raise OutputTooSmall(
                f"the result does not fit the {self.nbits} bits of an output; give more bits",
                errno=errno.ERANGE,
            )
        size = (self.nbits + 7) // 8
        byteview(self.p, what="parameter")[:size] = value.to_bytes(size, "little")

    def __repr__(self) -> str:
        return f"<Crparam nbits={self.nbits}>"


class Cryptkop(CryptkopNames):
    """
    A key operation (``struct cryptkop``): no session, parameters in, parameters out.

    `Cryptkop.of` makes one from Python integers. Parameters and their order by operation:
    `opencrypto.driver.KOPS`.

    Attributes:
        op: The operation, ``CRK_*``.
        param: Up to ``CRK_MAXPARAM`` parameters: `iparams` inputs, then `oparams` outputs.
        status: 0, or the errno of what went wrong; valid when the callback runs.
        verdict: Whether the signature is good, for a verification with `status` 0; else None.
        hid: The id of the driver that served it, -1 if none did.
        callback: Called once with the request when it is complete.
        flags: ``CRYPTO_F_CBIMM``, ``CRYPTO_F_CBIFSYNC``; ``CRYPTO_F_USER`` if it is made for a
            user program, to which ``kern.userasymcrypto`` and ``kern.cryptodevallowsoft`` apply.
        opaque: The consumer's own; nobody else touches it.
        error: One sentence to `status`, if it is known.
    """

    __slots__ = (
        "callback", "error", "flags", "hid", "holder", "iparams", "op", "opaque", "oparams",
        "param", "since", "state", "status", "verdict",
    )  # fmt: skip

    callback: Callable[[Cryptkop], object] | None

    def __init__(
        self,
        op: int = 0,
        param: Iterable[Crparam] = (),
        iparams: int = 0,
        oparams: int = 0,
        callback: Callable[[Cryptkop], object] | None = None,
        flags: int = 0,
    ) -> None:
        self.op = op
        self.status = 0
        self.verdict: bool | None = None
        self.iparams = iparams
        self.oparams = oparams
        self.hid = -1
        self.param = list(param)
        self.callback = callback
        self.flags = flags
        self.opaque: Any = None
        self.error = ""
        self.state: int = RequestState.IDLE
        self.since = 0.0  # when a driver had it, or it was queued there; of `time.monotonic`
        self.holder: Any = None  # what the framework knows of it while it has it

    @classmethod
    def of(
        cls,
        op: int,
        inputs: Iterable[int | BytesLike],
        outputs: Iterable[int] = (),
        callback: Callable[[Cryptkop], object] | None = None,
        flags: int = 0,
    ) -> Self:
        """
        Make a request from integers (and bytes, for a digest), with outputs of so many **bits**.

        Raises:
            UsageError: an input is negative, or neither a number nor bytes-like; or a digest is a
                number: packed as one, its bytes would be in the wrong order, and another message
                be signed.
        """
        inputs = list(inputs)
        facts = KOPS.get(op)
        for name, value in zip(facts.inputs if facts else (), inputs, strict=False):
            if name == "digest" and isinstance(value, int):
                raise UsageError(f"{kop_name(op)}: the digest is a number; give its bytes")
        given = [Crparam.from_int(i) if isinstance(i, int) else Crparam.from_bytes(i)
                 for i in inputs]  # fmt: skip
        wanted = [Crparam(nbits=nbits) for nbits in outputs]
        return cls(op, [*given, *wanted], len(given), len(wanted), callback, flags)

    @property
    def inputs(self) -> list[Crparam]:
        """The input parameters."""
        return self.param[: self.iparams]

    @property
    def outputs(self) -> list[Crparam]:
        """The output parameters."""
        return self.param[self.iparams : self.iparams + self.oparams]

    def fail(self, status: int, error: str = "") -> None:
        """Record what went wrong; the driver then calls ``kdone`` as ever."""
        self.status = status
        self.error = error

    def fail_for(self, error: CryptoError) -> None:
        """Record a typed error as what went wrong: its errno and its sentence."""
        self.fail(error.errno or errno.EINVAL, error.strerror or "")

    def check(self) -> None:
        """
        Raise the typed error of `status`, if it is not 0.

        Raises:
            CryptoError: the subclass that ``status`` stands for (see `ERRNO_CLASSES`).
        """
        if self.status:
            raise error_from_errno(self.status, self.error)

    def reset(self) -> None:
        """Set every field to its zero, as ``kgetreq`` hands a request out."""
        self.op = self.status = self.iparams = self.oparams = self.flags = 0
        self.verdict = self.callback = self.opaque = None
        self.hid = -1
        self.param = []
        self.error = ""

    def __repr__(self) -> str:
        return (
            f"<Cryptkop op={self.op} {RequestState(self.state).name} status={self.status} "
            f"params={self.iparams}+{self.oparams} hid={self.hid}>"
        )


class KopFacts(NamedTuple):
    """
    What is true of a key operation in every driver.

    Attributes:
        op: Its number.
        inputs: The names of its input parameters, in order.
        outputs: The names of its output parameters, which follow the inputs.
        meaning: What the outputs are, in the names of the inputs.
        verdict: Whether it answers by ``krp.verdict``.
    """

    op: Kop
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    meaning: str
    verdict: bool = False

    @property
    def name(self) -> str:
        """The constant's name without its ``CRK_`` prefix."""
        return self.op.name

    @property
    def feature(self) -> int:
        """The operation's bit in the mask of ``getfeat``: ``CRF_*``."""
        return 1 << self.op


def _facts(op: Kop, inputs: str, outputs: str, meaning: str, *, verdict: bool = False) -> KopFacts:
    return KopFacts(op, tuple(inputs.split()), tuple(outputs.split()), meaning, verdict)


KOPS: Final[Mapping[int, KopFacts]] = {
    int(facts.op): facts
    for facts in (
        _facts(Kop.MOD_EXP, "a p m", "result", "a**p mod m"),
        _facts(Kop.MOD_EXP_CRT, "p q i dp dq pinv", "result",
               "i**d mod p*q, where dp = d mod p-1, dq = d mod q-1, pinv = q**-1 mod p"),
        _facts(Kop.DSA_SIGN, "digest p q g x", "r s", "the signature by the private key x"),
        _facts(Kop.DSA_VERIFY, "digest p q g y r s", "", "whether (r, s) is y's signature",
               verdict=True),
        _facts(Kop.DH_COMPUTE_KEY, "priv pub p", "shared", "pub**priv mod p"),
        _facts(Kop.MOD_ADD, "a b m", "result", "a + b mod m"),
        _facts(Kop.MOD_ADDINV, "a m", "result", "-a mod m"),
        _facts(Kop.MOD_SUB, "a b m", "result", "a - b mod m"),
        _facts(Kop.MOD_MULT, "a b m", "result", "a * b mod m"),
        _facts(Kop.MOD_MULTINV, "a m", "result", "a**-1 mod m"),
        _facts(Kop.MOD, "a m", "result", "a mod m"),
        _facts(Kop.RANDOM, "", "bytes", "nbits random bits"),
    )
}  # fmt: skip
"""The facts by operation number."""


def modulus_of(krp: Cryptkop) -> Crparam | None:
    """Return the modulus of a request that has one: the parameter called m, or else p."""
    names = KOPS[krp.op].inputs
    for name in ("m", "p"):
        if name in names:
            return krp.param[names.index(name)]
    return None


def kop_name(op: int) -> str:
    """Name an operation number for people, whether or not it is known."""
    return KOPS[op].name if op in KOPS else f"key operation {op!r}"


def too_many(krp: Cryptkop) -> bool:
    """Tell whether a request has more than ``CRK_MAXPARAM`` parameters (EFBIG)."""
    return krp.iparams + krp.oparams > CRK_MAXPARAM or len(krp.param) > CRK_MAXPARAM


def refusal(krp: Cryptkop) -> str:
    """
    Say why a request cannot be what it claims to be, or return an empty string.

    It has too many parameters (`too_many`), its operation is unknown, their number is wrong, or one
    of them is no sound `Crparam`.
    """
    if too_many(krp):
        return f"a key operation has at most {CRK_MAXPARAM} parameters"
    facts = KOPS.get(krp.op)
    if facts is None:
        return f"{kop_name(krp.op)} is unknown; use a CRK_* constant"
    arity = len(facts.inputs), len(facts.outputs)
    if (krp.iparams, krp.oparams) != arity or len(krp.param) < sum(arity):
        return (
            f"{facts.name} takes {arity[0]} inputs and {arity[1]} outputs "
            f"({', '.join(facts.inputs + facts.outputs)}); set iparams and oparams, and as many "
            "parameters"
        )
    for name, parameter in zip(facts.inputs + facts.outputs, krp.param, strict=False):
        reason = _unsound(parameter, output=name in facts.outputs)
        if reason:
            return f"{facts.name}: {name} {reason}"
    return ""


def _unsound(parameter: object, *, output: bool) -> str:
    if not isinstance(parameter, Crparam):
        return f"is {type(parameter).__name__}, not a Crparam"
    view = viewed(parameter.p)
    if isinstance(view, str):
        return view
    if not isinstance(parameter.nbits, int) or not 0 <= parameter.nbits <= view.nbytes * 8:
        return f"claims {parameter.nbits!r} bits; it holds {view.nbytes} bytes"
    if output and view.readonly:
        return "is an output and read-only; give a bytearray"
    if output and not view.c_contiguous:
        return "is an output with gaps; give a bytearray"
    return ""
