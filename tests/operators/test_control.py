"""What is asked over the control socket is answered, and no key or content ever leaves."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from opencrypto import (
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    BusyError,
    CryptoError,
    Cryptoini,
    Cryptop,
    Framework,
    UsageError,
)
from opencrypto.control import Client
from tests.operators.over_socket import client, framework

__all__ = ["client", "framework"]


def test_hello_says_who_is_there(client: Client) -> None:
    """The first question: which process, since when, with which drivers."""
    hello = client.call("hello")
    assert hello["pid"] == os.getpid()
    assert hello["protocol"] == 1
    assert hello["drivers"] == ["hw", "sw"]


def test_values_and_descriptions(framework: Framework, client: Client) -> None:
    """Every name of the tree can be read, alone, by branch, and with its description."""
    assert set(client.get()) == set(framework.sysctl)
    assert client.get("kern.usercrypto") == {"kern.usercrypto": 1}
    assert set(client.get("opencrypto.stats")) == {
        name for name in framework.sysctl if name.startswith("opencrypto.stats.")
    }
    (node,) = client.call("nodes", names=["kern.cryptodevallowsoft"])
    assert (node["low"], node["high"], node["writable"], node["type"]) == (-1, 1, True, "integer")


def test_a_write_takes_effect_at_once(framework: Framework, client: Client) -> None:
    """kern.cryptodevallowsoft, set from outside, changes the driver of the next session."""
    ini = Cryptoini(CRYPTO_NULL_CBC)
    for value, name in ((1, "hw"), (-1, "sw"), (0, "hw")):
        assert client.set("kern.cryptodevallowsoft", value)["new"] == value
        hard = framework.sysctl.integer("kern.cryptodevallowsoft")
        sid = framework.newsession(ini, hard=hard)
        assert framework.drivers[(sid >> 32) - 1].name == name
        framework.freesession(sid)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("kern.usercrypto", 7, errno.EINVAL),
        ("kern.usercrypto", "1", errno.EINVAL),
        ("kern.usercrypto", True, errno.EINVAL),
        ("kern.usercrypto", None, errno.EINVAL),
        ("kern.usercrypto", 1.5, errno.EINVAL),
        ("kern.usercrypto", [1], errno.EINVAL),
        ("opencrypto.stats.ops", 0, errno.EPERM),
        ("opencrypto.nosuch", 0, errno.ENOENT),
        (7, 7, errno.EINVAL),
        ("x" * 1000, 7, errno.EINVAL),
    ],
)
def test_wrong_writes_are_refused(
    framework: Framework, client: Client, name: Any, value: Any, code: int
) -> None:
    """Each comes back as one sentence with its errno, and changes nothing."""
    before = framework.sysctl["kern.usercrypto"]
    with pytest.raises(CryptoError) as caught:
        client.set(name, value)
    assert caught.value.errno == code
    assert len(caught.value.strerror or "") > 10
    assert framework.sysctl["kern.usercrypto"] == before


def test_detach_and_attach_from_outside(framework: Framework, client: Client) -> None:
    """A driver is detached, its sessions migrate, and it can be attached again."""
    sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
    client.call("detach", driver="hw")
    assert [info.name for info in framework.drivers if info.hid is not None] == ["sw"]
    crp = Cryptop(sid, flags=CRYPTO_F_CBIMM, callback=lambda crp: None)
    framework.dispatch(crp)
    assert crp.etype == errno.EAGAIN
    with pytest.raises(UsageError, match="nosuch"):
        client.call("attach", driver="nosuch")
    name = client.call("attach", driver="hw")["driver"]
    assert name == "hw"  # the first is gone, though former SIDs still name its slot
    assert name in [info.name for info in framework.drivers if info.hid is not None]


def test_maxlen_set_from_outside_makes_getreq_refuse(framework: Framework, client: Client) -> None:
    """A low limit on the return queue is felt at once, and drops rise."""
    client.set("opencrypto.crypto_ret_q.maxlen", 1)
    hold = threading.Event()
    sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
    answered = []

    def callback(crp: Cryptop) -> None:
        hold.wait(20)
        answered.append(crp)

    for _ in range(4):
        framework.dispatch(Cryptop(sid, callback=callback))
    try:
        deadline = time.monotonic() + 10
        while client.get("opencrypto.crypto_ret_q.len")["opencrypto.crypto_ret_q.len"] < 2:
            assert time.monotonic() < deadline
        assert framework.getreq(1) is None
        assert client.get("opencrypto.crypto_ret_q.drops") == {"opencrypto.crypto_ret_q.drops": 1}
        client.set("opencrypto.crypto_ret_q.maxlen", 0)
        assert framework.getreq(1) is not None
    finally:
        hold.set()


# Traces, and what never leaves.


def test_a_trace_has_sizes_and_no_content(framework: Framework, client: Client) -> None:
    """What is recorded is who did what, how large, how long, with which result."""
    sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
    fields = client.call("trace", action="start")["fields"]
    other = Client(client.path)
    with other, pytest.raises(BusyError):
        other.call("trace", action="start")
    for size in (64, 1500):
        crp = framework.getreq(1)
        assert crp is not None
        crp.sid, crp.ilen, crp.flags, crp.callback = sid, size, CRYPTO_F_CBIMM, lambda crp: None
        crp.desc[0].alg, crp.desc[0].len = CRYPTO_NULL_CBC, size
        framework.dispatch(crp)
    client.call("trace", action="stop")
    answer = client.call("trace", action="read")
    entries = [dict(zip(fields, entry, strict=True)) for entry in answer["entries"]]
    assert [entry["size"] for entry in entries] == [64, 1500]
    assert entries[1]["desc"] == [[CRYPTO_NULL_CBC, 0, 1500, 0, 0]]
    assert {entry["driver"] for entry in entries} == {"hw"}
    assert answer["lost"] == answer["left"] == 0


def test_a_trace_ends_with_its_client(framework: Framework) -> None:
    """Whoever hangs up leaves no trace running."""
    assert framework.control_path is not None
    with Client(framework.control_path) as client:
        client.call("trace", action="start")
        assert framework._dispatcher.watcher.watch is not None
    deadline = time.monotonic() + 5
    while framework._dispatcher.watcher.watch is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert framework._dispatcher.watcher.watch is None


def test_no_key_and_no_content_leaves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Canaries in key, IV and data are in no answer, no error and no line of the log."""
    import opencrypto_swcrypto
    from opencrypto import CRD_F_ENCRYPT, CRD_F_IV_EXPLICIT, CRYPTO_AES_CBC

    canary = b"canarycanarycana"
    forms = [canary, canary.hex().encode(), str(list(canary)).encode()]
    path = tmp_path / "it.sock"
    caplog.set_level("DEBUG", logger="opencrypto")
    with (
        Framework(plugins=[opencrypto_swcrypto], control=path) as framework,
        Client(path) as client,
    ):
        client.call("trace", action="start")
        client.set("opencrypto.timing", 1)
        sid = framework.newsession(Cryptoini(CRYPTO_AES_CBC, key=canary))
        for buf in (bytearray(canary * 4), canary, bytearray(canary[:5])):
            crp = framework.getreq(1)
            assert crp is not None
            crp.sid, crp.ilen, crp.flags, crp.buf = sid, 64, CRYPTO_F_CBIMM, buf
            crp.callback = lambda crp: None
            crd = crp.desc[0]
            crd.alg, crd.len, crd.iv = CRYPTO_AES_CBC, len(buf), canary
            crd.flags = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT
            framework.dispatch(crp)
        heard = []
        for op, more in (
            ("hello", {}),
            ("get", {}),
            ("nodes", {}),
            ("drivers", {}),
            ("trace", {"action": "read"}),
            ("set", {"name": "kern.usercrypto", "value": 5}),
            ("detach", {"driver": "nobody"}),
        ):
            try:
                heard.append(json.dumps(client.call(op, **more)))
            except CryptoError as error:
                heard.append(str(error))
    text = ("\n".join(heard) + caplog.text).encode()
    assert not [form for form in forms if form in text]
