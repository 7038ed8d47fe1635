"""What `opencrypto.chain` gives to authors of drivers says what it takes and what it returns."""

import inspect
from types import FunctionType

import pytest

from opencrypto import chain

HELPERS = [name for name in chain.__all__ if isinstance(getattr(chain, name), FunctionType)]


@pytest.mark.parametrize("name", HELPERS)
def test_a_helper_says_its_arguments_and_its_result(name: str) -> None:
    helper = getattr(chain, name)
    said = inspect.getdoc(helper) or ""
    signature = inspect.signature(helper)
    arguments = said.partition("Args:")[2]
    assert not [each for each in signature.parameters if f"    {each}: " not in arguments]
    assert ("Returns:" in said) is (str(signature.return_annotation) != "None")


def test_there_are_helpers() -> None:
    assert {"region", "scatter", "recognise_cipher", "check", "request_iv"} <= set(HELPERS)
