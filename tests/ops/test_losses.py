"""cross_entropy, nll_loss, binary_cross_entropy, kl_div, mse_loss, l1_loss, smooth_l1_loss, huber_loss."""

import itertools
from functools import partial

import numpy as np
import pytest
from helpers import check_against_torch, check_gradient, check_second_gradient, functional, layouts, normal, to_torch

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


def test_classes_that_are_no_integers():
    with pytest.raises(TypeError, match="nll_loss: target must be integer class numbers, got float64"):
        ops.nll_loss(X, np.array([0.0, 1.0]))


# ---- binary_cross_entropy and kl_div -------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "shape, weight", [((), None), ((4,), None), ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 3), ())], ids=str
)
def test_binary_cross_entropy(shape, weight, reduction):
    x, t = np.random.default_rng(1).uniform(0.2, 0.8, (2, *shape))
    weights = [] if weight is None else [normal(*weight, seed=3)]
    check_second_gradient(lambda x, t, *w: ops.binary_cross_entropy(x, t, *w, reduction=reduction), x, t, *weights)
    for dtype in (np.float32, np.float64):  # PyTorch has no gradient for the weight
        constants = [w.astype(dtype) for w in weights]
        check_against_torch(
            lambda x, t: ops.binary_cross_entropy(x, t, *constants, reduction=reduction),  # noqa: B023
            lambda x, t: functional().binary_cross_entropy(x, t, *map(to_torch, constants), reduction=reduction),  # noqa: B023
            x.astype(dtype),
            t.astype(dtype),
            rtol=1e-5 if dtype == np.float32 else 1e-9,  # PyTorch adds 1e-12 to denominators of the second gradient
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_of_certainties(dtype):
    """x and t are 0 or 1: value and slope stay finite, and are PyTorch's."""
    x, t = np.array([0, 0, 1, 1, 1e-30, 1e-20], dtype), np.array([0, 1, 0, 1, 1, 0.5], dtype)
    check_against_torch(
        lambda x: ops.binary_cross_entropy(x, t, reduction="none"),
        lambda x: functional().binary_cross_entropy(x, pytest.importorskip("torch").tensor(t), reduction="none"),
        x,
        rtol=1e-5 if dtype == np.float32 else 1e-8,  # its 1e-12 is a float32
        second=False,
    )
    leaf = dl.Tensor(x, True)
    loss = ops.binary_cross_entropy(leaf, t, reduction="none")
    loss.sum().backward()
    assert loss.tolist()[:4] == [0, 100, 100, 0] and np.isfinite(leaf.grad.numpy()).all()


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, (3,), (2, 3), ()])
@pytest.mark.parametrize("pos_weight", [None, (3,), (2, 3), ()])
def test_binary_cross_entropy_with_logits(weight, pos_weight, reduction):
    x, t = normal(2, 3), np.random.default_rng(1).random((2, 3))
    weights = [np.asarray(np.exp(normal(*shape, seed=5))) for shape in (weight, pos_weight) if shape is not None]

    def options(weights):
        weights = iter(weights)
        return {k: next(weights) for k, s in (("weight", weight), ("pos_weight", pos_weight)) if s is not None}

    f = partial(ops.binary_cross_entropy_with_logits, reduction=reduction)
    torch_f = partial(functional().binary_cross_entropy_with_logits, reduction=reduction)
    check_second_gradient(lambda x, t, *w: f(x, t, **options(w)), x, t, *weights)
    for dtype in (np.float32, np.float64):  # PyTorch has no gradient for the weights
        constants = [w.astype(dtype) for w in weights]
        check_against_torch(
            lambda x, t: f(x, t, **options(constants)),  # noqa: B023
            lambda x, t: torch_f(x, t, **options(map(to_torch, constants))),  # noqa: B023
            x.astype(dtype),
            t.astype(dtype),
        )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits_are_exact(dtype):
    x, t = np.array([1000, -1000, 50, -50, 0], dtype), np.array([1, 1, 0, 0, 0.5], dtype)
    leaf = dl.Tensor(x, True)
    loss = ops.binary_cross_entropy_with_logits(leaf, t, reduction="none")
    (gradient,) = dl.grad(loss.sum(), leaf, create_graph=True)
    gradient.sum().backward()
    np.testing.assert_allclose(loss.tolist(), [0, 1000, 50, np.exp(-50), np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(gradient.tolist(), [0, -1, 1, np.exp(-50), 0], rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(leaf.grad.tolist(), [0, 0, np.exp(-50), np.exp(-50), 0.25], rtol=1e-6, atol=1e-30)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 2)])
