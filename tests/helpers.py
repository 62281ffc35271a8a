"""Truth that is not the code under test: numerical derivatives in float64, and PyTorch where it is installed.

A check calls `f` with Tensors and takes what it returns, a Tensor or several. All cotangents are random: with ones,
softmax and the norms have zero gradients, and a backward of zeros would pass.
"""

import numpy as np
import pytest

import minidl as dl

RTOL = {
    np.dtype(np.float32): 1e-5,
    np.dtype(np.float64): 1e-10,
    np.dtype(np.complex128): 1e-10,
}  # PyTorch against minidl, scaled by the largest element
EPS = 1e-6  # of central differences: their error is EPS**2 times the third derivative, plus rounding, 1e-16 / EPS
NUMERICAL_RTOL = 1e-6


def rng(seed=0):
    return np.random.default_rng(seed)


def normal(*shape, dtype=np.float64, seed=0):
    """Normally distributed elements of a shape; of a complex dtype, both parts are."""
    generator = rng(seed)
    real = generator.standard_normal(shape)
    return np.asarray(real + 1j * generator.standard_normal(shape) if np.dtype(dtype).kind == "c" else real, dtype)


def distinct(*shape, dtype=np.float64, seed=0):
    """Elements of both signs that are at least 0.1 from each other and from 0: no maximum is close to a tie."""
    count = int(np.prod(shape))
    return np.asarray(rng(seed).permutation(0.1 * (np.arange(count) - count // 2) + 0.05).reshape(shape), dtype)


def layouts(array):
    """(name, array) pairs: equal elements behind all kinds of strides."""
    backwards = tuple(slice(None, None, -1) for _ in array.shape)
    wide = np.full([2 * n + 1 for n in array.shape], np.nan).astype(array.dtype)
    sliced = wide[tuple(slice(1, None, 2) for _ in array.shape)]
    sliced[...] = array
    read_only = array.copy()
    read_only.flags.writeable = False
    yield "C", np.array(array, order="C")
    yield "Fortran", np.array(array, order="F")
    yield "sliced", sliced
    yield "backwards", np.array(array[backwards], order="C")[backwards]
    yield "read-only", read_only
    if array.ndim == 4:
        yield "channels-last", np.array(array.transpose(0, 2, 3, 1), order="C").transpose(0, 3, 1, 2)
        yield "HWIO", np.array(array.transpose(2, 3, 1, 0), order="C").transpose(3, 2, 0, 1)


def close(got, expected, rtol, what="", atol=0.0):
    """Both have one shape, and elements equal to rtol, scaled by the largest; NaN and Inf stand in the same places."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * scale + atol, err_msg=what)


def _outputs(result):
    return list(result) if isinstance(result, tuple | list) else [result]


def _differentiable(outputs):
    return [y for y in outputs if y.requires_grad]


# ---- numerical derivatives -----------------------------------------------------------------------------------------


def numerical_gradients(f, arrays):
    """The derivatives of a function of arrays that returns a number, by central differences."""
    gradients = []
    for array in arrays:
        gradient = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            kept, values = array[place], []
            for step in (EPS, -EPS):
                array[place] = kept + step
                values.append(f(*arrays))
            array[place] = kept
            gradient[place] = (values[0] - values[1]) / (2 * EPS)
        gradients.append(gradient)
    return gradients


def _filled(gradients, arrays):
    """None, where an output does not depend on an input, is a gradient of zeros."""
    return [np.zeros_like(a) if g is None else g.detach().numpy() for g, a in zip(gradients, arrays, strict=True)]


def check_gradient(f, *arrays, rtol=NUMERICAL_RTOL):
    """minidl's gradient of f, for random cotangents, is the numerical one. Arrays are float64."""
    arrays = [np.array(a, np.float64) for a in arrays]
    leaves = [dl.Tensor(a.copy(), requires_grad=True) for a in arrays]
    outputs = _differentiable(_outputs(f(*leaves)))
    assert outputs, "no output requires a gradient"
    cotangents = [normal(*y.shape, seed=100 + i) for i, y in enumerate(outputs)]
    got = _filled(dl.grad(outputs, leaves, cotangents, allow_unused=True), arrays)

    def weighted(*arrays):
        with dl.no_grad():
            results = [y for y in _outputs(f(*map(dl.Tensor, arrays))) if y.dtype == np.float64]
        return sum(float(np.sum(c * y.data)) for c, y in zip(cotangents, results, strict=True))

    for number, (g, e) in enumerate(zip(got, numerical_gradients(weighted, arrays), strict=True)):
        close(g, e, rtol, f"gradient of input number {number}")


def check_second_gradient(f, *arrays, rtol=NUMERICAL_RTOL):
    """The derivatives of a weighted sum of f's gradients, by inputs and by cotangents, are the numerical ones.

    What is differenced is minidl's first gradient, so this rests on check_gradient, which it runs first.
    """
    check_gradient(f, *arrays, rtol=rtol)
    arrays = [np.array(a, np.float64) for a in arrays]
    with dl.no_grad():
        shapes = [y.shape for y in _outputs(f(*map(dl.Tensor, arrays))) if y.dtype == np.float64]
    arrays += [normal(*shape, seed=100 + i) for i, shape in enumerate(shapes)]
    directions = [normal(*a.shape, seed=200 + i) for i, a in enumerate(arrays[: len(arrays) - len(shapes)])]

    def gradients(arrays, create_graph):
        leaves = [dl.Tensor(a.copy(), requires_grad=True) for a in arrays]
        inputs, cotangents = leaves[: len(directions)], leaves[len(directions) :]
        outputs = _differentiable(_outputs(f(*inputs)))
        firsts = dl.grad(outputs, inputs, cotangents, create_graph=create_graph, allow_unused=True)
        known = [(g, d) for g, d in zip(firsts, directions, strict=True) if g is not None]
        return leaves, *zip(*known, strict=True)

    leaves, firsts, weights = gradients(arrays, True)
    got = _filled(dl.grad(firsts, leaves, weights, allow_unused=True), arrays)

    def weighted(*arrays):
        _, firsts, weights = gradients(arrays, False)
        return sum(float(np.sum(w * g.data)) for w, g in zip(weights, firsts, strict=True))

    for number, (g, e) in enumerate(zip(got, numerical_gradients(weighted, arrays), strict=True)):
        close(g, e, rtol, f"second gradient of input (or, after the inputs, cotangent) number {number}")


# ---- PyTorch -------------------------------------------------------------------------------------------------------


def to_torch(array):
    """A torch Tensor with a contiguous copy of an array."""
    torch = pytest.importorskip("torch")
    return torch.from_numpy(np.array(array, order="C"))


def check_against_torch(f, torch_f, *arrays, rtol=None, atol=0.0, second=True):
    """Values, dtypes, gradients and second gradients of f are those of torch_f, for the same random cotangents.

    Arrays of integers are passed on and not differentiated. The arrays' strides reach minidl as they are. `atol` is for
    derivatives that are zero because terms cancel: rounding remains, which no element of the result can be scaled by.
    """
    torch = pytest.importorskip("torch")
    floating = [a.dtype.kind in "fc" for a in arrays]
    rtol = rtol or max(RTOL[a.dtype] for a in arrays if a.dtype.kind in "fc")
    inputs = [dl.Tensor(a, requires_grad=r) for a, r in zip(arrays, floating, strict=True)]
    torch_inputs = [to_torch(a).requires_grad_(r) for a, r in zip(arrays, floating, strict=True)]
    outputs, torch_outputs = _outputs(f(*inputs)), _outputs(torch_f(*torch_inputs))
    _same(outputs, torch_outputs, rtol, "value")
    if not any(y.requires_grad for y in outputs):
        for y in torch_outputs:
            if y.requires_grad:  # PyTorch records that a step function has gradient zero
                firsts = torch.autograd.grad(y.sum(), [x for x in torch_inputs if x.requires_grad], allow_unused=True)
                assert not any(g is not None and g.any() for g in firsts), "PyTorch has a gradient"
        return

    def differentiate(grad, outputs, inputs, cotangents):
        outputs, inputs = ([x for x in tensors if x.requires_grad] for tensors in (outputs, inputs))
        return grad(outputs, inputs, cotangents, create_graph=second, allow_unused=True)

    weights = [normal(*y.shape, dtype=y.dtype, seed=100 + i) for i, y in enumerate(outputs) if y.requires_grad]
    cotangents = [dl.Tensor(w, requires_grad=True) for w in weights]
    torch_cotangents = [torch.tensor(w, requires_grad=True) for w in weights]
    firsts = differentiate(dl.grad, outputs, inputs, cotangents)
    torch_firsts = differentiate(torch.autograd.grad, torch_outputs, torch_inputs, torch_cotangents)
    _same(firsts, torch_firsts, rtol, "gradient", atol)
    if not second:
        return
    weights = [None if g is None else normal(*g.shape, dtype=g.dtype, seed=200 + i) for i, g in enumerate(firsts)]
    seconds = _weighted(dl.grad, firsts, inputs + cotangents, weights, dl.Tensor)
    torch_seconds = _weighted(
        torch.autograd.grad, torch_firsts, torch_inputs + torch_cotangents, weights, torch.from_numpy
    )
    _same(seconds, torch_seconds, rtol, "second gradient", atol)


def _weighted(grad, firsts, inputs, weights, wrap):
    """The derivatives of the weighted sum of first gradients; of those that are constant there is none."""
    pairs = [(g, wrap(w)) for g, w in zip(firsts, weights, strict=True) if g is not None and w is not None]
    for g, _ in pairs:
        assert g.requires_grad or not np.any(g.detach().numpy()), "a gradient that is not zero has lost its graph"
    if not any(g.requires_grad for g, _ in pairs):
        return [None for x in inputs if x.requires_grad]
    outputs, cotangents = zip(*[(g, w) for g, w in pairs if g.requires_grad], strict=True)
    return grad(outputs, [x for x in inputs if x.requires_grad], cotangents, allow_unused=True)


def _same(got, expected, rtol, what, atol=0.0):
    assert len(got) == len(expected), f"{what}: {len(got)} results, expected {len(expected)}"
    for number, (g, e) in enumerate(zip(got, expected, strict=True)):
        if g is None or e is None:  # no gradient at all counts as zeros
            for other in (g, e):
                assert other is None or not other.detach().sum().item(), f"{what} {number}: {g} is not {e}"
            continue
        e = e.numpy(force=True)
        assert g.dtype == e.dtype, f"{what} {number}: dtype {g.dtype}, expected {e.dtype}"
        close(g.detach().numpy(), e, rtol, f"{what} {number}", atol)


def functional():
    """torch.nn.functional; the test is skipped where PyTorch is missing."""
    return pytest.importorskip("torch").nn.functional


def results(f, *arrays):
    """The value and the gradients, for a random cotangent."""
    leaves = [dl.Tensor(a, True) for a in arrays]
    y = f(*leaves)
    y.backward(normal(*y.shape, dtype=y.dtype, seed=9))
    return [y.data, *(leaf.grad.data for leaf in leaves)]


def same_on_all_forms_threads_and_layouts(f, small, large):
    """`small` as the reference kernel says, behind all strides; `large`, which is worth two threads, bit for bit."""
    first = results(f, *small)
    with dl.use_kernels("reference"):
        for got, expected in zip(first, results(f, *small), strict=True):
            close(got, expected, 1e-12)
    for name, x in layouts(small[0]):
        for got, expected in zip(results(f, x, *small[1:]), first, strict=True):
            assert np.array_equal(got, expected), name
    threads = dl.get_num_threads()
    several = results(f, *large)
    try:
        dl.set_num_threads(1)
        for got, expected in zip(results(f, *large), several, strict=True):
            assert np.array_equal(got, expected)
    finally:
        dl.set_num_threads(threads)
