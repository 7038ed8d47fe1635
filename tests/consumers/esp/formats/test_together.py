"""Several files say of the same SAs: the kernel's states, its policies, and what IKE lists."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from opencrypto import UsageError
from opencrypto_esp import Direction, Mode, load_sas
from tests.consumers.esp.formats.sas import write

GCM = "aead rfc4106(gcm(aes)) 0xe406a01083986e14d116488549094710e9c57bc6 128"
OUT = f"""src 192.0.2.1 dst 192.0.2.2
\tproto esp spi 0xc1f3a20b reqid 1 mode tunnel
\treplay-window 0 flag af-unspec
\t{GCM}
\tanti-replay context: seq 0x0, oseq 0x1a4f, bitmap 0x00000000
"""
IN = f"""src 192.0.2.2 dst 192.0.2.1
\tproto esp spi 0xc77e0001 reqid 1 mode tunnel
\treplay-window 32 flag af-unspec
\t{GCM.replace("e406", "e407")}
\tanti-replay context: seq 0x7, oseq 0x0, bitmap 0x0000007f
\tsel src 0.0.0.0/0 dst 0.0.0.0/0
"""
POLICIES = """src 10.1.0.0/16 dst 10.2.0.0/16
\tdir out priority 375423 ptype main
\ttmpl src 192.0.2.1 dst 192.0.2.2
\t\tproto esp spi 0xc1f3a20b reqid 1 mode tunnel
src 10.2.0.0/16 dst 10.1.0.0/16
\tdir fwd priority 375423 ptype main
\ttmpl src 192.0.2.2 dst 192.0.2.1
\t\tproto esp reqid 1 mode tunnel
src 10.2.0.0/16 dst 10.1.0.0/16
\tdir in priority 375423 ptype main
\ttmpl src 192.0.2.2 dst 192.0.2.1
\t\tproto esp reqid 1 mode tunnel
src 0.0.0.0/0 dst 0.0.0.0/0
\tsocket in priority 0 ptype main
"""
LISTING = """gw-gw: #1, ESTABLISHED, IKEv2, 4ba8e3ea0dc5b9a0_i* 35f2bd2c1f2a4e3e_r
  local  'moon.example.org' @ 192.0.2.1[4500]
  remote 'sun.example.org' @ 192.0.2.2[4500]
  AES_CBC-128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519
  established 3s ago, rekeying in 13814s
  net-net: #1, reqid 1, INSTALLED, TUNNEL, ESP:AES_GCM_16-128
    installed 3s ago, rekeying in 3363s, expires in 3957s
    in  c77e0001,     84 bytes,     1 packets,     2s ago
    out c1f3a20b (0x00000001),     84 bytes,     1 packets,     2s ago
    local  10.1.0.0/16
    remote 10.2.0.0/16
