"""Whole key requests of any shape, to the software driver: each ends once, as documented."""

import errno
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencrypto import CRYPTO_F_CBIMM, Crparam, Cryptkop, Framework, Kop
from opencrypto.driver import KOPS
from tests.core.keys.powers import framework
from tests.core.keys.support import Completion

pytestmark = [pytest.mark.slow, pytest.mark.shared_framework]

__all__ = ["framework"]

EXAMPLES = int(os.environ.get("OPENCRYPTO_FUZZ_EXAMPLES", "400"))
ENDS = {0, errno.EINVAL, errno.EFBIG, errno.ERANGE}
GUARD = b"\xa5" * 8


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
    return Cryptkop(op, param, *arity, None, draw(st.sampled_from([0, CRYPTO_F_CBIMM])))


@pytest.mark.timeout(180 + EXAMPLES // 20)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests())
def test_any_request_ends_once(framework: Framework, krp: Cryptkop) -> None:
    """The status is one that is documented; inputs stay, and so does all beyond the outputs."""
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
