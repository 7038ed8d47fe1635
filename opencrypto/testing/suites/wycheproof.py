"""
Wycheproof: the JSON files of C2SP's collection, of the schemas ``testvectors_v1`` and before.

Each file has groups of tests, each of a type. A test is valid, invalid or acceptable: what is valid
must come out, what is invalid must not, and of the rest nobody is blamed for either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from opencrypto.constants import Alg, Kop
from opencrypto.exceptions import UsageError
from opencrypto.testing.suites import rsa
from opencrypto.testing.suites.case import (
    Case,
    Fields,
    as_published,
    hexes,
    json_files,
    number,
    read_json,
)
from opencrypto.testing.suites.subject import RefusedError, Subject, WrongError

SUITE: Final = "wycheproof"

PRIVATE_WORK: Final = 12.0
"""So many times longer than one operation may take RSA's private one, of keys of any length."""

AEADS: Final = {
    "AES-GCM": Alg.AES_GCM_16,
    "AES-CCM": Alg.AES_CCM_16,
    "CHACHA20-POLY1305": Alg.CHACHA20_POLY1305,
}

DETERMINISTIC: Final = {"AES-SIV-CMAC": Alg.AES_SIV}
"""Authenticated ciphers without a nonce, whose tag stands before the ciphertext."""

TAG: Final = 16
"""The **bytes** of that tag."""

CIPHERS: Final = {
    "AES-XTS": Alg.AES_XTS,
    "AES-CBC-PKCS5": Alg.AES_CBC,
    "CAMELLIA-CBC-PKCS5": Alg.CAMELLIA_CBC,
}

MACS: Final = {
    "AES-CMAC": Alg.AES_CMAC,
    "HMACSHA1": Alg.SHA1_HMAC,
    "HMACSHA224": Alg.SHA2_224_HMAC,
    "HMACSHA256": Alg.SHA2_256_HMAC,
    "HMACSHA384": Alg.SHA2_384_HMAC,
    "HMACSHA512": Alg.SHA2_512_HMAC,
}

BY_FORM: Final = "is told by its form alone: no driver is asked"
"""Of what cannot be read as a signature or a message there is nothing to compute."""

Says = bool | None
"""What a subject makes of a test: it is valid, it is not, or (None) neither can be told."""

Try = Callable[[str, Fields, Fields, Subject], Says]
"""Tries a test of an algorithm and a group."""


def cases(folder: Path) -> Iterator[Case]:
    """
    Read each case of each file below a folder. Files of another kind are passed over.

    Raises:
        UsageError: there is none, or one is no JSON.
    """
    found = False
    for path in json_files(folder):
        document = read_json(path)
        if not isinstance(document, dict) or "algorithm" not in document:
            continue
        with as_published(path):
            groups = document.get("testGroups")
            if not isinstance(groups, list) or not _is_wycheproof(groups):
                continue
            found = True
            yield from _of_file(str(path.relative_to(folder)), str(document["algorithm"]), groups)
    if not found:
        raise UsageError(f"{folder} has no file of Wycheproof's; name its folder testvectors_v1")


def _is_wycheproof(groups: list[Fields]) -> bool:
    """Tell its files from NIST's, which have groups of the same name."""
    return all("type" in group and "tests" in group for group in groups)


def _of_file(file: str, algorithm: str, groups: list[Fields]) -> Iterator[Case]:
    for group in groups:
        for test in group["tests"]:
            ask = partial(_ask, algorithm, group, test)
            work = PRIVATE_WORK if "privateKey" in group else 1.0
            yield Case(SUITE, file, algorithm, f"tcId {test.get('tcId')}", ask, work)


