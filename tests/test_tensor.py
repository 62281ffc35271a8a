"""Tensor: what it is made of, what it shares, how it leaves the graph, and changes in place."""

import copy
import io
import pickle

import numpy as np
import pytest
from graphs import leaf

import minidl as dl

# ---- construction --------------------------------------------------------------------------------------------------

FLOAT_ARRAY = np.array([0.1, 0.2])


@pytest.mark.parametrize("make", [dl.Tensor, dl.tensor])
@pytest.mark.parametrize(
    "data, dtype",
    [
        (1.5, "float32"),
        (2, "int64"),
        (True, "bool"),
        (1j, "complex64"),
        ([], "float32"),
        ([1, 2], "int64"),
        ([1, 2.5], "float32"),
        (((1, 2), [3, 4]), "int64"),
        ([True, False], "bool"),
        ([1 + 2j], "complex64"),
        (range(3), "int64"),
        (np.float64(0.1), "float64"),
        (np.float32(0.1), "float32"),
        (np.uint8(3), "uint8"),
        (np.bool_(True), "bool"),
        (FLOAT_ARRAY, "float64"),
        (FLOAT_ARRAY.astype(np.float16), "float16"),
        ([FLOAT_ARRAY, FLOAT_ARRAY], "float64"),
        ([np.float64(0.1)], "float64"),
        ([dl.Tensor(FLOAT_ARRAY), dl.Tensor(FLOAT_ARRAY)], "float64"),
        ([dl.Tensor(FLOAT_ARRAY.astype(np.float32))], "float32"),
        ([[dl.Tensor(np.array(1.5, np.float32)), 2.0]], "float32"),
    ],
    ids=str,
)
def test_dtype_of_data(make, data, dtype):
    assert make(data).dtype == dtype


def test_dtypes_of_lists_and_numbers_are_pytorchs():
    torch = pytest.importorskip("torch")
    for data in (1.5, 2, True, 1j, [], [1, 2.5], [True, 1], [1, 1j], [[1.0], [2.0]], [np.float64(1)], np.float64(1)):
        expected = torch.tensor(data)
        got = dl.tensor(data)
        assert str(expected.dtype) == f"torch.{got.dtype}", data
        assert tuple(expected.shape) == got.shape


def test_nested_lists_of_tensors_and_values():
    x = dl.Tensor([[dl.tensor(1.0), 2.0], [3.0, dl.tensor(4.0)]])
    assert x.tolist() == [[1, 2], [3, 4]]
    assert dl.Tensor([leaf(1.0, 2.0), leaf(3.0, 4.0)]).tolist() == [[1, 2], [3, 4]]


def test_dtype_of_tensor_is_converted_without_a_detour():
    assert dl.tensor([0.1], dtype=np.float64).item() == 0.1
    assert dl.tensor(0.1, dtype="float64").item() == 0.1
    assert dl.tensor(0.1 + 0.2j, dtype=np.complex128).item() == 0.1 + 0.2j
    assert dl.tensor([1, 2], dtype=np.float32).dtype == np.float32
    assert dl.tensor(2**60 + 1, dtype=np.int64).item() == 2**60 + 1


def test_tensor_takes_requires_grad():
    assert dl.tensor([1.0], requires_grad=True).requires_grad and dl.Tensor([1.0], True).requires_grad
    assert not dl.tensor([1.0]).requires_grad


@pytest.mark.parametrize(
    "data, error, text",
    [
        ("text", TypeError, "data: numbers are needed"),
        (None, TypeError, "data: numbers are needed"),
        ({}, TypeError, "data: numbers are needed"),
        ([None], TypeError, "data: numbers are needed"),
        (np.array(["a"]), TypeError, "data: numbers are needed"),
        (np.array([object()]), TypeError, "data: numbers are needed"),
        (np.zeros(2, "datetime64[s]"), TypeError, "data: numbers are needed"),
        ([[1], [2, 3]], ValueError, "data: nested lists must all have the same lengths"),
    ],
    ids=["text", "None", "dict", "list of None", "array of text", "array of objects", "dates", "ragged"],
)
@pytest.mark.parametrize("make", [dl.Tensor, dl.tensor])
def test_data_that_is_not_numeric(make, data, error, text):
    with pytest.raises(error, match=text):
        make(data)


def test_dtype_that_is_no_dtype():
    with pytest.raises(TypeError, match="tensor: dtype 'no such thing'"):
        dl.tensor([1.0], dtype="no such thing")


def test_Tensor_shares_and_tensor_copies():
    array = np.zeros(3)
    shared, copied = dl.Tensor(array), dl.tensor(array)
    array[0] = 1
    assert shared.data is array and shared.data[0] == 1 and copied.data[0] == 0
    assert dl.Tensor(shared).data is array
    assert not np.shares_memory(dl.tensor(shared).data, array)