"""


def load(folder: Path, *texts: str) -> list[object]:
    """Read texts, a file each."""
    return list(load_sas(*(write(folder, text, f"file{n}") for n, text in enumerate(texts))))


def test_states_alone(tmp_path: Path) -> None:
    one, other = load_sas(write(tmp_path, OUT + IN))
    assert (one.direction, one.mode, one.sequence) == (None, Mode.TUNNEL, 0x1A4F)
    assert (other.replay_window, other.source, other.keys) == (32, (), "written")


def test_policies_say_which_way_and_for_which_packets(tmp_path: Path) -> None:
    one, other = load_sas(write(tmp_path, OUT + IN), write(tmp_path, POLICIES, "policies"))
    here, there = ip_network("10.1.0.0/16"), ip_network("10.2.0.0/16")
    assert (one.direction, one.source, one.destination) == (Direction.OUT, (here,), (there,))
    assert (other.direction, other.source, other.destination) == (Direction.IN, (there,), (here,))


def test_names_are_those_of_ike_and_its_keys_are_agreed_on(tmp_path: Path) -> None:
    """A listing has no keys; which way an SA goes it has too."""
    sas = load_sas(write(tmp_path, OUT + IN), write(tmp_path, LISTING, "listing"))
    assert [sa.name for sa in sas] == ["net-net"] * 2
    assert [sa.direction for sa in sas] == [Direction.OUT, Direction.IN]
    assert {sa.keys for sa in sas} == {"agreed"}


def test_a_listing_or_policies_alone_have_no_keys(tmp_path: Path) -> None:
    for text in (LISTING, POLICIES):
        with pytest.raises(UsageError, match="no SA with keys"):
            load(tmp_path, text)


def test_a_listing_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lists no SA of ESP"):
        load(tmp_path, LISTING.split("  net-net", maxsplit=1)[0])


def test_what_contradicts_a_listing_is_refused(tmp_path: Path) -> None:
    """One SPI listed twice may be either, unless a direction says which."""
    twice = LISTING.replace("c77e0001", "c1f3a20b")
    with pytest.raises(UsageError, match="listed 2 times"):
        load(tmp_path, OUT, twice)
    assert load(tmp_path, OUT, POLICIES, twice)


def test_pairs_of_networks_that_no_sa_can_say_are_refused(tmp_path: Path) -> None:
    second = POLICIES.replace("10.1.", "10.3.").replace("10.2.", "10.4.")
    with pytest.raises(UsageError, match="pairs of networks"):
        load(tmp_path, OUT + IN, POLICIES + second)
    crossed = [
        POLICIES.replace("10.1.", a).replace("10.2.", b)
        for a in ("10.1.", "10.3.")
        for b in ("10.2.", "10.4.")
    ]
    one, _ = load_sas(write(tmp_path, OUT + IN), write(tmp_path, "".join(crossed), "policies"))
    assert one.source == tuple(map(ip_network, ("10.1.0.0/16", "10.3.0.0/16")))
    assert one.destination == tuple(map(ip_network, ("10.2.0.0/16", "10.4.0.0/16")))


TRANSPORT = f"""src 192.0.2.1 dst 192.0.2.2
\tproto esp spi 0x00001001 reqid 0 mode transport
\treplay-window 0
\t{GCM}
"""


def test_in_transport_mode_the_ends_are_the_selectors(tmp_path: Path) -> None:
    policy = (
        "src 192.0.2.0/24 dst 192.0.2.2/32\n\tdir out priority 0\n"
        "\ttmpl src 0.0.0.0 dst 0.0.0.0\n\t\tproto esp reqid 0 mode transport\n"
    )
    for more, direction in (("", None), (policy, Direction.OUT)):
        (sa,) = load_sas(write(tmp_path, TRANSPORT + more))
        assert (sa.mode, sa.direction) == (Mode.TRANSPORT, direction)
        assert (sa.source, sa.destination) == (
            (ip_network("192.0.2.1/32"),), (ip_network("192.0.2.2/32"),),
        )  # fmt: skip


def test_a_script_is_read_too(tmp_path: Path) -> None:
    text = "\n".join(
        [
            "# keys of the link",
            "ip xfrm state flush",
            "sudo ip -4 xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 4097 \\",
            "    reqid 1 mode tunnel enc 'cbc(aes)' 0x00112233445566778899aabbccddeeff \\",
            "    auth sha256 0x" + "ab" * 32,
            "ip x p add dir out src 10.1.0.0/16 dst 10.2.0.0/16 \\",
            "    tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel",
        ]
    )
    (sa,) = load_sas(write(tmp_path, text))
    assert (sa.spi, sa.direction) == (4097, Direction.OUT)
    # What goes without saying is 96 bits, as ever in Linux.
    assert sa.integrity == "hmac-sha2-256-96"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (OUT.replace("0xe406a01083986e14d116488549094710e9c57bc6", "<<Keys hidden>>"), "hidden"),
        (OUT.replace("0xc1f3a20b", "many"), "line 2, word 4: must be a number"),
        (OUT.replace("128\n", "127\n"), "names an algorithm, or an ICV"),
        (OUT.replace("9c57bc6", "9c57bc"), "two for each byte"),
        (OUT.replace("e9c57bc6", ""), "takes a key of"),
        ("ip xfrm state add src $A dst 192.0.2.2 proto esp", "has a variable"),
        ("ip xfrm state add src 'a dst 192.0.2.2 proto esp", "a quotation has no end"),
        ("ip xfrm state get src 192.0.2.1", "neither adds nor updates"),
        (f"ip xfrm state add src 192.0.2.1 dst 192.0.2.2 spi 0x1001 {GCM}", "or no protocol"),
        ("ip xfrm state add src 192.0.2.1 proto esp spi 0x1001 " + GCM, "lacks an address"),
        ("xfrm state add src 192.0.2.1 colour red", "not known, or not in its place"),
        ("xfrm state flush\nreboot", "line 2: it belongs to no SA"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        load(tmp_path, text)
    assert "e406a010" not in str(caught.value)


def test_what_newer_tools_say_more_is_said_to_be_left_out(tmp_path: Path) -> None:
    text = OUT + "\tcolour red\n\tdir out\n"
    with pytest.raises(UsageError, match="lines that are not known"):
        load(tmp_path, text)
    remarks: list[str] = []
    (sa,) = load_sas(write(tmp_path, text), remark=remarks.append)
    assert sa.direction is Direction.OUT
    assert remarks == [
        f"{tmp_path / 'sas'}: left out is what cannot be taken: lines that are not known (1)"
    ]
