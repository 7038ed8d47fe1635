"""`opencrypto speed`: what it measures is done, all of it, and nothing else is counted."""

from __future__ import annotations

import errno
import itertools
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from opencrypto import (
    CRYPTO_AES_CBC,
    CRYPTO_DEFLATE_COMP,
    CRYPTO_SHA2_256,
    CryptoError,
    Cryptoini,
    Framework,
    UsageError,
)
from opencrypto.cli import rates, speed, speedplot
from opencrypto.cli.keyrates import WORDS, key_consumers
from opencrypto.cli.rates import Rate, Way, chain_of, consumers, measure
from opencrypto.cli.speed import size_of
from opencrypto.driver import KOPS
from opencrypto.testing import LateDriver
from opencrypto.xform import AEAD_CIPHERS, FACTS
from opencrypto_swcrypto._driver import SwcryptoDriver
from tests.cli.commands import RUN, ask, run
from tests.support import require_module, sample_of

QUICK = ("-t", "0.002")
SIZE = 1024
WAYS = (Way(0.001), Way(0.001, decrypt=True), Way(0.001, depth=3, decrypt=True), Way(0.001, 2))


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with Framework(control=False) as made:
        yield made


pytestmark = pytest.mark.shared_framework


class Counted:
    """A consumer each of whose turns takes one second of a clock of the test's."""

    def __init__(self, *, restores: float = 0.0) -> None:
        self.now = 0.0
        self.restores = restores
        self.turns: list[int] = []

    def clock(self) -> float:
        return self.now

    def turn(self, times: int) -> int:
        self.turns.append(times)
        self.now += 1.0
        return 10 * times

    def restore(self) -> bool:
        self.now += self.restores
        return bool(self.restores)


def test_only_what_is_done_in_the_measured_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Counted()
    monkeypatch.setattr(rates, "_clock", consumer.clock)
    rate = measure([consumer], 3.0)
    assert consumer.turns == [1, 1, 1, 1], "the first one warms up"
    assert rate == Rate(30, 3.0)
    assert rate.per_second == 10


def test_putting_back_is_not_in_the_measured_time(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Counted(restores=0.5)
    monkeypatch.setattr(rates, "_clock", consumer.clock)
    assert measure([consumer], 3.0) == Rate(30, 3.0)


def test_putting_back_for_ever_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Counted(restores=100.0)
    monkeypatch.setattr(rates, "_clock", consumer.clock)
    assert measure([consumer], 3.0) == Rate(10, 1.0)


def test_a_quick_turn_becomes_a_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Counted()
    monkeypatch.setattr(rates, "_clock", lambda: consumer.now / 1000)
    monkeypatch.setattr(rates, "TURN", 0.0011)
    measure([consumer], 0.005)
    assert consumer.turns == [1, 1, 2, 4, 8, 16]


@pytest.mark.parametrize(
    "word",
    sample_of(
        [
            *(FACTS[alg].name for alg in SwcryptoDriver.capabilities if alg not in AEAD_CIPHERS),
            "aes-256-cbc+hmac-sha2-256",
            "hmac-sha1+des-ede3-cbc",
            "rfc4106(gcm(aes))-96",
            "authenc(hmac(sha512),cbc(aes))",
        ]
    ),
)
def test_every_algorithm_is_done_as_often_as_is_said(framework: Framework, word: str) -> None:
    """By the framework's own count, without an error, on each driver that has it."""
    chain = chain_of(word)
    names = {FACTS[cri.alg].name for cri in chain.inis}
    having = [info.name for info in framework.drivers if names <= set(info.algorithms)]
    assert "swcrypto" in having
    for driver, way in itertools.product(having, WAYS):
        before = framework.stats.drivers[driver]
        with consumers(framework, chain.inis, driver, SIZE, way) as them:
            warm = sum(each.turn(1) for each in them)
            assert [each.restore() for each in them]
            rate = measure(them, way.seconds)
        after = framework.stats.drivers[driver]
        extra = 2 * warm + (way.threads if way.decrypt else 0)  # and what made the messages
        assert after.ops - before.ops == rate.operations + extra
        assert after.errs == before.errs
        assert after.bytes - before.bytes == SIZE * (after.ops - before.ops)


@pytest.mark.parametrize("way", [Way(0.001), Way(0.001, depth=3), Way(0.001, 2)], ids=str)
@pytest.mark.parametrize("word", sample_of([*WORDS]))
def test_every_key_operation_is_done_as_often_as_is_said(
    framework: Framework, word: str, way: Way
) -> None:
    operation = WORDS[word]()
    assert operation.name == word
    name = KOPS[operation.op].name
    having = [info.name for info in framework.drivers if name in info.keyops]
    withheld = [why for info in framework.drivers for what, why in info.failed if what == name]
    if withheld and not having:
        pytest.skip(withheld[0])
    assert having
    for driver in having:
        before = framework.stats.drivers[driver]
        with key_consumers(framework, operation, driver, way) as them:
            rate = measure(them, way.seconds)
        after = framework.stats.drivers[driver]
        assert after.kops - before.kops == rate.operations + way.depth * way.threads
        assert after.kerrs == before.kerrs


@pytest.mark.slow
def test_the_published_numbers_are_primes() -> None:
    from opencrypto.cli.keyrates import _published

    for name, value in _published().items():
        if name != "dsa":
            assert pow(3, value - 1, value) == 1, name


def test_what_is_decrypted_is_what_was_protected(framework: Framework) -> None:
    """And it is protected again before the next turn."""
    chain = chain_of("AES_CBC+SHA2_256_HMAC")
    with consumers(framework, chain.inis, "openssl", 64, Way(decrypt=True)) as (one,):
        sealed = [bytes(slot.request.buf) for slot in one._slots]  # type: ignore[attr-defined]
        one.turn(1)
        opened = [bytes(slot.request.buf) for slot in one._slots]  # type: ignore[attr-defined]
        assert all(a != b and a[:16] == b[:16] for a, b in zip(sealed, opened, strict=True))
        assert one.restore()
        assert [bytes(slot.request.buf) for slot in one._slots] == sealed  # type: ignore[attr-defined]
        one._slots[0].request.buf[20] ^= 1  # type: ignore[attr-defined]
        with pytest.raises(CryptoError) as caught:
            one.turn(1)
        assert caught.value.errno == errno.EBADMSG


def test_what_is_compressed_shrinks_and_comes_back(framework: Framework) -> None:
    (compress,) = [Cryptoini(CRYPTO_DEFLATE_COMP)]
    with consumers(framework, [compress], "swcrypto", 4096, Way()) as (one,):
        one.turn(1)
        request: Any = one._slots[0].request  # type: ignore[attr-defined]
        assert 1000 < request.olen < 3000
    with consumers(framework, [compress], "swcrypto", 4096, Way(decrypt=True)) as (one,):
        one.turn(1)
        request = one._slots[0].request  # type: ignore[attr-defined]
        assert request.olen == 4096
        assert all(each in b"0123456789abcdef" for each in bytes(request.buf))


def test_a_driver_that_answers_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "PATIENCE", 0.05)
    driver = LateDriver()
    with Framework(plugins=False, control=False) as framework:
        framework.attach(driver)
        alg = next(iter(driver.capabilities))
        inis = chain_of(FACTS[alg].name).inis
        with (
            pytest.raises(CryptoError, match="stopped answering"),
            consumers(framework, inis, driver.name, 64, Way()) as them,
        ):
            measure(them, 0.01)
        assert driver.release() == 1


