"""
NIST's ACVP: what a prompt asks, answered by a driver, and compared with what is expected.

`answer` is the subject of a validation; `cases` compares its answers with a file's. The formats are
those of draft-celi-acvp-symmetric, -sha, -mac, -dsa and -rsa. Numbers and bytes are hexadecimal,
lengths are bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from opencrypto import Cryptoini
from opencrypto.constants import Alg, Kop
from opencrypto.exceptions import UsageError
from opencrypto.testing.suites import rsa
from opencrypto.testing.suites.case import Case, Fields, hexes, json_files, number, read_json
from opencrypto.testing.suites.subject import RefusedError, Subject, WrongError
from opencrypto.xform import FACTS

SUITE: Final = "acvp"

ROUNDS: Final = 100
"""Results of a Monte Carlo test of AES and of hashes: AES MCT, 4.1 of its draft; SHA, 6.2."""

TURNS: Final = 1000
"""Operations to each of these results."""

TDES_ROUNDS: Final = 400
TDES_TURNS: Final = 10000
"""The same of TDES."""

MONTE_CARLO_WORK: Final = 60.0
"""So many times longer than one operation a Monte Carlo test may take."""

LARGEST: Final = 1 << 26
"""Bytes of a message that is made from a pattern; larger ones are refused."""

HASHES: Final = {
    "SHA-1": Alg.SHA1,
    "SHA2-224": Alg.SHA2_224,
    "SHA2-256": Alg.SHA2_256,
    "SHA2-384": Alg.SHA2_384,
    "SHA2-512": Alg.SHA2_512,
    "SHA3-256": Alg.SHA3_256,
    "SHA3-512": Alg.SHA3_512,
}

HMACS: Final = {
    "HMAC-SHA-1": Alg.SHA1_HMAC,
    "HMAC-SHA2-224": Alg.SHA2_224_HMAC,
    "HMAC-SHA2-256": Alg.SHA2_256_HMAC,
    "HMAC-SHA2-384": Alg.SHA2_384_HMAC,
    "HMAC-SHA2-512": Alg.SHA2_512_HMAC,
}

Answer = Callable[[str, Fields, Fields, Subject], Fields]
"""Answers a test of an algorithm and a group: the fields that its result has beside ``tcId``."""


def answer(document: Fields, group: Fields, test: Fields, subject: Subject) -> Fields:
    """
    Answer one test of a prompt.

    Returns:
        The fields of its result, without ``tcId``.

    Raises:
        RefusedError: the driver does not do it, or nobody knows how to ask for it.
        WrongError: the driver has failed.
    """
    algorithm, mode = str(document.get("algorithm")), str(document.get("mode") or "")
    found = ANSWERS.get(f"{algorithm} {mode}".strip()) or ANSWERS.get(algorithm)
    if found is None:
        raise RefusedError(f"opencrypto has no {f'{algorithm} {mode}'.strip()}")
    return found(algorithm, group, test, subject)


def vector_sets(document: Any) -> list[Fields]:
    """Return the vector sets of a file, which may be one, or several behind a version."""
    listed = document if isinstance(document, list) else [document]
    return [each for each in listed if isinstance(each, dict) and "testGroups" in each]


def cases(folder: Path) -> Iterator[Case]:
    """
    Read each test of each prompt below a folder that has its expected results beside it.

    A prompt is any file with ``prompt`` in its name; its results are in the file of the same name
    with ``expectedResults`` for it.

    Raises:
        UsageError: there is none, one has no results, or is no JSON.
    """
    prompts = [path for path in json_files(folder) if "prompt" in path.name]
    if not prompts:
        raise UsageError(f"{folder} has no prompt.json; name the folder that has ACVP's files")
    for path in prompts:
        beside = path.with_name(path.name.replace("prompt", "expectedResults"))
        if not beside.is_file():
            raise UsageError(f"{path} has no {beside.name} beside it, so no answer can be judged")
        wanted = {
            (str(expected.get("algorithm")), group.get("tgId"), test.get("tcId")): test
            for expected in vector_sets(read_json(beside))
            for group in expected["testGroups"]
            for test in group["tests"]
        }
        yield from _of_prompt(str(path.relative_to(folder)), path, wanted)


def _of_prompt(file: str, path: Path, wanted: dict[tuple[str, Any, Any], Fields]) -> Iterator[Case]:
    for document in vector_sets(read_json(path)):
        algorithm = str(document.get("algorithm"))
        mode = str(document.get("mode") or "")
        for group in document["testGroups"]:
            monte_carlo = group.get("testType") == "MCT"
            for test in group["tests"]:
                ident = f"tcId {test.get('tcId')}"
                expected = wanted.get((algorithm, group.get("tgId"), test.get("tcId")))
                ask = partial(_ask, document, group, test, expected)
                work = MONTE_CARLO_WORK if monte_carlo else 1.0
                yield Case(SUITE, file, f"{algorithm} {mode}".strip(), ident, ask, work)


def _ask(
    document: Fields, group: Fields, test: Fields, expected: Fields | None, subject: Subject
) -> None:
    if expected is None:
        raise RefusedError("no result is expected")
    wanted = {name: value for name, value in expected.items() if name != "tcId"}
    answered = answer(document, group, test, subject)
    for name in sorted(wanted.keys() | answered.keys()):
        if not _same(answered.get(name), wanted.get(name)):
            raise WrongError(f"{name} is wrong")


def _same(got: Any, wanted: Any) -> bool:
    """Compare answers; digits of numbers may be of either case."""
    if isinstance(got, str) and isinstance(wanted, str):
        return got.lower() == wanted.lower()
    if isinstance(got, list) and isinstance(wanted, list):
        return len(got) == len(wanted) and all(map(_same, got, wanted))
    if isinstance(got, dict) and isinstance(wanted, dict):
        return got.keys() == wanted.keys() and all(_same(got[name], wanted[name]) for name in got)
    return bool(got == wanted)


# What is in a test.


def _hex(data: bytes) -> str:
    return data.hex().upper()


def _bytes_of(said: Any, what: str) -> int:
    """Return a length of whole bytes, from one in bits as the file says it."""
    bits = int(said or 0)
    if bits % 8:
        raise RefusedError(f"{what} of {bits} bits is no number of whole bytes")
    return bits // 8


def _payload(group: Fields, test: Fields, encrypt: bool) -> bytes:
    data = hexes(test, "pt" if encrypt else "ct")
    bits = test.get("payloadLen", group.get("payloadLen", len(data) * 8))
    _bytes_of(bits, "a payload")
    return data


def _encrypts(group: Fields) -> bool:
    direction = str(group.get("direction"))
    if direction not in {"encrypt", "decrypt"}:
        raise RefusedError(f"a direction {direction!r} is unknown")
    return direction == "encrypt"


def _coded(data: bytes, encrypt: bool) -> Fields:
    return {"ct" if encrypt else "pt": _hex(data)}


# Ciphers.


def _answer_cbc(_: str, group: Fields, test: Fields, subject: Subject) -> Fields:
    encrypt = _encrypts(group)
    key, iv, data = hexes(test, "key"), hexes(test, "iv"), _payload(group, test, encrypt)
    if group.get("testType") == "MCT":
        return {"resultsArray": list(_aes_monte_carlo(subject, key, iv, data, encrypt))}
    return _coded(subject.cipher(Alg.AES_CBC, key, iv, data, encrypt=encrypt), encrypt)


def _aes_monte_carlo(
    subject: Subject, key: bytes, iv: bytes, data: bytes, encrypt: bool
) -> Iterator[Fields]:
    """Run AES-CBC on its own results: what comes out is the next input, and changes the key."""
    for _ in range(ROUNDS):
        begun, last, before = {"key": key, "iv": iv}, data, b""
        text, vector = data, iv
        with subject.session(Cryptoini(Alg.AES_CBC, key)) as sid:
            for turn in range(TURNS):
                before = last
                last = subject.crypt(sid, Alg.AES_CBC, vector, text, encrypt=encrypt)
                # Encrypting chains by the output, decrypting by the input.
                vector, text = (last if encrypt else text), (vector if turn == 0 else before)
        yield {
            **{name: _hex(value) for name, value in begun.items()},
            "pt" if encrypt else "ct": _hex(data),
            "ct" if encrypt else "pt": _hex(last),
        }
        mixed = (before + last)[-len(key) :]
        key = bytes(a ^ b for a, b in zip(key, mixed, strict=True))
        iv, data = last, before


def _answer_tdes(_: str, group: Fields, test: Fields, subject: Subject) -> Fields:
    encrypt = _encrypts(group)
    keys = [hexes(test, f"key{n}") for n in (1, 2, 3)]
    iv, data = hexes(test, "iv"), _payload(group, test, encrypt)
    if group.get("testType") == "MCT":
        return {"resultsArray": list(_tdes_monte_carlo(subject, keys, iv, data, encrypt))}
    coded = subject.cipher(Alg["3DES_CBC"], b"".join(keys), iv, data, encrypt=encrypt)
    return _coded(coded, encrypt)


def _tdes_monte_carlo(
    subject: Subject, keys: list[bytes], iv: bytes, data: bytes, encrypt: bool
) -> Iterator[Fields]:
    """Run 3DES-CBC on its own results; the last three of them change the three keys."""
    alg = Alg["3DES_CBC"]
    for _ in range(TDES_ROUNDS):
        begun = {f"key{n}": _hex(key) for n, key in enumerate(keys, 1)} | {"iv": _hex(iv)}
        text, vector, results = data, iv, [iv, iv, iv]
        with subject.session(Cryptoini(alg, b"".join(keys))) as sid:
            for turn in range(TDES_TURNS):
                last = subject.crypt(sid, alg, vector, text, encrypt=encrypt)
                if encrypt:
                    text, vector = (vector if turn == 0 else results[-1]), last
                else:
                    vector, text = text, last
                results = [*results[-2:], last]
        yield begun | {
            "pt" if encrypt else "ct": _hex(data),
            "ct" if encrypt else "pt": _hex(results[-1]),
        }
        mixed = (results[-1], results[-2], results[-3])
        same = [key == keys[0] for key in keys]
        keys = [_odd(_xor(key, with_)) for key, with_ in zip(keys, mixed, strict=True)]
        # A key that was the first one stays the first one: two-key and one-key triple DES.
        keys = [keys[0] if was else key for key, was in zip(keys, same, strict=True)]
        if encrypt:
            iv, data = results[-1], results[-2]
        else:
            iv, data = vector, results[-1]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _odd(key: bytes) -> bytes:
    """Set the parity of each byte of a DES key."""
    return bytes(each if each.bit_count() % 2 else each ^ 1 for each in key)


def _answer_counter(_: str, group: Fields, test: Fields, subject: Subject) -> Fields:
    encrypt = _encrypts(group)
    if group.get("testType") != "AFT":
        raise RefusedError("who is asked would choose the counters; the IV is asked for here")
    block, data = hexes(test, "iv"), _payload(group, test, encrypt)
    return _coded(subject.counter(hexes(test, "key"), block, data, encrypt=encrypt), encrypt)


def _answer_xts(_: str, group: Fields, test: Fields, subject: Subject) -> Fields:
    encrypt = _encrypts(group)
    data = _payload(group, test, encrypt)
    unit = test.get("dataUnitLen", group.get("dataUnitLen", len(data) * 8))
    if _bytes_of(unit, "a data unit") < len(data):
        raise RefusedError("a request is one data unit, and this message has several")
    if "sequenceNumber" in test:
        tweak = int(test["sequenceNumber"]).to_bytes(16, "little")
    else:
        tweak = hexes(test, "tweakValue")
    key = hexes(test, "key")
    return _coded(subject.cipher(Alg.AES_XTS, key, tweak, data, encrypt=encrypt), encrypt)


# Authenticated ciphers.


def _answer_gcm(_: str, group: Fields, test: Fields, subject: Subject) -> Fields:
    encrypt = _encrypts(group)
    _require_given_iv(group, encrypt)
    key, aad = hexes(test, "key"), hexes(test, "aad")
    data = _payload(group, test, encrypt)
    nonce = hexes(test, "iv")
    if encrypt:
        length = _bytes_of(group.get("tagLen"), "a tag")
        coded, tag = subject.seal(Alg.AES_GCM_16, key, nonce, aad, data, length)
        return {"ct": _hex(coded), "tag": _hex(tag)}
    plain = subject.open(Alg.AES_GCM_16, key, nonce, aad, data, hexes(test, "tag"))
    return {"testPassed": False} if plain is None else {"pt": _hex(plain)}


def _answer_gmac(_: str, group: Fields, test: Fields, subject: Subject) -> Fields:
    encrypt = _encrypts(group)
    _require_given_iv(group, encrypt)
    key, nonce, aad = hexes(test, "key"), hexes(test, "iv"), hexes(test, "aad")
    if encrypt:
        length = _bytes_of(group.get("tagLen"), "a tag")
        return {"tag": _hex(subject.seal(Alg.AES_GMAC, key, nonce, aad, b"", length)[1])}
    opened = subject.open(Alg.AES_GMAC, key, nonce, aad, b"", hexes(test, "tag"))
    return {"testPassed": opened is not None}


def _require_given_iv(group: Fields, encrypt: bool) -> None:
    if encrypt and group.get("ivGen", "external") != "external":
        raise RefusedError("who is asked would choose the IV, and nothing could be compared")


def _answer_ccm(_: str, group: Fields, test: Fields, subject: Subject) -> Fields:
    encrypt = _encrypts(group)
    length = _bytes_of(group.get("tagLen"), "a tag")
    key, nonce, aad = hexes(test, "key"), hexes(test, "iv"), hexes(test, "aad")
    if encrypt:
        plain = _payload(group, test, encrypt)
        return {"ct": _hex(b"".join(subject.seal(Alg.AES_CCM_16, key, nonce, aad, plain, length)))}
    whole = hexes(test, "ct")
    coded, tag = whole[: len(whole) - length], whole[len(whole) - length :]
    opened = subject.open(Alg.AES_CCM_16, key, nonce, aad, coded, tag)
    return {"testPassed": False} if opened is None else {"pt": _hex(opened)}


# Authenticators and hashes.


def _answer_cmac(_: str, group: Fields, test: Fields, subject: Subject) -> Fields:
    key, data = hexes(test, "key"), hexes(test, "message")
    _bytes_of(group.get("msgLen"), "a message")
    if group.get("direction") == "ver":
        return {"testPassed": subject.verifies(Alg.AES_CMAC, key, data, hexes(test, "mac"))}
    length = _bytes_of(group.get("macLen"), "a MAC")
    return {"mac": _hex(subject.mac(Alg.AES_CMAC, key, data, length))}


def _answer_hmac(algorithm: str, group: Fields, test: Fields, subject: Subject) -> Fields:
    alg = HMACS[algorithm]
    length = _bytes_of(test.get("macLen", group.get("macLen")), "a MAC")
    data = _message(test, hexes(test, "msg"), group.get("msgLen"))
    return {"mac": _hex(subject.mac(alg, hexes(test, "key"), data, length))}


def _answer_hash(algorithm: str, group: Fields, test: Fields, subject: Subject) -> Fields:
    alg = HASHES[algorithm]
    match group.get("testType"):
        case "MCT":
            if group.get("mctVersion", "standard") != "standard":
                raise RefusedError(f"a Monte Carlo test {group['mctVersion']!r} is unknown")
            run = _monte_carlo_1 if algorithm.startswith("SHA3") else _monte_carlo_3
            results = run(subject, alg, hexes(test, "msg"))
            return {"resultsArray": [{"md": _hex(each)} for each in results]}
        case "LDT":
            return {"md": _hex(subject.digest(alg, _large(test.get("largeMsg") or {})))}
        case _:
            return {"md": _hex(subject.digest(alg, _message(test, hexes(test, "msg"), None)))}


def _message(test: Fields, data: bytes, bits: Any) -> bytes:
    """Return a message of as many bits as are said: of none, digits stand there all the same."""
    said = test.get("len", bits)
    return data if said is None else data[: _bytes_of(said, "a message")]


def _monte_carlo_3(subject: Subject, alg: int, seed: bytes) -> Iterator[bytes]:
    """Hash the last three digests together, over and over: SHA-1 and SHA-2."""
    with subject.maker(alg, b"", FACTS[alg].digest) as digest:
        for _ in range(ROUNDS):
            last = [seed, seed, seed]
            for _ in range(TURNS):
                last = [*last[1:], digest(b"".join(last))]
            seed = last[-1]
            yield seed


def _monte_carlo_1(subject: Subject, alg: int, seed: bytes) -> Iterator[bytes]:
    """Hash the last digest, over and over: SHA-3."""
    with subject.maker(alg, b"", FACTS[alg].digest) as digest:
        for _ in range(ROUNDS):
            for _ in range(TURNS):
                seed = digest(seed)
            yield seed


def _large(message: Fields) -> bytes:
    """Make a large message from its pattern."""
    if message.get("expansionTechnique") != "repeating":
        raise RefusedError("how the message is made is unknown")
    pattern = hexes(message, "content")
    length = _bytes_of(message.get("fullLength"), "a message")
    if length > LARGEST or not pattern:
        raise RefusedError(f"a message of {length} bytes is more than {LARGEST} at a time")
    return (pattern * (length // len(pattern) + 1))[:length]


# Key operations.


def _answer_dsa(_: str, group: Fields, test: Fields, subject: Subject) -> Fields:
    subject.require_keyop(Kop.DSA_VERIFY)
    p, q, g = (number(group, name) for name in ("p", "q", "g"))
    y, r, s = (number(test, name) for name in ("y", "r", "s"))
    digest = rsa.hashed(str(group.get("hashAlg")), hexes(test, "message"))
    digest = digest[: (q.bit_length() + 7) // 8]
    return {"testPassed": subject.verdict(Kop.DSA_VERIFY, (digest, p, q, g, y, r, s))}


def _answer_rsa_verify(_: str, group: Fields, test: Fields, subject: Subject) -> Fields:
    n, e = number(group, "n"), number(group, "e")
    message, signature = hexes(test, "message"), number(test, "signature")
    name, kind = str(group.get("hashAlg")), group.get("sigType")
    if signature >= n:
        return {"testPassed": False}  # RFC 8017, 5.2.2: the representative is out of range
    bits = n.bit_length()
    power = subject.compute(Kop.MOD_EXP, (signature, e, n), bits)
    if kind == "pkcs1v1.5":
        passed = power == int.from_bytes(rsa.encoded(name, message, (bits + 7) // 8))
    elif kind == "pss" and group.get("maskFunction", "mgf1") == "mgf1":
        salt = int(group.get("saltLen") or 0)
        passed = power is not None and rsa.verifies_pss(power, bits, name, name, salt, message)
    else:
        raise RefusedError(f"signatures of type {kind} are unknown")
    return {"testPassed": passed}


def _answer_rsa_primitive(_: str, group: Fields, test: Fields, subject: Subject) -> Fields:
    n, message = number(test, "n"), number(test, "message")
    if message >= n:
        return {"testPassed": False}  # RFC 8017, 5.2.1: the representative is out of range
    if group.get("keyFormat", group.get("keyMode")) == "crt":
        names = ("p", "q", "message", "dmp1", "dmq1", "iqmp")
        op, inputs = Kop.MOD_EXP_CRT, tuple(number(test, name) for name in names)
    else:
        op, inputs = Kop.MOD_EXP, (message, number(test, "d"), n)
    power = subject.compute(op, inputs, n.bit_length())
    if power is None:
        return {"testPassed": False}
    return {"signature": _hex(power.to_bytes((n.bit_length() + 7) // 8))}


ANSWERS: Final[dict[str, Answer]] = {
    "ACVP-AES-CBC": _answer_cbc,
    "ACVP-AES-CTR": _answer_counter,
    "ACVP-AES-XTS": _answer_xts,
    "ACVP-AES-GCM": _answer_gcm,
    "ACVP-AES-GMAC": _answer_gmac,
    "ACVP-AES-CCM": _answer_ccm,
    "ACVP-TDES-CBC": _answer_tdes,
    "CMAC-AES": _answer_cmac,
    "DSA sigVer": _answer_dsa,
    "RSA sigVer": _answer_rsa_verify,
    "RSA signaturePrimitive": _answer_rsa_primitive,
    **dict.fromkeys(HMACS, _answer_hmac),
    **dict.fromkeys(HASHES, _answer_hash),
}
"""Who answers, by algorithm and mode."""
