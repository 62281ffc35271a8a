"""How far a gradient in mixed precision is from float64's, and what of that is because ReLUs open or close.

    .venv/bin/python benchmarks/half_gradients.py [--seeds 5]

ResNet-18 in PyTorch, in float64 on the CPU. What mixed precision stores in float16 (what goes through the net, the
gradients that come back, the weights of convolutions) is rounded to some bits, 11 for float16, and nothing else is. So
it runs without a GPU, and none of minidl's operations has a part in it; minidl.models gives the weights.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd import Function

import minidl as dl
from minidl import models

NETS = [(3, 0.03, (9, 10)), (64, 0.03, (9, 10)), (32, 0.25, (16, 16))]  # images, width, their size
BITS = 8, 11, 16, 24
SCALE = 1024.0  # of the loss


class Forward(Function):
    """What goes through the net is rounded, the gradient is not."""

    @staticmethod
    def forward(ctx, x, bits):
        return rounded(x, bits)

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class Backward(Function):
    """The gradient is rounded, what goes through the net is not."""

    @staticmethod
    def forward(ctx, x, bits):
        ctx.bits = bits
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return rounded(grad, ctx.bits), None


def rounded(x, bits):
    """To so many bits; 11 is float16, also its range; None leaves x alone."""
    if bits is None:
        return x
    if bits == 11:
        return x.half().double()
    mantissa, exponent = torch.frexp(x)
    return torch.ldexp(torch.round(mantissa * 2.0**bits), exponent - bits)


class Run:
    """One step of ResNet-18 with the stem for small images.

    Args:
        parameters: name -> array. bits: to how many what is stored is rounded, or None. masks: of each ReLU which
            elements pass it; its own choice where None. activation: "relu", or "gelu", which has no kink.

    Attributes:
        gradient: all parameters', one after the other. masks: what passed each ReLU.
    """

    def __init__(self, parameters, images, labels, bits=None, masks=None, activation="relu"):
        self.weights = {name: torch.tensor(w, requires_grad=True) for name, w in parameters.items()}
        self.bits, self.imposed, self.activation, self.masks = bits, masks, activation, []
        (SCALE * F.cross_entropy(self.logits(images), labels)).backward()
        self.gradient = torch.cat([w.grad.flatten() for w in self.weights.values()]).numpy() / SCALE

    def logits(self, x):
        x = self.norm(self.conv(Forward.apply(x, self.bits), "conv1"), "bn1")
        for stage in range(1, 5):
            for block in range(2):
                name, stride = f"layer{stage}.{block}.", 2 if stage > 1 and block == 0 else 1
                around = x
                if stride == 2:
                    projected = self.conv(x, name + "downsample.0", 2, 0)
                    around = self.norm(projected, name + "downsample.1", active=False)
                y = self.norm(self.conv(x, name + "conv1", stride), name + "bn1")
                x = self.norm(self.conv(y, name + "conv2"), name + "bn2", around)
        x = Forward.apply(Backward.apply(x, self.bits).mean((2, 3)), self.bits)
        w, b = (Forward.apply(self.weights[name], self.bits) for name in ("fc.weight", "fc.bias"))
        return Backward.apply(Forward.apply(F.linear(Backward.apply(x, self.bits), w, b), self.bits), self.bits)

    def conv(self, x, name, stride=1, padding=1):
        w = Forward.apply(self.weights[name + ".weight"], self.bits)
        return Forward.apply(F.conv2d(Backward.apply(x, self.bits), w, stride=stride, padding=padding), self.bits)

    def norm(self, x, name, around=None, active=True):
        """Batch norm, what goes around it, and the activation: stored once."""
        w, b = self.weights[name + ".weight"], self.weights[name + ".bias"]
        y = F.batch_norm(Backward.apply(x, self.bits), None, None, w, b, training=True)
        if around is not None:
            y = y + Backward.apply(around, self.bits)
        if active:
            y = F.gelu(y) if self.activation == "gelu" else self.relu(y)
        return Forward.apply(y, self.bits)

    def relu(self, y):
        self.masks.append(rounded(y.detach(), self.bits) > 0)
        return y * (self.masks[-1] if self.imposed is None else self.imposed[len(self.masks) - 1])


def problem(count, width, size, seed):
    """(parameters, images, labels)"""
    dl.manual_seed(1)
    net = models.create("resnet18", stem="small", width=width, num_classes=3)
    parameters = {name: p.detach().numpy().astype(np.float64) for name, p in net.named_parameters()}
    images = np.random.default_rng(seed).standard_normal((count, 3, *size)).astype(np.float32)
    return parameters, torch.tensor(images, dtype=torch.float64), torch.arange(count) % 3


def distance(a, b):
    return np.linalg.norm(a.gradient - b.gradient) / np.linalg.norm(b.gradient)


def measured(arguments, bits):
    """(activations, share of them whose ReLU opens or closes, the gradient's error, with the same ReLUs, with GELU)"""
    exact, half = Run(*arguments), Run(*arguments, bits)
    same = Run(*arguments, masks=half.masks)
    flips = sum(int((a != b).sum()) for a, b in zip(exact.masks, half.masks, strict=True))
    count = sum(mask.numel() for mask in exact.masks)
    smooth = [Run(*arguments, b, activation="gelu") for b in (bits, None)]
    return count, flips / count, distance(half, exact), distance(half, same), distance(*smooth)


def main():
    parser = argparse.ArgumentParser(description="Gradients in mixed precision, and the kinks of ReLUs")
    parser.add_argument("--seeds", type=int, default=5, help="of the images; the table has medians")
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    print("| images | activations | bits | flips | error | with the same ReLUs | with GELU |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for count, width, size in NETS:
        for bits in BITS:
            rows = [measured(problem(count, width, size, seed), bits) for seed in seeds]
            activations, *figures = np.median(rows, axis=0)
            figures = " | ".join(f"{figure:.1e}" if figure else "0" for figure in figures)
            print(f"| {count} of {size[0]} × {size[1]} | {activations:,.0f} | {bits} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
