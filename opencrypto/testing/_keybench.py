"""
Key requests on the bench: dispatched, waited for, and judged.
"""

from __future__ import annotations

import threading

from opencrypto._request.key import Cryptkop
from opencrypto.constants import CRYPTO_F_CBIMM, Kop
from opencrypto.testing._keysamples import KeyCase, is_signature
from opencrypto.testing._rig import Rig, error_name
from opencrypto.testing.clauses import ContractBroken, require


class KeyTicket:
    """A key request on its way: `krp`, and how often it was called back."""

    def __init__(self, krp: Cryptkop, flags: int = CRYPTO_F_CBIMM) -> None:
        self.krp = krp
        self.calls = 0
        self.answered = threading.Event()
        krp.callback = self
        krp.flags = flags

    def __call__(self, krp: Cryptkop) -> None:
        self.calls += 1
        self.answered.set()


def dispatch(rig: Rig, *tickets: KeyTicket) -> None:
    """Dispatch key requests to the driver on the bench, and return when the calls have."""

    def work() -> None:
        for ticket in tickets:
            rig.framework.kdispatch(ticket.krp, driver=rig.hid)

    if not rig.call(work, rig.patience * (1 + len(tickets) / 50)):
        raise ContractBroken("K5", f"kprocess did not return within {rig.patience} s")


def wait(rig: Rig, ticket: KeyTicket) -> Cryptkop:
    """Wait until a key request is called back."""
    answered = ticket.answered.wait(rig.patience)
    rig.check_bugs()
    require(answered, "K5", f"a key request was not answered within {rig.patience} s")
    return ticket.krp


def run(rig: Rig, krp: Cryptkop, flags: int = CRYPTO_F_CBIMM) -> Cryptkop:
    """Dispatch a key request and wait for its answer, whatever that is."""
    ticket = KeyTicket(krp, flags)
    dispatch(rig, ticket)
    return wait(rig, ticket)


def describe(krp: Cryptkop) -> str:
    """Say how a key request ended."""
    return f"{error_name(krp.status)} {krp.error}".rstrip()


def judge(krp: Cryptkop, case: KeyCase, ident: str, what: str = "") -> None:
    """Require that a request that has an answer has the right one."""
    where = f"{case.id} {what}".rstrip()
    require(not krp.status, ident, f"{where}: {describe(krp)}")
    results = tuple(output.to_int() for output in krp.outputs)
    if case.op == Kop.DSA_SIGN:
        require(is_signature(*results), ident, f"{where}: that is no signature")
    elif case.op == Kop.DSA_VERIFY:
        require(krp.verdict is case.verdict, ident, f"{where}: verdict {krp.verdict}")
    elif case.op != Kop.RANDOM:
        require(results == case.outputs, ident, f"{where}: a wrong result")
