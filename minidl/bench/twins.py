"""The nets once more, in PyTorch, written from the papers' tables and with the names of minidl's parameters.

Tests hold minidl's nets to them, and `minidl bench models` times minidl's nets beside them: so ReLU works in place, as
in torchvision's nets, where it saves PyTorch memory and time.
"""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

relu = partial(F.relu, inplace=True)


class LeNet(nn.Module):
    def __init__(self, classes=10, channels=1, padding=0):
        super().__init__()
        self.c1, self.c3 = nn.Conv2d(channels, 6, 5, padding=padding), nn.Conv2d(6, 16, 5)
        self.c5, self.f6, self.output = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x):
        x = F.max_pool2d(relu(self.c1(x)), 2)
        x = F.max_pool2d(relu(self.c3(x)), 2).flatten(1)
        return self.output(relu(self.f6(relu(self.c5(x)))))


class Affine(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.zeros(channels, 1, 1)) for _ in range(2))


class PartialC3(nn.Module):
    """A full convolution whose kernel is zero wherever the paper's table I has no cross."""

    ROWS = (  # of table I, S2's maps 0 to 5; columns: C3's maps 0 to 15
        "#   ###  #### ##",
        "##   ###  #### #",
        "###   ###  # ###",
        " ###  ####  # ##",
        "  ###  #### ## #",
        "   ###  #### ###",
    )

    def __init__(self):
        super().__init__()
        self.three, self.four = nn.Conv2d(18, 6, 5, groups=6), nn.Conv2d(36, 9, 5, groups=9)
        self.six = nn.Conv2d(6, 1, 5)

    def forward(self, x):
        bias = torch.cat([self.three.bias, self.four.bias, self.six.bias])
        given = [*self.three.weight, *self.four.weight, *self.six.weight]
        kernel = x.new_zeros(16, 6, 5, 5)
        for out, weights in enumerate(given):
            seen = [i for i in range(6) if self.ROWS[i][out] == "#"]
            # In the paper's figure the three or four neighbours are counted around the ring, from the first on.
            if out < 12:
                start = next(i for i in seen if (i - 1) % 6 not in seen)
                seen = [(start + i) % 6 for i in range(len(seen))]
            for i, w in zip(seen, weights, strict=True):
                kernel[out, i] = w
        return F.conv2d(x, kernel, bias)


class PaperLeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.s2, self.c3, self.s4 = nn.Conv2d(1, 6, 5), Affine(6), PartialC3(), Affine(16)
        self.c5, self.f6, self.output = nn.Conv2d(16, 120, 5), nn.Linear(120, 84), nn.Module()
        self.output.register_buffer("codes", torch.zeros(10, 84))

    def forward(self, x):
        def f(a):
            return 1.7159 * torch.tanh(2 / 3 * a)

        for conv, pool in ((self.c1, self.s2), (self.c3, self.s4)):
            x = f(conv(x))
            x = f(4 * F.avg_pool2d(x, 2) * pool.weight + pool.bias)
        x = f(self.f6(f(self.c5(x)).flatten(1)))
        return -(torch.cdist(x[None], self.output.codes[None], compute_mode="donot_use_mm_for_euclid_dist")[0] ** 2)


def lrn(alpha=1e-4, k=2.0):
    """Krizhevsky's: PyTorch divides alpha by the window's five channels."""
    return nn.LocalResponseNorm(5, alpha=5 * alpha, beta=0.75, k=k)


class AlexNet(nn.Module):
    def __init__(self, variant, classes, width, stem="imagenet"):
        super().__init__()
        tv = variant == "torchvision"
        a, b, c, d, e, fc = (
            2 * max(1, round(n * width / 2))
            for n in ((64, 192, 384, 256, 256, 4096) if tv else (96, 256, 384, 384, 256, 4096))
        )
        g, last = (2 if variant == "paper" else 1), (3 if stem == "small" else 6)
        conv1 = nn.Conv2d(3, a, 11, 4, 2 if tv else 0) if stem == "imagenet" else nn.Conv2d(3, a, 5, 1, 2)
        norm = (lambda: []) if tv else (lambda: [lrn()])
        self.features = nn.Sequential(
            conv1, nn.ReLU(True), *norm(), nn.MaxPool2d(3, 2),
            nn.Conv2d(a, b, 5, 1, 2, groups=g), nn.ReLU(True), *norm(), nn.MaxPool2d(3, 2),
            nn.Conv2d(b, c, 3, 1, 1), nn.ReLU(True),
            nn.Conv2d(c, d, 3, 1, 1, groups=g), nn.ReLU(True),
            nn.Conv2d(d, e, 3, 1, 1, groups=g), nn.ReLU(True), nn.MaxPool2d(3, 2),
            nn.AdaptiveAvgPool2d(last), nn.Flatten(),
        )  # fmt: skip
        drop, act = nn.Dropout(0.5), nn.ReLU(True)
        linear = nn.Linear(e * last * last, fc), nn.Linear(fc, fc), nn.Linear(fc, classes)
        if tv:
            self.classifier = nn.Sequential(drop, linear[0], act, drop, linear[1], act, linear[2])
        else:
            self.classifier = nn.Sequential(linear[0], act, drop, linear[1], act, drop, linear[2])

    def forward(self, x):
        return self.classifier(self.features(x))


