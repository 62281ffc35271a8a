"""add, sub, mul, div, neg, pow, where, comparisons, logic: values, dtypes, gradients, broadcasting, errors."""

import operator

import numpy as np
import pytest
from helpers import check_against_torch, check_gradient, check_second_gradient, close, layouts, normal, to_torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minidl as dl
from minidl import ops

BINARY = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv}
# (a, b), each way of broadcasting: new axes, axes of extent 1, both at once, 0-d, nothing at all
SHAPES = [
    ((), ()),
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (2, 3)),
    ((2, 1, 3), (4, 1)),
    ((1,), (2, 3)),
    ((2, 3), ()),
    ((), (2, 3)),
    ((1, 1), (1,)),
    ((0, 3), (3,)),
    ((0,), (1,)),
    ((1, 0), (4, 1)),
]
SLOW = settings(max_examples=100, deadline=None, derandomize=True)


def positive(*shape, dtype=np.float64, seed=0):
    return np.asarray(np.abs(normal(*shape, seed=seed)) + 0.5, dtype)


# ---- values and derivatives ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_binary_operations_have_numerical_derivatives(name, shapes):
    a, b = normal(*shapes[0], seed=1), positive(*shapes[1], seed=2)
    check_second_gradient(BINARY[name], a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_binary_operations_are_pytorchs(name, shapes, dtype):
    a, b = normal(*shapes[0], dtype=dtype, seed=1), positive(*shapes[1], dtype=dtype, seed=2)
    check_against_torch(BINARY[name], BINARY[name], a, b)


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=4), st.sampled_from([*BINARY]))
@SLOW
def test_any_shapes_that_broadcast(shapes, name):
    a, b = (positive(*shape, seed=i) for i, shape in enumerate(shapes.input_shapes))
    check_against_torch(BINARY[name], BINARY[name], a, b)


@pytest.mark.parametrize("name", BINARY)
def test_any_layout_gives_the_same(name):
    a, b = normal(2, 3, 4, 5, seed=1), positive(2, 3, 4, 5, seed=2)
    expected = BINARY[name](a, b)
    for layout_a, x in layouts(a):
        for layout_b, y in layouts(b):
            got = BINARY[name](dl.Tensor(x), dl.Tensor(y))
            assert np.array_equal(got.numpy(), expected), (layout_a, layout_b)


def test_elementwise_operations_keep_the_layout_of_memory():
    image = np.zeros((2, 5, 4, 3), np.float32).transpose(0, 3, 1, 2)
    x = dl.Tensor(image, requires_grad=True)
    y = (x * 2 + 1).exp()
    assert y.data.strides == image.strides
    y.backward(image)
    assert x.grad.data.strides == image.strides


@pytest.mark.parametrize("number", [2, -3.5, True, 0])
@pytest.mark.parametrize("name", [*BINARY])
def test_python_numbers_on_either_side(name, number):
    f = BINARY[name]
    if (name, number) == ("sub", True):
        pytest.skip("PyTorch does not subtract bools, also from floats")
    for dtype in (np.float32, np.float64):
        x = positive(2, 3, dtype=dtype)
        check_against_torch(lambda x: f(number, x), lambda x: f(number, x), x)
        if (name, number) != ("div", 0):
            check_against_torch(lambda x: f(x, number), lambda x: f(x, number), x)


@pytest.mark.parametrize("alpha", [1, 2, -0.5])
def test_alpha(alpha):
    torch = pytest.importorskip("torch")
    a, b = normal(2, 3), normal(3, seed=1)
    check_against_torch(lambda a, b: ops.add(a, b, alpha=alpha), lambda a, b: torch.add(a, b, alpha=alpha), a, b)
    check_against_torch(lambda a, b: ops.sub(a, b, alpha=alpha), lambda a, b: torch.sub(a, b, alpha=alpha), a, b)
    assert ops.add(dl.tensor([1, 2]), 3, alpha=2).tolist() == [7, 8]
    assert ops.sub(dl.tensor([1, 2]), dl.tensor(3), alpha=2).tolist() == [-5, -4]


