"""Function: what a user writes, and what an author of operations may say."""

import itertools

import numpy as np
import pytest
from graphs import Double, Square, define, doubling, leaf, saving, scalar
from helpers import check_gradient, check_second_gradient, normal

import minidl as dl

# ---- a user's own Function -------------------------------------------------------------------------------------------


def test_a_function_of_ones_own():
    check_second_gradient(Square.apply, normal(3))
    x = leaf(1.0, 2.0)
    y = Square.apply(x)
    assert y.grad_fn.name == "Square" and repr(y.grad_fn) == "<Square>"
    y = Square.apply(x)
    with pytest.raises(TypeError):
        Square.apply(x=x)


def test_several_outputs():
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y, x + y, np.sin(x)

    def backward(ctx, product, total, sine):
        x, y = ctx.saved_tensors
        return product * y + total + sine * Cos.apply(x), product * x + total

    Cos = define(lambda ctx, x: np.cos(x), lambda ctx, grad: None, "Cos")
    F = define(forward, backward)
    check_gradient(F.apply, normal(2, 3), normal(2, 3, seed=1))
    for chosen in itertools.combinations(range(3), 2):  # an output without a gradient counts as zero
        check_gradient(lambda x, y, chosen=chosen: [F.apply(x, y)[i] for i in chosen], normal(2), normal(2, seed=1))


def test_one_output_in_a_tuple_stays_a_tuple():
    F = define(lambda ctx, x: (2 * x,), lambda ctx, grad: 2 * grad)
    (y,) = F.apply(x := leaf(1.0))
    y.backward()
    assert x.grad.item() == 2


def test_saved_outputs_are_differentiated():
    def forward(ctx, x):
        y = np.exp(x)
        ctx.save_for_backward(y)
        return y

    F = define(forward, lambda ctx, grad: grad * ctx.saved_tensors[0])
    check_second_gradient(F.apply, normal(3))


def test_inputs_that_are_no_tensors():
    def forward(ctx, x, power, name, *rest):
        ctx.power = power
        assert name == "name" and rest == (None,) and ctx.needs_input_grad[1:] == (False, False, False)
        ctx.save_for_backward(x)
        return x**power

    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return ctx.power * x ** (ctx.power - 1) * grad, *nones

    F, nones = define(forward, backward), []
    for _ in range(4):  # those for trailing inputs that are no Tensors may be left out
        check_second_gradient(lambda x: F.apply(x, 3, "name", None), normal(3))
        nones.append(None)


def test_gradients_of_none_and_of_inputs_that_need_none():
    F = define(lambda ctx, x, y: x * y, lambda ctx, grad: (None, grad))
    x, y, c = leaf(2.0), leaf(3.0), dl.Tensor(np.array([4.0]))
    F.apply(x, y).backward()
    assert x.grad is None and y.grad.item() == 1
    F.apply(c, x).backward()
    assert c.grad is None and x.grad.item() == 1
    F.apply(x, c).backward()  # a gradient for what needs none is dropped
    assert c.grad is None and x.grad.item() == 1
    assert dl.grad(F.apply(x, y), [x, y], allow_unused=True)[0] is None


def test_needs_input_grad():
    seen = []
    F = define(lambda ctx, *xs: seen.append(ctx.needs_input_grad) or sum(xs), lambda ctx, grad: (grad,) * 3)
    F.apply(leaf(1.0), dl.tensor(2.0), 3)
    with dl.no_grad():
        F.apply(leaf(1.0), leaf(2.0), leaf(3.0))
    assert seen == [(True, False, False), (False, False, False)]


@pytest.mark.parametrize(
    "backward, error, match",
    [
        (lambda ctx, g: (g, g, g), RuntimeError, "Custom.backward returned 3 gradients for 2 inputs"),
        (lambda ctx, g: g, RuntimeError, "Custom.backward returned 1 gradients for 2 inputs"),
        (lambda ctx, g: (), RuntimeError, "Custom.backward returned 0 gradients for 2 inputs"),
        (
            lambda ctx, g: (g, g.reshape(1, 2)),
            ValueError,
            r"Custom.backward: the gradient of input number 1 has shape \(1, 2\), it must be \(2,\)",
        ),
        (lambda ctx, g: (g.sum(), g), ValueError, r"input number 0 has shape \(\), it must be \(2,\)"),
        (lambda ctx, g: (g, g.float()), TypeError, "input number 1 has dtype float32, it must be float64"),
        (lambda ctx, g: (g, g.data.astype(int)), TypeError, "input number 1 has dtype int64, it must be float64"),
        (lambda ctx, g: (g, 0.0), TypeError, "Custom.backward returned float as gradient of input number 1"),
        (lambda ctx, g: (g, [1.0, 2.0]), TypeError, "Custom.backward returned list as gradient of input number 1"),
    ],
)
def test_a_backward_that_returns_something_else(backward, error, match):
    F = define(lambda ctx, x, y: x + y, backward)
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    with pytest.raises(error, match=match):
        F.apply(x, y).sum().backward()
    assert x.grad is None and y.grad is None


