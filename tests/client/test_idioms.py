"""
What somebody types who knows `cryptography`, hashlib and hmac: the same words, the same bytes.

Each test is one of their idioms, then ours; the bytes of the two must be equal, and what one of
them protects the other takes.
"""

from __future__ import annotations

import hashlib
import hmac as stdlib_hmac
import io
import secrets
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hmac, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

from opencrypto import AuthenticationError, Framework, UsageError

DATA = b"attack at dawn" * 11
AAD = b"to the cavalry"

pytestmark = pytest.mark.shared_framework


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with Framework(control=False) as made:
        yield made


# AEAD, at once.


@pytest.mark.parametrize(
    ("name", "theirs", "size"),
    [
        ("aes-128-gcm", AESGCM, 16),
        ("aes-192-gcm", AESGCM, 24),
        ("aes-256-gcm", AESGCM, 32),
        ("aes-128-ccm", AESCCM, 16),
        ("chacha20-poly1305", ChaCha20Poly1305, 32),
    ],
)
def test_aead(framework: Framework, name: str, theirs: type[AESGCM], size: int) -> None:
    """``AESGCM(key).encrypt(nonce, data, aad)`` gives no nonce back; a token has it in front."""
    key, nonce = secrets.token_bytes(size), secrets.token_bytes(12)
    aead = theirs(key)
    with framework.session(name, key) as session:
        assert session.seal(DATA, AAD, nonce) == nonce + aead.encrypt(nonce, DATA, AAD)
        assert session.open(nonce + aead.encrypt(nonce, DATA, AAD), AAD) == DATA
        token = session.seal(DATA)
        assert aead.decrypt(token[:12], token[12:], None) == DATA
        assert session.open(nonce + aead.encrypt(nonce, b"", None)) == b""


def test_a_forgery(framework: Framework) -> None:
    """InvalidTag is AuthenticationError here."""
    key = AESGCM.generate_key(128)
    with framework.session("aes-128-gcm", key) as session:
        token = bytearray(session.seal(DATA))
        token[20] ^= 1
        with pytest.raises(InvalidTag):
            AESGCM(key).decrypt(bytes(token[:12]), bytes(token[12:]), None)
        with pytest.raises(AuthenticationError):
            session.open(bytes(token))
        with pytest.raises(AuthenticationError):
            session.open(b"too short")


def test_a_key_of_the_wrong_length(framework: Framework) -> None:
    with pytest.raises(ValueError, match="128, 192, or 256"):
        AESGCM(bytes(15))
    with pytest.raises(UsageError, match="not 15"):
        framework.session("aes-128-gcm", bytes(15))


# Ciphers, at once.


@pytest.mark.parametrize(
    ("name", "mode", "size", "length"),
    [
        ("aes-128-cbc", modes.CBC, 16, 160),
        ("aes-256-cbc", modes.CBC, 32, 160),
        ("aes-256-ctr", modes.CTR, 32, 157),
        ("aes-256-xts", modes.XTS, 64, 160),
    ],
)
def test_cipher(
    framework: Framework, name: str, mode: type[modes.CBC], size: int, length: int
) -> None:
    """``Cipher(AES(key), CBC(iv)).encryptor()``, update and finalize, of a whole message."""
    key, iv, data = secrets.token_bytes(size), secrets.token_bytes(16), secrets.token_bytes(length)
    encryptor = Cipher(algorithms.AES(key), mode(iv)).encryptor()
    theirs = encryptor.update(data) + encryptor.finalize()
    with framework.session(name, key) as session:
        sealed = session.encrypt(data, iv=iv)
        assert (sealed.iv, sealed.data, sealed.mac) == (iv, theirs, b"")
        assert session.decrypt(sealed) == data


def test_padding_is_theirs(framework: Framework) -> None:
    """CBC takes whole blocks in both; padding is the program's."""
    key, iv = secrets.token_bytes(32), secrets.token_bytes(16)
    padder = padding.PKCS7(128).padder()
    padded = padder.update(b"not a whole block") + padder.finalize()
    with framework.session("aes-256-cbc", key) as session:
        with pytest.raises(UsageError, match="multiple of 16"):
            session.encrypt(b"not a whole block")
        back = session.decrypt(session.encrypt(padded, iv=iv))
    unpadder = padding.PKCS7(128).unpadder()
    assert unpadder.update(back) + unpadder.finalize() == b"not a whole block"


