"""cross_entropy of class numbers, which has a kernel. What it shares with the other losses is in test_losses.py."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, close, functional, layouts, normal, to_torch
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops

WEIGHT = np.array([0.5, 2.0, 1.0, 3.0])
REDUCTIONS = ["none", "mean", "sum"]
X, T = dl.Tensor(np.zeros((2, 3))), np.array([0, 1])


def torch_loss(x, target, weight=None, **options):
    torch = pytest.importorskip("torch")
    weight = None if weight is None else torch.tensor(weight, dtype=x.dtype)
    return torch.nn.functional.cross_entropy(x, torch.tensor(target), weight, **options)


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_shape_is_pytorchs(data):
    classes = data.draw(st.integers(1, 67))
    extents = data.draw(st.lists(st.integers(1, 4), max_size=3))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    target = rng.integers(0, classes, extents)
    target = np.where(rng.random(target.shape) < 0.2, -7, target)
    options = {
        "reduction": data.draw(st.sampled_from(["none", "sum"])),
        "ignore_index": -7,
        "label_smoothing": data.draw(st.sampled_from([0.0, 0.3, 1.0])),
    }
    weight = rng.uniform(0.5, 2, classes) if data.draw(st.booleans()) else None
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    x = rng.standard_normal((*extents[:1], classes, *extents[1:])).astype(dtype)
    x = data.draw(st.sampled_from([a for _, a in layouts(x)]))
    check_against_torch(
        lambda x: ops.cross_entropy(x, target, weight, **options),
        lambda x: torch_loss(x, target, weight, **options),
        x,
        atol=1e-5 if dtype == np.float32 else 1e-12,  # a lone class has gradients that cancel
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_second_derivatives(smoothing):
    target = np.array([[0, 3, -100], [1, 1, 2]])
    check_second_gradient(
        lambda x: ops.cross_entropy(x, target, WEIGHT, reduction="none", label_smoothing=smoothing), normal(2, 4, 3)
    )

    def f(x):
        return ops.cross_entropy(x, np.array([0, 3]), WEIGHT, label_smoothing=smoothing)

    assert dl.gradcheck(f, (normal(2, 4),)) and dl.gradgradcheck(f, (normal(2, 4),))


@pytest.mark.parametrize("offset", [1e4, -1e4, 1e6])
def test_large_logits_keep_their_digits(offset):
    """Added to the shift, the logarithm of the sum would lose its digits: 1e6 + 0.7 is 1000000.7 in float32."""
    # Multiples of 1/16 are exact in float32 also beside 1e6.
    x = (np.round(16 * normal(6, 9)) / 16).astype(np.float32)
    target = np.arange(6)
    results = []
    for logits in (x.astype(np.float64), x + np.float32(offset)):
        leaf = dl.Tensor(logits, True)
        loss = ops.cross_entropy(leaf, target, reduction="none")
        loss.sum().backward()
        results.append((loss.data, leaf.grad.data))
    for got, expected in zip(results[1], results[0], strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("target", range(4))
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinite_logits_and_nan_are_pytorchs(dtype, smoothing, target):
    inf = np.inf
    rows = [[1e4, -1e4, 0, 1], [inf, 0, 1, 2], [-inf, 0, 1, 2], [0, -inf, 1, 2], [-inf] * 4, [np.nan, 1, 2, 3]]
    check_against_torch(
        lambda x: ops.cross_entropy(x, np.full(6, target), reduction="none", label_smoothing=smoothing),
        lambda x: torch_loss(x, np.full(6, target), reduction="none", label_smoothing=smoothing),
        np.array(rows, dtype),
        second=False,
    )


def test_what_is_ignored_may_be_anything():
    x = dl.Tensor(np.array([[np.nan, 1.0], [np.inf, np.inf], [0.0, 0.0]]), True)
    loss = ops.cross_entropy(x, np.array([-100, -100, 1]))
    (gradient,) = dl.grad(loss, x, create_graph=True)
    assert loss.item() == pytest.approx(np.log(2))
    np.testing.assert_allclose(gradient.tolist(), [[0, 0], [0, 0], [0.5, -0.5]])
    (second,) = dl.grad((gradient * gradient).sum(), x)
    np.testing.assert_allclose(second.tolist(), [[0, 0], [0, 0], [0.5, -0.5]])


def test_no_classes_and_no_rows():
    assert ops.cross_entropy(dl.Tensor(np.zeros((2, 0))), np.array([-100, -100]), reduction="sum").item() == 0
    x = dl.Tensor(np.zeros((0, 3)), True)
    ops.cross_entropy(x, np.zeros(0, int), reduction="sum").backward()
    assert x.grad.shape == (0, 3)


def test_the_weights_have_a_gradient_too():
    w = dl.Tensor(WEIGHT.copy(), True)
    target = np.array([0, 3, 3])
    loss = ops.cross_entropy(dl.Tensor(normal(3, 4)), target, w, reduction="sum")
    loss.backward()
    each = ops.cross_entropy(dl.Tensor(normal(3, 4)), target, reduction="none").data
    np.testing.assert_allclose(w.grad.data, [each[0], 0, 0, each[1] + each[2]])


def test_images_are_read_and_written_in_the_order_of_memory():
    x = dl.Tensor(normal(2, 3, 4, 5).transpose(0, 3, 1, 2), True)
    ops.cross_entropy(x, np.zeros((2, 3, 4), int)).backward()
    assert x.grad.data.strides == x.data.strides


def test_only_two_numbers_per_row_are_kept():
    x = dl.Tensor(normal(20, 1000), True)
    node = ops.cross_entropy(x, np.zeros(20, int), reduction="none")._node
    assert node.lse.shape == (20, 2) and [saved for saved in node.saved_tensors] == [x]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_reference_agrees_and_threads_change_no_bit(dtype):
    x, target = normal(700, 67, dtype=dtype), np.arange(700) % 67
    before, results = dl.get_num_threads(), {}
    for form, threads in (("reference", 1), ("cpu", 1), ("cpu", before)):
        try:
            dl.set_num_threads(threads)
            with dl.use_kernels(form):
                leaf = dl.Tensor(x, True)
                loss = ops.cross_entropy(leaf, target, label_smoothing=0.1)
                loss.backward()
                results[form, threads] = loss.data, leaf.grad.data
        finally:
            dl.set_num_threads(before)
    for number, one in enumerate(results["cpu", 1]):
        assert np.array_equal(one, results["cpu", before][number])
        close(one, results["reference", 1][number], 1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize(
    "x, name", [(dl.tensor([[1j]]), "complex64"), (dl.Tensor(np.ones((1, 1), np.float16)), "float16")]
)
def test_dtypes(x, name):
    with pytest.raises(TypeError, match=f"cross_entropy: input must be float32 or float64, got {name}"):
        ops.cross_entropy(x, np.array([0]))
    weighted = ops.cross_entropy(dl.Tensor(np.zeros((2, 3), np.float32)), np.array([0, 1]), np.ones(3))
    assert weighted.dtype == np.float32


# ---- probabilities as target ---------------------------------------------------------------------------------------


def probabilities(*shape, seed=0):
    p = np.random.default_rng(seed).random(shape)
    return p / p.sum(0 if len(shape) == 1 else 1, keepdims=True)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the mean over nothing
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(5, 4), (4,), (2, 4, 3), (2, 4, 3, 2), (0, 4)], ids=str)
def test_cross_entropy_with_probabilities(shape, weighted, reduction, smoothing):
    """The target has a gradient, too."""
    torch = pytest.importorskip("torch")
    weight = np.array([0.5, 2.0, 1.0, 3.0]) if weighted else None
    options = {"reduction": reduction, "label_smoothing": smoothing}
    x, p = normal(*shape), probabilities(*shape)
    if not x.size:
        got = ops.cross_entropy(x, p, weight, **options).numpy()
        expected = functional().cross_entropy(to_torch(x), to_torch(p), **options).numpy()
        np.testing.assert_array_equal(got, expected)
        return
    check_second_gradient(lambda x, p: ops.cross_entropy(x, p, weight, **options), x, p)
    for dtype in (np.float32, np.float64):
        check_against_torch(
            lambda x, p: ops.cross_entropy(x, p, None if weight is None else weight.astype(x.dtype), **options),
            lambda x, p: functional().cross_entropy(
                x, p, None if weight is None else torch.tensor(weight, dtype=x.dtype), **options
            ),
            x.astype(dtype),
            p.astype(dtype),
            rtol=1e-5,
        )


def test_probabilities_of_one_class_are_class_numbers():
    x, target = dl.Tensor(normal(3, 4)), np.array([0, 3, 1])
    np.testing.assert_allclose(ops.cross_entropy(x, np.eye(4)[target]).item(), ops.cross_entropy(x, target).item())


@pytest.mark.parametrize(
    "args, options, match",
    [
        ((X, np.zeros(2)), {}, r"input of shape \(2, 3\) and probabilities of shape \(2,\) must both be"),
        ((dl.tensor(1.0), np.array(0.5)), {}, r"input of shape \(\) and probabilities of shape \(\) must both be"),
        ((X, np.zeros((2, 3)), np.ones(2)), {}, r"weight must have shape \(3,\), got \(2,\)"),
        ((X, np.zeros((2, 3))), {"ignore_index": 1}, r"ignore_index \(=1\) is for class numbers, target is float64"),
        ((X, np.zeros((2, 3))), {"reduction": "average"}, "reduction must be one of none, mean, sum, got 'average'"),
    ],
)
def test_probability_errors(args, options, match):
    with pytest.raises(ValueError, match=f"^cross_entropy: {match}"):
        ops.cross_entropy(*args, **options)


@pytest.mark.parametrize("smoothing", [-0.1, 1.5, float("nan")])
def test_label_smoothing_out_of_range(smoothing):
    with pytest.raises(ValueError, match=f"cross_entropy: label_smoothing must be from 0 to 1, got {smoothing}"):
        ops.cross_entropy(X, T, label_smoothing=smoothing)
