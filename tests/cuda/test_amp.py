"""Mixed precision on the GPU: which operation computes in what, and a net whose gradients are almost float32's."""

import numpy as np
import pytest
from helpers import close, normal
from test_nets import NETS

import minidl as dl
from minidl import models, nn, ops
from minidl.amp import GradScaler, autocast
from minidl.gradcheck.samples import SAMPLES
from minidl.ops import _autocast

HALF, SINGLE = np.dtype(np.float16), np.dtype(np.float32)
EPS = 2.0**-11  # of half: the greatest relative error of a rounding


def on_gpu(*shape, dtype=SINGLE, seed=0, requires_grad=False):
    return dl.tensor(normal(*shape, seed=seed).astype(dtype), device="cuda").requires_grad_(requires_grad)


# ---- which operation computes in what -----------------------------------------------------------------------------


def test_every_name_of_the_tables_is_an_operation():
    assert {*_autocast.HALF, *_autocast.FLOAT32, *_autocast.REFUSED} <= set(ops.__all__)
    assert not _autocast.HALF & _autocast.FLOAT32


@pytest.mark.parametrize("name", sorted(_autocast.HALF | _autocast.FLOAT32))
def test_the_tables_hold(cupy, name):
    """Every sample of an operation gives the table's dtype, from inputs of the other one."""
    wanted, given = (HALF, SINGLE) if name in _autocast.HALF else (SINGLE, HALF)
    ran = 0
    for sample in SAMPLES.get(name, ()):
        arrays = sample.inputs(np.random.default_rng(0))
        if any(a.dtype.kind == "c" for a in arrays):
            continue
        inputs = [dl.Tensor(a.astype(given) if a.dtype.kind == "f" else a).to("cuda") for a in arrays]
        with autocast():
            y = sample.f(*inputs)
        y = y[0] if isinstance(y, tuple | list) else y
        assert y.dtype == wanted, sample.label
        ran += 1
        if ran == 2:
            break
    assert ran or name not in SAMPLES


def test_methods_and_operators_are_the_operations(cupy):
    x = on_gpu(3, 3)
    with autocast():
        half = x @ x
        assert half.dtype == x.matmul(x).dtype == HALF
        assert {t.dtype for t in (half.sum(), half**2, 2**half, 1 / half, half.exp())} == {SINGLE}
        assert {t.dtype for t in (half + half, half * 2, half / 2, ops.relu(half), half.mean())} == {HALF}
        assert ops.einsum("ij,jk->k", x, x).dtype == HALF  # also the sum over i, which is a part of it
        assert (half + x).dtype == ops.cat([half, x]).dtype == SINGLE  # the wider
        assert (x.double() @ x.double()).dtype == np.float64  # double precision is asked for: it stays
        with autocast(enabled=False):
            assert (x @ x).dtype == SINGLE
            assert half.sum().dtype == HALF
    assert (x @ x).dtype == SINGLE

    @autocast()
    def product(x):
        return x @ x

    assert product(x).dtype == HALF and (x @ x).dtype == SINGLE


def test_float32_is_wide_enough_where_half_is_not(cupy):
    x = dl.tensor(np.full(4, 300.0, np.float16), device="cuda")
    with autocast():
        assert (x**2).tolist() == [90000.0] * 4
        assert dl.tensor(np.full(70000, 1.0, np.float16), device="cuda").sum().item() == 70000.0
        with pytest.raises(RuntimeError, match="binary_cross_entropy: not within autocast"):
            ops.binary_cross_entropy(x, x)


KERNELS_OF_HALF = [
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "batch_norm_relu", "conv2d", "conv2d_relu",
    "conv_transpose2d", "cross_entropy", "dropout", "dropout2d", "erf", "erfc", "gelu", "global_avg_pool2d",
    "group_norm", "layer_norm", "local_response_norm", "log_softmax", "max_pool2d", "softmax",
]  # fmt: skip


# What has a kernel of half on a GPU, and on the CPU NumPy's formula.
BY_NUMPY = [
    "add_relu", "elu", "hardtanh", "leaky_relu", "logsigmoid", "relu", "relu6", "sigmoid", "silu", "softplus", "tanh",
]  # fmt: skip


@pytest.mark.parametrize("name", [*KERNELS_OF_HALF, *BY_NUMPY])
def test_half_is_taken_on_the_gpu_and_refused_on_the_cpu(cupy, name):
    """Value and gradients are those of the same numbers in float32, to the rounding of what is stored."""
    sample = SAMPLES[name][0]
    arrays = [a.astype(HALF) if a.dtype.kind == "f" else a for a in sample.inputs(np.random.default_rng(0))]

    def results(dtype):
        inputs = [dl.Tensor(a.astype(dtype) if a.dtype.kind == "f" else a).to("cuda").detach() for a in arrays]
        for x in inputs:
            x.requires_grad_(x.dtype.kind == "f")
        y = sample.f(*inputs)
        y = y[0] if isinstance(y, tuple) else y
        cotangent = dl.Tensor(normal(*y.shape, seed=1).astype(HALF).astype(y.dtype)).to("cuda")
        leaves = [x for x in inputs if x.requires_grad]
        return [y, *dl.grad(y, leaves, cotangent)]

    for got, expected in zip(results(HALF), results(SINGLE), strict=True):
        assert got.dtype == HALF and expected.dtype == SINGLE
        got = got.detach().cpu().numpy().astype(SINGLE)
        close(got, expected.detach().cpu().numpy(), 20 * EPS, name, atol=20 * EPS)
    if name not in BY_NUMPY:
        with pytest.raises(TypeError, match="float16"):
            sample.f(*(dl.Tensor(a) for a in arrays))


