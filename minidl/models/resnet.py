"""ResNet: He, Zhang, Ren, Sun 2015, "Deep residual learning for image recognition", tables 1 and 6, section 4.2.

A block computes what is to be added to its input: y = relu(F(x) + shortcut(x)). Where nothing needs to change, F has to
become zero, which is easier to learn than the identity; so deeper nets are no longer worse on their own training set,
as plain ones are.

    resnet18 … resnet152   for ImageNet      variant "torchvision" (v1.5) or "paper" (v1)
    resnet20 … resnet110   for CIFAR, 6n+2 layers
    plain18, plain34, plain20, plain56       the same without shortcuts

All end in the mean of all pixels: an image of any size is taken.
"""

from .. import nn, ops
from ._common import STEMS, build, check_choice, check_images, scaled


class ZeroPadShortcut(nn.Module):
    """Option A: (N, C, H, W) to (N, out_channels, H/stride, W/stride) without weights.

    Every stride-th pixel is taken, and the new channels are zeros, half of them before and half after.
    """

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.stride, new = stride, out_channels - in_channels
        self.before, self.after = new // 2, new - new // 2

    def forward(self, x):
        x = x[:, :, :: self.stride, :: self.stride]
        return ops.pad(x, (0, 0, 0, 0, self.before, self.after))


def _shortcut(option, in_channels, out_channels, stride):
    """The way around a block: None in plain nets; else identity wherever the shape stays, but for option C."""
    if option is None:
        return None
    if stride == 1 and in_channels == out_channels and option != "C":
        return nn.Identity()
    if option == "A":
        return ZeroPadShortcut(in_channels, out_channels, stride)
    projection = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(out_channels))


class _Block(nn.Module):
    def _around(self, x):
        return None if self.downsample is None else self.downsample(x)


class BasicBlock(_Block):
    """3×3, 3×3 (figure 5, left)."""

    expansion = 1

    def __init__(self, in_channels, channels, stride, shortcut, variant):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(shortcut, in_channels, channels, stride)

    def forward(self, x):
        y = self.bn1(self.conv1(x), relu=True)
        return self.bn2(self.conv2(y), relu=True, residual=self._around(x))


class Bottleneck(_Block):
    """1×1 to fewer channels, 3×3, 1×1 to four times as many (figure 5, right).

    The paper takes the stride in the first 1×1, which skips three of four pixels; torchvision (v1.5) in the 3×3.
    """

    expansion = 4

    def __init__(self, in_channels, channels, stride, shortcut, variant):
        super().__init__()
        first, second = (stride, 1) if variant == "paper" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, stride=second, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.downsample = _shortcut(shortcut, in_channels, 4 * channels, stride)

    def forward(self, x):
        y = self.bn1(self.conv1(x), relu=True)
        y = self.bn2(self.conv2(y), relu=True)
        return self.bn3(self.conv3(y), relu=True, residual=self._around(x))


class ResNet(nn.Module):
    """Images (N, in_channels, H, W) of any size to logits (N, num_classes).

    Args:
        block: BasicBlock or Bottleneck. counts: how many per stage; from the second stage on each stage halves the
            image and doubles the channels. channels: of the stem and the first stage.
        shortcut: "A", "B", "C", or None for a plain net. variant: "paper" or "torchvision", see Bottleneck.
        stem: "imagenet", 7×7 with stride 2 and a max pooling; "small", 3×3 with stride 1 alone.
    """

    def __init__(self, block, counts, channels, num_classes, in_channels, shortcut, variant, stem):
        super().__init__()
        self.in_channels = in_channels
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=7, stride=2, padding=3, bias=False)
            self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        else:
            self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, padding=1, bias=False)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(channels)
        incoming = channels
        for stage, count in enumerate(counts):
            blocks, width = [], channels * 2**stage
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(block(incoming, width, stride, shortcut, variant))
                incoming = width * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self._stages = [f"layer{stage + 1}" for stage in range(len(counts))]
        self.avgpool = nn.GlobalAvgPool2d()
        self.fc = nn.Linear(incoming, num_classes)

    def forward(self, x):
        check_images(self, x, 1)
        x = self.maxpool(self.bn1(self.conv1(x), relu=True))
        for stage in self._stages:
            x = getattr(self, stage)(x)
        return self.fc(self.avgpool(x).flatten(1))

    def initialize_as_paper(self):
        """He's weights, biases 0 (section 3.4)."""
        nn.init.initialize(self, "he")


# Table 1: the block and how many of it the four stages have.
IMAGENET = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
VARIANTS = {"torchvision": "torchvision", "v1.5": "torchvision", "paper": "paper", "v1": "paper"}
SHORTCUTS = "A", "B", "C"


