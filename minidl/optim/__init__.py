"""Optimizers and learning-rate schedules."""

from .adam import Adam, AdamW
from .optimizer import Optimizer
from .schedules import CosineAnnealingLR
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "CosineAnnealingLR", "Optimizer"]
