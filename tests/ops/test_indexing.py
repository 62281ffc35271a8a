"""x[index] and x[index] = value."""

import numpy as np
import pytest
from helpers import check_against_torch, check_gradient, check_second_gradient, close, layouts, normal, rng
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minidl as dl

MASK = np.array([[True, False, True], [False, False, True]])
BASIC = [
    0,
    -1,
    np.int64(1),
    np.array(1),
    (slice(None), np.array(-1)),
    (1, 2),
    (1, 2, 3),
    (0, -1, -2),
    slice(None),
    slice(1, 2),
    slice(None, None, 2),
    slice(5, 9),
    (slice(None), 1),
    (slice(None), slice(0, 3, 2), slice(1, None)),
    ...,
    (..., 0),
    (0, ...),
    (0, ..., slice(1, 3)),
    (1, 2, 3, ...),
    None,
    (None, 0, None, ..., None),
    (),
    (slice(None), None, 2),
]
ADVANCED = [
    [1, 0, 1],
    [[0, 1], [1, 1]],
    [-1, -2],
    [],
    [True, False],
    np.array([1, 0]),
    np.array([], np.int64),
    (np.array([0, 1, 1]), np.array([2, 0, 2])),
    (np.array([[0], [1]]), np.array([2, 0])),
    (slice(None), [0, 2]),
    (slice(None), [2, 2], slice(1, 3)),
    ([0, 1], slice(None), [3, 3]),
    (0, slice(None), [1, 1, 2]),
    (..., [0, 0]),
    (None, [0, 1, 0]),
    ([1, 1], None, 0),
    MASK,
    (MASK, 1),
    (0, ..., [1, 1, 2]),
    ([0, 1], slice(None), 2),
    (None, 1, None, [2, 0], None),
    (0, [1, 1], 2),
    (MASK[:, 0], slice(None), 1),
    (MASK, slice(1, 3)),
    (1, MASK[0]),
    (slice(None), MASK[0], [1, 0]),
    # bools without axes, also beside integers; an ellipsis that stands for nothing between arrays
    True,
    False,
    np.array(True),
    (1, True),
    (True, 1, [0, 2]),
    (0, False),
    (slice(None), [0, 2], ..., [1, 3]),
    ([0, 1], ..., [0, 2], [1, 1]),
    ([0, 1], None, [0, 2]),
    np.zeros((2, 3, 4), bool),
    np.ones((2, 3, 4), bool),
]


def for_minidl(index):
    """Arrays and lists as Tensors."""
    if isinstance(index, tuple):
        return tuple(for_minidl(i) for i in index)
    if isinstance(index, list):
        index = np.array(index, None if index else np.int64)
    return dl.Tensor(index) if isinstance(index, np.ndarray) else index


def torch_index(index):
    torch = pytest.importorskip("torch")
    if isinstance(index, tuple):
        return tuple(map(torch_index, index))
    if isinstance(index, list):
        index = np.array(index, None if index else np.int64)
    return torch.from_numpy(np.array(index)) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("index", [*BASIC, *ADVANCED], ids=repr)
def test_reading(index):
    check_second_gradient(lambda x: x[index], normal(2, 3, 4))
    for dtype in (np.float32, np.float64):
        check_against_torch(lambda x: x[index], lambda x: x[torch_index(index)], normal(2, 3, 4, dtype=dtype))
    x = dl.Tensor(normal(2, 3, 4))
    assert x[for_minidl(index)].tolist() == x[index].tolist()


@pytest.mark.parametrize("index", [*BASIC, *ADVANCED], ids=repr)
def test_integers_and_slices_give_views_and_arrays_give_copies(index):
    x = dl.Tensor(normal(2, 3, 4))
    y = x[index]
    if y.numel():
        assert np.shares_memory(y.data, x.data) == any(index is b for b in BASIC)


@pytest.mark.parametrize("index", [*BASIC, *ADVANCED], ids=repr)
def test_writing(index):
    """Into a computed Tensor: gradients of what was there and of what was written."""
    place = dl.Tensor(np.zeros((2, 3, 4)))[index].shape

    def write(x, v):
        y = x * 1
        y[index] = v
        return y * y

    def torch_write(x, v):
        y = x * 1
        y[torch_index(index)] = v
        return y * y

    values = [normal(*place, seed=1), normal(seed=2)]
    if place and place[-1] == 3:
        values.append(normal(3, seed=3))
    for value in values:
        check_second_gradient(write, normal(2, 3, 4), value)
        if not repeats(index):  # PyTorch leaves open which of several values stands
            check_against_torch(write, torch_write, normal(2, 3, 4), value)


