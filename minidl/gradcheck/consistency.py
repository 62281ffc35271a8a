"""What can be checked without differences: repetition, memory, linearity in the cotangent, layouts, dtypes."""

import warnings

import numpy as np

from .explain import shape_cause
from .report import Finding
from .subject import flat, unflatten


class Backward:
    """The backward pass of a subject as a function of the cotangent, both as vectors of real numbers."""

    def __init__(self, subject, outputs, nondet_tol=0.0):
        self.subject, self.like, self.slack = subject, outputs, 4 * nondet_tol
        # Sums in another order differ by more than one rounding: for float64 4e-10, for float32 7e-5.
        arrays = [*outputs, *(v.array for v in subject.variables)]
        self.rounding = max(float(np.finfo(a.dtype).eps) for a in arrays) ** 0.6

    def __call__(self, cotangent, run=None):
        """The gradients of the variables, a vector each, from a recorded evaluation of its own (or a given one)."""
        return self.of_arrays(unflatten(cotangent, self.like), run)

    def of_arrays(self, cotangents, run=None):
        """The same for cotangents that are arrays, or None for outputs without one."""
        retain = run is not None
        found = (run or self.subject.record()).gradients(cotangents, retain)
        return [
            np.zeros(v.size) if g is None else flat([g]) for g, v in zip(found, self.subject.variables, strict=True)
        ]

    def differ(self, got, expected, scale=None, size=1.0):
        """The first variable whose gradients differ by more than rounding, or None.

        Rounding is relative to the largest gradient (or `scale`, per variable). Where gradients cancel to nothing, it
        is relative to a thousandth of output over input, times the `size` of the cotangent.
        """
        outputs = _largest(flat(self.like))
        for number, (g, e) in enumerate(zip(got, expected, strict=True)):
            largest = _largest(e) if scale is None else scale[number]
            inputs = _largest(flat([self.subject.variables[number].array]))
            largest = max(largest, 1e-3 * size * outputs / max(inputs, 1.0))
            slack = self.rounding * largest + self.slack * max(size, 1.0)
            equal = (np.abs(g - e) <= slack) | (g == e) | (np.isnan(g) & np.isnan(e))
            if not equal.all():
                return number
        return None

    def name(self, number):
        """The variable's name."""
        return self.subject.variables[number].name


def degenerate_inputs(subject):
    """Warnings about inputs on which a wrong gradient can pass."""
    found = []
    for variable in subject.variables:
        array = variable.array
        if array.size > 1 and not np.any(array):
            found.append(f"{variable.name} is zero everywhere: factors of it are not seen; use random numbers")
        elif array.size > 1 and np.all(array == array.flat[0]):
            found.append(f"{variable.name} is constant: mixed-up entries are not seen; use random numbers")
        extents = [n for n in array.shape if n > 1]
        if variable.name.startswith("input") and len(set(extents)) < len(extents):
            found.append(
                f"{variable.name} has equal extents, shape {array.shape}: exchanged axes are not seen; use others"
            )
    return found


def forward(subject, nondet_tol):
    """(findings, outputs): f gives the same twice, with and without a graph, and leaves its inputs alone."""
    before = [v.array.copy() for v in subject.variables]
    run = subject.record()
    outputs = [y.detach().cpu().numpy().copy() for y in run.outputs]
    findings = _changed(subject, before, "the function")
    if findings:
        return findings, outputs
    for _ in range(2):
        again = subject.arrays_of_outputs()
        for number, (a, b) in enumerate(zip(outputs, again, strict=True)):
            if a.shape != b.shape or a.dtype != b.dtype:
                finding = (
                    f"output {number} is {a.dtype} of shape {a.shape} once, {b.dtype} of shape {b.shape} another time"
                )
                return [Finding(finding)], outputs
            if not _within(a, b, nondet_tol):
                return [_nondeterministic("the function", f"output {number}", a, b)], outputs
    return [], outputs


def _nondeterministic(what, where, a, b):
    most = np.nanmax(np.abs(np.asarray(a) - np.asarray(b)))
    return Finding(
        f"{what} is not deterministic: {where} differs by up to {most:.3g} between two evaluations at the same inputs",
        ["a random mask is drawn anew each time (dropout): seed it inside the function, or use eval()"],
    )


