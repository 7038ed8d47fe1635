"""
What the SAs of one end must be together, and which of them go one way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from opencrypto import UsageError
from opencrypto_esp.sa import WRITTEN, Direction, Mode, SecurityAssociation


def check_together(sas: Sequence[SecurityAssociation]) -> None:
    """
    Refuse SAs that one end cannot have together.

    Raises:
        UsageError: there are none, one is for neither direction, two of one direction have one
            SPI and the same addresses, or two of different directions the same keys: packets that
            one sends, the other would take for its peer's when somebody sends them back.
    """
    for sa in sas:
        if sa.direction is None:
            raise UsageError(
                f'SA {sa.label} has no direction; write direction = "out" if packets are sent by '
                'it, or direction = "in" if they are received'
            )
    if not sas or len(set(map(_place, sas))) < len(sas):
        raise UsageError(
            "give at least one SA, and each of one direction an SPI of its own, or else addresses"
        )
    sending = {_keys(sa): sa for sa in sas if sa.direction is Direction.OUT and sa.numbered}
    for sa in sas:
        if sa.numbered and sa.direction is Direction.IN and _keys(sa) in sending:
            raise UsageError(
                f"SA {sending[_keys(sa)].label} (out) and SA {sa.label} (in) have the same keys: "
                "what is sent would be taken when it comes back; agree on keys for each direction"
            )
    _check_order(sas)


def _check_order(sas: Sequence[SecurityAssociation]) -> None:
    """See that each SA that is named by `then` is there, goes the same way, and follows one."""
    for sa in sas:
        if not sa.then:
            continue
        after = [each for each in sas if each.label == sa.then and each.direction is sa.direction]
        if len(after) != 1:
            raise UsageError(
                f"SA {sa.label}: then names {sa.then!r}, and of that name there is not one SA "
                f'with direction = "{sa.direction}"; give SAs names of their own'
            )
    for direction in Direction:
        named = [sa.then for sa in sas if sa.then and sa.direction is direction]
        twice = {name for name in named if named.count(name) > 1}
        if twice:
            raise UsageError(
                f"SA {min(twice)} follows several SAs (then); each can follow one alone"
            )
        _check_end(sas, direction)


def _check_end(sas: Sequence[SecurityAssociation], direction: Direction) -> None:
    following = {sa.label: sa.then for sa in sas if sa.direction is direction}
    for label in following:
        seen = [label]
        while following.get(seen[-1]):
            seen.append(following[seen[-1]])
            if seen[-1] == label:
                raise UsageError(f"SAs follow each other in a circle: {', then '.join(seen)}")
            if len(seen) > len(following):
                break  # round a circle that this one only leads to


def _place(sa: SecurityAssociation) -> tuple[object, ...]:
    """Return what tells it from others on the wire."""
    ends: tuple[object, ...] = sa.tunnel_source, sa.tunnel_destination
    if sa.mode is Mode.TRANSPORT:
        ends = sa.source, sa.destination
    return sa.direction, sa.protocol, sa.spi, ends


def _keys(sa: SecurityAssociation) -> tuple[str, bytes, str, bytes]:
    return sa.encryption, sa.encryption_key, sa.integrity, sa.integrity_key


def check_sendable(sas: Iterable[SecurityAssociation]) -> None:
    """
    Refuse to send by a counter mode with keys that are used again each time.

    Two packets with one IV under one key give both away, and let others forge. RFC 3686 (section 7)
    and RFC 4106 (section 10) want keys that are agreed anew.

    Raises:
        UsageError: an SA to send by has such keys.
    """
    for sa in sas:
        if sa.direction is Direction.OUT and sa.keys == WRITTEN and sa.cipher.counter:
            raise UsageError(
                f"SA {sa.label}: {sa.encryption} is not safe with keys that a file has again each "
                'time; agree on new ones (IKE) and write keys = "agreed", take aes-cbc with an '
                "integrity, or say that the keys are for tests (--test-keys)"
            )


def check_readable(
    sas: Iterable[SecurityAssociation], *, old_ciphers: bool, unverified: bool
) -> None:
    """
    Refuse to receive what anybody may have made, unless whoever asks has said that he knows.

    Raises:
        UsageError: an SA has a cipher that is broken or given up and `old_ciphers` is not set, or
            an ICV that nothing verifies and `unverified` is not set.
    """
    for sa in sas:
        if sa.cipher.old and not old_ciphers:
            raise UsageError(
                f"SA {sa.label}: {sa.encryption} is for reading old captures alone; to do so, say "
                "--old-ciphers (a program: old_ciphers=True)"
            )
        if sa.icv_length and not unverified:
            raise UsageError(
                f"SA {sa.label}: without an integrity and its key nobody knows who made a packet; "
                "to read captures all the same, say --unverified (a program: unverified=True)"
            )


def one_way(sas: Iterable[SecurityAssociation], direction: Direction) -> list[SecurityAssociation]:
    """
    Return the SAs of one way; those that name none are taken to be of it.

    Raises:
        UsageError: all are for the other way.
    """
    chosen = [
        replace(sa, direction=direction)
        for sa in sas
        if sa.direction is None or sa.direction is direction
    ]
    if not chosen:
        use = "sending" if direction is Direction.OUT else "receiving"
        raise UsageError(f'no SA is for {use}; write direction = "{direction}" in one that is')
    return chosen
