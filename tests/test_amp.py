"""GradScaler against PyTorch's, run beside it, and against its rules; autocast's tables, and where there is no GPU."""

import re
from pathlib import Path

import numpy as np
import pytest

import minidl as dl
from minidl import ops
from minidl.amp import GradScaler, autocast
from minidl.ops import _autocast

GOOD, INFINITE, NAN = 1.0, np.inf, np.nan


def weight(values=(1.0, -2.0), gradient=None):
    w = dl.nn.Parameter(np.array(values, np.float32))
    w.grad = None if gradient is None else dl.Tensor(np.array(gradient, np.float32))
    return w


def trained(scaler, optimizer, w, gradients, record):
    """What `record` gives after each step: the gradients come scaled, and with one element as given."""
    for g in gradients:
        w.grad = g
        scaler.step(optimizer)
        scaler.update()
        yield record()


@pytest.mark.parametrize("settings", [
    {},
    {"init_scale": 8.0, "growth_interval": 3},
    {"init_scale": 1e38, "growth_interval": 1, "growth_factor": 1.7, "backoff_factor": 0.3},
    {"enabled": False},
], ids=["defaults", "short interval", "at the end of float32", "not enabled"])  # fmt: skip
def test_scale_and_weights_are_pytorchs(settings):
    torch = pytest.importorskip("torch")
    ours, theirs = GradScaler(**settings), torch.amp.GradScaler("cpu", **settings)
    w, v = weight(), torch.tensor([1.0, -2.0], requires_grad=True)
    theirs.scale(torch.zeros(1))  # before which it has no scale
    optimizer, other = dl.optim.SGD([w], 0.1, momentum=0.9), torch.optim.SGD([v], 0.1, momentum=0.9)
    kinds = np.random.default_rng(0).choice([GOOD, INFINITE, NAN], 40, p=[0.8, 0.1, 0.1])
    gradients = [np.array([3.0, kind], np.float32) for kind in kinds]

    def theirs_record():
        return theirs.get_scale(), v.detach().numpy().copy(), theirs.state_dict()

    expected = trained(theirs, other, v, map(torch.tensor, gradients), theirs_record)
    got = trained(
        ours, optimizer, w, map(dl.tensor, gradients), lambda: (ours.get_scale(), w.data.copy(), ours.state_dict())
    )
    scales = set()
    with np.errstate(invalid="ignore"):
        for (scale, weights, state), (scale2, weights2, state2) in zip(got, expected, strict=True):
            assert scale == pytest.approx(scale2, rel=1e-5)
            np.testing.assert_allclose(weights, weights2, rtol=1e-5)
            assert state == pytest.approx(state2, rel=1e-5)
            scales.add(scale)
    assert len(scales) > 2 or not settings.get("enabled", True)


def test_a_step_that_is_not_finite_is_skipped_and_the_scale_falls():
    scaler, w = GradScaler(init_scale=4.0, growth_interval=2), weight()
    optimizer = dl.optim.SGD([w, weight(gradient=[0.0, 0.0])], 1.0)
    steps = [([4.0, 8.0], [0.0, -4.0], 4.0), ([np.inf, 0.0], [0.0, -4.0], 2.0), ([2.0, 0.0], [-1.0, -4.0], 2.0),
             ([2.0, 0.0], [-2.0, -4.0], 4.0)]  # fmt: skip
    for gradient, weights, scale in steps:
        w.grad = dl.Tensor(np.array(gradient, np.float32))
        scaler.step(optimizer)
        scaler.update()
        assert w.tolist() == weights and scaler.get_scale() == scale


def test_two_optimizers_share_a_scale_and_are_skipped_each_on_its_own():
    a, b = weight(gradient=[2.0, 2.0]), weight(gradient=[np.inf, 2.0])
    scaler, optimizers = GradScaler(init_scale=2.0), [dl.optim.SGD([w], 1.0) for w in (a, b)]
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()
    assert a.tolist() == [0.0, -3.0] and b.tolist() == [1.0, -2.0] and scaler.get_scale() == 1.0


def test_the_loss_is_scaled_and_gradients_unscaled_to_be_clipped():
    w, scaler = weight(), GradScaler(init_scale=1024.0)
    optimizer = dl.optim.SGD([w], 1.0)
    first, (second,) = scaler.scale(w.sum()), scaler.scale([(3 * w).sum()])
    assert first.item() == -1024.0 and second.item() == -3072.0
    (first + second).backward()
    assert w.grad.tolist() == [4096.0, 4096.0]
    scaler.unscale_(optimizer)
    assert w.grad.tolist() == [4.0, 4.0]
    w.grad.data.clip(-1, 1, out=w.grad.data)
    scaler.step(optimizer)
    assert w.tolist() == [0.0, -3.0]