def _within(a, b, tolerance):
    return bool(np.all((a == b) | (np.abs(a - b) <= tolerance) | (np.isnan(a) & np.isnan(b))))


def _changed(subject, before, what):
    findings = []
    for variable, array in zip(subject.variables, before, strict=True):
        if not np.array_equal(variable.array, array, equal_nan=True):
            findings.append(
                Finding(f"{what} changes {variable.name} in place", ["an operation in place where a copy is needed"])
            )
            variable.array[...] = array
    return findings


def output_dtypes(subject, outputs):
    """Warnings about outputs that are less precise than the inputs."""
    finest = min(np.finfo(v.array.dtype).eps for v in subject.variables)
    return [
        f"output {number} is {y.dtype}, less precise than the inputs: differences of it are noisy"
        for number, y in enumerate(outputs)
        if np.finfo(y.dtype).eps > finest
    ]


def repeated(backward, cotangent, nondet_tol):
    """(findings, gradients): backward runs, gives the same again, and leaves inputs and cotangents alone.

    The gradients are None where nothing more can be said.
    """
    subject = backward.subject
    before = [v.array.copy() for v in subject.variables]
    given = unflatten(cotangent, backward.like)
    kept = [c.copy() for c in given]
    try:
        gradients = backward.of_arrays(given)
    except Exception as error:
        return [_raised(error)], None
    findings = _changed(subject, before, "backward")
    if findings:
        return findings, None  # every further pass would start from other inputs
    if any(not np.array_equal(a, b) for a, b in zip(given, kept, strict=True)):
        findings.append(
            Finding(
                "backward changes the gradient that it is given, in place",
                ["another user of the same value receives what is left of it; compute into a new array"],
            )
        )
    again = backward(cotangent)
    for number, (a, b) in enumerate(zip(gradients, again, strict=True)):
        if not _within(a, b, nondet_tol):
            return [*findings, _nondeterministic("backward", f"the gradient of {backward.name(number)}", a, b)], None
    run = subject.record()
    backward(cotangent, run)
    try:
        second = backward(cotangent, run)
    except Exception as error:
        return [*findings, _raised(error, " a second time over the same graph")], gradients
    for number, (a, b) in enumerate(zip(gradients, second, strict=True)):
        if not _within(a, b, nondet_tol):
            findings.append(
                Finding(
                    f"backward over the same graph gives another gradient of {backward.name(number)} the second time",
                    ["it changes what forward saved, or adds to something that it keeps"],
                )
            )
            break
    return findings, gradients


def _raised(error, when=""):
    finding = Finding(f"backward raises {type(error).__name__}{when}: {error}")
    cause = shape_cause(str(error))
    if cause:
        finding.causes.append(cause)
    return finding


def linearity(backward, cotangent, gradients, rng):
    """Backward is linear in its cotangent: g(au + bv) = a g(u) + b g(v), g(0) = 0, at every scale.

    That needs no differences, holds to rounding, and alone catches a cotangent that is ignored, squared, clipped, or
    divided by.
    """
    other = rng.permutation(cotangent) * rng.choice([-1.0, 1.0], len(cotangent))
    u, v = (flat(unflatten(c, backward.like)) for c in (cotangent, other))  # as the outputs' dtype rounds them
    factors = -1.0, 2.0**-20, 2.0**20
    try:
        of_zero, of_v = backward(0 * u), backward(v)
        of_sum = backward(1.7 * u - 0.6 * v)
        of_multiples = [backward(factor * u) for factor in factors]
    except Exception as error:
        return [_raised(error, " for another cotangent")]
    tests = [("0", of_zero, "0", [0 * g for g in gradients], None, 0.0)]
    sums = [1.7 * g - 0.6 * h for g, h in zip(gradients, of_v, strict=True)]
    scales = [_largest(g) + _largest(h) for g, h in zip(gradients, of_v, strict=True)]
    tests.append(("1.7 u - 0.6 v", of_sum, "1.7 g(u) - 0.6 g(v)", sums, scales, 1.0))
    for factor, found in zip(factors, of_multiples, strict=True):
        expected = [factor * g for g in gradients]
        tests.append((f"{factor:.3g} u", found, f"{factor:.3g} g(u)", expected, None, abs(factor)))
    for argument, found, formula, expected, scale, size in tests:
        # Where the gradient itself is infinite (sqrt at 0), no multiple of it says anything.
        found = [np.where(np.isfinite(g), f, 0 * f) for f, g in zip(found, gradients, strict=True)]
        expected = [np.where(np.isfinite(g), e, f) for e, f, g in zip(expected, found, gradients, strict=True)]
        broken = backward.differ(found, expected, scale, size)
        if broken is None:
            continue
        variable = backward.subject.variables[broken]
        entry = int(np.argmax(np.nan_to_num(np.abs(found[broken] - expected[broken]), nan=np.inf)))
        if np.array_equal(gradients[broken], of_v[broken]) and gradients[broken].any():
            cause = "the gradient does not depend on the cotangent: backward must multiply by the gradient it is given"
        elif not np.isfinite(of_zero[broken]).all():
            cause = "backward divides by the gradient it is given where it should multiply"
        else:
            cause = "the gradient that backward is given is clipped, squared, rounded or compared with something"
        return [
            Finding(
                f"backward is not linear in its cotangent: g({argument}) is {found[broken][entry]:.9g} at "
                f"{variable.name}{variable.place(entry)}, {formula} is {expected[broken][entry]:.9g}",
                [cause],
            )
        ]
    return []