def repeats(index):
    places = dl.tensor(range(24)).reshape(2, 3, 4)[index]
    return len(set(places.flatten().tolist())) < places.numel()


def test_the_last_of_several_values_for_one_place_stands_and_takes_the_gradient():
    x, v = dl.Tensor(np.zeros(3), True), dl.Tensor(np.array([1.0, 2.0, 3.0]), True)
    y = x * 1
    y[[0, 1, 0]] = v
    assert y.tolist() == [3, 2, 0]
    (y * np.array([10.0, 20.0, 30.0])).sum().backward()
    assert v.grad.tolist() == [0, 20, 10] and x.grad.tolist() == [0, 0, 30]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_a_table_receive_their_gradients_in_order(dtype):
    """To the last bit: the sums are NumPy's, one row after the other."""
    random = rng(4)
    for shape, taken in [
        ((90, 256), (40, 11)),
        ((50, 3), (200,)),
        ((7, 4, 5), (3, 4)),
        ((9, 1), (0,)),
        ((3, 77), (70,)),
    ]:
        table = dl.Tensor(random.standard_normal(shape).astype(dtype), requires_grad=True)
        index = random.integers(-shape[0], shape[0], taken)
        gradient = random.standard_normal((*taken, *shape[1:])).astype(dtype)
        table[index].backward(dl.Tensor(gradient))
        expected = np.zeros(shape, dtype)
        np.add.at(expected, index, gradient)
        np.testing.assert_array_equal(table.grad.numpy(), expected)


def test_an_element_taken_twice_receives_both_gradients():
    x = dl.Tensor(np.zeros(3), True)
    x[[0, 2, 0, 0]].backward(np.array([1.0, 2.0, 3.0, 4.0]))
    assert x.grad.tolist() == [8, 0, 2]


@given(st.data())
@settings(max_examples=80, deadline=None, derandomize=True)
def test_any_basic_index_and_any_integer_arrays(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    if data.draw(st.booleans()):
        index = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
    else:
        index = data.draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=3)))
    x = normal(*shape)
    check_second_gradient(lambda x: x[index], x)
    if all(isinstance(i, np.ndarray) for i in (index if isinstance(index, tuple) else (index,))):
        assert dl.Tensor(x)[index].tolist() == x[index].tolist()

    def write(x, v):
        y = x * 1
        y[index] = v
        return y

    check_gradient(write, x, normal(*np.shape(x[index]), seed=1))


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_mask(mask):
    x = normal(*mask.shape, 2)
    check_against_torch(lambda x: x[mask], lambda x: x[torch_index(mask)], x)

    def write(x):
        y = x * 1
        y[mask] = 0.5
        return y

    check_gradient(write, x)


def test_masks_that_are_tensors():
    x = dl.tensor([1.0, -2.0, 3.0], requires_grad=True)
    y = x[x > 0]
    y.sum().backward()
    assert y.tolist() == [1, 3] and x.grad.tolist() == [1, 0, 1]
    z = x * 1
    z[z < 0] = 0.0
    assert z.tolist() == [1, 0, 3]


def test_any_layout_gives_the_same():
    x = normal(2, 3, 4, 5)
    for layout, array in layouts(x):
        for index in (0, (slice(None), [0, 2, 2]), (..., slice(None, None, 2)), x > 0):
            leaf = dl.Tensor(array, True)
            y = leaf[index]
            assert np.array_equal(y.data, x[index]), layout
            (y * y).sum().backward()
            expected = np.zeros_like(x)
            np.add.at(expected, index, 2 * x[index])
            close(leaf.grad.numpy(), expected, 1e-14, layout)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "complex64"])
def test_every_dtype_can_be_read_and_written(dtype):
    x = dl.Tensor(np.arange(6).reshape(2, 3).astype(dtype))
    assert x[1, [0, 2]].tolist() == np.arange(6).astype(dtype).reshape(2, 3)[1, [0, 2]].tolist()
    x[0] = 1
    x[1, 1:] = dl.tensor([True, False])
    assert x[0].tolist() == [1, 1, 1] and x[1, 1:].tolist() == [1, 0] and x.dtype == dtype


# ---- what can be assigned ------------------------------------------------------------------------------------------


