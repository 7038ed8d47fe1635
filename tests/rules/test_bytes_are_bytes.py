"""
Bytes are bytes: whatever its items, its shape or its gaps, a value counts with all its bytes.

What cannot be taken so is refused in a sentence, and nothing is left in the clear by the way.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import ctypes
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from opencrypto import (
    Crparam,
    Cryptkop,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
    Mbuf,
    Profile,
    aio,
    chain,
    client,
    driver,
)
from opencrypto.aio import AsyncSession
from opencrypto.client import Sealed, Session
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CTR,
    CRYPTO_AES_GCM_16,
    CRYPTO_F_CBIMM,
    CRYPTO_SHA1,
    CRYPTO_SHA1_HMAC,
    CRYPTO_SHA2_256_HMAC,
)
from opencrypto.exceptions import UsageError
from tests.drivers.rig import BOTH, attached

Value = Any

KEY = bytes(range(16))
IV = bytes(range(16, 32))
DATA = bytes(range(64))
CBC_HMAC = (Cryptoini(CRYPTO_AES_CBC, KEY), Cryptoini(CRYPTO_SHA1_HMAC, KEY))


def gapped(data: bytes) -> memoryview:
    """Put every byte in front of one that is not meant."""
    spread = bytearray(2 * len(data))
    spread[::2] = data
    return memoryview(spread)[::2]


def backwards(data: bytes) -> memoryview:
    return memoryview(data[::-1])[::-1]


def released() -> memoryview:
    """A view that is of nothing any more."""
    view = memoryview(bytearray(16))
    view.release()
    return view


def objects() -> Value:
    """An array whose items are Python objects; numpy has such too."""
    return (ctypes.py_object * 32)()


SHAPES: dict[str, Callable[[bytes], Value]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "read-only view": memoryview,
    "wide": lambda data: memoryview(bytearray(data)).cast("I"),
    "array": lambda data: array.array("H", data),
    "doubles": lambda data: memoryview(data).cast("d"),
    "2-d": lambda data: memoryview(data).cast("B", (2, len(data) // 2)),
    "2-d, wide": lambda data: memoryview(data).cast("I", (2, len(data) // 8)),
    "signed": lambda data: memoryview(data).cast("b"),
    "gapped": gapped,
    "backwards": backwards,
    "gapped and wide": lambda data: memoryview(gapped_words(data)).cast("I")[::2],
}


def gapped_words(data: bytes) -> bytes:
    return b"".join(data[at : at + 4] + b"\xa5" * 4 for at in range(0, len(data), 4))


IN_PLACE = ("bytearray", "wide", "array")
"""The shapes that a driver can work on where they are."""

every_shape = pytest.mark.parametrize("form", SHAPES)
each_driver = pytest.mark.parametrize("name", BOTH)


@pytest.mark.parametrize("form", SHAPES)
def test_the_shapes_are_what_they_say(form: str) -> None:
    """All of them hold the same bytes; most of them have another length."""
    assert bytes(memoryview(SHAPES[form](DATA))) == DATA


@each_driver
@every_shape
def test_encrypt_left_three_quarters_of_a_wide_view_in_the_clear(name: str, form: str) -> None:
    """A message and its aad are encrypted and authenticated whole, and so is what comes back."""
    make = SHAPES[form]
    for inis in (CBC_HMAC, gcm(KEY)):
        ivlen = 16 if inis is CBC_HMAC else 12
        with attached(name) as fw, Session(inis, framework=fw) as session:
            right = session.encrypt(DATA, iv=IV[:ivlen], aad=KEY)
            iv = make(IV) if ivlen == 16 else IV[:ivlen]
            assert session.encrypt(make(DATA), iv=iv, aad=make(KEY)) == right
            assert DATA[:16] not in right.data
            again = Sealed(right.iv, make(right.data), right.mac)
            assert session.decrypt(again, aad=make(KEY)) == DATA


@each_driver
@every_shape
def test_each_call_of_a_session_takes_all_bytes(name: str, form: str) -> None:
    """Tokens, buffers of one's own, many at once, and futures."""
    make = SHAPES[form]
    iv = make(IV)
    for called, keys in (("aes-128-gcm", bytes(16)), ("aes-128-cbc+hmac-sha2-256", (IV, KEY))):
        with attached(name) as fw, fw.session(called, keys) as session:
            nonce = IV[:12] if called == "aes-128-gcm" else iv
            right = session.seal(DATA, KEY, IV[: session.ivlen])
            assert session.seal(make(DATA), make(KEY), nonce) == right
            assert session.open(padded(make, right), make(KEY)) == DATA
            assert session.submit_seal(make(DATA), make(KEY), nonce).result() == right
            assert session.submit_open(padded(make, right), make(KEY)).result() == DATA
            out = bytearray(len(right))
            assert session.seal_into(make(DATA), out, make(KEY), nonce) == len(right)
            assert out == right
            assert session.open_into(padded(make, right), out, make(KEY)) == len(DATA)
            assert out[: len(DATA)] == DATA
            parts = session.encrypt_into(make(DATA), out, iv=nonce, aad=make(KEY))
            assert parts.iv + out[: len(DATA)] + parts.mac == right
            cipher = make(bytes(out[: len(DATA)]))
            mac = padded(make, parts.mac)
            session.decrypt_into(cipher, out, iv=nonce, mac=mac, aad=make(KEY))
            assert out[: len(DATA)] == DATA
            sealed = session.submit_encrypt(make(DATA), iv=nonce, aad=make(KEY)).result()
            assert sealed.to_bytes() == right
            assert Sealed.from_bytes(padded(make, right), session.ivlen, session.maclen) == sealed
            assert session.submit_decrypt(sealed, aad=make(KEY)).result() == DATA
            tokens = list(session.seal_many([make(DATA), DATA], aad=make(KEY)))
            again = [padded(make, token) for token in tokens]
            assert list(session.open_many(again, aad=make(KEY))) == [DATA, DATA]