def test_neg():
    check_second_gradient(operator.neg, normal(2, 3))
    check_against_torch(operator.neg, operator.neg, normal(0, 3))
    assert ops.neg(dl.tensor([1, -2])).tolist() == [-1, 2]
    with pytest.raises(TypeError, match="neg: a bool Tensor cannot be negated; use ~"):
        -dl.tensor([True])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_division_by_zero_and_of_infinities():
    values = np.array([-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf, np.nan])
    grid = np.repeat(values, len(values)).astype(np.float32), np.tile(values, len(values)).astype(np.float32)
    for f in BINARY.values():
        got, expected = f(*map(dl.Tensor, grid)), f(*map(to_torch, grid))
        np.testing.assert_array_equal(got.numpy(), expected.numpy())


def test_gradients_flow_only_where_they_are_needed():
    a, b = dl.Tensor(normal(3), requires_grad=True), dl.Tensor(normal(3, seed=1))
    for f in BINARY.values():
        for args in ((a, b), (b, a)):
            f(*args).sum().backward()
    assert a.grad is not None and b.grad is None


# ---- pow -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_pow_of_tensors(shapes):
    a, b = positive(*shapes[0], seed=1), normal(*shapes[1], seed=2)
    check_second_gradient(operator.pow, a, b)
    for dtype in (np.float32, np.float64):
        check_against_torch(operator.pow, operator.pow, a.astype(dtype), b.astype(dtype))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, 0.5, -2.5, 0.0, True])
def test_pow_with_a_number_as_exponent(exponent):
    for dtype in (np.float32, np.float64):
        check_against_torch(lambda x: x**exponent, lambda x: x**exponent, positive(2, 3, dtype=dtype))
    if exponent == int(exponent):
        check_second_gradient(lambda x: x**exponent, -positive(4)) if exponent else check_gradient(
            lambda x: x**exponent, -positive(4)
        )


@pytest.mark.parametrize("base", [2, 3.5, 0.1, 1, True, 10])
def test_pow_with_a_number_as_base(base):
    """In float64 the logarithm of the base has the digits of float64."""
    check_second_gradient(lambda x: base**x, normal(4))
    for dtype in (np.float32, np.float64):
        check_against_torch(lambda x: base**x, lambda x: (base * 1) ** x, normal(4, dtype=dtype))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_pow_at_zero_and_with_negative_base():
    a, b = np.array([0.0, 0.0, 0.0, 0.0, -2.0, -2.0, 2.0]), np.array([0.0, 1.0, 2.0, 3.0, 2.0, -3.0, 0.0])
    check_against_torch(operator.pow, operator.pow, a, b, second=False)
    for exponent in (0, 1, 2, 3, 0.0):
        check_against_torch(
            lambda x, e=exponent: x**e, lambda x, e=exponent: x**e, np.array([0.0, -1.5, 2.0]), second=False
        )
    for base in (0, 0.0):
        check_against_torch(lambda x, c=base: c**x, lambda x, c=base: c**x, np.array([0.0, 1.0, 2.5]), second=False)
    x = dl.Tensor(np.array([np.inf, -np.inf]), requires_grad=True)
    (x**0).sum().backward()
    assert x.grad.tolist() == [0, 0]


def test_pow_of_integers():
    assert (dl.tensor([2, 3]) ** 2).tolist() == [4, 9] and (dl.tensor([2, 3]) ** 2).dtype == np.int64
    assert (2 ** dl.tensor([0, 3])).tolist() == [1, 8]
    assert (dl.tensor([2, 3]) ** -1.0).tolist() == pytest.approx([1 / 2, 1 / 3])
    for call in (lambda: dl.tensor([2]) ** -1, lambda: 2 ** dl.tensor([-1]), lambda: dl.tensor([2]) ** dl.tensor([-1])):
        with pytest.raises(ValueError, match="pow: integers to a negative power are not integers"):
            call()


