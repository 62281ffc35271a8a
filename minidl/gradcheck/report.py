"""What a check found, and how it says so."""

from dataclasses import dataclass, field

import numpy as np


class GradcheckError(RuntimeError):
    """A gradient is wrong, or cannot be checked; the message explains.

    Attributes:
        report: the Report, with the analytic and the numerical gradients.
    """

    def __init__(self, message, report=None):
        super().__init__(message)
        self.report = report

    def plot(self, path):
        """Draw what the report knows of the worst entry; see Report.plot."""
        self.report.plot(path)


class GradcheckWarning(UserWarning):
    """The check passed but says less than it seems to: degenerate inputs, a kink, a gradient of zeros."""


@dataclass
class Comparison:
    """The gradient of one variable: vectors of real numbers, one per entry (a complex number is two).

    Attributes:
        variable: what it is the gradient of. entries: which entries were compared.
        analytic, numeric: the gradients there. error: what the numerical one may be off by. tolerance: the difference
        allowed. state: "smooth", "kink", "jump", "edge" or "noisy", per entry. found: the Derivative of each entry.
        fast: one random direction stands for all entries.
    """

    variable: object
    entries: np.ndarray
    analytic: np.ndarray
    numeric: np.ndarray
    error: np.ndarray
    tolerance: np.ndarray
    state: np.ndarray
    found: list
    fast: bool = False

    @property
    def wrong(self):
        """Which entries differ by more than the tolerance; NaN always does."""
        differs = ~(np.abs(self.analytic - self.numeric) <= self.tolerance)
        return differs & (self.state == "smooth")

    @property
    def worst(self):
        """The number (among `entries`) of the entry that differs most, as a multiple of its tolerance."""
        excess = np.abs(self.analytic - self.numeric) / np.maximum(self.tolerance, np.finfo(float).tiny)
        return int(np.argmax(np.where(self.state == "smooth", np.nan_to_num(excess, nan=np.inf, posinf=1e300), -1.0)))

    @property
    def relative_error(self):
        """The largest difference over the largest gradient, of the entries that can be compared."""
        known = self.state == "smooth"
        scale = np.abs(self.numeric[known]).max(initial=0.0)
        return float(np.abs(self.analytic - self.numeric)[known].max(initial=0.0) / scale) if scale else 0.0


@dataclass
class Curve:
    """The V-curve of one entry: the error against the step. Truncation falls with the step, rounding rises."""

    place: str
    analytic: float
    best: float  # the numerical derivative at the step that was chosen
    steps: list = field(default_factory=list)
    numeric: list = field(default_factory=list)

    def __str__(self):
        rows = [f"      {'step':>9}  {'numeric':>24}  |analytic - numeric|"]
        for step, value in zip(self.steps, self.numeric, strict=True):
            rows.append(f"      {step:9.0e}  {value:24.16g}  {abs(self.analytic - value):9.2e}")
        return f"    error against the step, at {self.place} (analytic {self.analytic:.16g}):\n" + "\n".join(rows)


@dataclass
class Finding:
    """One thing that is wrong: a headline, likely causes, details in lines."""

    headline: str
    causes: list = field(default_factory=list)
    details: str = ""

    def __str__(self):
        lines = [f"  {self.headline}"]
        lines += [f"    likely: {cause}" for cause in self.causes]
        return "\n".join(lines + ([self.details] if self.details else []))


@dataclass
class Report:
    """The outcome of a check. True where nothing is wrong.

    Attributes:
        name: of the check. findings: what is wrong. warnings: why passing says less than it seems to.
        comparisons: per variable the analytic and the numerical gradient. curve: the V-curve of the worst entry.
        evaluations: how often f was called for differences.
    """

    name: str = "gradcheck"
    findings: list = field(default_factory=list)
    warnings: list = field(default_factory=list)
    comparisons: list = field(default_factory=list)
    curve: Curve = None
    evaluations: int = 0

    def __bool__(self):
        return not self.findings

    @property
    def relative_error(self):
        """The largest relative error of all variables."""
        return max((c.relative_error for c in self.comparisons), default=0.0)

    def __str__(self):
        if self:
            return f"{self.name}: right, relative error {self.relative_error:.1e}"
        return "\n".join([f"{self.name} failed:", *map(str, self.findings)])

    def plot(self, path):
        """Draw the worst variable's analytic against numerical gradient, and the V-curve, into an image file.

        Raises:
            ModuleNotFoundError: matplotlib is missing (pip install 'minidl[train]').
            ValueError: nothing was compared (backward raised an error, for example).
        """
        from matplotlib.figure import Figure

        if not self.comparisons:
            raise ValueError("plot: nothing to draw, no gradients were compared")
        worst = max(self.comparisons, key=lambda c: (c.wrong.any(), c.relative_error))
        known = worst.state == "smooth"
        figure = Figure(figsize=(9, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for chosen, style, label in ((known & ~worst.wrong, "o", "agree"), (worst.wrong, "x", "differ")):
            if chosen.any():
                left.plot(worst.numeric[chosen], worst.analytic[chosen], style, label=label, alpha=0.7)
        ends = [worst.numeric[known].min(initial=0.0), worst.numeric[known].max(initial=0.0)]
        left.plot(ends, ends, color="grey", linewidth=1, label="equal")
        left.set(xlabel="numerical", ylabel="analytic", title=f"gradient of {worst.variable.name}")
        left.legend()
        if self.curve is None:
            right.set_axis_off()
        else:
            numeric = np.asarray(self.curve.numeric)
            for value, label in (
                (self.curve.analytic, "from the analytic"),
                (self.curve.best, "from the best numerical"),
            ):
                right.loglog(self.curve.steps, np.maximum(np.abs(numeric - value), 1e-17), "o-", label=label)
            right.set_ylim(
                top=10 * max(1e-6, *np.abs(numeric - self.curve.analytic), *np.abs(numeric - self.curve.best))
            )
            right.legend()
            right.set(
                xlabel="step",
                ylabel="difference of the numerical derivative",
                title=f"error against the step, {self.curve.place}",
            )
            right.grid(alpha=0.3)
        figure.savefig(path, dpi=120)
