"""minidl export MODEL --weights FILE --out net.onnx: a net for other programs."""

import click

from .. import models, onnx
from ..models.files import creation
from ..serialization import load, load_metadata
from ._common import image_shape, mistakes, model_options


@click.command()
@click.argument("model")
@click.option("--weights", required=True, type=click.Path(), metavar="FILE", help="Weights, safetensors or .npz.")
@click.option("--out", required=True, type=click.Path(dir_okay=False), metavar="FILE.onnx", help="Written whole.")
@click.option("--variant", help="One of the model's variants.")
@model_options
@click.option("--size", type=click.IntRange(1), help="Rows and columns of the images.")
@click.option("--classes", type=click.IntRange(1), help="What the net tells apart.")
@click.option("--channels", type=click.IntRange(1), help="Of the images.")
@click.option("--batch", type=click.IntRange(1), help="Images per run; any number where left out.")
def export(model, weights, out, variant, options, size, classes, channels, batch):
    """Write MODEL with its weights as an ONNX file.

    What is left out is what the weights' file says, or the model's own.
    """
    with mistakes():
        metadata = load_metadata(weights)
        if metadata.get("model", model) != model:
            raise ValueError(f"export: {weights} holds the weights of {metadata['model']}, not of {model}")
        given = {"variant": variant, "num_classes": classes, "in_channels": channels}
        arguments = {**creation(metadata), **{k: v for k, v in given.items() if v is not None}, **options}
        net = models.blank(model, **arguments)
        net.load_state_dict(load(weights))
        created = net.created_as
        shape = image_shape(model, created.get("variant"), created["options"], size, created.get("in_channels"))
        onnx.export(net, out, shape, batch)
    count = "any number of" if batch is None else batch
    click.echo(f"wrote {out}: {model}, {count} images of {'×'.join(map(str, shape))}, operator set {onnx.OPSET}")