class VGG(nn.Module):
    """`stages`: for each the channels and, per convolution, the window's size."""

    STAGES = {
        "A": ("3", "3", "33", "33", "33"), "A-LRN": ("3n", "3", "33", "33", "33"), "B": ("33",) * 5,
        "C": ("33", "33", "331", "331", "331"), "D": ("33", "33", "333", "333", "333"),
        "E": ("33", "33", "3333", "3333", "3333"),
    }  # fmt: skip

    def __init__(self, config, classes, width, batch_norm=False, stem="imagenet"):
        super().__init__()
        layers, before = [], 3
        for stage, channels in zip(self.STAGES[config], (64, 128, 256, 512, 512), strict=True):
            channels = max(1, round(channels * width))
            for size in stage:
                if size == "n":
                    layers.append(lrn())
                    continue
                layers.append(nn.Conv2d(before, channels, int(size), padding=int(size) // 2))
                layers += [nn.BatchNorm2d(channels)] if batch_norm else []
                layers.append(nn.ReLU(True))
                before = channels
            layers.append(nn.MaxPool2d(2))
        last = 7
        if stem == "small":
            layers.pop()
            last = 1
        hidden = max(1, round(4096 * width))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(last)
        self.classifier = nn.Sequential(
            nn.Linear(before * last**2, hidden), nn.ReLU(True), nn.Dropout(),
            nn.Linear(hidden, hidden), nn.ReLU(True), nn.Dropout(), nn.Linear(hidden, classes),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(self.pool(self.features(x)).flatten(1))


class Unit(nn.Module):
    def __init__(self, before, after, norm, size, **window):
        super().__init__()
        self.conv = nn.Conv2d(before, after, size, bias=not norm, **window)
        if norm:
            self.bn = nn.BatchNorm2d(after, eps=0.001)
        self.norm = norm

    def forward(self, x):
        x = self.conv(x)
        return relu(self.bn(x) if self.norm else x)


class Inception(nn.Module):
    def __init__(self, before, numbers, norm, third):
        super().__init__()
        a, br, b, cr, c, d = numbers
        self.branch1 = Unit(before, a, norm, 1)
        self.branch2 = nn.Sequential(Unit(before, br, norm, 1), Unit(br, b, norm, 3, padding=1))
        self.branch3 = nn.Sequential(Unit(before, cr, norm, 1), Unit(cr, c, norm, third, padding=third // 2))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), Unit(before, d, norm, 1))
        self.out = a + b + c + d

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Head(nn.Module):
    def __init__(self, before, classes, norm, width, torchvision):
        super().__init__()
        c, h = max(1, round(128 * width)), max(1, round(1024 * width))
        self.conv, self.fc1, self.fc2 = Unit(before, c, norm, 1), nn.Linear(16 * c, h), nn.Linear(h, classes)
        self.torchvision, self.dropout = torchvision, nn.Dropout(0.7)

    def forward(self, x):
        x = F.avg_pool2d(x, 5, 3) if not self.torchvision and x.shape[2] == 14 else F.adaptive_avg_pool2d(x, 4)
        return self.fc2(self.dropout(relu(self.fc1(self.conv(x).flatten(1)))))


class GoogLeNet(nn.Module):
    TABLE = {
        "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
    }  # fmt: skip

    def __init__(self, variant, classes, width, batch_norm=False, stem="imagenet"):
        super().__init__()
        tv = variant == "torchvision"
        norm = tv or batch_norm
        c1, c3 = max(1, round(64 * width)), max(1, round(192 * width))
        small = stem == "small"
        self.conv1 = Unit(3, c1, norm, 3, padding=1) if small else Unit(3, c1, norm, 7, stride=2, padding=3)
        self.conv2, self.conv3 = Unit(c1, c1, norm, 1), Unit(c1, c3, norm, 3, padding=1)
        self.lrn = nn.Identity() if norm else nn.LocalResponseNorm(5)
        self.first = nn.Identity() if small else nn.MaxPool2d(3, 2, ceil_mode=True)
        self.pool, self.pool4 = nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(2 if tv else 3, 2, ceil_mode=True)
        before = c3
        for name, numbers in self.TABLE.items():
            module = Inception(before, [max(1, round(n * width)) for n in numbers], norm, 3 if tv else 5)
            setattr(self, f"inception{name}", module)
            before = module.out
        self.aux1 = Head(self.inception4a.out, classes, norm, width, tv)
        self.aux2 = Head(self.inception4d.out, classes, norm, width, tv)
        self.dropout, self.fc = nn.Dropout(0.2 if tv else 0.4), nn.Linear(before, classes)

    def forward(self, x):
        x = self.lrn(self.first(self.conv1(x)))
        x = self.pool(self.lrn(self.conv3(self.conv2(x))))
        x = self.pool(self.inception3b(self.inception3a(x)))
        x = self.inception4a(x)
        aux1 = self.aux1(x) if self.training else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x) if self.training else None
        x = self.inception5b(self.inception5a(self.pool4(self.inception4e(x))))
        logits = self.fc(self.dropout(x.mean((2, 3))))
        return (logits, aux1, aux2) if self.training else logits


class Block(nn.Module):
    """Basic or bottleneck; `way`: how the input goes around: None, "A", "B" or "C"."""

    def __init__(self, before, width, stride, bottleneck, way, v1):
        super().__init__()
        after = 4 * width if bottleneck else width
        if bottleneck:
            convs = (
                (before, width, 1, stride if v1 else 1),
                (width, width, 3, 1 if v1 else stride),
                (width, after, 1, 1),
            )
        else:
            convs = (before, width, 3, stride), (width, width, 3, 1)
        for i, (a, b, size, step) in enumerate(convs, 1):
            setattr(self, f"conv{i}", nn.Conv2d(a, b, size, step, size // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(b))
        self.count, self.way, self.stride, self.new = len(convs), way, stride, after - before
        self.changes = stride > 1 or before != after
        if way == "C" or way == "B" and self.changes:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = relu(y) if i < self.count else y
        if hasattr(self, "downsample"):
            x = self.downsample(x)
        elif self.changes and self.way == "A":
            n, c, h, w = x[:, :, :: self.stride, :: self.stride].shape
            zeros = x.new_zeros(n, self.new // 2, h, w)
            x = torch.cat([zeros, x[:, :, :: self.stride, :: self.stride], zeros], 1)
        return relu(y if self.way is None else y + x)


class ResNet(nn.Module):
    def __init__(self, counts, width, classes, way, bottleneck=False, v1=True, imagenet=True):
        super().__init__()
        size, stride = (7, 2) if imagenet else (3, 1)
        self.conv1, self.bn1 = nn.Conv2d(3, width, size, stride, size // 2, bias=False), nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1) if imagenet else nn.Identity()
        before, layers = width, []
        for stage, count in enumerate(counts):
            blocks = []
            for i in range(count):
                blocks.append(Block(before, width << stage, 2 if stage and not i else 1, bottleneck, way, v1))
                before = (width << stage) * (4 if bottleneck else 1)
            layers.append(nn.Sequential(*blocks))
            setattr(self, f"layer{stage + 1}", layers[-1])
        self.stages, self.fc = len(counts), nn.Linear(before, classes)

    def forward(self, x):
        x = self.pool(relu(self.bn1(self.conv1(x))))
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


# What `minidl bench models` runs: the nets of minidl.bench.steps.NETS.
TWINS = {
    "lenet": LeNet,
    "resnet20": lambda: ResNet((3, 3, 3), 16, 10, "A", imagenet=False),
    "alexnet": lambda: AlexNet("torchvision", 1000, 1.0),
    "googlenet": lambda: GoogLeNet("torchvision", 1000, 1.0),
    "resnet18": lambda: ResNet((2, 2, 2, 2), 64, 1000, "B", v1=False),
    "resnet50": lambda: ResNet((3, 4, 6, 3), 64, 1000, "B", bottleneck=True, v1=False),
    "vgg16": lambda: VGG("D", 1000, 1.0),
}
