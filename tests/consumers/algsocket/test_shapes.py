"""The shapes of CPython's own tests of AF_ALG, by the sockets that `installed` gives; and more."""

from __future__ import annotations

import errno
import hashlib
import hmac
import io
import os
import pickle
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencrypto import Framework
from opencrypto_algsocket import AlgSocket, authenc_key, installed, unique
from opencrypto_algsocket import numbers as alg

PLAIN = bytes.fromhex("c3b3c41f113a31b73d9a5cd432103069")
KEY = bytes.fromhex("c939cc13397c1d37de6ae0e1cb7c423c")
IV = bytes.fromhex("b3d8cc017cbb89b39e0f67e2")
AAD = bytes.fromhex("24825602bd12a984e0092d3e448eda5f")
SEALED = bytes.fromhex("93fe7d9e9bfd10348a5606e5cafa73540032a1dc85f1c9786925a2e71d8272dd")
"""NIST CAVP, gcmEncryptExtIV128, which CPython tests AF_ALG with too."""


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with Framework(["openssl", "swcrypto"]) as framework:
        yield framework


def made(framework: Framework, kind: str, name: str, key: bytes | None = None) -> socket.socket:
    """Open a transform as a program does that knows nothing of us."""
    with installed(framework):
        transform = socket.socket(alg.AF_ALG, socket.SOCK_SEQPACKET, 0)
        assert isinstance(transform, socket.socket)
    transform.bind((kind, name))
    if key is not None:
        transform.setsockopt(alg.SOL_ALG, alg.ALG_SET_KEY, key)
    return transform


def test_sha256(framework: Framework) -> None:
    with made(framework, "hash", "sha256") as algo:
        op, _ = algo.accept()
        with op:
            op.sendall(b"abc")
            assert op.recv(512) == hashlib.sha256(b"abc").digest()
        op, _ = algo.accept()
        with op:
            op.send(b"a", alg.MSG_MORE)
            twin, _ = op.accept()
            op.send(b"b", alg.MSG_MORE)
            op.send(b"c", alg.MSG_MORE)
            op.send(b"")
            assert op.recv(512) == hashlib.sha256(b"abc").digest()
            with twin:
                twin.send(b"x")
                assert twin.recv(64) == hashlib.sha256(b"ax").digest()
            assert op.recv(64) == hashlib.sha256(b"").digest()
            answer, _, flags, _ = op.recvmsg(8)
            assert (answer, flags) == (hashlib.sha256(b"").digest()[:8], alg.MSG_TRUNC)


def test_as_many_blocks_as_fit(framework: Framework) -> None:
    """And a read of less than one is refused, as kernels from 6.1.187 on do it."""
    with made(framework, "skcipher", "ecb(aes)", bytes(16)) as algo:
        op, _ = algo.accept()
        with op:
            op.sendmsg_afalg([bytes(48)], op=alg.ALG_OP_ENCRYPT)
            assert len(op.recv(33)) == 32
            with pytest.raises(OSError, match="less than a block") as error:
                op.recv(15)
            assert error.value.errno == errno.EINVAL
            assert len(op.recv(16)) == 16


def test_hmac_sha1(framework: Framework) -> None:
    with made(framework, "hash", "hmac(sha1)", b"Jefe") as algo:
        op, _ = algo.accept()
        with op:
            op.sendall(b"what do ya want for nothing?")
            assert op.recv(512).hex() == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"


def test_aes_cbc(framework: Framework) -> None:
    """RFC 3602, 4, case 1; and half a megabyte there and back."""
    key = bytes.fromhex("06a9214036b8a15b512e03d534120006")
    iv = bytes.fromhex("3dafba429d9eb430b422da802c9fac41")
    sealed = bytes.fromhex("e353779c1079aeb82708942dbe77181a")
    with made(framework, "skcipher", "cbc(aes)", key) as algo:
        op, _ = algo.accept()
        with op:
            op.sendmsg_afalg(op=alg.ALG_OP_ENCRYPT, iv=iv, flags=alg.MSG_MORE)
            op.sendall(b"Single block msg")
            assert op.recv(16) == sealed
        op, _ = algo.accept()
        with op:
            op.sendmsg_afalg([sealed], op=alg.ALG_OP_DECRYPT, iv=iv)
            assert op.recv(16) == b"Single block msg"
        op, _ = algo.accept()
        with op:
            text = b"a" * (512 * 1024)
            op.sendmsg_afalg([text], op=alg.ALG_OP_ENCRYPT, iv=iv)
            there = bytearray(len(text))
            assert op.recv_into(there) == len(text)
            op.sendmsg_afalg([there], op=alg.ALG_OP_DECRYPT, iv=iv)
            assert op.recv(len(text)) == text


