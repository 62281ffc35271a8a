"""A ReLU after a convolution or batch norm goes along in their pass; nobody can tell but by the clock."""

import numpy as np
import pytest
from helpers import normal

import minidl as dl
from minidl import nn, ops


def _net():
    dl.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 20, 3, stride=2, bias=False), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.ReLU(),
    )  # fmt: skip


def _run(net, x):
    net.zero_grad()
    images = dl.Tensor(x, True)
    y = net(images)
    y.backward(normal(*y.shape, dtype=x.dtype, seed=5))
    return [y.data, images.grad.data, *(p.grad.data for p in net.parameters())]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_fused_and_not_fused_are_equal(dtype):
    x = normal(4, 3, 18, 17, dtype=dtype)
    net = _net().double() if dtype == np.float64 else _net()
    fused, seen = _run(net, x), []
    for module in net:
        module.register_forward_hook(lambda module, inputs, output: seen.append(type(module).__name__))
    apart = _run(net, x)
    assert seen == [type(module).__name__ for module in net]
    for a, b in zip(fused, apart, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=(1e-12 if dtype == np.float64 else 1e-5) * np.abs(b).max())


def test_it_is_one_operation_until_somebody_looks(monkeypatch):
    net, x = _net(), dl.Tensor(normal(2, 3, 12, 12, dtype=np.float32))
    calls = []
    relu = ops.relu
    monkeypatch.setattr(ops, "relu", lambda x: calls.append(1) or relu(x))
    net(x)
    assert len(calls) == 1  # after the pooling
    handle = net[1].register_forward_hook(lambda *args: None)
    net(x)
    assert len(calls) == 3
    handle.remove()
    net(x)
    assert len(calls) == 4


@pytest.mark.parametrize("case", [(2, 5, 9, 8, 7, 3, 1, 1), (3, 16, 30, 28, 33, 3, 1, 1), (2, 17, 20, 24, 16, 5, 1, 2),
                                  (2, 6, 12, 11, 5, 3, 2, 0)])  # fmt: skip
