"""
The command line: words, options, and what each way to fail looks like.

A command is known here by its word and its sentence. The module that runs it, and what that
imports, is loaded when it is called, so that none waits for what the others need.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from opencrypto.cli import ending, show
from opencrypto.exceptions import CryptoError, UsageError

FAILED = 1
USAGE = 2

COMMANDS: Final = {
    "drivers": (
        "List the drivers: class, algorithms, sessions; and those not available, with the reason."
    ),
    "new-driver": "Write the package of a new driver, which passes its own tests.",
    "check": "Run the contract on the drivers of a package; exit status 1 unless all keep it.",
    "ps": "List the live frameworks that have a control socket.",
    "sessions": "List the open sessions of a live framework: whose, how old, how long idle.",
    "sysctl": "Read, describe and set the names of a live framework.",
    "stat": "Print what a live framework does, a line each -w seconds.",
    "top": (
        "Watch a live framework: drivers with rate, in flight, latency, errors; and its sessions."
    ),
    "esp": "IPsec ESP (RFC 4303) on packet captures, by the associations of a file.",
    "speed": (
        "Measure the drivers: which is how fast with which algorithm, by the size of the messages."
    ),
    "trace": "Record what a live process asks of its drivers, and play it to others.",
}
"""
Each command's sentence, by its word, which is also the name of its module here (``_`` for ``-``).
The module has a function of that name, or an ``app`` where the command has commands of its own.
"""


def load(word: str) -> Any:
    """Import the module of a command, and return what runs it."""
    name = word.replace("-", "_")
    module = importlib.import_module(f"opencrypto.cli.{name}")
    one: typer.Typer | None = getattr(module, "app", None)
    if one is None:
        one = typer.Typer(add_completion=False)
        one.command(word)(getattr(module, name))
    command = typer.main.get_command(one)
    _in_our_help(command)
    return command


def _in_our_help(command: Any) -> None:
    """Have the help of a command, and of those below it, name values by words, not by types."""
    for each in getattr(command, "commands", {}).values():
        _in_our_help(each)
    params = command.get_params

    def named(ctx: Any) -> list[Any]:
        return [_named(param) for param in params(ctx)]

    command.get_params = named


def _named(param: Any) -> Any:
    """Name a parameter's value as sysctl(8) and its like do: ``--pid PID``; a switch has none."""
    if param.param_type_name == "argument":
        param.display_type_rich = lambda ctx: ""  # its own name stands before it already
    elif param.metavar is None:
        param.metavar = "" if param.is_flag or param.count else param.name.upper()
    return param


class Command(TyperCommand):
    """A command that is not imported before it is called."""

    def __init__(self, word: str, sentence: str) -> None:
        super().__init__(word, help=sentence)
        self._word = word

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Have the real command read its words; from here on it is the one that runs."""
        return load(self._word).make_context(info_name, args, parent, **extra)


class Commands(TyperGroup):
    """The commands of the table. What ends one early is said in our words, not in typer's."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands.update({word: Command(word, said) for word, said in COMMANDS.items()})

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options before the command's word."""
        return [_named(param) for param in super().get_params(ctx)]

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Read the words."""
        with _in_our_words():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that they name."""
        with _in_our_words():
            return super().invoke(ctx)


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except ending.Ended as error:
        error.end()
    except KeyboardInterrupt:
        _end(130, "interrupted; nothing was written")
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong word, which the message repeats
            error.message = show.clean(error.message)  # type: ignore[attr-defined]  # a ClickException
        raise


app = typer.Typer(
    name="opencrypto",
    cls=Commands,
    help="Drivers of opencrypto(9), IPsec ESP on packet captures, and a look into live processes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            show.say(f"opencrypto {version('opencrypto')}")
        except PackageNotFoundError:
            show.say("opencrypto (not installed)")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Log what happens to stderr.")] = False,
) -> None:
    if debug:
        import logging

        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
        for handler in logging.getLogger().handlers:
            handler.setFormatter(show.formatter())


def main() -> NoReturn:
    """Run the command. Every failure ends in one sentence, never in a traceback."""
    try:
        ending.heed()
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal that has no more than ASCII
        app()
    except UsageError as error:
        _end(USAGE, error.strerror or str(error))
    except CryptoError as error:
        _end(FAILED, error.strerror or str(error))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        _end(USAGE, _of_file(error))
    except OSError as error:
        _end(FAILED, _of_file(error))
    except Exception as error:
        # The text of an unforeseen exception could quote what it was working on; its place cannot.
        _end(FAILED, f"internal error, please report it: {type(error).__name__} {_place(error)}")
    sys.exit(0)


def _of_file(error: OSError) -> str:
    what = error.strerror or type(error).__name__
    return f"{error.filename}: {what}; check the path" if error.filename else what


def _place(error: BaseException) -> str:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return ""
    return f"at {os.path.basename(traceback.tb_frame.f_code.co_filename)}:{traceback.tb_lineno}"  # noqa: PTH119 - a code object's name, not a path of ours


def _end(status: int, sentence: str) -> NoReturn:
    show.warn(sentence)
    sys.exit(status)


__all__ = ["app", "main"]