def test_tensor_keeps_the_layout_of_memory():
    image = np.zeros((2, 5, 4, 3)).transpose(0, 3, 1, 2)
    assert dl.tensor(image).data.strides == image.strides


def test_arrays_of_other_libraries_keep_their_dtype():
    torch = pytest.importorskip("torch")
    x = torch.tensor([0.1, 0.2], dtype=torch.float64)
    for y in (dl.Tensor(x), dl.tensor(x), dl.tensor([x, x])):
        assert y.dtype == np.float64 and y.data.flat[0] == 0.1


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_subclasses_of_array_become_plain_arrays():
    """np.matrix multiplies matrices with *, a masked array leaves elements out."""
    x = dl.Tensor(np.matrix([[1.0, 2.0], [3.0, 4.0]]))
    assert type(x.data) is np.ndarray
    assert (x * x).tolist() == [[1, 4], [9, 16]]
    assert type(dl.Tensor(np.ma.masked_array([1.0, 2.0], [True, False])).data) is np.ndarray


def test_bytes_in_the_other_order_are_swapped():
    array = np.array([1.0, -2.0], np.dtype(np.float32).newbyteorder())
    x = dl.Tensor(array)
    assert x.dtype.isnative and x.tolist() == [1, -2]
    assert x.relu().tolist() == [1, 0]


# ---- what it says of itself ----------------------------------------------------------------------------------------


def test_shape_and_sizes():
    x = dl.Tensor(np.zeros((2, 3, 4), np.float32))
    assert (x.shape, x.ndim, x.dim(), x.size(), x.size(1), x.size(-1)) == ((2, 3, 4), 3, 3, (2, 3, 4), 3, 4)
    assert (x.numel(), len(x), x.dtype, x.device) == (24, 2, np.dtype("float32"), "cpu")
    assert dl.tensor(1.0).shape == () and dl.tensor(1.0).numel() == 1 and dl.Tensor(np.zeros((0, 3))).numel() == 0
    with pytest.raises(ValueError, match="size: dim 3 is out of range for a Tensor of 3 dimensions"):
        x.size(3)


def test_len_and_iteration():
    x = dl.tensor([[1, 2], [3, 4]])
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    assert 3 in dl.tensor([1, 2, 3]) and 5 not in dl.tensor([1, 2, 3])
    assert list(dl.Tensor(np.zeros((0, 2)))) == []
    for f in (len, iter, list):
        with pytest.raises(TypeError, match="0-d Tensor"):
            f(dl.tensor(1.0))


def test_iteration_is_differentiable():
    x = leaf(1.0, 2.0, 3.0)
    a, b, c = x
    (a + 2 * b + 3 * c).backward()
    assert x.grad.tolist() == [1, 2, 3]


def test_item_and_conversions_to_numbers():
    assert dl.tensor([[2.5]]).item() == 2.5 and type(dl.tensor([2.5]).item()) is float
    assert type(dl.tensor(3).item()) is int and type(dl.tensor(True).item()) is bool
    assert float(dl.tensor([2.5])) == 2.5 and int(dl.tensor(2.9)) == 2 and float(leaf(2.0)) == 2.0
    assert bool(dl.tensor(0.5)) and not bool(dl.tensor([0])) and bool(dl.tensor([[float("nan")]]))
    for shape in ((2,), (0,), (1, 2)):
        with pytest.raises(ValueError, match=r"item\(\): the Tensor must have one element, its shape is"):
            dl.Tensor(np.zeros(shape)).item()
        with pytest.raises(ValueError, match="one element"):
            float(dl.Tensor(np.zeros(shape)))
        with pytest.raises(ValueError, match=r"ambiguous: use \.any\(\) or \.all\(\)"):
            bool(dl.Tensor(np.zeros(shape)))


def test_index_protocol():
    numbers = [10, 20, 30]
    assert numbers[dl.tensor(1)] == 20 and numbers[dl.Tensor(np.uint8(2))] == 30
    assert list(range(dl.tensor(3))) == [0, 1, 2]
    for x in (dl.tensor(1.0), dl.tensor(True)):
        with pytest.raises(TypeError, match="only an integer Tensor of one element can be an index"):
            numbers[x]
    with pytest.raises(TypeError, match="one element"):
        numbers[dl.tensor([1, 2])]


def test_tolist():
    assert dl.tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]] and leaf(1.0).tolist() == [1.0]
    assert dl.tensor(2.5).tolist() == 2.5


