"""A virtual session whose drivers leave: the part moves, or else the whole."""

import errno
from collections.abc import Sequence

import pytest

from opencrypto import (
    CRD_F_COMP,
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_LEN_REST,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CTR,
    CRYPTO_DEFLATE_COMP,
    CRYPTO_SHA1_HMAC,
    CRYPTOCAP_F_SOFTWARE,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
    Profile,
    UsageError,
    hookimpl,
)
from tests.core.virtual.support import (
    ETM,
    cipher,
    driver,
    mac,
    perform,
    sealing,
    sessions_of,
    split_framework,
)


def test_a_part_moves_when_its_driver_leaves() -> None:
    """The consumer's SID stays good, and it never hears of it."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        framework.attach(driver("spare", CRYPTO_SHA1_HMAC))
        sid = framework.newsession(ETM)
        first = "part1" if sessions_of(framework)["part1"] else "spare"

        def go() -> Cryptop:
            desc = sealing(32)
            return perform(framework, Cryptop(sid, bytearray(52), desc))

        before = go()
        framework.detach(first)
        after = go()
        assert (before.etype, after.etype) == (0, 0)
        assert after.buf == before.buf
        assert after.sid == sid
        framework.freesession(sid)
        assert set(sessions_of(framework).values()) == {0}


def test_the_whole_moves_when_a_part_cannot() -> None:
    """If a driver comes that has all of it, a stranded session moves there, as a plain one."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(ETM)
        framework.detach("part0")
        framework.detach("part1")
        framework.attach(driver("both", CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC))
        buf = bytearray(52)
        desc = sealing(32)
        crp = perform(framework, Cryptop(sid, buf, desc))
        assert crp.etype == errno.EAGAIN
        assert buf == bytes(52)
        perform(framework, crp).check()
        assert sessions_of(framework) == {"both": 1}


def test_nobody_left_is_enodev_and_touches_nothing() -> None:
    """A part that cannot be moved is found out before the other part has begun."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(ETM)
        framework.detach("part1")
        buf = bytearray(52)
        desc = sealing(32)
        crp = perform(framework, Cryptop(sid, buf, desc))
        assert crp.etype == errno.ENODEV
        assert buf == bytes(52)
        framework.freesession(sid)
        assert sessions_of(framework) == {"part0": 0}


def test_closing_ends_virtual_sessions() -> None:
    """A request that comes after close is completed, with ENOENT."""
    framework = split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC])
    sid = framework.newsession(ETM)
    framework.close()
    desc = [cipher(CRYPTO_AES_CBC, 32, encrypt=True)]
    assert perform(framework, Cryptop(sid, bytearray(32), desc)).etype == errno.ENOENT
    with pytest.raises(UsageError):
        framework.newsession(ETM)


def test_the_whole_moves_where_no_part_can() -> None:
    """A driver that takes only the whole chain takes over, by EAGAIN and a new SID."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(ETM)
        framework.detach("part0")
        whole = driver("whole", CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC)
        whole.refusal = (  # type: ignore[method-assign]  # a stand-in
            lambda ini, profile, named=False: "" if len(ini) == 2 else "takes the whole or nothing"
        )
        framework.attach(whole)
        buf = bytearray(52)
        desc = sealing(32)
        crp = perform(framework, Cryptop(sid, buf, desc))
        assert crp.etype == errno.EAGAIN
        assert crp.sid != sid
        assert buf == bytes(52)
        perform(framework, crp).check()
        assert sessions_of(framework) == {"part1": 0, "whole": 1}
        framework.freesession(sid)
        assert set(sessions_of(framework).values()) == {0}


def test_a_session_goes_back_to_one_driver_as_soon_as_one_has_it_all() -> None:
    """Its parts still live; the next request has it moved all the same, and frees them."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(ETM)
        framework.attach(driver("unrelated", CRYPTO_AES_CTR))
        crp = perform(framework, Cryptop(sid, bytearray(52), sealing(32)))
        assert (crp.etype, crp.sid) == (0, sid), "nobody has come that could"
        framework.attach(driver("both", CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC))
        again = perform(framework, Cryptop(sid, bytearray(52), sealing(32)))
        assert again.etype == errno.EAGAIN
        assert again.buf == bytes(52)
        assert sessions_of(framework) == {"part0": 0, "part1": 0, "unrelated": 0, "both": 1}
        assert perform(framework, again).buf == crp.buf
        assert framework.driver_of(sid) == ("both",)
        framework.freesession(sid)
        assert not framework._sessions.table


def test_a_session_of_which_a_driver_has_all_is_not_left_in_parts() -> None:
    """One comes between the looking for one driver and the asking of several, as another leaves."""
    both, late = (driver(name, CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC) for name in ("both", "late"))
    with Framework(plugins=False) as framework:

        def refusal(ini: Sequence[Cryptoini], profile: Profile, named: bool = False) -> str:
            if not any(info.name == "late" for info in framework.drivers):
                framework.attach(late)
            return "is about to leave"

        both.refusal = refusal  # type: ignore[method-assign]  # a stand-in
        framework.attach(both)
        sid = framework.newsession(ETM)
        assert sessions_of(framework) == {"both": 0, "late": 1}
        assert framework.driver_of(sid) == ("late",)


def test_a_virtual_session_counts_as_one() -> None:
    """What consumers opened is counted, not what that is made of, nor where it moved."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:

        def counts() -> list[int]:
            names = ("created", "active", "freed")
            return [framework.sysctl.integer(f"opencrypto.sessions.{name}") for name in names]

        sid = framework.newsession(ETM)
        assert counts() == [1, 1, 0]
        framework.attach(driver("both", CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC))
        perform(framework, Cryptop(sid, bytearray(52), sealing(32)))
        assert counts() == [1, 1, 0]
        framework.freesession(sid)
        assert counts() == [1, 0, 1]