def test_kl_div(shape, reduction, log_target):
    x, t = normal(*shape), np.random.default_rng(1).uniform(0.1, 1, shape)
    t = np.log(t) if log_target else t
    check_second_gradient(lambda x, t: ops.kl_div(x, t, reduction, log_target), x, t)
    for dtype in (np.float32, np.float64):
        check_against_torch(
            lambda x, t: ops.kl_div(x, t, reduction=reduction, log_target=log_target),
            lambda x, t: functional().kl_div(x, t, reduction=reduction, log_target=log_target),
            x.astype(dtype),
            t.astype(dtype),
        )


def test_kl_div_where_the_target_is_0():
    x = dl.Tensor(np.array([-1.0, -2.0]), True)
    loss = ops.kl_div(x, np.array([0.0, 0.5]), "none")
    loss.sum().backward()
    np.testing.assert_allclose(loss.tolist(), [0, 0.5 * (np.log(0.5) + 2)])
    assert x.grad.tolist() == [0, -0.5]


HALF = np.full((2, 3), 0.5)


@pytest.mark.parametrize(
    "call, error, match",
    [
        (
            lambda: ops.binary_cross_entropy(HALF, HALF.T),
            ValueError,
            r"binary_cross_entropy: input of shape \(2, 3\) and target of shape \(3, 2\) must have one shape",
        ),
        (
            lambda: ops.binary_cross_entropy(HALF * 3, HALF),
            ValueError,
            "binary_cross_entropy: input must be probabilities from 0 to 1, got 1.5",
        ),
        (lambda: ops.binary_cross_entropy(-HALF, HALF), ValueError, "from 0 to 1, got -0.5"),
        (
            lambda: ops.binary_cross_entropy(HALF, HALF, np.ones(2)),
            ValueError,
            r"binary_cross_entropy: weight of shape \(2,\) does not broadcast to shape \(2, 3\)",
        ),
        (
            lambda: ops.binary_cross_entropy(HALF, HALF, np.ones((1, 2, 3))),
            ValueError,
            "weight of shape .* does not broadcast",
        ),
        (
            lambda: ops.binary_cross_entropy(HALF, HALF, reduction="average"),
            ValueError,
            "binary_cross_entropy: reduction must be one of",
        ),
        (lambda: ops.binary_cross_entropy(HALF, [0.5]), TypeError, "binary_cross_entropy: .*not list"),
        (
            lambda: ops.binary_cross_entropy(HALF * 1j, HALF),
            TypeError,
            "binary_cross_entropy: input must be float32 or float64, got complex128",
        ),
        (
            lambda: ops.binary_cross_entropy_with_logits(HALF, HALF[0]),
            ValueError,
            "binary_cross_entropy_with_logits: .* must have one shape",
        ),
        (
            lambda: ops.binary_cross_entropy_with_logits(HALF, HALF, pos_weight=np.ones(2)),
            ValueError,
            "binary_cross_entropy_with_logits: pos_weight of shape",
        ),
        (lambda: ops.kl_div(HALF, HALF.T), ValueError, r"kl_div: shapes \(2, 3\) and \(3, 2\) do not broadcast"),
        (
            lambda: ops.kl_div(HALF, HALF, "average"),
            ValueError,
            "kl_div: reduction must be one of none, batchmean, mean, sum, got 'average'",
        ),
    ],
)
def test_probability_loss_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


# ---- differences ---------------------------------------------------------------------------------------------------

