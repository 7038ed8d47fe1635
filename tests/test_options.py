"""Options of drivers: declared, read from a file and the environment, checked, shown."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrypto import Driver, Framework, UsageError, hookimpl
from opencrypto.options import Option, Options, Settings, config_path, token_of
from opencrypto_null import NullDriver
from tests.cli.commands import RUN
from tests.other_users import give_away

DEPTH = Option("depth", 8, "requests at a time", least=1, most=64)
EAGER = Option("eager", False, "answer at once")
RATIO = Option("ratio", 0.5, "a part of the whole", least=0, most=1)
MODE = Option("mode", "fast", "how it works", choices=("fast", "safe"))
PIN = Option("pin", "", "what opens the card", secret=True)
ALL: list[Option[Any]] = [DEPTH, EAGER, RATIO, MODE, PIN]

GIVEN: dict[str, Options] = {}


class CardDriver(NullDriver):
    name = "card"


class Card:
    """A plugin with options, as a module would be."""

    name = "card"

    @hookimpl
    def opencrypto_options(self) -> list[Option[Any]]:
        return ALL

    @hookimpl
    def opencrypto_drivers(self, options: Options) -> list[Driver]:
        GIVEN["card"] = options
        return [CardDriver()]


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def settings(path: Path | str = "", **environment: str) -> Settings:
    return Settings({"OPENCRYPTO_CONFIG": str(path), **environment})


def refusal(path: Path | str = "", **environment: str) -> str:
    with pytest.raises(UsageError) as caught:
        settings(path, **environment).of("card", ALL)
    return caught.value.strerror or ""


# What an option may be.


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("Depth", 8, "x"), "a word such as"),
        (("depth", None, "x"), "as its default"),
        (("depth", 8, ""), "say what it does"),
    ],
)
def test_what_is_no_option(words: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Option(*words)


def test_a_default_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="from its default, is 0"):
        Option("depth", 0, "x", least=1)


# Where values come from.


def test_the_environment_wins_over_the_file_and_that_over_the_default(tmp_path: Path) -> None:
    path = written(tmp_path, '[drivers.card]\ndepth = 16\nmode = "safe"\nratio = 1\n')
    options = settings(path, OPENCRYPTO_CARD_DEPTH="32").of("opencrypto_card", ALL)
    assert (options[DEPTH], options[MODE], options[RATIO]) == (32, "safe", 1.0)
    assert isinstance(options[RATIO], float)
    assert options[EAGER] is False
    sources = {each.option.name: each.source for each in options}
    assert sources == {
        "depth": "OPENCRYPTO_CARD_DEPTH", "eager": "default", "ratio": str(path),
        "mode": str(path), "pin": "default",
    }  # fmt: skip


def test_where_the_file_is() -> None:
    assert config_path({"XDG_CONFIG_HOME": "/etc/xdg"}) == Path("/etc/xdg/opencrypto/config.toml")
    home = Path("~").expanduser()
    assert config_path({"XDG_CONFIG_HOME": "not/absolute"}) == (
        home / ".config/opencrypto/config.toml"
    )
    assert config_path({"OPENCRYPTO_CONFIG": "~/mine.toml"}) == home / "mine.toml"
    assert config_path({"OPENCRYPTO_CONFIG": ""}) is None


def test_no_file_is_none(tmp_path: Path) -> None:
    assert Settings({"XDG_CONFIG_HOME": str(tmp_path)}).of("card", ALL)[DEPTH] == 8
    assert settings("/dev/null").of("card", ALL)[DEPTH] == 8


@pytest.mark.parametrize("word", ["1", "true", "YES", " on "])
def test_yes_in_the_environment(word: str) -> None:
    assert settings(OPENCRYPTO_CARD_EAGER=word).of("card", ALL)[EAGER] is True


@given(st.integers())
def test_any_whole_number_is_taken_or_refused(value: int) -> None:
    read = settings(OPENCRYPTO_CARD_DEPTH=str(value))
    if 1 <= value <= 64:
        assert read.of("card", ALL)[DEPTH] == value
    else:
        with pytest.raises(UsageError, match="give int, 1 to 64"):
            read.of("card", ALL)


@given(st.text())
def test_any_word_is_taken_or_refused(word: str) -> None:
    read = settings(OPENCRYPTO_CARD_RATIO=word)
    try:
        wanted = 0 <= float(word) <= 1
    except ValueError:
        wanted = False
    if wanted:
        assert read.of("card", ALL)[RATIO] == float(word)
    else:
        with pytest.raises(UsageError, match="option ratio"):
            read.of("card", ALL)


# What is refused.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[drivers.card]\ndepht = 1\n", "sets depht of card, which is no option; it has depth"),
        ("[drivers.card]\ndepth = true\n", "is of type bool, not int"),
        ('[drivers.card]\ndepth = "8"\n', "is of type str, not int"),
        ("[drivers.card]\ndepth = 65\n", "give int, 1 to 64"),
        ("[drivers.card]\nratio = nan\n", "give float, 0 to 1"),
        ('[drivers.card]\nmode = "slow"\n', "which is none of: fast or safe"),
        ("[drivers.card]\neager = 1\n", "is of type int, not bool"),
        ("[card]\ndepth = 1\n", "has card, which nothing reads"),
        ("[drivers]\ncard = 1\n", "stand under"),
        ("drivers = 3\n", "stand under"),
        ("[drivers.card\n", "is no TOML: at line 1"),
        ("\x00", "is no TOML"),
    ],
)
def test_what_the_file_may_not_say(tmp_path: Path, text: str, says: str) -> None:
    assert says in refusal(written(tmp_path, text))


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("OPENCRYPTO_CARD_DEPHT", "1", "card has no such option; it has depth, eager"),
        ("OPENCRYPTO_CARD_DEPTH", "many", "is 'many'; give int, 1 to 64"),
        ("OPENCRYPTO_CARD_EAGER", "perhaps", "give 1 or 0"),
        ("OPENCRYPTO_CARD_MODE", "", "none of"),
    ],
)
def test_what_the_environment_may_not_say(variable: str, value: str, says: str) -> None:
    assert says in refusal(**{variable: value})


def test_a_variable_may_be_that_of_a_longer_name() -> None:
    read = settings(OPENCRYPTO_CARD_X_SPEED="9")
    with pytest.raises(UsageError, match="no such option"):
        read.of("card", ALL)
    assert read.of("card", ALL, known=["card", "opencrypto_card-x"])[DEPTH] == 8


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    assert "which is not there" in refusal(tmp_path / "none.toml")
    assert "cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_not_read(tmp_path: Path, mode: int) -> None:
    says = refusal(written(tmp_path, "[drivers.card]\ndepth = 16\n", mode))
    assert "others may write it" in says
    assert "chmod go-w" in says


def test_a_file_of_somebody_else_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "[drivers.card]\ndepth = 16\n", 0o644)
    give_away(path, monkeypatch)
    assert "belongs to user" in refusal(path)


# Secrets.


def test_a_secret_is_shown_nowhere(tmp_path: Path) -> None:
    path = written(tmp_path, '[drivers.card]\npin = "271828"\n')
    options = settings(path).of("card", ALL)
    assert options[PIN] == "271828"
    shown = [repr(options), repr(list(options)), *(each.shown for each in options)]
    assert "271828" not in "".join(shown)
    assert "(set)" in shown[0]
    assert "271828" not in refusal(path, OPENCRYPTO_CARD_DEPTH="x")
    chosen = Option("pin", "1111", "x", choices=("1111", "2222"), secret=True)
    with pytest.raises(UsageError) as caught:
        settings(path).of("card", [chosen])
    assert "271828" not in str(caught.value)
    assert "1111" not in str(caught.value) + chosen.type_name + repr(chosen)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(options)


def test_a_secret_in_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, '[drivers.card]\npin = "271828"\n', 0o644)
    says = refusal(path)
    assert "chmod 600" in says
    assert "271828" not in says


def test_a_broken_file_is_not_quoted(tmp_path: Path) -> None:
    assert "271828" not in refusal(written(tmp_path, "[drivers.card]\npin = 271828x\n"))


# In a framework.


def test_the_factory_is_given_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCRYPTO_CARD_DEPTH", "4")
    with Framework(plugins=[Card()]) as framework:
        assert [info.name for info in framework.drivers if not info.reason] == ["card"]
        assert GIVEN["card"][DEPTH] == 4
        shown = {each.option.name: each.shown for each in framework.options}
        assert shown == {
            "depth": "4", "eager": "false", "ratio": "0.5", "mode": "fast", "pin": "(not set)",
        }  # fmt: skip


def test_wrong_options_make_the_driver_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCRYPTO_CARD_DEPTH", "100")
    with Framework(plugins=[Card(), NullDriver()]) as framework:
        infos = {info.name: info for info in framework.drivers}
        assert infos["null"].hid is not None
        assert infos["card"].hid is None
        assert infos["card"].reason == (
            "option depth, from OPENCRYPTO_CARD_DEPTH, is 100; give int, 1 to 64"
        )
    with pytest.raises(UsageError, match="option depth"):
        Framework(plugins=[Card()], strict=True)


def test_plugins_that_know_of_no_options_are_called_as_ever(tmp_path: Path) -> None:
    class Old:
        name = "old"

        @hookimpl
        def opencrypto_drivers(self) -> list[Driver]:
            return [NullDriver()]

    with Framework(plugins=[Old()]) as framework:
        assert [info.name for info in framework.drivers] == ["null"]
        assert framework.options == []


def test_a_table_for_a_plugin_without_options_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "[drivers.null]\nspeed = 1\n")
    monkeypatch.setenv("OPENCRYPTO_CONFIG", str(path))
    with Framework(plugins=["null"]) as framework:
        (info,) = framework.drivers
        assert "sets speed of null, which is no option; it has no options" in info.reason


def test_a_table_for_nobody_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "[drivers.afallg]\nzerocopy = true\n")
    monkeypatch.setenv("OPENCRYPTO_CONFIG", str(path))
    with Framework() as framework:
        infos = {info.name: info for info in framework.drivers}
        assert "no plugin of that name is installed" in infos["afallg"].reason
        assert infos["swcrypto"].hid is not None


def test_a_file_that_cannot_be_trusted_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "[drivers.afalg]\nzerocopy = true\n", 0o666)
    monkeypatch.setenv("OPENCRYPTO_CONFIG", str(path))
    with Framework() as framework:
        infos = {info.name: info for info in framework.drivers}
        assert "others may write it" in infos["options"].reason
        assert "others may write it" in infos["afalg"].reason


def test_what_was_not_declared_cannot_be_asked_for() -> None:
    with pytest.raises(UsageError, match="did not declare"):
        Options.defaults("card", [DEPTH])[MODE]
    assert Options.defaults("card", [DEPTH])[DEPTH] == 8
    with pytest.raises(UsageError, match="did not declare"):
        Options.defaults("card", [Option("depth", 8, "another")])[DEPTH]


@pytest.mark.parametrize(
    ("name", "token"), [("card", "card"), ("opencrypto_card", "card"), ("a.b.opencrypto_c", "c")]
)
def test_tokens(name: str, token: str) -> None:
    assert token_of(name) == token


# The command.


def drivers_command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    call = [*RUN, "drivers", "--options", *words]
    return subprocess.run(
        call,
        env=os.environ | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.slow
def test_the_command_shows_them(tmp_path: Path) -> None:
    path = written(tmp_path, "[drivers.afalg]\nthreads = 2\n")
    done = drivers_command("--json", OPENCRYPTO_CONFIG=str(path), OPENCRYPTO_AFALG_ZEROCOPY="1")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["file"] == str(path)
    found = {(o["driver"], o["option"]): o for o in document["options"]}
    assert found["afalg", "threads"]["value"] == "2"
    assert found["afalg", "threads"]["from"] == str(path)
    assert found["afalg", "zerocopy"]["from"] == "OPENCRYPTO_AFALG_ZEROCOPY"
    shown = drivers_command(OPENCRYPTO_CONFIG=str(path), OPENCRYPTO_AFALG_THREADS="none").stdout
    assert "not available" in shown
    assert "give int, 1 to 256" in " ".join(shown.split())


def test_numbers_that_are_none() -> None:
    assert "give float" in refusal(OPENCRYPTO_CARD_RATIO=str(math.nan))
