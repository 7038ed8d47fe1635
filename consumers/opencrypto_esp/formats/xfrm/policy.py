"""
One policy of the kernel, as its lines come.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from opencrypto import UsageError
from opencrypto_esp.formats.content import Content, Rule, Template
from opencrypto_esp.formats.words import Words
from opencrypto_esp.formats.xfrm.entry import ANYWHERE, MODES, PROTOCOLS, Entry, selector
from opencrypto_esp.sa import Address, Direction, Mode, Network


class Policy(Entry):
    """One policy of the kernel, as its lines come."""

    def __init__(self, content: Content, where: str) -> None:
        super().__init__(content, where)
        self._selected: list[Network] = []
        self._direction = ""
        self._templates: list[_Template] = []
        self._ignored = False
        self._words |= {
            "src": self._select,
            "dir": self._set_direction,
            "socket": self._socket,
            "action": self._action,
            "tmpl": self._template,
            "proto": lambda words: self._of_template("proto", words),
            "spi": lambda words: self._of_template("spi", words),
            "reqid": lambda words: self._of_template("reqid", words),
            "mode": lambda words: self._of_template("mode", words),
            "dst": lambda words: self._of_template("dst", words),
            "level": lambda words: self._of_template("level", words),
            "enc-mask": Words.skip,
        }

    def close(self) -> None:
        """Add the policy."""
        if self._ignored:
            return
        if not self._direction:
            raise UsageError(f"{self._where}: the policy has no direction")
        templates = _within(each.made() for each in self._templates if each.proto in PROTOCOLS)
        if not templates:
            self.remark("policies that ask for nothing that is known")
            return
        direction = Direction.OUT if self._direction == "out" else Direction.IN
        source, destination = self._selected
        self._content.rules.append(Rule(direction, source, destination, templates))

    def _select(self, words: Words) -> None:
        if self._templates:
            self._of_template("src", words)
            return
        self._selected = selector(words, self.remark, begun=True)

    def _set_direction(self, words: Words) -> None:
        self._direction = words.take()
        if self._direction not in ("in", "out", "fwd"):
            raise words.bad("must be in, out or fwd")

    def _socket(self, words: Words) -> None:
        """Leave it: it lets one program's own packets, those of IKE, past all policies."""
        words.skip()
        self._ignored = True

    def _action(self, words: Words) -> None:
        if words.take() == "block":
            self.remark("policies that block")
            self._ignored = True

    def _template(self, words: Words) -> None:
        self._templates.append(_Template())

    def _of_template(self, name: str, words: Words) -> None:
        if not self._templates:
            raise words.bad("is not known, or not in its place")
        self._templates[-1].take(name, words)


class _Template:
    """One template of a policy, as its words come."""

    def __init__(self) -> None:
        self._ends: dict[str, Address] = {}
        self._numbers = {"spi": 0, "reqid": 0}
        self._mode = Mode.TRANSPORT
        self.proto = ""

    def take(self, name: str, words: Words) -> None:
        """Take what a word says."""
        if name in ("src", "dst"):
            self._ends[name] = words.address()
        elif name in self._numbers:
            self._numbers[name] = words.number()
        elif name == "mode":
            word = words.take()
            self._mode = MODES.get(word, Mode.EITHER)
        elif name == "proto":
            self.proto = words.take()
        else:
            words.take()

    def made(self) -> Template:
        """Return it."""
        nobody = ANYWHERE[0].network_address
        return Template(
            PROTOCOLS[self.proto],
            self._ends.get("src", nobody),
            self._ends.get("dst", nobody),
            self._numbers["spi"],
            self._numbers["reqid"],
            self._mode,
        )


def _within(templates: Iterable[Template]) -> tuple[Template, ...]:
    """Return templates, each with the ends of the tunnel before it if it names none itself."""
    found: list[Template] = []
    for template in templates:
        if found and template.source.is_unspecified and template.destination.is_unspecified:
            before = found[-1]
            template = replace(template, source=before.source, destination=before.destination)
        found.append(template)
    return tuple(found)
