"""The `tierscope` command, and the one place where exceptions become exit codes.

Exit codes: 0 done; 1 a validation or reproduction out of tolerance; 2 bad usage, configuration or trace (one line on
stderr); 3 an internal error; 130 interrupted.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import sys

import click

import simulator
from simulator.cli.bench import bench
from simulator.cli.catalog import list_command, show
from simulator.cli.compare import compare
from simulator.cli.predict import predict
from simulator.cli.replay import replay
from simulator.cli.run import run
from simulator.cli.trace import trace
from simulator.cli.validate import validate
from simulator.errors import TierscopeError

BAD_INPUT, INTERNAL_ERROR, INTERRUPTED = 2, 3, 130

GARBAGE = 20_000
"""Objects after which to look for garbage; Python's 700 take a fifth of the time of importing what a command needs."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(simulator.__version__, prog_name="tierscope")
def cli() -> None:
    """Tierscope: where the bytes and the nanoseconds of an LLM inference go in a memory hierarchy."""


for command in (run, replay, trace, compare, predict, bench, validate, list_command, show):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    gc.set_threshold(GARBAGE)
    _replace_closed_streams()
    try:
        code = cli.main(arguments, prog_name="tierscope", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except TierscopeError as error:
        return _fail(str(error))
    except click.UsageError as error:
        message = error.format_message()
        if message.startswith("Usage: "):  # no command given: click's answer is the help
            click.echo(message, err=True)
            return BAD_INPUT
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        return _fail(message + hint)
    except click.ClickException as error:
        return _fail(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        click.echo("tierscope: interrupted", err=True)
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # click exits when the reader of our output has gone, which is its right
        _drop_output()
        return 0
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO):
            return _crash(error)
        _drop_output()
        return _fail(f"cannot write to standard output: {error.strerror}; name a file with --output")
    except Exception as error:
        return _crash(error)


def _replace_closed_streams() -> None:
    """Let what is written to a stream that the caller has closed (``>&-``) go nowhere, as it asks for."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, io.StringIO())


def _drop_output() -> None:
    """Let what is still buffered for standard output go nowhere, so that the interpreter's exit does not fail on it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]


def _fail(message: str) -> int:
    click.echo("tierscope: " + " ".join(message.split()), err=True)
    return BAD_INPUT


def _crash(error: Exception) -> int:
    import traceback

    traceback.print_exception(error, file=sys.stderr)
    click.echo(f"tierscope: internal error: {error}; please report it with the command and the lines above", err=True)
    return INTERNAL_ERROR


if __name__ == "__main__":
    sys.exit(main())