def padded(make: Callable[[bytes], Value], data: bytes) -> Value:
    """In a shape, if the data can have it: some have items of several bytes."""
    return make(data) if len(data) % 16 == 0 else memoryview(bytearray(data))


@each_driver
@every_shape
def test_macs_digests_and_compression_take_all_bytes(name: str, form: str) -> None:
    """Without waiting too."""
    make = SHAPES[form]
    with attached(name) as fw:
        with fw.session("hmac-sha2-256", KEY) as session:
            right = session.mac(DATA)
            assert session.submit_mac(make(DATA)).result() == right
            assert list(session.mac_many([make(DATA)])) == [right]
            session.submit_verify(make(DATA), make(right)).result()
        with fw.session("sha2-256") as session:
            right = session.digest(DATA)
            assert session.digest(make(DATA)) == right
            assert session.submit_digest(make(DATA)).result() == right
    with attached("swcrypto") as fw, fw.session("deflate") as session:
        right = session.compress(DATA)
        assert session.compress(make(DATA)) == right
        assert session.submit_compress(make(DATA)).result() == right
        assert session.decompress(padded(make, right)) == DATA
        assert session.submit_decompress(padded(make, right)).result() == DATA


@each_driver
@every_shape
def test_a_mac_was_that_of_a_quarter(name: str, form: str) -> None:
    """A MAC is that of all bytes; to verify takes the message and the MAC in any shape."""
    make = SHAPES[form]
    ini = Cryptoini(CRYPTO_SHA2_256_HMAC, KEY)
    with attached(name) as fw, Session(ini, framework=fw) as session:
        right = session.mac(DATA)
        assert session.mac(make(DATA)) == right
        session.verify(make(DATA), make(right))


@each_driver
@every_shape
def test_a_key_lost_three_quarters(name: str, form: str) -> None:
    """A key has all its bytes, in `Session` and in plain newsession."""
    key = bytes(range(32))
    given = Cryptoini(CRYPTO_SHA2_256_HMAC, SHAPES[form](key))
    assert given.klen == 256
    with attached(name) as fw:
        plain = Cryptoini(CRYPTO_SHA2_256_HMAC, key)
        with Session(given, framework=fw) as one, Session(plain, framework=fw) as other:
            assert one.mac(DATA) == other.mac(DATA)
        assert plain_mac(fw, given) == plain_mac(fw, Cryptoini(CRYPTO_SHA2_256_HMAC, key))


@each_driver
@every_shape
def test_a_wide_iv_became_the_nonce_of_nobody(name: str, form: str) -> None:
    """An explicit IV in a raw request is all its bytes."""

    def encrypted(iv: Value) -> bytes:
        buf = bytearray(DATA)
        flags = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | 2
        crp = Cryptop(sid, buf, [Cryptodesc(0, 64, 0, flags, alg=CRYPTO_AES_CTR, iv=iv)],
                      lambda crp: None, CRYPTO_F_CBIMM)  # fmt: skip
        fw.dispatch(crp)
        crp.check()
        return bytes(buf)

    with attached(name) as fw:
        sid = fw.newsession(Cryptoini(CRYPTO_AES_CTR, bytes(20)))
        assert encrypted(SHAPES[form](IV[:8])) == encrypted(IV[:8])


