"""What a user sees of devices: to, cuda and cpu; errors where devices mix or are missing."""

import subprocess
import sys

import numpy as np
import pytest
from checks import on
from helpers import normal

import minidl as dl
from minidl import nn

# ---- Tensors -------------------------------------------------------------------------------------------------------


def test_a_tensor_goes_there_and_back(cupy):
    x = on("cpu", 2, 3)
    there = x.to("cuda")
    assert x.device == "cpu" and there.device == "cuda:0" and type(there.data) is cupy.ndarray
    assert (
        there.to("cuda") is there.to("cuda:0") is there.cuda() is there.cuda(0) is there and x.cpu() is x.to("cpu") is x
    )
    assert np.array_equal(there.cpu().numpy(), x.numpy()) and there.cpu().device == "cpu"
    assert (x.to("cuda", np.float64).dtype, x.to(np.float64, "cuda").device) == (np.float64, "cuda:0")
    like = on("cuda", 1, dtype=np.float64)
    assert (x.to(like).dtype, x.to(like).device) == (np.float64, "cuda:0")
    assert dl.tensor(there, device="cpu").tolist() == dl.tensor(there).tolist() == x.tolist()
    assert dl.tensor(there).data is not there.data and dl.tensor(there).device == "cuda:0"
    assert dl.tensor([1, 2], device="cuda").dtype == np.int64
    with pytest.raises(ValueError, match="tensor: device must be 'cpu', 'cuda' or 'cuda:' and a number, got 'gpu'"):
        dl.tensor(1.0, device="gpu")


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 2, 3, 1), (2, 3, 1, 0), (3, 2, 1, 0)])
def test_the_order_of_axes_in_memory_goes_along(cupy, axes):
    array = normal(2, 3, 4, 5).transpose(axes).copy().transpose(np.argsort(axes))
    there = dl.Tensor(array).to("cuda")
    assert there.data.strides == array.strides == there.cpu().data.strides
    assert np.array_equal(there.cpu().numpy(), array)


def test_images_stay_channels_last_where_cupy_would_lay_them_out_in_rows(cupy):
    def layouts(device):
        x = dl.Tensor(normal(2, 4, 5, 3).transpose(0, 3, 1, 2)).to(device).detach().requires_grad_()
        z = x.clone()
        y = dl.ops.cat([z.relu(), z.relu()], 1)  # the gradient of z has two terms
        y.backward(dl.Tensor(normal(2, 4, 5, 6).transpose(0, 3, 1, 2)).to(device))
        return y.data.strides, x.grad.data.strides

    assert layouts("cuda") == layouts("cpu") == ((960, 8, 240, 48), (480, 8, 120, 24))


@pytest.mark.parametrize("alike", [True, False], ids=["alike", "another layout"])
def test_gradients_that_meet_are_added_in_the_order_of_memory(alike, cupy, monkeypatch):
    sizes, kernel = [], dl.kernels.add.forward
    monkeypatch.setattr(dl.kernels.add, "forward", lambda *args: sizes.append([a.shape for a in args]) or kernel(*args))
    image, g, h = (normal(2, 4, 5, 3, seed=seed).transpose(0, 3, 1, 2) for seed in range(3))
    x = dl.Tensor(image).cuda().detach().requires_grad_()
    z = x.clone()
    outputs = z.relu(), z.relu() if alike else z * 2  # CuPy has the product's gradient in rows
    (gx,) = dl.grad(outputs, x, (dl.Tensor(g).cuda(), dl.Tensor(h).cuda()))
    np.testing.assert_allclose(gx.cpu().numpy(), g * (image > 0) + h * ((image > 0) if alike else 2), rtol=1e-6)
    assert sizes == ([[(120,)] * 3] if alike else [])


