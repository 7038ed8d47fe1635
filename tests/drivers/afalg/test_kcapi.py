"""libkcapi's commands, another program over the same kernel, give the same bytes."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator

import pytest

from opencrypto import Alg, Cryptoini, Framework
from opencrypto.constants import CRD_F_ENCRYPT, CRD_F_IV_EXPLICIT, CRD_F_IV_PRESENT
from opencrypto.xform import FACTS, Kind
from opencrypto_afalg import KernelRng
from opencrypto_afalg.names import NAMES
from tests.drivers.afalg.support import attached, pair, run
from tests.drivers.rig import crd
from tests.support import require_tool

pytestmark = [pytest.mark.kernel, pytest.mark.shared_framework]

FLAGS = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with attached() as framework:
        yield framework


def kcapi(command: str, *arguments: str, data: bytes = b"", key: bytes | None = None) -> bytes:
    """Run one of libkcapi's commands; the key goes by a pipe."""
    path = require_tool(command, "kcapi-tools")
    call = [path, "-q", *arguments]
    read, write = os.pipe()
    try:
        os.write(write, key or b"")
        os.close(write)
        if key is not None:
            call += ["--keyfd", str(read)]
        done = subprocess.run(call, input=data, capture_output=True, check=False, pass_fds=[read])
    finally:
        os.close(read)
    assert done.returncode == 0, done.stderr
    return done.stdout


# kcapi-enc takes no key of more than 32 bytes, and no AEAD without additional data.
CIPHERS = [
    (Alg.AES_CBC, 16, 16), (Alg.AES_CBC, 24, 4096), (Alg.AES_CBC, 32, 70_000 & -16),
    (Alg["3DES_CBC"], 24, 64), (Alg.CAMELLIA_CBC, 32, 128), (Alg.BLF_CBC, 16, 256),
    (Alg.CAST_CBC, 16, 80), (Alg.DES_CBC, 8, 8), (Alg.AES_XTS, 32, 512), (Alg.AES_XTS, 32, 4096),
]  # fmt: skip


@pytest.mark.parametrize(("alg", "keylen", "size"), CIPHERS)
def test_ciphers(framework: Framework, alg: Alg, keylen: int, size: int) -> None:
    """kcapi-enc encrypts and decrypts as we do."""
    rng = random.Random(size)
    key, iv, data = rng.randbytes(keylen), rng.randbytes(FACTS[alg].iv), rng.randbytes(size)
    sid = framework.newsession(Cryptoini(alg, key))
    ours = bytearray(data)
    assert run(framework, sid, ours, crd(alg, 0, size, 0, FLAGS | CRD_F_ENCRYPT, iv)).etype == 0
    arguments = ("-c", NAMES[alg][0].name, "--iv", iv.hex(), "--nounpad")
    theirs = kcapi("kcapi-enc", "-e", *arguments, data=data, key=key)
    assert theirs[:size] == ours  # they pad
    assert kcapi("kcapi-enc", "-d", *arguments, data=bytes(ours), key=key)[:size] == data


@pytest.mark.parametrize(("aad", "size", "taglen"), [(8, 32, 16), (20, 1000, 12), (16, 16, 8)])
def test_gcm(framework: Framework, aad: int, size: int, taglen: int) -> None:
    """kcapi-enc makes the same ciphertext and tag."""
    rng = random.Random(size)
    key, iv = rng.randbytes(16), rng.randbytes(12)
    head, data = rng.randbytes(aad), rng.randbytes(size)
    inis = pair(Alg.AES_GCM_16, key, taglen)
    sid = framework.newsession(inis)
    ours = bytearray(head + data + bytes(taglen))
    cipher = crd(Alg.AES_GCM_16, aad, size, 0, FLAGS | CRD_F_ENCRYPT, iv)
    assert run(framework, sid, ours, cipher, crd(inis[1].alg, 0, aad, aad + size)).etype == 0
    arguments = ["-c", "gcm(aes)", "--iv", iv.hex(), "--taglen", str(taglen)]
    arguments += ["--aad", head.hex()]
    theirs = kcapi("kcapi-enc", "-e", *arguments, data=data, key=key)
    assert theirs == ours  # the additional data are in their output


@pytest.mark.parametrize(
    ("alg", "size"),
    [
        (Alg.SHA1, 0), (Alg.SHA2_256, 100_000), (Alg.SHA2_512, 1000), (Alg.MD5, 3),
        (Alg.SHA1_HMAC, 50), (Alg.SHA2_256_HMAC, 65_536), (Alg.AES_CMAC, 100),
    ],
)  # fmt: skip
def test_digests(framework: Framework, alg: Alg, size: int) -> None:
    """kcapi-dgst makes the same digests and MACs."""
    rng = random.Random(size)
    keyed = FACTS[alg].kind is Kind.MAC
    key, data = rng.randbytes(16) if keyed else b"", rng.randbytes(size)
    sid = framework.newsession(Cryptoini(alg, key, mlen=FACTS[alg].digest))
    ours = bytearray(FACTS[alg].digest)
    assert run(framework, sid, data, crd(alg, 0, size), mac=ours).etype == 0
    theirs = kcapi("kcapi-dgst", "-c", NAMES[alg][0].name, data=data, key=key if keyed else None)
    assert theirs == ours


@pytest.mark.parametrize("size", [1, 128, 1000])
def test_random(size: int) -> None:
    """kcapi-rng gives as many bytes as we do, and others."""
    theirs = kcapi("kcapi-rng", "-b", str(size))
    with KernelRng() as rng:
        ours = rng.read(size)
    assert len(theirs) == len(ours) == size
    assert size < 16 or theirs != ours
