"""What code ported from C relies on, and reads in the fields where C has it."""

import errno
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opencrypto import (
    CRD_F_COMP,
    CRD_F_ENCRYPT,
    CRK_DSA_SIGN,
    CRK_DSA_VERIFY,
    CRK_MAXPARAM,
    CRK_MOD_ADD,
    CRYPTO_AES_CBC,
    CRYPTO_DEFLATE_COMP,
    CRYPTO_F_CBIMM,
    CRYPTO_F_DONE,
    CRYPTO_F_ONRETQ,
    CRYPTO_NULL_CBC,
    CRYPTO_SHA1,
    ERESTART,
    Cryptkop,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
    UnknownSession,
    UsageError,
    bsd,
)
from opencrypto._core.default import DEFAULT

WAIT = 10

LIDS = itertools.count(1)


@pytest.fixture
def framework(monkeypatch: pytest.MonkeyPatch) -> Iterator[Framework]:
    """Give the default framework, with no driver."""
    with Framework(plugins=False) as framework:
        monkeypatch.setattr(DEFAULT, "framework", framework)
        yield framework


@pytest.fixture
def software(monkeypatch: pytest.MonkeyPatch) -> Iterator[Framework]:
    """Give the default framework, with a driver that does the work."""
    with Framework(plugins=["swcrypto"]) as framework:
        monkeypatch.setattr(DEFAULT, "framework", framework)
        yield framework


def register(
    process: Callable[[Any, Cryptop, int], int],
    newsession: Callable[[Any, int, Cryptoini], tuple[int, int]] = lambda arg, hid, cri: (
        0,
        next(LIDS),
    ),
) -> int:
    """Register a driver of one cipher and return its id."""
    hid = bsd.crypto_get_driverid(0)
    assert bsd.crypto_register(hid, CRYPTO_NULL_CBC, 0, 0, newsession, None, process) == 0
    return hid


def answering(arg: object, crp: Cryptop, hint: int) -> int:
    """Answer at once."""
    bsd.crypto_done(crp)
    return 0


def null_request(flags: int = CRYPTO_F_CBIMM) -> tuple[Cryptop, list[tuple[int, int]]]:
    """Make a request of a new session, and the list of what its callbacks saw."""
    error, sid = bsd.crypto_newsession(bsd.cryptoini(CRYPTO_NULL_CBC), 0)
    assert error == 0
    crp = bsd.crypto_getreq(1)
    assert crp is not None
    seen: list[tuple[int, int]] = []
    crp.crp_sid, crp.crp_buf, crp.crp_ilen, crp.crp_flags = sid, bytearray(8), 8, flags
    crp.crp_desc.crd_alg, crp.crp_desc.crd_len = CRYPTO_NULL_CBC, 8
    crp.crp_callback = lambda crp: seen.append((crp.crp_etype, crp.crp_flags))
    return crp, seen


@pytest.mark.parametrize("good", [True, False])
def test_a_bad_signature_is_a_status(framework: Framework, good: bool) -> None:
    """A port that reads the status alone rejects it; framework.kdispatch has a verdict."""

    def kprocess(arg: object, krp: Cryptkop, hint: int) -> int:
        krp.verdict = good
        bsd.crypto_kdone(krp)
        return 0

    hid = bsd.crypto_get_driverid(0)
    assert bsd.crypto_kregister(hid, CRK_DSA_VERIFY, 0, kprocess) == 0
    krp = bsd.crypto_kgetreq(1, 0)
    assert krp is not None
    made = Cryptkop.of(CRK_DSA_VERIFY, [b"digest", 1, 2, 3, 4, 5, 6])
    krp.krp_op, krp.krp_iparams, krp.krp_flags = CRK_DSA_VERIFY, 7, CRYPTO_F_CBIMM
    krp.krp_param[:7] = made.param
    statuses: list[int] = []
    krp.krp_callback = lambda krp: statuses.append(krp.krp_status)
    assert bsd.crypto_kdispatch(krp) == 0
    assert statuses == [0 if good else errno.EBADMSG]
    assert krp.krp_flags & CRYPTO_F_DONE
    assert krp.verdict is good
    framework.kdispatch(krp)
    assert statuses[1:] == [0]


