"""Optimizers and learning-rate schedules."""

from .optimizer import Optimizer
from .schedules import CosineAnnealingLR
from .sgd import SGD

__all__ = ["SGD", "CosineAnnealingLR", "Optimizer"]
