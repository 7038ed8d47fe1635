"""Fresh IVs: none comes twice under one key, in whichever process, thread or session it is made."""

import ctypes
import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from opencrypto import (
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CTR,
    CRYPTO_AES_GCM_16,
    CRYPTO_AES_ICM,
    CRYPTO_F_CBIMM,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
    LimitError,
    Profile,
    UsageError,
)
from opencrypto._rules import iv as ivs
from opencrypto._rules.chain import Chain
from opencrypto._rules.iv import IvSource
from opencrypto.constants import CRD_F_ENCRYPT

KEY = bytes(20)
GCM = [Cryptoini(CRYPTO_AES_GCM_16, KEY), Cryptoini(CRYPTO_AES_128_GMAC, KEY)]
DRIVERS = ["openssl", "swcrypto"]


@pytest.fixture
def framework() -> Iterator[Framework]:
    with Framework() as made:
        yield made


def ivs_of_a_child(fork: Callable[[], int], source: IvSource, count: int) -> list[bytes]:
    """Have a child made by `fork` take IVs of a source; return them."""
    reader, writer = os.pipe()
    pid = fork()
    if not pid:
        os.write(writer, b"".join(source.fresh() for _ in range(count)))
        os._exit(0)
    os.close(writer)
    assert os.waitpid(pid, 0) == (pid, 0)
    with os.fdopen(reader, "rb") as answer:
        joined = answer.read()
    size = len(joined) // count
    return [joined[at : at + size] for at in range(0, len(joined), size)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("length", [8, 12])
@pytest.mark.parametrize("kind", ["os.fork", "fork of the C library"])
def test_no_kind_of_child_counts_like_its_parent(kind: str, length: int) -> None:
    """Python is not told of a fork that C code makes; the sequence starts anew nonetheless."""
    source = IvSource(length, counter=True)
    source.fresh()
    fork = os.fork if kind == "os.fork" else ctypes.PyDLL(None).fork
    theirs = ivs_of_a_child(fork, source, 100)
    ours = [source.fresh() for _ in range(100)]
    assert len({*theirs, *ours}) == 200
    assert int.from_bytes(ours[-1][-8:]) - int.from_bytes(ours[0][-8:]) in (99, 99 - (1 << 64))


def test_the_c_librarys_fork_is_noticed_by_a_grandchild_too() -> None:
    """What notices a fork works again in the child that has noticed one."""
    source = IvSource(8, counter=True)
    libc = ctypes.PyDLL(None)

    def twice() -> int:
        pid = int(libc.fork())
        if not pid:
            source.fresh()
            if inner := int(libc.fork()):
                os._exit(os.waitpid(inner, 0)[1] != 0)
        return pid

    theirs = ivs_of_a_child(twice, source, 50)
    assert not {*theirs} & {source.fresh() for _ in range(50)}


def test_without_the_kernels_help_pythons_fork_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no page can be wiped on a fork, the hook of `os.fork` remains."""
    monkeypatch.setattr(ivs, "_WIPE_ON_FORK", 12345)
    witness = ivs._fork_witness()
    assert type(witness) is bytearray
    monkeypatch.setattr(ivs, "_witness", witness)
    source = IvSource(8, counter=True)
    source.fresh()
    theirs = ivs_of_a_child(os.fork, source, 50)
    assert not {*theirs} & {source.fresh() for _ in range(50)}


def test_sessions_with_prefixes_never_meet() -> None:
    """Sessions of one key whose prefixes differ make different IVs, all there are."""
    made = [IvSource(3, counter=True, prefix=prefix) for prefix in (b"\0\0", b"\0\1")]
    taken = [source.fresh() for source in made for _ in range(256)]
    assert len(set(taken)) == 512
    assert {iv[:2] for iv in taken} == {b"\0\0", b"\0\1"}
    for source in made:
        for _ in range(2):
            with pytest.raises(LimitError, match="another prefix"):
                source.fresh()


def test_a_prefix_stands_before_what_counts() -> None:
    """In a longer IV the random bytes come first, then the prefix, then the counter."""
    one, two = (IvSource(12, counter=True, prefix=b"pp").fresh() for _ in range(2))
    assert one[4:6] == two[4:6] == b"pp"
    assert one[:4] != two[:4]


@pytest.mark.parametrize("driver", [pytest.param("swcrypto", marks=pytest.mark.slow), "openssl"])
def test_a_session_ends_with_its_prefix(framework: Framework, driver: str) -> None:
    """The request after the last IV is refused, its buffer as it was; given IVs go on working."""
    sid = framework.newsession(GCM, driver=driver, profile=Profile(iv_prefix=b"sixbyt"))
    buf = bytearray(40)
    crp = Cryptop(sid, buf, flags=CRYPTO_F_CBIMM, callback=lambda crp: None)
    crp.desc = [
        Cryptodesc(8, 16, 0, CRD_F_ENCRYPT, alg=CRYPTO_AES_GCM_16),
        Cryptodesc(0, 8, 24, alg=CRYPTO_AES_128_GMAC),
    ]
    seen = set()
    for _ in range(1 << 16):
        framework.dispatch(crp)
        assert not crp.etype
        seen.add(bytes(buf[:8]))
    assert len(seen) == 1 << 16
    assert {iv[:6] for iv in seen} == {b"sixbyt"}
    before = bytes(buf)
    framework.dispatch(crp)
    with pytest.raises(LimitError, match="another prefix"):
        crp.check()
    assert bytes(buf) == before
    assert not framework.driver_bugs.count


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_prefix_is_of_one_process() -> None:
    """A forked child has the same prefix and key, so it makes no IVs of them."""
    source = IvSource(8, counter=True, prefix=b"p")
    pid = os.fork()
    if not pid:
        try:
            source.fresh()
        except UsageError as error:
            os._exit(0 if "parent" in str(error) else 2)
        os._exit(1)
    assert os.waitpid(pid, 0) == (pid, 0)
    source.fresh()


@pytest.mark.parametrize("wrong", ["text", 5, None, bytearray(2), bytes(7)])
def test_a_prefix_of_a_wrong_kind_is_refused(wrong: object) -> None:
    """Only bytes, and at most six of them, are a prefix."""
    with pytest.raises(UsageError, match="iv_prefix"):
        Profile(iv_prefix=wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_a_prefix_without_a_counter_is_refused() -> None:
    """A block mode's IVs cannot be foretold; a prefix would do nothing there."""
    profile = Profile(iv_prefix=b"p")
    with pytest.raises(UsageError, match="iv_prefix"):
        Chain([Cryptoini(CRYPTO_AES_CBC, bytes(16))], profile=profile)
    Chain([Cryptoini(CRYPTO_AES_CTR, KEY)], profile=profile)


def test_no_two_messages_of_a_session_share_a_counter_block() -> None:
    """AES_ICM counts blocks in its IV: fresh ones lie 2**64 blocks apart, whatever the start."""
    (cri,) = Chain([Cryptoini("aes-128-ctr", bytes(16))]).inis
    starts = [int.from_bytes(cri.fresh_iv()) for _ in range(1000)]
    assert all(start % (1 << 64) == 0 for start in starts)
    steps = {(b - a) % (1 << 128) for a, b in itertools.pairwise(starts)}
    assert steps == {1 << 64}


@pytest.mark.parametrize("driver", DRIVERS)
def test_two_long_messages_have_no_keystream_in_common(framework: Framework, driver: str) -> None:
    sid = framework.newsession(Cryptoini("aes-128-ctr", bytes(16)), driver=driver)
    blocks: list[bytes] = []
    for _ in range(8):
        buf = bytearray(16 + 16 * 64)
        crd = Cryptodesc(16, 16 * 64, 0, CRD_F_ENCRYPT, alg=CRYPTO_AES_ICM)
        done: list[Cryptop] = []
        framework.dispatch(Cryptop(sid, buf, [crd], done.append, CRYPTO_F_CBIMM))
        assert done[0].etype == 0
        assert buf[8:16] == bytes(8), "the IV stands before the region, its counter at 0"
        blocks += [bytes(buf[at : at + 16]) for at in range(16, len(buf), 16)]
    assert len(set(blocks)) == 8 * 64


def test_a_prefix_of_icm_is_what_its_ivs_begin_with() -> None:
    profile = Profile(iv_prefix=b"abcdef")
    (cri,) = Chain([Cryptoini("aes-128-ctr", bytes(16))], profile=profile).inis
    made = {cri.fresh_iv() for _ in range(1 << 16)}
    assert len(made) == 1 << 16
    assert {(iv[:6], iv[8:]) for iv in made} == {(b"abcdef", bytes(8))}
    with pytest.raises(LimitError):
        cri.fresh_iv()
