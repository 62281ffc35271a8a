"""Numerical derivatives: central differences at steps that shrink until they agree, or the complex step.

Along a line through the point, with y+ and y- the outputs one step ahead and behind,

    slope(h) = (y+ - y-) / 2h = f' + h^2 f'''/6 + ...        bend(h) = (y+ - 2y + y-) / h = h f'' + ...

The steps of a line are h, h/4, h/16, ... Two neighbours give the Richardson extrapolation (16 slope(h/4) - slope(h)) /
15, free of the h^2 term, and |slope(h/4) - slope(h)| / 15 as (pessimistic) error of truncation; rounding adds about
eps |y| / h. Where f is smooth the bend shrinks with h. Where it does not, f has a kink (relu at 0, a tie of max): the
bend is then the difference of the one-sided slopes. Where the slope grows as 1/h, f jumps.

Sources: Richardson 1911; Squire and Trapp 1998 (complex step); Ridders 1982 (error from neighbouring steps).
"""

import math

import numpy as np

_RATIO = 4
_MOST_ROWS = 14
_FIRST_STEP = {4: 2.0**-4, 8: 2.0**-8}  # by bytes of a real number: about eps^(1/6), where both errors are small
_COMPLEX_STEP = 1e-30


class Row:
    """The differences at one step: vectors over the outputs; still: not a bit of any output has moved."""

    def __init__(self, step, slope, bend, noise, still):
        self.step, self.slope, self.bend, self.noise, self.still = step, slope, bend, noise, still
        self.finite = bool(np.isfinite(slope).all() and np.isfinite(bend).all())

    @property
    def left(self):
        """The slope from behind."""
        return self.slope - self.bend / 2

    @property
    def right(self):
        """The slope ahead."""
        return self.slope + self.bend / 2


class Line:
    """f along a line: moves = [(variable, entry, velocity), …]; the rows of differences, made as they are asked for."""

    def __init__(self, problem, moves):
        self.problem, self.moves, self._rows = problem, moves, []
        largest = max((abs(v.array.flat[_element(v, e)]) for v, e, _ in moves), default=0.0)
        self.first_step = problem.first_step * max(1.0, float(largest))

    def __len__(self):
        return self.problem.most_rows

    def row(self, number):
        """The differences at first_step / 4^number."""
        while len(self._rows) <= number:
            self._rows.append(self.at(self.first_step / _RATIO ** len(self._rows)))
        return self._rows[number]

    def at(self, step):
        """The differences at a step."""
        ahead, moved_ahead = self._value(step)
        behind, moved_behind = self._value(-step)
        width, here = moved_ahead - moved_behind, self.problem.here
        same = (ahead == behind) & (ahead == here)
        still = bool(same.all())
        with np.errstate(all="ignore"):
            slope, bend = (ahead - behind) / width, (ahead - 2 * here + behind) / (width / 2)
            size = np.abs(ahead) + np.abs(behind)
            finite = self.problem.finite or np.isfinite(here)  # where not, there is no derivative
            # If nothing moves at all, the slope is zero or less than rounding shows: a bias before batch norm.
            noise = np.where(finite if still else ~same, size * (self.problem.precision / abs(width)), 0.0)
            if not (self.problem.finite and np.isfinite(size).all()):
                # Equal values are equal also where they are infinite.
                slope = np.where(finite & (ahead != behind), slope, 0.0)
                bend = np.where(finite & ((ahead != here) | (behind != here)), bend, 0.0)
                noise = np.nan_to_num(noise)
        return Row(width / 2, slope, bend, noise, still)

    def _value(self, step):
        kept = [v.array.flat[_element(v, e)] for v, e, _ in self.moves]
        # What x + h was rounded to matters in float32; on a line of many entries the roundings average out.
        moved = [v.shift(e, step * velocity) / velocity for v, e, velocity in self.moves]
        try:
            return self.problem.subject.values(), math.fsum(moved) / len(moved)
        finally:
            for (v, e, _), value in zip(self.moves, kept, strict=True):
                v.array.flat[_element(v, e)] = value


def _element(variable, entry):
    return entry // 2 if variable.array.dtype.kind == "c" else entry


