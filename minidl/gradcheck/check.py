"""gradcheck and gradgradcheck: the analytic gradient against the numerical one, and everything else that can be wrong.

For outputs f(x), a random cotangent v and the Jacobian J, backward computes the vector v^T J. Its entries are compared
with numerical derivatives of v·f (numeric.py). A random v makes this a test: with v = 1 the gradients of softmax
and of the norms vanish, and a backward of zeros passes. Before that come the checks that cost little (consistency.py).
"""

import warnings

import numpy as np

from . import consistency, explain, kinks
from .numeric import Derivative, Problem, complex_step, differentiate
from .report import Comparison, Curve, Finding, GradcheckError, GradcheckWarning, Report
from .subject import Subject, first_gradients, flat, is_floating, plain, unflatten

_RTOL = {4: 1e-3, 8: 1e-6}  # by bytes of a real number
_NOISY = 0.02  # a numerical derivative that may be off by more than this share of the gradient says nothing
_METHODS = ("auto", "central", "complex")


def gradcheck(
    f, inputs, *, eps=None, atol=None, rtol=None, wrt=None, method="auto", fast_mode=False, max_entries=None,
    nondet_tol=0.0, check_undefined_grad=True, check_grad_dtypes=True, check_layouts=True, raise_exception=True, seed=0,
):  # fmt: skip
    """Check f's gradients at a point against numerical derivatives, for a random cotangent.

    Also checked: that f and its backward give the same twice, leave their inputs alone and do not depend on the layout
    of memory; that backward is linear in its cotangent; that gradients are not made in a lower precision; zero-size
    batches. At ties and kinks the gradient must lie between the one-sided slopes, along every direction that is tried.

    Args:
        f: a function of Tensors that returns a Tensor or several. A Module's parameters are checked too.
        inputs: its arguments, a sequence (or one Tensor). Differentiated are Tensors that require gradients and
            floating-point arrays; float64 is best.
        eps: the first step of the differences (smaller ones follow); by default about 0.004 in float64, 0.06 in
            float32, times the size of the element where that is above 1.
        atol, rtol: |analytic - numeric| <= atol + rtol * |numeric| + what the differences may be off by. rtol is 1e-6
            by default (float32: 1e-3), atol a hundredth of rtol (float32: a tenth) times the gradient's root mean
            square.
        wrt: the numbers of the inputs to differentiate by, instead of those that require gradients.
        method: "central" differences; "complex", the complex step, exact but for functions that take complex inputs and
            are analytic; "auto": central differences (of f in float64, where f takes that and the inputs are float32),
            and the complex step where rounding hides them.
        fast_mode: one random direction per input instead of every entry (of inputs at a kink or tie, every entry).
        max_entries: check at most this many random entries per input.
        nondet_tol: how far two evaluations may differ.
        check_undefined_grad: with several outputs, also check that backward is right when only some have gradients.
        check_grad_dtypes: warn where an output is less precise than the inputs. (A gradient's dtype is always checked.)
        check_layouts: also run f on transposed, strided and reversed memory and on an empty batch.
        raise_exception: with False, return False instead of raising.
        seed: of the random cotangents and directions.

    Returns:
        True.

    Raises:
        GradcheckError: a gradient is wrong; the message says where, how, and what may be the reason.
        ValueError: no input is to be differentiated, or an argument out of range. TypeError: f returns no Tensors.

    Warns:
        GradcheckWarning: the check says little: constant inputs, equal extents, a gradient of zeros, a point where f
            has no derivative.
    """
    report = examine(
        f, inputs, eps=eps, atol=atol, rtol=rtol, wrt=wrt, method=method, fast_mode=fast_mode, max_entries=max_entries,
        nondet_tol=nondet_tol, check_undefined_grad=check_undefined_grad, check_grad_dtypes=check_grad_dtypes,
        check_layouts=check_layouts, seed=seed,
    )  # fmt: skip
    return conclude(report, raise_exception)


