"""A request of a virtual session gives what one driver alone would have given."""

import errno
import os
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencrypto import (
    CRD_F_COMP,
    CRD_F_ENCRYPT,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CTR,
    CRYPTO_AES_GCM_16,
    CRYPTO_CAMELLIA_CBC,
    CRYPTO_DEFLATE_COMP,
    CRYPTO_F_IMBUF,
    CRYPTO_F_IOV,
    CRYPTO_SHA1_HMAC,
    CRYPTO_SHA2_256_HMAC,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
    Mbuf,
    NoDriverError,
    Profile,
    UsageError,
)
from tests.core.virtual.support import (
    ETM,
    KEY,
    OTHER,
    Late,
    cipher,
    driver,
    mac,
    opening,
    perform,
    reference,
    sealing,
    sessions_of,
    split_framework,
)
from tests.support import examples


def test_decryption_runs_the_other_way() -> None:
    """Verify, then decrypt: the order is the request's, not the chain's."""
    plain = os.urandom(64)
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(ETM)
        sealed = perform(framework, Cryptop(sid, bytearray(plain + bytes(20)), sealing(64))).buf
        back = opening(64)
        good = perform(framework, Cryptop(sid, bytearray(sealed), back))
        assert good.etype == 0
        assert good.buf[:64] == plain
        forged = bytearray(sealed)
        forged[0] ^= 1
        before = bytes(forged)
        bad = perform(framework, Cryptop(sid, forged, back))
        assert bad.etype == errno.EBADMSG
        assert bytes(forged) == before, "nothing after the failed MAC was done"