def _ask(algorithm: str, group: Fields, test: Fields, subject: Subject) -> None:
    kind = str(group["type"])
    attempt = TYPES.get(kind)
    if attempt is None:
        raise RefusedError(f"no algorithm or key operation is asked by tests of type {kind}")
    says = attempt(algorithm, group, test, subject)
    wanted = test.get("result")
    if says is False and wanted == "valid":
        raise WrongError("what is valid was taken for invalid")
    if says is True and wanted == "invalid":
        flags = ", ".join(map(str, test.get("flags") or ())) or str(test.get("comment"))
        raise WrongError(f"what is invalid was taken for valid ({flags})")


def _known(table: dict[str, Alg], algorithm: str) -> Alg:
    try:
        return table[algorithm]
    except KeyError:
        raise RefusedError(f"opencrypto has no {algorithm}") from None


# Symmetric algorithms.


def _try_aead(algorithm: str, _: Fields, test: Fields, subject: Subject) -> Says:
    nonce, coded, tag = hexes(test, "iv"), hexes(test, "ct"), hexes(test, "tag")
    return _try_sealed(_known(AEADS, algorithm), nonce, coded, tag, test, subject)


def _try_daead(algorithm: str, _: Fields, test: Fields, subject: Subject) -> Says:
    whole = hexes(test, "ct")
    alg = _known(DETERMINISTIC, algorithm)
    return _try_sealed(alg, b"", whole[TAG:], whole[:TAG], test, subject)


def _try_sealed(
    alg: Alg, nonce: bytes, coded: bytes, tag: bytes, test: Fields, subject: Subject
) -> Says:
    key, aad, plain = hexes(test, "key"), hexes(test, "aad"), hexes(test, "msg")
    opened = subject.open(alg, key, nonce, aad, coded, tag)
    if opened is None:
        return False
    if test.get("result") != "invalid":
        sealed = subject.seal(alg, key, nonce, aad, plain, len(tag))
        if opened != plain or sealed != (coded, tag):
            raise WrongError("ciphertext, tag or plaintext is wrong")
    return True


def _try_mac(algorithm: str, group: Fields, test: Fields, subject: Subject) -> Says:
    alg = _known(MACS, algorithm)
    key, data, tag = hexes(test, "key"), hexes(test, "msg"), hexes(test, "tag")
    if int(group.get("tagSize", len(tag) * 8)) != len(tag) * 8:
        raise RefusedError("the tag is not of the group's length")
    verified = subject.verifies(alg, key, data, tag)
    if (subject.mac(alg, key, data, len(tag)) == tag) is not verified:
        raise WrongError("to make a MAC and to verify it come to two results")
    return verified


def _try_mac_with_iv(algorithm: str, _: Fields, test: Fields, subject: Subject) -> Says:
    alg = _known({"AES-GMAC": Alg.AES_GMAC}, algorithm)
    key, nonce = hexes(test, "key"), hexes(test, "iv")
    data, tag = hexes(test, "msg"), hexes(test, "tag")
    verified = subject.open(alg, key, nonce, data, b"", tag) is not None
    if (subject.seal(alg, key, nonce, data, b"", len(tag))[1] == tag) is not verified:
        raise WrongError("to make a tag and to verify it come to two results")
    return verified


def _try_cipher(algorithm: str, _: Fields, test: Fields, subject: Subject) -> Says:
    alg = _known(CIPHERS, algorithm)
    key, iv = hexes(test, "key"), hexes(test, "iv")
    plain, coded = hexes(test, "msg"), hexes(test, "ct")
    if algorithm.endswith("PKCS5"):
        if len(coded) % 16 or not coded:
            raise RefusedError(BY_FORM)
        clear = _unpadded(subject.cipher(alg, key, iv, coded, encrypt=False))
        if clear is None:
            return False
        plain += bytes([16 - len(plain) % 16]) * (16 - len(plain) % 16)
        right = clear == hexes(test, "msg")
    else:
        iv = iv.ljust(16, b"\0")  # the number of a data unit, its first byte the least
        right = subject.cipher(alg, key, iv, coded, encrypt=False) == plain
    if test.get("result") == "valid":
        if not right or subject.cipher(alg, key, iv, plain, encrypt=True) != coded:
            raise WrongError("ciphertext or plaintext is wrong")
    return right


