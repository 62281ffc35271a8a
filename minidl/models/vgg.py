"""VGG: Simonyan & Zisserman 2014, "Very deep convolutional networks for large-scale image recognition", table 1.

Stacks of 3×3 windows: two see 5×5 pixels, three 7×7, with fewer weights than one window of that size and a ReLU after
each. torchvision's nets are the configurations A, B, D and E.
"""

from typing import NamedTuple

from .. import nn
from ._common import STEMS, build, check_choice, check_images, least_size, scaled

# A number is a convolution with 3×3 windows and as many channels ("/1": 1×1 windows), "max" a pooling, which ends a
# stage, "lrn" AlexNet's response normalization.
CONFIGURATIONS = {
    "A":     "64     max  128     max  256 256          max  512 512          max  512 512          max",
    "A-LRN": "64 lrn max  128     max  256 256          max  512 512          max  512 512          max",
    "B":     "64 64  max  128 128 max  256 256          max  512 512          max  512 512          max",
    "C":     "64 64  max  128 128 max  256 256 256/1    max  512 512 512/1    max  512 512 512/1    max",
    "D":     "64 64  max  128 128 max  256 256 256      max  512 512 512      max  512 512 512      max",
    "E":     "64 64  max  128 128 max  256 256 256 256  max  512 512 512 512  max  512 512 512 512  max",
}  # fmt: skip
NAMES = {"vgg11": ("A", "A-LRN"), "vgg13": ("B",), "vgg16": ("D", "C"), "vgg19": ("E",)}  # the first is torchvision's


