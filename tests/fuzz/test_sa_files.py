"""
Files of SAs damaged anyhow: each gives a sentence or SAs, and no sentence shows a key.

``OPENCRYPTO_FUZZ_EXAMPLES`` says how many; ``make fuzz`` makes many.
"""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from opencrypto import UsageError
from opencrypto_esp import load_sas, write_sas
from opencrypto_esp.formats import WRITTEN_AS
from tests.consumers.esp.formats.test_together import IN, LISTING, OUT, POLICIES
from tests.consumers.esp.packets import make_sa
from tests.support import examples

EXAMPLES = int(os.environ.get("OPENCRYPTO_FUZZ_EXAMPLES", str(examples(2000))))
KEY = "c0ffee5ecde7c0ffee5ecde7c0ffee5e"
SHOWN = re.compile("c0ffee5e|5ecde7", re.IGNORECASE)
WORDS = ("src", "dst", "proto", "esp", "sel", "enc", "aead", "dir", "flag", "mark", "tmpl", "0x",
         '"IPv4"', "[[sa]]", "=", "\\", "'", '"', "*", "(", "/", "file /dev/null", "-1", "esn",
         "\x00", "\u2028", "٣", "9" * 30)  # fmt: skip


def secret(size: int) -> bytes:
    """Return a key that would be known again."""
    return bytes.fromhex(KEY * 2)[:size]


def corpus() -> list[str]:
    """Return what is damaged: a text in each format that has keys, and those without."""
    sas = [
        make_sa(tunnel=4, encryption_key=secret(16), integrity_key=secret(20)),
        make_sa("aes-gcm-16", spi=0x2002, tunnel=6, encryption_key=secret(20)),
    ]
    texts = [write_sas(sas, kind, remark=lambda _: None) for kind in WRITTEN_AS]
    gcm = re.compile("0xe40[67][0-9a-f]*")
    listed = gcm.sub(f"0x{KEY}{KEY[:8]}", OUT + IN)
    secrets = f"0x1001@192.0.2.2 aes128-hmac96:0x{KEY}\naes128:0x{KEY}\n"
    return [*texts, listed, listed + POLICIES, LISTING, secrets]


def mutant(text: str, draw: random.Random) -> str:
    """Return a text with some damage to its characters, words or lines."""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        at = draw.randrange(len(text) + 1)
        what = draw.randrange(6)
        if what == 0:
            text = text[:at] + text[at + draw.randrange(1, 30) :]
        elif what == 1:
            text = f"{text[:at]}{draw.choice(WORDS)}{text[at:]}"
        elif what == 2:
            text = f"{text[:at]} {draw.choice(WORDS)} {text[at:]}"
        elif what == 3:
            text = text[:at] + chr(draw.randrange(1, 0x180)) + text[at + 1 :]
        elif what == 4:
            words = text.split(" ")
            one, other = (draw.randrange(len(words)) for _ in range(2))
            words[one], words[other] = words[other], words[one]
            text = " ".join(words)
        else:
            lines = text.split("\n")
            one, other = (draw.randrange(len(lines)) for _ in range(2))
            lines[one] = lines[other]
            text = "\n".join(lines)
    return text


@pytest.mark.slow
def test_mutants_give_a_sentence_or_sas(tmp_path: Path) -> None:
    draw = random.Random(13)
    seeds = corpus()
    path = tmp_path / "sas"
    path.touch(0o600)
    taken = 0
    for n in range(EXAMPLES):
        text = mutant(draw.choice(seeds), draw)
        path.write_text(text)
        said: list[str] = []
        try:
            sas = load_sas(path, remark=said.append)
            taken += 1
            said += map(repr, sas)
        except UsageError as error:
            said.append(str(error))
        except FileNotFoundError:
            assert "file" in text  # another one that is named
        except Exception as error:
            error.add_note(f"mutant {n}: {text!r}")
            raise
        assert not SHOWN.search(" ".join(said)), f"mutant {n}: {text!r}"
    assert taken > EXAMPLES // 20, "and some of them are still SAs"