def gradgradcheck(f, inputs, grad_outputs=None, *, wrt=None, raise_exception=True, seed=0, **options):
    """Check f's second derivatives: gradcheck of the function (inputs, cotangents) -> gradients. See gradcheck.

    Args:
        grad_outputs: arrays or Tensors to use as cotangents, one per differentiable output, instead of random ones.
    """
    report = examine_second(f, inputs, grad_outputs, wrt=wrt, seed=seed, **options)
    return conclude(report, raise_exception)


def conclude(report, raise_exception=True):
    """Warn of what the report warns of; raise where something is wrong."""
    for warning in report.warnings:
        warnings.warn(f"{report.name}: {warning}", GradcheckWarning, stacklevel=3)
    if not report and raise_exception:
        raise GradcheckError(str(report), report)
    return bool(report)


def examine_second(f, inputs, grad_outputs=None, *, wrt=None, seed=0, **options):
    """The Report of gradgradcheck."""
    inputs = _as_inputs(inputs)
    _check_wrt(inputs, wrt)
    subject = Subject(f, inputs, wrt)
    _check_variables(subject)
    run = subject.record()
    count = len(inputs)
    if grad_outputs is None:
        outputs = [y for y in run.outputs if y.requires_grad]
        arrays = [y.detach().cpu().numpy() for y in outputs]
        grad_outputs = unflatten(_cotangent(np.random.default_rng([seed, 1]), flat(arrays).size), arrays)
    else:
        grad_outputs = [plain(g) for g in _as_inputs(grad_outputs)]
    positions = [v.position for v in subject.variables if v.position is not None]
    second = first_gradients(f, count, positions)
    arguments = [*inputs, *(np.array(g) for g in grad_outputs)]
    names = {count + i: f"cotangent {i}" for i in range(len(grad_outputs))}
    chosen = [*positions, *names]
    return examine(
        second, arguments, wrt=chosen, seed=seed, names=names, every_output=True, name="gradgradcheck", **options
    )


def examine(
    f, inputs, *, eps=None, atol=None, rtol=None, wrt=None, method="auto", fast_mode=False, max_entries=None,
    nondet_tol=0.0, check_undefined_grad=True, check_grad_dtypes=True, check_layouts=True, seed=0,
    names=None, every_output=False, name="gradcheck",
):  # fmt: skip
    """The Report of gradcheck, whatever it says; names: of arguments, for messages."""
    inputs = _as_inputs(inputs)
    _check_wrt(inputs, wrt)
    _check_options(eps, atol, rtol, method, max_entries, nondet_tol)
    subject = Subject(f, inputs, wrt, every_output)
    for variable in subject.variables:
        variable.name = (names or {}).get(variable.position, variable.name)
    _check_variables(subject)
    report = Report(name)
    report.warnings += consistency.degenerate_inputs(subject)
    with subject.unchanged(), np.errstate(all="ignore"):
        check = _Check(subject, report, np.random.default_rng(seed), rtol, atol, eps)
        check.run(method, fast_mode, max_entries, nondet_tol, check_undefined_grad, check_grad_dtypes, check_layouts)
    report.evaluations = check.evaluations
    return report


