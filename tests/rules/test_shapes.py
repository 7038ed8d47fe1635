"""The recognisers: what they take is sound, what they leave is untouched, both as `check` says."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencrypto import Alg, Cryptodesc, Cryptoini, Cryptop, UsageError
from opencrypto._rules.iv import GIVEN, READ, WRITTEN, iv_way
from opencrypto._rules.shapes import process_of, recognise
from opencrypto.chain import (
    Chain,
    Plan,
    Quick,
    Shape,
    check,
    cipher_and_mac,
    places_of,
    recognise_aead,
    recognise_cipher,
    recognise_cipher_mac,
    recognise_mac,
    shape_of,
)
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_F_IOV,
)

KEY = bytes(range(16))
IV = b"iv given outside"

CHAINS = {
    "cbc": [Cryptoini(Alg.AES_CBC, KEY)],
    "arc4": [Cryptoini(Alg.ARC4, KEY)],
    "hmac": [Cryptoini(Alg.SHA1_HMAC_96, KEY)],
    "sha1": [Cryptoini(Alg.SHA1)],
    "cbc+hmac": [Cryptoini(Alg.AES_CBC, KEY), Cryptoini(Alg.SHA1_HMAC_96, KEY)],
    "hmac+ctr": [Cryptoini(Alg.SHA1_HMAC_96, KEY), Cryptoini(Alg.AES_CTR, KEY + b"salt")],
    "gcm": [Cryptoini(Alg.AES_GCM_16, KEY), Cryptoini(Alg.AES_128_GMAC, KEY)],
    "gmac": [Cryptoini(Alg.AES_128_GMAC, KEY), Cryptoini(Alg.AES_GMAC, KEY)],
}

RECOGNISERS: dict[Shape, Any] = {
    Shape.CIPHER: recognise_cipher,
    Shape.MAC: recognise_mac,
    Shape.CIPHER_MAC: recognise_cipher_mac,
    Shape.AEAD: recognise_aead,
}


class Found:
    """A quick way whose exchange notes what places it is given."""

    def __init__(self, name: str, **options: Any) -> None:
        self.chain = Chain(CHAINS[name])
        self.places: list[Any] = []
        shape = shape_of(self.chain)
        assert shape is not None
        self.quick: Quick = RECOGNISERS[shape](self.chain, self._exchange, **options)

    def _exchange(self, crp: Cryptop, *places: Any) -> bool:
        self.places = list(places)
        return True


def aead(
    flags: int = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT, **changes: int
) -> Cryptop:
    """Make a sound request of GCM: 8 bytes of data, room for the IV, 32 of payload, the tag."""
    iv = IV[:12] if flags & CRD_F_IV_EXPLICIT else None
    cipher = Cryptodesc(24, 32, 8, flags, alg=Alg.AES_GCM_16, iv=iv)
    tag = Cryptodesc(0, 8, 56, alg=Alg.AES_128_GMAC)
    for name, value in changes.items():
        half, _, field = name.partition("_")
        setattr({"cipher": cipher, "tag": tag}[half], field, value)
    return Cryptop(buf=bytearray(range(80)), desc=[cipher, tag])


def sound(name: str, encrypting: int, payload: int = 32) -> Cryptop:
    """Make a sound request on a chain: 8 bytes, room for the IV, the payload, room for the MAC."""
    chain = Chain(CHAINS[name])
    cipher_at, mac_at = places_of(chain)
    length = 0 if name == "gmac" else payload
    cipher = Cryptodesc(24, length, 8, encrypting | CRD_F_IV_PRESENT)
    mac = Cryptodesc(0, 8, 24 + length, 0 if encrypting else CRD_F_VERIFY)
    desc = []
    for crd, at in ((cipher, cipher_at), (mac, mac_at)):
        if at >= 0:
            crd.ini.alg = chain.inis[at].alg
            desc.append(crd)
    return Cryptop(buf=bytearray(range(96)), desc=desc if encrypting else desc[::-1])


IVS = (None, b"", IV[:8], IV[:12], IV, bytearray(IV))
FLAGS = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT | CRD_F_VERIFY


@st.composite
def requests(draw: st.DrawFn, name: str) -> Cryptop:
    """A sound request with none of its fields changed, or one, or some."""
    crp = sound(name, draw(st.sampled_from([CRD_F_ENCRYPT, 0])))
    places = st.one_of(st.sampled_from([-1, 0, 8, 16, 24, 32, 56, 80]), st.integers(-2, 100))
    for _ in range(draw(st.integers(0, 3))):
        crd = draw(st.sampled_from(crp.desc))
        match draw(st.integers(0, 9)):
            case 0:
                crd.skip = draw(places)
            case 1:
                crd.len = draw(places)
            case 2:
                crd.inject = draw(places)
            case 3 | 4:
                crd.flags ^= draw(st.integers(0, FLAGS)) & FLAGS
            case 5 | 6:
                crd.ini.iv = IVS[draw(st.integers(0, len(IVS) - 1))]
                crd.flags |= CRD_F_IV_EXPLICIT
            case 7:
                crd.ini.alg = draw(st.sampled_from([Alg.MD5, Alg.AES_CBC, Alg.SHA1_HMAC_96]))
            case 8:
                crp.buf = memoryview(crp.buf)
            case 9:
                crp.flags = CRYPTO_F_IOV
    return crp


@pytest.mark.parametrize("name", CHAINS)
def test_what_is_taken_is_sound_and_what_is_left_is_untouched(name: str) -> None:
    """
    `check` refuses nothing that a recogniser takes; one that says no has changed nothing. The one
    that only looks says the same of each, and never changes anything.
    """
    found = Found(name)
    look = recognise(found.chain)
    assert look is not None
    outcomes = {True: 0, False: 0}

    @settings(max_examples=100)  # in the everyday loop too: fewer would not show both outcomes
    @given(requests(name))
    def ask(crp: Cryptop) -> None:
        before = bytes(crp.buf)
        found.places = []
        looked = look(crp)
        assert bytes(crp.buf) == before
        taken = found.quick(crp)
        assert looked is taken
        outcomes[taken] += 1
        assert taken is bool(found.places)
        if not taken:
            assert bytes(crp.buf) == before
            return
        check(crp, found.chain)
        assert found.places[0].obj in (crp.buf, memoryview(crp.buf).obj)
        found.places[0].release()

    ask()
    assert all(outcomes.values()), "requests of either kind were tried"


class Ends:
    """What became of requests that went through a ``process``."""

    def __init__(self, quick: Quick) -> None:
        self.noted: list[Any] = []
        self.process = process_of(quick, self.run, self.blame, self)

    def run(self, crp: Cryptop) -> None:
        self.noted.append("run")
        if crp.flags:
            raise LookupError("of run")

    def blame(self, crp: Cryptop, error: Exception) -> None:
        self.noted.append(f"{type(error).__name__}: {error}")

    def done(self, crp: Cryptop) -> None:
        self.noted.append("done")


@pytest.mark.parametrize("name", CHAINS)
def test_the_process_made_of_the_same_text_does_what_one_that_calls_the_quick_way_does(
    name: str,
) -> None:
    """It takes the same requests, to the same places, leaves the same ones, and ends each once."""
    found, wrapped = Found(name), Found(name)
    whole, calls = Ends(found.quick), Ends(lambda crp: wrapped.quick(crp))
    left: set[bool] = set()

    @settings(max_examples=40)
    @given(requests(name))
    def ask(crp: Cryptop) -> None:
        before = bytes(crp.buf)
        for ends, by in ((whole, found), (calls, wrapped)):
            by.places, ends.noted = [], []
            crp.buf[:] = before
            assert ends.process(crp, 0) == 0
            by.places[:1] = [bytes(view) for view in by.places[:1]]
        assert whole.noted == calls.noted
        assert whole.noted[-1] == "done"
        assert found.places[2:] == wrapped.places[2:], "but the buffers and IVs, which may be fresh"
        left.add("run" in whole.noted)

    ask()
    assert left == {True, False}, "requests of either kind were tried"


def test_what_an_exchange_raises_is_blamed_and_what_done_raises_is_not() -> None:
    chain = Chain(CHAINS["cbc"])

    def broken(*_: Any) -> bool:
        raise OSError("of the exchange")

    ends = Ends(recognise_cipher(chain, broken))
    ends.process(sound("cbc", CRD_F_ENCRYPT), 0)
    assert ends.noted == ["OSError: of the exchange", "done"]
    ends.noted.clear()
    left = sound("cbc", CRD_F_ENCRYPT)
    left.flags = CRYPTO_F_IOV
    ends.process(left, 0)
    assert ends.noted == ["run", "LookupError: of run", "done"]

    class Raises(Ends):
        def done(self, crp: Cryptop) -> None:
            raise ConnectionError("of done")

    ends = Raises(recognise_cipher(chain, lambda *_: True))
    with pytest.raises(ConnectionError):
        ends.process(sound("cbc", CRD_F_ENCRYPT), 0)
    assert not ends.noted


@pytest.mark.parametrize("name", CHAINS)
def test_each_chain_has_requests_that_are_taken(name: str) -> None:
    """Encrypting and decrypting, with the places as the descriptors say."""
    found = Found(name)
    cipher_at, _ = places_of(found.chain)
    ivlen = found.chain.ivlens[cipher_at] if cipher_at >= 0 else 0
    end = 24 if name == "gmac" else 56
    for encrypting in (CRD_F_ENCRYPT, 0):
        crp = sound(name, encrypting)
        assert found.quick(crp)
        view, *places = found.places
        iv = bytes(range(8, 8 + ivlen))
        shapes: dict[Shape | None, list[Any]] = {
            Shape.CIPHER: [iv, 24, end],
            Shape.MAC: [0, 8, end],
            Shape.CIPHER_MAC: [iv, 24, end, 0, 8, end],
            Shape.AEAD: [iv, 24, end, 0, 8, end],
        }
        assert places[:-1] == shapes[shape_of(found.chain)]
        way = bool(encrypting) if cipher_at >= 0 else not encrypting
        assert bool(places[-1]) is way
        assert view.obj is crp.buf


@pytest.mark.parametrize(
    ("flags", "way"),
    [
        (0, READ),
        (CRD_F_ENCRYPT, WRITTEN),
        (CRD_F_IV_PRESENT, READ),
        (CRD_F_ENCRYPT | CRD_F_IV_PRESENT, READ),
        (CRD_F_IV_EXPLICIT, GIVEN),
        (CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT, GIVEN | WRITTEN),
        (CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT, GIVEN),
        (CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT, GIVEN),
    ],
)
def test_the_way_of_an_iv(flags: int, way: int) -> None:
    """As the man page has it; a recogniser and `check` go by the same."""
    assert iv_way(flags) == way
    found, crp = Found("gcm"), aead(flags)
    before = bytes(crp.buf)
    assert found.quick(crp)
    iv = found.places[1]
    if way & GIVEN:
        assert iv == IV[:12]
    if way == READ:
        assert iv == before[8:20]
    if way & WRITTEN:
        assert bytes(crp.buf) == before[:8] + iv + before[20:]
    else:
        assert bytes(crp.buf) == before


@pytest.mark.parametrize("flags", [CRD_F_ENCRYPT, CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT])
def test_a_driver_may_leave_what_writes_an_iv(flags: int) -> None:
    """It has then touched nothing when its library refuses."""
    found, crp = Found("gcm", writes_iv=False), aead(flags)
    before = bytes(crp.buf)
    assert not found.quick(crp)
    assert bytes(crp.buf) == before
    assert found.quick(aead(flags | CRD_F_IV_PRESENT))


def test_a_driver_may_want_the_tag_behind_the_payload() -> None:
    """The usual place, and another."""
    found = Found("gcm", adjacent=True)
    assert found.quick(aead())
    assert not found.quick(aead(tag_inject=57))
    assert Found("gcm").quick(aead(tag_inject=57))


def test_a_driver_may_have_a_longest_request() -> None:
    """In bytes from the beginning of the buffer to the payload's end: 56 here."""
    assert Found("gcm", longest=56).quick(aead())
    assert not Found("gcm", longest=55).quick(aead())