def resnet(
    depth, variant="torchvision", num_classes=1000, in_channels=3, shortcut="B", stem="imagenet", width=1.0, init="he"
):
    """A ResNet for ImageNet.

    Args:
        depth: 18, 34, 50, 101 or 152.
        variant: "torchvision" or "v1.5"; "paper" or "v1". Their weights have the same shapes and are not
            interchangeable: see Bottleneck.
        shortcut: where the shape changes, "A" pads with zeros, "B" projects; "C" projects everywhere.
        stem: "small" for images of about 16 to 64 pixels, see ResNet. width: channels times this.
        init: a scheme of nn.init.SCHEMES, or "paper", which is "he".

    Raises:
        ValueError: one of these is unknown.
    """
    check_choice("resnet", "shortcut", shortcut, SHORTCUTS)
    return _imagenet(f"resnet{depth}", depth, shortcut, variant, num_classes, in_channels, stem, width, init)


def _imagenet(name, depth, shortcut, variant, num_classes, in_channels, stem, width, init):
    check_choice(name, "depth", depth, IMAGENET)
    check_choice(name, "variant", variant, VARIANTS)
    check_choice(name, "stem", stem, STEMS)
    block, counts = IMAGENET[depth]
    return build(
        name, init, ResNet, block, counts, scaled(64, width), num_classes, in_channels, shortcut, VARIANTS[variant],
        stem,
    )  # fmt: skip


def cifar_resnet(depth, variant="paper", num_classes=10, in_channels=3, shortcut="A", width=1.0, init="he"):
    """A ResNet for CIFAR's images of 32×32: a 3×3 convolution, three stages of n basic blocks with 16, 32 and 64
    channels, 6n+2 layers.

    Args:
        depth: 6n+2, at least 8: 20, 32, 44, 56 and 110 in the paper.
        variant: "paper", the only one. shortcut: "A" in the paper; see resnet.

    Raises:
        ValueError: a depth that is not 6n+2, or something unknown.
    """
    check_choice("cifar_resnet", "shortcut", shortcut, SHORTCUTS)
    return _cifar(f"resnet{depth}", depth, shortcut, variant, num_classes, in_channels, width, init)


def _cifar(name, depth, shortcut, variant, num_classes, in_channels, width, init):
    if not isinstance(depth, int) or depth < 8 or depth % 6 != 2:
        raise ValueError(f"{name}: depth must be 6n+2, from 8 on, got {depth!r}")
    check_choice(name, "variant", variant, ("paper",))
    counts = ((depth - 2) // 6,) * 3
    return build(
        name, init, ResNet, BasicBlock, counts, scaled(16, width), num_classes, in_channels, shortcut, "paper", "small"
    )


def plain(depth, variant=None, num_classes=None, in_channels=3, stem="imagenet", width=1.0, init="he"):
    """The same nets without shortcuts, which get worse as they get deeper (figure 1).

    Args:
        depth: 18 or 34 for ImageNet (1,000 classes where num_classes is None), 6n+2 for CIFAR (10; no stem to choose).
    """
    name = f"plain{depth}"
    if depth in (18, 34):
        return _imagenet(name, depth, None, variant or "paper", num_classes or 1000, in_channels, stem, width, init)
    return _cifar(name, depth, None, variant or "paper", num_classes or 10, in_channels, width, init)


def resnet18(*arguments, **options):
    """18 layers, basic blocks; see resnet."""
    return resnet(18, *arguments, **options)


def resnet34(*arguments, **options):
    """34 layers, basic blocks; see resnet."""
    return resnet(34, *arguments, **options)


def resnet50(*arguments, **options):
    """50 layers, bottlenecks; see resnet."""
    return resnet(50, *arguments, **options)


def resnet101(*arguments, **options):
    """101 layers, bottlenecks; see resnet."""
    return resnet(101, *arguments, **options)


def resnet152(*arguments, **options):
    """152 layers, bottlenecks; see resnet."""
    return resnet(152, *arguments, **options)


def resnet20(*arguments, **options):
    """20 layers for CIFAR; see cifar_resnet."""
    return cifar_resnet(20, *arguments, **options)


def resnet32(*arguments, **options):
    """32 layers for CIFAR; see cifar_resnet."""
    return cifar_resnet(32, *arguments, **options)


def resnet44(*arguments, **options):
    """44 layers for CIFAR; see cifar_resnet."""
    return cifar_resnet(44, *arguments, **options)


def resnet56(*arguments, **options):
    """56 layers for CIFAR; see cifar_resnet."""
    return cifar_resnet(56, *arguments, **options)


def resnet110(*arguments, **options):
    """110 layers for CIFAR; see cifar_resnet."""
    return cifar_resnet(110, *arguments, **options)


def plain18(*arguments, **options):
    """resnet18 without shortcuts; see plain."""
    return plain(18, *arguments, **options)


def plain34(*arguments, **options):
    """resnet34 without shortcuts; see plain."""
    return plain(34, *arguments, **options)


def plain20(*arguments, **options):
    """resnet20 without shortcuts; see plain."""
    return plain(20, *arguments, **options)


def plain56(*arguments, **options):
    """resnet56 without shortcuts; see plain."""
    return plain(56, *arguments, **options)