def test_a_thread_that_fails_ends_all(framework: Framework) -> None:
    with consumers(framework, [Cryptoini(CRYPTO_SHA2_256)], "openssl", 64, Way(threads=2)) as them:
        them[1]._slots[0].request.desc[0].len = 1000  # type: ignore[attr-defined]
        with pytest.raises(CryptoError):
            rates._side_by_side(them, 60.0)


def test_no_more_memory_than_that(framework: Framework) -> None:
    key = Cryptoini(CRYPTO_AES_CBC, bytes(16))
    way = Way(depth=4096, threads=2)
    with (
        pytest.raises(UsageError, match="fewer in flight"),
        consumers(framework, [key], "openssl", 1 << 20, way),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "size"),
    [("16", 16), ("64k", 65536), ("1M", 1 << 20), ("2 KiB", 2048), ("10b", 10), ("1kb", 1024)],
)
def test_sizes(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "1.5k", "1t", "9" * 13])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        size_of(text)


# The command.


@pytest.mark.slow
def test_the_table(tmp_path: Path) -> None:
    words = ["aes-256-cbc", "rsa2048", "-D", "swcrypto", "-D", "openssl", "-s", "64", "-s", "1k"]
    done = run("speed", *words, *QUICK)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows[0] == ["MB/s", "driver", "64 B", "1 KiB"]
    assert [row[:2] for row in rows[1:3]] == [
        ["aes-256-cbc", driver] for driver in ("openssl", "swcrypto")
    ]
    assert all(float(cell) > 0 for row in rows[1:3] for cell in row[2:])
    assert rows[4] == ["keys", "driver", "operations/s", "ms"]
    assert rows[5][:2] == ["rsa2048", "swcrypto"]
    assert done.stderr == ""


def test_json_has_what_a_program_wants(framework: Framework) -> None:
    keyed = any("DSA_SIGN" in info.keyops for info in framework.drivers)
    words = ["gcm(aes)", "dsa2048", "-s", "256", "--threads", "2", "--depth", "4", "--decrypt"]
    status, document, _ = ask("speed", *words, "-D", "openssl", "-D", "swcrypto", *QUICK)
    assert status == 0
    assert {k: document[k] for k in ("threads", "depth", "decrypt", "interrupted", "planned")} == {
        "threads": 2, "depth": 4, "decrypt": True, "interrupted": False, "planned": 2 + keyed,
    }  # fmt: skip
    assert [each["driver"] for each in document["rates"]] == ["openssl", "swcrypto"]
    for each in document["rates"] + document["key_rates"]:
        by_hand = each["operations"] / each["seconds"]
        assert each["operations_per_second"] == pytest.approx(by_hand, rel=0.02)
    for each in document["rates"]:
        assert each["bytes_per_second"] == pytest.approx(
            256 * each["operations_per_second"], rel=0.01
        )
    assert len(document["key_rates"]) == keyed
    assert len(document["not_measured"]) == 1 - keyed


