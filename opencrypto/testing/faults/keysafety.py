"""
Key operations that give their keys away: K1 and K3. See `opencrypto.testing.faults`.
"""

from __future__ import annotations

import errno

from opencrypto import Cryptkop
from opencrypto.constants import Kop
from opencrypto.testing.faults.fault import Fault

__all__ = ["FlipsABitOfOneHalf", "OneNonceForAll", "ServesWhatIsNoKey", "TrustsAnyPublicKey"]


class FlipsABitOfOneHalf(Fault):
    """Gets one bit of one half of RSA's private operation wrong: a gcd then gives a prime."""

    clause = "K1"

    def kfinish(self, krp: Cryptkop) -> None:
        """Release it unverified."""
        if krp.op == Kop.MOD_EXP_CRT and not krp.status:
            p, q, *_, pinv = (each.to_int() for each in krp.inputs)
            output = krp.outputs[0]
            right = output.to_int()
            for bit in range(64):
                half = right % q ^ 1 << bit
                wrong = half + q * ((right - half) * pinv % p)
                if wrong.bit_length() <= output.nbits:
                    output.store(wrong)
                    break
        super().kfinish(krp)


class ServesWhatIsNoKey(Fault):
    """Computes RSA's private operation with whatever it is given, where a modulus allows it."""

    clause = "K3"

    def kfinish(self, krp: Cryptkop) -> None:
        """Look at nothing but the moduli."""
        if krp.op == Kop.MOD_EXP_CRT and krp.status == errno.EINVAL:
            p, q, i, dp, dq, pinv = (each.to_int() for each in krp.inputs)
            if p and q:
                one, two = pow(i, dp, p), pow(i, dq, q)
                result = two + (one - two) * pinv % p * q
                krp.fail(0)
                krp.outputs[0].store(result & (1 << krp.outputs[0].nbits) - 1)
        super().kfinish(krp)


class OneNonceForAll(Fault):
    """Signs with a nonce that it has found once, as a game console did."""

    clause = "K1"
    nonce = 4

    def kfinish(self, krp: Cryptkop) -> None:
        """Make a signature that verifies, and that two of give the key away."""
        if krp.op == Kop.DSA_SIGN and not krp.status:
            digest = krp.inputs[0].to_bytes()
            p, q, g, x = (each.to_int() for each in krp.inputs[1:])
            z = int.from_bytes(digest) >> max(0, len(digest) * 8 - q.bit_length())
            r = pow(g, self.nonce, p) % q
            krp.outputs[0].store(r)
            krp.outputs[1].store(pow(self.nonce, -1, q) * (z + x * r) % q)
        super().kfinish(krp)


class TrustsAnyPublicKey(Fault):
    """Judges signatures by a public key that is none, of which anybody makes some."""

    clause = "K3"

    def kfinish(self, krp: Cryptkop) -> None:
        """Give a verdict."""
        if krp.op == Kop.DSA_VERIFY and krp.status == errno.EINVAL:
            _, p, *_ = (each.to_int() for each in krp.inputs)
            if krp.inputs[4].to_int() == p - 1:
                krp.fail(0)
                krp.verdict = False
        super().kfinish(krp)