@each_driver
@pytest.mark.parametrize("form", IN_PLACE)
def test_a_buffer_of_wide_items_is_worked_on_whole(name: str, form: str) -> None:
    """In one piece and in a list, with the MAC in the buffer and in a place of its own."""
    inside = bytes(16) + DATA + bytes(20) + bytes(4)
    with attached(name) as fw:
        sid = fw.newsession(CBC_HMAC)
        right = bytearray(inside)
        sealed(fw, sid, right, None)
        whole = SHAPES[form](inside)
        sealed(fw, sid, whole, None)
        assert bytes(memoryview(whole)) == right
        parts = [SHAPES[form](inside[:48]), SHAPES[form](inside[48:])]
        room = SHAPES[form](bytes(24))
        sealed(fw, sid, parts, room)
        assert b"".join(bytes(memoryview(part)) for part in parts)[:80] == right[:80]
        assert bytes(memoryview(room))[:20] == right[80:100]


@each_driver
@pytest.mark.parametrize("form", ["gapped", "backwards", "read-only view", "2-d, wide"])
def test_a_place_for_the_mac_with_gaps_blamed_the_driver(name: str, form: str) -> None:
    """It is refused before the cipher has run, and no driver is blamed."""
    with attached(name) as fw:
        sid = fw.newsession(CBC_HMAC)
        buf = bytearray(bytes(16) + DATA)
        crp = Cryptop(sid, buf, encrypt_then_mac(), lambda crp: None, CRYPTO_F_CBIMM)
        crp.mac = SHAPES[form](bytes(24))
        fw.dispatch(crp)
        with pytest.raises(UsageError, match="mac"):
            crp.check()
        assert buf == bytes(16) + DATA
        assert fw.stats.driver_bugs == 0


@every_shape
def test_a_parameter_of_a_key_operation_had_a_quarter_of_its_bits(form: str) -> None:
    """`Crparam`, `from_bytes` and `Cryptkop.of` count bits of bytes."""
    value = SHAPES[form](DATA)
    for parameter in (Crparam(value), Crparam.from_bytes(value), Cryptkop.of(2, [value]).param[0]):
        assert (parameter.nbits, parameter.to_bytes()) == (512, DATA)
        assert parameter.to_int() == int.from_bytes(DATA, "little")


@every_shape
def test_an_mbuf_copied_items(form: str) -> None:
    """What is copied or spliced into an mbuf is all bytes of it."""
    mbuf = Mbuf([bytearray(4)])
    mbuf.copyback(4, SHAPES[form](DATA))
    assert bytes(mbuf) == bytes(4) + DATA
    mbuf.splice(0, 4, SHAPES[form](DATA))
    assert bytes(mbuf) == DATA + DATA


@every_shape
def test_coroutines_take_what_sessions_take(form: str) -> None:
    """The awaitable twins give the same answers."""
    make = SHAPES[form]

    async def both() -> None:
        with attached("openssl") as fw:
            async with AsyncSession(Session(CBC_HMAC, framework=fw)) as session:
                sealed = await session.encrypt(make(DATA), iv=make(IV), aad=make(KEY))
                assert await session.decrypt(sealed, aad=make(KEY)) == DATA
            ini = Cryptoini(CRYPTO_SHA1_HMAC, KEY)
            async with AsyncSession(Session(ini, framework=fw)) as session:
                mac = await session.mac(make(DATA))
                assert mac == await session.mac(DATA)
                await session.verify(make(DATA), mac)

    asyncio.run(both())