@pytest.mark.parametrize(
    "pieces", [[AAD, PLAIN], [AAD + PLAIN], [AAD[:3], AAD[3:] + PLAIN[:1], PLAIN[1:]]]
)
def test_aes_gcm(framework: Framework, pieces: list[bytes]) -> None:
    with made(framework, "aead", "gcm(aes)", KEY) as algo:
        algo.setsockopt(alg.SOL_ALG, alg.ALG_SET_AEAD_AUTHSIZE, None, 16)
        op, _ = algo.accept()
        with op:
            op.sendmsg_afalg(
                pieces[:1], op=alg.ALG_OP_ENCRYPT, iv=IV, assoclen=len(AAD), flags=alg.MSG_MORE
            )
            for piece in pieces[1:-1]:
                op.send(piece, alg.MSG_MORE)
            op.send(pieces[-1] if len(pieces) > 1 else b"")
            assert op.recv(64) == AAD + SEALED
            op.sendmsg_afalg([AAD + SEALED], op=alg.ALG_OP_DECRYPT, iv=IV, assoclen=len(AAD))
            assert op.recv(64) == AAD + PLAIN


def test_what_does_not_verify_is_not_released(framework: Framework) -> None:
    with made(framework, "aead", "gcm(aes)", KEY) as algo:
        op, _ = algo.accept()
        with op:
            damaged = AAD + SEALED[:-1] + b"!"
            op.sendmsg_afalg([damaged], op=alg.ALG_OP_DECRYPT, iv=IV, assoclen=len(AAD))
            buffer = bytearray(64)
            with pytest.raises(OSError, match="verify") as error:
                op.recv_into(buffer)
            assert error.value.errno == errno.EBADMSG
            assert buffer == bytes(64)
            with pytest.raises(BlockingIOError):
                op.recv(64, alg.MSG_DONTWAIT)


def test_too_small_a_buffer_leaves_the_message_there(framework: Framework) -> None:
    """As the document says ("the cipher operation is not performed"); the kernel cuts it short."""
    with made(framework, "aead", "gcm(aes)", KEY) as algo:
        op, _ = algo.accept()
        with op:
            op.sendmsg_afalg([AAD + PLAIN], op=alg.ALG_OP_ENCRYPT, iv=IV, assoclen=len(AAD))
            with pytest.raises(OSError, match="48 bytes") as error:
                op.recv(47)
            assert error.value.errno == errno.EINVAL
            assert op.recv(48) == AAD + SEALED


def test_a_nonce_is_used_once(framework: Framework) -> None:
    """The kernel goes on with the one before."""
    with made(framework, "aead", "gcm(aes)", KEY) as algo:
        op, _ = algo.accept()
        with op:
            op.sendmsg_afalg([PLAIN], op=alg.ALG_OP_ENCRYPT, iv=IV)
            op.recv(64)
            op.sendmsg_afalg([PLAIN], op=alg.ALG_OP_ENCRYPT)
            with pytest.raises(OSError, match="IV of its own"):
                op.recv(64)


def test_authenc(framework: Framework) -> None:
    cipher, mac = bytes(range(16)), bytes(range(20))
    name = "authenc(hmac(sha1),cbc(aes))"
    with made(framework, "aead", name, authenc_key(cipher, mac)) as algo:
        op, _ = algo.accept()
        with op:
            op.sendmsg_afalg([b"header56" + b"p" * 32], op=1, iv=bytes(16), assoclen=8)
            sealed = op.recv(64)
            assert sealed[:8] == b"header56"
            assert sealed[40:] == hmac.digest(mac, sealed[:40], "sha1")
            op.sendmsg_afalg([sealed], op=0, iv=bytes(16), assoclen=8)
            assert op.recv(64) == b"header56" + b"p" * 32
    with made(framework, "aead", name) as algo:
        with pytest.raises(OSError, match="authenc_key") as error:
            algo.setsockopt(alg.SOL_ALG, alg.ALG_SET_KEY, bytes(36))
        assert error.value.errno == errno.EINVAL


