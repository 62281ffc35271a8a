"""gradcheck on functions whose gradients are known to be right or wrong, and what it says of the wrong ones."""

import re
import warnings

import numpy as np
import pytest
from helpers import distinct, normal

import minidl as dl
from minidl import ops
from minidl.gradcheck.check import examine
from minidl.gradcheck.numeric import Problem, differentiate
from minidl.gradcheck.subject import Subject


def operation(forward, backward):
    """A Function of NumPy arrays: backward(grad, *inputs, output)."""

    class Operation(dl.Function):
        @staticmethod
        def forward(ctx, *inputs):
            y = forward(*inputs)
            ctx.save_for_backward(*inputs, y)
            return y

        @staticmethod
        def backward(ctx, grad):
            return backward(grad.data, *(t.data for t in ctx.saved_tensors))

    return Operation.apply


def failure(f, *inputs, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dl.GradcheckWarning)
        with pytest.raises(dl.GradcheckError) as caught:
            dl.gradcheck(f, inputs, **options)
    return str(caught.value)


# ---- what it says ----------------------------------------------------------------------------------------------------

X, Y = normal(3, 4), normal(3, 4, seed=1)
EXPLAINED = [
    ("factor", np.exp, lambda g, x, y: 2 * g * y, (X,), "off by a factor 2 everywhere"),
    ("one percent", np.exp, lambda g, x, y: 1.01 * g * y, (X,), r"off by a factor 1.01 everywhere \(\+1 %\)"),
    ("sign", np.exp, lambda g, x, y: -g * y, (X,), "the sign is wrong everywhere"),
    ("zeros", np.exp, lambda g, x, y: 0 * x, (X,), "the gradient is zero everywhere"),
    ("nan", np.exp, lambda g, x, y: g * y * (0 * x / 0), (X,), "entries are NaN or infinite"),
    ("batch", lambda x: x.sum(1), lambda g, x, y: g[:, None] / 3 + 0 * x, (X,),
     "divided by 3 everywhere, which is the extent of axis 0 of input 0"),
    ("transposed", np.exp, lambda g, x, y: (g * y).T, (normal(3, 3),), "the gradient is transposed"),
    ("flipped", np.exp, lambda g, x, y: (g * y)[::-1], (X,), "flipped along axis 0"),
    ("shifted", np.exp, lambda g, x, y: np.roll(g * y, 1, 1), (X,), "shifted by 1 along axis 1"),
    ("exchanged", lambda a, b: a * b, lambda g, a, b, y: (g * a, g * b), (X, Y), "the gradients are exchanged"),
    ("not un-broadcast", lambda a, b: a + b, lambda g, a, b, y: (g, g), (X, normal(4)),
     "missing sum over axis 0: the gradient was not un-broadcast"),
    ("one slice", lambda a, b: a + b, lambda g, a, b, y: (g, g[0]), (X, normal(4)),
     "only index 0 of axis 0 of output 0 contributes"),
    ("ones", np.exp, lambda g, x, y: y.copy(), (X,), "backward ignores the gradient that it is given"),
    ("squared", np.exp, lambda g, x, y: g * g * y, (X,), "the gradient that backward is given enters squared"),
    ("divided", np.exp, lambda g, x, y: y / g, (X,), "backward divides by the gradient it is given"),
    ("clipped", np.exp, lambda g, x, y: np.clip(g, -9, 9) * y, (X,), "not linear in its cotangent"),
    ("passed on", lambda x: x * x, lambda g, x, y: g.copy(), (X,), "passed on unchanged"),
    ("factor x", lambda x: x * x, lambda g, x, y: 2 * g, (X,), "a factor input 0 is missing"),
    ("not reversed", lambda x: np.cumsum(x), lambda g, x, y: np.cumsum(g), (normal(6),), "J v, not Jᵀ v"),
    ("no mean term", lambda x: x - x.mean(0), lambda g, x, y: g.copy(), (normal(6, 4),),
     "off by a constant along axis 0"),
    ("no sum term", lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True), lambda g, x, y: g * y, (normal(5, 6),),
     "a multiple of output 0 along axis 1: a term through a statistic"),
    ("eps", lambda x: x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-5), lambda g, x, y:
     (g - y * (g * y).mean(1, keepdims=True)) / np.sqrt((x * x).mean(1, keepdims=True)), (X,), "a small error"),
    ("border", lambda x: x * 2, lambda g, x, y: np.pad(2 * g[1:-1, 1:-1], 1), (normal(4, 5),), "only the border"),
    ("one index", np.exp, lambda g, x, y: g * y * [1, 1, 1, 1.1], (X,), "the index of axis 1 alone: 1, 1, 1, 1.1"),
    ("negative", np.exp, lambda g, x, y: g * y * np.where(x < 0, 0.9, 1), (X,), "only where the input is negative"),
    ("memory", np.exp, lambda g, x, y: (g * y).ravel("K").reshape(x.shape), (X,), "reads the layout"),
    ("float32", np.exp, lambda g, x, y: (g * y).astype(np.float32).astype(float), (X,), "float32 numbers only"),
    ("grad in place", np.exp, lambda g, x, y: np.multiply(g, y, out=g), (X,), "changes the gradient that it is given"),
    ("input in place", np.exp, lambda g, x, y: g * np.exp(x, out=x), (X,), "backward changes input 0 in place"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("forward", "backward", "inputs", "text"), [e[1:] for e in EXPLAINED], ids=[e[0] for e in EXPLAINED]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_failure_names_the_pattern(forward, backward, inputs, text):
    message = failure(operation(forward, backward), *inputs)
    assert re.search(text, " ".join(message.split())), message


def test_overwriting_instead_of_adding_is_named():
    def overwrite(g, x, y):
        gx = np.zeros_like(x)
        gx[[0, 1, 1, 2]] = g
        return gx

    assert "overwritten instead of accumulated" in failure(
        operation(lambda x: x[[0, 1, 1, 2]], overwrite), normal(4, 3)
    )


def test_the_message_shows_entries_and_the_curve_of_errors():
    f = operation(np.exp, lambda g, x, y: g * y * np.where(np.arange(12).reshape(3, 4) == 7, 1.001, 1))
    message = failure(f, X)
    assert "1 of 12 entries differ" in message
    (row,) = [line for line in message.splitlines() if line.strip().startswith("[1, 3]")]
    assert row.split()[-1] == "1.001"
    steps = [line.split() for line in message.splitlines() if line.strip().startswith("1e-")]
    assert len(steps) == 12
    assert float(steps[4][2]) == pytest.approx(0.001 * abs(float(steps[4][1])), rel=1e-3)


def test_the_report_and_its_picture(tmp_path):
    with pytest.raises(dl.GradcheckError) as caught:
        dl.gradcheck(operation(np.exp, lambda g, x, y: 2 * g * y), (X,))
    (comparison,) = caught.value.report.comparisons
    np.testing.assert_allclose(comparison.analytic, 2 * comparison.numeric, rtol=1e-9)
    caught.value.plot(tmp_path / "failure.png")
    assert (tmp_path / "failure.png").read_bytes().startswith(b"\x89PNG")


# ---- what it is called with ------------------------------------------------------------------------------------------


def test_returns_true_or_false():
    assert dl.gradcheck(ops.exp, (X,)) is True
    assert dl.gradcheck(ops.exp, dl.Tensor(X, requires_grad=True)) is True
    assert dl.gradgradcheck(ops.exp, (X,)) is True
    assert dl.gradcheck(operation(np.exp, lambda g, x, y: 2 * g * y), (X,), raise_exception=False) is False


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: dl.gradcheck(ops.exp, (dl.Tensor(X),)), "no input is differentiated"),
        (lambda: dl.gradcheck(ops.exp, (X,), wrt=(1,)), "wrt must hold numbers of inputs, from 0 to 0, got 1"),
        (lambda: dl.gradcheck(ops.exp, (np.arange(3),), wrt=(0,)), "no floating-point"),
        (lambda: dl.gradcheck(ops.exp, (X,), eps=-1.0), "eps must be a number of at least 0, got -1.0"),
        (lambda: dl.gradcheck(ops.exp, (X,), method="magic"), "auto, central, complex, got 'magic'"),
        (lambda: dl.gradcheck(ops.exp, (X,), max_entries=0), "max_entries must be a positive integer, got 0"),
        (lambda: dl.gradcheck(ops.abs, (X,), method="complex"), "method='complex'.*(analytic|does not)"),
    ],
)  # fmt: skip
def test_errors_of_use(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_a_function_that_returns_no_tensor():
    with pytest.raises(TypeError, match="output 0 is ndarray"):
        dl.gradcheck(lambda x: x.detach().numpy(), (X,))


def test_chosen_inputs():
    f = operation(lambda a, b: a * b, lambda g, a, b, y: (g * b, 2 * g * a))
    assert dl.gradcheck(f, (X, Y), wrt=(0,))
    assert "input 1" in failure(f, X, Y)


def test_inputs_are_left_as_they_were():
    x = dl.Tensor(X.copy(), requires_grad=True)
    dl.gradcheck(ops.exp, (x,))
    np.testing.assert_array_equal(x.data, X)
    assert x.grad is None


def test_a_modules_parameters_are_checked_and_restored():
    dl.manual_seed(0)
    net = dl.nn.Sequential(dl.nn.Linear(3, 4), dl.nn.ReLU(), dl.nn.Linear(4, 2))
    for p in net.parameters():
        p.data = p.data.astype(np.float64)
    before = [p.data.copy() for p in net.parameters()]
    report = examine(net, (normal(5, 3),))
    assert report and [c.variable.name for c in report.comparisons][1] == "parameter 0.weight"
    for p, array in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.data, array)


