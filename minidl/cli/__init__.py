"""The command line: minidl train MODEL …, summary MODEL, export MODEL …, gradcheck NAME …, bench kernels NAME …

A user's mistake ends with a clear line on standard error and status 2, before anything is written. Each command has a
file.
"""

import sys

import click

from .. import __version__
from ..train import Diverged
from .bench import bench
from .export import export
from .gradcheck import gradcheck
from .summary import summary
from .train import train


def run(arguments=None):
    """Run a command; returns the exit status: 0, 1 where training diverged or a check failed, 2 for a mistake, 130 for
    Ctrl-C.
    """
    try:
        status = commands.main(arguments, prog_name="minidl", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        return _fail(error.format_message(), 2)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", 130)
    except Diverged as error:
        return _fail(error, 1)
    return status or 0


def _fail(message, status):
    print(f"minidl: {message}", file=sys.stderr)
    return status


@click.group()
@click.version_option(__version__)
def commands():
    """A deep-learning framework to read: train its nets, check gradients and time kernels from the shell."""


commands.add_command(train)
commands.add_command(summary)
commands.add_command(export)
commands.add_command(gradcheck)
commands.add_command(bench)