@pytest.mark.parametrize("flags", [CRYPTO_F_CBIMM, 0])
def test_who_sleeps_on_done_wakes(framework: Framework, flags: int) -> None:
    """The callback finds CRYPTO_F_DONE; the next dispatch begins without it."""
    at_driver: list[int] = []

    def process(arg: object, crp: Cryptop, hint: int) -> int:
        at_driver.append(crp.crp_flags)
        return answering(arg, crp, hint)

    register(process)
    crp, _ = null_request(flags)
    for _ in range(2):
        bell = threading.Event()
        crp.crp_callback = lambda crp, bell=bell: bell.set()
        assert bsd.crypto_dispatch(crp) == 0
        assert bell.wait(WAIT)
        assert crp.crp_flags == flags | CRYPTO_F_DONE
    assert at_driver == [flags, flags]


def test_a_request_on_the_return_queue_says_so(framework: Framework) -> None:
    """CRYPTO_F_ONRETQ is set while a request waits for its callback, and not in it."""
    hold, held = threading.Event(), threading.Event()
    register(answering)
    first, _ = null_request(0)
    second, seen = null_request(0)
    finished = threading.Event()

    def holding(crp: Cryptop) -> None:
        held.set()
        hold.wait(WAIT)

    def noted(crp: Cryptop) -> None:
        seen.append((crp.crp_etype, crp.crp_flags))
        finished.set()

    first.crp_callback, second.crp_callback = holding, noted
    assert bsd.crypto_dispatch(first) == 0
    assert held.wait(WAIT)
    assert bsd.crypto_dispatch(second) == 0
    assert second.crp_flags & CRYPTO_F_ONRETQ
    hold.set()
    assert finished.wait(WAIT)
    assert seen == [(0, CRYPTO_F_DONE)]


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.ENOTSUP])
def test_an_errno_of_process_is_the_requests(framework: Framework, code: int) -> None:
    """It is not EIO, and no bug of the driver."""
    register(lambda arg, crp, hint: code)
    crp, seen = null_request()
    assert bsd.crypto_dispatch(crp) == 0
    assert seen == [(code, CRYPTO_F_CBIMM | CRYPTO_F_DONE)]
    assert framework.driver_bugs.count == 0


def test_an_errno_after_done_ends_nothing_twice(framework: Framework) -> None:
    """Many C drivers put the errno into the request, complete it, and return it too."""

    def process(arg: object, crp: Cryptop, hint: int) -> int:
        crp.crp_etype = errno.ENOMEM
        bsd.crypto_done(crp)
        return errno.ENOMEM

    register(process)
    crp, seen = null_request()
    assert bsd.crypto_dispatch(crp) == 0
    assert [code for code, _ in seen] == [errno.ENOMEM]
    assert framework.driver_bugs.count == 0


def test_restart_is_no_errno_of_the_request(framework: Framework) -> None:
    """ERESTART queues it, and unblock brings it back."""
    answers = [ERESTART]

    def process(arg: object, crp: Cryptop, hint: int) -> int:
        return answers.pop() if answers else answering(arg, crp, hint)

    hid = register(process)
    crp, _ = null_request()
    bell = threading.Event()
    crp.crp_callback = lambda crp: bell.set()
    assert bsd.crypto_dispatch(crp) == 0
    assert not bell.is_set()
    assert bsd.crypto_unblock(hid, bsd.CRYPTO_SYMQ) == 0
    assert bell.wait(WAIT)
    assert crp.crp_etype == 0


def test_an_errno_of_kprocess_is_the_status(framework: Framework) -> None:
    """As of process."""
    hid = bsd.crypto_get_driverid(0)
    assert bsd.crypto_kregister(hid, CRK_MOD_ADD, 0, lambda arg, krp, hint: errno.ENOMEM) == 0
    statuses: list[int] = []
    krp = Cryptkop.of(CRK_MOD_ADD, [1, 2, 3], [2], lambda krp: statuses.append(krp.status))
    krp.flags = CRYPTO_F_CBIMM
    assert bsd.crypto_kdispatch(krp) == 0
    assert statuses == [errno.ENOMEM]


def test_a_driver_is_told_its_id_at_newsession(framework: Framework) -> None:
    """The second argument holds it on entry, as the page says."""
    told: list[tuple[object, int]] = []

    def newsession(arg: object, hid: int, cri: Cryptoini) -> tuple[int, int]:
        told.append((arg, hid))
        return 0, 1

    assert bsd.crypto_get_driverid(0) == 0
    hid = register(answering, newsession)
    assert hid == 1
    assert bsd.crypto_newsession(bsd.cryptoini(CRYPTO_NULL_CBC), 0) == (0, hid + 1 << 32 | 1)
    assert told == [(None, hid)]