@pytest.mark.parametrize(
    "array",
    [np.float32(3), np.zeros((0, 3)), normal(4, 3)[::-2, 1:], np.broadcast_to(normal(3), (2, 3)), np.arange(3), [True]],
    ids=["0-d", "empty", "sliced", "expanded", "int64", "bool"],
)
def test_every_array_goes_there_and_back(cupy, array):
    x = dl.Tensor(array)
    back = x.to("cuda").cpu()
    assert back.dtype == x.dtype and back.shape == x.shape and np.array_equal(back.numpy(), x.numpy())


def test_the_gradient_comes_back(cupy):
    x = on("cpu", 2, 3, requires_grad=True)
    (x.to("cuda") * on("cuda", 3, seed=1)).sum().backward()
    assert x.grad.device == "cpu"
    assert np.array_equal(x.grad.numpy(), np.broadcast_to(on("cpu", 3, seed=1).numpy(), (2, 3)))
    (second,) = dl.grad(dl.grad((x.cuda() ** 3).sum(), x, create_graph=True)[0].cuda().sum(), x)
    assert np.allclose(second.numpy(), 6 * x.detach().numpy())


def test_numbers_and_text(cupy):
    x = dl.tensor([[1.5, 2.0]], device="cuda")
    assert repr(x) == "tensor([[1.5, 2. ]], device='cuda:0')" and x.tolist() == [[1.5, 2.0]]
    y = x.sum()
    assert (y.item(), float(y), int(y), bool(y), f"{y:.2f}") == (3.5, 3.5, 3, True, "3.50") and type(y.item()) is float
    assert [10, 20, 30][dl.tensor(1, device="cuda")] == 20 and len(x) == 1 and x.size() == (1, 2)
    for call in (x.numpy, lambda: np.asarray(x)):
        with pytest.raises(TypeError, match=r"numpy\(\): this Tensor is on cuda:0; call .cpu\(\) first"):
            call()


def test_a_second_gpu(cupy):
    if dl.cuda.device_count() < 2:
        pytest.importorskip("stand_in").install(devices=2)
    x = dl.tensor([1.0, 2.0], device="cuda:1")
    assert (x.device, x.to("cuda").device, x.cuda(0).tolist()) == ("cuda:1", "cuda:0", [1, 2])
    with dl.cuda.device(1):
        assert dl.tensor([1.0], device="cuda").device == "cuda:1" and (x + x).device == "cuda:1"
    with pytest.raises(RuntimeError, match="cuda: there is no cuda:7, this machine has 2 GPUs"):
        x.to("cuda:7")


# ---- devices that mix ----------------------------------------------------------------------------------------------


def put(x, index, value):
    x[index] = value


