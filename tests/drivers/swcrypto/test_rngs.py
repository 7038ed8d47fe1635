"""The generators of the software driver: NIST's answers for each mechanism, and X9.31's."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencrypto import CryptoError, Framework, UsageError
from opencrypto.rng import Rng
from opencrypto_swcrypto import _rngs

CAVS: list[dict[str, str]] = json.loads(
    (Path(__file__).parents[2] / "data" / "drbg" / "cavs.json").read_text()
)
NAMES = sorted({vector["name"] for vector in CAVS})


@pytest.fixture
def framework() -> Iterator[Framework]:
    with Framework(["swcrypto"]) as framework:
        yield framework


def part(vector: dict[str, str], name: str) -> bytes:
    return bytes.fromhex(vector.get(name, ""))


def answer(framework: Framework, vector: dict[str, str]) -> bytes:
    """Do what the programme has one do; the second request's answer is the one compared."""
    count = len(part(vector, "output"))
    entropy = part(vector, "entropy") + part(vector, "nonce")
    with framework.rng(vector["name"], part(vector, "personalization"), entropy=entropy) as rng:
        if "reseed_entropy" in vector:
            rng.set_entropy(part(vector, "reseed_entropy"))
            rng.reseed(part(vector, "reseed_additional"))
        for which in "ab":
            if f"entropy_{which}" in vector:
                rng.set_entropy(part(vector, f"entropy_{which}"))
            got = rng.generate(count, part(vector, f"additional_{which}"))
        return got


@pytest.mark.parametrize("name", NAMES)
def test_cavs(framework: Framework, name: str) -> None:
    vectors = [vector for vector in CAVS if vector["name"] == name]
    assert len(vectors) >= 12
    for vector in vectors:
        assert answer(framework, vector) == part(vector, "output"), vector


def test_every_drbg_offered_has_answers() -> None:
    offered = {name for name in _rngs.RNGS if name.startswith("drbg_")}
    assert offered == set(NAMES)


def cprng(framework: Framework, dt: str, v: str) -> Rng:
    key = "f3b1666d13607242ed061cabb8d46202"
    return framework.rng("ansi_cprng", bytes.fromhex(v + key + dt))


def test_x931(framework: Framework) -> None:
    """AES-128: the first two of NIST's variable seed test (RNGVS, ANSI931_AES128VST)."""
    for v, answer in (
        ("80000000000000000000000000000000", "59531ed13bb0c05584796685c12f7641"),
        ("c0000000000000000000000000000000", "7c222cf4ca8fa24c1c9cb641a9f3220d"),
    ):
        dt = (
            "e6b3be782a23fa62d71d4afbb0e922f9"
            if v[0] == "8"
            else "e6b3be782a23fa62d71d4afbb0e922fa"
        )
        with cprng(framework, dt, v) as rng:
            assert rng.generate(16).hex() == answer


def test_x931_gives_what_is_left_of_a_block_first(framework: Framework) -> None:
    dt, v = "00" * 16, "11" * 16
    with cprng(framework, dt, v) as one, cprng(framework, dt, v) as other:
        assert one.generate(5) + one.generate(40) + one.generate(3) == other.generate(48)


def test_x931_is_what_its_seed_says(framework: Framework) -> None:
    for seed in (b"", bytes(31), bytes(33), bytes(64)):
        with pytest.raises(UsageError, match="32 or 48 bytes"):
            framework.rng("ansi_cprng", seed)
    with pytest.raises(UsageError, match="no entropy"):
        framework.rng("ansi_cprng", bytes(48), entropy=bytes(16))
    with framework.rng("ansi_cprng", bytes(32)) as rng:
        with pytest.raises(UsageError, match="additional"):
            rng.generate(1, b"more")
        with pytest.raises(UsageError, match="32 or 48 bytes"):
            rng.reseed(b"short")


def test_a_mechanism_that_computes_wrong_is_not_used(
    framework: Framework, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_rngs._ANSWERS, "hmac_sha256", "00")
    with pytest.raises(CryptoError, match="known answer"):
        framework.rng("drbg_nopr_hmac_sha256")


def test_new_entropy_comes_by_itself(framework: Framework, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def urandom(count: int) -> bytes:
        taken.append(count)
        return bytes(count)

    monkeypatch.setattr(_rngs, "RESEED_AFTER", 3)
    monkeypatch.setattr("os.urandom", urandom)
    with framework.rng("drbg_nopr_sha256") as rng, framework.rng("drbg_pr_ctr_aes128") as always:
        assert taken == [48, 24]
        for _ in range(4):
            rng.generate(1)
        assert taken == [48, 24, 32]
        always.generate(1)
        always.generate(1)
        assert taken == [48, 24, 32, 16, 16]


def test_more_than_one_request_may_have(framework: Framework) -> None:
    with framework.rng("drbg_nopr_ctr_aes256", entropy=bytes(48)) as rng:
        whole = rng.generate(3 * (1 << 16) + 5)
    with framework.rng("drbg_nopr_ctr_aes256", entropy=bytes(48)) as rng:
        parts = [rng.generate(1 << 16) for _ in range(3)] + [rng.generate(5)]
    assert whole == b"".join(parts)
