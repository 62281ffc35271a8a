"""Layers and nets: modules that hold weights and call operations."""

from . import init
from .convolution import Conv2d, ConvTranspose2d
from .layers import Flatten, Linear, ReLU, Sequential
from .module import Module, Parameter
from .pooling import AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool2d, MaxPool2d

__all__ = [
    "AdaptiveAvgPool2d", "AvgPool2d", "Conv2d", "ConvTranspose2d", "Flatten", "GlobalAvgPool2d", "Linear", "MaxPool2d",
    "Module", "Parameter", "ReLU", "Sequential", "init",
]  # fmt: skip
