"""The command line: its entry point; the commands are functions of `commands`."""

import errno
import logging
import os
import sys

from ..errors import ZscapError, one_line
from .commands import app

__all__ = ["app", "main"]


class _Lines(logging.Handler):
    """Writes what the package logs to stderr, each message in one line."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(f"zscap: {one_line(record.getMessage())}", file=sys.stderr)  # above a progress bar


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
    log = logging.getLogger("zscap")
    log.handlers = [_Lines()]
    log.setLevel(logging.INFO)
    try:
        app()
    except ZscapError as error:
        log.error(error)
        sys.exit(1)
    except OSError as error:
        if error.filename is not None:
            log.error("%s: %s; check path and permissions", error.filename, error.strerror)
            sys.exit(1)
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EBADF):
            raise
        log.error("stdout: cannot be written (%s)", error.strerror)
        os._exit(1)  # the interpreter would try again, and fail with a traceback
