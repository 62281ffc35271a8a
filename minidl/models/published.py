"""What is published about the nets: parameters and multiply-adds of each variant, what papers and other
implementations say, and why the figures differ. `minidl summary` prints them beside what it counts.

Multiply-adds (MACs) are those of convolutions and fully connected layers for one image.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from .resnet import VARIANTS as RESNET_VARIANTS
from .vgg import NAMES as VGG_NAMES


class Claim(NamedTuple):
    """What a source says, in its own precision; "" where it says nothing."""

    source: str
    parameters: str
    macs: str


@dataclass(frozen=True)
class Net:
    """The figures of one variant. `options` are further arguments of models.create.

    Attributes:
        shape, classes: the images (C, H, W) and classes that the figures hold for.
        parameters: exact, all that are trained.
        macs: for one image in evaluation, as text: all digits, or rounded with a unit ("7.609 G").
        used_parameters, training_macs: parameters without those that only training uses, and multiply-adds with them,
            where the two differ.
        connections: as the paper counts them: with biases and subsampling.
    """

    model: str
    variant: str
    options: dict
    shape: tuple
    classes: int
    parameters: int
    macs: str
    used_parameters: int | None = None
    training_macs: str = ""
    claims: tuple = field(default=())
    connections: str = ""


IMAGENET, CIFAR = (3, 224, 224), (3, 32, 32)
LECUN = "LeCun et al. 1998, section II.B"
KRIZHEVSKY = "Krizhevsky et al. 2012, section 1"
SIMONYAN = "Simonyan & Zisserman 2014, table 2"
SZEGEDY = "Szegedy et al. 2014, section 5 and table 1"
HE_IMAGENET, HE_CIFAR = "He et al. 2015, table 1", "He et al. 2015, table 6"
TORCHVISION = "torchvision's weights, metadata"


def _vgg(variant, parameters, macs, normalized, paper, torchvision=None):
    claims = (Claim(SIMONYAN, paper, ""),)
    plain = (*claims, Claim(TORCHVISION, f"{parameters:,}", torchvision)) if torchvision else claims
    yield Net("vgg", variant, {}, IMAGENET, 1000, parameters, macs, claims=plain)
    if normalized:
        yield Net("vgg", variant, {"batch_norm": True}, IMAGENET, 1000, normalized, macs, claims=claims)


def _resnet(depth, parameters, v1, v15, paper, torchvision):
    claims = (Claim(HE_IMAGENET, "", paper),)
    own = (*claims, Claim(TORCHVISION, f"{parameters:,}", torchvision))
    yield Net(f"resnet{depth}", "torchvision", {}, IMAGENET, 1000, parameters, v15, claims=own)
    yield Net(f"resnet{depth}", "paper", {}, IMAGENET, 1000, parameters, v1, claims=claims)


def _without_projections(depth, parameters, macs):
    yield Net(f"resnet{depth}", "paper", {"shortcut": "A"}, IMAGENET, 1000, parameters, macs)
    yield Net(f"plain{depth}", "paper", {}, IMAGENET, 1000, parameters, macs)


def _cifar(depth, parameters, macs, macs_b, paper):
    """Option B: 2,752 parameters more at every depth."""
    yield Net(f"resnet{depth}", "paper", {}, CIFAR, 10, parameters, macs, claims=(Claim(HE_CIFAR, paper, ""),))
    yield Net(f"resnet{depth}", "paper", {"shortcut": "B"}, CIFAR, 10, parameters + 2752, macs_b)
    if depth in (20, 56):
        yield Net(f"plain{depth}", "paper", {}, CIFAR, 10, parameters, macs)


NETS = (
    Net("lenet", "lecture", {}, (1, 32, 32), 10, 61_706, "416,520"),
    Net("lenet", "paper", {}, (1, 32, 32), 10, 60_000, "325,680", claims=(
        Claim(LECUN, "60,000", "340,908 connections, 840 of them fixed"),
    ), connections="340,068"),
    Net("alexnet", "paper", {}, (3, 227, 227), 1000, 60_965_224, "724.4 M", claims=(
        Claim(KRIZHEVSKY, "60 million", ""), Claim("Caffe's bvlc_alexnet", "60,965,224", "724.4 M"),
    )),
    Net("alexnet", "ungrouped", {}, (3, 227, 227), 1000, 62_378_344, "1,135.3 M"),
    Net("alexnet", "torchvision", {}, IMAGENET, 1000, 61_100_840, "714.2 M", claims=(
        Claim(TORCHVISION, "61,100,840", "0.71 G"),
    )),
    *_vgg("A", 132_863_336, "7.609 G", 132_868_840, "133 million", "7.61 G"),
    *_vgg("A-LRN", 132_863_336, "7.609 G", None, "133 million"),
    *_vgg("B", 133_047_848, "11.308 G", 133_053_736, "133 million", "11.31 G"),
    *_vgg("C", 133_638_952, "11.771 G", 133_647_400, "134 million"),
    *_vgg("D", 138_357_544, "15.470 G", 138_365_992, "138 million", "15.47 G"),
    *_vgg("E", 143_667_240, "19.632 G", 143_678_248, "144 million", "19.63 G"),
    Net("googlenet", "paper", {}, IMAGENET, 1000, 13_378_280, "1.583 G", 6_998_552, "1.591 G", (
        Claim(SZEGEDY, "6.8 million without heads", "1.5 G"),
    )),
    Net("googlenet", "paper", {"batch_norm": True}, IMAGENET, 1000, 13_385_816, "1.583 G", 7_005_832, "1.591 G"),
    Net("googlenet", "torchvision", {}, IMAGENET, 1000, 13_004_888, "1.498 G", 6_624_904, "1.507 G", (
        Claim(TORCHVISION, "6,624,904 without heads", "1.50 G"),
    )),
    *_resnet(18, 11_689_512, "1.814 G", "1.814 G", "1.8 G", "1.81 G"),
    *_resnet(34, 21_797_672, "3.664 G", "3.664 G", "3.6 G", "3.66 G"),
    *_resnet(50, 25_557_032, "3.858 G", "4.089 G", "3.8 G", "4.09 G"),
    *_resnet(101, 44_549_160, "7.570 G", "7.801 G", "7.6 G", "7.80 G"),
    *_resnet(152, 60_192_808, "11.282 G", "11.514 G", "11.3 G", "11.51 G"),
    *_without_projections(18, 11_515_688, "1.795 G"),
    *_without_projections(34, 21_623_848, "3.644 G"),
    Net("resnet34", "paper", {"shortcut": "C"}, IMAGENET, 1000, 22_716_840, "3.831 G"),
    *_cifar(20, 269_722, "40.55 M", "40.81 M", "0.27 million"),
    *_cifar(32, 464_154, "68.86 M", "69.12 M", "0.46 million"),
    *_cifar(44, 658_586, "97.17 M", "97.44 M", "0.66 million"),
    *_cifar(56, 853_018, "125.49 M", "125.75 M", "0.85 million"),
    *_cifar(110, 1_727_962, "252.89 M", "253.15 M", "1.7 million"),
)  # fmt: skip

# Why the figures differ.
DIFFERENCES = {
    "lenet": (
        "The paper counts connections: multiply-adds, one for each bias that is added, and one for each element that "
        "its trainable subsampling reads; 840 of its 340,908 are the fixed radial basis functions.",
        "The lecture's form connects every map of C3 to every map of S2 (the paper: a partial table), pools by the "
        "maximum, without parameters, and ends in a trained layer.",
    ),
    "alexnet": (
        "The paper says 224 pixels, but 11×11 windows at stride 4 fit 227, or 224 padded by 2; Caffe takes 227.",
        "The paper's two towers are groups=2 in the second, fourth and fifth convolution; torchvision's form "
        "(Krizhevsky 2014, 'One weird trick') has no groups, other widths (64-192-384-256-256) and no response "
        "normalization.",
        "The paper's response normalization does not divide alpha by the window's size; Caffe, ONNX and PyTorch do.",
    ),
    "vgg": (
        "Parameters are the same in the paper (which rounds to millions), Caffe and torchvision; A-LRN and C are not "
        "in torchvision. Batch norm came later and adds two parameters per channel.",
    ),
    "googlenet": (
        "The paper's table leaves biases and heads out of its figures and rounds.",
        "torchvision has batch norm in place of biases and response normalization, and 3×3 in place of 5×5 windows "
        "in the third branch; dropout 0.2 (paper 0.4), a 2×2 fourth pooling, heads that pool adaptively to 4×4.",
        "Caffe's bvlc_googlenet is the paper's form with both heads.",
    ),
    "resnet": (
        "v1, the paper and Caffe: bottlenecks take the stride in their first 1×1 convolution; v1.5, torchvision: in "
        "the 3×3. Parameters are the same, multiply-adds are not.",
        "Shortcuts that change the number of channels: option A pads with zeros and has no parameters (the CIFAR "
        "nets), option B projects by 1×1 (torchvision), option C projects all shortcuts.",
    ),
}  # fmt: skip


def find(model, variant=None, **options):
    """The Net of a variant (the model's first where None) and options, by any of their names in models.create.

    None where nothing is published.
    """
    options = {k: v for k, v in options.items() if k not in ("init", "aux_logits", "transform_input")}
    variant = options.pop("config", variant)
    if model in VGG_NAMES:
        variant = VGG_NAMES[model][0] if variant in (None, "paper", "torchvision") else variant
        model = "vgg"
    elif model == "vgg":
        variant = variant or "D"
    variant = RESNET_VARIANTS.get(variant, variant)
    for net in NETS:
        if net.model == model and variant in (None, net.variant) and net.options == options:
            return net
    return None


def differences(model):
    """Why the figures of a net's variants differ: lines."""
    family = next((name for name in ("vgg", "plain", "resnet") if model.startswith(name)), model)
    return DIFFERENCES.get("resnet" if family == "plain" else family, ())


def agrees(count, text):
    """Whether a count is what the text says, rounded as the text is.

    Raises:
        ValueError: the text is no figure such as "416,520" or "7.609 G".
    """
    number, _, unit = text.replace(",", "").partition(" ")
    if unit not in ("", "M", "G"):
        raise ValueError(f"agrees: a figure is a number and M, G or nothing, got {text!r}")
    digits = len(number.partition(".")[2])
    return f"{count / {'': 1, 'M': 1e6, 'G': 1e9}[unit]:.{digits}f}" == number