class _Check:
    """One check in progress."""

    def __init__(self, subject, report, rng, rtol, atol, eps):
        self.subject, self.report, self.rng = subject, report, rng
        self.rtol, self.atol, self.eps = rtol, atol, eps
        self.evaluations = 0

    def run(self, method, fast_mode, max_entries, nondet_tol, undefined, dtypes, layouts):
        subject, report = self.subject, self.report
        findings, outputs = consistency.forward(subject, nondet_tol)
        report.findings += findings
        if findings:
            return  # nothing that follows would mean anything
        if dtypes:
            report.warnings += consistency.output_dtypes(subject, outputs)
        self.like = outputs
        here = flat(outputs)
        cotangent = _cotangent(self.rng, here.size)
        cotangent[~np.isfinite(here)] = 0.0
        if not np.isfinite(here).all():
            report.warnings.append(
                f"{np.count_nonzero(~np.isfinite(here))} of {here.size} outputs are NaN or infinite; no gradient is "
                "sent into them"
            )
        backward = consistency.Backward(subject, outputs, nondet_tol)
        findings, gradients = consistency.repeated(backward, cotangent, nondet_tol)
        report.findings += findings
        if gradients is None:
            return
        report.findings += consistency.linearity(backward, cotangent, gradients, self.rng)
        if undefined:
            report.findings += consistency.some_outputs(backward, cotangent, gradients)
        if layouts:
            report.findings += consistency.layouts(backward, cotangent, gradients)
            report.warnings += consistency.empty_batch(subject)
        report.findings += consistency.precision(subject, outputs, gradients)
        self.weights = flat(unflatten(cotangent, outputs))  # as the outputs' dtype has rounded it
        numerical = subject.doubled(outputs) if method == "auto" else None
        self.problem = Problem(numerical or subject, self.eps)
        if method == "complex":
            self._require_complex()
        for number, variable in enumerate(subject.variables):
            if variable.size:
                self._compare(number, gradients[number], method, fast_mode, max_entries)
        self._judge(backward, gradients)
        self.evaluations = self.problem.subject.evaluations

    # ---- comparing ---------------------------------------------------------------------------------------------------

    def _compare(self, number, gradient, method, fast_mode, max_entries):
        """Add the Comparison of one variable."""
        variable = self.problem.subject.variables[number]
        bytes_ = np.finfo(self.subject.variables[number].array.dtype).dtype.itemsize
        rtol = _RTOL.get(bytes_, 1e-2) if self.rtol is None else self.rtol
        entries = np.arange(variable.size)
        if max_entries is not None and max_entries < variable.size:
            entries = np.sort(self.rng.choice(variable.size, max_entries, replace=False))
        if fast_mode:
            found, analytic = self._along_a_direction(number, gradient, rtol)
            if found[0].state != "smooth":  # a kink or tie somewhere on the way: look at each entry
                return self._compare(number, gradient, method, False, max_entries)
            scale = np.maximum(np.linalg.norm(analytic), abs(found[0].value))[None]
            analytic, entries = np.array([analytic.sum()]), np.arange(1)
        else:
            finite = gradient[np.isfinite(gradient)]
            floor = _rms(finite)
            found = [self._entry(variable, e, rtol / 4, floor, method) for e in entries]
            analytic = gradient[entries]
            scale = None
        numeric, error = np.array([d.value for d in found]), np.array([d.error for d in found])
        state = np.array([d.state for d in found], dtype="<U6")
        size = np.maximum(np.abs(numeric), _rms(numeric[state == "smooth"])) if scale is None else scale
        size = np.maximum(size, np.abs(analytic))
        # A gradient of zero is known to be zero where rounding is as small as the outputs let expect.
        rounding = 1e-8 * max(1e-4, float(np.linalg.norm(np.nan_to_num(self.weights * self.problem.here))))
        state[(state == "smooth") & (error > _NOISY * size) & (error > rounding)] = "noisy"
        if not np.isfinite(self.problem.here).all():
            state[np.isnan(analytic)] = "edge"  # zero times the infinite derivative of an output that is left out
        tolerance = rtol * (np.abs(numeric) if scale is None else scale) + 4 * error
        if self.atol is None:
            share = 0.01 if bytes_ == 8 else 0.1
            tolerance = tolerance + share * rtol * _rms(numeric[state == "smooth"])
        else:
            tolerance = tolerance + self.atol
        self.report.comparisons.append(
            Comparison(variable, entries, analytic, numeric, error, tolerance, state, found, fast_mode)
        )

    def _entry(self, variable, entry, relative, floor, method):
        if method == "complex":
            slopes = complex_step(self.complex_subject, self._complex_twin(variable), entry)
            return Derivative(float(self.weights @ slopes), 0.0, slopes)
        found = differentiate(self.problem.line(variable, entry), self.weights, relative, floor)
        if method == "auto" and found.state == "smooth" and found.error > 100 * relative * max(abs(found.value), floor):
            return self._exact_instead(variable, entry, found)
        return found

    def _exact_instead(self, variable, entry, found):
        """The complex step where rounding hides the differences, if f takes it and the two do not contradict."""
        if self._complex() is None or variable.array.dtype.kind == "c":
            return found
        slopes = complex_step(self.complex_subject, self._complex_twin(variable), entry)
        value = float(self.weights @ slopes)
        if abs(value - found.value) <= 4 * found.error:
            found.value, found.error, found.slopes = value, 1e-14 * abs(value), slopes
        return found

    def _along_a_direction(self, number, gradient, rtol):
        """(the derivative along a random direction of one variable, in a list; the terms of the analytic one)."""
        variables = self.problem.subject.variables
        vectors = [np.zeros(v.size) for v in variables]
        vectors[number] = self.rng.standard_normal(variables[number].size)
        terms = gradient * vectors[number]
        floor = float(np.linalg.norm(np.nan_to_num(terms)))
        found = differentiate(self.problem.direction(vectors), self.weights, rtol / 4, floor)
        return [found], terms

    # ---- the complex step --------------------------------------------------------------------------------------------

    complex_subject = _tried = None

    def _complex(self):
        """The subject with complex variables, or None where f does not take them, or is not analytic."""
        if not self._tried:
            self._tried = True
            subject = self.problem.subject
            inputs_only = all(v.tensor is None and v.array.dtype.kind == "f" for v in subject.variables)
            if inputs_only and all(y.dtype.kind == "f" for y in self.like):
                other = subject.with_arrays([v.array.astype(np.complex128) for v in subject.variables])
                try:
                    values = other.values()[::2]
                    if np.allclose(values, self.problem.here, rtol=1e-6, equal_nan=True):
                        self.complex_subject = other
                except Exception:  # whatever f raises on complex numbers, it does not take them
                    pass
        return self.complex_subject

    def _complex_twin(self, variable):
        return self.complex_subject.variables[self.problem.subject.variables.index(variable)]

    def _require_complex(self):
        if self._complex() is None:
            raise ValueError(
                "gradcheck: method='complex' needs a function of real inputs that also takes complex ones; this one "
                "does not: use method='auto' or 'central'"
            )
        for variable in self.problem.subject.variables:
            for entry in self.rng.permutation(variable.size)[:3]:
                exact = self.weights @ complex_step(self.complex_subject, self._complex_twin(variable), entry)
                found = differentiate(self.problem.line(variable, entry), self.weights, 1e-4, 0.0)
                if not abs(exact - found.value) <= 1e-3 * abs(found.value) + 10 * found.error:
                    raise ValueError(
                        f"gradcheck: method='complex' gives {exact:.6g} at {variable.name}{variable.place(entry)}, "
                        f"differences give {found.value:.6g}: the function is not analytic (abs, max, conj, a "
                        "comparison …); use method='auto' or 'central'"
                    )

    # ---- judging -----------------------------------------------------------------------------------------------------

    def _judge(self, backward, gradients):
        report = self.report
        findings, notes = kinks.check(self.problem, backward, self.weights, report.comparisons, self.rng)
        wrong = [self._wrong(comparison, gradients) for comparison in report.comparisons if comparison.wrong.any()]
        report.findings = wrong + report.findings + findings  # what explains most comes first
        report.warnings += notes
        for comparison in report.comparisons:
            if (comparison.state == "noisy").any():
                place = comparison.variable.place(int(comparison.entries[np.argmax(comparison.state == "noisy")]))
                report.warnings.append(
                    f"rounding hides the derivative at {np.count_nonzero(comparison.state == 'noisy')} of "
                    f"{len(comparison.entries)} entries of {comparison.variable.name} (the first is {place})"
                )
            known = np.isin(comparison.state, ("smooth", "kink"))
            if not known.any():
                text = f"the gradient of {comparison.variable} could not be checked: at every entry f "
                text += _REASONS[comparison.state[0]]
                if report.name == "gradcheck":
                    report.findings.append(Finding(text))
                else:  # the first gradient of a function with kinks jumps there
                    report.warnings.append(text)
            elif report.name == "gradcheck" and self._vanishes(comparison) and not comparison.wrong.any():
                report.warnings.append(
                    f"the gradient of {comparison.variable.name} is zero everywhere, also numerically: the check says "
                    "little (a backward of zeros passes it)"
                )

    def _vanishes(self, comparison):
        """Whether the gradient is zero but for rounding: to change x by its size would not be seen in f.

        Of the sum of a softmax it is zeros or 1e-17, as the sum happens to be 1 or next to it.
        """
        rounding = max((np.finfo(y.dtype).eps for y in self.like), default=0)
        rounding *= np.abs(self.weights * self.problem.here).sum()
        size = max(1, np.abs(comparison.variable.array).max(initial=0))
        return not comparison.analytic.any() or bool(np.abs(comparison.analytic).max() * size <= rounding)

    def _wrong(self, comparison, gradients):
        variable, wrong = comparison.variable, comparison.wrong
        if comparison.fast:
            finding = Finding(
                f"the gradient of {variable} is wrong: along a random direction the analytic derivative is "
                f"{comparison.analytic[0]:.10g}, the numerical one {comparison.numeric[0]:.10g}"
            )
            finding.causes.append("fast_mode compares one number; without it the message says which entries are wrong")
            return finding
        finding = Finding(
            f"the gradient of {variable} is wrong: {np.count_nonzero(wrong)} of {len(wrong)} entries differ by more "
            "than the tolerance"
        )
        finding.causes += explain.causes(self, comparison, gradients)
        worst = comparison.worst
        place = variable.place(int(comparison.entries[worst]))
        curve = Curve(f"{variable.name}{place}", float(comparison.analytic[worst]), float(comparison.numeric[worst]))
        line = self.problem.line(variable, int(comparison.entries[worst]))
        for exponent in range(1, 13 if self.problem.precision < 1e-12 else 7):
            curve.steps.append(10.0**-exponent)
            curve.numeric.append(float(self.weights @ line.at(10.0**-exponent).slope))
        finding.details = f"{explain.table(comparison)}\n{curve}"
        self.report.curve = self.report.curve or curve
        return finding


