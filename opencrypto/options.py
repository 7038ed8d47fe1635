"""
A driver's own settings: declared as data, read from one file and the environment, checked once.

A plugin says by its hook ``opencrypto_options`` what can be set. The framework reads that from the
file and the environment, and hands it to ``opencrypto_drivers(options)``::

    DEPTH = Option("depth", 8, "requests that the card is given at a time", least=1, most=64)

    @hookimpl
    def opencrypto_options() -> list[Option[Any]]:
        return [DEPTH]

    @hookimpl
    def opencrypto_drivers(options: Options) -> list[Driver]:
        return [CardDriver(depth=options[DEPTH])]

An operator writes ``depth = 16`` under ``[drivers.card]`` in the file, or OPENCRYPTO_CARD_DEPTH=16,
which wins. What is unknown, of another type or out of range is refused, and so the driver is: one
that ran with other settings than were asked for would be worse.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Generic, NoReturn, TypeVar, cast

from opencrypto.exceptions import UsageError

__all__ = ["CONFIG_VARIABLE", "Option", "Options", "Setting", "Settings", "config_path", "token_of"]

CONFIG_VARIABLE: Final = "OPENCRYPTO_CONFIG"
"""Environment variable: the file with the drivers' options. Empty: none is read."""

T = TypeVar("T", bool, int, float, str)

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")

