"""LeNet-5: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition", figure 2.

The lecture's form: max pooling and ReLU in place of trainable subsampling and squashing, every map of C3 connected to
every map of S2, and softmax (inside the cross-entropy) in place of radial basis functions. 61,706 parameters for ten
classes.
"""

from .. import nn


class LeNet(nn.Module):
    """Images (N, in_channels, 32, 32) to logits (N, num_classes)."""

    def __init__(self, num_classes=10, in_channels=1):
        super().__init__()
        self.in_channels = in_channels
        #                                                    32×32
        self.c1 = nn.Conv2d(in_channels, 6, kernel_size=5)  # 28×28
        self.s2 = nn.MaxPool2d(2)  #                          14×14
        self.c3 = nn.Conv2d(6, 16, kernel_size=5)  #          10×10
        self.s4 = nn.MaxPool2d(2)  #                           5×5
        self.c5 = nn.Linear(16 * 5 * 5, 120)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)
        self.relu = nn.ReLU()
        self.flatten = nn.Flatten()

    def forward(self, x):
        if x.ndim != 4 or x.shape[1:] != (self.in_channels, 32, 32):
            raise ValueError(f"LeNet: images must be (N, {self.in_channels}, 32, 32), got {x.shape}")
        x = self.s2(self.relu(self.c1(x)))
        x = self.s4(self.relu(self.c3(x)))
        x = self.flatten(x)
        x = self.relu(self.c5(x))
        x = self.relu(self.f6(x))
        return self.output(x)


VARIANTS = {"lecture": LeNet}


def lenet(variant="lecture", num_classes=10, in_channels=1, init="he"):
    """A LeNet-5 with weights drawn by `init`, a scheme of nn.init.SCHEMES.

    Raises:
        ValueError: an unknown variant or scheme.
    """
    if variant not in VARIANTS:
        raise ValueError(f"lenet: variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    return nn.init.initialize(VARIANTS[variant](num_classes, in_channels), init)
