"""Every shipped vector against libraries that know nothing of opencrypto."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest

from opencrypto.testing import vectors
from tests.references import MAC_LENGTHS, REFERENCES, key_and_nonce
from tests.support import require_module

NAMES = vectors.names()
VALID = "valid"


DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "deflate_comp": lambda data: inflate(data),
    "gzip_comp": gzip.decompress,
}


def inflate(data: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=-15)
    out = stream.decompress(data) + stream.flush()
    if not stream.eof or stream.unused_data:
        raise zlib.error("the stream does not end where the data ends")
    return out


def test_every_file_has_a_reference() -> None:
    assert set(NAMES) == set(REFERENCES) | set(DECOMPRESS)


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_values_agree_with_an_independent_implementation(name: str) -> None:
    reference = REFERENCES[name]
    for v in vectors.load(name):
        if v.result != VALID:
            continue
        output, full = reference(v)
        assert v.output == output, v.id
        if v.mac is not None:
            assert full is not None, v.id
            assert full[: len(v.mac)] == v.mac, v.id
        if v.full is not None:
            assert v.full == full, v.id


@pytest.mark.parametrize("name", sorted(set(REFERENCES) & set(MAC_LENGTHS)))
def test_invalid_vectors_are_refused(name: str) -> None:
    """The MAC is not that of what was received."""
    aead = {"aes_gcm_16": "AESGCM", "aes_gmac": "AESGCM", "aes_ccm_16": "AESCCM"}
    aead["chacha20_poly1305"] = "ChaCha20Poly1305"
    for v in vectors.load(name):
        if v.result == VALID:
            continue
        assert v.mac is not None
        if name not in aead and name != "aes_siv":
            _, full = REFERENCES[name](v)
            assert full is not None, v.id
            assert full[: len(v.mac)] != v.mac, v.id
            continue
        module = require_module("cryptography.hazmat.primitives.ciphers.aead")
        exceptions = require_module("cryptography.exceptions")
        if name == "aes_siv":
            refused = (exceptions.InvalidTag,) if v.output else (exceptions.InvalidTag, ValueError)
            with pytest.raises(refused):
                module.AESSIV(v.key).decrypt(v.mac + v.output, [v.aad])
            continue
        key, nonce = key_and_nonce(v, 3 if name == "aes_ccm_16" else 4)
        with pytest.raises(exceptions.InvalidTag):
            getattr(module, aead[name])(key).decrypt(nonce, v.output + v.mac, v.aad)


@pytest.mark.parametrize("name", sorted(DECOMPRESS))
def test_compressed_streams(name: str) -> None:
    for v in vectors.load(name):
        if v.result == VALID:
            assert DECOMPRESS[name](v.output) == v.input, v.id
        else:
            with pytest.raises((zlib.error, OSError, EOFError)):
                DECOMPRESS[name](v.output)
