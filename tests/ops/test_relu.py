"""relu."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, distinct, layouts, normal

import minidl as dl
from minidl import ops

SHAPES = [(), (1,), (4,), (2, 3), (0,), (2, 0, 3), (2, 3, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_derivatives(shape):
    torch = pytest.importorskip("torch")
    check_second_gradient(ops.relu, distinct(*shape))
    for dtype in (np.float32, np.float64):
        check_against_torch(ops.relu, torch.relu, distinct(*shape, dtype=dtype))


def test_the_derivative_at_zero_is_zero():
    x = dl.tensor([-1.0, -0.0, 0.0, 1e-45, 1.0], requires_grad=True)
    y = x.relu()
    y.backward(np.full(5, 3.0))
    assert y.tolist() == [0, 0, 0, pytest.approx(1e-45), 1] and x.grad.tolist() == [0, 0, 0, 3, 3]
    assert not np.signbit(y.data).any()


def test_nan_stays_and_infinity_is_cut():
    x = dl.Tensor(np.array([np.nan, np.inf, -np.inf], np.float32))
    np.testing.assert_array_equal(ops.relu(x).numpy(), [np.nan, np.inf, 0])


def test_nan_passes_the_gradient_on_as_in_pytorch():
    x = dl.Tensor(np.array([np.nan, np.inf, -np.inf, 0, 1], np.float32), requires_grad=True)
    ops.relu(x).backward(np.array([3, 4, 5, 6, 7], np.float32))
    np.testing.assert_array_equal(x.grad.numpy(), [3, 4, 0, 0, 7])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_layout_of_input_and_gradient_gives_the_same(dtype):
    x, gradient = normal(2, 3, 4, 5, dtype=dtype), normal(2, 3, 4, 5, dtype=dtype, seed=1)
    for layout, array in layouts(x):
        for gradient_layout, g in layouts(gradient):
            leaf = dl.Tensor(array, True)
            y = leaf.relu()
            y.backward(dl.Tensor(g))
            assert np.array_equal(y.data, np.maximum(x, 0)), layout
            assert np.array_equal(leaf.grad.data, np.where(x > 0, gradient, 0)), (layout, gradient_layout)


def test_expanded_inputs():
    for shape in ((3, 1), (3, 4)):
        check_second_gradient(lambda x: x.expand(2, 3, 4).relu(), distinct(*shape))


def test_the_layout_of_memory_is_kept():
    image = normal(2, 5, 4, 3).transpose(0, 3, 1, 2)
    x = dl.Tensor(image, True)
    y = x.relu()
    y.sum().backward()
    assert y.data.strides == x.grad.data.strides == image.strides


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float32", "float64"])
def test_result_dtypes(dtype):
    x = np.array([-1.0, 0.0, 2.0]).astype(np.int8).astype(dtype)
    y = ops.relu(dl.Tensor(x))
    assert y.dtype == dtype and y.tolist() == np.maximum(x, 0).tolist()


def test_half_precision_is_differentiated():
    x = dl.Tensor(np.array([-1.0, 2.0], np.float16), True)
    (x.relu() * 3).sum().backward()
    assert x.grad.dtype == np.float16 and x.grad.tolist() == [0, 3]


@pytest.mark.parametrize("x, name", [(dl.tensor([True]), "bool"), (dl.tensor([1j]), "complex64")])
def test_dtypes_without_order(x, name):
    with pytest.raises(TypeError, match=f"relu: input must be real numbers, got {name}"):
        ops.relu(x)


def test_arguments_that_are_no_tensors():
    assert ops.relu(np.array([-1.0, 1.0])).tolist() == [0, 1] and ops.relu(-2).item() == 0
    for wrong in ([1.0], None):
        with pytest.raises(TypeError, match=f"relu: .* not {type(wrong).__name__}"):
            ops.relu(wrong)


def test_the_output_cannot_be_changed_before_backward():
    x = dl.tensor([1.0], requires_grad=True)
    y = x.relu()
    y.add_(1)
    with pytest.raises(RuntimeError, match="that ReLU saved for its backward .* by add_"):
        y.sum().backward()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_and_large_arrays_have_the_same_bits(dtype):
    """A few elements are NumPy's, many the kernel's."""
    special = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1e-30, -1e-30, 1.5, -2.5, 7.0], dtype)
    many = np.resize(special, 5000)
    bits = np.uint32 if dtype == np.float32 else np.uint64

    def outputs(array):
        x = dl.Tensor(array.copy(), requires_grad=True)
        y = dl.ops.relu(x)
        y.backward(np.full(array.shape, -3.5, dtype))
        return [a[: special.size].view(bits).tolist() for a in (y.data, x.grad.data)]

    assert outputs(special) == outputs(many)
    assert not np.signbit(dl.ops.relu(dl.Tensor(special)).data[1])


# ---- add_relu ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(4, 5), (50, 41), (2, 67, 5, 4)])
def test_add_relu_is_relu_of_the_sum_in_any_layout(shape, dtype):
    a, b = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype, seed=1)
    gradient = normal(*shape, dtype=dtype, seed=2)
    for name_a, i in layouts(a):
        for name_b, j in layouts(b):
            x, y = dl.Tensor(i, True), dl.Tensor(j, True)
            total = ops.add_relu(x, y)
            total.backward(gradient)
            assert np.array_equal(total.data, np.maximum(a + b, 0)), (name_a, name_b)
            for leaf in (x, y):
                assert np.array_equal(leaf.grad.data, np.where(a + b > 0, gradient, 0)), (name_a, name_b)


def test_add_relu_has_derivatives():
    def fused(a, b):
        return ops.add_relu(a.repeat(200, 1), b.repeat(200, 1))[:3]

    check_second_gradient(fused, distinct(3, 6), normal(3, 6))
    assert dl.gradgradcheck(fused, (distinct(3, 6), normal(3, 6)))
    check_second_gradient(ops.add_relu, distinct(3, 4), normal(4))


def test_add_relu_of_nan_infinity_and_one_operand_twice():
    special = np.resize(np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.5, -2.5], np.float32), 3001)
    other = np.resize(np.array([-0.0, 1.0, np.inf], np.float32), 3001)
    with np.errstate(invalid="ignore"):
        total = special + other
    np.testing.assert_array_equal(
        ops.add_relu(dl.Tensor(special), dl.Tensor(other)).data, np.where(total <= 0, 0, total)
    )
    x = dl.Tensor(normal(50, 50), True)
    ops.add_relu(x, x).sum().backward()
    assert np.array_equal(x.grad.data, np.where(x.data > 0, 2.0, 0.0))


def test_add_relu_of_numbers_dtypes_and_errors():
    assert ops.add_relu(dl.tensor([-1.0, 2.0]), 0.5).tolist() == [0, 2.5]
    mixed = ops.add_relu(dl.Tensor(np.ones((40, 50), np.float32)), dl.Tensor(np.ones((40, 50))))
    assert mixed.dtype == np.float64 and (mixed.data == 2).all()
    with pytest.raises(TypeError, match="add_relu: operands must be real numbers, got complex64"):
        ops.add_relu(dl.tensor([1j]), dl.tensor([1j]))
    with pytest.raises(ValueError, match="add_relu: shapes .* do not broadcast"):
        ops.add_relu(dl.Tensor(np.ones(3)), dl.Tensor(np.ones(4)))