def test_an_iv_is_bytes() -> None:
    """Of any bytes-like kind; it is their bytes that count, not their items."""
    for iv in (bytearray(IV), memoryview(IV), memoryview(IV).cast("I")):
        found = Found("cbc")
        flags = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
        crd = Cryptodesc(0, 16, 0, flags, alg=Alg.AES_CBC, iv=iv)
        crp = Cryptop(buf=bytearray(16), desc=[crd])
        check(crp, found.chain)
        assert found.quick(crp)
        assert found.places[1] == IV
        assert type(found.places[1]) is bytes


@pytest.mark.parametrize("iv", ["sixteen letters.", 16, [1] * 16, memoryview(IV * 4).cast("I")])
def test_what_is_no_iv_is_refused(iv: Any) -> None:
    """By both alike, before anything is touched."""
    found = Found("cbc")
    flags = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT
    crd = Cryptodesc(16, 16, 0, flags, alg=Alg.AES_CBC, iv=iv)
    crp = Cryptop(buf=bytearray(32), desc=[crd])
    with pytest.raises(UsageError):
        check(crp, found.chain)
    try:
        assert not found.quick(crp)
    except TypeError:
        pass  # which `ChainDriver` asks `check` about
    assert crp.buf == bytearray(32)
    assert not found.places