def test_float_power():
    """In float64, whatever comes in."""
    torch = pytest.importorskip("torch")
    for a, b in [
        (positive(3, dtype=np.float32), normal(3, dtype=np.float32)),
        (positive(2, 3), normal(3)),
        (np.array([1, 2, 3]), np.array([-1, 0, 2])),
        (positive(3, dtype=np.float32), np.array([-1, 0, 2])),
    ]:
        rtol = 1e-6 if np.float32 in (a.dtype, b.dtype) else 1e-10
        check_against_torch(ops.float_power, torch.float_power, a, b, rtol=rtol)
    x = dl.tensor([2, 3])
    assert x.float_power(-1).dtype == np.float64 and ops.float_power(2, x).tolist() == [4, 8]
    assert ops.float_power(x, 1j).dtype == np.complex128
    with pytest.raises(TypeError, match="float_power: operands must be Tensors, arrays or numbers, not list"):
        ops.float_power(x, [1.0])


# ---- compounds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 2, -0.5])
@pytest.mark.parametrize("name", ["addcmul", "addcdiv"])
def test_addcmul_and_addcdiv(name, value):
    f, torch_f = getattr(ops, name), getattr(pytest.importorskip("torch"), name)
    arrays = normal(2, 3), normal(3, seed=1), positive(2, 1, seed=2)
    check_second_gradient(lambda *x: f(*x, value=value), *arrays)
    check_against_torch(lambda *x: f(*x, value=value), lambda *x: torch_f(*x, value=value), *arrays)
    x = dl.Tensor(arrays[0])
    assert getattr(x, name)(x, 2.0, value=value).tolist() == f(x, x, dl.tensor(2.0), value=value).tolist()
    with pytest.raises(ValueError, match=r"add: shapes \(2,\) and \(3,\) do not broadcast"):
        f(dl.tensor([1.0, 2.0]), dl.tensor([1.0, 2.0, 3.0]), 1.0)


@pytest.mark.parametrize("weight", [0, 0.3, 0.5, 1, -2, 3.5])
def test_lerp(weight):
    torch = pytest.importorskip("torch")
    a, b = normal(2, 3), normal(3, seed=1)
    check_second_gradient(lambda a, b: ops.lerp(a, b, weight), a, b)
    check_against_torch(lambda a, b: a.lerp(b, weight), lambda a, b: a.lerp(b, weight), a, b)
    weights = weight * (1 + 0.1 * normal(2, 1, seed=2))
    check_second_gradient(ops.lerp, a, b, weights)
    for dtype in (np.float32, np.float64):
        check_against_torch(ops.lerp, torch.lerp, *(x.astype(dtype) for x in (a, b, weights)))


def test_lerp_meets_both_ends():
    a, b = dl.tensor([1e8, 0.1]), dl.tensor([1.0, 0.3])
    for weights in ((0, 1), (dl.tensor(0.0), dl.tensor([1.0, 1.0]))):
        assert a.lerp(b, weights[0]).tolist() == a.tolist() and a.lerp(b, weights[1]).tolist() == b.tolist()
    with pytest.raises(TypeError, match="lerp: a floating-point Tensor is needed, got int64"):
        ops.lerp(dl.tensor([1]), 2, 0.5)
    with pytest.raises(TypeError, match="lerp: .* not str"):
        ops.lerp(a, b, "0.5")