@pytest.mark.parametrize("result", [None, [np.zeros(2)], 1.0, "text", (np.zeros(2), None)])
def test_a_forward_that_returns_something_else(result):
    kind = type(result[-1] if isinstance(result, tuple) else result).__name__
    with pytest.raises(TypeError, match=f"Custom.forward must return arrays, got {kind}"):
        define(lambda ctx, x: result, None).apply(leaf(1.0))


def test_numpy_numbers_are_arrays():
    F = define(lambda ctx, x: x.sum(), lambda ctx, grad: np.full(2, grad.item()))
    x = leaf(1.0, 2.0)
    y = F.apply(x)
    assert y.shape == () and type(y.data) is np.ndarray
    y.backward()
    assert x.grad.tolist() == [1, 1]


def test_a_function_without_its_methods():
    with pytest.raises(NotImplementedError, match=r"static method forward\(ctx, \*inputs\)"):
        type("Empty", (dl.Function,), {}).apply(leaf(1.0))
    with pytest.raises(NotImplementedError, match=r"static method backward\(ctx, \*grad_outputs\)"):
        type("Half", (dl.Function,), {"forward": staticmethod(doubling)}).apply(leaf(1.0)).backward()


# 2 x g, as arrays
ArraySquare = define(saving, lambda ctx, grad: 2 * ctx.saved_tensors[0].data * grad.data, "ArraySquare")


def test_a_backward_that_returns_arrays_cannot_be_differentiated_again():
    x = scalar(3)
    ArraySquare.apply(x).backward()
    assert x.grad.item() == 6
    message = "ArraySquare.backward returned NumPy arrays, which cannot be differentiated again"
    y = ArraySquare.apply(x)
    (g,) = dl.grad(y, x, create_graph=True)
    assert g.item() == 6 and g.requires_grad
    with pytest.raises(RuntimeError, match=message):
        g.backward()
    with pytest.raises(RuntimeError, match=message):
        dl.grad(g, x, allow_unused=True)


def test_arrays_from_backward_are_an_error_also_where_another_path_is_differentiable():
    """The second derivative of x^2 * x would silently lack the term of the Function."""
    x = scalar(3)
    (g,) = dl.grad(ArraySquare.apply(x) * x, x, create_graph=True)
    assert g.item() == 27
    with pytest.raises(RuntimeError, match="ArraySquare.backward returned NumPy arrays"):
        dl.grad(g, x)
    (g,) = dl.grad(ArraySquare.apply(x) + x * x, x, create_graph=True)
    with pytest.raises(RuntimeError, match="ArraySquare.backward returned NumPy arrays"):
        g.backward()


def test_an_array_from_a_linear_backward_is_harmless_to_what_does_not_reach_it():
    x, y = scalar(3), scalar(2)
    gx, gy = dl.grad(ArraySquare.apply(x) + y * y, [x, y], create_graph=True)
    assert dl.grad(gy, y)[0].item() == 2


def test_a_saved_intermediate_cannot_be_differentiated_again():
    def forward(ctx, x):
        twice = 2 * x
        ctx.save_for_backward(x, twice)
        return x * x

    F = define(forward, lambda ctx, grad: ctx.saved_tensors[1] * grad, "Intermediate")
    x = scalar(3)
    F.apply(x).backward()
    assert x.grad.item() == 6
    with pytest.raises(RuntimeError, match="Intermediate cannot be differentiated twice: array number 1 that it saved"):
        dl.grad(F.apply(x), x, create_graph=True)


def test_saved_integers_and_other_things():
    def forward(ctx, x):
        index = np.array([1, 0])
        ctx.save_for_backward(x, index, None, 3)
        return x[index]

    def backward(ctx, grad):
        x, index, nothing, three = ctx.saved_tensors
        assert (nothing, three) == (None, 3) and isinstance(index, dl.Tensor)
        return grad[index]

    check_second_gradient(define(forward, backward).apply, normal(2))


def test_integer_outputs_require_no_gradient():
    F = define(lambda ctx, x: (x * 2, x.argmax(), x > 0), lambda ctx, grad, index, positive: 2 * grad)
    x = leaf(1.0, 2.0)
    y, index, positive = F.apply(x)
    assert y.requires_grad and not index.requires_grad and not positive.requires_grad
    assert index.item() == 1 and positive.tolist() == [True, True]
    (y * index).sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_a_function_that_returns_its_input_shares_its_memory():
    Identity = define(lambda ctx, x: x, lambda ctx, grad: grad, "Identity")
    x = leaf(1.0, 2.0)
    y = Identity.apply(x)
    square = x * x
    with pytest.raises(RuntimeError, match="shares its memory with another"):
        y.add_(1)
    with dl.no_grad():
        y.add_(1)
    assert x.tolist() == [2, 3]
    with pytest.raises(RuntimeError, match="changed in place"):
        square.sum().backward()
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_a_function_that_calls_functions():
    def forward(ctx, x):
        ctx.save_for_backward(x)
        with dl.no_grad():
            return Double.apply(Square.apply(dl.Tensor(x))).data

    F = define(forward, lambda ctx, grad: 4 * ctx.saved_tensors[0] * grad)
    check_second_gradient(F.apply, normal(3))


