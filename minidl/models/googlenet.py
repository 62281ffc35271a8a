"""GoogLeNet: Szegedy et al. 2014, "Going deeper with convolutions", table 1.

variant                     parameters   with both heads   what differs
"paper"                      6,998,552        13,378,280   biases, response normalization, 5×5 windows
"paper", batch_norm=True     7,005,832        13,385,816   batch norm in place of biases and response normalization
"torchvision"                6,624,904        13,004,888   batch norm, 3×3 windows in the third branch, a 2×2 fourth
                                                           pooling, less dropout, heads that pool adaptively

Two heads in the middle help the gradient on its way; their losses count 0.3 each, and they do not run in evaluation.
"""

from typing import NamedTuple

from .. import nn, ops
from ..tensor import Tensor
from ._common import STEMS, build, check_choice, check_images, least_size, scaled

VARIANTS = "paper", "torchvision"


class GoogLeNetOutput(NamedTuple):
    """What training computes: logits (N, num_classes) of the net and of the heads after 4a and 4d."""

    logits: Tensor
    aux1: Tensor
    aux2: Tensor


def three_losses(output, target, aux_weight=0.3):
    """Cross-entropy of the logits plus aux_weight times that of each head (section 5)."""
    main, *heads = (ops.cross_entropy(logits, target) for logits in output)
    return main + aux_weight * (heads[0] + heads[1])


class Convolution(nn.Module):
    """Convolution and ReLU: with batch norm between and no bias, or with a bias."""

    def __init__(self, in_channels, out_channels, batch_norm, **window):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, bias=not batch_norm, **window)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001) if batch_norm else None

    def forward(self, x):
        return self.conv(x, relu=True) if self.bn is None else self.bn(self.conv(x), relu=True)


class Inception(nn.Module):
    """Four branches side by side, padded so that their maps are of one size, joined by channel (figure 2b).

    1×1;  1×1 then 3×3;  1×1 then 5×5;  3×3 max pooling then 1×1.

    Args:
        sizes: the channels of table 1's columns: #1×1, #3×3 reduce, #3×3, #5×5 reduce, #5×5, pool proj.
        third: rows and columns of the third branch's windows: 5, in torchvision 3.
    """

    def __init__(self, in_channels, sizes, batch_norm, third):
        super().__init__()
        one, reduce3, three, reduce5, five, pool = sizes

        def conv(from_channels, to_channels, size):
            return Convolution(from_channels, to_channels, batch_norm, kernel_size=size, padding=size // 2)

        self.branch1 = conv(in_channels, one, 1)
        self.branch2 = nn.Sequential(conv(in_channels, reduce3, 1), conv(reduce3, three, 3))
        self.branch3 = nn.Sequential(conv(in_channels, reduce5, 1), conv(reduce5, five, third))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(in_channels, pool, 1))

    def forward(self, x):
        return ops.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Head(nn.Module):
    """The classifier on a layer in the middle: pooling to 4×4, 1×1 convolution, two linear layers.

    The paper's pooling, 5×5 with stride 3, gives 4×4 at 14×14, which images of 224 are there. Maps that it would leave
    smaller are pooled adaptively, as torchvision's all are; what it leaves greater, afterwards.
    """

    def __init__(self, in_channels, num_classes, batch_norm, adaptive, width):
        super().__init__()
        channels, hidden = scaled(128, width), scaled(1024, width)
        self.adaptive = adaptive
        self.conv = Convolution(in_channels, channels, batch_norm, kernel_size=1)
        self.fc1 = nn.Linear(channels * 4 * 4, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x):
        if not self.adaptive and min(x.shape[2:]) >= 14:
            x = ops.avg_pool2d(x, 5, 3)
        if x.shape[2:] != (4, 4):
            x = ops.adaptive_avg_pool2d(x, 4)
        x = ops.relu(self.fc1(self.conv(x).flatten(1)))
        return self.fc2(self.dropout(x))


