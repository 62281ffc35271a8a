"""Training: the loop, its metrics, and what it leaves behind."""

from .loop import Diverged, Epoch, Score, Step, compile_kernels, evaluate, fit
from .metrics import accuracy, correct
from .recipes import RECIPES, Recipe, recipe
from .record import Record

__all__ = [
    "RECIPES",
    "Diverged",
    "Epoch",
    "Recipe",
    "Record",
    "Score",
    "Step",
    "accuracy",
    "compile_kernels",
    "correct",
    "evaluate",
    "fit",
    "recipe",
]
