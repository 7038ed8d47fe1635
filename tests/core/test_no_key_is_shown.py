"""No key in what anybody can see: reprs, log lines, messages, tracebacks with their locals."""

from __future__ import annotations

import gc
import io
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from opencrypto import (
    CRD_F_ENCRYPT,
    CRYPTO_3DES_CBC,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_GCM_16,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_SHA1_HMAC,
    CRYPTO_SYMQ,
    Cryptodesc,
    Cryptoini,
    Cryptop,
)
from tests.toy import ALGS, Log, Toy, step, stepped, the_session

CANARY = b"\xc1\xa7canary-of-32-bytes.singing!\x01\xff"
"""Holds printable bytes too, so that any way of writing it shows."""
ALGORITHMS = (*ALGS, CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC, CRYPTO_AES_GCM_16, CRYPTO_AES_128_GMAC)


def key(length: int = 16, part: int = 0) -> bytes:
    """A key made of the canary."""
    return (CANARY * 3)[part : part + length]


def sings(text: str) -> str:
    """Return how a text holds eight bytes of the canary in a row, raw, as repr or in hex."""
    low = text.lower()
    for at in range(len(CANARY) - 8):
        part = CANARY[at : at + 8]
        for form in (repr(part)[2:-1], part.hex(), part.hex(" "), part.decode("latin-1")):
            if form.lower() in low:
                return form
        if ", ".join(map(str, part)) in low:
            return "list"
    return ""


@contextmanager
def listening() -> Iterator[io.StringIO]:
    """Have the library log all it can."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("opencrypto")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def shown(call: Callable[[], object]) -> str:
    """What a raised exception shows, with the locals of every frame that is not a test's."""
    try:
        call()
    except Exception as error:
        text = traceback.format_exc() + repr(error) + str(error)
        seen: BaseException | None = error
        while seen is not None:
            for frame in traceback.TracebackException.from_exception(
                seen, capture_locals=True
            ).stack:
                if "/tests/" not in frame.filename:
                    text += str(frame.locals)
            seen = seen.__cause__ or seen.__context__
        return text
    raise AssertionError("nothing was raised")


def test_the_ear_works() -> None:
    """The search finds a key written in any of the usual ways."""
    for text in (repr(key()), repr(bytearray(key())), key().hex(), str(list(key())), f"x{key()!r}"):
        assert sings(text)
    assert not sings(repr(Toy()))


