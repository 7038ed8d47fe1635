"""What the tests of formats share: files, and SAs of every kind."""

from __future__ import annotations

import itertools
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from opencrypto_esp import ENCRYPTIONS, INTEGRITIES, Direction, Mode, SecurityAssociation
from opencrypto_esp.sa import Protocol
from tests.consumers.esp.packets import TUNNELS, key

NETWORKS: dict[int, list[Any]] = {
    4: [ip_network(text) for text in ("10.0.0.0/8", "198.51.100.0/24", "203.0.113.7/32")],
    6: [ip_network(text) for text in ("2001:db8::/32", "fd00:1::/64", "fd00:2::5/128")],
}
HOSTS: dict[int, list[Any]] = {
    4: [ip_network("192.0.2.1"), ip_network("192.0.2.2")],
    6: [ip_network("2001:db8::1"), ip_network("2001:db8::2")],
}


def write(folder: Path, text: str, name: str = "sas") -> Path:
    """Write a file that nobody else may read."""
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return path


def suites() -> list[dict[str, Any]]:
    """Return every encryption that is sent by with each length of its key, and integrities."""
    integrities = itertools.cycle(INTEGRITIES)
    found: list[dict[str, Any]] = []
    for name, cipher in ENCRYPTIONS.items():
        if cipher.old:
            continue
        for length in sorted(cipher.keys):
            suite: dict[str, Any] = {"encryption": name, "encryption_key": key(length)}
            if not cipher.icv:
                integrity = next(integrities)
                suite["integrity"] = integrity
                suite["integrity_key"] = key(INTEGRITIES[integrity].key, 5)
            found.append(suite)
    # Each integrity, whether the circle has come to it or not.
    cbc = {"encryption": "aes-cbc", "encryption_key": key(16)}
    for name, kind in INTEGRITIES.items():
        found.append({**cbc, "integrity": name, "integrity_key": key(kind.key, 7)})
    return found


def placed(version: int, *, tunnel: bool) -> dict[str, Any]:
    """Return where an SA's packets go from and to."""
    if tunnel:
        return {"mode": Mode.TUNNEL, **TUNNELS[version]}
    source, destination = HOSTS[version]
    return {"source": (source,), "destination": (destination,)}


@st.composite
def kernels_sas(draw: st.DrawFn) -> SecurityAssociation:
    """Make an SA that the kernel can have, and that one command each makes for it."""
    version, tunnel = draw(st.sampled_from([4, 6])), draw(st.booleans())
    settings = placed(version, tunnel=tunnel)
    if tunnel:
        networks = NETWORKS[draw(st.sampled_from([4, 6]))]
        sides = st.lists(st.sampled_from(networks), max_size=3, unique=True).map(tuple)
        direction = draw(st.sampled_from([None, *Direction]))
        if direction is not None:  # by policies alone, which have a direction
            settings |= {"source": draw(sides), "destination": draw(sides)}
    else:
        direction = draw(st.sampled_from([None, *Direction]))
    if tunnel and direction is not Direction.IN:
        settings["tfc_padding"] = draw(st.integers(0, 1500))
    suite = draw(st.sampled_from(suites()))
    if suite.get("integrity") and draw(st.booleans()):
        suite = {"protocol": Protocol.AH} | {
            name: value for name, value in suite.items() if name.startswith("integrity")
        }
        settings.pop("tfc_padding", None)
    elif draw(st.booleans()):
        ports = st.integers(1, 65535)
        settings |= {"encap": "udp", "encap_source_port": draw(ports)}
        settings["encap_destination_port"] = draw(ports)
    esn = draw(st.booleans())
    most = 2**64 - 1 if esn else 2**32 - 1
    return SecurityAssociation(
        spi=draw(st.integers(256, 0xFFFFFFFF)),
        direction=direction,
        esn=esn,
        replay_window=draw(st.integers(1 if esn else 0, 4096)),
        sequence=draw(st.integers(0, most)) if direction is not Direction.IN else 0,
        replay_seq_hi=draw(st.integers(1, 0xFFFFFFFF))
        if esn and direction is not Direction.OUT
        else None,
        dscp=draw(st.sampled_from([None, 0])),
        keys="written",
        **suite,
        **settings,
    )


@st.composite
def any_sas(draw: st.DrawFn) -> SecurityAssociation:
    """Make an SA of any kind that there is."""
    suite = draw(st.one_of(st.sampled_from(suites()), st.sampled_from(_READ_ONLY)))
    direction = draw(st.sampled_from([None, Direction.IN]))
    mode = draw(st.sampled_from(list(Mode)))
    ends: dict[str, Any] = (
        draw(st.sampled_from([{}, *TUNNELS.values()])) if mode is not Mode.TRANSPORT else {}
    )
    if "icv_length" not in suite and suite["encryption"] != "des-cbc" and draw(st.booleans()):
        direction, mode, ends = Direction.OUT, Mode.TUNNEL, TUNNELS[6]
    every = NETWORKS[4] + NETWORKS[6]
    sides = st.lists(st.sampled_from(every), max_size=4, unique=True).map(tuple)
    esn = draw(st.booleans())
    out = direction is Direction.OUT
    spi = draw(st.one_of(st.just(0), st.integers(1, 0xFFFFFFFF))) if not out else 0x1234
    return SecurityAssociation(
        spi=spi,
        direction=direction,
        mode=mode,
        source=draw(sides),
        destination=draw(sides),
        esn=esn,
        replay_window=draw(st.integers(1, 65536)),
        sequence=draw(st.integers(0, 2**32 - 1)) if direction is not Direction.IN else 0,
        replay_seq_hi=draw(st.none() | st.integers(0, 2**32 - 1)) if esn and not out else None,
        hop_limit=draw(st.integers(1, 255)),
        dscp=draw(st.none() | st.integers(0, 63)),
        keys=draw(st.sampled_from(["written", "agreed"])),
        name=draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
        **suite,
        **ends,
    )


_READ_ONLY: list[dict[str, Any]] = [
    {"encryption": "des-cbc", "encryption_key": key(8), "icv_length": 12},
    {"encryption": "aes-cbc", "encryption_key": key(24), "icv_length": 16},
    {"encryption": "aes-ctr", "encryption_key": key(28), "unauthenticated": True},
]
"""What is received by and not sent."""