# ---- where ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shapes", [((), ()), ((2, 3), (2, 3)), ((3,), (2, 1)), ((2, 3), ()), ((0, 3), (3,)), ((1,), (2, 3))]
)
def test_where(shapes):
    torch = pytest.importorskip("torch")
    a, b = normal(*shapes[0], seed=1), normal(*shapes[1], seed=2)
    condition = np.asarray(normal(*np.broadcast_shapes(*shapes), seed=3) > 0)
    chosen = dl.Tensor(condition)
    check_second_gradient(lambda a, b: ops.where(chosen, a, b), a, b)
    check_against_torch(
        lambda c, a, b: ops.where(c, a, b), lambda c, a, b: torch.where(c, a, b), condition, a, b.astype(np.float32)
    )
    check_against_torch(lambda a: a.where(chosen, 2.0), lambda a: a.where(torch.tensor(condition), 2.0), a)
    check_against_torch(lambda a: ops.where(chosen, 2, a), lambda a: torch.where(torch.tensor(condition), 2, a), a)


def test_where_the_condition_broadcasts():
    condition = dl.tensor([[True], [False]])
    check_second_gradient(lambda a, b: ops.where(condition, a, b), normal(3), normal(1))
    x = ops.where(condition, 1.0, 2)
    assert x.tolist() == [[1], [2]] and x.dtype == np.float32
    assert ops.where(condition, 1, 2).dtype == np.int64


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_where_does_not_let_nan_through():
    x = dl.Tensor(np.array([1.0, np.nan]), requires_grad=True)
    y = ops.where(dl.tensor([True, False]), x * np.array([1.0, np.inf]), 0.0)
    y.sum().backward()
    assert y.tolist() == [1, 0] and x.grad.data[0] == 1


@pytest.mark.parametrize(
    "args, error, match",
    [
        ((dl.tensor([1, 0]), 1.0, 2.0), TypeError, "where: condition must be bool, got int64"),
        (([True], 1.0, 2.0), TypeError, "where: operands must be Tensors, arrays or numbers, not list"),
        ((dl.tensor([True]), None, 2.0), TypeError, "where: operands must be Tensors, arrays or numbers, not NoneType"),
        (
            (dl.tensor([True]), dl.tensor([1, 2]), dl.tensor([1, 2, 3])),
            ValueError,
            r"where: shapes \(2,\) and \(3,\) do not broadcast",
        ),
        (
            (dl.tensor([True] * 3), dl.tensor([1, 2]), 2.0),
            ValueError,
            r"where: shapes \(3,\) and \(2,\) do not broadcast",
        ),
    ],
)
def test_where_errors(args, error, match):
    with pytest.raises(error, match=match):
        ops.where(*args)


# ---- dtypes --------------------------------------------------------------------------------------------------------

DTYPES = ["bool", "uint8", "int64", "float32", "float64", "complex64"]
NUMBERS = [True, 2, 2.5, 2 + 1j]
OPERATIONS = {**BINARY, "pow": operator.pow, "eq": operator.eq}


def operand(kind, shape):
    return np.ones(shape, kind) if isinstance(kind, str) else kind


def outcome(f, a, b):
    """The dtype of the result, or that there is none."""
    try:
        result = f(a, b)
    except (TypeError, ValueError, RuntimeError):
        return "error"
    return str(result.dtype).removeprefix("torch.")


@pytest.mark.parametrize("name", [*OPERATIONS, "where"])
def test_result_dtypes_are_pytorchs(name):
    """All pairs of dtypes, dimensions (0-d gives way) and Python numbers on either side.

    PyTorch refuses more where bools are subtracted or raised; what we refuse has a test of its own.
    """
    torch = pytest.importorskip("torch")
    differences = []
    for a in [*DTYPES, *NUMBERS]:
        for b in [*DTYPES, *NUMBERS]:
            if not isinstance(a, str) and not isinstance(b, str):
                continue
            for shapes in (((2,), (2,)), ((), (2,)), ((2,), ()), ((), ())):
                x, y = operand(a, shapes[0]), operand(b, shapes[1])
                f, torch_f = OPERATIONS.get(name), OPERATIONS.get(name)
                if name == "where":
                    f = lambda x, y: ops.where(dl.tensor([True, False]), x, y)  # noqa: E731
                    torch_f = lambda x, y: torch.where(torch.tensor([True, False]), x, y)  # noqa: E731
                got = outcome(f, *[dl.Tensor(v) if isinstance(v, np.ndarray) else v for v in (x, y)])
                expected = outcome(torch_f, *[to_torch(v) if isinstance(v, np.ndarray) else v for v in (x, y)])
                refused = name == "pow" and {a, b} <= {"bool", True}
                if got != expected and expected != "error" and not refused:
                    differences.append((a, b, shapes, got, expected))
    assert not differences


