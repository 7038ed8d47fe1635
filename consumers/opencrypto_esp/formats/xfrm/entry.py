"""
What SAs and policies of the kernel have in common: the words that stand in both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Final

from opencrypto_esp.formats.content import Content
from opencrypto_esp.formats.words import Words
from opencrypto_esp.formats.xfrm.lines import Line
from opencrypto_esp.sa import Mode, Network, Protocol

PROTOCOLS: Final = {
    "esp": Protocol.ESP, "50": Protocol.ESP, "ah": Protocol.AH, "51": Protocol.AH,
    "comp": Protocol.IPCOMP, "108": Protocol.IPCOMP,
}  # fmt: skip
MODES: Final = {mode.value: mode for mode in (Mode.TRANSPORT, Mode.TUNNEL)}
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
ANYWHERE: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class Entry:
    """What states and policies have in common."""

    def __init__(self, content: Content, where: str) -> None:
        self._content = content
        self._where = where
        self._words: dict[str, Callable[[Words], None]] = {
            "mark": lambda words: self._mark("marks, by which the kernel chooses", words),
            "output-mark": lambda words: self._mark("output marks", words),
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
                self.remark("lines that are not known")
                return

    def _counted(self, words: Words) -> bool:
        """Take a line of counters, if it is one."""
        return bool(_COUNTERS.match(words.peek()))

    def remark(self, what: str) -> None:
        """Have it said that something is left out."""
        self._content.remarks[what] += 1

    def _mark(self, what: str, words: Words) -> None:
        words.take()
        if words.next_is("mask"):
            words.take()
            words.take()
        self.remark(what)

    def _interface(self, words: Words) -> None:
        if words.number():
            self.remark("interface numbers (if_id)")

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
            self.remark(f"the flag {flag}")

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
                self.remark("flags that are not known")

    def _offload(self, words: Words) -> None:
        while words.next_is("crypto", "packet", "dev", "dir"):
            if words.take() in ("dev", "dir"):
                words.take()


def selector(words: Words, remark: Callable[[str], None], *, begun: bool = False) -> list[Network]:
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
    anywhere = ANYWHERE[version == 6]
    return [found.get(name, anywhere) for name in ("src", "dst")]
