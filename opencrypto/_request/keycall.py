"""
Key operations as calls: numbers as a Python author has them in, one request, its answer out.

A number is an int, or bytes with the most significant first, as certificates and RFCs have it. What
an operation is applied to says what its result is: an int makes an int, bytes make as many bytes as
the modulus has. Secrets are packed as wide as their group (time would tell how long they are), and
our copies of them are wiped when the driver has answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeAlias, TypeVar

from opencrypto._request.buffer import BytesLike, flat
from opencrypto._request.key import Crparam, Cryptkop
from opencrypto.constants import CRYPTO_F_CBIMM, Kop
from opencrypto.exceptions import AuthenticationError, UsageError

Number: TypeAlias = int | BytesLike
"""A number of 0 or more; as bytes with the most significant first."""

Operand = TypeVar("Operand", int, bytes)
"""What an operation is applied to; its result is of the same kind."""

Signature: TypeAlias = tuple[int, int]
"""A signature by DSA: r and s."""

T = TypeVar("T")

PUBLIC_BITS: Final = 64
"""An exponent of so few **bits** is a public one, such as 65537, and is made no wider."""


class KeyCall(Generic[T]):
    """
    One key operation: a request to carry out once, and what its answer is.

    Args:
        op: The operation, ``CRK_*``.
        inputs: Its parameters. They are this call's own, and are wiped.
        outputs: How many **bits** each result has room for.
        read: Makes the answer of the results.
    """

    __slots__ = ("_is_over", "_read", "_unwanted", "krp")

    def __init__(
        self,
        op: Kop,
        inputs: list[Crparam],
        outputs: list[int],
        read: Callable[[Cryptkop], T],
    ) -> None:
        results = [Crparam(nbits=nbits) for nbits in outputs]
        self.krp = Cryptkop(
            op, [*inputs, *results], len(inputs), len(results), flags=CRYPTO_F_CBIMM
        )
        self._read = read
        self._is_over = self._unwanted = False

    def over(self) -> None:
        """Hear that the driver has answered: what it was given is wiped."""
        self._is_over = True
        _wipe(self.krp.inputs)
        if self._unwanted:
            _wipe(self.krp.outputs)

    def abandon(self) -> None:
        """Hear that nobody wants the answer any more, whether it has come, will or cannot."""
        self._unwanted = True
        if self._is_over or not self.krp.state:
            self.over()

    def answer(self) -> T:
        """
        Return the answer, once it is `over`.

        Raises:
            CryptoError: what the request's ``status`` stands for.
        """
        try:
            self.krp.check()
            return self._read(self.krp)
        finally:
            _wipe(self.krp.outputs)


def _wipe(parameters: list[Crparam]) -> None:
    for parameter in parameters:
        if isinstance(parameter.p, bytearray):  # bytes are a digest's, and no secret
            parameter.p[:] = bytes(len(parameter.p))


def modexp(base: Operand, exp: Number, mod: Number) -> KeyCall[Operand]:
    """
    Return the call of ``base ** exp % mod``.

    Args:
        base: The base; it says what the result is.
        exp: The exponent. One of more than 64 bits is taken for a secret.
        mod: The modulus.

    Raises:
        UsageError: one of them is no number, or negative.
    """
    modulus = _public(mod, "mod")
    exponent = _parameter(exp, "exp")
    if exponent.nbits > PUBLIC_BITS:
        exponent = _parameter(exp, "exp", modulus.bit_length())
    return _modular(Kop.MOD_EXP, base, "base", modulus, exponent)


def rsa_private(
    message: Operand, p: Number, q: Number, dp: Number, dq: Number, qinv: Number
) -> KeyCall[Operand]:
    """
    Return the call of RSA's private operation, by the primes (RFC 8017, 5.1.2); no padding.

    Args:
        message: The representative, less than ``p * q``; it says what the result is.
        p: The first prime.
        q: The second one.
        dp: The private exponent modulo ``p - 1``.
        dq: The private exponent modulo ``q - 1``.
        qinv: The inverse of `q` modulo `p`.

    Raises:
        UsageError: one of them is no number, or negative.
    """
    first, second = _public(p, "p"), _public(q, "q")
    bits = (first * second).bit_length()
    return KeyCall(
        Kop.MOD_EXP_CRT,
        [
            _packed(first, "p"),
            _packed(second, "q"),
            _parameter(message, "message", bits),
            _parameter(dp, "dp", first.bit_length()),
            _parameter(dq, "dq", second.bit_length()),
            _parameter(qinv, "qinv", first.bit_length()),
        ],
        [bits],
        _as_given(message),
    )


def dsa_sign(digest: BytesLike, p: Number, q: Number, g: Number, x: Number) -> KeyCall[Signature]:
    """
    Return the call of a signature by DSA (FIPS 186-4, 4.6).

    Args:
        digest: What is signed: a hash, as bytes.
        p: The group's modulus.
        q: The order of `g`.
        g: The generator.
        x: The private key.

    Raises:
        UsageError: the digest is not bytes-like; one of the others is no number, or negative.
    """
    order = _public(q, "q")
    bits = order.bit_length()
    return KeyCall(
        Kop.DSA_SIGN,
        [
            _digest(digest),
            _parameter(p, "p"),
            _packed(order, "q"),
            _parameter(g, "g"),
            _parameter(x, "x", bits),
        ],
        [bits, bits],
        _signature,
    )


def dsa_verify(
    digest: BytesLike, p: Number, q: Number, g: Number, y: Number, r: Number, s: Number
) -> KeyCall[None]:
    """
    Return the call of verifying a signature by DSA (FIPS 186-4, 4.7).

    Args:
        digest: What was signed: a hash, as bytes.
        p: The group's modulus.
        q: The order of `g`.
        g: The generator.
        y: The signer's public key.
        r: The signature's first half.
        s: Its second half.

    Raises:
        UsageError: the digest is not bytes-like; one of the others is no number, or negative.
    """
    numbers = {"p": p, "q": q, "g": g, "y": y, "r": r, "s": s}
    given = [_parameter(value, name) for name, value in numbers.items()]
    return KeyCall(Kop.DSA_VERIFY, [_digest(digest), *given], [], _require_good)


def dh(priv: Number, pub: Operand, p: Number) -> KeyCall[Operand]:
    """
    Return the call of a secret that is shared by Diffie and Hellman: ``pub ** priv % p``.

    Args:
        priv: The own private key.
        pub: The peer's public key; it says what the result is.
        p: The group's prime.

    Raises:
        UsageError: one of them is no number, or negative.
    """
    prime = _public(p, "p")
    bits = prime.bit_length()
    given = [_parameter(priv, "priv", bits), _parameter(pub, "pub"), _packed(prime, "p")]
    return KeyCall(Kop.DH_COMPUTE_KEY, given, [bits], _as_given(pub))


def modadd(a: Operand, b: Number, mod: Number) -> KeyCall[Operand]:
    """Return the call of ``(a + b) % mod``. Raises UsageError: one of them is no number."""
    return _of_two(Kop.MOD_ADD, a, b, mod)


def modsub(a: Operand, b: Number, mod: Number) -> KeyCall[Operand]:
    """Return the call of ``(a - b) % mod``. Raises UsageError: one of them is no number."""
    return _of_two(Kop.MOD_SUB, a, b, mod)


def modmult(a: Operand, b: Number, mod: Number) -> KeyCall[Operand]:
    """Return the call of ``a * b % mod``. Raises UsageError: one of them is no number."""
    return _of_two(Kop.MOD_MULT, a, b, mod)


def modaddinv(a: Operand, mod: Number) -> KeyCall[Operand]:
    """Return the call of ``-a % mod``. Raises UsageError: one of them is no number."""
    return _modular(Kop.MOD_ADDINV, a, "a", _public(mod, "mod"))


def modmultinv(a: Operand, mod: Number) -> KeyCall[Operand]:
    """Return the call of ``pow(a, -1, mod)``. Raises UsageError: one of them is no number."""
    return _modular(Kop.MOD_MULTINV, a, "a", _public(mod, "mod"))


def mod(a: Operand, mod: Number) -> KeyCall[Operand]:
    """Return the call of ``a % mod``. Raises UsageError: one of them is no number."""
    return _modular(Kop.MOD, a, "a", _public(mod, "mod"))


def _of_two(op: Kop, a: Operand, b: Number, mod: Number) -> KeyCall[Operand]:
    modulus = _public(mod, "mod")
    return _modular(op, a, "a", modulus, _parameter(b, "b", modulus.bit_length()))


def _modular(
    op: Kop, operand: Operand, name: str, modulus: int, *more: Crparam
) -> KeyCall[Operand]:
    """Make a call whose operand comes first and whose modulus last, with one result below that."""
    bits = modulus.bit_length()
    given = [_parameter(operand, name, bits), *more, _packed(modulus, "mod")]
    return KeyCall(op, given, [bits], _as_given(operand))


def _parameter(value: Number, name: str, bits: int = 0) -> Crparam:
    """Pack a number, at least `bits` bits wide; bytes, which may be a secret, are made no int."""
    if isinstance(value, int):
        return _packed(value, name, bits)
    data = bytearray(_bytes_of(value, name))
    data.reverse()
    data += bytes(max(0, -(-bits // 8) - len(data)))
    return Crparam(data, len(data) * 8)


def _packed(value: int, name: str, bits: int = 0) -> Crparam:
    if value < 0:
        raise UsageError(f"{name} must not be negative; reduce it first")
    return Crparam.from_int(value, max(bits, value.bit_length()))


def _public(value: Number, name: str) -> int:
    """Return a number whose length everybody may know: a modulus, or a prime of one."""
    if isinstance(value, int):
        if value < 0:
            raise UsageError(f"{name} must not be negative")
        return value
    return int.from_bytes(_bytes_of(value, name))


def _bytes_of(value: object, name: str) -> bytes | memoryview:
    try:
        return flat(value, name)
    except UsageError as error:
        raise UsageError(f"{error.strerror}; an int will do as well") from None


def _digest(digest: BytesLike) -> Crparam:
    if isinstance(digest, int):
        raise UsageError("the digest is a number; give its bytes")
    return Crparam.from_bytes(bytes(flat(digest, "the digest")))


def _as_given(operand: Operand) -> Callable[[Cryptkop], Operand]:
    """Return what reads a result as an int if `operand` is one, as bytes if it is bytes."""
    return _as_int if isinstance(operand, int) else _as_bytes


def _as_int(krp: Cryptkop) -> int:
    return krp.outputs[0].to_int()


def _as_bytes(krp: Cryptkop) -> bytes:
    return krp.outputs[0].to_bytes()[::-1]


def _signature(krp: Cryptkop) -> Signature:
    r, s = krp.outputs
    return r.to_int(), s.to_int()


def _require_good(krp: Cryptkop) -> None:
    if not krp.verdict:
        raise AuthenticationError("the signature is not the key's over this digest; trust nothing")