def test_random(framework: Framework) -> None:
    with made(framework, "rng", "drbg_pr_sha256") as algo:
        op, _ = algo.accept()
        with op:
            with pytest.raises(OSError, match="needs a seed") as error:
                op.recv(1)
            assert error.value.errno == errno.EINVAL
    with made(framework, "rng", "drbg_pr_sha256", os.urandom(32)) as algo:
        one, _ = algo.accept()
        other, _ = algo.accept()
        with one, other:
            assert len(one.recv(32)) == 32
            assert len(other.recv(1000)) == 128
            assert one.recv(32) != other.recv(32)


def test_cavp_by_its_own_interface(framework: Framework) -> None:
    """Entropy by ALG_SET_DRBG_ENTROPY, personalization as the key, additional data by send."""
    with made(framework, "rng", "drbg_nopr_sha256") as algo:
        algo.setsockopt(alg.SOL_ALG, alg.ALG_SET_DRBG_ENTROPY, bytes(range(48)))
        algo.setsockopt(alg.SOL_ALG, alg.ALG_SET_KEY, b"personal")
        op, _ = algo.accept()
        with op:
            op.send(b"additional")
            got = op.recv(64)
    with framework.rng("drbg_nopr_sha256", b"personal", entropy=bytes(range(48))) as rng:
        assert got == rng.generate(64, b"additional")


def test_names_that_nobody_has(framework: Framework) -> None:
    for address in (
        ("hash", "sha999"),
        ("skcipher", "sha256"),
        ("hash", "gcm(aes)"),
        ("nonsense", "sha256"),
        ("skcipher", "aes-128-cbc"),
        ("rng", "sha256"),
    ):
        with AlgSocket(framework=framework) as sock:
            with pytest.raises(OSError) as error:
                sock.bind(address)
            assert error.value.errno == errno.ENOENT


@pytest.mark.parametrize("driver", ["openssl", "swcrypto"])
def test_unique_names_pin_a_driver(framework: Framework, driver: str) -> None:
    assert unique("cbc(aes)", driver) == f"cbc-aes-{driver}"
    with made(framework, "skcipher", unique("cbc(aes)", driver), bytes(16)) as algo:
        before = framework.stats.drivers[driver].ops
        op, _ = algo.accept()
        with op:
            op.sendmsg_afalg([bytes(16)], op=1, iv=bytes(16))
            op.recv(16)
        assert framework.stats.drivers[driver].ops == before + 1


def test_one_waits_for_the_other_end(framework: Framework) -> None:
    with made(framework, "skcipher", "cbc(aes)", bytes(16)) as algo:
        op, _ = algo.accept()
        with op:
            got: list[bytes] = []
            reader = threading.Thread(target=lambda: got.append(op.recv(16)))
            reader.start()
            op.sendmsg_afalg([bytes(16)], op=1, iv=bytes(16))
            reader.join(10)
            assert len(got) == 1
            op.settimeout(0.01)
            with pytest.raises(TimeoutError):
                op.recv(16)


def test_select_waits_for_an_answer(framework: Framework) -> None:
    with made(framework, "skcipher", "cbc(aes)", bytes(16)) as algo:
        op, _ = algo.accept()
        with op:
            assert select.select([op], [op], [], 0) == ([], [op], [])
            op.sendmsg_afalg([bytes(16)], op=1, iv=bytes(16))
            assert select.select([op], [], [], 5)[0] == [op]
            op.recv(16)
            assert select.select([op], [], [], 0)[0] == []
        assert op.fileno() == -1


def test_files(framework: Framework) -> None:
    content = os.urandom(200_000)
    with made(framework, "hash", "sha256") as algo:
        op, _ = algo.accept()
        with op:
            assert op.sendfile(io.BytesIO(content)) == len(content)
            assert op.recv(32) == hashlib.sha256(content).digest()
            assert op.sendfile(io.BytesIO(content), 5, 100_000) == 100_000
            assert op.recv(32) == hashlib.sha256(content[5:100_005]).digest()
            with op.makefile("wb", buffering=0) as file:
                file.write(b"abc")
            with op.makefile("rb", buffering=0) as file:
                assert file.read(32) == hashlib.sha256(b"abc").digest()