def test_values_of_all_kinds():
    x = dl.Tensor(np.zeros((2, 2)))
    x[0, 0] = 0.1  # not rounded to float32 on the way
    assert x[0, 0].item() == 0.1
    x[0] = [1, 2]
    x[:, 1] = np.array([5, 6])
    x[1, 0] = dl.tensor(7)
    x[1, 1] = True
    assert x.tolist() == [[1, 5], [7, 1]]
    x[0] = [dl.tensor(3.0), 4]
    x[1] = np.array([[8.0, 9.0]])  # more leading axes of extent 1
    assert x.tolist() == [[3, 4], [8, 9]]
    x[:, 0] = x[:, 1]
    x[:, 1:] = x[:, :1] * 2
    assert x.tolist() == [[4, 8], [9, 18]]
    n = dl.tensor([1, 2])
    n[0] = 2.9
    assert n.tolist() == [2, 2] and n.dtype == np.int64


def test_overlapping_memory():
    x = dl.Tensor(np.arange(5.0))
    x[1:] = x[:-1]
    assert x.tolist() == [0, 0, 1, 2, 3]


def test_values_with_more_leading_axes_have_gradients():
    def write(x, v):
        y = x * 1
        y[1] = v
        return y

    check_second_gradient(write, normal(2, 3), normal(1, 1, 3, seed=1))


def test_a_value_is_converted_and_its_gradient_converted_back():
    x, v = dl.Tensor(np.zeros(2, np.float32), True), dl.Tensor(np.array([2.0]), True)
    y = x * 1
    y[1:] = v * v
    y.sum().backward()
    assert y.dtype == np.float32 and x.grad.tolist() == [1, 0]
    assert v.grad.dtype == np.float64 and v.grad.tolist() == [4]


def test_augmented_assignment_to_an_element():
    x = dl.Tensor(np.array([1.0, 2.0]), True)
    y = x * 1
    y[0] = y[0] * 3
    with dl.no_grad():
        z = x * 1
        z[0] += 5
        z[0:1] *= 2
    assert z.tolist() == [12, 2]


# ---- errors --------------------------------------------------------------------------------------------------------

X = dl.Tensor(np.zeros((2, 3)))


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    "index, error, match",
    [
        (2, IndexError, r"index 2 does not fit shape \(2, 3\): .*out of bounds"),
        ((0, -4), IndexError, r"index \(0, -4\) does not fit shape \(2, 3\)"),
        ((0, 0, 0), IndexError, "too many indices"),
        ([0, 5], IndexError, r"index \[0, 5\] does not fit shape \(2, 3\)"),
        (([0, 1], [0, 1, 2]), IndexError, "does not fit shape .* broadcast"),
        (np.ones((3, 3), bool), IndexError, "does not fit shape .*boolean"),
        ((..., ...), IndexError, "does not fit shape"),
        (1.5, TypeError, "an index must be an integer, a slice, None, ... or an array, got 1.5"),
        ("a", TypeError, "an index must be .*got 'a'"),
        (np.array([0.5]), TypeError, "an index must be integer or bool, got float64"),
        (dl.tensor([0.5]), TypeError, "an index must be integer or bool, got float32"),
        ([0.5], TypeError, "an index must be .*, got 0.5"),
        ((0, [slice(None)]), TypeError, "an index must be integer or bool, got object"),
        (slice(0.5), TypeError, "an index must be .*slice.* of integers"),
        (slice(None, None, 0), ValueError, "an index must be .*slice.* step"),
    ],
    ids=repr,
)
def test_index_errors(index, error, match, write):
    for x in (X, dl.Tensor(np.zeros((2, 3)), True) * 1):
        with pytest.raises(error, match=match):
            if write:
                x[index] = 1.0
            else:
                x[index]


@pytest.mark.parametrize(
    "value, error, match",
    [
        (np.zeros(2), ValueError, r"setitem: a value of shape \(2,\) does not fit a place of shape \(3,\)"),
        (np.zeros((2, 3)), ValueError, r"setitem: a value of shape \(2, 3\) does not fit a place of shape \(3,\)"),
        ([[1.0], [2.0, 3.0]], ValueError, "setitem: .*inhomogeneous"),
        (1j, TypeError, "setitem: complex128 cannot be stored in a Tensor of float64"),
        ("text", TypeError, "setitem: data: numbers are needed"),
        (None, TypeError, "setitem: data: numbers are needed"),
    ],
    ids=repr,
)
def test_value_errors(value, error, match):
    for x in (dl.Tensor(np.zeros((2, 3))), dl.Tensor(np.zeros((2, 3)), True) * 1):
        with pytest.raises(error, match=match):
            x[0] = value
        assert not x.data.any()