def test_what_ends_before_any_part_has_it_is_counted_once() -> None:
    """Moves to a single driver, and refusals, were in no count: nobody's driver had seen them."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(ETM)

        def ask(size: int) -> Cryptop:
            desc = [
                cipher(CRYPTO_AES_CBC, size, encrypt=True),
                mac(CRYPTO_SHA1_HMAC, 32, 32, verify=False),
            ]
            crp = Cryptop(sid, bytearray(52), desc)
            crp.ilen = 52
            return perform(framework, crp)

        def counted() -> tuple[int, ...]:
            tree = framework.sysctl
            strays = (f"opencrypto.rest.strays.{name}" for name in ("ops", "errs", "bytes"))
            return (*map(tree.integer, strays), framework.stats.errs)

        assert ask(32).etype == 0
        assert counted() == (0, 0, 0, 0)
        assert ask(31).etype == errno.EINVAL
        assert counted() == (1, 1, 52, 1)
        framework.attach(driver("whole", CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC))
        assert ask(32).etype == errno.EAGAIN
        assert counted() == (2, 2, 104, 2)
        assert (
            ask(32).etype == errno.EAGAIN
        )  # the old number leads on, and that is no driver's either
        assert counted() == (3, 3, 156, 3)
        assert framework.sysctl["opencrypto.algs.AES_CBC.ops"] == 4


def test_observers_hear_of_a_session_that_goes_to_one_driver() -> None:
    moves: list[tuple[int, int]] = []

    class Watcher:
        name = "watcher"

        @hookimpl
        def opencrypto_migrated(self, sid: int, new_sid: int) -> None:
            moves.append((sid, new_sid))

    with Framework(plugins=[Watcher()]) as framework:
        framework.attach(driver("cipher", CRYPTO_AES_CBC))
        framework.attach(driver("mac", CRYPTO_SHA1_HMAC))
        sid = framework.newsession(ETM)
        framework.attach(driver("both", CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC))
        crp = perform(framework, Cryptop(sid, bytearray(52), sealing(32)))
        assert moves == [(sid, crp.sid)]
        assert crp.sid != sid


def test_one_that_has_moved_is_not_moved_once_more() -> None:
    """Two requests may find at the same moment that a driver has come: the second opens nothing."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(ETM)
        session = framework._sessions.table[sid]
        whole = driver("whole", CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC)
        opened: list[Sequence[Cryptoini]] = []
        opening = whole.newsession

        def newsession(ini: Sequence[Cryptoini]) -> object:
            opened.append(ini)
            return opening(ini)

        whole.newsession = newsession  # type: ignore[assignment, method-assign]
        framework.attach(whole)
        opened.clear()  # of the known answers
        assert framework._virtual._moving.unite(session)
        assert not framework._virtual._moving.unite(session)
        assert len(opened) == 1


def test_what_does_not_fit_half_way_is_an_error_of_nobodys_request() -> None:
    """A length changed in a stage before: its driver has counted the request, and no error."""
    with split_framework([CRYPTO_DEFLATE_COMP], [CRYPTO_AES_CBC]) as framework:
        inis = [Cryptoini(CRYPTO_DEFLATE_COMP), Cryptoini(CRYPTO_AES_CBC, bytes(16))]
        sid = framework.newsession(inis)
        desc = [
            Cryptodesc(0, 64, flags=CRD_F_COMP, alg=CRYPTO_DEFLATE_COMP),
            Cryptodesc(
                0, CRD_LEN_REST, 0, CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT,
                alg=CRYPTO_AES_CBC, iv=bytes(16),
            ),
        ]  # fmt: skip
        crp = perform(framework, Cryptop(sid, bytearray(64), desc))
        assert crp.etype == errno.EINVAL  # what is left is no multiple of the block
        assert crp.buf == bytearray(64)
        assert framework.sysctl["opencrypto.rest.strays.ops"] == 0
        assert framework.sysctl["opencrypto.rest.strays.errs"] == framework.stats.errs == 1


def test_parts_keep_the_class_that_the_session_is_for() -> None:
    """Of a session for hardware no part moves to software; ENODEV, and nothing is done."""
    with Framework(plugins=False) as framework:
        for name, alg, flags in (
            ("cbc", CRYPTO_AES_CBC, 0),
            ("mac", CRYPTO_SHA1_HMAC, 0),
            ("soft", CRYPTO_SHA1_HMAC, CRYPTOCAP_F_SOFTWARE),
        ):
            each = driver(name, alg)
            each.flags = flags
            framework.attach(each)
        sid = framework.newsession(ETM, hard=1)
        framework.detach("mac")
        crp = perform(framework, Cryptop(sid, bytearray(52), sealing(32)))
        assert (crp.etype, bytes(crp.buf)) == (errno.ENODEV, bytes(52))
        assert "no other hardware" in crp.error
        assert sessions_of(framework)["soft"] == 0
        back = driver("mac2", CRYPTO_SHA1_HMAC)
        back.flags = 0
        framework.attach(back)
        for _ in range(2):
            crp = perform(framework, crp)
        crp.check()
        assert framework.driver_of(sid) == ("cbc", "mac2")
