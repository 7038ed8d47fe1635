"""
What a checker of types knows of sessions: what each call returns, and which calls are wrong.

Both checkers read the same program, as strictly as they can. Every line marked wrong must be
complained of, and no other one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = [str(ROOT), str(ROOT / "drivers"), str(ROOT / "consumers")]

PROGRAM = """
from collections.abc import Iterator
from concurrent.futures import Future
from typing import assert_type

from opencrypto import CRYPTO_SHA2_256, Cryptoini, Framework
from opencrypto.client import Sealed, Session

framework = Framework()
key = bytes(16)
session = framework.session("aes-128-gcm", key, timeout=2.0)
assert_type(session, Session)
assert_type(framework.session(Cryptoini("aes-128-gcm", key)), Session)
assert_type(framework.session("aes-128-cbc+hmac-sha1", (key, key)), Session)
assert_type(framework.session(CRYPTO_SHA2_256), Session)
framework.session(1.5, key)  # wrong
framework.session("aes-128-gcm", "key")  # wrong
framework.session("aes-128-gcm", key, timeout="2")  # wrong
framework.newsession("aes-128-gcm", key)  # wrong

token = session.seal(b"data", b"aad")
assert_type(token, bytes)
assert_type(session.open(bytearray(token), memoryview(b"aad")), bytes)
session.seal("data")  # wrong
session.seal(b"data", "aad")  # wrong
session.seal(b"data", nonce=bytes(12))  # wrong
session.open(session.encrypt(b"data"))  # wrong
session.decrypt(token)  # wrong
sealed = session.encrypt(b"data", iv=bytes(12), aad=b"aad")
assert_type(sealed, Sealed)
assert_type(sealed.iv, bytes)
assert_type(sealed.to_bytes(), bytes)
assert_type(session.decrypt(sealed, aad=b"aad"), bytes)

assert_type(session.mac(b"data"), bytes)
assert_type(session.digest(b"data"), bytes)
assert_type(session.compress(b"data"), bytes)
session.verify(b"data", "mac")  # wrong

room = bytearray(100)
assert_type(session.seal_into(b"data", room), int)
assert_type(session.open_into(token, memoryview(room)), int)
session.seal_into(b"data", bytes(100))  # wrong
session.open_into(token)  # wrong

assert_type(session.submit_seal(b"data"), Future[bytes])
assert_type(session.submit_open(token).result(), bytes)
assert_type(session.seal_many([b"data"], depth=8), Iterator[bytes])
session.seal_many(["data"])  # wrong
session.seal_many([b"data"], depth="8")  # wrong

with session.encryptor() as encryptor:
    assert_type(encryptor.update(b"data") + encryptor.finalize(), bytes)
    assert_type(encryptor.tag, bytes)
session.decryptor()  # wrong
with session.hasher() as hasher:
    hasher.update(b"data")
    hasher.update("data")  # wrong
    assert_type(hasher.hexdigest(), str)

assert_type(framework.modexp(2, 10, 1000), int)
assert_type(framework.modexp(b"2", 10, 1000), bytes)
framework.modexp("2", 10, 1000)  # wrong


async def main() -> None:
    assert_type(await session.aio.seal(b"data"), bytes)
    assert_type(await session.aio.open(token), bytes)
    assert_type(await framework.aio.modexp(2, 10, 1000), int)
    async for each in session.aio.seal_many([b"data"]):
        assert_type(each, bytes)
    await session.aio.seal("data")  # wrong
    list(session.aio.seal_many([b"data"]))  # wrong
"""

WRONG = {n for n, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# wrong")}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def output(call: list[str], folder: Path) -> str:
    """Run a checker over the program; it must have something to say, and no trouble of its own."""
    (folder / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", *call, "program.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_mypy_knows_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text(
        f"[mypy]\nstrict = True\npython_version = 3.11\nmypy_path = {':'.join(SOURCE)}\n"
        "explicit_package_bases = True\nenable_error_code = truthy-bool\n"
    )
    said = output(["mypy", f"--cache-dir={tmp_path}/cache"], tmp_path)
    found = {int(n) for n in re.findall(r"^program\.py:(\d+): error", said, re.MULTILINE)}
    assert found == WRONG, said


def test_pyright_knows_what_is_wrong(tmp_path: Path) -> None:
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11", "extraPaths": SOURCE}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    call = ["basedpyright", "--pythonpath", sys.executable, "--outputjson"]
    said = output(call, tmp_path)
    found = {
        each["range"]["start"]["line"] + 1
        for each in json.loads(said)["generalDiagnostics"]
        if each["severity"] == "error"
    }
    assert found == WRONG, said
