"""Adam and AdamW against PyTorch's; what SGD's kernel does with layouts and dtypes is here as well."""

import numpy as np
import pytest
from helpers import close

import minidl as dl
from minidl.optim import SGD, Adam, AdamW

START = np.random.default_rng(1).standard_normal((3, 4))
GRADIENTS = np.random.default_rng(0).standard_normal((6, 3, 4))
OPTIMIZERS = {
    "Adam": (Adam, {}),
    "AdamW": (AdamW, {}),
    "Adam with everything": (Adam, {"betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.1, "amsgrad": True}),
    "AdamW with everything": (AdamW, {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True, "maximize": True}),
    "Adam without memory": (Adam, {"betas": (0.0, 0.0), "lr": 0.1}),
    "SGD": (SGD, {"lr": 0.1}),
    "SGD with everything": (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    "SGD dampened": (SGD, {"lr": 0.1, "momentum": 0.5, "dampening": 0.3}),
}


def run(kind, settings, start=START, gradients=GRADIENTS):
    w = dl.nn.Parameter(start)
    optimizer = kind([w], **settings)
    for g in gradients:
        w.grad = dl.Tensor(g)
        optimizer.step()
    return w.data, optimizer.state[w]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equals_pytorch(name, dtype):
    torch = pytest.importorskip("torch")
    kind, settings = OPTIMIZERS[name]
    w = torch.tensor(START.astype(dtype), requires_grad=True)
    optimizer = getattr(torch.optim, kind.__name__)([w], **settings)
    for g in GRADIENTS:
        w.grad = torch.tensor(g.astype(dtype))
        optimizer.step()
    got, _ = run(kind, settings, START.astype(dtype), GRADIENTS.astype(dtype))
    assert got.dtype == dtype
    close(got, w.detach().numpy(), 1e-5 if dtype == np.float32 else 1e-12)


def test_the_defaults_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name in ("Adam", "AdamW"):
        ours = getattr(dl.optim, name)([dl.nn.Parameter(START.copy())]).param_groups[0]
        theirs = getattr(torch.optim, name)([torch.zeros(1, requires_grad=True)]).param_groups[0]
        for setting in set(ours) - {"params"}:
            assert ours[setting] == theirs[setting], setting


def test_the_first_step_is_as_long_as_the_rate_whatever_the_gradients_size():
    for size in (1e-4, 1.0, 1e6):
        got, _ = run(Adam, {"lr": 0.01, "eps": 0.0}, START.copy(), [size * np.sign(GRADIENTS[0])])
        np.testing.assert_allclose(START - got, 0.01 * np.sign(GRADIENTS[0]), rtol=1e-9)


def test_decoupled_decay_does_not_pass_the_root():
    """Without gradients AdamW's weights shrink as a power; Adam's move by the rate."""
    zeros = np.zeros((5, 3, 4))
    got, _ = run(AdamW, {"lr": 0.1, "weight_decay": 0.2}, START.copy(), zeros)
    np.testing.assert_allclose(got, START * (1 - 0.02) ** 5)
    got, _ = run(Adam, {"lr": 0.1, "weight_decay": 0.2, "eps": 0.0}, START.copy(), zeros[:1])
    np.testing.assert_allclose(got, START - 0.1 * np.sign(START))


def arrangements(array):
    """Equal elements in memory of any order, with gaps, and backwards."""
    wide = np.zeros((7, 9), array.dtype)
    gaps = wide[1::2, 1::2][:3, :4]
    gaps[...] = array
    yield "C", np.array(array, order="C")
    yield "Fortran", np.array(array, order="F")
    yield "gaps", gaps
    yield "backwards", np.array(array[::-1, ::-1], order="C")[::-1, ::-1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_layout_of_parameter_and_gradient(name):
    kind, settings = OPTIMIZERS[name]
    expected, _ = run(kind, settings, START.copy())
    for layout, _ in arrangements(START):
        for gradient_layout, _ in arrangements(START):
            start = dict(arrangements(START))[layout]
            strides = start.strides
            got, _ = run(kind, settings, start, [dict(arrangements(g))[gradient_layout] for g in GRADIENTS])
            assert got is start and got.strides == strides
            np.testing.assert_allclose(got, expected, rtol=1e-12, err_msg=f"{layout}, {gradient_layout}")


def test_nothing_is_copied_where_the_strides_agree():
    """The state of a transposed weight is transposed, and stays the same array from step to step."""
    w = dl.nn.Parameter(np.array(START, order="F"))
    optimizer = Adam([w])
    states = []
    for g in GRADIENTS[:2]:
        w.grad = dl.Tensor(np.array(g, order="F"))
        optimizer.step()
        states.append(optimizer.state[w]["exp_avg"].data)
    assert states[0] is states[1] and states[0].strides == w.data.strides


def test_a_read_only_gradient_and_a_number():
    g = GRADIENTS[0].copy()
    g.flags.writeable = False
    for name, (kind, settings) in OPTIMIZERS.items():
        got, _ = run(kind, settings, START.copy(), [g])
        assert np.array_equal(got, run(kind, settings, START.copy(), GRADIENTS[:1])[0]), name
        number, _ = run(kind, settings, np.array(START[0, 0]), [np.array(GRADIENTS[0, 0, 0])])
        np.testing.assert_allclose(number, got[0, 0], rtol=1e-12)


@pytest.mark.parametrize("name", ["Adam with everything", "AdamW", "SGD with everything"])
def test_a_saved_optimizer_goes_on_as_if_it_had_not_stopped(name):
    """Also where the state that is loaded lies in memory in another order."""
    kind, settings = OPTIMIZERS[name]
    expected, _ = run(kind, settings, START.copy())
    w = dl.nn.Parameter(START.copy())
    first = kind([w], **settings)
    for g in GRADIENTS[:3]:
        w.grad = dl.Tensor(g)
        first.step()
    twin = dl.nn.Parameter(np.array(w.data, order="F"))
    second = kind([twin], lr=5.0)
    second.load_state_dict(first.state_dict())
    for g in GRADIENTS[3:]:
        twin.grad = dl.Tensor(g)
        second.step()
    np.testing.assert_allclose(twin.data, expected, rtol=1e-12)


def test_half_precision_is_left_to_numpy():
    got, state = run(SGD, {"lr": 0.1, "momentum": 0.9}, START.astype(np.float16), GRADIENTS.astype(np.float16))
    expected, _ = run(SGD, {"lr": 0.1, "momentum": 0.9}, START.copy())
    assert got.dtype == state["momentum_buffer"].dtype == np.float16
    np.testing.assert_allclose(got, expected, atol=0.02)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_threads_change_no_bit_and_the_reference_agrees(name):
    kind, settings = OPTIMIZERS[name]
    rng, before, results = np.random.default_rng(0), dl.get_num_threads(), []
    start, gradients = rng.standard_normal(200_003).astype(np.float32), rng.standard_normal((3, 200_003), np.float32)
    for form, threads in (("reference", 1), ("cpu", 1), ("cpu", before)):
        try:
            dl.set_num_threads(threads)
            with dl.use_kernels(form):
                results.append(run(kind, settings, start.copy(), gradients)[0])
        finally:
            dl.set_num_threads(before)
    assert np.array_equal(results[1], results[2])
    close(results[1], results[0], 1e-5)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"lr": -1}, "lr must be at least 0, got -1"),
        ({"eps": -1e-8}, "eps must be at least 0"),
        ({"weight_decay": float("nan")}, "weight_decay must be at least 0, got nan"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers from 0 to less than 1, got \(0.9, 1.0\)"),
        ({"betas": (0.9,)}, "betas must be two numbers"),
    ],
)
@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_settings_out_of_range(kind, settings, message):
    with pytest.raises(ValueError, match=f"{kind.__name__}: {message}"):
        kind([dl.nn.Parameter(START.copy())], **settings)