_REASONS = {
    "jump": "jumps or is infinitely steep",
    "edge": "is NaN or infinite beside it",
    "noisy": "is too noisy (is it computed in a lower precision?)",
}


def _cotangent(rng, size):
    """Random numbers of both signs and none near zero: each output counts."""
    return rng.uniform(0.5, 1.5, size) * rng.choice([-1.0, 1.0], size)


def _rms(values):
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


# ---- arguments -------------------------------------------------------------------------------------------------------


def _as_inputs(inputs):
    return list(inputs) if isinstance(inputs, tuple | list) else [inputs]


def _check_wrt(inputs, wrt):
    for position in () if wrt is None else wrt:
        if not isinstance(position, int) or not 0 <= position < len(inputs):
            raise ValueError(
                f"gradcheck: wrt must hold numbers of inputs, from 0 to {len(inputs) - 1}, got {position!r}"
            )
        if not is_floating(plain(inputs[position])):
            raise ValueError(f"gradcheck: input {position} (in wrt) is no floating-point Tensor or array")


def _check_variables(subject):
    if not subject.variables:
        raise ValueError(
            "gradcheck: no input is differentiated: pass floating-point arrays, or Tensors with requires_grad=True"
        )


def _check_options(eps, atol, rtol, method, max_entries, nondet_tol):
    for name, value in (("eps", eps), ("atol", atol), ("rtol", rtol), ("nondet_tol", nondet_tol)):
        if value is not None and not (isinstance(value, int | float) and value >= 0 and np.isfinite(value)):
            raise ValueError(f"gradcheck: {name} must be a number of at least 0, got {value!r}")
    if eps == 0:
        raise ValueError("gradcheck: eps must be above 0")
    if method not in _METHODS:
        raise ValueError(f"gradcheck: method must be one of {', '.join(_METHODS)}, got {method!r}")
    if max_entries is not None and (not isinstance(max_entries, int) or max_entries < 1):
        raise ValueError(f"gradcheck: max_entries must be a positive integer, got {max_entries!r}")
