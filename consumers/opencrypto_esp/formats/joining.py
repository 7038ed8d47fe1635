"""
What files say of each other's SAs, put together: policies give directions and selectors, and an IKE
daemon's listing gives names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_network
from itertools import pairwise, product
from typing import Final

from opencrypto import UsageError
from opencrypto_esp.formats.content import Content, Found, Listed, Rule, Template
from opencrypto_esp.sa import AGREED, ANY_SPI, Direction, Mode, Network, SecurityAssociation

_ANYWHERE: Final = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def joined(content: Content) -> list[SecurityAssociation]:
    """
    Return the SAs with all that is said of them.

    Raises:
        UsageError: two things that are said contradict each other.
    """
    found = [replace(each, sa=_ruled(each, content)) for each in content.found]
    for each in found:
        each.sa = _named(each.sa, content.listed)
    for rule in content.rules:
        _chain(rule, found, content)
    return [each.sa for each in found]


# Policies.


def _ruled(found: Found, content: Content) -> SecurityAssociation:
    """Return an SA with its direction and its selectors, as the policies for it have them."""
    sa = found.sa
    rules = [
        rule for rule in content.rules if any(_fits(each, rule, found) for each in rule.templates)
    ]
    directions = {rule.direction for rule in rules}
    if sa.direction is not None:
        rules = [rule for rule in rules if rule.direction is sa.direction]
    elif len(directions) == 1:
        sa = replace(sa, direction=directions.pop())
    elif directions:
        content.remarks["policies that fit one SA in both directions"] += 1
        return sa
    if not rules or sa.mode is Mode.TRANSPORT:
        return sa  # in transport mode the SA's own ends are its selectors
    pairs = {(rule.source, rule.destination) for rule in rules}
    ours = (rule.source for rule in rules), (rule.destination for rule in rules)
    if {*_together(*map(set, ours))} != pairs:
        raise UsageError(
            f"SA {sa.label}: its policies are for pairs of networks that are not all of one with "
            "all of the other; write them as SAs of their own, in TOML"
        )
    sources, destinations = _sides(rules)
    return replace(sa, source=sources, destination=destinations)


def _chain(rule: Rule, found: Sequence[Found], content: Content) -> None:
    """Have SAs that a policy wants one after the other name each other, in the way packets go."""
    for inner, outer in pairwise(rule.templates):
        one, other = (
            [each for each in found if _fits(template, rule, each)] for template in (inner, outer)
        )
        if rule.direction is Direction.IN:
            one, other = other, one
        if len(one) != 1 or len(other) != 1:
            content.remarks["SAs in a row that are there several times, or not at all"] += 1
        else:
            one[0].sa = replace(one[0].sa, then=other[0].sa.label)


def _fits(template: Template, rule: Rule, found: Found) -> bool:
    """Tell whether an SA is one that a template wants."""
    if found.ends is None:
        return False
    if (template.protocol, template.mode) != (found.sa.protocol, found.sa.mode):
        return False
    if template.reqid != found.reqid or template.spi not in (0, found.sa.spi):
        return False
    wanted = zip(found.ends, (template.source, template.destination), strict=True)
    if not all(wish == end or wish.is_unspecified for end, wish in wanted):
        return False
    if template.mode is Mode.TUNNEL or not template.source.is_unspecified:
        return True
    networks = zip(found.ends, (rule.source, rule.destination), strict=True)
    return all(end in network for end, network in networks)


def _sides(rules: Sequence[Rule]) -> tuple[tuple[Network, ...], tuple[Network, ...]]:
    """Return the networks that packets are from, and those that they are to; each once."""
    sources = tuple(dict.fromkeys(rule.source for rule in rules))
    destinations = tuple(dict.fromkeys(rule.destination for rule in rules))
    versions = {network.version for network in sources}
    everywhere = {_ANYWHERE[version] for version in versions}
    if set(destinations) == everywhere:
        # No networks mean all; of both sides only if the policies are for either IP version.
        all_of_both = set(sources) == everywhere and len(versions) == len(_ANYWHERE)
        return (() if all_of_both else sources), ()
    return (() if set(sources) == everywhere else sources), destinations


def _together(
    sources: Iterable[Network], destinations: Iterable[Network]
) -> Iterable[tuple[Network, Network]]:
    """Yield each source with each destination of its IP version."""
    return (pair for pair in product(sources, destinations) if pair[0].version == pair[1].version)


# Names.


def _named(sa: SecurityAssociation, listed: Sequence[Listed]) -> SecurityAssociation:
    """Return an SA with the name that IKE has for it, whose keys are then those agreed on."""
    same = [each for each in listed if each.spi == sa.spi != ANY_SPI]
    if sa.direction is not None:
        same = [each for each in same if each.direction is sa.direction]
    if not same:
        return sa
    if len(same) > 1:
        raise UsageError(
            f"SA {sa.spi:#010x} is listed {len(same)} times; say its direction, or leave one out"
        )
    (one,) = same
    return replace(sa, name=sa.name or one.name, direction=one.direction, keys=AGREED)