@pytest.mark.parametrize("options", [{"fast_mode": True}, {"max_entries": 5}, {"eps": 1e-6}, {"method": "complex"}])
def test_modes_pass_what_is_right_and_catch_one_percent(options):
    assert dl.gradcheck(operation(np.exp, lambda g, x, y: g * y), (X,), **options)
    assert "wrong" in failure(operation(np.exp, lambda g, x, y: 1.01 * g * y), X, **options)


def test_float32_and_complex_inputs():
    for dtype in (np.float32, np.complex128):
        x = (X + (1j * Y if dtype == np.complex128 else 0)).astype(dtype)
        assert dl.gradcheck(lambda x: x * x.exp(), (x,))
        wrong = operation(lambda x: x * x, lambda g, x, y: 2.02 * g * x.conj())
        assert "factor 1.01" in failure(wrong, x)


def test_the_complex_conjugate_is_named():
    f = operation(lambda x: x * x, lambda g, x, y: (2 * g * np.conj(x)).conj())
    assert "complex conjugate" in failure(f, X + 1j * Y)


# ---- what it detects -------------------------------------------------------------------------------------------------


def test_a_mask_drawn_anew_is_named():
    rng = np.random.default_rng(0)
    assert "not deterministic" in failure(lambda x: x * dl.Tensor(rng.integers(0, 2, x.shape) * 2.0), X)
    noisy = operation(np.exp, lambda g, x, y: g * y + 1e-9 * rng.standard_normal(x.shape))
    assert "backward is not deterministic" in failure(noisy, X)
    assert dl.gradcheck(noisy, (X,), nondet_tol=1e-7, check_layouts=False)


