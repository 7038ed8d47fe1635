"""Whole key requests, of any shape and of real keys: each ends once, as documented."""

import errno
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencrypto import CRYPTO_F_CBIMM, Crparam, Cryptkop, Framework, Kop
from opencrypto.driver import KOPS
from opencrypto.testing._key_samples import KeyCase, edges, is_signature, known, verdicts
from tests.core.keys.powers import framework
from tests.core.keys.support import Completion

pytestmark = [pytest.mark.slow, pytest.mark.shared_framework]

__all__ = ["framework"]

EXAMPLES = int(os.environ.get("OPENCRYPTO_FUZZ_EXAMPLES", "400"))
ENDS = {0, errno.EINVAL, errno.EFBIG, errno.ERANGE}
GUARD = b"\xa5" * 8
FLAGS = st.sampled_from([0, CRYPTO_F_CBIMM])
CASES = [*known(), *edges(), *verdicts()]


@st.composite
def parameters(draw: st.DrawFn) -> Crparam:
    """Draw a parameter: any bits, more bytes than it claims, now and then fewer."""
    data = bytearray(draw(st.binary(max_size=40)))
    if draw(st.booleans()) and data:
        data[:] = bytes([draw(st.integers(0, 3))]) + bytes(len(data) - 1)  # small numbers
    nbits = draw(st.integers(0, len(data) * 8 + (8 if draw(st.integers(0, 20)) == 0 else 0)))
    return Crparam(data + GUARD, nbits)


@st.composite
def requests(draw: st.DrawFn) -> Cryptkop:
    """Draw a request, as a rule with the number of parameters that its operation takes."""
    op = draw(st.sampled_from(Kop))
    arity = len(KOPS[op].inputs), len(KOPS[op].outputs)
    if draw(st.integers(0, 20)) == 0:
        arity = draw(st.tuples(st.integers(0, 9), st.integers(0, 9)))
    param = draw(st.lists(parameters(), min_size=sum(arity), max_size=sum(arity)))
    return Cryptkop(op, param, *arity, None, draw(FLAGS))


@st.composite
def answerable(draw: st.DrawFn) -> tuple[KeyCase, Cryptkop]:
    """Draw a request with a real key, and the case that knows its answer."""
    op = draw(st.sampled_from(Kop))
    case = draw(st.sampled_from([case for case in CASES if case.op == op]))
    return case, case.request(draw(FLAGS))


@st.composite
def harmed(draw: st.DrawFn) -> Cryptkop:
    """Draw a request with a real key, one byte of which is another."""
    _, krp = draw(answerable())
    parameter = draw(st.sampled_from(krp.param))
    data = bytearray(parameter.p)
    if data:
        data[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(1, 255))
        parameter.p = data
    return krp


def ended(framework: Framework, krp: Cryptkop) -> None:
    """
    Dispatch a request, and check how it ends.

    The status is one that is documented; inputs stay, and so does all beyond the outputs.
    """
    before = [bytes(parameter.p) for parameter in krp.param]
    krp.callback = done = Completion()
    framework.kdispatch(krp)
    done.wait()
    assert len(done.calls) == 1
    assert krp.status in ENDS, (krp, krp.error)
    assert bool(krp.error) == bool(krp.status)
    sound = len(krp.param) <= 8
    for place, (parameter, old) in enumerate(zip(krp.param, before, strict=True)):
        written = sound and not krp.status and place >= krp.iparams
        size = (parameter.nbits + 7) // 8 if written else 0
        assert bytes(parameter.p[size:]) == old[size:]
    if krp.op == Kop.DSA_VERIFY:
        assert (krp.verdict is None) == bool(krp.status)
    else:
        assert krp.verdict is None
    assert framework.stats.driver_bugs == 0


def answered(case: KeyCase, krp: Cryptkop) -> None:
    """Check the answer to a request that has one."""
    assert not krp.status, (case.id, krp.error)
    assert krp.verdict is case.verdict
    results = tuple(parameter.to_int() for parameter in krp.outputs)
    if case.outputs:
        assert results == case.outputs, case.id
    elif krp.op == Kop.DSA_SIGN:
        assert is_signature(*results)


def drawn(run: Callable[[Any], None], strategy: st.SearchStrategy[Any]) -> None:
    """Run something with half of the examples each."""
    sized = settings(
        max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=list(HealthCheck)
    )
    sized(given(strategy)(run))()


@pytest.mark.timeout(180 + EXAMPLES // 20)
def test_any_request_ends_once(framework: Framework) -> None:
    """Whatever the numbers are: as documented, once, and with nothing else touched."""
    drawn(lambda krp: ended(framework, krp), requests() | harmed())


@pytest.mark.timeout(180 + EXAMPLES // 20)
def test_real_keys_have_their_answers(framework: Framework) -> None:
    """Requests in any order, each operation among them: the answers are those that are known."""
    successes: Counter[int] = Counter()

    def run(drawn: tuple[KeyCase, Cryptkop]) -> None:
        case, krp = drawn
        ended(framework, krp)
        answered(case, krp)
        successes[krp.op] += 1

    for case in known():
        run((case, case.request()))
    assert set(successes) == set(Kop), "there is one of each"
    drawn(run, answerable())
    assert successes.total() >= EXAMPLES // 4
