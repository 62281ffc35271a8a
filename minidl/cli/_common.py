"""What the commands share."""

from contextlib import contextmanager

import click

from .. import data

_MISTAKES = (ValueError, TypeError, KeyError, OSError, ImportError, data.DatasetNotFoundError)


@contextmanager
def mistakes():
    """What goes wrong here is the user's to mend: a clear line instead of a traceback."""
    try:
        yield
    except _MISTAKES as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise click.ClickException(str(text)) from None
