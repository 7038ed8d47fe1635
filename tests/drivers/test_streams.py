"""Messages in pieces equal whole ones: every algorithm, however they are cut, on every driver."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencrypto import Cryptodesc, Cryptoini, Cryptop, Framework, Profile
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_MORE,
    CRD_F_VERIFY,
    CRYPTO_AES_CBC,
    CRYPTO_F_CBIMM,
    CRYPTO_GZIP_COMP,
    CRYPTO_SHA1_HMAC_96,
    CRYPTO_SHA2_256_HMAC,
    Alg,
)
from opencrypto.exceptions import NoDriverError
from opencrypto.testing._samples import Case, sample, usual_cases
from opencrypto.xform import Kind
from tests.drivers.rig import NAMES, attached, make_driver, pieces
from tests.support import examples

OUTSIDE = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
WHOLE_ONLY = {Alg.AES_XTS, Alg.AES_CCM_16, Alg.AES_SIV}
"""What takes whole messages only, by its nature."""

LONGEST = 3000

CASES = [
    pytest.param(name, case, id=f"{name}-{case.id}")
    for name in NAMES
    for case in usual_cases(make_driver(name).capabilities)
]
cases_in_pieces = [each for each in CASES if each.values[1].alg not in WHOLE_ONLY]  # type: ignore[union-attr]
everywhere = pytest.mark.parametrize(("name", "case"), cases_in_pieces)
with_mac = pytest.mark.parametrize(
    ("name", "case"),
    [
        each
        for each in cases_in_pieces
        if each.values[1].mac and each.values[1].alg != Alg.AES_GMAC  # type: ignore[union-attr]
    ],
)


class Sent:
    """One message on a session, whole or in pieces."""

    def __init__(self, fw: Framework, case: Case, *, forward: bool, aad: bytes = b"") -> None:
        self.fw = fw
        self.case = case
        self.forward = forward
        self.aad = b"" if case.partner is None else aad
        self.sid = fw.newsession(case.inis())
        self.requests: list[Cryptop] = []

    def piece(
        self, data: bytes, *, more: bool, first: bool, mac: bytes = b"", segmented: bool = False
    ) -> bytes:
        """Send a piece; return what became of it, with the MAC behind it if it is the last."""
        case, aad = self.case, self.aad if first else b""
        room = b"" if more else (mac or bytes(case.mac))
        whole = aad + data + room
        flags = CRD_F_MORE if more else 0
        cipher = flags | (CRD_F_ENCRYPT if self.forward else 0)
        verify = CRD_F_VERIFY if mac else 0
        iv = sample(case.ivlen, "iv") if first and case.ivlen else None
        start, end = len(aad), len(aad) + len(data)
        desc = []
        if case.ciphers:
            cipher |= OUTSIDE if iv is not None else 0
            desc.append(Cryptodesc(start, len(data), 0, cipher, alg=case.alg, iv=iv))
            if case.partner is not None:
                desc.append(Cryptodesc(0, len(aad), end, flags | verify, alg=case.partner))
        else:
            desc.append(Cryptodesc(start, len(data), end, flags | verify, alg=case.alg))
        buf: Any = pieces(whole) if segmented else bytearray(whole)
        done: list[Cryptop] = []
        crp = Cryptop(self.sid, buf, desc, done.append, CRYPTO_F_CBIMM)
        self.fw.dispatch(crp)
        assert done == [crp]
        crp.check()
        self.requests.append(crp)
        return (b"".join(buf) if segmented else bytes(buf))[start:]

    def in_pieces(self, data: bytes, cuts: Sequence[int], mac: bytes = b"") -> bytes:
        """Send a message cut at these places."""
        edges = [0, *cuts, len(data)]
        out = []
        for number, (start, end) in enumerate(itertools.pairwise(edges)):
            last = number == len(edges) - 2
            out.append(
                self.piece(
                    data[start:end],
                    more=not last,
                    first=not number,
                    mac=mac if last else b"",
                    segmented=bool(number % 2),
                )
            )
        return b"".join(out)


def cut(case: Case, length: int, places: Sequence[int]) -> list[int]:
    """Return places to cut a message at, which are whole granules."""
    granule = case.facts.granule
    return sorted(place % (length + 1) // granule * granule for place in places)


def lengths(case: Case) -> st.SearchStrategy[int]:
    if case.payload_is_aad:
        return st.just(0)
    granule = case.facts.granule
    return st.integers(0, LONGEST // granule).map(lambda blocks: blocks * granule)


@everywhere
def test_a_message_in_pieces_equals_a_whole_one(name: str, case: Case) -> None:
    with attached(name) as fw:

        @settings(max_examples=examples(16), deadline=None)
        @given(st.data())
        def run(draw: st.DataObject) -> None:
            length = draw.draw(lengths(case))
            places = draw.draw(st.lists(st.integers(0, LONGEST), min_size=1, max_size=6))
            data = sample(length, f"{case.id} {length}")
            aad = sample(draw.draw(st.integers(0, 40)), "aad")
            cuts = cut(case, length, places)
            forward = Sent(fw, case, forward=True, aad=aad)
            whole = forward.piece(data, more=False, first=True)
            assert forward.in_pieces(data, cuts) == whole
            text, mac = whole[:length], whole[length:]
            if case.ciphers:
                back = Sent(fw, case, forward=False, aad=aad)
                assert back.in_pieces(text, cuts, mac)[:length] == data
                fw.freesession(back.sid)
            else:
                forward.in_pieces(text, cuts, mac)  # verifies
            # The session is as it was: whole messages are whole.
            assert forward.piece(data, more=False, first=True) == whole
            fw.freesession(forward.sid)

        run()


@with_mac
def test_a_mac_that_is_wrong_is_found_with_the_last_piece(name: str, case: Case) -> None:
    with attached(name) as fw:
        data = sample(192, "data")
        sent = Sent(fw, case, forward=True, aad=b"additional")
        mac = bytearray(sent.in_pieces(data, [64])[len(data) :])
        mac[-1] ^= 1
        back = Sent(fw, case, forward=False, aad=b"additional")
        back.piece(data[:64], more=True, first=True)
        with pytest.raises(OSError, match=r"verif") as refused:
            back.piece(data[64:], more=False, first=False, mac=bytes(mac))
        assert refused.value.errno == errno.EBADMSG


@pytest.mark.parametrize("name", ["openssl", "swcrypto"])
def test_encrypt_then_authenticate_in_pieces(name: str) -> None:
    """A chain of two, each piece of which is encrypted and then authenticated, and back."""
    data = sample(4096, "chain")
    iv = sample(16, "iv")
    with attached(name) as fw:
        inis = [
            Cryptoini(CRYPTO_AES_CBC, sample(16, "key")),
            Cryptoini(CRYPTO_SHA1_HMAC_96, sample(20, "mac key")),
        ]
        sid = fw.newsession(inis)

        def ask(text: bytes, *, more: bool, first: bool, mac: bytes = b"") -> bytes:
            buf = bytearray(text + (b"" if more else mac or bytes(12)))
            flags = CRD_F_MORE if more else 0
            way = flags | (OUTSIDE if first else 0) | (0 if mac or backward else CRD_F_ENCRYPT)
            crd = Cryptodesc(0, len(text), 0, way, alg=CRYPTO_AES_CBC, iv=iv if first else None)
            verify = CRD_F_VERIFY if mac else 0
            tag = Cryptodesc(0, len(text), len(text), flags | verify, alg=CRYPTO_SHA1_HMAC_96)
            desc = [tag, crd] if backward else [crd, tag]
            done: list[Cryptop] = []
            crp = Cryptop(sid, buf, desc, done.append, CRYPTO_F_CBIMM)
            fw.dispatch(crp)
            crp.check()
            return bytes(buf)

        backward = False
        whole = ask(data, more=False, first=True)
        cuts = [0, 16, 160, 160, 4000, 4096]
        got = b""
        for start, end in itertools.pairwise(cuts):
            got += ask(data[start:end], more=end != 4096, first=not start)
        assert got == whole
        backward = True
        text, mac = whole[:-12], whole[-12:]
        got = b""
        for start, end in itertools.pairwise(cuts):
            last = end == 4096
            got += ask(text[start:end], more=not last, first=not start, mac=mac if last else b"")
        assert got[:4096] == data


@pytest.fixture
def both() -> Iterator[Framework]:
    with attached("openssl", "swcrypto") as fw:
        yield fw


@pytest.mark.parametrize("alg", sorted(WHOLE_ONLY))
@pytest.mark.parametrize("name", ["openssl", "swcrypto"])
def test_what_cannot_be_cut_is_refused_in_a_sentence(name: str, alg: Alg) -> None:
    with attached(name) as fw:
        (case,) = (case for case in usual_cases(make_driver(name).capabilities) if case.alg == alg)
        sent = Sent(fw, case, forward=True)
        with pytest.raises(OSError, match=f"{alg.name} is not taken in pieces"):
            sent.piece(bytes(16), more=True, first=True)
        with pytest.raises(NoDriverError, match=f"{alg.name} is not taken in pieces"):
            fw.newsession(case.inis(), profile=Profile(streamed=True))


def test_compression_is_of_whole_messages(both: Framework) -> None:
    sid = both.newsession(Cryptoini(CRYPTO_GZIP_COMP))
    crd = Cryptodesc(0, 16, 0, CRD_F_MORE, alg=CRYPTO_GZIP_COMP)
    crp = Cryptop(sid, bytearray(16), [crd], lambda crp: None, CRYPTO_F_CBIMM)
    both.dispatch(crp)
    assert crp.etype == errno.EINVAL
    assert "whole messages only" in crp.error


def test_a_driver_that_has_no_streams_is_passed_over() -> None:
    """Where the session says beforehand that its messages come in pieces."""
    openssl, swcrypto = make_driver("openssl"), make_driver("swcrypto")

    def newstream(lid: int, done: object) -> Any:
        raise _refusal()

    openssl.newstream = newstream  # type: ignore[method-assign]
    ini = Cryptoini(CRYPTO_SHA2_256_HMAC, b"key")
    with Framework(plugins=[openssl, swcrypto]) as fw:
        assert fw.driver_of(fw.newsession(ini)) == ("openssl",)
        sid = fw.newsession(ini, profile=Profile(streamed=True))
        assert fw.driver_of(sid) == ("swcrypto",)


def test_the_parts_of_a_virtual_session_have_a_stream_each() -> None:
    """BLAKE2 is swcrypto's alone here; AES-CBC is taken from it, so that nobody has both."""
    openssl, swcrypto = make_driver("openssl"), make_driver("swcrypto")
    swcrypto.capabilities = {
        alg: each for alg, each in swcrypto.capabilities.items() if alg != CRYPTO_AES_CBC
    }
    key, data = bytes(16), sample(1024, "virtual")
    inis = [Cryptoini(CRYPTO_AES_CBC, key), Cryptoini(Alg.BLAKE2S, b"mac key")]
    with Framework(plugins=[openssl, swcrypto]) as fw:
        sid = fw.newsession(inis, profile=Profile(streamed=True))
        assert set(fw.driver_of(sid)) == {"openssl", "swcrypto"}

        def ask(text: bytes, *, more: bool, first: bool) -> bytes:
            buf = bytearray(text + (b"" if more else bytes(32)))
            flags = CRD_F_MORE if more else 0
            way = flags | CRD_F_ENCRYPT | (OUTSIDE if first else 0)
            desc = [
                Cryptodesc(
                    0, len(text), 0, way, alg=CRYPTO_AES_CBC, iv=bytes(16) if first else None
                ),
                Cryptodesc(0, len(text), len(text), flags, alg=Alg.BLAKE2S),
            ]
            crp = Cryptop(sid, buf, desc, lambda crp: None, CRYPTO_F_CBIMM)
            fw.dispatch(crp)
            crp.check()
            return bytes(buf)

        whole = ask(data, more=False, first=True)
        got = ask(data[:160], more=True, first=True)
        got += ask(data[160:160], more=True, first=False)
        got += ask(data[160:], more=False, first=False)
        assert got == whole
        assert ask(data, more=False, first=True) == whole


def _refusal() -> OSError:
    from opencrypto.exceptions import UsageError

    return UsageError("takes whole messages only")


def test_every_kind_of_algorithm_is_among_those_tried() -> None:
    kinds = {case.values[1].facts.kind for case in CASES}  # type: ignore[union-attr]
    assert kinds == {Kind.CIPHER, Kind.MAC, Kind.HASH, Kind.AEAD}
