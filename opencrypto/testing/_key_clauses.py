"""K1 to K6: key operations. They have no sessions; all that they are given is parameters."""

from __future__ import annotations

import errno
import unittest
from collections.abc import Callable, Iterable, Iterator

from opencrypto import Crparam, Cryptkop
from opencrypto.constants import CRYPTO_F_CBIFSYNC, CRYPTO_F_CBIMM, Kop
from opencrypto.testing import _key_samples as samples
from opencrypto.testing._base import ContractBase
from opencrypto.testing._exchange import Made, TrackedBytes, TrackedKeyRequest, describe
from opencrypto.testing._key_samples import KeyCase, is_signature
from opencrypto.testing._rig import Rig
from opencrypto.testing._secrets import everything_logged, reprs, shows
from opencrypto.testing.clauses import Trial, Unclaimed, clause, require

FLOOD = 150
"""Requests at once, more than a driver is likely to take."""

DEPTH = 6
"""How often a callback dispatches the next request."""

SPARE = 5
"""Bytes that a parameter's memory has beyond its bits."""

BEYOND = 40
"""Bits that an output has beyond its result."""

TOO_LONG = 16 * 1024 + 1
"""In bits, what a driver may refuse with EFBIG."""

REFUSALS = (errno.EINVAL, errno.EDOM, errno.ERANGE, errno.EFBIG, errno.E2BIG)
"""How a driver may say that there is no answer."""


def each_of(give: Callable[[], Iterable[KeyCase]]) -> Callable[[ContractBase], Iterator[Trial]]:
    """Return what gives those cases whose operation the driver claims; one out of bounds so."""

    def each(contract: ContractBase) -> Iterator[Trial]:
        claimed = contract.keyops()
        for case in give():
            if case.op in claimed:
                refusal = claimed[case.op].refusal(case.request())
                yield Unclaimed(case.id, f"the driver {refusal}") if refusal else case

    return each


def each_result(contract: ContractBase) -> Iterator[Trial]:
    """Give the operations whose one result follows from the inputs."""
    yield from (case for case in each_known(contract) if getattr(case, "outputs", True))


each_known = each_of(samples.known)