class VGG(nn.Module):
    """Images (N, in_channels, H, W) to logits (N, num_classes).

    Any image of at least 32×32 is taken: an average pooling brings the last maps to 7×7, which they are at 224.

    Args:
        config: one of CONFIGURATIONS. batch_norm: normalize after each convolution, as torchvision's *_bn.
        stem: "small", for images of about 16 to 64 pixels: in place of the fifth pooling stands the mean of all pixels.
        width: channels and hidden units times this.
    """

    def __init__(self, config="D", num_classes=1000, in_channels=3, batch_norm=False, stem="imagenet", width=1.0):
        super().__init__()
        check_choice("VGG", "config", config, CONFIGURATIONS)
        check_choice("VGG", "stem", stem, STEMS)
        self.config, self.in_channels, self.batch_norm = config, in_channels, bool(batch_norm)
        small = stem == "small"
        layers, channels = [], in_channels
        for entry in CONFIGURATIONS[config].split():
            if entry == "max":
                layers.append(nn.MaxPool2d(2, 2))
            elif entry == "lrn":
                layers.append(nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0, divide_alpha=False))
            else:
                count, _, size = entry.partition("/")
                wider, kernel_size = scaled(int(count), width), int(size or 3)
                layers.append(nn.Conv2d(channels, wider, kernel_size, padding=kernel_size // 2))
                layers += [nn.BatchNorm2d(wider)] if batch_norm else []
                layers.append(nn.ReLU())
                channels = wider
        self.features = nn.Sequential(*(layers[:-1] if small else layers))
        last, hidden = 1 if small else 7, scaled(4096, width)
        self.avgpool = nn.AdaptiveAvgPool2d(last)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Linear(channels * last * last, hidden), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(hidden, num_classes),
        )  # fmt: skip

    def forward(self, x):
        check_images(self, x, least_size(self.features))
        return self.classifier(self.flatten(self.avgpool(self.features(x))))

    def initialize_as_paper(self):
        """Weights normal with variance 0.01, biases 0 (section 3.1)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.1)
                nn.init.zeros_(module.bias)

    def stages(self):
        """The convolutions, each with its batch norm (None without), as a list of lists: one per stage."""
        stages, layers = [[]], list(self.features)
        for layer, after in zip(layers, [*layers[1:], None], strict=True):
            if isinstance(layer, nn.Conv2d):
                stages[-1].append((layer, after if isinstance(after, nn.BatchNorm2d) else None))
            elif isinstance(layer, nn.MaxPool2d):
                stages.append([])
        return [stage for stage in stages if stage]


class Copied(NamedTuple):
    """A layer that start_from copied, by its name in both nets."""

    name: str
    source: str


def start_from(net, trained, rest="paper"):
    """Start a VGG from a trained shallower one: the first four convolutions and the last three linear layers.

    As in section 3.1, where A is trained first and the deeper nets start from it. The paper does not say which layers
    of a deeper net receive A's: here those of the same place in the same stage, so that they see the image at the same
    scale. In E, A's convolutions 1, 2, 3, 4 become 1, 3, 5, 6. No layer is frozen or slowed afterwards.

    Args:
        net: the VGG that starts; trained: the VGG with weights, of any configuration. With batch norm in both, the four
            convolutions' norms are copied too.
        rest: "paper" draws the other weights from N(0, variance 0.01) and sets their biases to 0; "keep" leaves them.

    Returns:
        a list of Copied, in the net's order.

    Raises:
        TypeError: one is no VGG. ValueError: layers of different shapes; then nothing has changed.
    """
    for argument, value in (("net", net), ("trained", trained)):
        if not isinstance(value, VGG):
            raise TypeError(f"start_from: {argument} must be a VGG, got {type(value).__name__}")
    check_choice("start_from", "rest", rest, ("paper", "keep"))
    places = [(s, i) for s, stage in enumerate(trained.stages()) for i in range(len(stage))][:4]
    pairs = []
    for stage, place in places:
        if place >= len(net.stages()[stage]):
            raise ValueError(
                f"start_from: configuration {net.config} has no convolution {place + 1} in stage {stage + 1}, "
                f"{trained.config} has one"
            )
        pairs += zip(net.stages()[stage][place], trained.stages()[stage][place], strict=True)
    linear = [[m for m in vgg.classifier if isinstance(m, nn.Linear)] for vgg in (net, trained)]
    pairs = [(own, other) for own, other in [*pairs, *zip(*linear, strict=True)] if own and other]
    names = [{module: name for name, module in vgg.named_modules()} for vgg in (net, trained)]
    for own, other in pairs:
        if own.weight.shape != other.weight.shape:
            raise ValueError(
                f"start_from: {names[0][own]} has weights {own.weight.shape}, {names[1][other]} of the trained net "
                f"{other.weight.shape}"
            )
    if rest == "paper":
        net.initialize_as_paper()
    for own, other in pairs:
        own.load_state_dict(other.state_dict())
    return [Copied(names[0][own], names[1][other]) for own, other in pairs]


def vgg(
    variant=None, num_classes=1000, in_channels=3, batch_norm=False, stem="imagenet", width=1.0, init="he", config=None
):
    """A VGG; see the class. init: a scheme of nn.init.SCHEMES, or "paper" (section 3.1).

    Args:
        variant, config: the configuration, by either name; D where neither is given.

    Raises:
        ValueError: an unknown configuration, stem or scheme, or a width that is not positive.
    """
    if variant is not None and config is not None and variant != config:
        raise ValueError(f"vgg: variant and config are the same thing, got {variant!r} and {config!r}")
    chosen = next((given for given in (variant, config) if given is not None), "D")
    check_choice("vgg", "variant", chosen, CONFIGURATIONS)
    return build("vgg", init, VGG, chosen, num_classes, in_channels, batch_norm, stem, width)


def _of_depth(name, variant, *arguments, **options):
    known = NAMES[name]
    check_choice(name, "variant", variant, (*known, "paper", "torchvision"))
    return vgg(variant if variant in known else known[0], *arguments, **options)


def vgg11(variant="A", *arguments, **options):
    """Configuration A or A-LRN; see vgg."""
    return _of_depth("vgg11", variant, *arguments, **options)


def vgg13(variant="B", *arguments, **options):
    """Configuration B; see vgg."""
    return _of_depth("vgg13", variant, *arguments, **options)


def vgg16(variant="D", *arguments, **options):
    """Configuration D, or C with its 1×1 windows; see vgg."""
    return _of_depth("vgg16", variant, *arguments, **options)


def vgg19(variant="E", *arguments, **options):
    """Configuration E; see vgg."""
    return _of_depth("vgg19", variant, *arguments, **options)
