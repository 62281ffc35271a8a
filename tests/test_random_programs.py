"""Random programs of Tensors: values and gradients as PyTorch's."""

import numpy as np
import pytest

import minidl as dl
from minidl import ops

# What one step of a random program does with two 2 x 2 matrices: new values, views, and changes in place.
NEW_VALUES = [
    lambda lib, x, y: x + y,
    lambda lib, x, y: x - 3 * y,
    lambda lib, x, y: x * y,
    lambda lib, x, y: x / (y * y + 1),
    lambda lib, x, y: x @ y,
    lambda lib, x, y: (x * 0.3).tanh() + y,
    lambda lib, x, y: x.relu(),
    lambda lib, x, y: (x * 0.1).exp(),
    lambda lib, x, y: x**2,
    lambda lib, x, y: x.softmax(1),
    lambda lib, x, y: x.mean(0, keepdim=True) + y,
    lambda lib, x, y: x.max(1)[0].reshape(2, 1) * y,
    lambda lib, x, y: x.flip((0,)),
    lambda lib, x, y: x.clone(),
    lambda lib, x, y: x.detach() * y,
    lambda lib, x, y: x[[1, 1]],
    lambda lib, x, y: lib.where(x > y, x, y * 2),
    lambda lib, x, y: lib.cat([x, y])[1:3] * 2,
]
VIEWS = [lambda lib, x, y: x.T, lambda lib, x, y: x[0].expand(2, 2), lambda lib, x, y: x.reshape(4).reshape(2, 2)]
IN_PLACE = [
    lambda lib, x, y: x.add_(y * 1),
    lambda lib, x, y: x.sub_(y[0] * 1),
    lambda lib, x, y: x.mul_(y * 1),
    lambda lib, x, y: x.mul_(1.5),
    lambda lib, x, y: x.__setitem__((0, 1), y[1, 0] * 2),
    lambda lib, x, y: x.__setitem__(1, y[0] * 1),
    lambda lib, x, y: x.__setitem__((slice(None), 0), 0.0),
    lambda lib, x, y: x.copy_(y * 1),
]


def run_program(lib, steps, leaves):
    values = [leaf * 1 for leaf in leaves]
    for step, i, j in steps:
        result = step(lib, values[i], values[j])
        values.append(values[i] if step in IN_PLACE else result)
    loss = (values[-1] * values[-1]).sum() + values[len(values) // 2].sum() + values[0].sum()
    loss.backward()
    return [loss.item()] + [np.zeros((2, 2)) if leaf.grad is None else leaf.grad.numpy() for leaf in leaves]


def test_random_programs_agree_with_pytorch():
    """Some programs are refused by either side, because a value that backward needs was changed, or has views."""
    torch = pytest.importorskip("torch")
    random, agreed = np.random.default_rng(0), 0
    for _ in range(1000):
        steps = []
        for count in range(3, random.integers(6, 16)):
            kind = (NEW_VALUES, VIEWS, IN_PLACE)[random.choice(3, p=[0.7, 0.1, 0.2])]
            steps.append((kind[random.integers(len(kind))], *random.integers(0, count, 2)))
        values = [random.standard_normal((2, 2)) for _ in range(3)]
        try:
            expected = run_program(torch, steps, [torch.tensor(v, requires_grad=True) for v in values])
            got = run_program(ops, steps, [dl.Tensor(v, requires_grad=True) for v in values])
        except RuntimeError:
            continue
        for g, e in zip(got, expected, strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-8, atol=1e-8 * np.abs(e).max())
        agreed += 1
    assert agreed > 400
