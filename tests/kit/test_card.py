"""A card behind a socket: it keeps the contract, dies in the midst of work, and comes back."""

from __future__ import annotations

import errno
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRYPTO_AES_CBC,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    DriverUnavailable,
    Framework,
)
from opencrypto.testing import check_driver
from tests.kit.card import CardDriver
from tests.kit.correct_drivers import Honest

SERVER = Path(__file__).with_name("card_server.py")
KEY, IV, DATA = bytes(range(16)), bytes(16), bytes(range(256))


@contextmanager
def card(path: Path, delay: float) -> Iterator[subprocess.Popen[str]]:
    """Have a card behind a socket; it dies when it is killed, or at the end."""
    path.unlink(missing_ok=True)
    words = [sys.executable, str(SERVER), str(path), str(delay)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def path() -> Iterator[Path]:
    """Give a place for a socket, whose name must be short."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "card"


@pytest.mark.slow
def test_it_keeps_the_contract(path: Path) -> None:
    with card(path, 0.0002):
        report = check_driver(
            CardDriver, make_driver=lambda: CardDriver(path), quick=True, patience=2.0
        )
    assert report.ok, str(report)
    assert not report.left_behind


def test_where_there_is_no_card_it_is_not_tried(path: Path) -> None:
    report = check_driver(CardDriver, make_driver=lambda: CardDriver(path))
    assert not report.ok
    assert report.verdict.startswith("not tried: the card does not answer")


@pytest.mark.slow
def test_a_card_pulled_while_it_is_checked_does_not_keep_the_contract(path: Path) -> None:
    made = []

    with card(path, 0.0) as process:

        def make() -> CardDriver:
            made.append(1)
            if len(made) == 20:
                process.kill()
                process.wait()
            return CardDriver(path)

        report = check_driver(CardDriver, make_driver=make, quick=True, patience=1.0)
    assert not report.ok
    assert "was here and is not any more" in str(report)


class Asked:
    """A request that goes on until it has an answer, wherever its session has moved."""

    def __init__(self, framework: Framework, sid: int) -> None:
        self.framework = framework
        self.ends: list[int] = []
        self.moved = 0
        self.answered = threading.Event()
        crd = Cryptodesc(
            len(IV), len(DATA), 0, CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT, alg=CRYPTO_AES_CBC, iv=IV
        )
        self.crp = Cryptop(sid, bytearray(IV + DATA), [crd], self)
        framework.dispatch(self.crp)

    def __call__(self, crp: Cryptop) -> None:
        self.ends.append(crp.etype)
        if crp.etype == errno.EAGAIN and self.moved < 3:  # nothing was done; the new sid is set
            self.moved += 1
            self.framework.dispatch(crp)
        else:
            self.answered.set()


@pytest.mark.slow
def test_it_dies_and_comes_back_and_nothing_is_lost(path: Path) -> None:
    """Each request in flight is answered once, rightly, by the card or by who takes over."""
    with Framework(plugins=False) as framework:
        with card(path, 0.001) as process:
            framework.attach(CardDriver(path), selftest=False)
            framework.attach(Honest(), selftest=False)
            sid = framework.newsession(Cryptoini(CRYPTO_AES_CBC, KEY))
            asked = [Asked(framework, sid) for _ in range(60)]
            assert asked[0].answered.wait(10)
            process.kill()
            process.wait()
            assert all(each.answered.wait(10) for each in asked)
        assert {each.ends[-1] for each in asked} == {0}
        assert any(each.moved for each in asked), "some were in flight"
        assert len({bytes(each.crp.buf) for each in asked}) == 1
        assert all(len(each.ends) == each.moved + 1 for each in asked)
        with card(path, 0.0):
            if any(info.name == "card" for info in framework.drivers):
                framework.detach("card")
            framework.attach(CardDriver(path), selftest=False)
            again = Asked(framework, framework.newsession(Cryptoini(CRYPTO_AES_CBC, KEY)))
            assert again.answered.wait(10)
            assert again.ends == [0]
            assert again.crp.buf == asked[0].crp.buf
            framework.detach("card")


def test_a_card_that_is_not_there_says_so(path: Path) -> None:
    with pytest.raises(DriverUnavailable, match="the card does not answer"):
        CardDriver(path)
