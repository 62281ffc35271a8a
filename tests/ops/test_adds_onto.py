"""A convolution adds its input's gradient to what the input's other users have sent."""

import numpy as np
import pytest
from helpers import normal

import minidl as dl
import minidl.kernels.conv2d
from minidl import ops
from minidl.ops.conv2d import Conv2d, Conv2dInputGrad


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gradient_is_added_to_that_of_the_inputs_other_users(dtype, monkeypatch):
    """Each way of the input's gradient, in one net and in nets of one way alone."""
    weights = [
        dl.Tensor(normal(*shape, seed=i, dtype=dtype))
        for i, shape in enumerate(
            [(16, 16, 3, 3), (8, 16, 1, 1), (7, 16, 2, 3), (8, 16, 3, 3), (5, 16, 1, 1), (4, 8, 3, 3)]
        )
    ]
    ways = [
        lambda h: (h * h).sum(),
        lambda h: ops.conv2d(h, weights[0], padding=1).sin().sum(),  # Winograd's
        lambda h: (ops.conv2d_relu(h, weights[1]) ** 2).sum(),  # a matrix product
        lambda h: ops.conv2d(h, weights[2]).exp().mean(),  # direct
        lambda h: ops.conv2d(h, weights[3], stride=2).sum(),
        lambda h: (ops.conv2d(h, weights[4], stride=2) ** 2).sum(),
        lambda h: ops.conv2d(h, weights[5], groups=2).cos().sum(),
        lambda h: ops.conv2d_relu(h, weights[0], padding=1, residual=h).sum(),  # twice an input
    ]
    array = normal(2, 16, 20, 21, dtype=dtype)

    def gradient(ways):
        x = dl.Tensor(array, requires_grad=True)
        h = x * 2
        sum(way(h) for way in ways).backward()
        return x.grad.data

    alone = [gradient([way]) for way in ways]
    added, kernel = [], minidl.kernels.conv2d.input_grad_add
    monkeypatch.setattr(
        minidl.kernels.conv2d, "input_grad_add", lambda *args: (added.append(args[1].shape), kernel(*args))
    )
    together = gradient(ways)
    assert len(added) == 6  # of seven convolutions the last made, whose turn is first, finds nothing to add to
    expected = np.sum(alone, 0, np.float64)
    np.testing.assert_allclose(together, expected, rtol=0, atol=np.finfo(dtype).eps * 64 * np.abs(expected).max())


def test_a_backward_that_leaves_the_other_users_alone():
    """A subclass may write a backward of its own, which knows nothing of what could be added."""

    class Halved(Conv2d):
        @staticmethod
        def backward(ctx, grad):
            _, w = ctx.saved_tensors
            return 0.5 * Conv2dInputGrad.call(grad, w, ctx.geometry, ctx.shapes[0]), None, None

    x, w = dl.Tensor(normal(1, 1, 3, 3), requires_grad=True), dl.Tensor(np.full((1, 1, 1, 1), 4.0))
    h = x * 1
    ((h * 3).sum() + Halved.apply(h, w, None, ((1, 1), (0, 0), (1, 1), 1)).sum()).backward()
    assert (x.grad.data == 3 + 0.5 * 4).all()
    x.grad = None
    h = x * 1
    (Halved.apply(h, w, None, ((1, 1), (0, 0), (1, 1), 1)).sum() + (h * 3).sum()).backward()
    assert (x.grad.data == 3 + 0.5 * 4).all()
