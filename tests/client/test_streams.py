"""Sessions' messages in pieces: what pyca's and hashlib's users do, and what they get."""

from __future__ import annotations

import errno
import gc
import hashlib
import hmac
import io
import itertools
import os
import threading
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import given, settings
from hypothesis import strategies as st

from opencrypto import AuthenticationError, Cryptoini, Framework, Profile, UsageError
from opencrypto.client import Encryptor, Sealed, Session
from opencrypto.exceptions import DriverGone, NoDriverError
from tests.drivers.rig import attached, make_driver
from tests.support import examples

KEY, MAC_KEY = bytes(range(16)), bytes(range(32))
BOTH = ("openssl", "swcrypto")

CIPHERS: dict[str, tuple[bytes | tuple[bytes, ...], bytes]] = {
    "aes-128-ctr": (KEY, b""),
    "aes-128-cbc": (KEY, b""),
    "aes-128-gcm": (KEY, b"additional"),
    "chacha20-poly1305": (MAC_KEY, b"additional"),
    "aes-128-cbc+hmac-sha2-256": ((KEY, MAC_KEY), b"additional"),
    "aes-128-ctr+hmac-sha2-256": ((KEY, MAC_KEY), b""),
}


@pytest.fixture(scope="module", params=BOTH)
def fw(request: pytest.FixtureRequest) -> Iterator[Framework]:
    with attached(request.param) as framework:
        yield framework


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@pytest.mark.parametrize("name", CIPHERS)
def test_pieces_and_whole_messages_understand_each_other(fw: Framework, name: str) -> None:
    key, aad = CIPHERS[name]
    with fw.session(name, key) as session:

        @settings(max_examples=examples(16), deadline=None)
        @given(st.integers(0, 300), st.lists(st.integers(0, 5000), max_size=5))
        def run(blocks: int, places: list[int]) -> None:
            data = os.urandom(blocks * 16)
            with session.encryptor(aad=aad) as encryptor:
                text = b"".join(map(encryptor.update, cut(data, places))) + encryptor.finalize()
                tag = encryptor.tag if session.maclen else b""
                sealed = Sealed(encryptor.iv, text, tag)
            assert session.decrypt(sealed, aad=aad) == data
            sealed = session.encrypt(data, aad=aad)
            with session.decryptor(sealed.iv, aad=aad, unverified=True) as decryptor:
                plain = b"".join(map(decryptor.update, cut(sealed.data, places)))
                plain += decryptor.finalize(sealed.mac if session.maclen else None)
            assert plain == data

        run()


def test_it_is_what_pyca_makes(fw: Framework) -> None:
    data, iv, aad = os.urandom(5000), os.urandom(12), b"additional"
    theirs = Cipher(AES(KEY), modes.GCM(iv)).encryptor()
    theirs.authenticate_additional_data(aad)
    text = theirs.update(data) + theirs.finalize()
    with fw.session("aes-128-gcm", KEY) as session:
        ours = session.encryptor(iv=iv)
        ours.authenticate_additional_data(aad[:4])
        ours.authenticate_additional_data(aad[4:])
        assert ours.update(data[:17]) + ours.update(data[17:]) + ours.finalize() == text
        assert ours.tag == theirs.tag
        with pytest.raises(UsageError, match="has ended"):
            ours.update(b"more")
        back = session.decryptor(iv, unverified=True)
        back.authenticate_additional_data(aad)
        assert back.update(text) + back.finalize_with_tag(theirs.tag) == data
    iv = os.urandom(16)
    blocks = Cipher(AES(KEY), modes.CBC(iv)).encryptor()
    with fw.session("aes-128-cbc", KEY) as session, session.encryptor(iv=iv) as ours:
        for piece in (data[:5], data[5:21], data[21:32], data[32:4096]):
            assert ours.update(piece) == blocks.update(piece)
        assert ours.finalize() == blocks.finalize() == b""


def test_update_into_works_in_place(fw: Framework) -> None:
    data = os.urandom(1 << 16)
    with fw.session("aes-128-ctr", KEY) as session:
        encryptor = session.encryptor(iv=bytes(16))
        buffer = bytearray(data)
        view = memoryview(buffer)
        for at in range(0, len(data), 5000):
            assert encryptor.update_into(view[at : at + 5000], view[at : at + 5000]) == len(
                data[at : at + 5000]
            )
        encryptor.finalize()
        out = bytearray(len(data) + 7)
        other = session.encryptor(iv=bytes(16))
        assert other.update_into(data, out) == len(data)
        other.finalize()
        assert out[: len(data)] == buffer
        assert out[len(data) :] == bytes(7)
        whole = session.encrypt(data, iv=bytes(16)).data
        assert buffer == whole
        with session.encryptor() as short, pytest.raises(UsageError, match="are needed"):
            short.update_into(data, bytearray(5))
        with session.encryptor() as fixed, pytest.raises(UsageError, match="read-only"):
            fixed.update_into(data, data)  # type: ignore[arg-type]