def test_encrypt_then_mac(framework: Framework) -> None:
    """By hand: encrypt, then MAC; check the MAC first on the way back."""
    cipher_key, mac_key = secrets.token_bytes(32), secrets.token_bytes(32)
    with framework.session("aes-256-cbc+hmac-sha2-256", (cipher_key, mac_key)) as session:
        token = session.seal(bytes(64))
    iv, ciphertext, tag = token[:16], token[16:-32], token[-32:]
    # What is authenticated: aad, IV, ciphertext, and how many bits the aad has (RFC 7518).
    covered = iv + ciphertext + bytes(8)
    stdlib_hmac.compare_digest(tag, stdlib_hmac.digest(mac_key, covered, "sha256"))
    assert tag == stdlib_hmac.digest(mac_key, covered, "sha256")
    decryptor = Cipher(algorithms.AES(cipher_key), modes.CBC(iv)).decryptor()
    assert decryptor.update(ciphertext) + decryptor.finalize() == bytes(64)


# MACs and digests, at once.


@pytest.mark.parametrize("bits", [224, 256, 384, 512])
def test_hmac(framework: Framework, bits: int) -> None:
    """``hmac.digest(key, data, "sha256")``, and `cryptography`'s HMAC."""
    key = secrets.token_bytes(32)
    with framework.session(f"hmac-sha2-{bits}", key) as session:
        assert session.mac(DATA) == stdlib_hmac.digest(key, DATA, f"sha{bits}")
        h = hmac.HMAC(key, getattr(hashes, f"SHA{bits}")())
        h.update(DATA)
        mac = h.finalize()
        assert session.mac(DATA) == mac
        session.verify(DATA, mac)
        with pytest.raises(AuthenticationError):
            session.verify(DATA + b"!", mac)
        again = hmac.HMAC(key, getattr(hashes, f"SHA{bits}")())
        again.update(DATA + b"!")
        with pytest.raises(InvalidSignature):
            again.verify(mac)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("sha1", "sha1"),
        ("sha256", "sha256"),
        ("sha2-512", "sha512"),
        ("sha3-256", "sha3_256"),
        ("md5", "md5"),
        ("blake2b-512", "blake2b"),
    ],
)
def test_digest(framework: Framework, name: str, theirs: str) -> None:
    """``hashlib.sha256(data).digest()``."""
    with framework.session(name) as session:
        assert session.mac(DATA) == hashlib.new(theirs, DATA).digest()


# Compression.


def test_zlib(framework: Framework) -> None:
    """``zlib.compress`` and back; deflate has no header, gzip has one."""
    with framework.session("deflate") as session:
        assert zlib.decompress(session.compress(DATA), wbits=-15) == DATA
        assert session.decompress(zlib.compress(DATA, wbits=-15)) == DATA
    with framework.session("gzip") as session:
        assert zlib.decompress(session.compress(DATA), wbits=31) == DATA
        assert session.decompress(zlib.compress(DATA, wbits=31)) == DATA


# Buffers.


def test_into(framework: Framework) -> None:
    """``AESGCM.encrypt_into(nonce, data, aad, buf)`` returns how much it wrote."""
    key, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    theirs, ours = bytearray(len(DATA) + 16), bytearray(12 + len(DATA) + 16)
    with framework.session("aes-128-gcm", key) as session:
        assert AESGCM(key).encrypt_into(nonce, DATA, AAD, theirs) == len(theirs)
        assert session.seal_into(DATA, ours, AAD, nonce) == len(ours)
        assert ours == nonce + theirs
        back = bytearray(len(DATA))
        assert session.open_into(ours, back, AAD) == len(DATA)
        assert back == DATA


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_anything_bytes_like(framework: Framework, kind: type[bytes]) -> None:
    with framework.session("aes-128-gcm", kind(bytes(16))) as session:
        assert session.open(kind(session.seal(kind(DATA), kind(AAD))), kind(AAD)) == DATA


