"""Guess the mistake from the pattern of the errors: ratios, differences, places, and what else the gradient equals.

Each guess is tested against the numbers before it is said: a cause is named only where it accounts for every entry.
"""

import itertools
import re

import numpy as np

_CLOSE = 1e-4, 0.02  # of the largest entry, of the largest error: a guess must not leave more than this unexplained
_MOST_CAUSES = 3


def causes(check, comparison, gradients):
    """Likely causes, the most telling first, of a wrong gradient."""
    wrong = comparison.wrong
    analytic, numeric = comparison.analytic, comparison.numeric
    if not np.isfinite(analytic).all():
        count = np.count_nonzero(~np.isfinite(analytic))
        return [f"{count} of {analytic.size} entries are NaN or infinite: a division by zero, or the log of zero"]
    if not analytic.any():
        return ["the gradient is zero everywhere: backward returns zeros, or the graph is cut (detach, .data, no_grad)"]
    alike = _Alike(analytic, numeric)
    found = _ratio(check, alike, analytic, numeric)
    whole = comparison.variable.array
    if not found and whole.dtype.kind == "c" and alike(analytic, _conjugate(numeric)):
        found.append("the complex conjugate: in a product, the gradient of one factor takes conj() of the other")
    if found or len(comparison.entries) < comparison.variable.size or whole.dtype.kind == "c":
        return found
    a, n = analytic.reshape(whole.shape), numeric.reshape(whole.shape)
    found += _rearranged(alike, a, n)
    found += _other_gradients(check, alike, comparison)
    found += _jacobian(check, alike, comparison)
    found += _factors(check, alike, a, n)
    found += _differences(check, a, n)
    if not found and np.abs(a - n).max() < 1e-2 * np.abs(n).max() and wrong.mean() > 0.5:
        found.append("a small error everywhere: an eps left out, an approximate derivative, a lower precision")
    if not found:
        found += _places(a, n, wrong.reshape(whole.shape), whole)
    return found[:_MOST_CAUSES]


class _Alike:
    """Whether a guess accounts for the analytic gradient: much better than the right one does."""

    def __init__(self, analytic, numeric):
        self.slack = min(
            _CLOSE[0] * np.abs(numeric).max(initial=0.0), _CLOSE[1] * np.abs(analytic - numeric).max(initial=0.0)
        )

    def __call__(self, analytic, guess):
        return bool(np.all(np.abs(analytic - guess) <= self.slack)) and bool(np.any(guess))


def _conjugate(pairs):
    return (pairs.reshape(-1, 2) * [1, -1]).reshape(-1)


def _ratio(check, alike, a, n):
    """One factor everywhere."""
    if not n.any():
        return []
    factor = float(a @ n / (n @ n))
    if not np.isfinite(factor) or factor == 0 or not alike(a, factor * n):
        return []
    if abs(factor + 1) < 1e-3:
        return ["the sign is wrong everywhere"]
    sign = "minus " if factor < 0 else ""
    for extent, where in _extents(check):
        for value, text in ((extent, "multiplied"), (1 / extent, "divided")):
            if abs(abs(factor) / value - 1) < 1e-3:
                return [
                    f"{text} by {sign}{extent} everywhere, which is {where}: a mean where a sum belongs, or the reverse"
                ]
    for whole in range(2, 1000):
        for value, text in ((whole, f"{sign}{whole}"), (1 / whole, f"{sign}1/{whole}")):
            if abs(abs(factor) / value - 1) < 1e-4:
                return [f"off by a factor {text} everywhere"]
    return [f"off by a factor {factor:.6g} everywhere ({100 * (factor - 1):+.3g} %)"]