def test_a_function_that_changes_its_input():
    def f(x):
        x.data[...] *= 2
        return x * x

    assert "the function changes input 0 in place" in failure(f, X)


@pytest.mark.parametrize(
    ("x", "warning"),
    [
        (np.zeros((2, 3)), "is zero everywhere"),
        (np.ones((2, 3)), "is constant"),
        (normal(3, 3), "equal extents"),
    ],
)
def test_degenerate_inputs_are_warned_of(x, warning):
    with pytest.warns(dl.GradcheckWarning, match=warning):
        dl.gradcheck(ops.exp, (x,))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fast", [False, True])
def test_a_vacuous_check_is_warned_of(seed, fast):
    """Softmax's rows add up to 1, or to the number next to it: then the gradient is 1e-17."""
    with pytest.warns(dl.GradcheckWarning, match="zero everywhere, also numerically"):
        dl.gradcheck(lambda x: ops.softmax(x, 1).sum(1), (normal(3, 4, seed=seed),), fast_mode=fast)


def test_a_small_gradient_is_no_vacuous_one():
    with warnings.catch_warnings():
        warnings.simplefilter("error", dl.GradcheckWarning)
        assert dl.gradcheck(lambda x: x * 1e-20, (X,)) and dl.gradcheck(lambda x: 1 + x * 1e-9, (X,))


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (ops.relu, [-1.0, 0.0, 2.0]),
        (ops.abs, [-1.0, 0.0, 2.0]),
        (lambda x: ops.amax(x, 0), [2.0, 1.0, 2.0, 2.0]),
        (lambda x: ops.max(x, 0)[0], [2.0, 1.0, 2.0, 2.0]),
        (lambda x: ops.clamp(x, -1, 1), [-1.0, 0.5, 1.0, 3.0]),
    ],
)
def test_kinks_and_ties_are_named_and_right_gradients_pass(f, x):
    with pytest.warns(dl.GradcheckWarning, match="kink or a tie"):
        assert dl.gradcheck(f, (np.array(x),))


