"""AlexNet: Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural networks".

variant         parameters   multiply-adds    what differs
"paper"         60,965,224   724.4 M @227     two towers, one for each GPU, that exchange maps at the third convolution
                                              alone: groups=2 in the second, fourth and fifth
"ungrouped"     62,378,344   1,135.3 M @227   one tower
"torchvision"   61,100,840   714.2 M @224     Krizhevsky 2014, "One weird trick": one tower, narrower, no response
                                              normalization, dropout before the linear layers

Any image is taken that leaves a pixel: an average pooling brings the last maps to 6×6, which they are at 227 (paper)
and 224 (torchvision). The paper says 224, where its windows do not fit.
"""

from .. import nn
from ._common import STEMS, build, check_choice, check_images, least_size, scaled

VARIANTS = "paper", "ungrouped", "torchvision"


class AlexNet(nn.Module):
    """Images (N, in_channels, H, W) to logits (N, num_classes).

    Args:
        stem: "small", for images of about 28 to 64 pixels: the first convolution is 5×5 with stride 1 and padding 2 in
            place of 11×11 with stride 4, and the maps are brought to 3×3.
        width: channels and hidden units times this.
    """

    def __init__(self, variant="paper", num_classes=1000, in_channels=3, stem="imagenet", width=1.0):
        super().__init__()
        check_choice("AlexNet", "variant", variant, VARIANTS)
        check_choice("AlexNet", "stem", stem, STEMS)
        self.variant, self.in_channels = variant, in_channels
        torchvision, groups = variant == "torchvision", 2 if variant == "paper" else 1
        channels = (64, 192, 384, 256, 256) if torchvision else (96, 256, 384, 384, 256)
        c1, c2, c3, c4, c5 = (scaled(n, width, 2) for n in channels)
        hidden, last = scaled(4096, width, 2), 3 if stem == "small" else 6
        window = {"kernel_size": 11, "stride": 4, "padding": 2 if torchvision else 0}
        if stem == "small":
            window = {"kernel_size": 5, "stride": 1, "padding": 2}

        def norm():
            """Section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75, alpha not divided by n."""
            return [] if torchvision else [nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0, divide_alpha=False)]

        self.features = nn.Sequential(  #                                    224 or 227
            nn.Conv2d(in_channels, c1, **window), nn.ReLU(), *norm(),  #      55×55
            nn.MaxPool2d(3, 2),  #                                            27×27
            nn.Conv2d(c1, c2, 5, padding=2, groups=groups), nn.ReLU(), *norm(),
            nn.MaxPool2d(3, 2),  #                                            13×13
            nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c3, c4, 3, padding=1, groups=groups), nn.ReLU(),
            nn.Conv2d(c4, c5, 3, padding=1, groups=groups), nn.ReLU(),
            nn.MaxPool2d(3, 2),  #                                            6×6
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(last)
        self.flatten = nn.Flatten()
        fc6, fc7 = nn.Linear(c5 * last * last, hidden), nn.Linear(hidden, hidden)
        fc8 = nn.Linear(hidden, num_classes)
        if torchvision:
            layers = nn.Dropout(0.5), fc6, nn.ReLU(), nn.Dropout(0.5), fc7, nn.ReLU(), fc8
        else:
            layers = fc6, nn.ReLU(), nn.Dropout(0.5), fc7, nn.ReLU(), nn.Dropout(0.5), fc8
        self.classifier = nn.Sequential(*layers)

    def forward(self, x):
        check_images(self, x, least_size(self.features))
        return self.classifier(self.flatten(self.avgpool(self.features(x))))

    def initialize_as_paper(self):
        """Weights N(0, 0.01); biases 1 in the second, fourth and fifth convolution and the hidden layers, else 0."""
        convolutions = [m for m in self.features if isinstance(m, nn.Conv2d)]
        linear = [m for m in self.classifier if isinstance(m, nn.Linear)]
        ones = [convolutions[i] for i in (1, 3, 4)] + linear[:2]
        for layer in convolutions + linear:
            nn.init.normal_(layer.weight, 0.0, 0.01)
            nn.init.constant_(layer.bias, float(layer in ones))


def alexnet(variant="paper", num_classes=1000, in_channels=3, stem="imagenet", width=1.0, init="he"):
    """An AlexNet; see the class. init: a scheme of nn.init.SCHEMES, or "paper" (section 5).

    Raises:
        ValueError: an unknown variant, stem or scheme, or a width that is not positive.
    """
    return build("alexnet", init, AlexNet, variant, num_classes, in_channels, stem, width)
