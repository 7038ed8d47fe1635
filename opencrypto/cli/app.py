"""
The command line: words, options, and what each way to fail looks like.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, NoReturn

import typer

from opencrypto.cli import check, drivers, esp, operators
from opencrypto.exceptions import CryptoError, UsageError

FAILED = 1
USAGE = 2
INTERRUPTED = 130

app = typer.Typer(
    name="opencrypto",
    help="Drivers of opencrypto(9), IPsec ESP on packet captures, and a look into live processes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("drivers")(drivers.drivers)
app.command("check")(check.check)
app.add_typer(esp.app, name="esp")
operators.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"opencrypto {version('opencrypto')}")
        except PackageNotFoundError:
            typer.echo("opencrypto (not installed)")
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
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(name)s: %(message)s")


def main() -> NoReturn:
    """Run the command. Every failure ends in one sentence, never in a traceback."""
    try:
        app()
    except UsageError as error:
        _end(USAGE, error.strerror or str(error))
    except CryptoError as error:
        _end(FAILED, error.strerror or str(error))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        _end(USAGE, _of_file(error))
    except OSError as error:
        _end(FAILED, _of_file(error))
    except KeyboardInterrupt:
        _end(INTERRUPTED, "interrupted; nothing was written")
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
    typer.echo(f"opencrypto: {sentence}", err=True)
    sys.exit(status)


__all__ = ["app", "main"]
