"""What the commands share."""

import json
from contextlib import contextmanager

import click

from .. import data
from ..models import published

_MISTAKES = (ValueError, TypeError, KeyError, OSError, ImportError, data.DatasetNotFoundError)


@contextmanager
def mistakes():
    """What goes wrong here is the user's to mend: a clear line instead of a traceback."""
    try:
        yield
    except _MISTAKES as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise click.ClickException(str(text)) from None


def _parse(context, parameter, values):
    """NAME=VALUE texts as a dictionary; a value is what JSON makes of it (true, 0.5, null), else the text itself."""
    options = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"must be NAME=VALUE, got {text!r}", context, parameter)
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


model_options = click.option(
    "-o", "--option", "options", multiple=True, metavar="NAME=VALUE", callback=_parse,
    help="An option of the model, such as batch_norm=true, shortcut=A, stem=small; may be repeated.",
)  # fmt: skip


def image_shape(model, variant, options, size=None, channels=None):
    """(C, H, W): as given, else as the published figures are for, else 224×224 (32×32 where the stem is small)."""
    known = published.find(model, variant, **options) or published.find(model, variant) or published.find(model)
    shape = known.shape if known else (3, 224, 224)
    small = options.get("image_size", 32 if options.get("stem") == "small" else None)
    size = size or small
    return channels or shape[0], *((size, size) if size else shape[1:])