_WORDS: Final = {
    "1": True, "true": True, "yes": True, "on": True,
    "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip
"""What says yes and no in the environment."""


class Option(Generic[T]):
    """
    One thing that an operator can set.

    Args:
        name: A word of small letters, digits and underscores.
        default: What it is if nobody sets it. Its type is the option's: bool, int, float or str.
        description: What it does, in a phrase, with its unit.
        choices: The values it may have; any if empty.
        least: The least value of a number.
        most: The greatest value of a number.
        secret: Whether it is a PIN or a password: it is never shown, and the file that has it must
            be readable by its owner alone.

    Raises:
        UsageError: the name is no such word, the default is of no such type or out of range, or
            nothing describes it.
    """

    __slots__ = ("choices", "default", "description", "kind", "least", "most", "name", "secret")

    def __init__(
        self,
        name: str,
        default: T,
        description: str,
        *,
        choices: Collection[T] = (),
        least: float | None = None,
        most: float | None = None,
        secret: bool = False,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UsageError(f"an option's name is a word such as 'depth', not {name!r}")
        if type(default) not in {bool, int, float, str}:
            raise UsageError(f"option {name}: give a bool, int, float or str as its default")
        if not description:
            raise UsageError(f"option {name}: say what it does")
        self.name = name
        self.default: T = default
        self.description = description
        self.kind: type = type(default)
        self.choices: tuple[T, ...] = tuple(choices)
        self.least = least
        self.most = most
        self.secret = secret
        self.checked(default, "its default")

    @property
    def type_name(self) -> str:
        """What it holds, for people: a type, its choices or its range."""
        if self.choices and not self.secret:
            return " or ".join(map(str, self.choices))
        if self.least is None and self.most is None:
            return str(self.kind.__name__)
        least = "" if self.least is None else f"{self.least} "
        most = "" if self.most is None else f" {self.most}"
        return f"{self.kind.__name__}, {least}to{most}"

    def checked(self, value: object, source: str) -> T:
        """
        Return a value as this option's.

        Raises:
            UsageError: it is of another type, no choice or out of range.
        """
        if self.kind is float and type(value) is int:
            value = float(value)
        if type(value) is not self.kind:
            raise self._wrong(
                source, f"is of type {type(value).__name__}, not {self.kind.__name__}"
            )
        if self.choices and value not in self.choices:
            of = "its choices" if self.secret else self.type_name
            raise self._wrong(source, f"is {self._shown(value)}, which is none of: {of}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            below = self.least is not None and not value >= self.least  # a NaN is neither
            if below or (self.most is not None and not value <= self.most):
                raise self._wrong(source, f"is {self._shown(value)}; give {self.type_name}")
        return cast(T, value)

    def parsed(self, text: str, source: str) -> T:
        """
        Read a value from the environment.

        Raises:
            UsageError: it is of another type, no choice or out of range.
        """
        value: object = text
        try:
            if self.kind is bool:
                value = _WORDS[text.strip().lower()]
            elif self.kind is not str:
                value = self.kind(text)
        except (KeyError, ValueError):
            wanted = "1 or 0" if self.kind is bool else self.type_name
            raise self._wrong(source, f"is {self._shown(text)}; give {wanted}") from None
        return self.checked(value, source)

    def _shown(self, value: object) -> str:
        return "a secret" if self.secret else repr(value)

    def _wrong(self, source: str, what: str) -> UsageError:
        return UsageError(f"option {self.name}, from {source}, {what}")

    def __repr__(self) -> str:
        return f"<Option {self.name}: {self.type_name}>"


class Setting:
    """
    What one option is, and who says so.

    Attributes:
        token: The plugin's name, the key of its table in the file.
        option: The option.
        source: ``default``, the file, or the variable of the environment.
    """

    __slots__ = ("_value", "option", "source", "token")

    def __init__(self, token: str, option: Option[Any], value: Any, source: str) -> None:
        self.token = token
        self.option = option
        self.source = source
        self._value = value

    @property
    def variable(self) -> str:
        """The variable of the environment that sets it."""
        return _variable(self.token) + self.option.name.upper()

    @property
    def shown(self) -> str:
        """Its value for people: of a secret, only whether it is set."""
        if self.option.secret:
            return "(set)" if self._value != self.option.default else "(not set)"
        value = self._value
        return str(value).lower() if isinstance(value, bool) else str(value)

    @property
    def document(self) -> dict[str, str | bool]:
        """All that may be shown of it, by name."""
        return {
            "driver": self.token,
            "option": self.option.name,
            "type": self.option.type_name,
            "value": self.shown,
            "from": self.source,
            "variable": self.variable,
            "secret": self.option.secret,
            "description": self.option.description,
        }

    def __reduce__(self) -> NoReturn:
        raise TypeError("options may be secrets, and are not pickled")

    def __repr__(self) -> str:
        return f"<Setting {self.token} {self.option.name}={self.shown} from {self.source}>"


class Options:
    """
    The options of one plugin, each with its value: ``options[DEPTH]``.

    Raises:
        UsageError: an option is asked for that the plugin did not declare.
    """

    __slots__ = ("_settings", "token")

    def __init__(self, token: str, settings: Iterable[Setting] = ()) -> None:
        self.token = token
        self._settings = {setting.option.name: setting for setting in settings}

    @classmethod
    def defaults(cls, token: str, declared: Iterable[Option[Any]]) -> Options:
        """Return each option as it is if nobody sets it: for tests, and for programs."""
        return cls(token, (Setting(token, each, each.default, "default") for each in declared))

    def __getitem__(self, option: Option[T]) -> T:
        setting = self._settings.get(option.name)
        if setting is None or setting.option is not option:
            raise UsageError(f"{self.token} did not declare its option {option.name}")
        return cast(T, setting._value)

    def __iter__(self) -> Iterator[Setting]:
        return iter(self._settings.values())

    def __len__(self) -> int:
        return len(self._settings)

    def __repr__(self) -> str:
        said = ", ".join(f"{each.option.name}={each.shown}" for each in self)
        return f"<Options {self.token}: {said}>"


def token_of(name: str) -> str:
    """Return the token of a plugin that is known by the name of its package."""
    return name.rpartition(".")[2].removeprefix("opencrypto_")


def config_path(environment: Mapping[str, str] = os.environ) -> Path | None:
    """
    Return where the file with options is, or would be; None if none is to be read.

    It is what OPENCRYPTO_CONFIG names, or else ``opencrypto/config.toml`` in the user's folder for
    such files (XDG Base Directory: ``$XDG_CONFIG_HOME``, ``~/.config`` if that is not set).
    """
    named = environment.get(CONFIG_VARIABLE)
    if named is not None:
        return Path(named).expanduser() if named.strip() else None
    base = environment.get("XDG_CONFIG_HOME", "")
    if not base.startswith("/"):  # the specification has relative ones ignored
        try:
            base = str(Path("~/.config").expanduser())
        except RuntimeError:  # a user without a home
            return None
    return Path(base) / "opencrypto" / "config.toml"


class Settings:
    """
    What the file and the environment say of all plugins' options, read when it is first wanted.

    Args:
        environment: The environment; another one in tests.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._path = config_path(environment)
        self._private = True

    @cached_property
    def tables(self) -> Mapping[str, Mapping[str, Any]]:
        """
        The file's tables, by plugin; none if there is no file.

        Raises:
            UsageError: the file that OPENCRYPTO_CONFIG names is not there, somebody else can change
                it, it is no TOML, or has something else in it.
        """
        if self._path is None:
            return {}
        from opencrypto.files import read_trusted  # and what it imports

        try:
            found = read_trusted(self._path, "options of drivers")
        except (FileNotFoundError, NotADirectoryError):
            if CONFIG_VARIABLE in self._environment:
                raise UsageError(
                    f"{CONFIG_VARIABLE} names {self._path}, which is not there"
                ) from None
            return {}
        except OSError as error:
            raise UsageError(f"{self._path} cannot be read: {error.strerror}") from None
        self._private = found.private
        return self._read(found.content)

    def _read(self, content: bytes) -> Mapping[str, Mapping[str, Any]]:
        import tomllib  # only where there is a file

        try:
            document = tomllib.loads(content.decode())
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{self._path} is no TOML: {_place(error)}") from None
        unknown = sorted(document.keys() - {"drivers"})
        if unknown:
            raise UsageError(
                f"{self._path} has {', '.join(unknown)}, which nothing reads; "
                "options of a driver stand under [drivers.NAME]"
            )
        tables = document.get("drivers", {})
        if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
            raise UsageError(f"{self._path}: options of a driver stand under [drivers.NAME]")
        return tables

    def strangers(self, known: Iterable[str]) -> Iterator[tuple[str, str]]:
        """
        Name the tables of plugins that are not among those known, and say what is the matter.

        Raises:
            UsageError: as `tables`.
        """
        for token in sorted(self.tables.keys() - set(map(token_of, known))):
            why = f"{self._path} has options for {token}, and no plugin of that name is installed"
            yield token, why

    def of(self, name: str, declared: Iterable[Option[Any]], known: Iterable[str] = ()) -> Options:
        """
        Return the options of a plugin.

        Args:
            name: Its name, or that of its package.
            declared: What it says can be set.
            known: The names of all plugins: a variable may be that of one with a longer name.

        Raises:
            UsageError: as `tables`; something is set that was not declared; a value is not right.
        """
        token = token_of(name)
        options = {option.name: option for option in declared}
        table = self.tables.get(token, {})
        self._refuse_unknown(token, options, table, known)
        settings = [self._setting(token, option, table) for option in options.values()]
        return Options(token, settings)

    def _setting(self, token: str, option: Option[Any], table: Mapping[str, Any]) -> Setting:
        variable = _variable(token) + option.name.upper()
        if variable in self._environment:
            value = option.parsed(self._environment[variable], variable)
            return Setting(token, option, value, variable)
        if option.name not in table:
            return Setting(token, option, option.default, "default")
        if option.secret and not self._private:
            raise UsageError(
                f"{self._path} holds the secret option {option.name} and others may read it; "
                f"run: chmod 600 {self._path}"
            )
        return Setting(
            token, option, option.checked(table[option.name], str(self._path)), str(self._path)
        )

    def _refuse_unknown(
        self,
        token: str,
        options: Collection[str],
        table: Mapping[str, Any],
        known: Iterable[str],
    ) -> None:
        there_are = f"it has {', '.join(sorted(options))}" if options else "it has no options"
        for name in sorted(table.keys() - set(options)):
            raise UsageError(
                f"{self._path} sets {name} of {token}, which is no option; {there_are}"
            )
        if not options:
            return  # a plugin that declares none may read variables of its own
        ours = _variable(token)
        variables = {_variable(token_of(each)) for each in known}
        longer = tuple(each for each in variables if len(each) > len(ours))
        meant = {ours + name.upper() for name in options}
        for variable in sorted(self._environment):
            if not variable.startswith(ours) or variable in meant or variable.startswith(longer):
                continue
            raise UsageError(f"{variable} is set, and {token} has no such option; {there_are}")


def _variable(token: str) -> str:
    """Return what the variables of a plugin's options begin with."""
    return f"OPENCRYPTO_{re.sub(r'[^A-Z0-9]', '_', token.upper())}_"


def _place(error: Exception) -> str:
    """Return what is wrong with a file without a word of what is in it."""
    found = re.search(r"\(at (?:line \d+, column \d+|end of document)\)", str(error))
    return found[0].strip("()") if found else type(error).__name__