def test_what_cannot_be_measured_is_named() -> None:
    status, document, err = ask(
        "speed", "AES_CBC", "-s", "100", "-s", "64", "-D", "openssl", *QUICK
    )
    assert status == 0
    assert [each["size"] for each in document["rates"]] == [64]
    (refused,) = document["not_measured"]
    assert refused["what"] == "AES_CBC on openssl, 100 B"
    assert "multiple of 16" in refused["reason"]
    assert "not measured: AES_CBC on openssl, 100 B" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["no-such-thing"], 2, "no-such-thing"),
        (["AES_CBC+no-such-thing"], 2, "no-such-thing"),
        (["aes-129-cbc"], 2, "did you mean aes-128-cbc"),
        (["gzip+aes-128-gcm"], 2, "each by itself"),
        (["-s", "0"], 2, "is no size"),
        (["-D", "nobody"], 2, "no installed plugin offers it"),
        (["--depth", "0"], 2, "depth"),
        (["--threads", "0"], 2, "threads"),
        (["-t", "0"], 2, "seconds"),
        (["--plot", "picture.doc"], 2, ".png, .svg or .pdf"),
        (["--plot", "no/such/folder/a.png"], 2, "is no folder"),
        (["AES_CBC", "-s", "100", "-t", "0.001"], 1, "nothing could be measured"),
        (["SKIPJACK_CBC", "-D", "openssl"], 1, "none of these drivers has it"),
    ],
)
def test_failures(words: list[str], status: int, says: str) -> None:
    if "--plot" in words:
        require_module("matplotlib")
    assert says in run("speed", *words, status=status).stderr


def test_a_plot_without_the_library_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"pip install 'opencrypto\[plot\]'"):
        speedplot.drawing(tmp_path / "a.png")


@pytest.mark.slow
def test_a_picture(tmp_path: Path) -> None:
    require_module("matplotlib")
    words = ["AES_CBC", "SHA2_256", "-s", "64", "-s", "1k", "-D", "openssl", *QUICK]
    run("speed", *words, "--plot", tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (1200, 456), "two pictures side by side"
    run("speed", *words, "--plot", tmp_path / "a.svg")
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()


def test_a_picture_has_a_line_for_each_driver_on_logarithmic_scales() -> None:
    figure = require_module("matplotlib.figure", "matplotlib").Figure()
    axes = figure.subplots()
    lines = {"one": [(1024, 20.0), (64, 1.0)], "two": [(64, 2.0), (1024, 30.0)]}
    speedplot.picture(axes, "AES", lines, ["one", "two"])
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_title()) == ("log", "log", "AES")
    drawn = {line.get_label(): [*map(tuple, line.get_xydata())] for line in axes.get_lines()}
    assert drawn == {"one": [(64, 1), (1024, 20)], "two": [(64, 2), (1024, 30)]}
    colours = [line.get_color() for line in axes.get_lines()]
    assert len(set(colours)) == 2


def test_an_interrupt_shows_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import typer

    left = [Rate(10, 1.0), Rate(20, 1.0)]

    def once_more(*_: object) -> Rate:
        if not left:
            raise KeyboardInterrupt
        return left.pop(0)

    monkeypatch.setattr(speed, "measure", once_more)
    with pytest.raises(typer.Exit) as ended:
        speed.speed(["AES_CBC"], ["openssl"], ["1k", "2k", "4k"], plain=True)
    assert ended.value.exit_code == 130
    shown = capsys.readouterr()
    assert shown.out == "MB/s\tdriver\t1 KiB\t2 KiB\nAES_CBC\topenssl\t0.01\t0.041\n"
    assert "interrupted: 2 of 3 points were measured" in shown.err


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "2"])
def test_ctrl_c_in_a_terminal(threads: str) -> None:
    words = ["speed", "AES_CBC", "SHA2_256", "-D", "openssl", "-t", "0.2", "--threads", threads]
    child = pexpect.spawn(RUN[0], [*RUN[1:], *words], timeout=60, encoding="utf-8")
    try:
        child.expect("14 points of 0.2 s each, about 3 s")
        child.expect(r"AES_CBC on openssl, 64 B: \d+ in")
        child.kill(signal.SIGINT)
        child.expect(r"MB/s\s.*driver.*64 B")
        child.expect(r"interrupted: \d+ of 14 points were measured")
        child.expect(pexpect.EOF)
    finally:
        child.close()
    assert child.exitstatus == 130
