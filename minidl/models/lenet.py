"""LeNet-5: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition".

variant      parameters   S2, S4                    C3                       between layers   output
"lecture"    61,706       max pooling               connected to all of S2   ReLU             a linear layer
"paper"      60,000       trainable subsampling     table I, 60 of 96        1.7159 tanh      radial basis functions

Both give logits to a softmax, the greatest for the class that is meant.
"""

import numpy as np

from .. import nn, ops
from ..nn.containers import in_turn
from ..random import generator
from ..tensor import Tensor
from ._common import build, check_choice, scaled


class _LeNet(nn.Module):
    def __init__(self, in_channels, image_size):
        super().__init__()
        check_choice("LeNet", "image_size", image_size, (32, 28))
        self.in_channels, self.image_size = in_channels, image_size

    def _check(self, x):
        size = self.in_channels, self.image_size, self.image_size
        if x.ndim != 4 or x.shape[1:] != size:
            raise ValueError(f"LeNet: images must be (N, {', '.join(map(str, size))}), got {x.shape}")

    def initialize_as_paper(self):
        """Weights uniform in ±2.4 / (the inputs of the unit), biases 0 (appendix A)."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                inputs = 4 if name in ("s2.weight", "s4.weight") else nn.init.fans(parameter)[0]
                nn.init.uniform_(parameter, -2.4 / inputs, 2.4 / inputs)


class LeNet(_LeNet):
    """The lecture's form: images (N, in_channels, 32, 32) to logits (N, num_classes).

    Args:
        image_size: 28 pads images of MNIST's size by 2 to the paper's 32.
        width: the channels and hidden units times this.
    """

    def __init__(self, num_classes=10, in_channels=1, image_size=32, width=1.0):
        super().__init__(in_channels, image_size)
        c1, c3, c5, f6 = (scaled(n, width) for n in (6, 16, 120, 84))
        #                                                                                          32×32
        self.c1 = nn.Conv2d(in_channels, c1, kernel_size=5, padding=(32 - image_size) // 2)  # 28×28
        self.s2 = nn.MaxPool2d(2)  #                                                         14×14
        self.c3 = nn.Conv2d(c1, c3, kernel_size=5)  #                                        10×10
        self.s4 = nn.MaxPool2d(2)  #                                                         5×5
        self.c5 = nn.Linear(c3 * 5 * 5, c5)
        self.f6 = nn.Linear(c5, f6)
        self.output = nn.Linear(f6, num_classes)
        self.relu = nn.ReLU()
        self.flatten = nn.Flatten()

    def forward(self, x):
        self._check(x)
        x = in_turn(x, self.c1, self.relu, self.s2)
        x = in_turn(x, self.c3, self.relu, self.s4, self.flatten)
        return in_turn(x, self.c5, self.relu, self.f6, self.relu, self.output)


class PaperLeNet(_LeNet):
    """The paper's form, figure 2: images (N, in_channels, 32, 32) to logits (N, num_classes).

    The logits are the negative outputs of the radial basis functions; then cross-entropy is equation 9 without the
    constant of the rubbish class.
    """

    def __init__(self, num_classes=10, in_channels=1, image_size=32):
        super().__init__(in_channels, image_size)
        #                                                                                         32×32
        self.c1 = nn.Conv2d(in_channels, 6, kernel_size=5, padding=(32 - image_size) // 2)  # 28×28
        self.s2 = Subsampling(6)  #                                                         14×14
        self.c3 = PartialConvolution()  #                                                   10×10
        self.s4 = Subsampling(16)  #                                                        5×5
        self.c5 = nn.Conv2d(16, 120, kernel_size=5)  #                                      1×1
        self.f6 = nn.Linear(120, 84)
        self.output = RadialBasisFunctions(num_classes)
        self.squash = Squash()
        self.flatten = nn.Flatten()

    def forward(self, x):
        self._check(x)
        x = self.squash(self.s2(self.squash(self.c1(x))))
        x = self.squash(self.s4(self.squash(self.c3(x))))
        x = self.flatten(self.squash(self.c5(x)))
        x = self.squash(self.f6(x))
        return self.output(x)


class Squash(nn.Module):
    """A tanh(S a) with f(1) = 1 and f(-1) = -1: A = 1.7159, S = 2/3 (appendix A)."""

    def forward(self, a):
        return 1.7159 * ops.tanh(a * (2 / 3))


class Subsampling(nn.Module):
    """(N, C, H, W) to (N, C, H/2, W/2): the sum of four pixels, times a weight of the channel, plus its bias.

    Attributes:
        weight, bias: (C, 1, 1).
    """

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(np.full((channels, 1, 1), 0.25, np.float32))
        self.bias = nn.Parameter(np.zeros((channels, 1, 1), np.float32))

    def forward(self, x):
        return ops.avg_pool2d(x, 2, divisor_override=1) * self.weight + self.bias


# Table I: which maps of S2 each map of C3 sees.
CONNECTIONS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 0), (5, 0, 1),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 0), (4, 5, 0, 1), (5, 0, 1, 2),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip


class PartialConvolution(nn.Module):
    """C3: (N, 6, H, W) to (N, 16, H-4, W-4), each map from some of the six, so that they must learn different things.

    Maps that see equally many are one grouped convolution over copies of what they see.
    """

    def __init__(self):
        super().__init__()
        self.three = nn.Conv2d(18, 6, kernel_size=5, groups=6)
        self.four = nn.Conv2d(36, 9, kernel_size=5, groups=9)
        self.six = nn.Conv2d(6, 1, kernel_size=5)

    def forward(self, x):
        three = ops.index_select(x, 1, np.concatenate(CONNECTIONS[:6]))
        four = ops.index_select(x, 1, np.concatenate(CONNECTIONS[6:15]))
        return ops.cat([self.three(three), self.four(four), self.six(x)], 1)


class RadialBasisFunctions(nn.Module):
    """(N, 84) to (N, num_classes): minus the squared distance to the code of each class (equation 7).

    For ten classes the codes are pictures of the digits, 7 columns by 12 rows of ±1, as in figure 3; for any other
    number they are drawn at random, which the paper names as the other choice. They are not trained.

    Attributes:
        codes: (num_classes, 84), a buffer.
    """

    def __init__(self, num_classes):
        super().__init__()
        random = num_classes != len(DIGITS)
        codes = generator().choice((-1.0, 1.0), (num_classes, 84)) if random else [_picture(d) for d in DIGITS]
        self.register_buffer("codes", Tensor(np.array(codes, np.float32)))

    def forward(self, x):
        return -((x.unsqueeze(1) - self.codes) ** 2).sum(-1)


def _picture(digit):
    return [1.0 if pixel == "#" else -1.0 for row in digit for pixel in row]


DIGITS = tuple(zip(*(line.split("|") for line in """\
.......|.......|.......|.......|.......|.......|.......|.......|.......|.......
..###..|...##..|.#####.|.#####.|.....#.|.######|...###.|#######|..###..|..###..
.##.##.|..###..|##...##|##...##|....##.|.##....|..##...|.....##|.##.##.|.##.##.
##...##|.####..|.....##|.....##|...###.|.##....|.##....|.....##|##...##|##...##
##...##|...##..|.....##|.....##|..####.|.##....|##.....|....##.|##...##|##...##
##...##|...##..|....##.|..####.|.##.##.|.#####.|##.###.|....##.|.##.##.|##...##
##...##|...##..|...##..|.....##|##..##.|.....##|###..##|...##..|..###..|.######
##...##|...##..|..##...|.....##|#######|.....##|##...##|...##..|.##.##.|.....##
##...##|...##..|.##....|.....##|....##.|.....##|##...##|..##...|##...##|.....##
.##.##.|...##..|##.....|##...##|....##.|##...##|.##.##.|..##...|##...##|....##.
..###..|.######|#######|.#####.|....##.|.#####.|..###..|.##....|.#####.|..###..
.......|.......|.......|.......|.......|.......|.......|.......|.......|.......
""".splitlines()), strict=True))  # fmt: skip

VARIANTS = {"lecture": LeNet, "paper": PaperLeNet}


def lenet(variant="lecture", num_classes=10, in_channels=1, image_size=32, init=None, **options):
    """A LeNet-5.

    Args:
        variant: "lecture" or "paper". image_size: 32, or 28 for MNIST's images as they are.
        init: a scheme of nn.init.SCHEMES, or "paper"; by default "he" for the lecture's form, "paper" for the paper's.
        options: width, of the lecture's form.

    Raises:
        ValueError: an unknown variant, scheme or size. TypeError: an unknown option.
    """
    check_choice("lenet", "variant", variant, VARIANTS)
    init = init or ("paper" if variant == "paper" else "he")
    return build("lenet", init, VARIANTS[variant], num_classes, in_channels, image_size, **options)
