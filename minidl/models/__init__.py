"""The nets of the lecture, by name."""

import difflib

from .. import ops
from .alexnet import AlexNet, alexnet
from .files import blank, load, save
from .googlenet import GoogLeNet, GoogLeNetOutput, googlenet, three_losses
from .lenet import LeNet, PaperLeNet, lenet
from .resnet import (
    ResNet,
    cifar_resnet,
    plain,
    plain18,
    plain20,
    plain34,
    plain56,
    resnet,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
)
from .vgg import VGG, start_from, vgg, vgg11, vgg13, vgg16, vgg19

_FOR_SMALL_IMAGES = lenet, resnet20, resnet32, resnet44, resnet56, resnet110, plain20, plain56
_FOR_IMAGENET = (
    alexnet, vgg, vgg11, vgg13, vgg16, vgg19, googlenet, resnet18, resnet34, resnet50, resnet101, resnet152, plain18,
    plain34,
)  # fmt: skip
MODELS = {function.__name__: function for function in (*_FOR_SMALL_IMAGES, *_FOR_IMAGENET)}

__all__ = [
    "MODELS", "AlexNet", "GoogLeNet", "GoogLeNetOutput", "LeNet", "PaperLeNet", "ResNet", "VGG", "alexnet", "blank",
    "cifar_resnet", "create", "googlenet", "lenet", "load", "plain", "plain18", "plain20", "plain34", "plain56",
    "resnet", "resnet101", "resnet110", "resnet152", "resnet18", "resnet20", "resnet32", "resnet34", "resnet44",
    "resnet50", "resnet56", "save", "small_image_options", "start_from", "three_losses", "training_loss", "vgg",
    "vgg11", "vgg13", "vgg16", "vgg19",
]  # fmt: skip


def create(name, variant=None, num_classes=None, in_channels=None, **options):
    """A net with fresh weights.

    Args:
        name: one of MODELS.
        variant: one of the net's variants; its own default where None.
        num_classes, in_channels: the net's own where None: 1000 classes and 3 channels; of LeNet 10 and 1, of the nets
            for CIFAR 10 and 3.
        options: what else the net's function takes.

    Attributes of the net:
        created_as: the arguments, which models.save keeps and models.load builds the net from.

    Raises:
        ValueError: an unknown name, variant or option.
    """
    if name not in MODELS:
        close = difflib.get_close_matches(str(name), MODELS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"create: unknown model {name!r}, known are {', '.join(MODELS)}{hint}")
    for argument, value in (("num_classes", num_classes), ("in_channels", in_channels)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"create: {argument} must be a positive integer, got {value!r}")
    given = {"variant": variant, "num_classes": num_classes, "in_channels": in_channels}
    try:
        given = {k: v for k, v in given.items() if v is not None}
        net = MODELS[name](**given, **options)
    except TypeError as error:
        if "unexpected keyword argument" in str(error) or "multiple values" in str(error):
            raise ValueError(f"create: {name} has no such option: {error}") from None
        raise
    net.created_as = {"model": name, **given, "options": options}  # what models.save writes beside the weights
    return net


def small_image_options(name):
    """The options with which a net of MODELS suits images of 28 to 64 pixels."""
    return {"stem": "small"} if MODELS[name] in _FOR_IMAGENET else {}


def training_loss(output, target):
    """What a net of MODELS is trained on: cross-entropy, for GoogLeNet's output with that of its heads."""
    return three_losses(output, target) if isinstance(output, GoogLeNetOutput) else ops.cross_entropy(output, target)