def test_text_is_no_bytes(framework: Framework) -> None:
    """A str is refused by both, with a sentence."""
    with framework.session("aes-128-gcm", bytes(16)) as session:
        with pytest.raises(TypeError):
            AESGCM(bytes(16)).encrypt(bytes(12), "text", None)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="data"):
            session.seal("text")  # type: ignore[arg-type]


# Threads.


def test_a_pool_maps_a_session(framework: Framework) -> None:
    """``pool.map(aead.encrypt, ...)``: a session may be shared, as AESGCM may."""
    with (
        framework.session("aes-128-gcm", bytes(16)) as session,
        ThreadPoolExecutor(4) as pool,
    ):
        tokens = list(pool.map(session.seal, [DATA] * 100))
        assert len({token[:12] for token in tokens}) == 100
        assert list(pool.map(session.open, tokens)) == [DATA] * 100


# Messages in pieces.

PIECES = (b"attack ", b"at dawn, ", b"", b"and bring the cavalry " * 40)


@pytest.mark.parametrize(
    ("name", "mode", "size"),
    [("aes-256-ctr", modes.CTR, 32), ("aes-128-cbc", modes.CBC, 16)],
)
def test_encryptor(framework: Framework, name: str, mode: type[modes.CBC], size: int) -> None:
    """``encryptor.update(a) + encryptor.update(b) + encryptor.finalize()``."""
    key, iv = secrets.token_bytes(size), secrets.token_bytes(16)
    pieces = [*PIECES, bytes(-sum(map(len, PIECES)) % 16)]
    theirs = Cipher(algorithms.AES(key), mode(iv)).encryptor()
    wanted = b"".join(map(theirs.update, pieces)) + theirs.finalize()
    with framework.session(name, key) as session:
        ours = session.encryptor(iv=iv)
        assert b"".join(map(ours.update, pieces)) + ours.finalize() == wanted
        back = session.decryptor(iv)
        assert back.update(wanted[:33]) + back.update(wanted[33:]) + back.finalize() == b"".join(
            pieces
        )


def test_gcm_in_pieces(framework: Framework) -> None:
    """``Cipher(AES(key), GCM(iv, tag))``, with its additional data and its tag."""
    key, iv = secrets.token_bytes(16), secrets.token_bytes(12)
    theirs = Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor()
    theirs.authenticate_additional_data(AAD)
    wanted = b"".join(map(theirs.update, PIECES)) + theirs.finalize()
    with framework.session("aes-128-gcm", key) as session:
        ours = session.encryptor(iv=iv)
        ours.authenticate_additional_data(AAD)
        assert b"".join(map(ours.update, PIECES)) + ours.finalize() == wanted
        assert (ours.iv, ours.tag) == (iv, theirs.tag)
        back = session.decryptor(iv, aad=AAD, unverified=True)
        assert back.update(wanted) + back.finalize_with_tag(theirs.tag) == b"".join(PIECES)
        bad = session.decryptor(iv, aad=AAD, unverified=True)
        bad.update(wanted)
        with pytest.raises(AuthenticationError):
            bad.finalize_with_tag(bytes(16))


def test_update_into(framework: Framework) -> None:
    """``encryptor.update_into(data, buf)`` returns how much it wrote."""
    key, iv = secrets.token_bytes(32), secrets.token_bytes(16)
    theirs, ours = bytearray(len(DATA) + 15), bytearray(len(DATA) + 15)
    one = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    with framework.session("aes-256-ctr", key) as session, session.encryptor(iv=iv) as two:
        assert one.update_into(DATA, theirs) == two.update_into(DATA, ours) == len(DATA)
        assert ours == theirs
        assert one.finalize() == two.finalize() == b""


@pytest.mark.parametrize("name", ["sha256", "sha1", "md5", "sha512", "sha3_256"])
def test_hashlib(framework: Framework, name: str) -> None:
    """``h = hashlib.new(name); h.update(...); h.copy(); h.hexdigest()``, and its attributes."""
    theirs = hashlib.new(name)
    with framework.session(name.replace("_", "-")) as session:
        ours = session.hasher()
        for piece in PIECES:
            theirs.update(piece)
            ours.update(piece)
        both = ours.copy(), theirs.copy()
        assert ours.hexdigest() == theirs.hexdigest()
        for each in both:
            each.update(b"more")
        assert both[0].digest() == both[1].digest()
        for attribute in ("name", "digest_size", "block_size"):
            assert getattr(ours, attribute) == getattr(theirs, attribute)