# ---- the graph -----------------------------------------------------------------------------------------------------


def test_a_weight_is_converted_once_and_its_gradient_is_float32(cupy):
    w, x = on_gpu(4, 4, requires_grad=True), on_gpu(3, 4, seed=1)
    names = []
    with dl.function.observe_nodes(lambda node, *_: names.append(node.name)), autocast():
        y = (x @ w) @ w
        loss = y.sum()
    assert names.count("Astype") == 2  # w, and y for the sum
    loss.backward()
    assert w.grad.dtype == SINGLE
    exact = on_gpu(4, 4, requires_grad=True)
    ((x @ exact) @ exact).sum().backward()
    close(w.grad.cpu().numpy(), exact.grad.cpu().numpy(), 8 * EPS)


def test_a_weight_that_changed_is_converted_again(cupy):
    w, x = on_gpu(2, 2, requires_grad=True), on_gpu(2, 2, seed=1)
    with autocast():
        first = x @ w
        with dl.no_grad():
            assert np.array_equal((x @ w).tolist(), first.tolist())
            w.mul_(2.0)
        second = x @ w
    assert np.array_equal(2 * first.detach().cpu().numpy(), second.detach().cpu().numpy())
    with dl.no_grad(), autocast():
        x @ w
        with dl.enable_grad():
            assert (x @ w).requires_grad  # the conversion above was not recorded


def test_backward_within_the_block_and_a_second_derivative(cupy):
    """The backward pass chooses nothing: its dtypes are those of the forward pass."""

    def gradients(create_graph):
        w, x, b = (on_gpu(*shape, seed=len(shape), requires_grad=True) for shape in ((4, 4), (3, 4), (4,)))
        with autocast():
            loss = (ops.linear(x, w, b) ** 2).sum()
            g, _ = dl.grad(loss, [x, b], create_graph=create_graph)  # b's is a sum, of half precision
            assert g.dtype == SINGLE
            if create_graph:
                g.sum().backward()
        return g, w.grad

    plain, _ = gradients(False)
    recorded, grad_w = gradients(True)
    assert np.array_equal(plain.tolist(), recorded.tolist()) and grad_w.dtype == SINGLE


def test_a_checkpoint_runs_again_in_the_same_precision(cupy):
    net = small_net()
    x = on_gpu(4, 2, 6, 6)

    def gradients(run):
        dl.manual_seed(1)
        for p in net.parameters():
            p.grad = None
        with autocast():
            first = net[0](x)  # its weights are converted before the checkpoint, and used within it again
            loss = (run(lambda: net(x)) + first.mean()).sum()
        loss.backward()
        return [p.grad.cpu().numpy() for p in net.parameters()]

    for got, expected in zip(gradients(dl.checkpoint), gradients(lambda f: f()), strict=True):
        close(got, expected, 4 * EPS)


# ---- nets ----------------------------------------------------------------------------------------------------------


def small_net():
    dl.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(36, 5),
    ).to("cuda")  # fmt: skip


def trained(mixed, steps=3):
    net, scaler = small_net(), GradScaler(init_scale=2.0**10, enabled=mixed)
    optimizer = dl.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    x, y = on_gpu(8, 2, 6, 6, seed=3), dl.tensor(np.arange(8) % 5, device="cuda")
    losses, dtypes = [], set()
    dl.manual_seed(1)
    for _ in range(steps):
        with autocast(enabled=mixed):
            output = net(x)
            loss = ops.cross_entropy(output, y)
        dtypes |= {output.dtype, loss.dtype}
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if not losses:
            gradients = [p.grad.data.get() / scaler.get_scale() for p in net.parameters()]
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert all(p.dtype == p.grad.dtype == SINGLE for p in net.parameters())
    return losses, dtypes, gradients


def test_a_net_trains_in_mixed_precision(cupy):
    losses, dtypes, gradients = trained(True)
    exact, _, expected = trained(False)
    assert dtypes == {HALF, SINGLE}
    for got, wanted in zip(gradients, expected, strict=True):
        close(got, wanted, 20 * EPS, atol=20 * EPS)
    close(losses, exact, 20 * EPS)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["lenet", "alexnet", "googlenet"])
def test_nets_of_the_papers(cupy, name):
    """Not the two with batch norms at these sizes: of three images, theirs enlarge any rounding a hundred times."""
    options, size = NETS[name]

    def gradient(mixed):
        dl.manual_seed(1)
        net = models.create(name, **options).to("cuda")
        with autocast(enabled=mixed):
            loss = models.training_loss(net(on_gpu(3, net.in_channels, *size)), dl.tensor([2, 0, 1], device="cuda"))
        (1024.0 * loss).backward()
        return np.concatenate([p.grad.cpu().numpy().ravel() for p in net.parameters() if p.grad is not None])

    exact = gradient(False)
    assert 0 < np.linalg.norm(gradient(True) - exact) < 8 * EPS * np.linalg.norm(exact)


def test_small_gradients_survive_because_the_loss_is_scaled(cupy):
    """1e-9 is less than half of the least number that half precision holds, 6e-8."""
    x = on_gpu(2, 3)
    for scale, alive in ((1.0, False), (2.0**16, True)):
        w, scaler = on_gpu(3, 3, seed=1, requires_grad=True), GradScaler(init_scale=scale)
        with autocast():
            loss = (x @ w).sum() * 1e-9
        scaler.scale(loss).backward()
        scaler.unscale_(dl.optim.SGD([w], 1.0))
        assert bool((w.grad.data != 0).all()) is alive