def test_a_block_that_is_not_whole_is_kept_and_missed_at_the_end(fw: Framework) -> None:
    with fw.session("aes-128-cbc", KEY) as session:
        encryptor = session.encryptor()
        assert encryptor.update(bytes(15)) == b""
        assert len(encryptor.update(bytes(18))) == 32
        out = bytearray(64)
        assert encryptor.update_into(bytes(15), out) == 16
        encryptor.update(b"x")
        with pytest.raises(UsageError, match="whole blocks of 16 bytes"):
            encryptor.finalize()


def test_plaintext_comes_unverified_only_to_who_says_so(fw: Framework) -> None:
    for name in ("aes-128-gcm", "aes-128-cbc+hmac-sha2-256"):
        key, aad = CIPHERS[name]
        with fw.session(name, key) as session:
            sealed = session.encrypt(bytes(64), aad=aad)
            for said in (False, 1):
                with pytest.raises(UsageError, match="unverified=True"):
                    session.decryptor(sealed.iv, aad=aad, unverified=said)  # type: ignore[arg-type]
            for wrong in ("tag", "aad", "data"):
                decryptor = session.decryptor(
                    sealed.iv, aad=b"" if wrong == "aad" else aad, unverified=True
                )
                decryptor.update(bytes(64) if wrong == "data" else sealed.data)
                mac = bytes(len(sealed.mac)) if wrong == "tag" else sealed.mac
                with pytest.raises(AuthenticationError):
                    decryptor.finalize(mac)
                with pytest.raises(UsageError, match="has ended"):
                    decryptor.finalize(sealed.mac)
            decryptor = session.decryptor(sealed.iv, aad=aad, unverified=True)
            with pytest.raises(UsageError, match="no tag"):
                decryptor.finalize()
            with pytest.raises(AuthenticationError, match="3 bytes"):
                decryptor.finalize(b"123")


def test_what_a_session_cannot_is_refused_at_once(fw: Framework) -> None:
    with fw.session("sha2-256") as session:
        with pytest.raises(UsageError, match="no cipher"):
            session.encryptor()
        with pytest.raises(UsageError, match="no cipher"):
            session.decryptor(b"")
    with fw.session("aes-128-ctr", KEY) as session:
        with pytest.raises(UsageError, match="has a cipher"):
            session.hasher()
        with pytest.raises(UsageError, match="nothing would protect the aad"):
            session.encryptor(aad=b"x")
        with session.encryptor() as encryptor:
            encryptor.update(b"x")
            with pytest.raises(UsageError, match="no authenticator"):
                assert encryptor.tag
            with pytest.raises(UsageError, match="nothing would protect"):
                encryptor.authenticate_additional_data(b"x")
    with fw.session("aes-128-gcm", KEY) as session, session.encryptor() as encryptor:
        encryptor.update(b"x")
        with pytest.raises(UsageError, match="it has begun"):
            encryptor.authenticate_additional_data(b"x")
        with pytest.raises(UsageError, match="comes with finalize"):
            assert encryptor.tag
    xts = fw.session("aes-128-xts", bytes(range(32)))
    with xts, pytest.raises(NoDriverError, match="one IV is for one sector"):
        xts.encryptor()
    with fw.session("aes-128-ctr", KEY) as session, pytest.raises(UsageError, match="5 bytes"):
        session.encryptor(iv=b"short")


def test_hashlibs_idioms(fw: Framework, tmp_path: Path) -> None:
    data = os.urandom(700_000)
    path = tmp_path / "data"
    path.write_bytes(data)
    with fw.session("sha2-256") as session:
        with path.open("rb") as file:
            assert (
                hashlib.file_digest(file, session.hasher).hexdigest()
                == hashlib.sha256(data).hexdigest()
            )
        ours, theirs = session.hasher(), hashlib.sha256()
        assert (ours.name, ours.digest_size, ours.block_size) == (
            theirs.name,
            theirs.digest_size,
            theirs.block_size,
        )
        for piece in (b"", data[:1], data[1:100_000]):
            ours.update(piece)
            theirs.update(piece)
            assert ours.digest() == theirs.digest()
        twin, other = ours.copy(), theirs.copy()
        ours.update(b"one")
        theirs.update(b"one")
        twin.update(b"other")
        other.update(b"other")
        assert (ours.hexdigest(), twin.hexdigest()) == (theirs.hexdigest(), other.hexdigest())
        twin.close()
        ours.verify(theirs.digest())
        with pytest.raises(UsageError, match="has ended"):
            ours.update(b"more")
    with fw.session("hmac-sha2-256", MAC_KEY) as session:
        keyed = hashlib.file_digest(io.BytesIO(data), session.hasher)
        expected = hmac.new(MAC_KEY, data, "sha256")
        assert (keyed.digest(), keyed.name) == (expected.digest(), expected.name)
        wrong = session.hasher()
        wrong.update(data)
        with pytest.raises(AuthenticationError):
            wrong.verify(bytes(32))
        assert session.hasher().digest() == hmac.digest(MAC_KEY, b"", "sha256")