MIXED = {
    "add": (lambda c, g: c + g, "add: input is on cpu, other on cuda:0"),
    "add, the other way": (lambda c, g: g + c, "add: input is on cuda:0, other on cpu"),
    "an array of NumPy's": (lambda c, g: g * c.numpy(), "mul: input is on cuda:0, other on cpu"),
    "comparison": (lambda c, g: c < g, "lt: input is on cpu, other on cuda:0"),
    "isclose": (lambda c, g: c.isclose(g), "isclose: input is on cpu, other on cuda:0"),
    "equal": (lambda c, g: c.equal(g), "equal: input is on cpu, other on cuda:0"),
    "where": (lambda c, g: dl.ops.where(c > 0, g, 0.0), "Where: input 0 is on cpu, input 1 on cuda:0"),
    "matmul": (lambda c, g: c @ g.mT, "MatMul: input 0 is on cpu, input 1 on cuda:0"),
    "linear": (lambda c, g: dl.ops.linear(g, c), "Linear: input 0 is on cuda:0, input 1 on cpu"),
    "linear's bias": (lambda c, g: dl.ops.linear(g, g, c[0, :2]), "Linear: input 0 is on cuda:0, input 2 on cpu"),
    "cat": (lambda c, g: dl.ops.cat([c, g]), "Cat: input 1 is on cpu, input 2 on cuda:0"),
    "stack": (lambda c, g: dl.ops.stack([g, c]), "Cat: input 1 is on cuda:0, input 2 on cpu"),
    "conv2d": (lambda c, g: dl.ops.conv2d(c.reshape(1, 1, 2, 3), g.reshape(1, 1, 2, 3)), "Conv2d: input 0 is on cpu"),
    "maximum": (lambda c, g: g.maximum(c), "maximum: input is on cuda:0, other on cpu"),
    "einsum": (lambda c, g: dl.ops.einsum("ij,ij->i", c, g), "Contract: input 0 is on cpu, input 2 on cuda:0"),
    "an index": (lambda c, g: g[dl.tensor([0])], "an index is on cpu, what it indexes on cuda:0"),
    "gather": (lambda c, g: c.gather(0, dl.tensor([[0]]).cuda()), "gather: input is on cpu, index on cuda:0"),
    "a value": (lambda c, g: put(g, 0, c[0]), "setitem: the value is on cpu, the Tensor on cuda:0"),
    "in place": (lambda c, g: g.add_(c), "add: input is on cuda:0, other on cpu"),
    "nll_loss": (lambda c, g: dl.ops.nll_loss(g, dl.tensor([0, 1])), "nll_loss: input is on cuda:0, target on cpu"),
    "cross_entropy": (lambda c, g: dl.ops.cross_entropy(g, dl.tensor([0, 1])), "cross_entropy: input is on cuda:0"),
    "batch_norm": (lambda c, g: dl.ops.batch_norm(g, c[0], c[0] ** 2), "batch_norm: input is on cuda:0, running_mean"),
    "a gradient": (
        lambda c, g: c.requires_grad_().sum(0).backward(g[0]),
        "gradient of the output is on cuda:0, it must",
    ),
    ".grad": (lambda c, g: setattr(c.requires_grad_(), "grad", g), "grad is on cuda:0, it must be on cpu"),
}


@pytest.mark.parametrize("name", MIXED)
def test_devices_that_mix_are_named(cupy, name):
    call, message = MIXED[name]
    with pytest.raises(RuntimeError, match=message), dl.use_kernels("reference"):
        call(on("cpu", 2, 3), on("cuda", 2, 3))


def test_an_error_that_is_not_about_devices_stays(cupy):
    class Mixes(dl.Function):
        @staticmethod
        def forward(ctx, x):
            return x + np.ones(2)

    with pytest.raises(TypeError, match="Unsupported type"):
        Mixes.apply(on("cuda", 2))


# ---- changes in place, indices -------------------------------------------------------------------------------------


def test_changes_in_place_are_followed_through_views(cupy):
    def gradient(device):
        w = on(device, 4, 3, requires_grad=True)
        y = w * 2
        y[1:3].mul_(on(device, 2, 3, seed=1))
        y[0] = 5.0
        (y * y).sum().backward()
        return w.grad.cpu().numpy()

    assert np.allclose(gradient("cuda"), gradient("cpu"))


def test_what_was_saved_and_changed_is_found(cupy):
    x = on("cuda", 3, requires_grad=True)
    y = x.exp()
    z = y * y
    with dl.no_grad():
        y.zero_()
    with pytest.raises(RuntimeError, match="changed in place afterwards by zero_"):
        z.sum().backward()


def test_of_values_that_meet_the_last_stands_and_gradients_that_meet_add_up(cupy):
    index = [0, 2, 2, 0, 1, 2]
    x = dl.tensor(np.zeros(3), device="cuda")
    x[index] = dl.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dtype=np.float64, device="cuda")
    assert x.tolist() == [4, 5, 6]
    w = on("cuda", 3, 2, dtype=np.float64, requires_grad=True)
    cotangent = normal(6, 2, seed=1)
    w[index].backward(dl.tensor(cotangent, device="cuda"))
    expected = np.zeros((3, 2))
    np.add.at(expected, index, cotangent)
    assert np.array_equal(w.grad.cpu().numpy(), expected)  # to the last bit: the order is the same
    for dtype in (np.int8, np.int64, np.complex128):
        numbers = normal(6, 2, seed=2, dtype=dtype if dtype is np.complex128 else np.float64)
        source = dl.Tensor((50 * numbers).astype(dtype))
        zeros, places = dl.Tensor(np.zeros((3, 2), dtype)), dl.tensor(index)
        there = zeros.cuda().index_add(0, places.cuda(), source.cuda())
        assert there.tolist() == zeros.index_add(0, places, source).tolist()


