"""The application that commands belong to, and its entry point."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidOption, ZscapError, one_line
from ..options import DecodingOptions

# Only what every command needs is imported here: a wrong option is said at once, not after torch's seconds.

# What several commands take.
Preset = Annotated[str, typer.Option(help="Which networks and settings; `zscap presets` lists them.")]
Changes = Annotated[
    list[str], typer.Option(metavar="NAME=VALUE", help="Change an option, see `zscap options`; may be repeated.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda or mps.")]
ScoringDtype = Annotated[str | None, typer.Option(help="float16 or bfloat16: score texts in half precision.")]
BatchSize = Annotated[int, typer.Option(min=1, max=10_000, help="Recordings decoded together.")]
Report = Annotated[Path | None, typer.Option(help="Write a page to look at and listen to, e.g. page.html.")]

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Captions for sounds, without training a captioner.")


def _version(asked: bool) -> None:
    if asked:
        from .. import __version__

        typer.echo(f"zscap {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    pass


def change(text: str, options: type[DecodingOptions]) -> tuple[str, object]:
    """Name and value of an option written as NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidOption(f"--set {text}: must be NAME=VALUE, e.g. --set beam_size=3")
    return name, options.parse(name, value)


def complain(message: object) -> None:
    """Say it on stderr, in one line."""
    print(f"zscap: {one_line(str(message))}", file=sys.stderr)


def main() -> None:
    """Entry point: an error made by the user is one line on stderr and exit status 1."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the shell closed it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    # Names of files may be no UTF-8, or in letters that the terminal lacks; a caption is said as soon as it is made.
    known = "surrogateescape" if sys.stdout.encoding.lower() == "utf-8" else "backslashreplace"
    sys.stdout.reconfigure(errors=known, line_buffering=True)
    try:
        app()
    except ZscapError as error:
        complain(error)
        sys.exit(1)
    except OSError as error:
        if error.filename is not None:
            complain(f"{error.filename}: {error.strerror}; check path and permissions")
            sys.exit(1)
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EBADF):
            raise
        complain(f"stdout: cannot be written ({error.strerror})")
        os._exit(1)  # the interpreter would try again, and fail with a traceback