def test_conv2d_relu(case):
    """Value, gradients and second gradients are those of the two operations, or three with a residual."""
    n, c, h, w, o, k, stride, padding = case
    arrays = [normal(n, c, h, w), normal(o, c, k, k, seed=1), normal(o, seed=2)]
    out = [(size + 2 * padding - k) // stride + 1 for size in (h, w)]

    def derivatives(f):
        leaves = [dl.Tensor(a, True) for a in arrays]
        y = f(*leaves)
        firsts = dl.grad(y, leaves, normal(*y.shape, seed=3), create_graph=True)
        seconds = dl.grad(sum((g * normal(*g.shape, seed=4)).sum() for g in firsts), leaves[:2], allow_unused=True)
        return [y, *firsts, *(g for g in seconds if g is not None)]

    for _ in range(2):
        fused = derivatives(lambda x, w, b, r=None: ops.conv2d_relu(x, w, b, stride, padding, residual=r))
        apart = derivatives(lambda x, w, b, r=0: ops.relu(ops.conv2d(x, w, b, stride, padding) + r))
        assert len(fused) == len(apart)
        for a, b in zip(fused, apart, strict=True):
            np.testing.assert_allclose(a.data, b.data, rtol=0, atol=1e-11 * np.abs(b.data).max())
        arrays.append(normal(n, o, *out, seed=6))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("residual", [False, True])
def test_the_gradient_of_conv2d_relu_in_one_pass(dtype, residual):
    """Mask and bias's sum together: to the last bit those of the two operations, whatever the gradient's layout."""
    arrays = [
        normal(3, 6, 20, 19, dtype=dtype),
        normal(10, 6, 3, 3, seed=1, dtype=dtype),
        normal(10, seed=2, dtype=dtype),
    ]
    arrays += [normal(3, 10, 18, 17, seed=3, dtype=dtype)] * residual
    arrays[2][0], arrays[2][1] = -100, np.nan  # a channel that is zero, and one that is NaN
    for order in (0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2):
        g = normal(3, 10, 18, 17, seed=4, dtype=dtype)
        g = g.transpose(order).copy().transpose(np.argsort(order))
        results = []
        for f in (
            lambda x, w, b, *r: ops.conv2d_relu(x, w, b, residual=r[0] if r else None),
            lambda x, w, b, *r: ops.add_relu(ops.conv2d(x, w, b), r[0]) if r else ops.relu(ops.conv2d(x, w, b)),
        ):
            leaves = [dl.Tensor(a.copy(), True) for a in arrays]
            f(*leaves).backward(dl.Tensor(g))
            results.append([leaf.grad.data for leaf in leaves])
        for a, b in zip(*results, strict=True):
            assert np.array_equal(a, b, equal_nan=True)
        assert not results[0][2][0] and results[0][2][1:].all()


@pytest.mark.parametrize("shape, o", [((3, 5), 4), ((2, 3, 40), 50), ((130, 70), 90)])
def test_linear_relu(shape, o):
    """Value, gradients and second gradients are those of the two operations, for NumPy's product and the kernel's."""
    arrays = [normal(*shape), normal(o, shape[-1], seed=1), normal(o, seed=2)]

    def derivatives(f):
        leaves = [dl.Tensor(a, True) for a in arrays]
        y = f(*leaves)
        firsts = dl.grad(y, leaves, normal(*y.shape, seed=3), create_graph=True)
        seconds = dl.grad(sum((g * normal(*g.shape, seed=4)).sum() for g in firsts), leaves[:2])
        return [y, *firsts, *seconds]

    for fused, apart in (
        (ops.linear_relu, lambda x, w, b: ops.relu(ops.linear(x, w, b))),
        (lambda x, w, b: ops.linear_relu(x, w) * b, lambda x, w, b: ops.relu(ops.linear(x, w)) * b),
    ):
        for a, b in zip(derivatives(fused), derivatives(apart), strict=True):
            np.testing.assert_allclose(a.data, b.data, rtol=0, atol=1e-11 * np.abs(b.data).max())


def test_linear_relu_of_nan_and_of_complex_numbers():
    x, w, b = np.ones((2, 3)), np.ones((4, 3)), np.array([-4.0, -3.0, np.nan, 1.0])
    for repeat in (1, 500):  # NumPy's product and the kernel's
        y = ops.linear_relu(dl.Tensor(np.tile(x, (repeat, 1))), dl.Tensor(w), dl.Tensor(b)).data
        np.testing.assert_array_equal(y, np.tile([0, 0, np.nan, 4], (2 * repeat, 1)))
        assert not np.signbit(y[:, :2]).any()
    with pytest.raises(TypeError, match="linear_relu: input, weight and bias must be real numbers, got complex128"):
        ops.linear_relu(dl.Tensor(x + 0j), dl.Tensor(w))


def test_a_relu_goes_along_with_a_linear_layer():
    dl.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU())
    x = dl.Tensor(normal(2, 5, dtype=np.float32))
    y = net(x)
    assert y.grad_fn.name == "LinearReLU"
    net[1].register_forward_hook(lambda module, args, output: None)
    assert net(x).grad_fn.name == "ReLU"  # a hook is to see what lies between
    np.testing.assert_array_equal(y.data, net(x).data)


def test_a_forward_of_ones_own_is_called_as_it_is():
    class Doubled(nn.Conv2d):
        def forward(self, input):
            return 2 * super().forward(input)

    dl.manual_seed(0)
    conv = Doubled(3, 4, 3)
    x = dl.Tensor(normal(2, 3, 6, 5, dtype=np.float32))
    np.testing.assert_array_equal(nn.Sequential(conv, nn.ReLU())(x).data, ops.relu(conv(x)).data)


def test_nan_stays():
    x = normal(1, 16, 24, 24)
    x[0, 3, 10, 10] = np.nan
    y = ops.conv2d_relu(dl.Tensor(x), dl.Tensor(normal(16, 16, 3, 3)), padding=1).data
    assert np.isnan(y[0, :, 9:12, 9:12]).all() and np.isfinite(y[0, :, 20:, 20:]).all() and np.nanmin(y) == 0


def test_a_residual_that_does_not_fit():
    x, w = dl.Tensor(normal(2, 2, 6, 6, dtype=np.float32)), dl.Tensor(normal(3, 2, 3, 3, dtype=np.float32))
    with pytest.raises(ValueError, match=r"residual must be float32 of the output's shape \(2, 3, 4, 4\), got float32"):
        ops.conv2d_relu(x, w, residual=x)
    with pytest.raises(ValueError, match="got float64"):
        ops.conv2d_relu(x, w, residual=dl.Tensor(normal(2, 3, 4, 4)))
    y = ops.conv2d_relu(x[0], w, residual=dl.Tensor(normal(3, 4, 4, dtype=np.float32)))  # one image
    assert y.shape == (3, 4, 4)


def test_residual_needs_relu():
    norm = nn.BatchNorm2d(2)
    x = dl.Tensor(normal(2, 2, 3, 3, dtype=np.float32))
    with pytest.raises(ValueError, match="BatchNorm2d: residual goes with relu=True"):
        norm(x, residual=x)
