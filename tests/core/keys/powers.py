"""Both libraries that may do the powers of key operations, one after the other."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

import opencrypto_swcrypto
from opencrypto import Framework
from tests.support import missing


def require_trusted() -> None:
    """Skip where the library is too old for key operations, as the lowest that works is."""
    from opencrypto_swcrypto import _powers

    if reason := _powers.refusal():
        pytest.skip(reason, allow_module_level=True)


@pytest.fixture(
    scope="module", params=["pycryptodome", pytest.param("gmpy2", marks=pytest.mark.slow)]
)
def framework(request: pytest.FixtureRequest) -> Iterator[Framework]:
    """Open a framework with the software driver, whose powers one library does."""
    from opencrypto_swcrypto import _keymath, _powers

    require_trusted()
    if request.param == "gmpy2" and find_spec("gmpy2") is None:
        missing("gmpy2", "pip install 'opencrypto[gmpy2]'")
    power = _powers.by_gmpy2() if request.param == "gmpy2" else pow
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_keymath, "secret_power", power)
        with Framework([opencrypto_swcrypto], strict=True) as made:
            yield made
