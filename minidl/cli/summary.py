"""minidl summary MODEL: what each layer of a net costs, and what is published about it."""

import json
import math

import click

from .. import models
from ..explain.ledger import ledger
from ..models import published
from ..serialization import atomic_write
from ._common import image_shape, mistakes, model_options


@click.command()
@click.argument("model")
@click.option("--variant", help="One of the model's variants.")
@model_options
@click.option("--size", type=click.IntRange(1), help="Rows and columns of the images.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Images that the memory is for.")
@click.option("--classes", type=click.IntRange(1), help="What the net tells apart.")
@click.option("--channels", type=click.IntRange(1), help="Of the images.")
@click.option("--training", is_flag=True, help="Include what runs in training alone, such as GoogLeNet's heads.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), metavar="FILE", help="Also write all of it here.")
def summary(model, variant, options, size, batch, classes, channels, training, json_file):
    """Print every layer of MODEL: shape, parameters, multiply-adds (MACs), memory, receptive field.

    Nothing is computed but shapes. Sizes left out are those of the paper.
    """
    with mistakes():
        known = published.find(model, variant, **options)
        shape = image_shape(model, variant, options, size, channels)
        net = models.blank(model, variant=variant, num_classes=classes, in_channels=channels, **options)
        result = ledger(net, shape, batch, training)
        if json_file:
            content = {"model": model, "variant": variant or (known.variant if known else None), "options": options}
            content.update(result.as_dict())
            content["published"] = _published_as_dict(known, model)
            atomic_write(json_file, lambda path: _write(path, content))
    click.echo("\n".join([*table(result), "", *_beside(result, known, model, classes)]))


def table(result):
    """The lines of a Ledger: one per row, and the totals."""
    head = "layer", "type", "output", "parameters", "MACs", "memory", "sees", "jump"
    lines = [head]
    for row in result.rows:
        field = (_pair(row.field.size), _pair(row.field.jump)) if row.field else ("", "")
        name = row.name or "(net)"
        if not row.ran:
            lines.append((name, row.kind, "not run", _count(row.parameters), "", "", "", ""))
            continue
        shape = "×".join(map(str, row.shape))
        lines.append((name, row.kind, shape, _count(row.parameters), _count(row.macs), _bytes(row.memory), *field))
    totals = "total", "", "", f"{result.parameters:,}", f"{result.macs:,}", _bytes(result.memory), "", ""
    widths = [max(map(len, column)) for column in zip(*lines, totals, strict=True)]
    text = [
        "  ".join(f"{cell:{'<' if i < 3 else '>'}{w}}" for i, (cell, w) in enumerate(zip(line, widths, strict=True)))
        for line in [*lines, totals]
    ]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    images = "1 image" if result.batch == 1 else f"{result.batch} images"
    shape = "×".join(map(str, result.input_shape))
    weights = _bytes(4 * result.parameters)
    return [
        *(line.rstrip() for line in [text[0], rule, *text[1:-1], rule, text[-1]]), "",
        f"input {shape}; MACs for 1 image, memory of all outputs for {images}; the parameters take {weights}",
    ]  # fmt: skip


def _beside(result, known, model, classes):
    """The published figures in lines of their own, and why they differ."""
    if known is None:
        return ["published: nothing for this form of the net"]
    if (known.shape, known.classes) != (result.input_shape, classes or known.classes):
        return [f"published: figures for images of {'×'.join(map(str, known.shape))} and {known.classes:,} classes"]
    used = sum(row.parameters for row in result.rows if row.ran)
    counted = f"{result.parameters:,}" + (f" ({used:,} of them run)" if used != result.parameters else "")
    expected = f"{known.parameters:,}"
    if known.used_parameters:
        expected += f" ({known.used_parameters:,} without what only training uses)"
    macs = known.macs + (f" ({known.training_macs} in training)" if known.training_macs else "")
    own = f"{result.macs:,}"
    if known.connections:
        own, macs = f"{own}; {result.connections:,} connections", f"{macs}; {known.connections} connections"
    lines = [("", "parameters", "MACs"), ("counted here", counted, own), ("expected", expected, macs)]
    lines += known.claims
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return text + [f"- {line}" for line in published.differences(model)]


def _published_as_dict(known, model):
    if known is None:
        return None
    return {
        "variant": known.variant,
        "input": list(known.shape),
        "parameters": known.parameters,
        "macs": known.macs,
        "connections": known.connections or None,
        "training_macs": known.training_macs or None,
        "used_parameters": known.used_parameters or known.parameters,
        "claims": [claim._asdict() for claim in known.claims],
        "differences": list(published.differences(model)),
    }


def _write(path, content):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")


def _count(number):
    return f"{number:,}" if number else ""


def _bytes(count):
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if count else ""
        count /= 1000
    return f"{count:.3g} GB"


def _pair(values):
    """Rows and columns: one number where they are equal, "all" where the whole image is meant."""
    rows, columns = ("all" if n == math.inf else f"{n:g}" for n in values)
    return rows if rows == columns else f"{rows}×{columns}"