# Table 1: #1×1, #3×3 reduce, #3×3, #5×5 reduce, #5×5, pool proj
SIZES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNet(nn.Module):
    """Images (N, in_channels, H, W) of any size from 31 (stem "small": 7) to logits (N, num_classes).

    In training it returns a GoogLeNetOutput (logits, aux1, aux2); see three_losses.

    Args:
        batch_norm: False or True for the paper's form; torchvision's has it.
        aux_logits: whether the two heads are there; without them training too returns logits.
        transform_input: images normalized by ImageNet's means and deviations are brought to mean and deviation 0.5, on
            which torchvision's published weights were trained. Three channels.
        stem: "small", for images of about 16 to 64 pixels: the first convolution is 3×3 with stride 1, and no pooling
            follows it.
        width: channels and hidden units times this.
    """

    def __init__(
        self, variant="paper", num_classes=1000, in_channels=3, batch_norm=None, aux_logits=True,
        transform_input=False, stem="imagenet", width=1.0,
    ):  # fmt: skip
        super().__init__()
        check_choice("GoogLeNet", "variant", variant, VARIANTS)
        check_choice("GoogLeNet", "stem", stem, STEMS)
        torchvision, small = variant == "torchvision", stem == "small"
        norm = torchvision if batch_norm is None else bool(batch_norm)
        if torchvision and not norm:
            raise ValueError("GoogLeNet: batch_norm must be True for the variant torchvision, got False")
        if transform_input and in_channels != 3:
            raise ValueError(f"GoogLeNet: transform_input needs in_channels 3, got {in_channels}")
        self.variant, self.in_channels = variant, in_channels
        self.aux_logits, self.transform_input = bool(aux_logits), bool(transform_input)
        sizes = {name: [scaled(n, width) for n in row] for name, row in SIZES.items()}
        channels, c1, c3 = {}, scaled(64, width), scaled(192, width)
        incoming = c3
        for name, (one, _, three, _, five, pool) in sizes.items():
            channels[name], incoming = incoming, one + three + five + pool

        def inception(name):
            return Inception(channels[name], sizes[name], norm, 3 if torchvision else 5)

        def lrn():
            return nn.Identity() if norm else nn.LocalResponseNorm(5, 1e-4, 0.75)  # as Caffe's bvlc_googlenet

        def pool(size=3):
            return nn.MaxPool2d(size, stride=2, ceil_mode=True)

        window = {"kernel_size": 3, "padding": 1} if small else {"kernel_size": 7, "stride": 2, "padding": 3}
        self.conv1 = Convolution(in_channels, c1, norm, **window)  #              112×112
        self.maxpool1 = nn.Identity() if small else pool()  #                     56×56
        self.norm1 = lrn()
        self.conv2 = Convolution(c1, c1, norm, kernel_size=1)
        self.conv3 = Convolution(c1, c3, norm, kernel_size=3, padding=1)
        self.norm2 = lrn()
        self.maxpool2 = pool()  #                                                 28×28
        self.inception3a = inception("3a")
        self.inception3b = inception("3b")
        self.maxpool3 = pool()  #                                                 14×14
        self.inception4a = inception("4a")
        self.inception4b = inception("4b")
        self.inception4c = inception("4c")
        self.inception4d = inception("4d")
        self.inception4e = inception("4e")
        self.maxpool4 = pool(2 if torchvision else 3)  #                          7×7
        self.inception5a = inception("5a")
        self.inception5b = inception("5b")
        if aux_logits:
            self.aux1 = Head(channels["4b"], num_classes, norm, torchvision, width)
            self.aux2 = Head(channels["4e"], num_classes, norm, torchvision, width)
        self.avgpool = nn.GlobalAvgPool2d()
        self.dropout = nn.Dropout(0.2 if torchvision else 0.4)
        self.fc = nn.Linear(incoming, num_classes)

    def forward(self, x):
        check_images(self, x, self._least_size())
        if self.transform_input:
            x = x * _scale(x.dtype) + _shift(x.dtype)
        x = self.norm1(self.maxpool1(self.conv1(x)))
        x = self.maxpool2(self.norm2(self.conv3(self.conv2(x))))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = after4a = self.inception4a(x)
        x = after4d = self.inception4d(self.inception4c(self.inception4b(x)))
        x = self.maxpool4(self.inception4e(x))
        x = self.inception5b(self.inception5a(x))
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        if self.training and self.aux_logits:
            return GoogLeNetOutput(logits, self.aux1(after4a), self.aux2(after4d))
        return logits

    def _least_size(self):
        return least_size([self.conv1.conv, self.maxpool1, self.maxpool2, self.maxpool3, self.maxpool4])

    def initialize_as_paper(self):
        """Xavier uniform weights, biases 0.2 (linear layers of logits: 0), as Caffe's bvlc_googlenet.

        The paper does not say how it starts.
        """
        for name, parameter in self.named_parameters():
            if parameter.ndim >= 2:
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("bias") and ".bn." not in name:
                nn.init.constant_(parameter, 0.0 if name in ("fc.bias", "aux1.fc2.bias", "aux2.fc2.bias") else 0.2)


def _scale(dtype):
    return Tensor([[[s / 0.5]] for s in (0.229, 0.224, 0.225)]).astype(dtype)


def _shift(dtype):
    return Tensor([[[(m - 0.5) / 0.5]] for m in (0.485, 0.456, 0.406)]).astype(dtype)


def googlenet(
    variant="paper", num_classes=1000, in_channels=3, batch_norm=None, aux_logits=True, transform_input=False,
    stem="imagenet", width=1.0, init="he",
):  # fmt: skip
    """A GoogLeNet; see the class. init: a scheme of nn.init.SCHEMES, or "paper" (Caffe's).

    Raises:
        ValueError: an unknown variant, stem or scheme, or options that do not go together.
    """
    return build(
        "googlenet", init, GoogLeNet, variant, num_classes, in_channels, batch_norm, aux_logits, transform_input, stem,
        width,
    )  # fmt: skip
