"""Packets that others published, and the counter blocks and additional data of the RFCs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opencrypto import Framework
from opencrypto.testing.vectors import Vector, load
from opencrypto_esp import Direction, Esp, Mode, Reason, SecurityAssociation, one_way
from tests.consumers.esp.conftest import MakeEsp
from tests.consumers.esp.packets import TUNNELS, ipv4, make_sa

pytestmark = pytest.mark.shared_framework

# RFC 3602 §4, cases 5 to 8: whole ESP packets, encrypted and not authenticated. Key, next header,
# ESP packet, what it holds.
RFC3602 = [
    (
        "90d382b410eeba7ad938c46cec1a82bf", 1,
        "0000432100000001e96e8c08ab465763fd098d45dd3ff893f663c25d325c18c6a9453e194e120849a4870b66"
        "cc6b9965330013b4898dc856a4699e523a55db080b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874a"
        "a269add047ad2d5913ac19b7cfbad4a6",
        "08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223"
        "2425262728292a2b2c2d2e2f3031323334353637",
    ),
    (
        "90d382b410eeba7ad938c46cec1a82bf", 1,
        "000043210000000869d08df7d203329db093fc4924e5bd80f51995881ec4e0c4488987ce742e8109689bb379"
        "d2d750c0d915dca346a89f75",
        "0800b5e8a80a0500a69c083d0b660e00777777777777777777777777",
    ),
    (
        "0123456789abcdef0123456789abcdef", 4,
        "0000876500000002f4e765244f6407adf13dc1380f673f37773b5241a4c449225e4f3ce5ed611b0c237ca96c"
        "f74a93013c1b0ea1a0cf70f8e4ecaec78ac53aad7a0f022b859243c647752e94a859352b8a4d4d2decd136e5"
        "c177f132ad3fbfb2201ac9904c74ee0a109e0ca1e4dfe9d5a100b842f1c22f0d",
        "45000054090400004001f988c0a87b03c0a87bc808009f76a90a0100b49c083d02a2040008090a0b0c0d0e0f"
        "101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637",
    ),
    (
        "0123456789abcdef0123456789abcdef", 4,
        "000087650000000585d47224b5f3dd5d2101d4ea8dffab2215b92683819596a8047232cc00f7048fe45318e1"
        "1f8a0f62ede3c3fc61203bb50f980a08c9843fd3a1b06d5c07ff9639b7eb7dfb3512e5de435e7207ed971ef3"
        "d2726d9b5ef6affc6d17a0decbb13892",
        "45000044090c00004001f990c0a87b03c0a87bc80800d63caa0a0200c69c083da3de0300ffffffffffffffff"
        "ffffffffffffffffffffffffffffffffffffffffffffffff",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", range(5, 9))
def test_rfc3602(case: int, make_esp: MakeEsp) -> None:
    key, following, esp, content = RFC3602[case - 5]
    wire = bytes.fromhex(esp)
    tunnel = following == 4
    sa = SecurityAssociation(
        spi=int.from_bytes(wire[:4]),
        encryption="aes-cbc",
        encryption_key=bytes.fromhex(key),
        unauthenticated=True,
        **({"mode": Mode.TUNNEL, **TUNNELS[4]} if tunnel else {}),  # type: ignore[arg-type]  # some of the fields, by name
    )
    got = make_esp(sa).unprotect(ipv4(wire, protocol=50)).packet
    assert got is not None
    inner = bytes.fromhex(content)
    assert got == (inner if tunnel else ipv4(inner, protocol=following))


@pytest.mark.parametrize("vector", load("aes_ctr"), ids=lambda vector: vector.id)
def test_rfc3686_counter_blocks(vector: Vector, make_esp: MakeEsp) -> None:
    """
    The vectors are no ESP packets, but what ESP makes of nonce and IV is the key stream they show.

    A packet whose ciphertext is the key stream of all zeroes XOR a known plaintext must decrypt.
    """
    assert vector.iv is not None
    stream = bytes(a ^ b for a, b in zip(vector.input, vector.output, strict=True))
    # Payload, padding 1, 2, ..., its length, next header: as many whole words as there is stream.
    size = len(stream) & ~3
    plain = b"\xaa" * (size - 4) + b"\x01\x02\x02\x11"
    sent = bytes(a ^ b for a, b in zip(plain, stream, strict=False))
    sa = make_sa("aes-ctr", "", encryption_key=vector.key, unauthenticated=True)
    wire = sa.spi.to_bytes(4) + bytes(3) + b"\x01" + vector.iv + sent
    got = make_esp(sa).unprotect(ipv4(wire, protocol=50)).packet
    assert got == ipv4(plain[:-4], protocol=17)


ESP_GCM = [
    vector
    for vector in load("aes_gcm_16")
    if vector.id.startswith("mcgrew-esp")
    and vector.aad is not None
    # Some have a sequence number that is reserved, one is a dummy packet; and what is cut off the
    # additional data is no part of the packet.
    and not vector.id.endswith("/aad-cut")
    and any(vector.aad[:4])
    and any(vector.aad[4:])
    and vector.input[-1] in {1, 4, 6, 17, 41}
]


@pytest.mark.parametrize("vector", ESP_GCM, ids=lambda vector: vector.id)
def test_gcm_in_esp(vector: Vector, framework: Framework) -> None:
    """draft-mcgrew-gcm-test-01: SPI and sequence number, 32 or 64 bits, are the additional data."""
    assert vector.aad is not None
    assert vector.iv is not None
    assert vector.mac is not None
    spi, seq = int.from_bytes(vector.aad[:4]), int.from_bytes(vector.aad[4:])
    sa = make_sa("aes-gcm-16", encryption_key=vector.key, spi=spi, esn=len(vector.aad) == 12)
    # The receiver has to be in the same span of long numbers as the sender. Some of the SPIs are
    # below 256: nobody sends by them any more, but packets with them are there.
    if sa.esn:
        sa = replace(sa, replay_seq_hi=seq >> 32)
    wire = vector.aad[:4] + vector.aad[-4:] + vector.iv + vector.output + vector.mac
    with Esp(framework, one_way([sa], Direction.IN)) as esp:
        result = esp.unprotect(ipv4(wire, protocol=50))
    if vector.result == "invalid":
        assert result.reason in {Reason.BAD_ICV, Reason.BAD_LENGTH}
        return
    assert result.reason is None
    inner = vector.input[: -2 - vector.input[-2]]
    assert result.packet == ipv4(inner, protocol=vector.input[-1])


ESP_GMAC = [vector for vector in load("aes_gmac") if vector.id.startswith("mcgrew-esp")]


@pytest.mark.parametrize("vector", ESP_GMAC, ids=lambda vector: vector.id)
def test_gmac_in_esp(vector: Vector, make_esp: MakeEsp) -> None:
    """RFC 4543 §3.3: the packet as it is on the wire, up to the ICV, is the additional data."""
    assert vector.aad is not None
    assert vector.mac is not None
    spi = int.from_bytes(vector.aad[:4])
    esp = make_esp(make_sa("aes-gmac", encryption_key=vector.key, spi=spi))
    result = esp.unprotect(ipv4(vector.aad + vector.mac, protocol=50))
    if vector.result == "invalid":
        # With a bit of the SPI changed it is another SA's, whose keys here are the same.
        assert result.reason in {Reason.BAD_ICV, Reason.BAD_LENGTH}
        return
    inner = vector.aad[16 : -2 - vector.aad[-2]]
    assert result.packet == ipv4(inner, protocol=vector.aad[-1])


def test_there_are_vectors() -> None:
    assert len(ESP_GCM) >= 7
    assert len(ESP_GMAC) >= 1
