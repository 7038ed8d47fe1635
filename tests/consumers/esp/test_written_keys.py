"""Keys that a file has each time again are not sent by with counter modes, unless that is asked."""

from pathlib import Path

import pytest

from opencrypto import Framework, UsageError
from opencrypto.xform import FACTS
from opencrypto_esp import Direction, Esp, load_sas, one_way
from opencrypto_esp.suites import ENCRYPTIONS
from tests.consumers.esp.packets import ipv4, make_sa

COUNTERS = sorted(name for name, suite in ENCRYPTIONS.items() if suite.counter)


def written(folder: Path, encryption: str, more: str = "") -> Path:
    """Write a file of one SA that only its owner may read."""
    path = folder / "sa.toml"
    size = min(ENCRYPTIONS[encryption].keys)
    text = f'[[sa]]\nspi = 4096\nencryption = "{encryption}"\nencryption_key = "{"5a" * size}"\n'
    if not ENCRYPTIONS[encryption].icv:
        text += f'integrity = "hmac-sha2-256-128"\nintegrity_key = "{"a5" * 32}"\n'
    path.write_text(text + more)
    path.chmod(0o600)
    return path


def sends(path: Path, *, test_keys: bool = False) -> bool:
    """Tell whether a packet is protected by the SAs of a file."""
    sas = one_way(load_sas(path), Direction.OUT)
    with Framework() as framework, Esp(framework, sas, test_keys=test_keys) as esp:
        return esp.protect(ipv4(bytes(64))).packet is not None


def test_the_counter_modes_are_known() -> None:
    """Those whose IV counts, by the framework's own facts."""
    counting = {
        name for name, suite in ENCRYPTIONS.items() if suite.alg and FACTS[suite.alg].counter_iv
    }
    assert counting == {*COUNTERS}
    assert counting > {"aes-ctr", "aes-gcm-16", "aes-gmac"}


@pytest.mark.parametrize("encryption", COUNTERS)
def test_a_counter_mode_is_not_sent_by_with_keys_of_a_file(tmp_path: Path, encryption: str) -> None:
    """It is refused before a packet is sent, in a sentence that says what can be done."""
    with pytest.raises(UsageError, match=r'keys = "agreed".*--test-keys'):
        sends(written(tmp_path, encryption))


@pytest.mark.parametrize("encryption", COUNTERS)
def test_agreed_keys_and_those_for_tests_are_sent_by(tmp_path: Path, encryption: str) -> None:
    assert sends(written(tmp_path, encryption, 'keys = "agreed"\n'))
    assert sends(written(tmp_path, encryption), test_keys=True)


def test_other_modes_are_not_concerned(tmp_path: Path) -> None:
    """A fresh IV of CBC cannot be foretold, and two alike give away two first blocks at most."""
    assert sends(written(tmp_path, "aes-cbc"))


@pytest.mark.parametrize("encryption", COUNTERS)
def test_receiving_is_not_concerned(tmp_path: Path, encryption: str) -> None:
    """Whoever sends is the one who must not use an IV twice."""
    sas = one_way(load_sas(written(tmp_path, encryption)), Direction.IN)
    with Framework() as framework, Esp(framework, sas) as esp:
        assert esp.sas == tuple(sas)


def test_a_program_knows_where_its_keys_are_from() -> None:
    """Keys given in code are taken."""
    sas = one_way([make_sa("aes-gcm-16", encryption_key=bytes(20))], Direction.OUT)
    with Framework() as framework, Esp(framework, sas) as esp:
        assert esp.protect(ipv4(bytes(64))).packet


@pytest.mark.parametrize("value", ['"mine"', "5", '"Agreed"'])
def test_other_words_for_keys_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match="keys"):
        load_sas(written(tmp_path, "aes-gcm-16", f"keys = {value}\n"))
