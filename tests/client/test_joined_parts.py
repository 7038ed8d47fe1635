"""Aad, IV and ciphertext under one MAC: none of their borders can be moved."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opencrypto import (
    CRYPTO_AES_CBC,
    CRYPTO_AES_CMAC,
    CRYPTO_AES_CTR,
    CRYPTO_SHA1_HMAC,
    CRYPTO_SHA2_256_HMAC,
    Alg,
    AuthenticationError,
    Cryptoini,
    Framework,
)
from opencrypto.client import Sealed, Session
from opencrypto.exceptions import UsageError

RFC7518 = json.loads(Path(__file__).with_name("rfc7518.json").read_text("ascii"))
BLOCK = 16
CIPHER = Cryptoini(CRYPTO_AES_CBC, bytes(range(16)))
CHAINS = {
    "cbc, hmac": [CIPHER, Cryptoini(CRYPTO_SHA2_256_HMAC, b"m" * 32)],
    "hmac, cbc": [Cryptoini(CRYPTO_SHA1_HMAC, b"m" * 20), CIPHER],
    "cbc, cmac": [CIPHER, Cryptoini(CRYPTO_AES_CMAC, b"m" * 16)],
    "ctr, hmac": [Cryptoini(CRYPTO_AES_CTR, bytes(20)), Cryptoini(CRYPTO_SHA1_HMAC, b"m" * 20)],
}


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with Framework() as made:
        yield made


def padded(text: bytes) -> bytes:
    """Fill up the last block as PKCS #7 does, which RFC 7518 asks for."""
    missing = BLOCK - len(text) % BLOCK
    return text + bytes([missing]) * missing


@pytest.mark.parametrize("driver", ["openssl", "swcrypto"])
@pytest.mark.parametrize("case", RFC7518["cases"], ids=lambda case: case["name"].split()[0])
def test_messages_are_those_of_rfc_7518(
    framework: Framework, driver: str, case: dict[str, Any]
) -> None:
    """A session of CBC and a truncated HMAC makes, and opens, the examples of appendix B."""
    key, tag = bytes.fromhex(case["key"]), bytes.fromhex(case["tag"])
    half = len(key) // 2
    iv, aad, text = (bytes.fromhex(RFC7518[name]) for name in ("iv", "aad", "plaintext"))
    hmac = Cryptoini(Alg[case["authenticator"]], key[:half], mlen=len(tag))
    inis = [Cryptoini(CRYPTO_AES_CBC, key[half:]), hmac]
    with Session(inis, framework=framework, driver=driver) as session:
        sealed = session.encrypt(padded(text), iv=iv, aad=aad)
        assert (sealed.data.hex(), sealed.mac) == (case["ciphertext"], tag)
        assert session.decrypt(Sealed(iv, sealed.data, tag), aad=aad) == padded(text)


@pytest.mark.parametrize("chain", CHAINS)
def test_no_border_can_be_moved(framework: Framework, chain: str) -> None:
    """The same joined bytes, divided otherwise into aad, IV and ciphertext, do not verify."""
    aad = bytes(range(100, 140))
    with Session(CHAINS[chain], framework=framework) as session:
        sealed = session.encrypt(bytes(5 * BLOCK), aad=aad)
        joined = aad + sealed.iv + sealed.data
        ivlen = len(sealed.iv)
        tried = 0
        for cut in range(len(joined) - ivlen + 1):
            if cut == len(aad):
                continue
            moved = Sealed(joined[cut : cut + ivlen], joined[cut + ivlen :], sealed.mac)
            try:
                session.decrypt(moved, aad=joined[:cut])
            except AuthenticationError:
                tried += 1
            except UsageError:
                assert len(moved.data) % BLOCK  # no whole blocks: refused before it is looked at
            else:
                pytest.fail(f"the MAC verifies with the aad cut at {cut}")
        assert tried >= 5
        assert session.decrypt(sealed, aad=aad) == bytes(5 * BLOCK)


@pytest.mark.parametrize("chain", CHAINS)
def test_no_length_can_be_mistaken_for_data(framework: Framework, chain: str) -> None:
    """What stands for the aad's length cannot be passed off as the end of the ciphertext."""
    with Session(CHAINS[chain], framework=framework) as session:
        sealed = session.encrypt(bytes(2 * BLOCK), aad=b"")
        for tail in (bytes(8), bytes(16), (64).to_bytes(8, "big") + bytes(8)):
            forged = Sealed(sealed.iv, sealed.data + tail, sealed.mac)
            with pytest.raises((AuthenticationError, UsageError)):
                session.decrypt(forged)