@pytest.mark.parametrize("name", ["cbc+hmac", "hmac+ctr"])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("flips", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_a_request_in_pieces_has_the_shape_that_it_has_in_one(
    name: str, swapped: bool, flips: tuple[int, int]
) -> None:
    """Each order of the two descriptors, encrypting or not, making the MAC or verifying it."""
    found = Found(name)
    crp = sound(name, CRD_F_ENCRYPT)
    cipher, mac = crp.desc
    cipher.flags ^= CRD_F_ENCRYPT * flips[0]
    mac.flags ^= CRD_F_VERIFY * flips[1]
    if swapped:
        crp.desc = [mac, cipher]
    taken = found.quick(crp)
    assert taken == (swapped == bool(flips[0]) == bool(flips[1]))
    steps = cipher_and_mac(check(crp, found.chain), found.chain)
    assert (steps is not None) == taken
    if steps is not None:
        assert [step.crd for step in steps] == [cipher, mac]


def test_a_cipher_alone_is_no_pair() -> None:
    """Nor is one without the other in a session of both, nor the same one twice."""
    chain = Chain(CHAINS["cbc+hmac"])
    crp = sound("cbc+hmac", CRD_F_ENCRYPT)
    steps = check(crp, chain).steps
    for some in ([], steps[:1], [steps[0]] * 2):
        assert cipher_and_mac(Plan([], some), chain) is None


def test_a_recogniser_is_for_its_shape() -> None:
    """Another chain is a mistake of the driver's author, in a sentence."""
    with pytest.raises(UsageError, match="SHA1_HMAC_96> is no chain of one cipher"):
        recognise_cipher(Chain(CHAINS["hmac"]), lambda *places: True)
    three = [Cryptoini(Alg.AES_CBC, KEY), Cryptoini(Alg.SHA1), Cryptoini(Alg.MD5)]
    assert shape_of(Chain(three)) is None


def test_a_traceback_shows_the_text() -> None:
    """What is compiled can be read where it breaks."""

    def broken(crp: Cryptop, *places: Any) -> bool:
        raise RuntimeError("broken")

    quick = recognise_aead(Chain(CHAINS["gcm"]), broken)
    with pytest.raises(RuntimeError) as raised:
        quick(aead())
    shown = "".join(traceback.format_exception(raised.value))
    assert "return exchange(crp, view, iv, start, end, aad, aad_end, at, encrypting)" in shown