@pytest.mark.parametrize("name", [*BINARY, "pow"])
def test_mixed_dtypes_and_their_gradients_are_pytorchs(name):
    f = OPERATIONS[name]
    for a, b in [("float32", "float64"), ("float64", "float32"), ("float32", "int64"), ("uint8", "float64")]:
        for shapes in (((2,), (2,)), ((), (2,)), ((2, 2), ())):
            x, y = positive(*shapes[0], seed=1) * 3, positive(*shapes[1], seed=2) * 3
            check_against_torch(f, f, np.asarray(x, a), np.asarray(y, b), rtol=1e-5)


@pytest.mark.parametrize("name", [*BINARY, "pow"])
def test_complex_operands(name):
    """Of a real loss: gradients, also those that end at a real Tensor, are PyTorch's."""
    torch = pytest.importorskip("torch")
    f = OPERATIONS[name]
    z, w = normal(3, seed=1) + 1j * normal(3, seed=2), normal(3, seed=3) + 1j * normal(3, seed=4)
    for a, b in [
        (z, w),
        (z, positive(3)),
        (positive(3), z),
        (z, 2.5),
        (2.5, z),
        (positive(3), 1.5j),
        (1j, positive(3)),
    ]:

        def run(make, f, a, b):
            leaves = [make(x) if isinstance(x, np.ndarray) else x for x in (a, b)]
            y = abs(f(*leaves) + 1.5)
            y.sum().backward()
            return [y] + [x.grad for x in leaves if not isinstance(x, complex | float)]

        got = run(lambda x: dl.Tensor(x, True), f, a, b)
        expected = run(lambda x: torch.tensor(x, requires_grad=True), f, a, b)
        for g, e in zip(got, expected, strict=True):
            e = e.detach().numpy()
            assert g.dtype == e.dtype
            close(g.detach().numpy(), e, 1e-10)


def test_arrays_and_numpy_numbers_as_operands():
    x = dl.tensor([1.0, 2.0], requires_grad=True)
    assert (x + np.array([1.0, 2.0])).dtype == np.float64
    assert (x + np.float64(1)).dtype == np.float32 and (x + np.array(1.0)).dtype == np.float32
    assert (x + np.array([1, 2])).dtype == np.float32
    assert (dl.tensor([1, 2]) + np.float32(0.5)).dtype == np.float32


# ---- comparisons and logic -----------------------------------------------------------------------------------------

COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or"]


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    a, b = np.array([[-1.0, 0.0, np.nan]]), np.array([[0.0], [np.inf], [np.nan], [-1.0]])
    for x, y in [(a, b), (b, a), (np.zeros((0, 3)), a), (np.array(1.0), a), (np.array([1, 2]), np.array([1.0, 2.5]))]:
        got = getattr(ops, name)(dl.Tensor(x, True) if x.dtype.kind == "f" else dl.Tensor(x), dl.Tensor(y))
        expected = getattr(torch, name)(to_torch(x), to_torch(y))
        assert got.dtype == np.bool_ and not got.requires_grad
        assert got.shape == tuple(expected.shape) and got.tolist() == expected.tolist()