def test_an_index_out_of_range_is_an_error_as_on_the_cpu(cupy):
    x = on("cuda", 3)
    with pytest.raises(IndexError, match="out of range|out of bounds"):
        x[3]
    for call in (
        lambda: x.index_select(0, dl.tensor([3], device="cuda")),
        lambda: x[[0, 3]],
        lambda: put(x, [-4], 1.0),
    ):
        with pytest.raises(IndexError, match="out of range|out of bounds"):
            call()


def test_nothing_waits_while_a_graph_is_captured(cupy, monkeypatch):
    """Checks of values are left out: what they would wait for is not computed yet."""
    stand_in = pytest.importorskip("stand_in")
    x, index = on("cuda", 4, 3), dl.tensor([0, 2, 1, 1], device="cuda")
    monkeypatch.setattr(stand_in.work.Stream, "is_capturing", lambda self: True)
    stand_in.work.fault(700)  # every wait fails
    try:
        results = [x[index], x.gather(1, index.reshape(4, 1)), x.index_select(0, index), dl.ops.nll_loss(x, index)]
        results.append(dl.ops.binary_cross_entropy(x.sigmoid(), x.sigmoid()))
        assert all(y.device == "cuda:0" for y in results)
    finally:
        stand_in.work.recover()


def test_expanded_memory_is_not_written_to(cupy):
    with pytest.raises(RuntimeError, match="memory is read-only"):
        on("cuda", 1, 3).expand(2, 3).add_(1.0)


# ---- modules, optimizers, files ------------------------------------------------------------------------------------


def net():
    dl.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_a_module_takes_parameters_and_buffers_along(cupy):
    model = net()
    parameters = list(model.parameters())
    model[0](on("cpu", 5, 3)).sum().backward()
    before = [p.detach().numpy().copy() for p in parameters]
    assert model.to("cuda") is model.cuda() is model
    assert all(p is q for p, q in zip(model.parameters(), parameters, strict=True))
    assert {t.device for t in (*model.parameters(), *model.buffers(), model[0].weight.grad)} == {"cuda:0"}
    assert model[0].weight.data.strides == (4, 16)  # as before: the memory of (in, out)
    assert model.to("cuda", np.float64)[1].running_mean.dtype == np.float64
    for p, array in zip(model.cpu().float().parameters(), before, strict=True):
        assert p.device == "cpu" and np.array_equal(p.detach().numpy(), array)


def test_weights_cross_devices_by_state_dict_and_by_file(cupy, tmp_path):
    there, here = net().cuda(), net()
    with dl.no_grad():
        there[0].weight.add_(1.0)
    dl.save(there.state_dict(), tmp_path / "net.safetensors")
    for state in (there.state_dict(), dl.load(tmp_path / "net.safetensors")):
        here.load_state_dict(net().state_dict())
        here.load_state_dict(state)
        assert here[0].weight.device == "cpu"
        assert np.array_equal(here[0].weight.detach().numpy(), there[0].weight.detach().cpu().numpy())
    there.load_state_dict(net().state_dict())
    assert there[0].weight.device == "cuda:0"
    assert np.array_equal(there[0].weight.detach().cpu().numpy(), net()[0].weight.detach().numpy())


