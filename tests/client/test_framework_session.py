"""`Framework.session`: the same session as by its class, on this framework."""

from collections.abc import Iterator

import pytest

from opencrypto import Cryptoini, Framework
from opencrypto.client import Session
from opencrypto.constants import CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC
from opencrypto.exceptions import UsageError

KEY = bytes(range(16))


@pytest.fixture
def framework() -> Iterator[Framework]:
    with Framework(plugins=["swcrypto"]) as fw:
        yield fw


def test_a_framework_opens_sessions_of_an_algorithm_and_its_key(framework: Framework) -> None:
    with framework.session(CRYPTO_AES_CBC, KEY) as session:
        assert isinstance(session, Session)
        assert session.decrypt(session.encrypt(bytes(32))) == bytes(32)


def test_and_of_parameters(framework: Framework) -> None:
    chain = [Cryptoini(CRYPTO_AES_CBC, KEY), Cryptoini(CRYPTO_SHA1_HMAC, KEY[::-1])]
    with framework.session(chain) as session:
        assert session.decrypt(session.encrypt(bytes(32))) == bytes(32)


def test_parameters_have_their_keys_in_them(framework: Framework) -> None:
    with pytest.raises(UsageError, match="have their keys"):
        framework.session(Cryptoini(CRYPTO_AES_CBC, KEY), KEY)
    with pytest.raises(UsageError, match="one key"):
        framework.session(CRYPTO_AES_CBC, (KEY, KEY))
