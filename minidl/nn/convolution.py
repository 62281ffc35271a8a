"""Convolutions: they hold weights and call ops.conv2d and ops.conv_transpose2d."""

import math

from .. import ops
from ..ops._common import empty_weight, pair
from . import init
from ._common import check_sizes, zeros
from .module import Module, Parameter


class Conv2d(Module):
    """Convolution of images (N, in_channels, H, W) to (N, out_channels, OH, OW); see ops.conv2d.

    Attributes:
        weight: (out_channels, in_channels/groups, KH, KW), He normal at first. bias: (out_channels,), zeros at first.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True):
        super().__init__()
        check_sizes("Conv2d", in_channels=in_channels, out_channels=out_channels, groups=groups)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"Conv2d: {name} (={channels}) must be divisible by groups (={groups})")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = pair("Conv2d", "stride", stride, 1)
        self.padding = padding if isinstance(padding, str) else pair("Conv2d", "padding", padding, 0)
        self.dilation = pair("Conv2d", "dilation", dilation, 1)
        weight = empty_weight(out_channels, in_channels // groups, *self.kernel_size)
        self.weight = init.kaiming_normal_(Parameter(weight))
        self.register_parameter("bias", zeros(out_channels) if bias else None)

    def forward(self, input, relu=False):
        """The convolution; with relu, its maximum with 0 in the same pass over memory."""
        op = ops.conv2d_relu if relu else ops.conv2d
        return op(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    forward.fuses_relu = True  # of the method: a subclass with a forward of its own is not given relu

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, usual in (("padding", (0, 0)), ("dilation", (1, 1)), ("groups", 1)):
            if getattr(self, name) != usual:
                text += f", {name}={getattr(self, name)!r}"
        return text + ("" if self.bias is not None else ", bias=False")


class ConvTranspose2d(Module):
    """Transposed convolution of images (N, in_channels, H, W) to (N, out_channels, OH, OW); see ops.conv_transpose2d.

    Attributes:
        weight: (in_channels, out_channels/groups, KH, KW), normal at first, with variance 2 / (the number of products
            that meet in an output pixel): He's rule. bias: (out_channels,), zeros at first.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=True,
        dilation=1,
    ):
        super().__init__()
        check_sizes("ConvTranspose2d", in_channels=in_channels, out_channels=out_channels, groups=groups)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"ConvTranspose2d: {name} (={channels}) must be divisible by groups (={groups})")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair("ConvTranspose2d", "kernel_size", kernel_size, 1)
        self.stride = pair("ConvTranspose2d", "stride", stride, 1)
        self.padding = pair("ConvTranspose2d", "padding", padding, 0)
        self.output_padding = pair("ConvTranspose2d", "output_padding", output_padding, 0)
        self.dilation = pair("ConvTranspose2d", "dilation", dilation, 1)
        weight = Parameter(empty_weight(in_channels, out_channels // groups, *self.kernel_size))
        # An output pixel is met by KH*KW elements of the kernel at stride 1, by one in stride² of them else.
        meeting = in_channels // groups * math.prod(self.kernel_size) / math.prod(self.stride)
        self.weight = init.normal_(weight, 0.0, math.sqrt(2 / meeting))
        self.register_parameter("bias", zeros(out_channels) if bias else None)

    def forward(self, input):
        return ops.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, usual in (("padding", (0, 0)), ("output_padding", (0, 0)), ("dilation", (1, 1)), ("groups", 1)):
            if getattr(self, name) != usual:
                text += f", {name}={getattr(self, name)!r}"
        return text + ("" if self.bias is not None else ", bias=False")
