"""Where f has no derivative: kinks and ties are checked against one-sided slopes, jumps are named and left out.

At a kink of one output y the analytic gradient g must be a subgradient: along any direction d, g·d lies between the
slope behind and the slope ahead. One entry at a time this cannot tell a tie whose gradient is shared from one that is
counted twice (both lie between 0 and 1); moving the tied entries together can, since there y is smooth. (For y convex
or concave around the point, as for max, relu, abs, norms; Rockafellar 1970, section 23.)
"""

import numpy as np

from .report import Finding

_MOST_OUTPUTS = 24
_DIRECTIONS = 6


def check(problem, backward, weights, comparisons, rng):
    """(findings, warnings) about the entries that are not smooth; fills in what is smooth about them."""
    notes, kinked = [], []
    for comparison in comparisons:
        number = problem.subject.variables.index(comparison.variable)
        for state, text in _TEXTS.items():
            there = np.flatnonzero(comparison.state == state)
            if len(there):
                place = comparison.variable.place(int(comparison.entries[there[0]]))
                where = "along the direction tried" if comparison.fast else f"the first is {place}"
                notes.append(f"{text} at {len(there)} of {len(comparison.entries)} entries of "
                             f"{comparison.variable.name} ({where})")  # fmt: skip
        if not comparison.fast:
            kinked += [(number, comparison, int(at)) for at in np.flatnonzero(comparison.state == "kink")]
    if not kinked:
        return [], notes
    at_outputs = {}  # number of an output -> the entries (variable, entry) at which it has a kink
    for number, comparison, at in kinked:
        row = comparison.found[at].row
        bend = np.abs(row.bend)
        for output in np.flatnonzero((bend > 0.05 * bend.max()) & (bend > 1e4 * row.noise)):
            at_outputs.setdefault(int(output), []).append((number, int(comparison.entries[at])))
    findings = _smooth_outputs(backward, weights, kinked, at_outputs)
    chosen = sorted(at_outputs)
    if len(chosen) > _MOST_OUTPUTS:
        chosen = sorted(rng.choice(chosen, _MOST_OUTPUTS, replace=False).tolist())
    for output in chosen:
        finding = _subgradient(problem, backward, output, at_outputs[output], rng)
        if finding:
            return [*findings, finding], notes
    return findings, notes


_TEXTS = {
    "kink": "f has a kink or a tie (the gradient is checked against the slopes on both sides)",
    "jump": "f jumps or is infinitely steep (left out)",
    "edge": "f is NaN or infinite beside the point (left out)",
}


def _smooth_outputs(backward, weights, kinked, at_outputs):
    """The kinked entries' derivatives of the outputs that have no kink are compared as everywhere else."""
    remaining = weights.copy()
    remaining[list(at_outputs)] = 0.0
    if not remaining.any():
        return []
    gradients = backward(remaining)
    for number, comparison, at in kinked:
        slopes, row = comparison.found[at].slopes, comparison.found[at].row
        analytic = gradients[number][comparison.entries[at]]
        numeric = float(remaining @ slopes)
        tolerance = comparison.tolerance[at] + 4 * float(np.linalg.norm(remaining * row.noise))
        tolerance += 1e-3 * float(np.abs(remaining) @ np.abs(slopes))  # one step, not extrapolated
        if not abs(analytic - numeric) <= tolerance:
            place = comparison.variable.place(int(comparison.entries[at]))
            return [
                Finding(
                    f"the gradient of {comparison.variable} is wrong at {place}, at a kink, also for the outputs that "
                    f"have none there: analytic {analytic:.8g}, numeric {numeric:.8g}"
                )
            ]
    return []


def _subgradient(problem, backward, output, entries, rng):
    variables = problem.subject.variables
    one = np.zeros(len(problem.here))
    one[output] = 1.0
    gradients = backward(one)
    alone = [[(entry, 1.0)] for entry in entries]
    together = [[(entry, 1.0) for entry in entries]]
    mixed = [[(entry, float(rng.standard_normal())) for entry in entries] for _ in range(_DIRECTIONS)]
    for direction in [*together, *alone, *mixed] if len(entries) > 1 else alone:
        vectors = [np.zeros(v.size) for v in variables]
        for (number, entry), velocity in direction:
            vectors[number][entry] = velocity
        analytic = sum(float(g @ d) for g, d in zip(gradients, vectors, strict=True))
        left, right, error = _one_sided(problem.direction(vectors), output)
        slack = 1e-4 * max(abs(left), abs(right), 1e-3) + 10 * error
        if not min(left, right) - slack <= analytic <= max(left, right) + slack:
            (number, entry), _ = direction[0]
            first = f"{variables[number].name}{variables[number].place(entry)}"
            moved = first if len(direction) == 1 else f"{len(direction)} entries (the first is {first}) together"
            between = f"{right:.6g}" if abs(left - right) <= slack else f"between {left:.6g} and {right:.6g}"
            cause = (
                "ties are counted more than once: the entries that share the extreme value must share one gradient"
                if len(direction) > 1 and abs(analytic) > max(abs(left), abs(right))
                else "the wrong side of the kink, or another entry, receives the gradient"
            )
            return Finding(
                f"the gradient is wrong at a kink or tie: moving {moved} changes output number {output} at a rate of "
                f"{between}, the analytic gradient says {analytic:.6g}",
                [cause],
            )
    return None


def _one_sided(line, output):
    """The slopes of one output behind and ahead of the point, and their error, at the step where both are clear."""
    best = None
    for number in range(1, len(line)):
        before, row = line.row(number - 1), line.row(number)
        if not (np.isfinite(row.slope[output]) and np.isfinite(before.slope[output])):
            continue
        left, right = row.left[output], row.right[output]
        error = max(abs(left - before.left[output]), abs(right - before.right[output])) + 8 * row.noise[output]
        if best is None or error < best[2]:
            best = left, right, error
    return best or (-np.inf, np.inf, 0.0)