@pytest.mark.parametrize("make", [
    lambda p: dl.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    lambda p: dl.optim.SGD(p, 0.1),
    lambda p: dl.optim.Adam(p, 0.1),
    lambda p: dl.optim.AdamW(p, 0.1, amsgrad=True),
], ids=["momentum", "SGD", "Adam", "AdamW"])  # fmt: skip
def test_an_optimizer_works_where_its_parameters_are(cupy, make):
    def trained(device):
        w = nn.Parameter(normal(3, 2).astype(np.float32)).to(device).detach().requires_grad_()
        optimizer = make([w])
        for seed in (1, 2, 3):
            w.grad = on(device, 3, 2, seed=seed)
            optimizer.step()
        saved = optimizer.state_dict()
        assert all(t.device == w.device for t in optimizer.state[w].values() if isinstance(t, dl.Tensor))
        return w, saved

    with dl.use_kernels("reference"):
        here, state = trained("cpu")
    there, _ = trained("cuda")
    assert np.allclose(there.detach().cpu().numpy(), here.detach().numpy(), rtol=1e-6)
    other = make([there])
    other.load_state_dict(state)  # from the CPU
    assert all(t.device == "cuda:0" for t in other.state[there].values() if isinstance(t, dl.Tensor))


def test_initial_weights_are_the_same_on_both_devices(cupy):
    for fill in (nn.init.kaiming_normal_, nn.init.orthogonal_, nn.init.ones_, lambda t: nn.init.constant_(t, 3)):
        dl.manual_seed(3)
        here = fill(dl.tensor(np.zeros((4, 3), np.float32)))
        dl.manual_seed(3)
        assert fill(dl.tensor(np.zeros((4, 3), np.float32), device="cuda")).tolist() == here.tolist()


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 4, 5)])
def test_dropout_has_the_same_mask_on_both_devices(cupy, shape):
    def dropped(device):
        dl.manual_seed(5)
        return dl.ops.dropout(on(device, *shape), 0.4).cpu().numpy()

    with dl.use_kernels("reference"):
        here = dropped("cpu")
    assert np.array_equal(dropped("cuda"), here)


# ---- gradcheck -----------------------------------------------------------------------------------------------------


class Wrong(dl.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 3.0

    @staticmethod
    def backward(ctx, grad):
        return grad * 2.0


@pytest.mark.filterwarnings("ignore::minidl.GradcheckWarning")  # the bias plays no part in the end
def test_gradcheck_on_a_gpu(cupy):
    x = on("cuda", 2, 3, dtype=np.float64, requires_grad=True)
    assert dl.gradcheck(lambda x: x.tanh() * x, [x]) and dl.gradgradcheck(lambda x: x.tanh() * x, [x])
    with pytest.raises(dl.GradcheckError, match="the gradient of input 0"):
        dl.gradcheck(Wrong.apply, [x])
    layer = nn.Linear(3, 2).double().cuda()
    nn.init.normal_(layer.bias)
    before = layer.weight.detach().cpu().numpy()
    assert dl.gradcheck(layer, [x])
    layer.forward = lambda x: Wrong.apply(x @ layer.weight.mT)
    with pytest.raises(dl.GradcheckError, match="the gradient of parameter weight"):
        dl.gradcheck(layer, [x])
    assert layer.weight.device == "cuda:0" and np.array_equal(layer.weight.detach().cpu().numpy(), before)


# ---- what is missing, what fails -----------------------------------------------------------------------------------


def test_import_minidl_leaves_cupy_alone():
    code = "import sys, minidl; assert 'cupy' not in sys.modules; print(minidl.cuda.is_available.__name__)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "is_available\n"


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (0, "cuda: CuPy is installed, but this machine has no NVIDIA driver"),
        (11080, "cuda: the NVIDIA driver is for CUDA 11, the installed CuPy needs one for CUDA 13: update the driver$"),
        (
            12040,
            r"the installed CuPy needs one for CUDA 13: update the driver, or have cupy-cuda12x\[ctk\] in the place",
        ),
        (13000, r"cuda: CuPy and the driver find no GPU \(does CUDA_VISIBLE_DEVICES hide it\?\)"),
    ],
)
def test_without_a_gpu_one_line_says_what_is_missing(driver, message):
    stand_in = pytest.importorskip("stand_in")
    stand_in.install(devices=0, driver=driver)
    try:
        assert not dl.cuda.is_available() and dl.cuda.device_count() == 0
        for call in (dl.tensor(1.0).cuda, lambda: dl.tensor(1.0, device="cuda"), lambda: net().to("cuda"),
                     dl.cuda.synchronize, dl.cuda.Stream, dl.cuda.memory_allocated):  # fmt: skip
            with pytest.raises(RuntimeError, match=message):
                call()
    finally:
        stand_in.uninstall()


