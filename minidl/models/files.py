"""Nets in files: the weights, and beside them in the file's header what the net is, so that it can be built again.

    save(net, "vgg.safetensors", {"classes": names, "mean": mean, "std": std})
    net = load("vgg.safetensors")

The header holds model, variant, num_classes, in_channels and options, as models.create takes them, and what the caller
adds: by custom `classes` (their names), `mean` and `std` (one number per channel, by which images are normalised).
"""

from .. import nn, serialization

_CREATE = "variant", "num_classes", "in_channels"


def blank(model, **arguments):
    """models.create(model, …) without drawing weights: they hold what memory held. To load into, or to look at."""
    from . import create

    with nn.init.blank():
        return create(model, **arguments)


def save(net, path, metadata=None):
    """Write the weights of a net that models.create built, and how it was built, to a safetensors file.

    Args:
        metadata: what else JSON can hold: the classes' names, the normalisation, where it was trained.

    Raises:
        ValueError: a net of another origin, or metadata that would hide how it was built.
    """
    created = getattr(net, "created_as", None)
    if created is None:
        raise ValueError(
            f"save: {type(net).__name__} was not built by models.create; minidl.save(net.state_dict(), path) keeps "
            "the weights alone"
        )
    hidden = sorted(set(metadata or {}) & set(created))
    if hidden:
        raise ValueError(f"save: metadata must not hold {', '.join(hidden)}: that is how the net was built")
    serialization.save(net.state_dict(), path, {**created, **(metadata or {})})


def load(path):
    """The net in a file that `save` or `minidl train` wrote, in evaluation mode.

    Raises:
        FileNotFoundError, ValueError: as minidl.load; ValueError also where the header does not say what the net is, or
            names a model that is unknown. KeyError, ValueError: weights that are not that net's, listed.
    """
    metadata = serialization.load_metadata(path)
    if not isinstance(metadata.get("model"), str):
        raise ValueError(
            f"load: {path} does not say what net its weights are of; build it with models.create and load them with "
            "net.load_state_dict(minidl.load(path))"
        )
    net = blank(metadata["model"], **creation(metadata))
    net.load_state_dict(serialization.load(path))
    return net.eval()


def creation(metadata):
    """The arguments of models.create in a file's header; `classes` and `mean` stand in for numbers that are missing."""
    arguments = {name: metadata[name] for name in _CREATE if metadata.get(name) is not None}
    for name, listed in (("num_classes", "classes"), ("in_channels", "mean")):
        if isinstance(metadata.get(listed), list):
            arguments.setdefault(name, len(metadata[listed]))
    options = metadata.get("options")
    return {**(options if isinstance(options, dict) else {}), **arguments}