def test_backward_inside_backward():
    """Checkpointing: a backward that recomputes its forward and differentiates it with a pass of its own."""

    def forward(ctx, x):
        ctx.save_for_backward(x)
        return np.exp(x) * x

    def backward(ctx, grad):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with dl.enable_grad():
            y = x.exp() * x
        return dl.grad(y, x, grad)

    check_gradient(define(forward, backward).apply, normal(3))


def test_backward_sees_whether_it_is_recorded():
    seen = []
    F = define(doubling, lambda ctx, grad: seen.append((dl.is_grad_enabled(), grad.requires_grad)) or 2 * grad)
    x = leaf(1.0)
    F.apply(x).backward()
    F.apply(x).backward(dl.Tensor(np.ones(1), True))
    F.apply(x).backward(dl.Tensor(np.ones(1), True), create_graph=True)
    assert seen == [(False, False), (False, False), (True, True)]


# ---- what an author of Functions may say -----------------------------------------------------------------------------


def test_outputs_marked_as_not_differentiable():
    def forward(ctx, x):
        ctx.save_for_backward(x)
        count = np.array([float(len(x))])
        ctx.mark_non_differentiable(count)
        return x * x, count

    seen = []

    def backward(ctx, grad, of_count):
        seen.append(of_count.tolist())
        return 2 * ctx.saved_tensors[0] * grad

    F, x = define(forward, backward), leaf(1.0, 2.0)
    y, count = F.apply(x)
    assert y.requires_grad and not count.requires_grad and count.is_leaf
    (y * count).sum().backward()
    assert x.grad.tolist() == [4, 8] and seen == [[0]]
    only = define(lambda ctx, x: ctx.mark_non_differentiable(y := x.argmax() * 1.0) or y, None)
    assert not only.apply(x).requires_grad


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_that_are_not_materialized(create_graph):
    seen = []

    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        return 2 * x, 3 * x

    def backward(ctx, a, b):
        seen.append((a is None, b is None))
        return 2 * a if b is None else 3 * b if a is None else 2 * a + 3 * b

    F, x = define(forward, backward), leaf(1.0)
    for chosen in ([0], [1], [0, 1]):
        outputs = F.apply(x)
        sum(outputs[i] for i in chosen).backward(create_graph=create_graph)
        x.grad = None
    assert seen == [(False, True), (True, False), (False, False)]


def test_the_graph_can_be_walked():
    x, c = leaf(1.0), dl.Tensor(np.array([2.0]))
    y = (x * c) + x.exp()
    (first, _), (second, index) = y.grad_fn.next_functions
    assert (first.name, second.name, index) == ("Mul", "Exp", 0)
    assert first.next_functions == ((x, 0), (None, 0))
    with pytest.raises(AttributeError):
        y.grad_fn.next_functions = ()


def test_an_elementwise_function_of_ones_own():
    """Its formula runs on arrays, on Tensors where it is recorded, and its gradients are summed over repeated axes."""
    kinds = set()

    class Hypotenuse(dl.Function):
        elementwise = True

        @staticmethod
        def forward(ctx, a, b):
            y = np.hypot(a, b)
            ctx.save_for_backward(a, b, y)
            return y

        @staticmethod
        def backward(ctx, grad):
            a, b, y = ctx.saved_tensors
            kinds.add(type(y))
            return grad * a / y, grad * b / y

    for shapes in [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2,)), ((), ()), ((4, 1, 3), (2, 1))]:
        check_second_gradient(Hypotenuse.apply, normal(*shapes[0]) + 3, normal(*shapes[1], seed=1) - 3)
    assert kinds == {np.ndarray, dl.Tensor}


@pytest.mark.parametrize(
    "backward, error, match",
    [
        (lambda ctx, g: (g, g[:1]), ValueError, r"input number 1 has shape \(1,\), it must be \(2,\)"),
        (lambda ctx, g: (g.reshape(2, 1), g), ValueError, r"input number 0 has shape \(2, 1\), it must be \(2,\)"),
        (lambda ctx, g: (g, g.astype(np.float32)), TypeError, "input number 1 has dtype float32, it must be float64"),
        (lambda ctx, g: (g, 1.0), TypeError, "backward returned float as gradient of input number 1"),
    ],
)
def test_an_elementwise_backward_that_returns_something_else(backward, error, match):
    F = define(lambda ctx, x, y: x + y, backward)
    F.elementwise = True
    with pytest.raises(error, match=match):
        F.apply(leaf(1.0, 2.0), leaf(3.0, 4.0)).sum().backward()