def test_what_can_be_refused_is_refused_before_the_first_part() -> None:
    """A bad region of the second part leaves the buffer as it was."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(ETM)
        buf = bytearray(64)
        desc = [
            cipher(CRYPTO_AES_CBC, 64, encrypt=True),
            mac(CRYPTO_SHA1_HMAC, 64, 60, verify=False),
        ]
        crp = perform(framework, Cryptop(sid, buf, desc))
        assert crp.etype == errno.EINVAL
        assert buf == bytes(64)


def test_macs_go_into_the_mac_field_in_order() -> None:
    """Each part gets its own stretch of ``crp.mac``."""
    ini = (
        Cryptoini(CRYPTO_SHA1_HMAC, KEY),
        Cryptoini(CRYPTO_AES_CBC, KEY),
        Cryptoini(CRYPTO_SHA2_256_HMAC, KEY),
    )

    def desc() -> list[Cryptodesc]:
        return [
            mac(CRYPTO_SHA1_HMAC, 32, 0, verify=False),
            cipher(CRYPTO_AES_CBC, 32, encrypt=True),
            mac(CRYPTO_SHA2_256_HMAC, 32, 0, verify=False),
        ]

    results = []
    for groups in (
        [[CRYPTO_SHA1_HMAC, CRYPTO_AES_CBC, CRYPTO_SHA2_256_HMAC]],
        [[CRYPTO_SHA1_HMAC], [CRYPTO_AES_CBC, CRYPTO_SHA2_256_HMAC]],
        [[CRYPTO_SHA1_HMAC, CRYPTO_SHA2_256_HMAC], [CRYPTO_AES_CBC]],
    ):
        with split_framework(*groups) as framework:
            sid = framework.newsession(ini)
            out = bytearray(36)
            perform(framework, Cryptop(sid, bytearray(32), desc(), mac=out)).check()
            results.append(out)
    assert results[0] == results[1] == results[2]
    assert any(results[0][20:])


def test_the_halves_of_an_authenticated_cipher_stay_together() -> None:
    """GCM and its authenticator go to one driver, the other MAC to another."""
    ini = (
        Cryptoini(CRYPTO_AES_GCM_16, KEY),
        Cryptoini(CRYPTO_SHA1_HMAC, KEY),
        Cryptoini(CRYPTO_AES_128_GMAC, KEY),
    )
    data = os.urandom(32) + bytes(16 + 20)

    def desc() -> list[Cryptodesc]:
        gcm = cipher(CRYPTO_AES_GCM_16, 32, encrypt=True)
        gcm.iv = bytes(12)
        tag = Cryptodesc(0, 0, 32, alg=CRYPTO_AES_128_GMAC)
        return [gcm, mac(CRYPTO_SHA1_HMAC, 32, 48, verify=False), tag]

    with split_framework([CRYPTO_AES_GCM_16, CRYPTO_AES_128_GMAC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(ini)
        crp = perform(framework, Cryptop(sid, bytearray(data), desc()))
        crp.check()
        assert crp.buf == reference(ini, desc(), data)
    with (
        split_framework(
            [CRYPTO_AES_GCM_16], [CRYPTO_AES_128_GMAC], [CRYPTO_SHA1_HMAC]
        ) as framework,
        pytest.raises(NoDriverError),
    ):
        framework.newsession(ini)


TWICE = (
    Cryptoini(CRYPTO_AES_CBC, KEY),
    Cryptoini(CRYPTO_SHA1_HMAC, KEY),
    Cryptoini(CRYPTO_AES_CBC, OTHER),
)


GROUPINGS = (
    [[CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC]],
    [[CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]],
)


@pytest.mark.parametrize("groups", GROUPINGS)
@pytest.mark.parametrize("named", [False, True])
def test_one_algorithm_twice_with_two_keys(groups: list[list[int]], named: bool) -> None:
    """On the way back the keys say which is which; without keys it is the order."""
    plain = os.urandom(48)
    with split_framework(*groups) as framework:
        sid = framework.newsession(TWICE)
        keys = (KEY, OTHER) if named else (None, None)
        sealed = perform(
            framework,
            Cryptop(
                sid,
                bytearray(plain + bytes(20)),
                [
                    cipher(CRYPTO_AES_CBC, 48, encrypt=True, key=keys[0]),
                    mac(CRYPTO_SHA1_HMAC, 48, 48, verify=False),
                    cipher(CRYPTO_AES_CBC, 48, encrypt=True, key=keys[1]),
                ],
            ),
        )
        sealed.check()
        back = perform(
            framework,
            Cryptop(
                sid,
                bytearray(sealed.buf),
                [
                    cipher(CRYPTO_AES_CBC, 48, encrypt=False, key=OTHER),
                    mac(CRYPTO_SHA1_HMAC, 48, 48, verify=True),
                    cipher(CRYPTO_AES_CBC, 48, encrypt=False, key=KEY),
                ],
            ),
        )
        back.check()
        assert back.buf[:48] == plain


def test_a_key_that_is_none_of_the_sessions_is_refused() -> None:
    """Where the key decides, a wrong one is EINVAL, and is not quoted."""
    with split_framework([CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(TWICE)
        crd = cipher(CRYPTO_AES_CBC, 16, encrypt=True, key=b"\xee" * 16)
        crp = perform(framework, Cryptop(sid, bytearray(16), [crd]))
        assert crp.etype == errno.EINVAL
        assert "key is none of the session's" in crp.error
        assert "ee" * 4 not in crp.error


def test_fresh_ivs_never_repeat_when_a_session_is_split() -> None:
    """The sequence of IVs belongs to the session, whichever driver draws from it."""
    ini = (Cryptoini(CRYPTO_AES_CTR, KEY + b"salt"), Cryptoini(CRYPTO_SHA1_HMAC, KEY))
    with split_framework([CRYPTO_AES_CTR], [CRYPTO_SHA1_HMAC]) as framework:
        framework.attach(driver("spare", CRYPTO_AES_CTR))
        sid = framework.newsession(ini)
        ivs = []
        for n in range(20):
            if n == 10:
                leaving = next(name for name in ("part0", "spare") if sessions_of(framework)[name])
                framework.detach(leaving)
            desc = [
                Cryptodesc(8, 16, 0, CRD_F_ENCRYPT, alg=CRYPTO_AES_CTR),
                mac(CRYPTO_SHA1_HMAC, 24, 24, verify=False),
            ]
            crp = perform(framework, Cryptop(sid, bytearray(44), desc))
            crp.check()
            ivs.append(int.from_bytes(crp.buf[:8]))
        assert [iv - ivs[0] for iv in ivs] == list(range(20))


def test_parts_that_answer_late_are_waited_for() -> None:
    """Drivers with threads of their own, freed while requests are under way."""
    with Framework(plugins=False) as framework:
        late = [Late(driver("a", CRYPTO_AES_CBC)), Late(driver("b", CRYPTO_SHA1_HMAC))]
        for each in late:
            framework.attach(each.inner)
        sid = framework.newsession(ETM)
        events = []
        for _ in range(30):
            event = threading.Event()
            events.append(event)
            desc = sealing(32)
            done: Callable[[Cryptop], object] = lambda crp, event=event: (  # type: ignore[misc]  # of this round
                crp.etype == 0 and event.set()
            )
            framework.dispatch(Cryptop(sid, bytearray(52), desc, done))
        framework.freesession(sid)
        assert all(event.wait(20) for event in events)
        for each in late:
            each.join()
        assert set(sessions_of(framework).values()) == {0}


def test_a_promise_is_kept_or_the_request_refused() -> None:
    """Direction and order, once promised, are checked whatever the driver."""
    with split_framework([CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC]) as framework:
        both = sealing(32)
        back = opening(32)
        sid = framework.newsession(ETM, profile=Profile("encrypt", ordered=True))
        sealed = perform(framework, Cryptop(sid, bytearray(52), both))
        assert sealed.etype == 0
        for wrong, word in ((list(reversed(both)), "order"), (back, "encrypt only")):
            buf = bytearray(sealed.buf)
            crp = perform(framework, Cryptop(sid, buf, wrong))
            assert crp.etype == errno.EINVAL
            assert word in crp.error
            assert buf == sealed.buf
        ordered = framework.newsession(ETM, profile=Profile(ordered=True))
        assert perform(framework, Cryptop(ordered, bytearray(sealed.buf), back)).etype == 0
        crp = perform(framework, Cryptop(ordered, bytearray(52), list(reversed(back))))
        assert crp.etype == errno.EINVAL


ALGS = (CRYPTO_AES_CBC, CRYPTO_CAMELLIA_CBC, CRYPTO_SHA1_HMAC, CRYPTO_SHA2_256_HMAC)


SIZES: dict[int, int] = {CRYPTO_SHA1_HMAC: 20, CRYPTO_SHA2_256_HMAC: 16}


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.sampled_from(ALGS), min_size=2, max_size=5),
    st.lists(st.lists(st.sampled_from(ALGS), min_size=1, max_size=2), max_size=3),
    st.booleans(),
)
def test_any_chain_over_any_drivers(
    chain: list[int], extra: list[list[int]], into_mac: bool
) -> None:
    """However a chain is split, the bytes are those of one driver, and nothing stays open."""
    ini = [Cryptoini(alg, bytes([n]) * 16) for n, alg in enumerate(chain)]
    data = os.urandom(32) + bytes(100)

    def desc() -> list[Cryptodesc]:
        made, at = [], 32
        for alg in chain:
            if alg in SIZES:
                made.append(mac(alg, at, at, verify=False))
                at += SIZES[alg]
            else:
                made.append(cipher(alg, 32, encrypt=True))
        return made

    results = []
    for groups in ([ALGS], [*([alg] for alg in ALGS), *extra]):
        with split_framework(*groups) as framework:
            sid = framework.newsession(ini)
            out = bytearray(100) if into_mac and SIZES.keys() & set(chain) else None
            crp = perform(framework, Cryptop(sid, bytearray(data), desc(), mac=out))
            crp.check()
            results.append((bytes(crp.buf), out))
            framework.freesession(sid)
            assert set(sessions_of(framework).values()) == {0}
    assert results[0] == results[1]


@pytest.mark.parametrize("kind", ["contiguous", "iov", "mbuf"])
def test_every_buffer_kind(kind: str) -> None:
    """Parts see the same buffer, in pieces that break inside blocks and MACs."""
    data = bytes(range(64)) + bytes(20)
    want = reference(ETM, sealing(64), data)
    pieces = [
        bytearray(data[:5]),
        bytearray(data[5:39]),
        bytearray(data[39:70]),
        bytearray(data[70:]),
    ]
    flags, buf = {
        "contiguous": (0, bytearray(data)),
        "iov": (CRYPTO_F_IOV, pieces),
        "mbuf": (CRYPTO_F_IMBUF, Mbuf(pieces)),
    }[kind]
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        crp = perform(framework, Cryptop(framework.newsession(ETM), buf, sealing(64), flags=flags))
        crp.check()
        got = bytes(buf) if isinstance(buf, bytearray) else b"".join(map(bytes, pieces))
        assert got == want


def test_a_part_that_compresses_gives_its_length() -> None:
    """A MAC of the plain text by one driver, compression by another: olen is the new length."""
    ini = (Cryptoini(CRYPTO_SHA1_HMAC, KEY), Cryptoini(CRYPTO_DEFLATE_COMP))
    plain = b"again and " * 40

    def desc() -> list[Cryptodesc]:
        squeeze = Cryptodesc(0, 400, 0, CRD_F_COMP, alg=CRYPTO_DEFLATE_COMP)
        return [mac(CRYPTO_SHA1_HMAC, 400, 0, verify=False), squeeze]

    answers = []
    for groups in ([[CRYPTO_SHA1_HMAC, CRYPTO_DEFLATE_COMP]],
                   [[CRYPTO_SHA1_HMAC], [CRYPTO_DEFLATE_COMP]]):  # fmt: skip
        with split_framework(*groups) as framework:
            buf, out = Mbuf([bytearray(plain)]), bytearray(20)
            sid = framework.newsession(ini)
            crp = Cryptop(sid, buf, desc(), flags=CRYPTO_F_IMBUF, mac=out)
            perform(framework, crp).check()
            answers.append((crp.olen, bytes(buf), out))
    assert answers[0] == answers[1]
    assert 0 < answers[0][0] < 100


@pytest.mark.parametrize("ilen", [-1, -(1 << 70), 1 << 70, True])
def test_an_absurd_length_of_input_makes_no_drivers_count_fall(ilen: int) -> None:
    """What the parts' drivers count is what there is, whatever the consumer says of it."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(ETM)
        crp = Cryptop(sid, bytearray(84), sealing(64))
        crp.ilen = ilen
        try:
            perform(framework, crp)
        except UsageError:
            pass  # then nothing is counted
        counted = [stats.bytes for stats in framework.stats.drivers.values()]
        assert counted in ([84, 84], [0, 0])


def test_a_length_changed_under_way_leaves_no_request_behind() -> None:
    """A part answers late, and by then the consumer has put something else there."""
    with Framework(plugins=False) as framework:
        late = Late(driver("a", CRYPTO_AES_CBC))
        framework.attach(late.inner)
        framework.attach(driver("b", CRYPTO_SHA1_HMAC))
        sid, event = framework.newsession(ETM), threading.Event()
        crp = Cryptop(sid, bytearray(84), sealing(64), lambda crp: event.set())
        crp.ilen = 84
        framework.dispatch(crp)
        crp.ilen = "84"  # type: ignore[assignment]  # wrong on purpose
        late.join()
        assert event.wait(20)
        assert crp.etype == 0