@every_shape
def test_messages_in_pieces_take_what_whole_ones_take(form: str) -> None:
    """Waited for, and awaited."""
    make = SHAPES[form]

    def short(mac: bytes) -> Any:
        """Shape a MAC, whose length is not one that every shape has."""
        return memoryview(array.array("H", mac)) if form in ("doubles", "2-d, wide") else make(mac)

    async def awaited(fw: Framework, sealed: Sealed, mac: bytes) -> None:
        async with (
            await fw.aio.session(CBC_HMAC) as session,
            await session.encryptor(iv=make(IV), aad=make(KEY)) as encryptor,
            await session.decryptor(make(IV), aad=make(KEY), unverified=True) as decryptor,
            await session.decryptor(make(IV), aad=make(KEY), unverified=True) as other,
        ):
            assert await encryptor.update(make(DATA)) + await encryptor.finalize() == sealed.data
            assert encryptor.tag == sealed.mac
            assert await decryptor.update(make(sealed.data)) == DATA
            await decryptor.finalize(short(sealed.mac))
            await other.update(make(sealed.data))
            await other.finalize_with_tag(short(sealed.mac))
        async with (
            await fw.aio.session(Cryptoini(CRYPTO_SHA1_HMAC, KEY)) as session,
            await session.hasher() as hasher,
        ):
            await hasher.update(make(DATA))
            await hasher.verify(short(mac))

    with attached("openssl") as fw:
        with Session(CBC_HMAC, framework=fw) as session:
            sealed = session.encrypt(DATA, iv=IV, aad=KEY)
            with session.encryptor(iv=make(IV), aad=make(KEY)) as encryptor:
                assert encryptor.update(make(DATA)) + encryptor.finalize() == sealed.data
                assert encryptor.tag == sealed.mac
            for end in ("finalize", "finalize_with_tag"):
                with session.decryptor(make(IV), aad=make(KEY), unverified=True) as decryptor:
                    assert decryptor.update(make(sealed.data)) == DATA
                    getattr(decryptor, end)(short(sealed.mac))
        with Session(Cryptoini(CRYPTO_SHA1_HMAC, KEY), framework=fw) as session:
            mac = session.mac(DATA)
            with session.hasher() as hasher:
                hasher.update(make(DATA))
                hasher.verify(short(mac))
        asyncio.run(awaited(fw, sealed, mac))


@every_shape
def test_a_seed_is_all_bytes_that_are_given(form: str) -> None:
    """Two generators of one seed and one entropy give the same, whatever the shape."""
    make = SHAPES[form]
    with attached("swcrypto") as fw:
        name = "drbg_nopr_sha256"
        shaped = fw.rng(name, make(DATA), entropy=make(DATA))
        with shaped, fw.rng(name, DATA, entropy=DATA) as other:
            assert shaped.generate(40) == other.generate(40)


@every_shape
def test_a_digest_is_all_bytes_that_are_given(form: str) -> None:
    """What is signed of one shape is verified of another."""
    digest: Any = SHAPES[form](DATA)
    with attached("swcrypto") as fw:
        r, s = fw.dsa_sign(digest, p=23, q=11, g=4, x=3)
        fw.dsa_verify(DATA, p=23, q=11, g=4, y=18, r=r, s=s)

        async def both() -> None:
            r, s = await fw.aio.dsa_sign(digest, p=23, q=11, g=4, x=3)
            await fw.aio.dsa_verify(digest, p=23, q=11, g=4, y=18, r=r, s=s)
            fw.dsa_verify(DATA, p=23, q=11, g=4, y=18, r=r, s=s)

        asyncio.run(both())


@pytest.mark.parametrize(
    "wrong",
    ["sixteen letters.", [1, 2, 3], 16, object(), None, released(), objects()],
    ids=lambda each: type(each).__name__,
)
def test_what_is_not_bytes_is_refused_in_a_sentence(wrong: Value) -> None:
    """In each argument that takes bytes: a UsageError that says what it must be."""
    calls: list[Callable[[], object]] = [
        lambda: Crparam.from_bytes(wrong),
        lambda: Mbuf().copyback(0, wrong),
        lambda: Mbuf().splice(0, 0, wrong),
    ]
    with attached("openssl") as fw, contextlib.ExitStack() as stack:
        session = stack.enter_context(Session(CBC_HMAC, framework=fw))
        mac = stack.enter_context(Session(Cryptoini(CRYPTO_SHA1_HMAC, KEY), framework=fw))
        calls += [
            lambda: session.encrypt(wrong),
            lambda: session.encrypt(DATA, aad=wrong),
            lambda: session.decrypt(Sealed(wrong, DATA, bytes(20))),
            lambda: session.decrypt(Sealed(IV, wrong, bytes(20))),
            lambda: session.decrypt(Sealed(IV, DATA, wrong)),
            lambda: session.decrypt(Sealed(IV, DATA, bytes(20)), aad=wrong),
            lambda: mac.mac(wrong),
            lambda: mac.verify(DATA, wrong),
            lambda: mac.verify(wrong, bytes(20)),
        ]
        if wrong is not None:  # None stands for "not given" here
            calls.append(lambda: session.encrypt(DATA, iv=wrong))
            calls.append(lambda: fw.newsession(Cryptoini(CRYPTO_SHA1_HMAC, wrong)))
        for call in calls:
            with pytest.raises(UsageError, match=r"must be bytes-like|has no bytes|the addresses"):
                call()


