"""cross_entropy, nll_loss, mse_loss."""

import itertools
from functools import partial

import numpy as np
import pytest
from helpers import check_against_torch, check_gradient, check_second_gradient, layouts, normal

import minidl as dl
from minidl import ops

REDUCTIONS = ["none", "mean", "sum"]
# logits and targets
SHAPES = [
    ((5, 4), (5,)),
    ((4,), ()),
    ((2, 4, 3), (2, 3)),
    ((2, 4, 3, 2), (2, 3, 2)),
    ((0, 4), (0,)),
    ((2, 4, 0), (2, 0)),
]


def functional():
    return pytest.importorskip("torch").nn.functional


def labels(shape, classes=4, seed=0, ignored=None):
    target = np.asarray(np.random.default_rng(seed).integers(0, classes, shape))
    if ignored is not None and target.size > 1:
        target = np.where(np.arange(target.size).reshape(shape) % 3 == 1, ignored, target)
    return target


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the mean over nothing
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [None, -100, 2])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["nll_loss", "cross_entropy"])
def test_classification_losses_are_pytorchs(name, shapes, ignored, weighted, reduction):
    torch = pytest.importorskip("torch")
    target = labels(shapes[1], ignored=ignored)
    weight = np.array([0.5, 2.0, 1.0, 3.0]) if weighted else None
    options = {"reduction": reduction, "ignore_index": -100 if ignored is None else ignored}

    def loss(x):
        w = None if weight is None else dl.Tensor(weight.astype(x.dtype))
        return getattr(ops, name)(x, dl.Tensor(target), weight=w, **options)

    def torch_loss(x):
        w = None if weight is None else torch.tensor(weight, dtype=x.dtype)
        return getattr(functional(), name)(x, torch.tensor(target), weight=w, **options)

    for dtype in (np.float32, np.float64):
        x = normal(*shapes[0], dtype=dtype)
        if x.size:
            check_against_torch(loss, torch_loss, x)
        else:
            got, expected = loss(dl.Tensor(x)).numpy(), torch_loss(torch.tensor(x)).numpy()
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [None, 2])
@pytest.mark.parametrize("shapes", SHAPES[:4], ids=str)
def test_label_smoothing(shapes, ignored, weighted, reduction, smoothing):
    torch = pytest.importorskip("torch")
    target = labels(shapes[1], ignored=ignored)
    weight = np.array([0.5, 2.0, 1.0, 3.0]) if weighted else None
    options = {
        "reduction": reduction,
        "label_smoothing": smoothing,
        "ignore_index": -100 if ignored is None else ignored,
    }
    check_against_torch(
        lambda x: ops.cross_entropy(x, target, weight, **options),
        lambda x: functional().cross_entropy(
            x, torch.tensor(target), None if weight is None else torch.tensor(weight), **options
        ),
        normal(*shapes[0]),
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shapes", SHAPES[:3], ids=str)
def test_classification_losses_have_numerical_derivatives(shapes, reduction):
    """Also with respect to the weight of each class, which divides the mean."""
    target = labels(shapes[1], ignored=-100)
    weight = np.array([0.5, 2.0, 1.0, 3.0])
    for loss in (partial(f, target=target, reduction=reduction) for f in (ops.nll_loss, ops.cross_entropy)):
        check_second_gradient(loss, normal(*shapes[0]))
        check_gradient(lambda x, w, loss=loss: loss(x, weight=w), normal(*shapes[0]), weight)
    check_gradient(
        lambda x, w: ops.cross_entropy(x, target, w, reduction=reduction, label_smoothing=0.3),
        normal(*shapes[0]),
        weight,
    )


def test_the_gradient_of_cross_entropy_is_probability_minus_target():
    x, target = dl.Tensor(normal(3, 4), True), np.array([0, 3, 1])
    ops.cross_entropy(x, target, reduction="sum").backward()
    p = np.exp(x.data) / np.exp(x.data).sum(1, keepdims=True)
    np.testing.assert_allclose(x.grad.numpy(), p - np.eye(4)[target], rtol=1e-12)


def test_large_logits_do_not_overflow():
    x = dl.Tensor(np.array([[1e4, 0.0], [-1e4, 0.0]], np.float32), True)
    loss = ops.cross_entropy(x, np.array([1, 0]))
    loss.backward()
    assert loss.item() == 1e4 and x.grad.tolist() == [[0.5, -0.5], [-0.5, 0.5]]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_everything_ignored():
    torch = pytest.importorskip("torch")
    x, target = normal(2, 3), np.array([-100, -100])
    for name, reduction in itertools.product(("nll_loss", "cross_entropy"), REDUCTIONS):
        got = getattr(ops, name)(dl.Tensor(x), target, reduction=reduction)
        expected = getattr(functional(), name)(torch.tensor(x), torch.tensor(target), reduction=reduction)
        np.testing.assert_array_equal(got.numpy(), expected.numpy())
    x = dl.Tensor(x, True)
    ops.cross_entropy(x, target, reduction="sum").backward()
    assert x.grad.tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_ignored_may_be_nan():
    x = dl.Tensor(np.array([[np.nan, 1.0], [1.0, 2.0]]), True)
    loss = ops.nll_loss(x, np.array([-100, 1]))
    loss.backward()
    assert loss.item() == -2 and x.grad.tolist() == [[0, 0], [0, -1]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_targets_of_any_integer_dtype(dtype):
    x = dl.Tensor(normal(3, 4))
    expected = ops.cross_entropy(x, np.array([0, 3, 1])).item()
    assert ops.cross_entropy(x, np.array([0, 3, 1], dtype)).item() == expected
    assert ops.cross_entropy(x, dl.Tensor(np.array([0, 3, 1], dtype))).item() == expected


def test_any_layout_gives_the_same():
    x, target = normal(2, 4, 3, 5), labels((2, 3, 5))
    results = []
    for _, array in layouts(x):
        leaf = dl.Tensor(array, True)
        loss = ops.cross_entropy(leaf, target)
        loss.backward()
        results.append((loss.item(), leaf.grad.tolist()))
    assert all(r == results[0] for r in results)


X, T = dl.Tensor(np.zeros((2, 3))), np.array([0, 1])


@pytest.mark.parametrize("name", ["nll_loss", "cross_entropy"])
@pytest.mark.parametrize(
    "args, options, error, match",
    [
        ((X, np.array([0, 3])), {}, ValueError, "target 3 is out of range for 3 classes"),
        ((X, np.array([0, -1])), {}, ValueError, "target -1 is out of range for 3 classes"),
        ((dl.Tensor(np.zeros(3)), np.array(7)), {}, ValueError, "target 7 is out of range for 3 classes"),
        ((X, np.array([0.0, 1.0])), {}, TypeError, "target must be integer class numbers, got float64"),
        ((X, np.array([True, False])), {}, TypeError, "target must be integer class numbers, got bool"),
        ((X, [0, 1]), {}, TypeError, "not list"),
        ((X, np.array([0])), {}, ValueError, r"input of shape \(2, 3\) and target of shape \(1,\) do not fit"),
        ((X, np.array([[0], [1]])), {}, ValueError, "do not fit"),
        ((dl.tensor(1.0), np.array(0)), {}, ValueError, r"input of shape \(\) and target of shape \(\) do not fit"),
        ((X, T, np.ones(2)), {}, ValueError, r"weight must have shape \(3,\), got \(2,\)"),
        ((X, T, [1.0, 1.0, 1.0]), {}, TypeError, "not list"),
        ((X, T), {"reduction": "average"}, ValueError, "reduction must be one of none, mean, sum, got 'average'"),
    ],
)
def test_classification_errors(name, args, options, error, match):
    with pytest.raises(error, match=f"{name}: .*{match}"):
        getattr(ops, name)(*args, **options)


@pytest.mark.parametrize("smoothing", [-0.1, 1.5, float("nan")])
def test_label_smoothing_out_of_range(smoothing):
    with pytest.raises(ValueError, match=f"cross_entropy: label_smoothing must be from 0 to 1, got {smoothing}"):
        ops.cross_entropy(X, T, label_smoothing=smoothing)


# ---- mse_loss ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_mse_loss(shape, reduction):
    a, b = normal(*shape, seed=1), normal(*shape, seed=2)
    check_second_gradient(lambda a, b: ops.mse_loss(a, b, reduction), a, b)
    for dtype in (np.float32, np.float64):
        check_against_torch(
            lambda a, b: ops.mse_loss(a, b, reduction=reduction),
            lambda a, b: functional().mse_loss(a, b, reduction=reduction),
            a.astype(dtype),
            b.astype(dtype),
        )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_mse_loss_of_nothing():
    x = dl.Tensor(np.zeros((0, 3)))
    assert np.isnan(ops.mse_loss(x, x).item()) and ops.mse_loss(x, x, "sum").item() == 0
    assert ops.mse_loss(x, x, "none").shape == (0, 3)


def test_mse_loss_of_integers_and_arrays():
    assert ops.mse_loss(dl.tensor([1.0, 2.0]), np.array([1, 4])).item() == 2
    assert ops.mse_loss(dl.tensor([1, 2]), dl.tensor([1, 4])).dtype == np.float32


@pytest.mark.parametrize(
    "args, error, match",
    [
        (
            (X, dl.Tensor(np.zeros(3))),
            ValueError,
            r"mse_loss: input of shape \(2, 3\) and target of shape \(3,\) must have one",
        ),
        ((X, X, "average"), ValueError, "mse_loss: reduction must be one of none, mean, sum, got 'average'"),
        ((X, [0.0]), TypeError, "mse_loss: .* not list"),
        (([0.0], X), TypeError, "mse_loss: .* not list"),
    ],
)
def test_mse_loss_errors(args, error, match):
    with pytest.raises(error, match=match):
        ops.mse_loss(*args)
