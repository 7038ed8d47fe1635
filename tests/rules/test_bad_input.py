"""
Bad input: the errno, a sentence that says what to do, and a buffer that is as it was.

A request that can be called back is called back, through the driver's plain `process` and through
a compiled one alike; only what cannot be called back raises.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_VERIFY,
    CRYPTO_3DES_CBC,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_GCM_16,
    CRYPTO_F_CBIMM,
    CRYPTO_F_IMBUF,
    CRYPTO_F_IOV,
    CRYPTO_NULL_CBC,
    CRYPTO_SHA1_HMAC,
    BusyError,
    Capability,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Driver,
    DriverBug,
    Framework,
    NoDriverError,
    UnknownSession,
    UsageError,
)
from tests.toy import ALGS, Log, Toy, newsession, request, step, stepped

AES = bytes(range(16))
SECRET = bytes(range(64))
SHA = b"k" * 20
CHAIN = [Cryptoini(CRYPTO_AES_CBC, AES), Cryptoini(CRYPTO_SHA1_HMAC, SHA)]
EVERY = (*ALGS, CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC, CRYPTO_AES_GCM_16, CRYPTO_AES_128_GMAC)


class Compiled(Toy):
    """A driver that never expects to see a bad request."""

    def process(self, crp: Cryptop, hint: int) -> int:
        raise AssertionError("a bad request reached the driver")


@pytest.fixture
def fw() -> Iterator[Framework]:
    with stepped(Compiled(algs=EVERY)) as framework:
        yield framework


def cipher(skip: int = 16, length: int = 32, inject: int = 0, **more: Any) -> Cryptodesc:
    flags = more.pop("flags", CRD_F_ENCRYPT)
    return Cryptodesc(skip, length, inject, flags, alg=more.pop("alg", CRYPTO_AES_CBC), **more)


def mac(skip: int = 0, length: int = 44, inject: int = 44, flags: int = 0) -> Cryptodesc:
    return Cryptodesc(skip, length, inject, flags, alg=CRYPTO_SHA1_HMAC)


Change = Callable[[Cryptop], object]


def put(**fields: Any) -> Change:
    """Set fields of the request."""

    def change(crp: Cryptop) -> None:
        for name, value in fields.items():
            setattr(crp, name, value)

    return change


BAD: dict[str, tuple[list[Cryptodesc], Change, str]] = {
    "region behind the end": ([cipher(length=64)], put(), "64 bytes at 16 is outside .* 64 bytes"),
    "region far behind": ([cipher(skip=1 << 70)], put(), "outside the buffer"),
    "negative skip": ([cipher(skip=-16)], put(), "at -16 is outside the buffer"),
    "negative len": ([cipher(length=-16)], put(), "region of -16 bytes"),
    "half a block": ([cipher(length=24)], put(), "24 bytes is not a multiple of 16"),
    "iv outside": ([cipher(inject=60)], put(), "iv's place of 16 bytes at 60 is outside"),
    "iv before": ([cipher(inject=-1)], put(), "at -1 is outside"),
    "iv in the region": ([cipher(inject=20)], put(), "inside the region it ciphers"),
    "no iv": ([cipher(flags=CRD_F_IV_EXPLICIT)], put(), "the descriptor has no iv"),
    "short iv": ([cipher(flags=CRD_F_IV_EXPLICIT, iv=bytes(8))], put(), "iv of 8 bytes; .* 16"),
    "long iv": ([cipher(flags=CRD_F_IV_EXPLICIT, iv=bytes(17))], put(), "iv of 17 bytes"),
    "mac outside": ([mac(inject=45)], put(), "MAC's place of 20 bytes at 45 is outside"),
    "mac before": ([mac(inject=-20)], put(), "at -20 is outside"),
    "mac beside, too small": ([mac()], put(mac=bytearray(19)), "room for 19 bytes, 20 needed"),
    "mac beside, read-only": ([mac()], put(mac=bytes(20)), "mac is read-only; give a bytearray"),
    "second mac of two is wrong": ([mac(), mac(inject=99)], put(), "at 99 is outside"),
    "foreign algorithm": ([cipher(alg=CRYPTO_3DES_CBC)], put(), "3DES_CBC is not in the session"),
    "unknown algorithm": ([cipher(alg=4711)], put(), "algorithm 4711 is not in the session"),
    "half an aead": ([cipher(alg=CRYPTO_AES_GCM_16)], put(), "AES_GCM_16 is not in the session"),
    "no descriptor": ([], put(), "no descriptors; take it from getreq"),
    "descriptors gone": ([cipher()], put(desc=None), "no descriptors"),
    "no descriptors but numbers": ([cipher()], put(desc=[1]), "a field has a wrong type"),
    "no buffer": ([cipher()], put(buf=None), "no buffer; set buf"),
    "read-only buffer": ([cipher()], put(buf=SECRET), "read-only; give a bytearray"),
    "read-only part": ([cipher()], put(buf=[bytearray(32), SECRET[:32]]), "read-only"),
    "read-only, for a mac": ([mac()], put(buf=SECRET), "read-only"),
    "a string": ([cipher()], put(buf="text"), "bytes-like, not str"),
    "a number": ([cipher()], put(buf=5), "bytes-like, not int"),
    "every other byte": ([cipher()], put(buf=memoryview(bytearray(128))[::2]), "in segments"),
    "iov that is none": ([cipher()], put(flags=CRYPTO_F_CBIMM | CRYPTO_F_IOV), "list of buffers"),
    "mbuf that is none": ([cipher()], put(flags=CRYPTO_F_CBIMM | CRYPTO_F_IMBUF), "needs an Mbuf"),
    "skip that is no number": ([cipher(skip="x")], put(), "a field has a wrong type"),  # type: ignore[arg-type]  # wrong on purpose
    "iv that is a number": ([cipher(flags=CRD_F_IV_EXPLICIT, iv=5)], put(), "wrong type"),
    "mac that is a string": ([mac()], put(mac="x" * 20), "a mac must be bytes-like, not str"),
    "verify outside": ([mac(inject=60, flags=CRD_F_VERIFY)], put(), "at 60 is outside"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_ends_with_einval_and_touches_nothing(fw: Framework, case: str) -> None:
    """EINVAL, a sentence about what is wrong, the driver not asked, the buffer as before."""
    descriptors, change, sentence = BAD[case]
    sid, log = fw.newsession(CHAIN), Log()
    buf = bytearray(SECRET)
    crp = Cryptop(sid, buf, descriptors, log, CRYPTO_F_CBIMM)
    change(crp)
    fw.dispatch(crp)
    assert log.etypes == [errno.EINVAL]
    with pytest.raises(UsageError, match=sentence):
        crp.check()
    assert buf == SECRET
    assert fw.stats.driver_bugs == 0
    fw.freesession(sid)


GCM = bytes(range(20))
AEAD = [Cryptoini(CRYPTO_AES_GCM_16, GCM), Cryptoini(CRYPTO_AES_128_GMAC, GCM)]


@pytest.mark.parametrize(
    ("descriptors", "sentence"),
    [
        ([cipher(8, 32, 0, alg=CRYPTO_AES_GCM_16)], "both its descriptors"),
        ([Cryptodesc(0, 8, 40, alg=CRYPTO_AES_128_GMAC)], "both its descriptors"),
        (
            [
                cipher(8, 32, 0, alg=CRYPTO_AES_GCM_16),
                Cryptodesc(0, 8, 30, alg=CRYPTO_AES_128_GMAC),
            ],
            "tag's place at 30 is inside the payload",
        ),
    ],
)
def test_a_bad_aead_request(fw: Framework, descriptors: list[Cryptodesc], sentence: str) -> None:
    """An authenticated cipher takes both descriptors, its tag outside the payload."""
    log = Log()
    buf = bytearray(SECRET)
    crp = Cryptop(fw.newsession(AEAD), buf, descriptors, log, CRYPTO_F_CBIMM)
    fw.dispatch(crp)
    assert log.etypes == [errno.EINVAL]
    assert sentence in crp.error
    assert buf == SECRET


@pytest.mark.parametrize("sid", [0, 1, 1 << 32, (1 << 32) | 77, -1, 1 << 80, None, "sid"])
def test_an_unknown_sid(fw: Framework, sid: Any) -> None:
    """ENOENT, called back; from freesession it is raised, but for 0, which is no session."""
    log = Log()
    crp = request(sid, log, buf=bytearray(SECRET))
    fw.dispatch(crp)
    assert log.etypes == [errno.ENOENT]
    with pytest.raises(UnknownSession, match="open one with newsession"):
        crp.check()
    assert crp.buf == SECRET
    if sid == 0:
        fw.freesession(sid)
    else:
        with pytest.raises(UnknownSession, match="freed already, or never opened"):
            fw.freesession(sid)


def test_a_session_freed_is_unknown(fw: Framework) -> None:
    """Its second freesession is ENOENT, as is a request on it."""
    sid, log = newsession(fw), Log()
    fw.freesession(sid)
    with pytest.raises(UnknownSession):
        fw.freesession(sid)
    fw.dispatch(request(sid, log))
    assert log.etypes == [errno.ENOENT]


def test_without_a_callback_dispatch_raises(fw: Framework) -> None:
    """Who cannot be called back is told at once, and may set one and dispatch again."""
    crp = request(newsession(fw), None)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(UsageError, match="no callback; set one"):
        fw.dispatch(crp)
    crp.callback = log = Log()
    crp.sid = 0
    fw.dispatch(crp)
    assert log.etypes == [errno.ENOENT]


@pytest.mark.parametrize("flags", [None, "x", 1.0, []])
@pytest.mark.parametrize("known", [True, False])
def test_flags_that_are_no_number_raise_at_dispatch(fw: Framework, flags: Any, known: bool) -> None:
    """They say how the request is called back, so it cannot be; nothing is left in flight."""
    sid, log = newsession(fw), Log()
    crp = request(sid if known else 0, log)
    put(flags=flags)(crp)
    with pytest.raises(UsageError, match=r"flags are CRYPTO_F_\*"):
        fw.dispatch(crp)
    fw.freesession(sid)
    assert not fw._sessions.table
    assert not log.calls


@pytest.mark.parametrize(
    "ilen",
    [None, "x", 1.0, [], -1, -(2**70), 2**48, pytest.param(2**2000, id="endless")],
)
@pytest.mark.parametrize("known", [True, False])
def test_a_length_that_is_none_made_counters_fall(ilen: Any, known: bool) -> None:
    """EINVAL, the buffer untouched, counted as 0 bytes: no count falls or overflows."""
    log = Log()
    with stepped(Toy()) as fw:
        sid = newsession(fw)
        crp = request(sid if known else 0, log)
        put(ilen=ilen)(crp)
        fw.dispatch(crp)
        assert log.etypes == [errno.EINVAL]
        assert crp.error.startswith("ilen is a number of bytes")
        assert bytes(crp.buf) == bytes(16)
        assert fw.sysctl["opencrypto.sizes.bytes"] == 0
        assert fw.sysctl["opencrypto.stats.ops"] == fw.sysctl["opencrypto.stats.errs"] == 1
        assert fw.driver_bugs.count == 0
        put(ilen=2**48 - 1)(crp)
        crp.sid = sid
        fw.dispatch(crp)
        assert log.etypes == [errno.EINVAL, 0]
        assert fw.sysctl["opencrypto.sizes.bytes"] == 2**48 - 1


def test_a_request_freed_or_under_way() -> None:
    """A freed request and one dispatched already raise; freeing twice or under way raises too."""
    toy = Toy(hold=True)
    with stepped(toy) as fw:
        sid, log = newsession(fw), Log()
        crp = request(sid, log)
        fw.dispatch(crp)
        with pytest.raises(BusyError, match="dispatched already; wait for its callback"):
            fw.dispatch(crp)
        with pytest.raises(BusyError, match="free it in its callback or after"):
            fw.freereq(crp)
        toy.answer()
        assert log.etypes == [0]
        fw.freereq(crp)
        with pytest.raises(UsageError, match="freed; take a new one from getreq"):
            fw.dispatch(crp)
        with pytest.raises(UsageError, match="freed already; free it once"):
            fw.freereq(crp)
        fw.freereq(None)


def test_on_the_return_queue_a_request_is_under_way() -> None:
    """Completed but not called back yet, it can be neither freed nor dispatched."""
    with stepped(Toy()) as fw:
        log = Log()
        crp = request(newsession(fw), log, flags=0)
        fw.dispatch(crp)
        for call in (fw.freereq, fw.dispatch):
            with pytest.raises(BusyError):
                call(crp)
        step(fw)
        fw.freereq(crp)


def test_done_for_a_request_that_no_driver_has(fw: Framework) -> None:
    """done for a request never dispatched, or of another framework, raises DriverBug."""
    with pytest.raises(DriverBug, match="does not hold"):
        fw.done(Cryptop())
    toy = Toy(hold=True)
    with stepped(toy) as other:
        log = Log()
        crp = request(newsession(other), log)
        other.dispatch(crp)
        toy.answer()
        with pytest.raises(DriverBug):
            fw.done(crp)
        assert log.etypes == [0]


@pytest.mark.parametrize(
    ("ini", "sentence"),
    [
        ([], "at least one algorithm"),
        ([None], "made of Cryptoini, not NoneType"),
        (Cryptoini(4711, AES), "4711 is unknown; use a CRYPTO_"),
        (Cryptoini(CRYPTO_AES_CBC), "AES_CBC takes a key of 16 or 24 or 32 bytes, not 0"),
        (Cryptoini(CRYPTO_AES_CBC, bytes(17)), "not 17"),
        (Cryptoini(CRYPTO_AES_CBC, bytes(16), klen=256), "klen says 256 bits, the key has 128"),
        (Cryptoini(CRYPTO_AES_CBC, bytes(16), klen=127), "no whole number of bytes"),
        (Cryptoini(CRYPTO_AES_CBC, bytes(16), klen=-128), "no whole number of bytes"),
        (Cryptoini(CRYPTO_AES_CBC, "sixteen letters."), "bytes-like, not str"),  # type: ignore[arg-type]  # wrong on purpose
        (Cryptoini(CRYPTO_SHA1_HMAC, SHA, mlen=21), "cannot give a MAC of 21 bytes"),
        (Cryptoini(CRYPTO_SHA1_HMAC, SHA, mlen=-1), "cannot give a MAC of -1 bytes"),
        (Cryptoini(CRYPTO_AES_CBC, AES, mlen=12), "cannot give a MAC"),
        (AEAD[0], "goes with exactly one authenticator"),
        (AEAD[1], "goes with exactly one authenticator"),
        ([AEAD[0], Cryptoini(CRYPTO_AES_128_GMAC, bytes(20))], "give both the same key"),
    ],
)
def test_bad_session_parameters(fw: Framework, ini: Any, sentence: str) -> None:
    """newsession raises UsageError (EINVAL) with a sentence, and no driver is asked."""
    with pytest.raises(UsageError, match=sentence) as refusal:
        fw.newsession(ini)
    assert refusal.value.errno == errno.EINVAL
    assert fw.stats.driver_bugs == 0


def test_a_key_that_is_a_number_is_no_key_of_so_many_zeros(fw: Framework) -> None:
    """``bytearray(16)`` is sixteen zeros; a number for a key is refused instead."""
    cri = Cryptoini(CRYPTO_AES_CBC)
    cri.key = 16  # type: ignore[assignment]  # wrong on purpose
    with pytest.raises(UsageError, match="bytes-like, not int"):
        fw.newsession(cri)


def test_nobody_serves_it(fw: Framework) -> None:
    """NoDriverError names each driver and why; with none attached it says so."""
    with pytest.raises(NoDriverError, match="toy: has no 3DES_CBC") as refusal:
        fw.newsession(Cryptoini(CRYPTO_3DES_CBC, bytes(range(24))))
    assert refusal.value.reasons == {"toy": "has no 3DES_CBC"}
    assert refusal.value.errno == errno.EINVAL
    fw.detach("toy")
    with pytest.raises(NoDriverError, match="none is attached"):
        newsession(fw)


def test_calls_about_drivers_that_are_not_there(fw: Framework) -> None:
    """Unknown hids and names, and wrong masks, raise UsageError with what to give instead."""
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: fw.register(9, CRYPTO_NULL_CBC, 0, 0, None, None, None), "take one from get_dr"),
        (lambda: fw.unregister(9, CRYPTO_NULL_CBC), "no driver has the id 9"),
        (lambda: fw.unregister_all(-1), "no driver has the id -1"),
        (lambda: fw.unblock(9, 1), "no driver has the id 9"),
        (lambda: fw.unblock(0, 0), "CRYPTO_SYMQ, CRYPTO_ASYMQ, or both"),
        (lambda: fw.unblock(0, 4), "CRYPTO_SYMQ, CRYPTO_ASYMQ, or both"),
        (lambda: fw.unregister(0, CRYPTO_3DES_CBC), "has not registered algorithm"),
        (lambda: fw.register(0, 4711, 0, 0, None, None, None), "no algorithm 4711"),
        (lambda: fw.detach("nobody"), r"no driver 'nobody' is attached \(attached: toy\)"),
        (lambda: fw.detach(9), "no driver 9 is attached"),
        (lambda: newsession(fw, driver="nobody"), "no driver 'nobody' is attached"),
        (lambda: fw.get_driverid(-1), "CRYPTOCAP_F_"),
        (lambda: fw.get_driverid(True), "CRYPTOCAP_F_"),
    ]
    for call, sentence in calls:
        with pytest.raises(UsageError, match=sentence) as refusal:
            call()
        assert refusal.value.errno == errno.EINVAL


def test_the_first_register_needs_callbacks(fw: Framework) -> None:
    """Without callbacks there is nothing to call; a driver that left takes a new id."""
    hid = fw.get_driverid(0)
    with pytest.raises(UsageError, match="needs its callbacks"):
        fw.register(hid, CRYPTO_NULL_CBC, 0, 0, None, None, None)
    fw.register(hid, CRYPTO_NULL_CBC, 0, 0, lambda *_: 1, None, lambda *_: 0)
    sid = newsession(fw, driver=hid)
    fw.unregister(hid, CRYPTO_NULL_CBC)
    with pytest.raises(UsageError, match="no driver has the id"):
        fw.unregister_all(hid)
    fw.freesession(sid)


class Anything(Driver):
    """A driver with whatever is set on it."""

    def __init__(self, **fields: Any) -> None:
        self.name = "anything"
        for field, value in fields.items():
            setattr(self, field, value)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": ""}, "one token"),
        ({"name": "two words"}, "one token"),
        ({"name": None}, "one token"),
        ({"name": 5}, "one token"),
        ({"flags": -1}, "CRYPTOCAP_F_"),
        ({"flags": "software"}, "CRYPTOCAP_F_"),
        ({"flags": True}, "CRYPTOCAP_F_"),
        ({"capabilities": {4711: Capability()}}, "unknown algorithms"),
        ({"capabilities": {CRYPTO_NULL_CBC: None}}, r"NULL_CBC needs a Capability\(\)"),
        ({"keyops": [99]}, "unknown key operations"),
    ],
)
def test_a_bad_driver_is_refused_whole(fw: Framework, fields: Any, sentence: str) -> None:
    """attach raises UsageError that names the rule, and leaves no slot behind."""
    with pytest.raises(UsageError, match=sentence):
        fw.attach(Anything(**fields))
    assert [each.name for each in fw.drivers] == ["toy"]
    assert len(list(fw._drivers)) == 1


def test_what_is_no_driver_is_refused(fw: Framework) -> None:
    """A class instead of an object, and a driver that is attached already, are told apart."""
    with pytest.raises(UsageError, match=r"a Driver object|opencrypto\.Driver object, not type"):
        fw.attach(Toy)  # type: ignore[arg-type]  # wrong on purpose
    toy = Toy("twice")
    fw.attach(toy)
    with pytest.raises(BusyError, match="attached already; detach it first"):
        fw.attach(toy)


def test_a_closed_framework_says_so() -> None:
    """After close() there are no sessions, no drivers and no attaching."""
    with stepped(Toy()) as fw:
        sid = newsession(fw)
        fw.close()
        calls: list[Callable[[], object]] = [lambda: newsession(fw), lambda: fw.attach(Toy())]
        for call in calls:
            with pytest.raises(UsageError, match="closed; make a new one"):
                call()
        log = Log()
        fw.dispatch(request(sid, log))
        assert log.etypes == [errno.ENOENT]


@pytest.mark.parametrize("field", ["alg", "klen", "mlen", "limit", "rnd"])
@pytest.mark.parametrize("value", [True, False])
def test_true_was_a_mac_of_one_byte(fw: Framework, field: str, value: bool) -> None:
    """Of a session's parameters none is a yes or no: ``mlen=True`` cut its MACs to a byte."""
    ini = Cryptoini(CRYPTO_SHA1_HMAC, bytes(20))
    setattr(ini, field, value)
    with pytest.raises(UsageError):
        fw.newsession(ini)


@pytest.mark.parametrize("hard", [True, False, "1", None, 1.0])
def test_a_class_of_drivers_is_a_number(fw: Framework, hard: Any) -> None:
    """True is no way to ask for hardware."""
    with pytest.raises(UsageError, match="hard is a number"):
        fw.newsession(Cryptoini(CRYPTO_SHA1_HMAC, bytes(20)), hard)


@pytest.mark.parametrize("wrong", [True, False, 0.0, None, [0]])
def test_true_detached_the_second_driver(wrong: Any) -> None:
    """A driver is named by its id, its name or itself, and not by what equals one of them."""
    with stepped(Toy("one"), Toy("two")) as fw:
        with pytest.raises(UsageError, match="no driver"):
            fw.detach(wrong)
        with pytest.raises(UsageError, match="no driver"):
            fw.unblock(wrong, 1)
        if wrong is not None:
            with pytest.raises(UsageError, match="no driver"):
                fw.newsession(Cryptoini(CRYPTO_NULL_CBC, b"k"), driver=wrong)
        assert [info.name for info in fw.drivers] == ["one", "two"]
