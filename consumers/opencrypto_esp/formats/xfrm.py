"""
SAs and policies of the Linux kernel, as ``ip xfrm state`` and ``ip xfrm policy`` print them.

Source: ip/ipxfrm.c, xfrm_state.c and xfrm_policy.c of iproute2, and ip-xfrm(8).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, Final

from opencrypto import UsageError
from opencrypto_esp.formats import names
from opencrypto_esp.formats.content import Content, Found, Rule, Template, made
from opencrypto_esp.formats.words import Words
from opencrypto_esp.formats.xfrm_lines import POLICY, STATE, Line, lines, recognised
from opencrypto_esp.sa import (
    UDP_ENCAP,
    WRITTEN,
    Address,
    Direction,
    Mode,
    Network,
    Protocol,
)

TITLE: Final = "ip xfrm"

_PROTOCOLS: Final = {
    "esp": Protocol.ESP, "50": Protocol.ESP, "ah": Protocol.AH, "51": Protocol.AH,
}  # fmt: skip
_MODES: Final = {mode.value: mode for mode in (Mode.TRANSPORT, Mode.TUNNEL)}
_FLAGS: Final = frozenset({
    "noecn", "decap-dscp", "nopmtudisc", "wildrecv", "icmp", "af-unspec", "align4", "esn",
    "localok",
})  # fmt: skip
_HARMLESS_FLAGS: Final = frozenset({
    "wildrecv", "icmp", "af-unspec", "localok",  # whom the kernel lets use an SA
    "esn", "dont-encap-dscp",  # taken
})  # fmt: skip
_MORE_FLAGS: Final = "extra_flag"
"""What ``ip -s`` has before the flags for which there was no room; no blank may be before it."""
_EXTRA_FLAGS: Final = frozenset({"dont-encap-dscp", "oseq-may-wrap"})
_NUMBERED: Final = {
    # How many words each is followed by; none of them changes a packet.
    "seq": 1, "lastused": 2, "index": 1, "priority": 1, "ptype": 1, "share": 1, "uid": 1,
    "limit": 2, "ctx": 1, "pcpu-num": 1, "nat_keepalive_interval": 1,
}  # fmt: skip
_COUNTERS: Final = re.compile(r"lifetime$|stats:$|\d+\(bytes\),|limit:$|expire$|add$|[0-9a-f]{8}$")
"""How lines of counters, of limits and of windows begin."""
_ANYWHERE: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))

__all__ = ["TITLE", "read", "recognised"]


def read(text: str, where: str) -> Content:
    """
    Read a listing, or the commands that make one.

    Raises:
        UsageError: it does not make sense.
    """
    content = Content()
    open_: _State | _Policy | None = None
    for line in lines(text, where):
        if line.begins:
            if open_ is not None:
                open_.close()
            kind = _POLICY_OR_STATE[line.begins]
            open_ = kind(content, line.words.where)
        if open_ is None:
            raise UsageError(f"{line.words.where}: it belongs to no SA and to no policy")
        open_.take(line)
    if open_ is not None:
        open_.close()
    return content


class _Entry:
    """What states and policies have in common."""

    def __init__(self, content: Content, where: str) -> None:
        self._content = content
        self._where = where
        self._words: dict[str, Callable[[Words], None]] = {
            "mark": self._mark,
            "output-mark": self._output_mark,
            "if_id": self._interface,
            "flag": self._flag,
            "extra-flag": self._extra_flag,
            "security": Words.skip,
            "crypto": Words.skip,
            "offload": self._offload,
        }
        self._flags: set[str] = set()

    def take(self, line: Line) -> None:
        """Take what a line says."""
        words = line.words
        if not line.whole and self._counted(words):
            return
        while words:
            word = words.take()
            if word in self._words:
                self._words[word](words)
            elif word in _NUMBERED:
                for _ in range(_NUMBERED[word]):
                    if words:
                        words.take()
            elif line.whole:
                raise words.bad("is not known, or not in its place")
            else:
                self._remark("lines that are not known")
                return

    def _counted(self, words: Words) -> bool:
        """Take a line of counters, if it is one."""
        return bool(_COUNTERS.match(words.peek()))

    def _remark(self, what: str) -> None:
        self._content.remarks[what] += 1

    def _mark(self, words: Words) -> None:
        words.take()
        if words.next_is("mask"):
            words.take()
            words.take()
        self._remark("marks, by which the kernel chooses")

    def _output_mark(self, words: Words) -> None:
        words.take()
        if words.next_is("mask"):
            words.take()
            words.take()
        self._remark("output marks")

    def _interface(self, words: Words) -> None:
        if words.number():
            self._remark("interface numbers (if_id)")

    def _flag(self, words: Words) -> None:
        while words.peek().removesuffix(_MORE_FLAGS) in _FLAGS:
            word = words.take()
            self._flags.add(word.removesuffix(_MORE_FLAGS))
            if word.endswith(_MORE_FLAGS):
                self._extra_flag(words)
        if words.next_is(_MORE_FLAGS):
            words.take()
            self._extra_flag(words)
        self._unknown_flags(words)
        for flag in sorted(self._flags - _HARMLESS_FLAGS):
            self._remark(f"the flag {flag}")

    def _extra_flag(self, words: Words) -> None:
        while words.peek() in _EXTRA_FLAGS:
            flag = words.take()
            self._flags.add(flag)
        self._unknown_flags(words)

    def _unknown_flags(self, words: Words) -> None:
        """Take the number of what the tool had no names for."""
        word = words.peek()
        if word not in self._words and re.fullmatch(r"(0x)?[0-9a-f]{1,8}", word):  # "aead" is both
            if int(words.take(), 16):
                self._remark("flags that are not known")

    def _offload(self, words: Words) -> None:
        while words.next_is("crypto", "packet", "dev", "dir"):
            if words.take() in ("dev", "dir"):
                words.take()


class _State(_Entry):
    """One SA of the kernel, as its lines come."""

    def __init__(self, content: Content, where: str) -> None:
        super().__init__(content, where)
        self._ends: dict[str, Address] = {}
        self._proto = ""
        self._mode = "transport"
        self._reqid = 0
        self._values: dict[str, Any] = {"keys": WRITTEN, "replay_window": 0}
        self._selected: list[Network] = []
        self._authentic = False
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
        protocol = _PROTOCOLS.get(self._proto)
        if protocol is None:
            self._remark(f"SAs of {_shown(self._proto)}")
            return
        values = self._values
        values["protocol"] = protocol
        if "spi" not in values or not ({"encryption", "integrity"} & values.keys()):
            self._remark("SAs that have no keys yet")
            return
        mode = _MODES.get(self._mode)
        if mode is None:
            self._remark(f"SAs of mode {_shown(self._mode)}")
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
        chosen = [*self._selected] or [_ANYWHERE[0]] * 2
        if self._mode == "transport":
            for n, end in enumerate((source, destination)):
                if chosen[n] in _ANYWHERE and not end.is_unspecified:
                    chosen[n] = ip_network(end)
        for name, network in zip(("source", "destination"), chosen, strict=True):
            if network not in _ANYWHERE:
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
        if values["protocol"] is Protocol.AH:
            return
        values.setdefault("encryption", "null")
        if not self._authentic:
            values["unauthenticated"] = True
            self._remark("SAs that encrypt without integrity")

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

    def _aead(self, words: Words) -> None:
        name, key = self._name(words), words.key()
        found = names.LINUX_AEADS.get((name, words.number()))
        self._values["encryption"] = _known(found, words)
        self._values["encryption_key"] = key
        self._authentic = True

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
        self._authentic = True

    def _comp(self, words: Words) -> None:
        words.skip()

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
            self._remark("original addresses of encapsulated packets")

    def _refuse(self, what: str, words: Words) -> None:
        raise words.bad(f"is {what}, which is not supported in a file of SAs")

    def _select(self, words: Words) -> None:
        self._selected = _selector(words, self._remark)

    def _padding(self, words: Words) -> None:
        self._values["tfc_padding"] = words.number()

    def _direction(self, words: Words) -> None:
        word = words.take()
        if word not in (Direction.IN, Direction.OUT):
            raise words.bad("must be in or out")
        self._values["direction"] = Direction(word)


class _Policy(_Entry):
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
        templates = tuple(each.made() for each in self._templates if each.proto in _PROTOCOLS)
        if not templates:
            self._remark("policies without ESP or AH")
            return
        direction = Direction.OUT if self._direction == "out" else Direction.IN
        source, destination = self._selected
        self._content.rules.append(Rule(direction, source, destination, templates))

    def _select(self, words: Words) -> None:
        if self._templates:
            self._of_template("src", words)
            return
        self._selected = _selector(words, self._remark, begun=True)

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
            self._remark("policies that block")
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
            self._mode = _MODES.get(word, Mode.EITHER)
        elif name == "proto":
            self.proto = words.take()
        else:
            words.take()

    def made(self) -> Template:
        """Return it."""
        nobody = _ANYWHERE[0].network_address
        return Template(
            _PROTOCOLS[self.proto],
            self._ends.get("src", nobody),
            self._ends.get("dst", nobody),
            self._numbers["spi"],
            self._numbers["reqid"],
            self._mode,
        )


def _selector(words: Words, remark: Callable[[str], None], *, begun: bool = False) -> list[Network]:
    """Take the networks that packets are from and to; `begun` if ``src`` has been taken."""
    found: dict[str, Network] = {}
    if begun:
        found["src"] = words.network()
    while words.next_is("src", "dst", "proto", "sport", "dport", "type", "code", "key", "dev"):
        word = words.take()
        if word in ("src", "dst"):
            found[word] = words.network()
        elif words.take() != "any":
            remark("selectors by protocol, port or device")
    version = next((network.version for network in found.values()), 4)
    anywhere = _ANYWHERE[version == 6]
    return [found.get(name, anywhere) for name in ("src", "dst")]


def _known(found: str | None, words: Words) -> str:
    if found is None:
        raise words.bad("names an algorithm, or an ICV, that ESP is not known with")
    return found


def _shown(word: str) -> str:
    """Show a word of which nothing is known, if it cannot be a key."""
    return word if re.fullmatch(r"[a-z_]{1,10}|\d{1,3}", word) else "another kind"


_POLICY_OR_STATE: Final[dict[str, type[_State] | type[_Policy]]] = {
    STATE: _State, POLICY: _Policy,
}  # fmt: skip
