"""What is written in a format is read from it: the same SAs, or what it has a place for."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencrypto import UsageError
from opencrypto_esp import Direction, Mode, SecurityAssociation, load_sas, write_sas
from opencrypto_esp.formats import READ, WRITTEN_AS
from opencrypto_esp.formats.names import WIRESHARK_ENCRYPTIONS, WIRESHARK_INTEGRITIES
from opencrypto_esp.sa import ANY_SPI
from tests.consumers.esp.formats.sas import any_sas, kernels_sas, write
from tests.consumers.esp.packets import key, make_sa
from tests.support import examples

CANARY = "c0ffee00c0ffee00c0ffee00c0ffee00"


def again(folder: Path, text: str) -> list[SecurityAssociation]:
    """Read a text that was written."""
    return load_sas(write(folder, text))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where files go that each example writes anew."""
    return tmp_path_factory.mktemp("sas")


@settings(max_examples=examples(200))
@given(sas=st.lists(any_sas(), min_size=1, max_size=3))
def test_toml_has_all_that_can_be_said(folder: Path, sas: list[SecurityAssociation]) -> None:
    read = again(folder, write_sas(sas, "toml"))
    # What an SA of the one direction has no use for is not written.
    for sa in sas:
        assert sa.direction is not Direction.IN or not sa.sequence
    assert read == sas


@settings(max_examples=examples(200))
@given(sa=kernels_sas())
def test_the_kernels_commands_have_all_that_it_has(folder: Path, sa: SecurityAssociation) -> None:
    assert again(folder, write_sas([sa], "xfrm")) == [sa]


@settings(max_examples=examples(200))
@given(sa=any_sas())
def test_wiresharks_table_has_what_decrypts(folder: Path, sa: SecurityAssociation) -> None:
    if sa.encryption not in WIRESHARK_ENCRYPTIONS.values() or (
        sa.integrity and sa.integrity not in WIRESHARK_INTEGRITIES.values()
    ):
        with pytest.raises(UsageError, match="keep it in TOML"):
            write_sas([sa], "esp_sa")
        return
    remarks: list[str] = []
    (read,) = again(folder, write_sas([sa], "esp_sa", remark=remarks.append))
    kept = ("spi", "encryption", "encryption_key", "integrity", "integrity_key", "icv_length")
    assert [getattr(read, name) for name in kept] == [getattr(sa, name) for name in kept]
    assert read.mode is Mode.EITHER
    if sa.mode is not Mode.TRANSPORT:
        assert (read.tunnel_source, read.tunnel_destination) == (
            sa.tunnel_source, sa.tunnel_destination,
        )  # fmt: skip
    assert ("esn" in "".join(remarks)) == sa.esn, "what is left out is named"


def test_what_a_format_has_no_place_for_is_refused_unless_it_is_heard() -> None:
    sa = make_sa("aes-cbc", direction=Direction.OUT, esn=True)
    with pytest.raises(UsageError, match="no place for direction, esn"):
        write_sas([sa], "esp_sa")


@pytest.mark.parametrize(
    ("sa", "says"),
    [
        (make_sa(spi=ANY_SPI), "one SPI for each"),
        (make_sa(mode=Mode.EITHER), "transport or tunnel mode"),
        (make_sa(), "two addresses"),
        (make_sa(source=(ip_network("10.0.0.0/8"),)), "two addresses"),
        (make_sa(mode=Mode.TUNNEL, tunnel_source=ip_address("192.0.2.1")), "two addresses"),
        (make_sa(tunnel=4, replay_window=4097), "4096 packets"),
        (make_sa(tunnel=4, dscp=46), "DSCP"),
    ],
)
def test_what_the_kernel_cannot_have_is_refused(sa: SecurityAssociation, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        write_sas([sa], "xfrm")


def test_sas_that_follow_one_another_have_one_policy(tmp_path: Path) -> None:
    """The kernel has one for the same packets; rekeyed SAs share it by its number."""
    old = make_sa(tunnel=4, direction=Direction.OUT, source=(ip_network("10.0.0.0/8"),))
    new = replace(old, spi=0x2002, encryption_key=key(16, 9))
    text = write_sas([old, new], "xfrm")
    assert text.count("policy add") == 1
    assert [sa.direction for sa in again(tmp_path, text)] == [Direction.OUT] * 2
    elsewhere = replace(new, tunnel_destination=ip_address("192.0.2.77"))
    with pytest.raises(UsageError, match="one policy for the same packets"):
        write_sas([old, elsewhere], "xfrm")


@pytest.mark.parametrize("kind", WRITTEN_AS)
def test_a_format_is_known_by_what_is_in_it(kind: str) -> None:
    sa = make_sa(tunnel=4, name="a name\nof two lines")
    text = write_sas([sa], kind, remark=lambda _: None)
    assert [room.TITLE for room in READ if room.recognised(text)] == [
        {"toml": "TOML", "xfrm": "ip xfrm", "esp_sa": "Wireshark's esp_sa"}[kind]
    ]


@pytest.mark.parametrize("text", ["Hello", "key: value", "1.2.3.4", f"0x1001 {CANARY}", "{}"])
def test_what_is_in_no_format_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="in no format that is known") as caught:
        load_sas(write(tmp_path, text))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "word",
    [
        f"0x1001@192.0.2.1 aes-cbc:0x{CANARY}",
        f"aes:0x{CANARY}",
        f'"IPv4","*","*","*","AES-CBC [RFC3602]","0x{CANARY}","NULL",""',
        CANARY,
        f"0x{CANARY}",
        "0x1001@192.0.2.1 aes128:c0ffee00c0ffee00",
        f"0x1001@192.0.2.1 aes-cbc:0x{CANARY}" * 9,
        f"src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 enc aes 0x{CANARY}",
    ],
)
def test_a_key_in_the_place_of_a_file_is_refused_and_not_shown(word: str) -> None:
    with pytest.raises(UsageError, match="chmod 600") as caught:
        load_sas(word)
    assert CANARY[:16] not in str(caught.value)


def test_each_file_is_private(tmp_path: Path) -> None:
    good = write(tmp_path, write_sas([make_sa()], "toml"))
    other = write(tmp_path, "home: #1, ESTABLISHED, IKEv2, 1_i* 2_r\n", "other")
    other.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        load_sas(good, other)
