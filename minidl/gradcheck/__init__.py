"""Gradient checks that explain: gradcheck, gradgradcheck.

check.py is the whole check in its order; numeric.py makes the derivatives to compare with, kinks.py judges where there
are none, consistency.py holds what needs no differences, explain.py guesses the mistake, report.py says it.
"""

from .check import gradcheck, gradgradcheck
from .report import GradcheckError, GradcheckWarning, Report

__all__ = ["GradcheckError", "GradcheckWarning", "Report", "gradcheck", "gradgradcheck"]
