"""The nets of the lecture, by name."""

import difflib

from .files import blank, load, save
from .lenet import LeNet, lenet

MODELS = {"lenet": lenet}

__all__ = ["MODELS", "LeNet", "blank", "create", "lenet", "load", "save"]


def create(name, variant=None, num_classes=None, in_channels=None, **options):
    """A net with fresh weights.

    Args:
        name: one of MODELS.
        variant: one of the net's variants; its own default where None.
        num_classes, in_channels: the net's own where None: 1000 classes and 3 channels, or 10 and 1 for LeNet.
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
    given = {"variant": variant, "num_classes": num_classes, "in_channels": in_channels}
    try:
        given = {k: v for k, v in given.items() if v is not None}
        net = MODELS[name](**given, **options)
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            raise ValueError(f"create: {name} has no such option: {error}") from None
        raise
    net.created_as = {"model": name, **given, "options": options}  # what models.save writes beside the weights
    return net
