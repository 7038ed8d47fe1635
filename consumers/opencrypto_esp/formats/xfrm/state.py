"""
One SA of the kernel, as its lines come.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any, Final

from opencrypto import UsageError
from opencrypto_esp.formats import names
from opencrypto_esp.formats.content import Content, Found, made
from opencrypto_esp.formats.words import Words
from opencrypto_esp.formats.xfrm.entry import ANYWHERE, MODES, PROTOCOLS, Entry, selector
from opencrypto_esp.sa import UDP_ENCAP, WRITTEN, Address, Direction, Mode, Network, Protocol

_BESIDE_IPCOMP: Final = ("4", "41", "ipip", "ipv6")
"""What the kernel makes beside an SA of IPComp, for packets that were too short to compress."""


class State(Entry):
    """One SA of the kernel, as its lines come."""

    def __init__(self, content: Content, where: str) -> None:
        super().__init__(content, where)
        self._ends: dict[str, Address] = {}
        self._proto = ""
        self._mode = "transport"
        self._reqid = 0
        self._values: dict[str, Any] = {"keys": WRITTEN, "replay_window": 0}
        self._selected: list[Network] = []
        self._suited = self._authentic = False
        self._numbers = dict.fromkeys(("seq", "seq-hi", "oseq", "oseq-hi"), 0)
        self._words |= {
            "src": lambda words: self._end("src", words),
            "dst": lambda words: self._end("dst", words),
            "proto": self._protocol,
            "spi": self._spi,
            "reqid": self._request,
            "mode": self._set_mode,
            "replay-window": self._window,
            "replay_window": self._long_window,
            "replay-seq": lambda words: self._number("seq", words),
            "replay-seq-hi": lambda words: self._number("seq-hi", words),
            "replay-oseq": lambda words: self._number("oseq", words),
            "replay-oseq-hi": lambda words: self._number("oseq-hi", words),
            "anti-replay": self._context,
            "auth": self._auth,
            "auth-trunc": self._auth_trunc,
            "enc": self._enc,
            "aead": self._aead,
            "comp": self._comp,
            "encap": self._encap,
            "coa": lambda words: self._refuse("a care-of address", words),
            "sel": self._select,
            "tfcpad": self._padding,
            "dir": self._direction,
        }

    def close(self) -> None:
        """Add the SA."""
        if not self._ends or not self._proto:
            raise UsageError(f"{self._where}: the SA has no addresses, or no protocol")
        if self._proto in _BESIDE_IPCOMP:
            return
        protocol = PROTOCOLS.get(self._proto)
        if protocol is None:
            self.remark(f"SAs of {_shown(self._proto)}")
            return
        values = self._values
        values["protocol"] = protocol
        if "spi" not in values or not self._suited:
            self.remark("SAs that have no keys yet")
            return
        mode = MODES.get(self._mode)
        if mode is None:
            self.remark(f"SAs of mode {_shown(self._mode)}")
            return
        source, destination = self._ends.get("src"), self._ends.get("dst")
        if source is None or destination is None:
            raise UsageError(f"{self._where}: the SA lacks an address")
        values["mode"] = mode
        if mode is Mode.TUNNEL:
            # An unspecified address is that of no end yet.
            for name, end in (("tunnel_source", source), ("tunnel_destination", destination)):
                values[name] = None if end.is_unspecified else end
        self._set_selectors(source, destination)
        self._set_numbers()
        if "dont-encap-dscp" in self._flags:
            values["dscp"] = 0
        self._set_suite()
        sa = made(self._where, values)
        self._content.found.append(Found(sa, self._reqid, (source, destination)))

    def _set_selectors(self, source: Address, destination: Address) -> None:
        """Say which packets it is for: in transport mode those between its ends."""
        chosen = [*self._selected] or [ANYWHERE[0]] * 2
        if self._mode == "transport":
            for n, end in enumerate((source, destination)):
                if chosen[n] in ANYWHERE and not end.is_unspecified:
                    chosen[n] = ip_network(end)
        for name, network in zip(("source", "destination"), chosen, strict=True):
            if network not in ANYWHERE:
                self._values[name] = (network,)

    def _set_numbers(self) -> None:
        values, numbers = self._values, self._numbers
        values["esn"] = esn = "esn" in self._flags
        values["sequence"] = (numbers["oseq-hi"] << 32 if esn else 0) | numbers["oseq"]
        if esn:
            values["replay_window"] = values["replay_window"] or 64  # none, of one to send by
            if numbers["seq-hi"]:
                values["replay_seq_hi"] = numbers["seq-hi"]

    def _set_suite(self) -> None:
        values = self._values
        if values["protocol"] is not Protocol.ESP:
            return
        values.setdefault("encryption", "null")
        if not self._authentic:
            values["unauthenticated"] = True

    def _counted(self, words: Words) -> bool:
        if words.next_is("seq-hi", "oseq-hi"):
            self._pairs(words)
        return super()._counted(words)

    # The words of a state.

    def _end(self, name: str, words: Words) -> None:
        self._ends[name] = words.address()

    def _protocol(self, words: Words) -> None:
        self._proto = words.take()

    def _spi(self, words: Words) -> None:
        spi = words.number()
        if spi:
            self._values["spi"] = spi

    def _request(self, words: Words) -> None:
        self._reqid = words.number()

    def _set_mode(self, words: Words) -> None:
        self._mode = words.take()

    def _window(self, words: Words) -> None:
        size = words.number()
        if words.next_is("replay"):
            words.skip()  # counters, which begin with the same word
        elif size:
            self._values["replay_window"] = size

    def _long_window(self, words: Words) -> None:
        self._values["replay_window"] = words.number()
        words.skip()

    def _number(self, name: str, words: Words) -> None:
        self._numbers[name] = words.number()

    def _context(self, words: Words) -> None:
        while words and not words.take().endswith("context:"):
            pass
        self._pairs(words)

    def _pairs(self, words: Words) -> None:
        """Take names with their numbers, commas behind."""
        while words:
            name = words.take()
            if name in self._numbers:
                self._numbers[name] = words.number()
            elif words:
                words.take()

    def _name(self, words: Words) -> str:
        name = words.take()
        return names.LINUX_ALIASES.get(name, name)

    def _key(self, words: Words) -> bytes:
        return words.key() if words and not words.next_is("auth", "enc") else b""

    def _enc(self, words: Words) -> None:
        name = self._name(words)
        self._values["encryption"] = _known(names.LINUX_ENCRYPTIONS.get(name), words)
        self._values["encryption_key"] = self._key(words)
        self._suited = True

    def _aead(self, words: Words) -> None:
        name, key = self._name(words), words.key()
        found = names.LINUX_AEADS.get((name, words.number()))
        self._values["encryption"] = _known(found, words)
        self._values["encryption_key"] = key
        self._authentic = self._suited = True

    def _auth(self, words: Words) -> None:
        name = self._name(words)
        self._authenticated(name, self._key(words), names.LINUX_ICVS.get(name, 96), words)

    def _auth_trunc(self, words: Words) -> None:
        name, key = self._name(words), words.key()
        self._authenticated(name, key, words.number(), words)

    def _authenticated(self, name: str, key: bytes, bits: int, words: Words) -> None:
        if name == "digest_null":
            return
        found = names.LINUX_INTEGRITIES.get((name, bits))
        self._values["integrity"] = _known(found, words)
        self._values["integrity_key"] = key
        self._authentic = self._suited = True

    def _comp(self, words: Words) -> None:
        if words.take() != "deflate":
            raise words.bad("names a compression that IPComp is not known with")
        words.skip()
        self._suited = True

    def _encap(self, words: Words) -> None:
        if words.next_is("type"):
            words.take()
        if words.take() != "espinudp":
            self._refuse("another encapsulation than espinudp", words)
        self._values["encap"] = UDP_ENCAP
        for name, word in (("source", "sport"), ("destination", "dport")):
            if words.next_is(word):
                words.take()
            self._values[f"encap_{name}_port"] = words.number(0xFFFF)
        if words.next_is("addr"):
            words.take()
        if not words.address().is_unspecified:
            self.remark("original addresses of encapsulated packets")

    def _refuse(self, what: str, words: Words) -> None:
        raise words.bad(f"is {what}, which is not supported in a file of SAs")

    def _select(self, words: Words) -> None:
        self._selected = selector(words, self.remark)

    def _padding(self, words: Words) -> None:
        self._values["tfc_padding"] = words.number()

    def _direction(self, words: Words) -> None:
        word = words.take()
        if word not in (Direction.IN, Direction.OUT):
            raise words.bad("must be in or out")
        self._values["direction"] = Direction(word)


def _known(found: str | None, words: Words) -> str:
    if found is None:
        raise words.bad("names an algorithm, or an ICV, that ESP is not known with")
    return found


def _shown(word: str) -> str:
    """Show a word of which nothing is known, if it cannot be a key."""
    return word if re.fullmatch(r"[a-z_]{1,10}|\d{1,3}", word) else "another kind"