class KeyOperations(ContractBase):
    """Arity, lengths, edges, verdicts, completion, discretion."""

    # K1: the right answer, from parameters in their order.

    @clause("K1", each_known)
    def test_K1_known_answers(self, case: KeyCase) -> None:
        """Parameters mean what NetBSD's order says; a result is little-endian."""
        with self.rig() as rig:
            for flags in (CRYPTO_F_CBIMM, CRYPTO_F_CBIFSYNC, 0):
                judge(rig.keys.run(case.request(flags)), case, "K1")

    @clause("K1", each_of(lambda: (c for c in samples.known() if c.op == Kop.RANDOM)))
    def test_K1_random_bits(self, case: KeyCase) -> None:
        """As many as asked for, never the same, and none beyond the last."""
        with self.rig() as rig:
            drawn = [rig.keys.run(case.request()).outputs[0].to_int() for _ in range(4)]
            require(len(set(drawn)) == len(drawn), "K1", "the same random bits twice")
            require(all(each.bit_count() > 300 for each in drawn), "K1", "hardly any bits are set")
            three = [
                rig.keys.run(KeyCase(case.op, "3", (), bits=(3,)).request()) for _ in range(40)
            ]
            bytes_of = {krp.outputs[0].to_bytes()[0] for krp in three}
            require(max(bytes_of) < 8, "K1", "bits beyond the three asked for were set")
            require(len(bytes_of) > 1, "K1", "three random bits are always the same")

    @clause("K1", each_of(lambda: (c for c in samples.known() if c.op == Kop.DSA_SIGN)))
    def test_K1_no_nonce_serves_two_digests(self, case: KeyCase) -> None:
        """The same r for two digests gives the private key away."""
        digests = [bytes([n]) * 32 for n in range(4)]
        with self.rig() as rig:
            _sane(rig, case.op)
            signed = [
                rig.keys.run(samples.sign("", {"digest": each}).request()) for each in digests
            ]
            of_nonces = {krp.outputs[0].to_int() for krp in signed}
            require(len(of_nonces) == len(digests), "K1", "one nonce has signed two digests")

    # K2: lengths are in bits.

    @clause("K2", each_result)
    def test_K2_what_is_beyond_the_bits_is_not_read(self, case: KeyCase) -> None:
        """An input's memory may be longer than its bits, and its bits more than its value's."""
        with self.rig() as rig:
            judge(rig.keys.run(case.request()), case, "K1")
            krp = case.request()
            for parameter in krp.inputs:
                _fill_beyond(parameter)
            judge(rig.keys.run(krp), case, "K2", "with ones beyond the bits")
            krp = case.request()
            for parameter in krp.inputs:
                parameter.p, parameter.nbits = bytes(parameter.p) + bytes(9), parameter.nbits + 67
            judge(rig.keys.run(krp), case, "K2", "with leading zeros")

    @clause("K2", each_result)
    def test_K2_all_of_an_output_is_written_and_nothing_else(self, case: KeyCase) -> None:
        """A result shorter than its output is filled up with zeros; memory beyond stays."""
        with self.rig() as rig:
            judge(rig.keys.run(case.request()), case, "K1")
            krp = case.request()
            output = krp.outputs[0]
            output.nbits += BEYOND
            size = -(-output.nbits // 8)
            output.p = bytearray(b"\xff" * (size + SPARE))
            judge(rig.keys.run(krp), case, "K2", "with a longer output")
            kept = bytes(output.p[size:]) == b"\xff" * SPARE
            require(kept, "K2", f"{case.id}: memory beyond an output's bits was written")

    @clause("K2", each_result)
    def test_K2_a_result_too_long_is_erange(self, case: KeyCase) -> None:
        """One bit less than the result has: ERANGE, and nothing is written."""
        with self.rig() as rig:
            judge(rig.keys.run(case.request()), case, "K1")
            krp = case.request()
            krp.outputs[0].nbits -= 1
            before = bytes(krp.outputs[0].p)
            rig.keys.run(krp)
            refused = krp.status == errno.ERANGE
            require(refused, "K2", f"{case.id}, a bit too little room: {describe(krp)}")
            untouched = bytes(krp.outputs[0].p) == before
            require(untouched, "K2", f"{case.id}: ERANGE, but the output was written")

    @clause("K2", each_of(lambda: (c for c in samples.known() if c.op == Kop.MOD)))
    def test_K2_long_parameters(self, case: KeyCase) -> None:
        """Parameters of very many bits are served, or refused with EFBIG."""
        long = samples.answered(case.op, "long", samples.number(TOO_LONG, "long"), 65537)
        with self.rig() as rig:
            krp = rig.keys.run(long.request())
            if krp.status != errno.EFBIG:
                judge(krp, long, "K2")

    # K3: edges.

    @clause("K3", each_of(samples.edges))
    def test_K3_edges_have_answers(self, case: KeyCase) -> None:
        """0, 1, m - 1, more than m, an even m."""
        with self.rig() as rig:
            _sane(rig, case.op)
            judge(rig.keys.run(case.request()), case, "K3")

    @clause("K3", each_of(samples.impossible))
    def test_K3_what_has_no_answer_is_refused(self, case: KeyCase) -> None:
        """A modulus of 0, no inverse, a domain that is none: an errno, no result, no verdict."""
        with self.rig() as rig:
            krp = case.request()
            before = [bytes(output.p) for output in krp.outputs]
            rig.keys.run(krp)
            require(krp.status in REFUSALS, "K3", f"{case.id}: {describe(krp)}")
            kept = [bytes(output.p) for output in krp.outputs] == before
            require(kept, "K3", f"{case.id}: refused, but an output was written")

    # K4: verdicts.

    @clause("K4", each_of(samples.verdicts))
    def test_K4_a_bad_signature_is_a_verdict(self, case: KeyCase) -> None:
        """Good is True, bad is False; neither is an error."""
        with self.rig() as rig:
            judge(rig.keys.run(case.request()), case, "K4")

    @clause("K4", each_result)
    def test_K4_others_have_no_verdict(self, case: KeyCase) -> None:
        """Only a verification has one."""
        with self.rig() as rig:
            krp = rig.keys.run(case.request())
            require(krp.verdict is None, "K4", f"{case.id} has verdict {krp.verdict}")

    # K5: each request is answered, once.

    @clause("K5", each_of(lambda: (*samples.known(), *samples.impossible())))
    def test_K5_kdone_exactly_once(self, case: KeyCase) -> None:
        """Each request is called back once, good or bad; kprocess raises nothing."""
        with self.rig() as rig:
            rig.keys.once(case.request(flags) for flags in (CRYPTO_F_CBIMM, 0))

    @clause("K5", each_known)
    def test_K5_kdone_may_lead_back_into_the_driver(self, case: KeyCase) -> None:
        """A callback dispatches the next request, within kdone."""
        with self.rig() as rig:
            _sane(rig, case.op)
            rig.keys.chained([case.request() for _ in range(DEPTH)])

    @clause("K5", each_known)
    def test_K5_a_flood_is_served(self, case: KeyCase) -> None:
        """Many at once: each is answered, though some had to wait."""
        slow = case.op in (Kop.MOD_EXP_CRT, Kop.DSA_SIGN, Kop.DSA_VERIFY)
        with self.rig() as rig:
            _sane(rig, case.op)
            count = FLOOD // 5 if slow else FLOOD
            for krp in rig.keys.flood(case.request() for _ in range(count)):
                judge(krp, case, "K5", "in a flood")

    @clause("K5", each_known)
    def test_K5_it_leaves_with_requests_in_flight(self, case: KeyCase) -> None:
        """Each ends, with its answer or with the driver's absence, and no thread is left."""
        with self.rig() as rig:
            rig.keys.in_flight(case.request() for _ in range(20))

    # K6: discretion.

    @clause("K6", each_known)
    def test_K6_inputs_stay_as_they_are(self, case: KeyCase) -> None:
        """They are the consumer's; outputs change, and nothing else."""
        with self.rig() as rig:
            krp = case.request()
            before = [(bytes(each.p), each.nbits) for each in krp.inputs]
            rooms = [output.nbits for output in krp.outputs]
            rig.keys.run(krp)
            same = [(bytes(each.p), each.nbits) for each in krp.inputs] == before
            require(same, "K6", f"{case.id}: an input was changed")
            same = [output.nbits for output in krp.outputs] == rooms
            require(same, "K6", f"{case.id}: the length of an output was changed")

    @clause("K6", each_known)
    def test_K6_nothing_is_kept(self, case: KeyCase) -> None:
        """After kdone, the request and its parameters are nobody's but the consumer's."""
        with self.rig() as rig:
            rig.keys.kept(lambda: tracked(case))

    @clause("K6", each_of(lambda: (*samples.known(), *samples.impossible())))
    def test_K6_no_parameter_is_shown(self, case: KeyCase) -> None:
        """Nothing that people or logs get to see has a piece of a parameter in it."""
        numbers = [value for value in case.inputs if isinstance(value, int) and value >> 64]
        if not numbers:
            raise unittest.SkipTest("parameters this short may turn up by chance")
        secrets = [secret for value in numbers for secret in _both_orders(value)]
        with everything_logged() as lines, self.rig() as rig:
            krp = rig.keys.run(case.request())
            shown = [*lines, repr(krp), krp.error, *map(repr, krp.param), *reprs(rig.driver)]
        for text in shown:
            quoted = any(str(value) in text for value in numbers) or shows(text, secrets, 8)
            require(not quoted, "K6", f"{case.id}: a parameter in: {text[:40]!r}...")


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


def tracked(case: KeyCase) -> Made[Cryptkop]:
    """Make a request that tells when it is gone, and name its parameters' memory."""
    made = case.request()
    memory = [TrackedBytes(parameter.p) for parameter in made.param]
    params = [Crparam(p, each.nbits) for p, each in zip(memory, made.param, strict=True)]
    krp = TrackedKeyRequest(made.op, params, made.iparams, made.oparams, flags=made.flags)
    return krp, memory


def _sane(rig: Rig, op: int) -> None:
    """Require the ordinary answer first, so that what is wrong always is not blamed on an edge."""
    for case in samples.known():
        if case.op == op and op != Kop.DSA_VERIFY:
            judge(rig.keys.run(case.request()), case, "K1")


def _fill_beyond(parameter: Crparam) -> None:
    """Set the bits of the last byte that do not count, and add bytes that do not."""
    data = bytearray(parameter.p)
    if data and parameter.nbits % 8:
        data[-1] |= 0xFF << parameter.nbits % 8 & 0xFF
    parameter.p = data + b"\xff" * SPARE


def _both_orders(value: int) -> tuple[bytes, bytes]:
    """Return the bytes of a number, from either end."""
    size = -(-value.bit_length() // 8)
    return value.to_bytes(size, "little"), value.to_bytes(size, "big")