@pytest.mark.parametrize("name", ["aes-128-ctr", "aes-128-cbc+hmac-sha2-256", "sha2-256"])
def test_sixty_four_mebibytes_in_little_memory(name: str) -> None:
    """Each piece against another library, and never more than a few of them in memory."""
    piece, count = 1 << 20, 64
    key = {"aes-128-ctr": KEY, "sha2-256": None}.get(name, (KEY, MAC_KEY))
    with attached("openssl") as fw, fw.session(name, key) as session:
        buffer = bytearray(piece)
        tracemalloc.start()
        try:
            if name == "sha2-256":
                hasher, theirs = session.hasher(), hashlib.sha256()
                for number in range(count):
                    buffer[:8] = number.to_bytes(8)
                    hasher.update(buffer)
                    theirs.update(buffer)
                assert hasher.digest() == theirs.digest()
                hasher.close()
            else:
                iv = bytes(16)
                mode = modes.CTR(iv) if "ctr" in name else modes.CBC(iv)
                cipher = Cipher(AES(KEY), mode).encryptor()
                mac = hmac.new(MAC_KEY, iv, "sha256")
                encryptor = session.encryptor(iv=iv)
                for number in range(count):
                    buffer[:8] = number.to_bytes(8)
                    text = cipher.update(buffer)
                    encryptor.update_into(buffer, buffer)
                    assert buffer == text
                    mac.update(text)
                encryptor.finalize()
                if session.maclen:
                    mac.update(bytes(8))  # the length of no additional data
                    assert encryptor.tag == mac.digest()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4 * piece


def test_one_that_is_dropped_says_so_unless_its_answer_was_had(fw: Framework) -> None:
    with fw.session("sha2-256") as session, fw.session("aes-128-ctr", KEY) as other:
        gc.collect()
        sessions = len(fw.open_sessions())
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            session.hasher().update(b"x")
            other.encryptor().update(b"x")
            gc.collect()
            words = [str(each.message) for each in told if each.category is ResourceWarning]
            assert [word.split()[1] for word in words] == ["<Hasher", "<Encryptor"]
            del told[:]
            hasher = session.hasher()
            hasher.update(b"x")
            assert hasher.digest()
            del hasher
            ended = other.encryptor()
            ended.finalize()
            del ended
            gc.collect()
            assert not told
        assert len(fw.open_sessions()) == sessions


def test_closing_gives_a_message_up(fw: Framework) -> None:
    with fw.session("aes-128-ctr", KEY) as session:
        encryptor = session.encryptor()
        encryptor.update(b"x")
        encryptor.close()
        encryptor.close()
        with pytest.raises(OSError, match="is closed"):
            encryptor.update(b"x")
        assert "Encryptor" in repr(encryptor)
        assert KEY.hex() not in repr(encryptor)
    with pytest.raises(OSError, match="closed"):
        session.encryptor()


def test_messages_go_on_side_by_side_in_threads(fw: Framework) -> None:
    data = os.urandom(1 << 18)
    with fw.session("aes-128-gcm", KEY) as session:
        wrong: list[str] = []

        def work() -> None:
            with session.encryptor() as encryptor:
                text = b"".join(
                    encryptor.update(data[at : at + 9000]) for at in range(0, len(data), 9000)
                )
                encryptor.finalize()
                if session.decrypt(Sealed(encryptor.iv, text, encryptor.tag)) != data:
                    wrong.append("decrypted")

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_a_driver_that_leaves_moves_what_has_not_begun_and_ends_what_has() -> None:
    openssl, swcrypto = make_driver("openssl"), make_driver("swcrypto")
    with Framework(plugins=[openssl, swcrypto]) as fw, fw.session("aes-128-gcm", KEY) as session:
        begun, fresh = session.encryptor(), session.encryptor()
        begun.update(b"text")
        openssl.leave("the card was pulled")
        with pytest.raises(DriverGone, match="begin the message again"):
            begun.update(b"text")
        text = fresh.update(b"text") + fresh.finalize()
        assert session.decrypt(Sealed(fresh.iv, text, fresh.tag)) == b"text"


def test_a_framework_that_was_closed_says_so() -> None:
    with attached("openssl") as fw:
        session = fw.session("aes-128-ctr", KEY)
        encryptor = session.encryptor()
        encryptor.update(b"x")
        fw.close()
        with pytest.raises(OSError, match=r"is closed|left in the midst") as told:
            encryptor.update(b"x")
        assert told.value.errno in (errno.ENOENT, errno.ENODEV)


def test_a_session_keeps_its_profile_and_pin(fw: Framework) -> None:
    name = next(info.name for info in fw.drivers if info.hid is not None)
    with Session(
        [Cryptoini("aes-128-ctr", KEY)],
        framework=fw,
        driver=name,
        profile=Profile(direction="encrypt"),
    ) as session:
        with session.encryptor() as encryptor:
            assert isinstance(encryptor, Encryptor)
            assert fw.driver_of(encryptor._sid) == (name,)
            encryptor.update(b"x")
        decryptor = session.decryptor(bytes(16))
        with pytest.raises(UsageError, match="promised to encrypt only"):
            decryptor.update(b"x")