class Problem:
    """A subject with its value here and the precision of its outputs.

    Attributes:
        here: the outputs. finite: whether all of them are. precision: the rounding error of an output, relative.
        first_step: the largest step.
    """

    def __init__(self, subject, eps=None):
        self.subject, self.here = subject, subject.values()
        self.finite = bool(np.isfinite(self.here).all())
        arrays = subject.arrays_of_outputs() + [v.array for v in subject.variables]
        kinds = [np.finfo(a.dtype) for a in arrays if a.dtype.kind in "fc"]
        coarsest = max(kinds, key=lambda k: k.eps, default=np.finfo(np.float64))
        self.precision = float(coarsest.eps)
        self.first_step = eps or _FIRST_STEP.get(coarsest.dtype.itemsize, 2.0**-2)
        self.most_rows = _MOST_ROWS if self.precision < 1e-12 else 7

    def line(self, variable, entry):
        """The line along one real number of a variable."""
        return Line(self, [(variable, entry, 1.0)])

    def direction(self, vectors):
        """The line along a vector per variable."""
        moves = [
            (v, e, float(d[e])) for v, d in zip(self.subject.variables, vectors, strict=True) for e in np.flatnonzero(d)
        ]
        return Line(self, moves)


class Derivative:
    """What is known of the derivative of weights·f along a line.

    Attributes:
        value: the derivative; error: what it may be off by. slopes: the same per output.
        state: "smooth"; "kink": the one-sided slopes differ; "jump": f does; "edge": f is not finite on one side.
        row: for a kink the row from which the one-sided slopes are to be read.
    """

    def __init__(self, value, error, slopes, state="smooth", row=None):
        self.value, self.error, self.slopes, self.state, self.row = value, error, slopes, state, row


def differentiate(line, weights, relative, floor):
    """The derivative of weights·f along a line.

    The steps shrink until the error is below relative * max(|value|, floor); if it never is, the least error counts.
    """
    best, history = None, []
    size = np.abs(weights)
    for number in range(len(line)):
        row = line.row(number)
        if not row.finite:
            history.clear()
            continue
        noise = 4 * float(np.linalg.norm(weights * row.noise))
        slope, bend = float(size @ np.abs(row.slope)), float(size @ np.abs(row.bend))
        history.append((row, slope, bend, noise))
        if len(history) < 2:
            continue
        before, _, bend_before, _ = history[-2]
        change = (row.slope - before.slope) / (_RATIO**2 - 1)
        error = abs(float(weights @ change)) + noise
        smooth = bend <= max(bend_before / 2, 8 * noise, 1e-7 * slope)
        if smooth and (best is None or error < best.error):
            best = Derivative(float(weights @ (row.slope + change)), error, row.slope + change)
            if error <= relative * max(abs(best.value), floor) or row.still and before.still:
                return best
    return _singular(history, weights) or best or Derivative(np.nan, np.inf, np.full(len(weights), np.nan), "edge")


def _singular(history, weights):
    """A kink or a jump, if there is one: what does not shrink with the step, down to where rounding hides it."""
    clear = [h for h in history if max(h[1], h[2]) > 1e3 * h[3]][-3:]
    if len(clear) < 3:
        return None
    row, _, _, noise = clear[-1]
    slopes, bends = ([h[column] for h in clear] for column in (1, 2))
    if all(b > 1.5 * a for a, b in zip(slopes, slopes[1:], strict=False)):
        return Derivative(np.nan, np.inf, row.slope, "jump", row)
    if bends[2] > 1e-6 * slopes[2] and all(b > 0.7 * a for a, b in zip(bends, bends[1:], strict=False)):
        return Derivative(float(weights @ row.slope), noise, row.slope, "kink", row)
    return None


def complex_step(subject, variable, entry):
    """The derivative of the outputs by one real entry as Im f(x + ih) / h: exact, where f is analytic.

    `subject` holds complex copies of the variables.
    """
    kept = variable.array.flat[entry]
    variable.array.flat[entry] = kept + 1j * _COMPLEX_STEP
    try:
        outputs = subject.arrays_of_outputs()
    finally:
        variable.array.flat[entry] = kept
    return np.concatenate([np.zeros(0), *(np.imag(y).reshape(-1) / _COMPLEX_STEP for y in outputs)])