def _unpadded(data: bytes) -> bytes | None:
    """Take the padding of RFC 5652, 6.3 away; None if it is none."""
    count = data[-1]
    padding = bytes([count]) * count
    return data[:-count] if 0 < count <= 16 and data.endswith(padding) else None


# Key operations.


def _try_dsa(_: str, group: Fields, test: Fields, subject: Subject, *, fixed: bool) -> Says:
    subject.require_keyop(Kop.DSA_VERIFY)
    key = group.get("publicKey") or group.get("key") or {}
    p, q, g, y = (number(key, name) for name in ("p", "q", "g", "y"))
    digest = rsa.hashed(str(group.get("sha")), hexes(test, "msg"))
    signature = hexes(test, "sig")
    numbers = _halves(signature, q) if fixed else _der_pair(signature)
    if numbers is None:
        raise RefusedError(BY_FORM)
    wide = (q.bit_length() + 7) // 8
    return subject.verdict(Kop.DSA_VERIFY, (digest[:wide], p, q, g, y, *numbers))


def _halves(signature: bytes, q: int) -> tuple[int, int] | None:
    """Read a signature of IEEE P1363: two numbers, each as wide as the group's order."""
    wide = (q.bit_length() + 7) // 8
    if len(signature) != 2 * wide:
        return None
    return int.from_bytes(signature[:wide]), int.from_bytes(signature[wide:])


def _der_pair(data: bytes) -> tuple[int, int] | None:
    """Read a SEQUENCE of two INTEGERs, in DER and in nothing else."""
    outer = _der_value(data, 0x30)
    if outer is None or outer[1]:
        return None
    first = _der_value(outer[0], 0x02)
    second = _der_value(first[1], 0x02) if first is not None else None
    if first is None or second is None or second[1]:
        return None
    numbers = [_der_number(value) for value in (first[0], second[0])]
    return None if None in numbers else (numbers[0] or 0, numbers[1] or 0)


def _der_value(data: bytes, tag: int) -> tuple[bytes, bytes] | None:
    """Return the content of the value in front, and what follows it."""
    if len(data) < 2 or data[0] != tag:
        return None
    length, at = data[1], 2
    if length >= 0x80:
        at += length & 0x7F
        length = int.from_bytes(data[2:at])
        if at > len(data) or length < 0x80 or data[2] == 0:
            return None
    return (data[at : at + length], data[at + length :]) if at + length <= len(data) else None


def _der_number(value: bytes) -> int | None:
    """Read a number that is not negative, in as few bytes as it can have."""
    if not value or value[0] >= 0x80 or (len(value) > 1 and value[0] == 0 and value[1] < 0x80):
        return None
    return int.from_bytes(value)


