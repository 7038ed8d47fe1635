"""Every name of the man page exists, and is where the documents say."""

import inspect
import re
from pathlib import Path

import pytest

from opencrypto import Framework, bsd
from opencrypto.constants import CRYPTO_ALGORITHM_MAX
from opencrypto.xform import FACTS

ROOT = Path(__file__).parents[2]


def names(kind: str) -> list[list[str]]:
    """Return the lines of one kind from the list, split into words."""
    text = (ROOT / "tests" / "data" / "opencrypto9-names.txt").read_text()
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return [words[1:] for words in lines if words[0] == kind]


FUNCTIONS = [words[0] for words in names("function")]
STRUCTS = {words[0]: words[1:] for words in names("struct")}
CONSTANTS = [words[0] for words in names("constant")]
SYSCTLS = [words[0] for words in names("sysctl")]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_is_there_and_documented(name: str) -> None:
    """A function of the synopsis is a function here, with a docstring, exported."""
    function = getattr(bsd, name)
    assert inspect.isfunction(function)
    assert (function.__doc__ or "").strip()
    assert name in bsd.__all__


@pytest.mark.parametrize(
    ("struct", "field"), [(struct, field) for struct in STRUCTS for field in STRUCTS[struct]]
)
def test_each_field_is_an_attribute(struct: str, field: str) -> None:
    """A field of the synopsis can be read on a new object of that structure."""
    cls = getattr(bsd, struct)
    made = cls()
    getattr(made, field)
    if not field.endswith("_next") or field in ("cri_next", "crd_next"):
        setattr(made, field, getattr(made, field))


@pytest.mark.parametrize("name", CONSTANTS)
def test_each_constant_is_an_integer(name: str) -> None:
    """A constant of the page is there, exported."""
    assert isinstance(getattr(bsd, name), int)
    assert name in bsd.__all__


def test_each_sysctl_is_in_the_tree() -> None:
    """The names that adjust and report the return queues exist."""
    with Framework(plugins=False) as framework:
        missing = [name for name in SYSCTLS if name not in framework.sysctl]
    assert not missing


def test_the_document_maps_every_name() -> None:
    """docs/opencrypto.9.md has each function, structure, field, constant and sysctl."""
    text = (ROOT / "docs" / "opencrypto.9.md").read_text()
    fields = [field for fields in STRUCTS.values() for field in fields]
    wanted = [*FUNCTIONS, *STRUCTS, *CONSTANTS, *SYSCTLS, *fields]
    assert not [name for name in wanted if f"`{name}" not in text]


def test_the_documents_numbers_are_the_codes() -> None:
    """Each row of the table of algorithms has the constant's number, and all 33 are there."""
    text = (ROOT / "docs" / "opencrypto.9.md").read_text()
    rows = re.findall(
        r"^\| `(CRYPTO_\w+)` \| (\d+) \|.*\| ([^|]*) \|([^|]*)\|$", text, re.MULTILINE
    )
    assert [int(number) for _, number, *_ in rows] == list(range(1, CRYPTO_ALGORITHM_MAX + 1))
    for name, number, _, mac in rows:
        facts = FACTS[getattr(bsd, name)]
        assert facts.alg == int(number)
        assert mac.strip() == (str(facts.mac) if facts.authenticates else "")


def test_exports_exist() -> None:
    """The list of exports names nothing twice, and nothing that is not there."""
    assert len(bsd.__all__) == len(set(bsd.__all__))
    assert not [name for name in bsd.__all__ if not hasattr(bsd, name)]


def test_the_structures_are_the_frameworks_own() -> None:
    """A driver written one way and a consumer written the other meet over one object."""
    crp = bsd.cryptop()
    first, second = bsd.cryptodesc(), bsd.cryptodesc()
    first.crd_next = second
    crp.crp_desc = first
    crp.crp_etype = 5
    assert crp.desc == [first, second]
    assert crp.etype == 5
    assert crp.crp_desc.crd_next is second
    assert crp.crp_next is None


def test_the_macros_take_a_sid_apart() -> None:
    """A SID is the driver's id plus one in the high word, the driver's number in the low one."""
    assert bsd.CRYPTO_SESID2HID(7 << 32 | 99) == 6
    assert bsd.CRYPTO_SESID2LID(7 << 32 | 99) == 99
    assert bsd.CRYPTO_SESID2HID(0) == -1
    assert bsd.CRYPTO_SESID2CAPS(7 << 32) == 0