def test_a_cupy_that_is_too_old_is_named(cupy, monkeypatch):
    monkeypatch.setattr(cupy, "__version__", "13.6.0")
    assert not dl.cuda.is_available() and dl.cuda.device_count() == 0
    with pytest.raises(RuntimeError, match="cuda: CuPy 13.6.0 is too old, 14.2 is needed"):
        dl.tensor(1.0).to("cuda")


def test_without_cupy_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # import cupy raises ImportError
    assert not dl.cuda.is_available() and dl.cuda.device_count() == 0
    with pytest.raises(RuntimeError, match=r'cuda: CuPy is not installed; the extra "gpu" brings it'):
        dl.tensor(1.0).to("cuda")


def test_an_error_of_the_device_names_the_latest_kernels(cupy):
    stand_in = pytest.importorskip("stand_in")
    x, large = on("cuda", 2, 3), on("cuda", 64, 64)
    y = x.relu()
    stand_in.work.fault(700)
    try:
        for wait in (
            y.sum().item,
            y.tolist,
            y.cpu,
            lambda: repr(y),
            dl.cuda.synchronize,
            dl.cuda.current_stream().synchronize,
            lambda: dl.ops.nll_loss(y, on("cuda", 2, dtype=np.int64)),
        ):
            with pytest.raises(
                RuntimeError, match=r"an illegal memory access was encountered \(in .*relu.forward<float>"
            ):
                wait()
        large @ large
        with pytest.raises(RuntimeError, match="matmul.forward by cuBLAS"):
            dl.cuda.synchronize()
        weight = on("cuda", 2, requires_grad=True)
        weight.grad = on("cuda", 2)
        with pytest.raises(RuntimeError, match="unscale.forward<float>"):
            dl.amp.GradScaler().unscale_(dl.optim.SGD([weight], 0.1))
    finally:
        stand_in.work.recover()


# ---- which GPU -------------------------------------------------------------------------------------------------------


def test_names_of_devices(cupy):
    assert dl.cuda.is_available() and dl.cuda.device_count() >= 1 and dl.cuda.current_device() == 0
    name = dl.cuda.get_device_name()
    assert isinstance(name, str) and name == dl.cuda.get_device_name(0) == dl.cuda.get_device_name("cuda:0")
    for wrong in ("cpu", True, 1.5):
        with pytest.raises(ValueError, match="cuda: a GPU is needed, its number or 'cuda:0'"):
            dl.cuda.get_device_name(wrong)


def test_arrays_share_memory_or_not(cupy):
    a, b = cupy.zeros((2, 5)), cupy.zeros(5)
    assert dl.cuda.may_share_memory(a[0], a[:, :3]) and dl.cuda.may_share_memory(a, a)
    assert not dl.cuda.may_share_memory(a[0], a[1])  # of one block, a and no element in common
    assert not dl.cuda.may_share_memory(a, b)
    numbers = np.zeros(4)
    assert dl.cuda.may_share_memory(numbers, numbers[2:]) and not dl.cuda.may_share_memory(numbers[:2], numbers[2:])
