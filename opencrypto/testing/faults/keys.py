"""
Key operations: K1 to K6. See `opencrypto.testing.faults`.
"""

from __future__ import annotations

import errno
import logging
from contextlib import suppress

from opencrypto import Cryptkop
from opencrypto.constants import Kop
from opencrypto.exceptions import CryptoError
from opencrypto.testing.faults.fault import Fault

__all__ = [
    "AnswersTheImpossible",
    "BadSignatureIsAnError",
    "ForgetsKdone",
    "KdoneTwice",
    "KeepsKeyRequests",
    "LeavesTheRest",
    "LogsExponents",
    "NoVerdict",
    "QuotesParameters",
    "RaisesAtOnce",
    "RefusesZero",
    "SubtractsBackwards",
    "WipesInputs",
    "WritesBeforeItLooks",
]


class SubtractsBackwards(Fault):
    """Takes the parameters of a subtraction in another order."""

    clause = "K1"

    def kfinish(self, krp: Cryptkop) -> None:
        """Give b - a."""
        if krp.op == Kop.MOD_SUB and not krp.status:
            a, b, m = (each.to_int() for each in krp.inputs)
            result = (b - a) % m
            krp.outputs[0].store(result & (1 << krp.outputs[0].nbits) - 1)
        super().kfinish(krp)


class LeavesTheRest(Fault):
    """Writes as many bytes as the result has, whatever the output held before."""

    clause = "K2"

    def kfinish(self, krp: Cryptkop) -> None:
        """Restore what was beyond the result."""
        for output in krp.outputs if not krp.status else ():
            size = -(-output.to_int().bit_length() // 8)
            rest = memoryview(output.p)[size : output.nbits // 8]
            if len(rest) >= 4:
                rest[:] = b"\xff" * len(rest)
        super().kfinish(krp)


class WritesBeforeItLooks(Fault):
    """Has written part of the result when it finds that there is no room for it."""

    clause = "K2"

    def kfinish(self, krp: Cryptkop) -> None:
        """Leave something behind."""
        if krp.status == errno.ERANGE:
            memoryview(krp.outputs[0].p)[:1] = b"\0"
        super().kfinish(krp)


class RefusesZero(Fault):
    """Believes that a sum of nothing is a mistake."""

    clause = "K3"

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        """Refuse it."""
        if krp.op == Kop.MOD_ADD and not krp.inputs[0].to_int():
            krp.fail(errno.EINVAL, "nothing to add")
            self.kdone(krp)
            return 0
        return super().kprocess(krp, hint)


class AnswersTheImpossible(Fault):
    """Gives 0 for what has no inverse."""

    clause = "K3"

    def kfinish(self, krp: Cryptkop) -> None:
        """Give something."""
        if krp.op == Kop.MOD_MULTINV and krp.status == errno.EINVAL:
            krp.fail(0)
            krp.outputs[0].store(0)
        super().kfinish(krp)


class BadSignatureIsAnError(Fault):
    """Reports a bad signature as an errno."""

    clause = "K4"

    def kfinish(self, krp: Cryptkop) -> None:
        """Use the errno of a MAC that does not verify."""
        if krp.verdict is False:
            krp.verdict = None
            krp.fail(errno.EBADMSG, "bad signature")
        super().kfinish(krp)


class NoVerdict(Fault):
    """Takes success for a verdict."""

    clause = "K4"

    def kfinish(self, krp: Cryptkop) -> None:
        """Leave it out."""
        krp.verdict = None
        super().kfinish(krp)


class KdoneTwice(Fault):
    """Completes each key request twice."""

    clause = "K5"

    def kfinish(self, krp: Cryptkop) -> None:
        """Once more, to be sure."""
        super().kfinish(krp)
        with suppress(CryptoError):
            super().kfinish(krp)


class ForgetsKdone(Fault):
    """Does not complete a key request that fails."""

    clause = "K5"

    def kfinish(self, krp: Cryptkop) -> None:
        """Return early on the error path."""
        if krp.status != errno.EINVAL:
            super().kfinish(krp)


class RaisesAtOnce(Fault):
    """Raises for a modulus of 0."""

    clause = "K5"

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        """Divide before looking."""
        if krp.op == Kop.MOD:
            divmod(1, krp.inputs[1].to_int())
        return super().kprocess(krp, hint)


class WipesInputs(Fault):
    """Wipes the inputs, which are not its own, when it has done with them."""

    clause = "K6"

    def kfinish(self, krp: Cryptkop) -> None:
        """Be thorough."""
        for parameter in krp.inputs:
            if isinstance(parameter.p, bytearray):
                parameter.p[:] = bytes(len(parameter.p))
        super().kfinish(krp)


class KeepsKeyRequests(Fault):
    """Remembers the last key request."""

    clause = "K6"

    def kfinish(self, krp: Cryptkop) -> None:
        """Remember it."""
        self.last_key_request = krp
        super().kfinish(krp)


class LogsExponents(Fault):
    """Logs what it is asked, for debugging."""

    clause = "K6"

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        """Log it."""
        values = [hex(parameter.to_int()) for parameter in krp.inputs]
        logging.getLogger("opencrypto.faulty").debug("key operation %d of %s", krp.op, values)
        return super().kprocess(krp, hint)


class QuotesParameters(Fault):
    """Says in a refusal what was wrong, digit by digit."""

    clause = "K6"

    def kfinish(self, krp: Cryptkop) -> None:
        """Be helpful."""
        if krp.status == errno.EINVAL:
            krp.fail(errno.EINVAL, f"cannot work with {[each.to_int() for each in krp.inputs]}")
        super().kfinish(krp)