@pytest.mark.parametrize(
    ("ini", "length"),
    [(Cryptoini(CRYPTO_AES_CBC, bytes(16)), 32), (Cryptoini(CRYPTO_SHA1), 32)],
    ids=["cipher", "mac"],
)
def test_the_result_of_ciphers_and_macs_has_a_length(
    software: Framework, ini: Cryptoini, length: int
) -> None:
    """crp_olen is the length of the input where no step changes that."""
    sid = bsd.crypto_newsession(ini, 0)[1]
    crd = Cryptodesc(0, length, length, CRD_F_ENCRYPT, alg=ini.alg)
    crp = Cryptop(sid, bytearray(64), [crd], lambda crp: None, CRYPTO_F_CBIMM)
    crp.ilen = length
    assert bsd.crypto_dispatch(crp) == 0
    assert (crp.crp_etype, crp.crp_olen) == (0, length)


def test_compression_says_its_own_length(software: Framework) -> None:
    """crp_olen is what the driver has made of it."""
    sid = bsd.crypto_newsession(bsd.cryptoini(CRYPTO_DEFLATE_COMP), 0)[1]
    crd = Cryptodesc(0, 600, 0, CRD_F_COMP, alg=CRYPTO_DEFLATE_COMP)
    crp = Cryptop(sid, bytearray(600), [crd], lambda crp: None, CRYPTO_F_CBIMM)
    crp.ilen = 600
    assert bsd.crypto_dispatch(crp) == 0
    assert crp.crp_etype == 0
    assert 0 < crp.crp_olen < 100


def test_a_key_request_has_its_slots(framework: Framework) -> None:
    """krp_param is an array of CRK_MAXPARAM structures, to be filled by index."""
    for krp in (bsd.crypto_kgetreq(1, 0), bsd.cryptkop(), bsd.cryptkop(krp_op=CRK_MOD_ADD)):
        assert krp is not None
        assert len(krp.krp_param) == CRK_MAXPARAM
        krp.krp_param[7].crp_p, krp.krp_param[7].crp_nbits = b"\1", 8
        assert krp.krp_param[6].crp_nbits == 0


def test_no_request_is_einval(framework: Framework) -> None:
    """As the page says of NULL; and so is what is no request at all."""
    for wrong in (None, 5, "request", Cryptoini()):
        assert bsd.crypto_dispatch(wrong) == errno.EINVAL  # type: ignore[arg-type]  # wrong on purpose
        assert bsd.crypto_kdispatch(wrong) == errno.EINVAL  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("field", ["crp_sid", "crp_ilen", "crp_flags", "crp_callback"])
@pytest.mark.parametrize("wrong", [None, [], "text", 0.5, b"", {}])
def test_a_field_of_another_type_is_einval(framework: Framework, field: str, wrong: object) -> None:
    """Nothing is called, nothing raised, and the request can be mended and used."""
    register(answering)
    crp, seen = null_request()
    right = getattr(crp, field)
    setattr(crp, field, wrong)
    assert bsd.crypto_dispatch(crp) == errno.EINVAL
    assert getattr(crp, field) == wrong
    setattr(crp, field, right)
    assert bsd.crypto_dispatch(crp) == 0
    assert [code for code, _ in seen] == [0]


@pytest.mark.parametrize(
    "field", ["krp_op", "krp_iparams", "krp_oparams", "krp_param", "krp_flags", "krp_callback"]
)
@pytest.mark.parametrize("wrong", [None, {}, 0.5])
def test_a_key_field_of_another_type_is_einval(
    framework: Framework, field: str, wrong: object
) -> None:
    """As of requests."""
    krp = bsd.cryptkop(krp_op=CRK_MOD_ADD, krp_callback=lambda krp: None)
    setattr(krp, field, wrong)
    assert bsd.crypto_kdispatch(krp) == errno.EINVAL


def test_a_callback_that_cannot_be_called_is_refused(framework: Framework) -> None:
    """A number is no function: with 0 nobody would hear of the end."""
    register(answering)
    crp, _ = null_request()
    crp.crp_callback = 5
    assert bsd.crypto_dispatch(crp) == errno.EINVAL
    krp = Cryptkop.of(CRK_MOD_ADD, [1, 2, 3], [2], 5)  # type: ignore[arg-type]  # wrong on purpose
    assert bsd.crypto_kdispatch(krp) == errno.EINVAL
    with pytest.raises(UsageError, match="callback"):
        framework.kdispatch(krp)