def test_file_digest(framework: Framework, tmp_path: Path) -> None:
    """``hashlib.file_digest(file, "sha256")``, which takes what makes a hasher, too."""
    path = tmp_path / "file"
    path.write_bytes(secrets.token_bytes(1_000_000))
    with framework.session("sha256") as session, path.open("rb") as file:
        ours = hashlib.file_digest(file, session.hasher).hexdigest()
    with path.open("rb") as file:
        assert ours == hashlib.file_digest(file, "sha256").hexdigest()
    in_memory = io.BytesIO(path.read_bytes())
    with framework.session("sha256") as session:
        assert hashlib.file_digest(in_memory, session.hasher).hexdigest() == ours


def test_hmac_in_pieces(framework: Framework) -> None:
    """``h = hmac.new(key, digestmod="sha256"); h.update(...)``; pyca's ``h.verify(mac)``."""
    key = secrets.token_bytes(32)
    theirs = stdlib_hmac.new(key, digestmod="sha256")
    with framework.session("hmac-sha2-256", key) as session:
        ours = session.hasher()
        for piece in PIECES:
            theirs.update(piece)
            ours.update(piece)
        again = ours.copy()
        assert ours.digest() == theirs.digest()
        assert ours.name == theirs.name
        again.verify(theirs.digest())
        bad = session.hasher()
        bad.update(b"something else")
        with pytest.raises(AuthenticationError):
            bad.verify(theirs.digest())


def test_a_large_file_in_little_memory(framework: Framework, tmp_path: Path) -> None:
    """The loop that everybody writes: read a piece, encrypt it, write it."""
    key, clear, sealed = secrets.token_bytes(32), tmp_path / "clear", tmp_path / "sealed"
    clear.write_bytes(secrets.token_bytes(1_234_567))
    with framework.session("aes-256-gcm", key) as session:
        with clear.open("rb") as source, sealed.open("wb") as out:
            encryptor = session.encryptor()
            out.write(encryptor.iv)
            while piece := source.read(1 << 16):
                out.write(encryptor.update(piece))
            out.write(encryptor.finalize() + encryptor.tag)
        assert session.open(sealed.read_bytes()) == clear.read_bytes()


# What they type wrongly.


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("aes_128_gcm", "did you mean aes-128-gcm?"),
        ("aes128gcm", "did you mean aes-128-gcm?"),
        ("hmac_sha256", "did you mean hmac-sha256?"),
        ("SHA-3-256", "did you mean sha3-256"),
        ("aes_128_ctr", "did you mean aes-128-ctr or aes128ctr?"),
        (None, "not by NoneType"),
        (b"aes-128-gcm", "not by bytes"),
    ],
)
def test_a_name_that_is_none(framework: Framework, name: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        framework.session(name, bytes(16))
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["hmac-sha2-256", "aes-128-gcm", "aes-128-cbc+hmac-sha2-256"])
def test_a_key_that_was_forgotten(framework: Framework, name: str) -> None:
    """An HMAC under no key at all would verify for everybody."""
    with pytest.raises(UsageError, match="key"):
        framework.session(name)


def test_a_key_in_the_place_of_something_else_is_not_shown(framework: Framework) -> None:
    key = b"a key that is secret"
    with pytest.raises(UsageError, match=r"not bytes$") as caught:
        framework.newsession("aes-128-gcm", key)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match=r"Cryptoini\(name, key\)"):
        framework.newsession("aes-128-gcm")  # type: ignore[arg-type]


def test_a_token_is_no_message_in_parts(framework: Framework) -> None:
    with framework.session("aes-128-gcm", bytes(16)) as session:
        with pytest.raises(UsageError, match="open takes the tokens of seal"):
            session.decrypt(session.seal(DATA))  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="not Sealed"):
            session.open(session.encrypt(DATA))  # type: ignore[arg-type]