@each_driver
@pytest.mark.parametrize("make", [released, objects])
def test_a_buffer_of_objects_was_enciphered_where_they_are(
    name: str, make: Callable[[], Value]
) -> None:
    """An array of them holds addresses, and the program ended when it let go of it."""
    with attached(name) as fw:
        sid = fw.newsession(CBC_HMAC)
        for buf, mac in ((make(), None), (bytearray(100), make())):
            crp = Cryptop(sid, buf, encrypt_then_mac(), lambda crp: None, CRYPTO_F_CBIMM, mac=mac)
            fw.dispatch(crp)
            with pytest.raises(UsageError, match=r"has no bytes|the addresses"):
                crp.check()
        assert fw.stats.driver_bugs == 0


KNOWN = {
    "Crparam.__init__(p)", "Crparam.from_bytes(data)", "Cryptkop.of(inputs)",
    "Cryptoini.__init__(key)", "Cryptoini.__init__(iv)", "Cryptodesc.__init__(iv)",
    "Mbuf.copyback(data)", "Mbuf.splice(data)",
    *(f"{kind}.{method}" for kind in ("Session", "AsyncSession") for method in (
        "encrypt(data)", "encrypt(iv)", "encrypt(aad)", "decrypt(aad)", "mac(data)",
        "verify(data)", "verify(mac)",
    )),
    *(f"{kind}.{method}" for kind in ("Session", "AsyncSession") for method in (
        "seal(data)", "seal(aad)", "seal(iv)", "open(token)", "open(aad)",
        "seal_into(data)", "seal_into(aad)", "seal_into(iv)", "open_into(token)", "open_into(aad)",
        "encrypt_into(data)", "encrypt_into(iv)", "encrypt_into(aad)",
        "decrypt_into(data)", "decrypt_into(iv)", "decrypt_into(mac)", "decrypt_into(aad)",
        "seal_many(aad)", "open_many(aad)", "digest(data)", "compress(data)", "decompress(data)",
    )),
    *(f"Session.{method}" for method in (
        "seal_many(messages)", "open_many(tokens)", "mac_many(messages)",
        "submit_seal(data)", "submit_seal(aad)", "submit_seal(iv)",
        "submit_open(token)", "submit_open(aad)",
        "submit_encrypt(data)", "submit_encrypt(aad)", "submit_encrypt(iv)", "submit_decrypt(aad)",
        "submit_mac(data)", "submit_digest(data)", "submit_verify(data)", "submit_verify(mac)",
        "submit_compress(data)", "submit_decompress(data)",
    )),
    *(f"{kind}.{method}" for kind in ("Session", "AsyncSession") for method in (
        "encryptor(iv)", "encryptor(aad)", "decryptor(iv)", "decryptor(aad)",
    )),
    *(f"{kind}{method}" for kind in ("", "Async") for method in (
        "Decryptor.finalize(tag)", "Decryptor.finalize_with_tag(tag)", "Hasher.verify(mac)",
    )),
    "AsyncHasher.update(data)", "Hasher.update(data)",
    "Framework.rng(seed)", "Framework.rng(entropy)", "Sealed.from_bytes(token)",
    "scatter(data)", "AsyncFramework.dsa_sign(digest)", "AsyncFramework.dsa_verify(digest)",
}  # fmt: skip
"""Every public parameter that takes bytes; each is tried above in all shapes."""


def test_each_public_parameter_that_takes_bytes_is_tried() -> None:
    """A new one has to be added here, and to a test above."""
    import opencrypto

    found = set()
    for module in (opencrypto, client, aio, chain, driver):
        for name in module.__all__:
            thing = getattr(module, name)
            for member, function in members_of(thing).items():
                function = getattr(function, "__func__", function)
                if not inspect.isfunction(function) or member[:1] == "_" != member[1:2]:
                    continue
                for parameter in inspect.signature(function).parameters.values():
                    said = str(parameter.annotation)
                    if "BytesLike" in said or "ReadableBuffer" in said:
                        owner = name if inspect.isclass(thing) else ""
                        full = f"{owner}.{function.__name__}" if owner else function.__qualname__
                        found.add(f"{full}({parameter.name})")
    assert found == KNOWN