def test_comparison_operators_and_numbers():
    x = dl.tensor([1.0, 2.0, 3.0])
    assert [(x < 2).tolist(), (x <= 2).tolist(), (x > 2).tolist()] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert [(x >= 2).tolist(), (x == 2).tolist(), (x != 2).tolist()] == [[0, 1, 1], [0, 1, 0], [1, 0, 1]]
    assert [(2 < x).tolist(), (2 == x).tolist()] == [[0, 0, 1], [0, 1, 0]]
    assert (dl.Tensor(np.array([0, 255], np.uint8)) == 300).tolist() == [False, False]
    assert ops.logical_not(x - 1).tolist() == [True, False, False]


def test_bitwise_operators_are_pytorchs():
    torch = pytest.importorskip("torch")
    a, b = np.array([6, 3, 0, -1]), np.array([3, 3, 5, 4])
    for f in (operator.and_, operator.or_, operator.xor):
        assert f(dl.Tensor(a), dl.Tensor(b)).tolist() == f(torch.tensor(a), torch.tensor(b)).tolist()
        assert f(dl.Tensor(a > 0), dl.Tensor(b > 3)).tolist() == f(torch.tensor(a > 0), torch.tensor(b > 3)).tolist()
        assert f(dl.Tensor(a), 2).tolist() == f(2, dl.Tensor(a)).tolist() == f(torch.tensor(a), 2).tolist()
        for other in (dl.tensor([1.0] * 4), 0.5):
            with pytest.raises(TypeError, match="bitwise_.*needs bools or integers, got float32"):
                f(dl.Tensor(a), other)
    assert (~dl.Tensor(a)).tolist() == (~torch.tensor(a)).tolist()
    assert (~dl.tensor([True, False])).tolist() == [False, True]
    with pytest.raises(TypeError, match="bitwise_not: ~ needs bools or integers, got float32"):
        ~dl.tensor([1.0])


# ---- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*BINARY, "pow", *COMPARISONS])
def test_errors_name_the_operation(name):
    f = getattr(ops, name)
    with pytest.raises(ValueError, match=rf"{name}: shapes \(2,\) and \(2, 3\) do not broadcast"):
        f(dl.tensor([1.0, 2.0]), dl.Tensor(np.ones((2, 3))))
    for other in ([1.0, 2.0], None, "text", {}):
        with pytest.raises(TypeError, match=f"{name}: operands must be Tensors, arrays or numbers, not"):
            f(dl.tensor([1.0, 2.0]), other)
    with pytest.raises(TypeError, match="data: numbers are needed"):
        f(dl.tensor([1.0, 2.0]), np.array(["a", "b"]))


def test_numbers_that_a_small_dtype_cannot_hold():
    x = dl.Tensor(np.array([1, 2], np.uint8))
    for name, f in [("add", operator.add), ("sub", operator.sub), ("mul", operator.mul), ("pow", operator.pow)]:
        for number in (300, -1) if name != "pow" else (300,):
            for args in ((x, number), (number, x)):
                with pytest.raises(ValueError, match=f"{name}: Python integer {number} out of bounds for uint8"):
                    f(*args)
    with pytest.raises(ValueError, match="where: Python integer 300 out of bounds for uint8"):
        ops.where(x > 1, x, 300)
    with pytest.raises(ValueError, match="bitwise_and: Python integer 300 out of bounds for uint8"):
        x & 300
    with pytest.raises(ValueError, match="add_: Python integer 300|add: Python integer 300"):
        x.add_(300)
    with pytest.raises(ValueError, match="fill_: Python integer 300 out of bounds for uint8"):
        x.fill_(300)
    with pytest.raises(ValueError, match="setitem: Python integer -1 out of bounds for uint8"):
        x[0] = -1
    assert x.tolist() == [1, 2]


def test_bools_are_not_subtracted_or_raised_to_a_power():
    b = dl.tensor([True, False])
    for args in ((b, b), (b, True), (True, b)):
        with pytest.raises(TypeError, match="sub: bools cannot be subtracted"):
            ops.sub(*args)
        with pytest.raises(TypeError, match="pow: bools cannot be raised to a power"):
            ops.pow(*args)
    assert (b - 1).tolist() == [0, -1]