DIFFERENCES = [
    ("mse_loss", {}),
    ("l1_loss", {}),
    ("smooth_l1_loss", {}),
    ("smooth_l1_loss", {"beta": 0.3}),
    ("smooth_l1_loss", {"beta": 0.0}),
    ("smooth_l1_loss", {"beta": 5}),
    ("huber_loss", {}),
    ("huber_loss", {"delta": 0.3}),
    ("huber_loss", {"delta": 5}),
]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
@pytest.mark.parametrize("name, options", DIFFERENCES, ids=str)
def test_differences(name, options, shape, reduction):
    a, b = normal(*shape, seed=1), normal(*shape, seed=2)
    check_second_gradient(lambda a, b: getattr(ops, name)(a, b, reduction, **options), a, b)
    for dtype in (np.float32, np.float64):
        check_against_torch(
            lambda a, b: getattr(ops, name)(a, b, reduction=reduction, **options),
            lambda a, b: getattr(functional(), name)(a, b, reduction=reduction, **options),
            a.astype(dtype),
            b.astype(dtype),
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
def test_weighted_differences(name, reduction):
    arrays = [normal(2, 3, seed=seed) for seed in (1, 2, 3)]
    check_second_gradient(lambda a, b, w: getattr(ops, name)(a, b, reduction, weight=w), *arrays)
    check_against_torch(
        lambda a, b, w: getattr(ops, name)(a, b, reduction=reduction, weight=w),
        lambda a, b, w: getattr(functional(), name)(a, b, reduction=reduction, weight=w),
        *arrays,
    )


@pytest.mark.parametrize("name, options", DIFFERENCES, ids=str)
def test_differences_at_the_joints(name, options):
    """Where |d| is 0, beta or delta, PyTorch's gradient is the measure."""
    x = np.array([0.0, 1.0, -1.0, 5.0, -5.0])
    check_against_torch(
        lambda x: getattr(ops, name)(x, np.zeros(5), **options),
        lambda x: getattr(functional(), name)(x, pytest.importorskip("torch").zeros(5, dtype=x.dtype), **options),
        x,
        second=False,
    )


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_shapes_that_differ_are_broadcast_with_a_warning(name):
    a, b = normal(2, 3), normal(3, seed=1)
    with pytest.warns(UserWarning, match=rf"{name}: input of shape \(2, 3\) and target of shape \(3,\) are broadcast"):
        got = getattr(ops, name)(dl.Tensor(a), dl.Tensor(b))
    expected = getattr(ops, name)(dl.Tensor(a), dl.Tensor(np.broadcast_to(b, (2, 3))))
    assert got.item() == expected.item()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_differences_of_nothing(name):
    x, loss = dl.Tensor(np.zeros((0, 3))), getattr(ops, name)
    assert np.isnan(loss(x, x).item()) and loss(x, x, "sum").item() == 0
    assert loss(x, x, "none").shape == (0, 3)


def test_mse_loss_of_integers_and_arrays():
    assert ops.mse_loss(dl.tensor([1.0, 2.0]), np.array([1, 4])).item() == 2
    assert ops.mse_loss(dl.tensor([1, 2]), dl.tensor([1, 4])).dtype == np.float32


def test_l1_loss_of_complex_numbers():
    assert ops.l1_loss(np.array([3 + 4j]), np.array([0j])).item() == 5


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
@pytest.mark.parametrize(
    "args, error, match",
    [
        ((X, dl.Tensor(np.zeros(2))), ValueError, r"shapes \(2, 3\) and \(2,\) do not broadcast"),
        ((X, X, "average"), ValueError, "reduction must be one of none, mean, sum, got 'average'"),
        ((X, [0.0]), TypeError, ".*not list"),
        (([0.0], X), TypeError, ".*not list"),
    ],
)
def test_difference_errors(name, args, error, match):
    with pytest.raises(error, match=f"^{name}: {match}"):
        getattr(ops, name)(*args)


@pytest.mark.parametrize(
    "call, error, match",
    [
        (
            lambda: ops.mse_loss(X, X, weight=np.ones(3)),
            ValueError,
            r"mse_loss: weight of shape \(3,\) must be shaped like input",
        ),
        (lambda: ops.mse_loss(X * 1j, X), TypeError, "mse_loss: input must be float32 or float64, got complex128"),
        (lambda: ops.smooth_l1_loss(X, X, beta=-1), ValueError, "smooth_l1_loss: beta must be at least 0, got -1"),
        (lambda: ops.huber_loss(X, X, delta=0), ValueError, "huber_loss: delta must be positive, got 0"),
        (lambda: ops.huber_loss(X, X, delta=float("nan")), ValueError, "huber_loss: delta must be positive, got nan"),
    ],
)
def test_arguments_out_of_range(call, error, match):
    with pytest.raises(error, match=match):
        call()
