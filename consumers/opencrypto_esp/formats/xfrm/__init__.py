"""
SAs and policies of the Linux kernel, as ``ip xfrm state`` and ``ip xfrm policy`` print them.

The rooms, in the order of their imports: `lines` takes a text apart, `entry` has the words that
stand in SAs and in policies, then come `state` and `policy`; `batch` writes. Sources: ip/ipxfrm.c,
xfrm_state.c and xfrm_policy.c of iproute2, and ip-xfrm(8).
"""

from __future__ import annotations

from typing import Final

from opencrypto import UsageError
from opencrypto_esp.formats.content import Content
from opencrypto_esp.formats.xfrm.lines import POLICY, STATE, lines, recognised
from opencrypto_esp.formats.xfrm.policy import Policy
from opencrypto_esp.formats.xfrm.state import State

TITLE: Final = "ip xfrm"

_KINDS: Final[dict[str, type[State] | type[Policy]]] = {STATE: State, POLICY: Policy}

__all__ = ["TITLE", "read", "recognised"]


def read(text: str, where: str) -> Content:
    """
    Read a listing, or the commands that make one.

    Raises:
        UsageError: it does not make sense.
    """
    content = Content()
    open_: State | Policy | None = None
    for line in lines(text, where):
        if line.begins:
            if open_ is not None:
                open_.close()
            open_ = _KINDS[line.begins](content, line.words.where)
        if open_ is None:
            raise UsageError(f"{line.words.where}: it belongs to no SA and to no policy")
        open_.take(line)
    if open_ is not None:
        open_.close()
    return content