def test_the_key_stays_while_it_is_used(framework: Framework) -> None:
    with made(framework, "skcipher", "cbc(aes)") as algo:
        early, _ = algo.accept()
        with early:
            with pytest.raises(OSError, match="needs a key") as error:
                early.send(bytes(16))
            assert error.value.errno == errno.ENOKEY
            algo.setsockopt(alg.SOL_ALG, alg.ALG_SET_KEY, bytes(16))
            early.sendmsg_afalg([bytes(16)], op=1, iv=bytes(16))
            assert len(early.recv(16)) == 16
            with pytest.raises(OSError) as error:
                algo.setsockopt(alg.SOL_ALG, alg.ALG_SET_KEY, bytes(24))
            assert error.value.errno == errno.EBUSY
        algo.setsockopt(alg.SOL_ALG, alg.ALG_SET_KEY, bytes(24))


def test_the_proposal_of_2010(framework: Framework) -> None:
    """seeds: RFC, "Crypto API User-interface": a second accept has the associated data."""
    with AlgSocket(alg.AF_ALG, socket.SOCK_STREAM, framework=framework) as tfm:
        tfm.bind(("aead", "gcm(aes)"))
        tfm.setsockopt(alg.SOL_ALG, alg.ALG_SET_KEY, KEY)
        tfm.listen(0)
        opfd, _ = tfm.accept()
        adfd, _ = tfm.accept()
        with opfd, adfd:
            opfd.setsockopt(alg.SOL_ALG, alg.ALG_SET_OP, alg.ALG_OP_ENCRYPT)
            opfd.setsockopt(alg.SOL_ALG, alg.ALG_SET_IV, IV)
            opfd.send(PLAIN[:5])
            opfd.send(PLAIN[5:])
            adfd.send(AAD)
            assert opfd.recv(10) + opfd.recv(100) == SEALED
            opfd.setsockopt(alg.SOL_ALG, alg.ALG_SET_OP, alg.ALG_OP_DECRYPT)
            opfd.setsockopt(alg.SOL_ALG, alg.ALG_SET_IV, IV)
            opfd.send(SEALED[:-1] + b"!")
            adfd.send(AAD)
            with pytest.raises(OSError) as error:
                opfd.recv(16)
            assert error.value.errno == errno.EBADMSG


def test_what_is_refused(framework: Framework) -> None:
    with installed(framework):
        real = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        real.close()
        assert isinstance(real, socket.socket)
    for arguments, code in (
        ((alg.AF_ALG, socket.SOCK_DGRAM), errno.ESOCKTNOSUPPORT),
        ((alg.AF_ALG, socket.SOCK_SEQPACKET, 7), errno.EPROTONOSUPPORT),
        ((socket.AF_INET, socket.SOCK_SEQPACKET), errno.EAFNOSUPPORT),
    ):
        with pytest.raises(OSError) as error:
            AlgSocket(*arguments, framework=framework)
        assert error.value.errno == code
    sock = AlgSocket(framework=framework)
    for call in (sock.accept, sock.listen, sock.getsockname, sock.detach):
        with pytest.raises(OSError):
            call()
    with pytest.raises(TypeError):
        pickle.dumps(sock)
    sock.close()
    sock.close()
    with pytest.raises(OSError) as error:
        sock.bind(("hash", "sha256"))
    assert error.value.errno == errno.EBADF


def test_a_program_runs_unchanged(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import socket, sys\n"
        "with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0) as algo:\n"
        "    algo.bind(('hash', sys.argv[1]))\n"
        "    op, _ = algo.accept()\n"
        "    with op:\n"
        "        op.sendall(b'abc')\n"
        "        print(op.recv(64).hex())\n"
    )
    call = [sys.executable, "-m", "opencrypto_algsocket", str(program), "sha256"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == hashlib.sha256(b"abc").hexdigest(), done.stderr
    done = subprocess.run(call[:3], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[:6]) == (2, "usage:")