def members_of(thing: Value) -> dict[str, Value]:
    """What a class has of its own; a session also what its parts have."""
    if not inspect.isclass(thing):
        return {"": thing}
    parts = thing.__mro__[:-1] if issubclass(thing, Session) else (thing,)
    return {name: member for part in reversed(parts) for name, member in vars(part).items()}


# What the tests share.


def gcm(key: bytes) -> tuple[Cryptoini, ...]:
    return Cryptoini(CRYPTO_AES_GCM_16, key), Cryptoini(CRYPTO_AES_128_GMAC, key)


def encrypt_then_mac() -> list[Cryptodesc]:
    flags = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT
    return [
        Cryptodesc(16, 64, 0, flags, alg=CRYPTO_AES_CBC, iv=IV),
        Cryptodesc(0, 80, 80, alg=CRYPTO_SHA1_HMAC),
    ]


def sealed(fw: Framework, sid: int, buf: Value, mac: Value) -> None:
    crp = Cryptop(sid, buf, encrypt_then_mac(), lambda crp: None, CRYPTO_F_CBIMM, mac=mac)
    fw.dispatch(crp)
    crp.check()


def plain_mac(fw: Framework, ini: Cryptoini) -> bytes:
    buf = bytearray(DATA + bytes(32))
    crd = Cryptodesc(0, 64, 64, alg=CRYPTO_SHA2_256_HMAC)
    crp = Cryptop(fw.newsession(ini), buf, [crd], lambda crp: None, CRYPTO_F_CBIMM)
    fw.dispatch(crp)
    crp.check()
    return bytes(buf[64:])


# What a session cannot do.

REFUSED: dict[str, tuple[Callable[[Session], object], tuple[Cryptoini, ...]]] = {
    "aad without an authenticator": (
        lambda s: s.encrypt(DATA, aad=b"aad"), (Cryptoini(CRYPTO_AES_CBC, KEY),)),
    "aad of a decryption without one": (
        lambda s: s.decrypt(Sealed(IV, DATA, b""), aad=b"aad"), (Cryptoini(CRYPTO_AES_CBC, KEY),)),
    "aad under a digest that anybody can make": (
        lambda s: s.encrypt(DATA, aad=b"aad"),
        (Cryptoini(CRYPTO_AES_CBC, KEY), Cryptoini(CRYPTO_SHA1))),
    "encrypt with a MAC alone": (
        lambda s: s.encrypt(DATA), (Cryptoini(CRYPTO_SHA1_HMAC, KEY),)),
    "decrypt with a digest alone": (
        lambda s: s.decrypt(Sealed(b"", DATA, bytes(20))), (Cryptoini(CRYPTO_SHA1),)),
    "an iv of a wrong length": (
        lambda s: s.encrypt(DATA, iv=IV[:8]), (Cryptoini(CRYPTO_AES_CBC, KEY),)),
}  # fmt: skip


@each_driver
@pytest.mark.parametrize("case", REFUSED)
def test_what_a_session_cannot_do_was_ignored(name: str, case: str) -> None:
    """It is refused, with what to do."""
    call, inis = REFUSED[case]
    refusal = pytest.raises(UsageError, match=r"use|add|takes")
    weak = Profile(weak_auth=True)
    with attached(name) as fw, Session(inis, framework=fw, profile=weak) as session, refusal:
        call(session)


@pytest.mark.parametrize(
    "ini",
    [
        Cryptoini(CRYPTO_AES_CBC, KEY, rnd=12),
        Cryptoini(CRYPTO_AES_CBC, KEY, limit=100),
        Cryptoini(CRYPTO_AES_CBC, KEY, iv=IV),
        Cryptoini(CRYPTO_AES_CBC, KEY, mlen=12),
        Cryptoini(CRYPTO_AES_CBC, KEY, klen=128.0),  # type: ignore[arg-type]  # wrong on purpose
        Cryptoini(CRYPTO_SHA1_HMAC, KEY, mlen=12.0),  # type: ignore[arg-type]  # wrong on purpose
    ],
    ids=["rnd", "limit", "iv", "mlen", "klen", "mlen of a fraction"],
)
def test_a_field_that_does_nothing_was_ignored(ini: Cryptoini) -> None:
    """A session's parameter that its algorithm cannot follow is refused."""
    with attached() as fw, pytest.raises(UsageError):
        fw.newsession(ini)
