"""What the nets share: checks of their arguments and images, and how their weights are drawn."""

from numbers import Real

from .. import nn

STEMS = "imagenet", "small"


def check_choice(name, argument, value, choices):
    """Raise ValueError, naming the argument and what is known, unless value is one of the choices."""
    if value not in tuple(choices):
        raise ValueError(f"{name}: {argument} must be one of {', '.join(map(str, choices))}, got {value!r}")


def check_images(net, x, least):
    """Raise ValueError unless x is (N, net.in_channels, H, W) with H and W of at least `least`."""
    if x.ndim != 4 or x.shape[1] != net.in_channels or min(x.shape[2:]) < least:
        raise ValueError(
            f"{type(net).__name__}: images must be (N, {net.in_channels}, H, W) with H and W at least {least}, "
            f"got shape {x.shape}"
        )


def least_size(layers):
    """The fewest rows and columns that leave a pixel after these layers; those without windows are passed over."""
    least = 1
    for layer in reversed(list(layers)):
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            window = layer.dilation[0] * (layer.kernel_size[0] - 1) + 1
            short = layer.stride[0] - 1 if getattr(layer, "ceil_mode", False) else 0  # the last window may reach over
            least = max(1, (least - 1) * layer.stride[0] + window - short - 2 * layer.padding[0])
    return least


def scaled(channels, width, multiple=1):
    """Channels times width, as the nearest multiple, at least one.

    Raises:
        ValueError: width is not a positive number.
    """
    if not isinstance(width, Real) or isinstance(width, bool) or not 0 < width < float("inf"):
        raise ValueError(f"width must be a positive number, got {width!r}")
    return multiple * max(1, round(channels * width / multiple))


def build(name, init, make, *arguments, **options):
    """make(…), a net, with weights drawn once: by a scheme of nn.init.SCHEMES, or by net.initialize_as_paper().

    Raises:
        ValueError: another scheme.
    """
    check_choice(name, "init", init, (*nn.init.SCHEMES, "paper"))
    with nn.init.blank():  # the layers draw no weights of their own
        net = make(*arguments, **options)
    if init == "paper":
        net.initialize_as_paper()
    else:
        nn.init.initialize(net, init)
    return net
