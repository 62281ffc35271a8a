"""An optimizer's step on a GPU: one launch for all parameters, with the results of the CPU's reference."""

import numpy as np
import pytest
from checks import RTOL
from emulator import execution
from helpers import close, normal

import minidl as dl
from minidl.kernels import _cuda

SIZES = (5, 0, 1, 1024, 1025, 3000, 1)  # around the length of a piece, which is 1024
OPTIMIZERS = {
    "momentum": lambda p: dl.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "SGD": lambda p: dl.optim.SGD(p, 0.1),
    "Adam": lambda p: dl.optim.Adam(p, 0.1),
    "AdamW": lambda p: dl.optim.AdamW(p, 0.1, amsgrad=True),
}


def parameters(device, dtype):
    return [dl.Tensor(normal(n, seed=n).astype(dtype)).to(device).detach().requires_grad_() for n in SIZES]


def stepped(make, device, dtype, steps=2):
    """The parameters after some steps."""
    weights = parameters(device, dtype)
    optimizer = make(weights)
    for step in range(steps):
        for w in weights:
            w.grad = dl.Tensor(normal(w.numel(), seed=100 * step + w.numel()).astype(dtype)).to(device)
        optimizer.step()
    return [w.detach().cpu().numpy() for w in weights]


@pytest.fixture
def launches(monkeypatch):
    """The names of the kernels that are launched."""
    names, launch = [], _cuda.Source.launch

    def noted(self, kernel, *args, **options):
        names.append(f"{self.path}.{kernel}")
        return launch(self, kernel, *args, **options)

    monkeypatch.setattr(_cuda.Source, "launch", noted)
    return names


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_parameters_in_one_launch(name, dtype, cupy, launches):
    got = stepped(OPTIMIZERS[name], "cuda", dtype)
    assert launches == ["sgd.step" if name in ("momentum", "SGD") else "adam.step"] * 2
    wide = "float32" if dtype == "float16" else dtype
    with dl.use_kernels("reference"):
        expected = stepped(OPTIMIZERS[name], "cpu", wide)
    for g, e in zip(got, expected, strict=True):
        assert g.dtype == dtype
        close(g.astype(wide), e, RTOL[dtype], name, atol=3 * RTOL[dtype])


def test_a_scaler_takes_one_launch_for_all_gradients(cupy, launches):
    """In any order of memory; one with gaps goes without the kernel. An infinity at the end of any is found."""
    arrays = [normal(n, seed=n).astype(np.float32) for n in SIZES] + [normal(6, 8).astype(np.float32)]
    weights = [dl.tensor(a, device="cuda").requires_grad_() for a in arrays[:-1]]
    weights += [dl.tensor(np.zeros(shape, np.float32), device="cuda").requires_grad_() for shape in ((8, 6), (6, 4))]
    for bad in (None, *(k for k, w in enumerate(weights) if w.numel())):
        scaler, optimizer = dl.amp.GradScaler(init_scale=8.0), dl.optim.SGD(weights, 0.0)
        gradients = [cupy.asarray(a) for a in arrays]
        gradients[-1:] = gradients[-1].T, gradients[-1].copy()[:, ::2]
        for k, (w, g) in enumerate(zip(weights, gradients, strict=True)):
            if bad == k:
                g[(-1,) * g.ndim] = np.inf if k % 2 else np.nan
            w.grad = dl.Tensor(g)
        launches.clear()
        scaler.unscale_(optimizer)
        assert launches == ["unscale.forward"]
        for k, (w, a) in enumerate(zip(weights, [*arrays[:-1], arrays[-1].T, arrays[-1][:, ::2]], strict=True)):
            if bad != k:
                assert np.array_equal(w.grad.cpu().numpy(), a / 8)
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == (8.0 if bad is None else 4.0)


def test_no_two_threads_change_one_element(cupy):
    with execution(sanitizer="thread"):
        stepped(OPTIMIZERS["AdamW"], "cuda", "float32", steps=1)


def test_a_launch_for_each_dtype_and_each_set_of_settings(cupy, launches):
    """A parameter that had no gradient before is at its first step: its velocity begins undampened."""
    weights = [*parameters("cuda", "float32"), *parameters("cuda", "float64")]
    optimizer = dl.optim.SGD([{"params": weights[1:]}, {"params": weights[:1], "lr": 0.2}], 0.1, 0.9, dampening=0.5)
    late = weights[-1]
    for step in (1, 2):
        for w in weights:
            w.grad = None if step == 1 and w is late else dl.Tensor(np.ones(w.shape, w.dtype)).to("cuda")
        launches.clear()
        optimizer.step()
        assert len(launches) == (3 if step == 1 else 4)
    start = normal(1, seed=1)
    # Twice 1: v = 1, then 0.9 + 0.5. Once: v = 1.
    close(weights[2].detach().cpu().numpy(), start.astype(np.float32) - np.float32(0.1 * 2.4), 1e-6)
    close(late.detach().cpu().numpy(), start - 0.1, 1e-12)


def test_gradients_and_parameters_in_any_order_of_memory(cupy):
    """Copies that a launch needs are there until it is done, and a parameter with gaps is written back."""

    def trained(weights, gradients):
        weights = [w.requires_grad_() for w in weights]
        for w, g in zip(weights, gradients, strict=True):
            w.grad = dl.Tensor(g)
        dl.optim.SGD(weights[1:], 0.1, momentum=0.9).step()
        dl.optim.Adam(weights[:1], 0.1).step()
        return [w.detach().cpu().numpy() for w in weights]

    w, g = normal(6, 8, seed=1), normal(6, 8, seed=2)

    def arranged(a):
        return [a[::2], a.copy().T, a.copy()[1::2, 1::3]]

    rows = [[dl.Tensor(np.ascontiguousarray(part)) for part in arranged(a)] for a in (w, g)]
    with dl.use_kernels("reference"):
        expected = trained(rows[0], [t.data for t in rows[1]])
    on_gpu = cupy.asarray(w), cupy.asarray(g)
    got = trained([dl.Tensor(part) for part in arranged(on_gpu[0])], arranged(on_gpu[1]))
    for a, b in zip(got, expected, strict=True):
        close(a, b, 1e-12)