def test_not_enabled_it_leaves_everything_alone():
    w, scaler = weight(gradient=[np.inf, 1.0]), GradScaler(enabled=False)
    optimizer, loss = dl.optim.SGD([w], 1.0), w.sum()
    assert scaler.scale(loss) is loss and scaler.get_scale() == 1.0 and not scaler.is_enabled()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert w.tolist() == [-np.inf, -3.0] and scaler.state_dict() == {}
    scaler.load_state_dict({})


def test_a_saved_scaler_goes_on():
    first, second, w = GradScaler(init_scale=2.0, growth_interval=3), GradScaler(), weight()
    optimizer = dl.optim.SGD([w], 0.0)
    for scaler, scales in ((first, [2.0, 2.0]), (second, [4.0, 4.0])):
        for expected in scales:
            w.grad = dl.Tensor(np.ones(2, np.float32))
            scaler.step(optimizer)
            scaler.update()
            assert scaler.get_scale() == expected
        second.load_state_dict(first.state_dict())
    second.update(new_scale=5)
    assert second.get_scale() == 5.0


def test_what_is_called_in_the_wrong_order():
    w, scaler = weight(), GradScaler()
    optimizer = dl.optim.SGD([w], 1.0)
    with pytest.raises(RuntimeError, match=r"update: call step\(\) or unscale_\(\) before it"):
        scaler.update()
    with pytest.raises(RuntimeError, match="no parameter of the optimizer has a gradient"):
        scaler.step(optimizer)
    w.grad = dl.Tensor(np.ones(2, np.float32))
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="unscale_: called twice"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="step: called twice"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="has stepped since the last"):
        scaler.unscale_(optimizer)
    half = dl.nn.Parameter(np.ones(2, np.float16))
    half.grad = dl.Tensor(np.ones(2, np.float16))
    with pytest.raises(TypeError, match="gradients are float16; keep the weights in float32"):
        scaler.unscale_(dl.optim.SGD([half], 1.0))


def test_arguments():
    for options, message in [
        ({"init_scale": 0}, "init_scale must be positive, got 0"),
        ({"growth_factor": 1}, "growth_factor must be more than 1, got 1"),
        ({"backoff_factor": 1.0}, "backoff_factor must be between 0 and 1, got 1.0"),
        ({"growth_interval": 0}, "growth_interval must be at least 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            GradScaler(**options)
    with pytest.raises(ValueError, match="new_scale must be positive, got -1"):
        GradScaler().update(-1)
    with pytest.raises(TypeError, match="outputs must be Tensors, got float"):
        GradScaler().scale(1.0)
    with pytest.raises(RuntimeError, match="the state is empty"):
        GradScaler().load_state_dict({})
    with pytest.raises(ValueError, match="device_type 'cpu' computes in float32 alone"):
        autocast("cpu")
    with pytest.raises(ValueError, match="device_type must be 'cuda' or 'cpu', got 'tpu'"):
        autocast("tpu")
    with pytest.raises(ValueError, match="dtype must be float16, got float32"):
        autocast(dtype=np.float32)


def test_tensors_on_the_cpu_stay_as_they_are():
    w = weight()
    with autocast(), autocast("cpu", enabled=False):
        assert (w @ w).dtype == np.float32
    with autocast():
        assert (w @ w).dtype == np.float32
        assert dl.tensor([1.0, 2.0], dtype=np.float16).sum().dtype == np.float16


# Operations that in PyTorch are made of listed ones, or that it does not have.
OURS = {
    "conv2d_relu", "linear_relu",  # with a relu that takes what it is given
    "cross_entropy",  # log_softmax, nll_loss
    "local_response_norm",  # pow
    "normalize", "vector_norm",  # linalg_vector_norm
    "softmin",  # softmax
    "square",  # pow
}  # fmt: skip


def test_the_tables_are_those_of_pytorchs_header():
    torch = pytest.importorskip("torch")
    header = (Path(torch.__file__).parent / "include" / "ATen" / "autocast_mode.h").read_text()

    def listed(*macros):
        found = set()
        for macro in macros:
            lines = re.search(rf"#define AT_FORALL_{macro}\(_\)((?:.*\\\n)+.*)", header)[1]
            found |= set(re.findall(r"\b_\((?:ADD_NS\()?(\w+)", lines))
        return found

    half = listed("LOWER_PRECISION_FP")
    single = listed("FP32", "FP32_SET_OPT_DTYPE", "DIFFERENT_REDISPATCH_SIGNATURE")
    assert {"conv2d", "linear"} <= half and {"exp", "sum", "norm"} <= single and "tensordot" in listed("PROMOTE")
    exist = set(ops.__all__)
    assert half & exist == _autocast.HALF - OURS
    assert single & exist == _autocast.FLOAT32 - OURS
    assert OURS <= (_autocast.HALF | _autocast.FLOAT32) - half - single