def test_repr():
    assert repr(dl.tensor([1.0, 2.0])) == "tensor([1., 2.])"
    assert repr(dl.tensor([1, 2])) == "tensor([1, 2])"
    assert repr(dl.tensor(True)) == "tensor(True)"
    assert repr(leaf(1.0)) == "tensor([1.], dtype=float64, requires_grad=True)"
    assert repr(leaf(1.0) * 2) == "tensor([2.], dtype=float64, grad_fn=<Mul>)"
    assert repr(dl.tensor([[1, 2], [3, 4]])) == "tensor([[1, 2],\n        [3, 4]])"
    assert len(repr(dl.Tensor(np.zeros(100_000)))) < 200


def test_hash_is_by_identity():
    a, b = dl.tensor([1.0]), dl.tensor([1.0])
    assert len({a, b}) == 2 and {a: 1, b: 2}[b] == 2 and hash(a) == hash(a)


def test_deepcopy_of_a_leaf_copies_data_and_gradient():
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    twin, again = copy.deepcopy([x, x])
    assert twin is again and twin.requires_grad and twin.tolist() == [1, 2] and twin.grad.tolist() == [2, 4]
    assert not np.shares_memory(twin.data, x.data) and not np.shares_memory(twin.grad.data, x.grad.data)
    with pytest.raises(RuntimeError, match="deepcopy: only leaf Tensors"):
        copy.deepcopy(x * 2)


def test_shallow_copy_and_pickle_are_refused():
    for x in (dl.tensor(1.0), leaf(1.0) * 2):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="never pickled"):
                pickle.dump(x, io.BytesIO(), protocol)
        with pytest.raises(TypeError, match="never pickled"):
            copy.copy(x)


def test_is_leaf_and_grad_fn():
    x = leaf(1.0)
    y = x * 2
    assert x.is_leaf and x.grad_fn is None and not y.is_leaf and y.grad_fn.name == "Mul"
    assert dl.tensor(1.0).is_leaf and (dl.tensor(1.0) * 2).is_leaf and y.detach().is_leaf


def test_attributes_cannot_be_misspelt():
    with pytest.raises(AttributeError):
        dl.tensor(1.0).gard = None


# ---- NumPy ---------------------------------------------------------------------------------------------------------


def test_numpy_is_the_array_itself():
    x = dl.tensor([1.0, 2.0])
    assert x.numpy() is x.data and leaf(1.0).detach().numpy().tolist() == [1]
    for y in (leaf(1.0), leaf(1.0) * 2):
        with pytest.raises(RuntimeError, match=r"detach\(\)\.numpy\(\)"):
            y.numpy()
        with pytest.raises(RuntimeError, match=r"detach\(\)\.numpy\(\)"):
            np.asarray(y)


def test_array_protocol():
    x = dl.tensor([1.0, 2.0])
    assert np.asarray(x) is x.data and np.shares_memory(np.array(x, copy=False), x.data)
    assert not np.shares_memory(np.array(x), x.data)
    assert np.asarray(x, np.float64).dtype == np.float64
    assert np.stack([x, x]).shape == (2, 2)


@pytest.mark.parametrize("number", [2.0, np.float64(2), np.float32(2), np.int64(2), np.full(2, 2.0, np.float32), 2])
def test_operators_with_numpy_on_the_left_are_minidls(number):
    x = dl.tensor([1.0, 4.0], requires_grad=True)
    cases = {
        "+": (number + x, [3, 6]),
        "-": (number - x, [1, -2]),
        "*": (number * x, [2, 8]),
        "/": (number / x, [2, 0.5]),
        "**": (number**x, [2, 16]),
        "<": (number < x, [False, True]),
        "==": (number == x, [False, False]),
    }
    for symbol, (y, expected) in cases.items():
        assert isinstance(y, dl.Tensor), symbol
        assert y.tolist() == expected, symbol
        assert y.dtype in (np.float32, np.bool_), symbol
        assert y.requires_grad == (y.dtype == np.float32), symbol
    assert isinstance(np.eye(2, dtype=np.float32) @ x, dl.Tensor)


def test_numpy_functions_do_not_take_tensors_apart():
    with pytest.raises(TypeError):
        np.add(np.zeros(2), dl.tensor([1.0, 2.0]))


# ---- data, requires_grad, grad, detach -----------------------------------------------------------------------------


def test_data_can_be_replaced():
    x = leaf(1.0, 2.0)
    x.data = np.array([3.0, 4.0])
    assert x.tolist() == [3, 4] and x.requires_grad
    x.data -= 1  # gets, changes in place, sets
    assert x.tolist() == [2, 3]
    x.data = dl.tensor([5.0])
    assert x.tolist() == [5] and x.dtype == np.float32
    x.data = [1.5]
    assert x.dtype == np.float32
    with pytest.raises(TypeError, match="data: int64 cannot replace"):
        x.data = np.arange(3)
    with pytest.raises(TypeError, match="data: numbers are needed"):
        x.data = "text"
    y = dl.tensor([1.0])
    y.data = np.arange(3)
    assert y.dtype == np.int64