def _largest(vector):
    return np.abs(vector[np.isfinite(vector)]).max(initial=0.0)


def some_outputs(backward, cotangent, gradients):
    """Backward when only some of several outputs have gradients; their gradients add up to that of all."""
    if len(backward.like) < 2:
        return []
    arrays = unflatten(cotangent, backward.like)
    total = None
    for number in range(len(arrays)):
        alone = [c if i == number else None for i, c in enumerate(arrays)]
        try:
            found = backward.of_arrays(alone)
        except Exception as error:
            return [_raised(error, f" when only output {number} has a gradient")]
        total = found if total is None else [t + g for t, g in zip(total, found, strict=True)]
    broken = backward.differ(total, gradients)
    if broken is None:
        return []
    return [
        Finding(
            f"the gradient of {backward.name(broken)} for all outputs is not the sum of those for one output at a time",
            ["an output's gradient is ignored, or its absence is not treated as zero"],
        )
    ]


def _layouts(array):
    """(name, equal array in other memory)."""
    if array.ndim > 1:
        yield "transposed in memory", np.array(array, order="F")
    if array.ndim and array.size:
        wide = np.full([2 * n + 1 for n in array.shape], np.nan).astype(array.dtype)
        sliced = wide[tuple(slice(1, None, 2) for _ in array.shape)]
        sliced[...] = array
        yield "every second element of a larger array", sliced
        backwards = tuple(slice(None, None, -1) for _ in array.shape)
        yield "reversed in memory", np.array(array[backwards], order="C")[backwards]


def layouts(backward, cotangent, gradients):
    """Equal numbers in another layout of memory have equal outputs and gradients."""
    subject, findings = backward.subject, []
    arrays = [v.array for v in subject.variables]
    outputs = flat(backward.like)
    for number, variable in enumerate(subject.variables):
        for name, array in _layouts(variable.array) if variable.tensor is None else ():
            other = Backward(subject.with_arrays([*arrays[:number], array, *arrays[number + 1 :]]), backward.like)
            what = f"{variable.name} is {name}"
            try:
                run = other.subject.record()
                values = flat([y.detach().cpu().numpy() for y in run.outputs])
                found = other(cotangent, run)
            except Exception as error:
                return [_raised(error, f" where {what}")]
            if len(values) != len(outputs) or backward.differ([values], [outputs]) is not None:
                findings.append(Finding(f"the outputs are others where {what}", ["the layout of memory is read"]))
            elif (broken := backward.differ(found, gradients)) is not None:
                findings.append(
                    Finding(
                        f"the gradient of {backward.name(broken)} is another where {what}: backward is right for "
                        "contiguous memory only",
                        ["the layout of memory is read (ravel in order K, strides, a kernel that expects C order)"],
                    )
                )
            if findings:
                return findings
    return _cotangent_layouts(backward, cotangent, gradients)


def _all_in(name, array):
    return dict(_layouts(array)).get(name, array)