def test_gradients_outside_the_slopes_of_a_kink_fail():
    doubled = operation(lambda x: x.max(0), lambda g, x, y: g * (x == y))
    assert "ties are counted more than once" in failure(doubled, np.array([2.0, 1.0, 2.0]))
    assert "kink" in failure(
        operation(np.abs, lambda g, x, y: g * np.where(x == 0, 1.5, np.sign(x))), np.array([0.0, 1.0])
    )


def test_jumps_and_edges_are_named():
    with pytest.warns(dl.GradcheckWarning, match="jumps"):
        dl.gradcheck(lambda x: x * ops.astype(x >= 1, "float64"), (np.array([0.5, 1.0, 2.0]),))
    with pytest.warns(dl.GradcheckWarning, match="NaN or infinite beside"):
        dl.gradcheck(ops.sqrt, (np.array([0.0, 1.0, 2.0]),))


def test_points_close_to_kinks_and_poles_are_no_false_alarms():
    assert dl.gradcheck(ops.relu, (np.array([1e-3, -1e-4, 1e-5, -1e-7, 1e-8]),))
    assert dl.gradcheck(ops.log, (np.array([1e-4, 1e-3, 1.0, 1e6]),))
    assert dl.gradcheck(lambda x: 1 / x, (np.array([1e-3, -1e-2, 1e5]),))
    assert dl.gradcheck(lambda x: ops.max_pool2d(x, 3, 1), (distinct(1, 2, 5, 6) * 1e-4,))


def test_outputs_one_at_a_time():
    class Two(dl.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, g, h):
            return 2 * g + 3 * h if g is not None and h is not None else 0 * (h if g is None else g)

    assert "one output at a time" in failure(Two.apply, X)
    assert dl.gradcheck(Two.apply, (X,), check_undefined_grad=False)


# ---- second order ----------------------------------------------------------------------------------------------------


def test_gradgradcheck_catches_a_second_derivative_that_is_cut():
    class Cube(dl.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * 3 * x.detach() * x.detach()

    assert dl.gradcheck(Cube.apply, (X,))
    with pytest.raises(dl.GradcheckError, match="zero everywhere: backward returns zeros, or the graph is cut"):
        dl.gradgradcheck(Cube.apply, (X,))
    assert dl.gradgradcheck(lambda x: x**3, (X,), grad_outputs=Y)


def test_gradgradcheck_of_a_backward_of_arrays_names_it():
    with pytest.raises(dl.GradcheckError, match="Operation.backward returned NumPy arrays"):
        dl.gradgradcheck(operation(np.exp, lambda g, x, y: g * y), (X,))


# ---- the numerical derivative itself ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "derivative", "points"),
    [
        (ops.exp, np.exp, [-20.0, -1.0, 0.0, 3.0, 20.0]),
        (ops.log, lambda x: 1 / x, [1e-6, 1e-3, 1.0, 1e3, 1e8]),
        (ops.sin, np.cos, [0.0, 1.0, 100.0]),
        (lambda x: 1 / x, lambda x: -1 / x**2, [1e-4, -1.0, 1e4]),
    ],
)
def test_the_error_estimate_holds(f, derivative, points):
    for point in points:
        subject = Subject(f, [np.array([point])])
        subject.record()
        problem = Problem(subject)
        found = differentiate(problem.line(problem.subject.variables[0], 0), np.ones(1), 1e-9, 0.0)
        assert found.state == "smooth"
        assert abs(found.value - derivative(point)) <= 4 * found.error + 1e-12 * abs(derivative(point))
        assert abs(found.value - derivative(point)) <= 1e-7 * abs(derivative(point))
