"""Layers and nets: modules that hold weights and call operations."""

from . import init
from .layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential
from .module import Module, Parameter

__all__ = ["Conv2d", "Flatten", "Linear", "MaxPool2d", "Module", "Parameter", "ReLU", "Sequential", "init"]