def _cotangent_layouts(backward, cotangent, gradients):
    given = unflatten(cotangent, backward.like)
    for number, array in enumerate(given):
        for name, other in _layouts(array):
            found = _try_cotangents(backward, [*given[:number], other, *given[number + 1 :]], name)
            if isinstance(found, Finding):
                return [found]
            if (broken := backward.differ(found, gradients)) is not None:
                return [_cotangent_layout(backward, broken, name)]
    for name in ("transposed in memory", "every second element of a larger array"):
        arrays = [v.array if v.tensor is not None else _all_in(name, v.array) for v in backward.subject.variables]
        other = Backward(backward.subject.with_arrays(arrays), backward.like)
        found = _try_cotangents(other, [_all_in(name, c) for c in given], f"{name}, as are the inputs")
        if isinstance(found, Finding):
            return [found]
        if (broken := backward.differ(found, gradients)) is not None:
            return [_cotangent_layout(backward, broken, f"{name}, as are the inputs")]
    # What sum sends back, over all axes or one: a number behind many indices, in memory that cannot be written to.
    for name, expanded in _expanded(given):
        expected, found = (_try_cotangents(backward, c, name) for c in ([c.copy() for c in expanded], expanded))
        for result in (expected, found):
            if isinstance(result, Finding):
                return [result]
        if (broken := backward.differ(found, expected)) is not None:
            return [_cotangent_layout(backward, broken, name)]
    return []


def _expanded(given):
    """(name, cotangents that repeat numbers by a stride of 0): along all axes, and along each."""
    yield "one number expanded (as behind sum)", [np.broadcast_to(c.dtype.type(0.75), c.shape) for c in given]
    for axis in range(max((c.ndim for c in given), default=0)):
        yield (
            f"expanded along axis {axis} (as behind sum)",
            [np.broadcast_to(c.take([0], axis), c.shape) if axis < c.ndim and c.size else c for c in given],
        )


def _try_cotangents(backward, cotangents, name):
    try:
        return backward.of_arrays(cotangents)
    except Exception as error:
        return _raised(error, f" where its cotangent is {name}")


def _cotangent_layout(backward, broken, name):
    return Finding(
        f"the gradient of {backward.name(broken)} is another where the cotangent is {name}",
        ["backward reads the layout of its cotangent's memory"],
    )


def empty_batch(subject):
    """Warnings: where f takes a batch of no elements, backward should, too."""
    inputs = [v for v in subject.variables if v.tensor is None]
    if not inputs or not inputs[0].array.ndim or not inputs[0].array.size:
        return []
    extent = inputs[0].array.shape[0]
    for together in (True, False):
        arrays = [
            v.array[:0] if v is inputs[0] or (together and v in inputs and v.array.shape[:1] == (extent,)) else v.array
            for v in subject.variables
        ]
        other = subject.with_arrays(arrays)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of the mean of nothing
                run = other.record()
            outputs = [y.detach().cpu().numpy() for y in run.outputs]
        except Exception:  # f takes no such batch, or only another combination
            continue
        if sum(y.size for y in outputs) and not np.isfinite(flat(outputs)).all():
            return []  # the mean of nothing
        try:
            run.gradients([np.ones_like(y) for y in outputs])
        except Exception as error:
            return [
                f"backward raises {type(error).__name__} where {inputs[0].name} is an empty batch, which forward takes "
                f"({error})"
            ]
        return []
    return []


def precision(subject, outputs, gradients):
    """A float64 gradient whose every number is a float32 was computed in float32.

    But for what is left where the terms of a gradient cancel (a bias before batch norm): a few bits, next to others.
    """
    findings = []
    if any(np.finfo(a.dtype).eps > 1e-12 for a in [*outputs, *(v.array for v in subject.variables)]):
        return findings
    largest = max((np.abs(g[np.isfinite(g)]).max(initial=0.0) for g in gradients), default=0.0)
    for variable, gradient in zip(subject.variables, gradients, strict=True):
        known = gradient[(gradient != 0) & np.isfinite(gradient)]
        if len(np.unique(known)) < 4 or np.abs(known).max() < 1e-12 * largest:
            continue
        with np.errstate(over="ignore"):
            if np.array_equal(known.astype(np.float32).astype(np.float64), known):
                findings.append(
                    Finding(
                        f"the gradient of {variable} holds float32 numbers only: it was computed in a lower precision",
                        ["a constant or buffer of float32, or a cast, in backward"],
                    )
                )
    return findings