@pytest.mark.parametrize("wrong", [None, [], "text", 0.5])
def test_arguments_of_another_type_are_errors_of_the_page(framework: Framework, wrong: Any) -> None:
    """Each function says so in its own way, and none by an error of Python."""
    hid = register(answering)
    assert bsd.crypto_get_driverid(wrong) == -1
    assert bsd.crypto_register(wrong, CRYPTO_NULL_CBC, 0, 0, None, None, None) == errno.EINVAL
    assert bsd.crypto_register(hid, wrong, 0, 0, None, None, None) == errno.EINVAL
    assert bsd.crypto_kregister(hid, wrong, 0, None) == errno.EINVAL
    assert bsd.crypto_unregister(wrong, CRYPTO_NULL_CBC) == errno.EINVAL
    assert bsd.crypto_unregister(hid, wrong) == errno.EINVAL
    assert bsd.crypto_unregister_all(wrong) == errno.EINVAL
    assert bsd.crypto_unblock(hid, wrong) == errno.EINVAL
    assert bsd.crypto_newsession(wrong, 0) == (errno.EINVAL, 0)
    assert bsd.crypto_newsession(bsd.cryptoini(CRYPTO_NULL_CBC), wrong) == (errno.EINVAL, 0)
    assert bsd.crypto_getreq(wrong) is None
    assert bsd.crypto_kgetreq(wrong) is None
    with pytest.raises(UnknownSession):
        bsd.crypto_freesession(wrong)


def test_a_descriptor_has_a_copy_of_its_init_record() -> None:
    """`crd->CRD_INI = *ini` copies: what is set in the descriptor is not the consumer's."""
    vector = bytearray(16)
    ini = bsd.cryptoini(CRYPTO_AES_CBC, bytes(16), cri_iv=vector)
    crd = bsd.cryptodesc(CRD_INI=ini)
    assert (crd.crd_alg, crd.crd_key, crd.crd_klen) == (CRYPTO_AES_CBC, ini.cri_key, 128)
    crd.crd_iv = b"i" * 16
    crd.crd_alg = CRYPTO_NULL_CBC
    assert (ini.cri_alg, ini.cri_iv) == (CRYPTO_AES_CBC, bytes(16))
    crd.CRD_INI = ini
    vector[0] = 1
    assert crd.crd_iv == bytes(16)


def test_structures_take_the_names_of_the_page() -> None:
    """Each field can be a keyword of the constructor; a name that is none is refused."""
    second = bsd.cryptoini(cri_alg=CRYPTO_SHA1)
    first = bsd.cryptoini(cri_alg=CRYPTO_AES_CBC, cri_key=bytes(16), cri_next=second)
    assert (first.alg, first.klen, first.cri_next) == (CRYPTO_AES_CBC, 128, second)
    crd = bsd.cryptodesc(crd_skip=1, crd_len=2, crd_inject=3, crd_flags=CRD_F_ENCRYPT)
    assert (crd.skip, crd.len, crd.inject, crd.flags) == (1, 2, 3, CRD_F_ENCRYPT)
    crp = bsd.cryptop(crp_sid=9, crp_ilen=8, crp_buf=bytearray(8), crp_desc=crd)
    assert (crp.sid, crp.ilen, crp.desc) == (9, 8, [crd])
    assert bsd.crparam(crp_p=b"\5", crp_nbits=3).to_int() == 5
    krp = bsd.cryptkop(krp_op=CRK_MOD_ADD, krp_iparams=3, krp_param=[bsd.crparam(b"\1")])
    assert (krp.op, krp.iparams, krp.param[0].to_int()) == (CRK_MOD_ADD, 3, 1)
    with pytest.raises(TypeError, match="cri_lag"):
        bsd.cryptoini(cri_lag=1)


@pytest.mark.parametrize("op", [CRK_DSA_SIGN, CRK_DSA_VERIFY])
def test_a_digest_that_is_a_number_signs_nothing(op: int) -> None:
    """Packed as one its bytes are in the wrong order: it is refused where the request is made."""
    with pytest.raises(UsageError, match="digest"):
        Cryptkop.of(op, [int.from_bytes(b"digest", "big"), 7, 3, 2, 1])
    assert Cryptkop.of(op, [b"digest", 7, 3, 2, 1]).param[0].to_bytes() == b"digest"