def _extents(check):
    """(number, what it is) of sizes by which sums and means differ: batch sizes and other extents, products of some."""
    known = []
    for name, array in _arrays(check):
        for axis, extent in enumerate(array.shape):
            batch = " (the batch size?)" if axis == 0 and array.ndim > 1 else ""
            known.append((extent, f"the extent of axis {axis} of {name}{batch}"))
        known.append((array.size, f"the number of elements of {name}"))
        if array.ndim > 2:
            known.append((int(np.prod(array.shape[2:])), f"the number of pixels of {name}"))
            known.append((array.size // max(array.shape[1], 1), f"the number of elements per channel of {name}"))
    return [(extent, where) for extent, where in known if extent > 1]


def _arrays(check):
    for variable in check.subject.variables:
        yield variable.name, variable.array
    for number, array in enumerate(check.like):
        yield f"output {number}", array


def _rearranged(alike, a, n):
    """The right numbers in other places."""
    if a.size < 2:
        return []
    for axes in itertools.permutations(range(a.ndim)) if a.ndim <= 4 else ():
        if axes != tuple(range(a.ndim)) and np.transpose(n, axes).shape == a.shape and alike(a, np.transpose(n, axes)):
            what = "transposed" if a.ndim == 2 else f"permuted: its axes are {axes} of the right gradient"
            return [f"the gradient is {what}"]
    for count in range(1, min(a.ndim, 4) + 1):
        for axes in itertools.combinations(range(a.ndim), count):
            if alike(a, np.flip(n, axes)):
                return [f"the gradient is flipped along {_axes(axes)}"]
    for axis in range(a.ndim):
        for shift in (1, -1, 2, -2):
            if a.shape[axis] > 2 and alike(a, np.roll(n, shift, axis)):
                return [f"the gradient is shifted by {shift} along axis {axis}"]
    if alike(np.sort(a, None), np.sort(n, None)):
        return ["the right numbers in the wrong places: reshaped or indexed in another order"]
    return []


def _axes(axes):
    return f"axis {axes[0]}" if len(axes) == 1 else "axes " + ", ".join(map(str, axes))


def _other_gradients(check, alike, comparison):
    """The gradient of another input, or what backward was given, passed on."""
    analytic = comparison.analytic
    for other in check.report.comparisons:
        if other.variable is not comparison.variable and other.numeric.shape == analytic.shape:
            if alike(analytic, other.numeric):
                return [f"it is the gradient of {other.variable.name}: the gradients are exchanged"]
    if len(check.weights) == len(analytic) and alike(analytic, check.weights):
        return ["it is the gradient that backward was given, passed on unchanged: the derivative itself is missing"]
    return []


def _jacobian(check, alike, comparison):
    """What cotangents, or what part of the Jacobian, give this gradient."""
    found, analytic, v = comparison.found, comparison.analytic, check.weights
    if len(found) * len(v) > 2_000_000 or any(len(d.slopes) != len(v) for d in found):
        return []
    jacobian = np.array([d.slopes for d in found])  # entries × outputs
    if not np.isfinite(jacobian).all():
        return []
    for cotangent, text in (
        (np.ones_like(v), "it is the gradient for a cotangent of ones: backward ignores the gradient that it is given"),
        (v * v, "the gradient that backward is given enters squared"),
        (np.abs(v), "the gradient that backward is given enters without its sign"),
        (np.sign(v), "only the sign of the gradient that backward is given enters"),
        (v / np.linalg.norm(v) if v.any() else v, "the gradient that backward is given is normalised"),
        (np.maximum(v, 0), "negative parts of the gradient that backward is given are dropped"),
    ):
        if alike(analytic, jacobian @ cotangent):
            return [text]
    if len(found) == len(v) and alike(analytic, jacobian.T @ v):
        return [
            "it is J v, not Jᵀ v: the operation itself was applied to the gradient where its transpose (or reversal) "
            "belongs"
        ]
    start = 0
    for number, output in enumerate(check.like):
        size = output.size * (2 if output.dtype.kind == "c" else 1)
        part = v[start : start + size].reshape(output.shape) if output.dtype.kind == "f" else np.zeros((0,))
        for axis in range(part.ndim if output.dtype.kind == "f" else 0):
            for index in {0, part.shape[axis] - 1} if part.shape[axis] > 1 else ():
                kept = np.zeros_like(part)
                where = (slice(None),) * axis + (index,)
                kept[where] = part[where]
                full = np.zeros_like(v)
                full[start : start + size] = kept.reshape(-1)
                if alike(analytic, jacobian @ full):
                    return [
                        f"only index {index} of axis {axis} of output {number} contributes: is the sum over axis "
                        f"{axis} missing (un-broadcast, or a bias's batch)?"
                    ]
        start += size
    terms = jacobian * v
    scale = np.abs(comparison.numeric).max(initial=0.0)
    used = np.count_nonzero(np.abs(terms) > 1e-9 * scale, axis=1)
    one_term = np.abs(terms - analytic[:, None]).min(axis=1, initial=np.inf) <= alike.slack
    if (used > 1).any() and one_term[used > 1].all() and (comparison.wrong == (used > 1)).mean() > 0.8:
        return [
            "each entry that is used several times receives one contribution where all must be added: overwritten "
            "instead of accumulated (np.add.at)"
        ]
    return []


def _factors(check, alike, a, n):
    """A known array as factor or divisor; or a factor per index of one axis."""
    scale = np.abs(n).max(initial=0.0)
    for name, array in _arrays(check):
        if array.shape != a.shape or array.dtype.kind != "f" or array.size < 3:
            continue
        if array.size == len(check.weights) and alike(a, check.weights.reshape(a.shape) * array):
            return [f"it is the gradient that backward was given times {name}: the derivative is another"]
        with np.errstate(all="ignore"):
            for factor, text in (
                (array, f"multiplied by {name} once too often (or divided once too few)"),
                (1 / array, f"a factor {name} is missing (or divided once too often)"),
                (np.sign(array), f"the sign of {name} is missing or too much"),
                (np.abs(array), f"multiplied by |{name}|"),
                (1 / array**2, f"divided by {name} squared where it should not be"),
            ):
                if np.isfinite(factor).all() and alike(a, n * factor):
                    return [text]
    if a.ndim > 1 and (np.abs(n) > 1e-3 * scale).all():
        ratio = a / n
        for axis in range(a.ndim):
            others = tuple(i for i in range(a.ndim) if i != axis)
            spread = ratio.max(others) - ratio.min(others)
            if (spread <= 1e-3 * np.abs(ratio).max(others)).all() and np.ptp(ratio) > 1e-2:
                values = ", ".join(f"{r:.4g}" for r in ratio.mean(others)[:6])
                return [f"a factor that depends on the index of axis {axis} alone: {values}"]
    return []


def _differences(check, a, n):
    """What is missing is constant along axes, or follows the input or the output along them: a statistic's term."""
    difference = a - n
    known = [(f"{name}", array) for name, array in _arrays(check) if array.shape == a.shape and array.dtype.kind == "f"]
    for count in range(1, a.ndim + 1):
        for axes in itertools.combinations(range(a.ndim), count):
            if np.prod([a.shape[i] for i in axes]) < 4:
                continue
            rows = np.moveaxis(difference, axes, range(count)).reshape(np.prod([a.shape[i] for i in axes]), -1)
            if np.abs(rows - rows.mean(0)).max() <= 1e-3 * np.abs(rows).max():
                return [
                    f"off by a constant along {_axes(axes)}: a term through a mean or sum over {_axes(axes)} is missing"
                ]
            for name, array in known:
                basis = np.moveaxis(array, axes, range(count)).reshape(len(rows), -1)
                for powers, text in (((1,), "a multiple of"), ((0, 1), "a constant plus a multiple of")):
                    if len(rows) < len(powers) + 2 or not _follows(rows, basis, powers):
                        continue
                    return [
                        f"off by {text} {name} along {_axes(axes)}: a term through a statistic (sum, variance, "
                        f"norm) over {_axes(axes)} is missing"
                    ]
    return []


def _follows(rows, basis, powers):
    for column in range(rows.shape[1]):
        design = np.stack([basis[:, column] ** p for p in powers], 1)
        if not np.isfinite(design).all():
            return False
        fitted = design @ np.linalg.lstsq(design, rows[:, column], rcond=None)[0]
        if np.abs(fitted - rows[:, column]).max() > 1e-3 * np.abs(rows).max():
            return False
    return True


def _places(a, n, wrong, x):
    """Where the wrong entries are."""
    if wrong.all():
        return []
    found = []
    counts = [np.unique(np.nonzero(wrong)[axis]) for axis in range(a.ndim)]
    for axis, indices in enumerate(counts):
        extent = a.shape[axis]
        if len(indices) == 1 and extent > 1:
            end = " (the last)" if indices[0] == extent - 1 else " (the first)" if indices[0] == 0 else ""
            found.append(f"only index {indices[0]}{end} of axis {axis} is wrong: a remainder, a border, one element")
        elif 1 < len(indices) < extent and len({*np.diff(indices)}) == 1 and np.diff(indices)[0] > 1:
            found.append(f"only every {np.diff(indices)[0]}th index of axis {axis} is wrong: a stride or dilation")
    border = np.ones(a.shape, bool)
    if a.ndim >= 2 and min(a.shape[-2:]) > 2:
        border[..., 1:-1, 1:-1] = False
        if not (wrong & ~border).any():
            found.insert(0, "only the border rows and columns are wrong: padding, or a cropped window")
    for chosen, text in (
        (x > 0, "only where the input is positive"),
        (x < 0, "only where the input is negative"),
        (x == 0, "only where the input is exactly zero"),
        (a == 0, "the gradient is zero where it should not be"),
        (n == 0, "a gradient flows where the function is flat"),
    ):
        if (
            chosen.any()
            and not chosen.all()
            and not (wrong & ~chosen).any()
            and (wrong & chosen).sum() >= chosen.sum() / 2
        ):
            found.append(text)
    values, index, repeats = np.unique(x, return_inverse=True, return_counts=True)
    if (repeats > 1).any() and not (wrong & (repeats[index].reshape(x.shape) == 1)).any():
        found.append("only entries whose value occurs several times: ties")
    return found


def table(comparison, rows=5):
    """The entries that differ most, with index, both gradients and their ratio."""
    with np.errstate(all="ignore"):
        excess = np.nan_to_num(np.abs(comparison.analytic - comparison.numeric) / comparison.tolerance, nan=np.inf)
        ratio = comparison.analytic / comparison.numeric
    order = [i for i in np.argsort(-excess, kind="stable") if comparison.wrong[i]][:rows]
    lines = [f"    {'index':>14}  {'analytic':>18}  {'numeric':>18}  analytic/numeric"]
    for i in order:
        place = comparison.variable.place(int(comparison.entries[i]))
        lines.append(
            f"    {place:>14}  {comparison.analytic[i]:18.10g}  {comparison.numeric[i]:18.10g}  {ratio[i]:.6g}"
        )
    return "\n".join(lines)


def shape_cause(message):
    """What a gradient of the wrong shape tells: the engine's message names both shapes."""
    match = re.search(r"has shape \(([\d, ]*)\), it must be \(([\d, ]*)\)", message)
    if not match:
        return None
    got, expected = (tuple(int(n) for n in part.split(",") if n.strip()) for part in match.groups())
    if len(got) >= len(expected):
        own = (1,) * (len(got) - len(expected)) + expected
        if all(m == n or n == 1 for m, n in zip(got, own, strict=True)):
            axes = [i for i, (m, n) in enumerate(zip(got, own, strict=True)) if m != n or i < len(got) - len(expected)]
            return f"missing sum over {_axes(axes)}: the gradient was not un-broadcast to the input's shape"
    if sorted(got) == sorted(expected):
        return "the axes are in another order: a transpose is missing"
    if len(got) < len(expected):
        return "the gradient of a reduction was not expanded to the input's shape"
    return None