def _try_rsa_verify(_: str, group: Fields, test: Fields, subject: Subject) -> Says:
    n, e = _rsa_public(group)
    wanted = rsa.encoded(str(group.get("sha")), hexes(test, "msg"), (n.bit_length() + 7) // 8)
    power = subject.compute(Kop.MOD_EXP, (_below(hexes(test, "sig"), n), e, n), n.bit_length())
    return power == int.from_bytes(wanted)


def _try_pss(_: str, group: Fields, test: Fields, subject: Subject) -> Says:
    n, e = _rsa_public(group)
    power = subject.compute(Kop.MOD_EXP, (_below(hexes(test, "sig"), n), e, n), n.bit_length())
    if group.get("mgf") != "MGF1":
        raise RefusedError(f"a mask by {group.get('mgf')} is unknown")
    names = str(group.get("sha")), str(group.get("mgfSha"))
    salt = int(group.get("sLen", 0))
    return power is not None and rsa.verifies_pss(
        power, n.bit_length(), *names, salt, hexes(test, "msg")
    )


def _try_oaep(_: str, group: Fields, test: Fields, subject: Subject) -> Says:
    block = _decrypted(group, test, subject)
    if group.get("mgf") != "MGF1":
        raise RefusedError(f"a mask by {group.get('mgf')} is unknown")
    names = str(group.get("sha")), str(group.get("mgfSha"))
    plain = rsa.decoded_oaep(block, *names, hexes(test, "label"))
    return plain is not None and plain == hexes(test, "msg")


def _try_rsa_sign(_: str, group: Fields, test: Fields, subject: Subject) -> Says:
    key = group["privateKey"]
    n, d = number(key, "modulus"), number(key, "privateExponent")
    message = rsa.encoded(str(group.get("sha")), hexes(test, "msg"), (n.bit_length() + 7) // 8)
    power = _private(subject, key, n, d, int.from_bytes(message))
    if test.get("result") != "invalid" and power != int.from_bytes(hexes(test, "sig")):
        raise WrongError("the signature is wrong")
    return True


def _try_rsa_decrypt(_: str, group: Fields, test: Fields, subject: Subject) -> Says:
    plain = rsa.decoded(_decrypted(group, test, subject))
    return plain is not None and plain == hexes(test, "msg")


def _decrypted(group: Fields, test: Fields, subject: Subject) -> bytes:
    """Return the block that a message was made from, padding and all."""
    key = group.get("privateKey") or {"modulus": group.get("n"), "privateExponent": group.get("d")}
    n, d = number(key, "modulus"), number(key, "privateExponent")
    power = _private(subject, key, n, d, _below(hexes(test, "ct"), n))
    if power is None:
        raise WrongError("a number below the modulus was refused")
    return power.to_bytes((n.bit_length() + 7) // 8)


def _below(data: bytes, n: int) -> int:
    """Read a number as wide as the modulus and less than it (RFC 8017, 5.1.2 and 5.2.2)."""
    value = int.from_bytes(data)
    if len(data) != (n.bit_length() + 7) // 8 or value >= n:
        raise RefusedError(BY_FORM)
    return value


def _private(subject: Subject, key: Fields, n: int, d: int, value: int) -> int | None:
    """Raise a number to the private exponent, by the primes too where they are given."""
    power = subject.compute(Kop.MOD_EXP, (value, d, n), n.bit_length())
    if "prime1" in key:
        p, q = number(key, "prime1"), number(key, "prime2")
        dp, dq = number(key, "exponent1"), number(key, "exponent2")
        try:
            subject.require_keyop(Kop.MOD_EXP_CRT)
        except RefusedError:
            return power
        inputs = (p, q, value, dp, dq, number(key, "coefficient"))
        by_primes = subject.compute(Kop.MOD_EXP_CRT, inputs, n.bit_length())
        if by_primes != power:
            raise WrongError("MOD_EXP and MOD_EXP_CRT come to two results")
    return power


def _rsa_public(group: Fields) -> tuple[int, int]:
    key = group.get("publicKey") or {"modulus": group.get("n"), "publicExponent": group.get("e")}
    return number(key, "modulus"), number(key, "publicExponent")


TYPES: Final[dict[str, Try]] = {
    "AeadTest": _try_aead,
    "DaeadTest": _try_daead,
    "MacTest": _try_mac,
    "MacWithIvTest": _try_mac_with_iv,
    "IndCpaTest": _try_cipher,
    "DsaVerify": partial(_try_dsa, fixed=False),
    "DsaP1363Verify": partial(_try_dsa, fixed=True),
    "RsassaPkcs1Verify": _try_rsa_verify,
    "RsassaPkcs1Generate": _try_rsa_sign,
    "RsassaPssVerify": _try_pss,
    "RsassaPssWithParametersVerify": _try_pss,
    "RsaesOaepDecrypt": _try_oaep,
    "RsaesPkcs1Decrypt": _try_rsa_decrypt,
}
"""How the tests of each type are tried."""