REFUSED: dict[str, list[Cryptoini]] = {
    "key too long": [Cryptoini(CRYPTO_AES_CBC, key(17))],
    "key too short": [Cryptoini(CRYPTO_AES_CBC, key(15))],
    "klen too long": [Cryptoini(CRYPTO_AES_CBC, key(), klen=256)],
    "klen odd": [Cryptoini(CRYPTO_AES_CBC, key(), klen=127)],
    "mlen": [Cryptoini(CRYPTO_SHA1_HMAC, key(), mlen=99)],
    "second is bad": [Cryptoini(CRYPTO_AES_CBC, key()), Cryptoini(4711, key())],
    "nobody has it": [Cryptoini(CRYPTO_3DES_CBC, key(24))],
    "half an aead": [Cryptoini(CRYPTO_AES_GCM_16, key(20))],
    "two keys": [
        Cryptoini(CRYPTO_AES_GCM_16, key(20)),
        Cryptoini(CRYPTO_AES_128_GMAC, key(20, 3)),
    ],
    "text": [Cryptoini(CRYPTO_AES_CBC, key(16).decode("latin-1"))],  # type: ignore[arg-type]  # wrong on purpose
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_sessions_show_no_key(case: str) -> None:
    """No message, log line or local of the library's frames holds the key of a refused session."""
    with listening() as log, stepped(Toy(algs=ALGORITHMS)) as fw:
        text = shown(lambda: fw.newsession(REFUSED[case]))
        assert not sings(text), text
        assert not sings(log.getvalue())


def test_a_drivers_refusal_shows_no_key() -> None:
    """A driver whose newsession raises is named in log and message; the key is in neither."""

    class Broken(Toy):
        def newsession(self, ini: Any) -> Any:
            raise RuntimeError("of the driver")

    with listening() as log, stepped(Broken()) as fw:
        text = shown(lambda: fw.newsession(Cryptoini(CRYPTO_NULL_CBC, key())))
        assert not sings(text), text
        assert "driver_bug" in log.getvalue()
        assert not sings(log.getvalue())


def test_nothing_that_runs_shows_a_key() -> None:
    """Requests, errors, blocking, migration, failing callbacks and drivers, all logged: no key."""

    def fails(crp: Cryptop) -> None:
        raise RuntimeError("of the consumer")

    one, two = Toy("one"), Toy("two")
    texts: list[str] = []
    with listening() as log, stepped(one, two) as fw:
        back = Log()
        cri = Cryptoini(CRYPTO_NULL_CBC, key(32))
        sid = fw.newsession(cri, driver="one")
        crd = Cryptodesc(0, 16, 0, CRD_F_ENCRYPT, cri)
        requests = [
            Cryptop(sid, bytearray(32), [crd], back, CRYPTO_F_CBIMM),
            Cryptop(sid, bytearray(8), [crd], back, CRYPTO_F_CBIMM),
            Cryptop(sid, bytearray(32), [crd], fails, CRYPTO_F_CBIMM),
            Cryptop(sid, bytearray(32), [crd], back, CRYPTO_F_BATCH),
        ]
        for crp in requests:
            fw.dispatch(crp)
            texts.append(repr(crp))
            if crp.etype:
                texts.append(shown(crp.check))
        texts += [shown(lambda: one.done(requests[0])), shown(lambda: fw.freereq(requests[3]))]
        one.full = True
        step(fw)
        one.unblock(CRYPTO_SYMQ)
        fw.detach("one")
        fw.dispatch(requests[0])
        texts.append(shown(requests[0].check))
        session = the_session(fw, sid)
        things = [cri, crd, fw, session, session.slot, session.chain, *session.chain.inis]
        things += [
            fw.drivers,
            fw.stats,
            fw.sysctl,
            dict(fw.sysctl),
            one,
            two,
            requests,
            fw._plugins,
        ]
        texts += map(repr, things)
        fw.detach("two")
        fw.dispatch(requests[0])
        texts.append(shown(requests[0].check))
        step(fw)
    assert log.getvalue().count("driver_detached") == 2
    for text in [*texts, log.getvalue()]:
        assert not sings(text), text


def test_our_copies_of_keys_are_zeros_afterwards() -> None:
    """The framework's own bytearrays are wiped with the session, moved or not, and at close."""
    one, two = Toy("one"), Toy("two")
    with stepped(one, two) as fw:
        chains = []
        for _ in range(3):
            sid = fw.newsession(
                [Cryptoini(CRYPTO_NULL_CBC, key(32)), Cryptoini(CRYPTO_NULL_CBC, key(20))],
                driver="one",
            )
            chains.append((sid, the_session(fw, sid).chain))
        keys = [[cri.key for cri in chain.inis] for _, chain in chains]
        assert keys[0][0] == key(32)
        fw.freesession(chains[0][0])
        assert [bytes(each or b"") for each in keys[0]] == [bytes(32), bytes(20)]
        fw.detach("one")
        log = Log()
        crd = Cryptodesc(0, 4, alg=CRYPTO_NULL_CBC)
        fw.dispatch(Cryptop(chains[1][0], bytearray(4), [crd], log, CRYPTO_F_CBIMM))
        assert keys[1][0] == key(32)
        fw.freesession(chains[1][0])
        assert not any(keys[1][0] or b"x")
        assert keys[2][0] == key(32)
    assert not any(keys[2][0] or b"x")


def test_a_session_that_does_not_come_about_leaves_no_copy() -> None:
    """Where newsession fails, what was copied of the keys is wiped."""
    with stepped(Toy(algs=[CRYPTO_AES_CBC])) as fw:
        for ini in (REFUSED["nobody has it"], REFUSED["two keys"]):
            shown(lambda ini=ini: fw.newsession(ini))  # type: ignore[misc]  # of this round
        left = [
            each
            for each in gc.get_objects()
            if isinstance(each, Cryptoini) and isinstance(each.key, bytearray) and any(each.key)
        ]
        assert not [each for each in left if sings(repr(each.key))]