@pytest.mark.parametrize("data", [1, True, [1, 2], np.zeros(2, np.uint8)])
def test_integers_cannot_require_a_gradient(data):
    match = "requires_grad: only floating-point or complex Tensors have gradients, not"
    with pytest.raises(TypeError, match=match):
        dl.Tensor(data, requires_grad=True)
    with pytest.raises(TypeError, match=match):
        dl.Tensor(data).requires_grad_()
    x = dl.Tensor(data)
    with pytest.raises(TypeError, match=match):
        x.requires_grad = True
    assert not x.requires_grad and not x.requires_grad_(False).requires_grad


def test_requires_grad_of_leaves_and_computed_tensors():
    x = dl.tensor([1.0])
    assert x.requires_grad_() is x and x.requires_grad
    x.requires_grad = False
    assert not (x * 2).requires_grad
    x.requires_grad = True
    y = x * 2
    assert y.requires_grad_().requires_grad
    with pytest.raises(RuntimeError, match="a computed Tensor cannot stop requiring a gradient"):
        y.requires_grad_(False)
    with pytest.raises(RuntimeError, match="a computed Tensor cannot stop requiring a gradient"):
        y.requires_grad = False
    assert dl.tensor([1j], requires_grad=True).requires_grad


def test_grad_must_be_a_tensor_like_this_one():
    x = leaf(1.0, 2.0)
    x.grad = dl.Tensor(np.zeros(2))
    x.grad = None
    with pytest.raises(TypeError, match="grad must be a Tensor, not ndarray"):
        x.grad = np.zeros(2)
    with pytest.raises(ValueError, match=r"grad has shape \(3,\), it must be \(2,\)"):
        x.grad = dl.Tensor(np.zeros(3))
    with pytest.raises(TypeError, match="grad has dtype float32, it must be float64"):
        x.grad = dl.tensor([1.0, 2.0])
    assert x.grad is None


def test_detach_shares_memory_and_leaves_the_graph():
    x = leaf(1.0, 2.0)
    y = (x * 3).detach()
    assert not y.requires_grad and y.is_leaf and y.grad is None
    z = x * 3
    assert np.shares_memory(z.detach().data, z.data)
    (z + z.detach()).sum().backward()
    assert x.grad.tolist() == [3, 3]


# ---- conversions and hooks that PyTorch's users expect -------------------------------------------------------------


def test_to_cpu_and_type_as():
    x = dl.tensor([1.0, 2.0], requires_grad=True)
    assert x.to("cpu") is x and x.cpu() is x and x.to(np.float32) is x
    assert x.to(np.float64).dtype == x.to("float64").dtype == x.to("cpu", np.float64).dtype == np.float64
    assert x.to(dl.tensor([1, 2])).dtype == np.int64 and x.type_as(leaf(1.0)).dtype == np.float64
    x.to(np.float64).sum().backward()
    assert x.grad.tolist() == [1, 1] and x.grad.dtype == np.float32
    with pytest.raises(ValueError, match="to: 'tpu' is neither a device"):
        x.to("tpu")
    with pytest.raises(TypeError, match="to: a dtype, a device or a Tensor is needed, got 3"):
        x.to(3)
    with pytest.raises(TypeError, match="type_as: a Tensor is needed, got str"):
        x.type_as("float32")


def test_retains_grad():
    x = leaf(1.0)
    y, z = x * 2, x * 3
    y.retain_grad()
    x.retain_grad()
    assert (x.retains_grad, y.retains_grad, z.retains_grad) == (False, True, False)
    y.add_(1)
    assert y.retains_grad and not dl.tensor(1.0).retains_grad


def test_hooks_after_accumulation():
    x, seen = leaf(1.0, 2.0), []
    x.register_hook(lambda g: g * 10)
    handle = x.register_post_accumulate_grad_hook(lambda t: seen.append((t is x, t.grad.tolist())))
    (x * 2 + x).sum().backward()
    x.sum().backward()
    dl.grad(x.sum(), x)
    assert seen == [(True, [30, 30]), (True, [40, 40])]
    handle.remove()
    x.sum().backward()
    assert len(seen) == 2
    x.register_post_accumulate_grad_hook(lambda t: setattr(t, "grad", None))
    x.sum().backward()
    assert x.grad is None
    for other, what in ((x * 2, "computed"), (dl.tensor(1.0), "a leaf that requires none")):
        with pytest.raises(RuntimeError, match=f"register_post_accumulate_grad_hook: .* this Tensor is {what}"):
            other.register_post_accumulate_grad_hook(print)
