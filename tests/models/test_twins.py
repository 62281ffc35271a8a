"""Every net and variant beside a twin in PyTorch (minidl.bench.twins; torchvision's own if installed), same weights."""

from contextlib import contextmanager

import numpy as np
import pytest

import minidl as dl
from minidl import models, nn
from minidl.function import observe_nodes

torch = pytest.importorskip("torch")
twins = pytest.importorskip("minidl.bench.twins")

RES = {"width": 0.125, "num_classes": 7}
SMALL = {**RES, "stem": "small"}

# (name, variant, options, the twin, rows and columns of the images)
CASES = [
    ("lenet", "lecture", {}, lambda: twins.LeNet(), (32, 32)),
    ("lenet", "lecture", {"image_size": 28}, lambda: twins.LeNet(padding=2), (28, 28)),
    ("lenet", "paper", {}, lambda: twins.PaperLeNet(), (32, 32)),
    *[("alexnet", v, {"width": 0.1, "num_classes": 7}, lambda v=v: twins.AlexNet(v, 7, 0.1), (99, 67))
      for v in ("paper", "ungrouped", "torchvision")],
    ("alexnet", "paper", {**SMALL, "width": 0.1}, lambda: twins.AlexNet("paper", 7, 0.1, "small"), (28, 32)),
    *[("vgg", c, RES, lambda c=c: twins.VGG(c, 7, 0.125), (32, 40)) for c in ("A", "A-LRN", "B", "C", "D", "E")],
    *[("vgg", c, {**RES, "batch_norm": True}, lambda c=c: twins.VGG(c, 7, 0.125, True), (64, 48))
      for c in ("A", "B", "C", "D", "E")],
    ("vgg11", "A", SMALL, lambda: twins.VGG("A", 7, 0.125, stem="small"), (28, 28)),
    ("googlenet", "paper", RES, lambda: twins.GoogLeNet("paper", 7, 0.125), (64, 75)),
    ("googlenet", "paper", RES, lambda: twins.GoogLeNet("paper", 7, 0.125), (224, 224)),
    ("googlenet", "paper", {**RES, "batch_norm": True}, lambda: twins.GoogLeNet("paper", 7, 0.125, True), (96, 64)),
    ("googlenet", "torchvision", RES, lambda: twins.GoogLeNet("torchvision", 7, 0.125), (96, 64)),
    ("googlenet", "paper", SMALL, lambda: twins.GoogLeNet("paper", 7, 0.125, stem="small"), (28, 28)),
    *[(f"resnet{d}", v, {**RES, "shortcut": way},
       lambda d=d, c=c, v=v, way=way: twins.ResNet(c, 8, 7, way, d > 34, v == "paper"), (40, 33))
      for d, c, vs, ways in (
          (18, (2, 2, 2, 2), ("torchvision", "paper"), "ABC"), (34, (3, 4, 6, 3), ("paper",), "ABC"),
          (50, (3, 4, 6, 3), ("torchvision", "paper"), "ABC"), (101, (3, 4, 23, 3), ("v1", "v1.5"), "B"),
          (152, (3, 8, 36, 3), ("torchvision",), "B"),
      ) for v in vs for way in ways
      if not (d == 101 and v == "v1")],
    ("resnet101", "paper", RES, lambda: twins.ResNet((3, 4, 23, 3), 8, 7, "B", True, True), (40, 33)),
    *[(f"plain{d}", None, RES, lambda c=c: twins.ResNet(c, 8, 7, None), (40, 33))
      for d, c in ((18, (2, 2, 2, 2)), (34, (3, 4, 6, 3)))],
    ("resnet18", None, SMALL, lambda: twins.ResNet((2, 2, 2, 2), 8, 7, "B", imagenet=False), (28, 20)),
    *[(f"resnet{d}", None, {"width": 0.5, "shortcut": way},
       lambda d=d, way=way: twins.ResNet([d // 6] * 3, 8, 10, way, imagenet=False), (16, 13))
      for d, way in ((20, "A"), (20, "B"), (20, "C"), (32, "A"), (44, "A"), (56, "A"), (110, "A"))],
    *[(f"plain{d}", None, {"width": 0.5}, lambda d=d: twins.ResNet([d // 6] * 3, 8, 10, None, imagenet=False), (16, 13))
      for d in (20, 56)],
]  # fmt: skip
IDS = [" ".join([n, v or "", *(f"{k}={o}" for k, o in options.items())]) for n, v, options, *_ in CASES]


def pair(name, variant, options, make, dtype=np.float64):
    """A net and its twin with the net's weights, biases and affine weights stirred, without dropout."""
    dl.manual_seed(3)
    net = models.create(name, variant, **options)
    random = np.random.default_rng(4)
    for parameter in net.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * random.standard_normal(parameter.shape).astype(np.float32)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    net = net.double() if dtype == np.float64 else net
    return net, twin_of(net, make(), dtype)


def twin_of(net, twin, dtype):
    twin = twin.to(torch.float64 if dtype == np.float64 else torch.float32)
    for module in twin.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    twin.load_state_dict({k: torch.tensor(v.numpy().copy()) for k, v in net.state_dict().items()}, strict=True)
    return twin


def ours(net, x, labels):
    """(logits and running statistics after the pass, all gradients) of a training step, by name."""
    output = net(dl.Tensor(x))
    models.training_loss(output, dl.Tensor(labels)).backward()
    output = output if isinstance(output, tuple) else (output,)
    values = {f"logits {i}": logits.data for i, logits in enumerate(output)}
    values |= {name: buffer.data for name, buffer in net.named_buffers()}
    return values, {name: p.grad.data for name, p in net.named_parameters()}


def pytorchs(twin, x, labels):
    """As ours."""
    output = twin(torch.tensor(x))
    output = output if isinstance(output, tuple) else (output,)
    main, *heads = (torch.nn.functional.cross_entropy(logits, torch.tensor(labels)) for logits in output)
    (main + 0.3 * sum(heads)).backward()
    values = {f"logits {i}": logits.detach().numpy() for i, logits in enumerate(output)}
    values |= {name: buffer.numpy() for name, buffer in twin.named_buffers()}
    return values, {name: p.grad.numpy() for name, p in twin.named_parameters()}


def images(size, dtype=np.float64, channels=3, count=4):
    random = np.random.default_rng(5)
    return random.standard_normal((count, channels, *size)).astype(dtype), random.integers(0, 7, count)


@pytest.mark.parametrize(("name", "variant", "options", "make", "size"), CASES, ids=IDS)
def test_float64_equals_the_twin(name, variant, options, make, size):
    """Logits, running statistics and all gradients of a training step, then the logits of evaluation, to 1e-9."""
    net, twin = pair(name, variant, options, make)
    x, labels = images(size, channels=net.in_channels)
    found, expected = ours(net.train(), x, labels), pytorchs(twin.train(), x, labels)
    assert [part.keys() for part in found] == [part.keys() for part in expected]
    for what, b in (expected[0] | expected[1]).items():
        a, scale = (found[0] | found[1])[what], np.abs(b).max()
        # A bias before batch norm has no gradient but what rounding leaves of zero, 1e-15.
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * (scale if scale > 1e-10 else 1e-3), err_msg=what)
    net.eval(), twin.eval()
    with torch.no_grad(), dl.no_grad():
        a, b = net(dl.Tensor(x)).data, twin(torch.tensor(x)).numpy()
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())


@pytest.mark.parametrize(("name", "variant", "options", "make", "size"), CASES, ids=IDS)
def test_float32_is_as_near_to_float64_as_pytorch_is(name, variant, options, make, size):
    """Logits to 1e-3; no gradient more than ten times as far from the float64 one as PyTorch's float32 gradient.

    Where a value lies within rounding of a kink (of ReLU, or a tie of max pooling), it is chance which side a float32
    run takes, and either side is far from the other. So PyTorch runs eight times, on images that differ by their last
    bit, and its worst run counts: a value that near has it on the other side in one run of two. If it was ours alone
    that took another side, the truth is the float64 gradient on our side of every kink, which must differ only there.
    """
    net, twin = pair(name, variant, options, make)
    x, labels = images(size, channels=net.in_channels)
    x = x.astype(np.float32).astype(np.float64)
    for parameter in net.parameters():
        parameter.data[...] = parameter.data.astype(np.float32)
    _, truth = pytorchs(twin_of(net, make(), np.float64), x, labels)
    x32, random = x.astype(np.float32), np.random.default_rng(7)
    steps = [random.choice((-np.inf, np.inf), x.shape).astype(np.float32) for _ in range(7)]
    nearby = [x32, *(np.nextafter(x32, step) for step in steps)]
    runs = [pytorchs(twin_of(net, make(), np.float32), near, labels) for near in nearby]
    expected, _ = runs[0]
    worst = {name: max(np.abs(g[name] - truth[name]).max() for _, g in runs) for name in truth}
    sides, places = [], []

    def note(node, outputs, _):
        if _has_relu(node):
            sides.append(outputs[0].data > 0)
        elif node.name == "MaxPool2d":
            places.append(outputs[1].data.astype(np.int64))

    with observe_nodes(note):
        found, gradients = ours(net.float(), x32, labels)
    for name, logits in expected.items():
        if name.startswith("logits"):
            np.testing.assert_allclose(found[name], logits, rtol=1e-3, atol=1e-3 * np.abs(logits).max(), err_msg=name)
    if any(np.abs(gradient - truth[name]).max() > 10 * worst[name] for name, gradient in gradients.items()):
        with _on_these_sides(sides, places):
            _, truth = pytorchs(twin_of(net.double(), make(), np.float64), x, labels)
    for name, gradient in gradients.items():
        error = np.abs(gradient - truth[name]).max()
        assert error <= 10 * worst[name], f"{name}: {error:.2e} from the truth, PyTorch's {worst[name]:.2e}"


def _has_relu(node):
    return node.name in ("ReLU", "AddReLU", "Conv2dReLU", "LinearReLU") or node.name == "BatchNorm" and node.relu


@contextmanager
def _on_these_sides(sides, places):
    """Let PyTorch's ReLUs pass what ours passed, and its max poolings take the element that ours took.

    They go by their shapes, those of one shape in order: GoogLeNet's heads come later in ours. What ours chose may
    differ only where it makes no difference to 1e-3, as exact as logits must be, and at few values of a layer.
    """
    sides, places, pool = list(sides), list(places), torch.nn.functional.max_pool2d

    def ours(choices, shape):
        return torch.tensor(choices.pop(next(i for i, choice in enumerate(choices) if choice.shape == shape)))

    def compare(x, difference):
        assert len(difference) <= 3 and (difference <= 1e-3 * x.std()).all(), f"{difference} on the other side"

    def relu(x, inplace=False):
        passed = ours(sides, x.shape)
        compare(x, x[passed != (x > 0)].abs())
        return x * passed

    def max_pool2d(x, *arguments, **options):
        y, where = pool(x, *arguments, **options | {"return_indices": True})
        place = ours(places, y.shape)
        taken = x.flatten(2).gather(2, place.flatten(2)).reshape(y.shape)
        compare(x, (y - taken)[place != where].unique())  # two elements may meet in several windows
        return taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "relu", relu)  # of nn.ReLU
        patch.setattr(twins, "relu", relu)
        patch.setattr(torch.nn.functional, "max_pool2d", max_pool2d)  # of nn.MaxPool2d
        yield
    assert not sides and not places


TORCHVISION = [
    ("alexnet", "torchvision", {}, "alexnet", 224), ("googlenet", "torchvision", {}, "googlenet", 224),
    *[(n, "torchvision", {}, n, 64) for n in ("vgg11", "vgg16", "resnet18", "resnet34", "resnet50", "resnet101")],
    *[(n, None, {"batch_norm": True}, f"{n}_bn", 64) for n in ("vgg13", "vgg19")],
    ("resnet152", None, {}, "resnet152", 64),
]  # fmt: skip


def _torchvision():
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another PyTorch
        pytest.skip(f"torchvision: {error}")
    return torchvision


@pytest.mark.parametrize(("name", "variant", "options", "theirs", "size"), TORCHVISION)
def test_torchvisions_weights_load_unchanged(name, variant, options, theirs, size, tmp_path):
    """Through a safetensors file, and the logits are torchvision's."""
    torchvision = _torchvision()
    safetensors = pytest.importorskip("safetensors.torch")
    torch.manual_seed(0)
    arguments = {"init_weights": False} if name in ("googlenet",) or name.startswith("vgg") else {}
    twin = getattr(torchvision.models, theirs)(weights=None, **arguments).eval()
    safetensors.save_file(twin.state_dict(), tmp_path / "weights.safetensors")
    net = models.blank(name, variant=variant, **options)
    net.load_state_dict(dl.load(tmp_path / "weights.safetensors"))
    x = np.random.default_rng(6).standard_normal((2, 3, size, size)).astype(np.float32)
    with torch.no_grad(), dl.no_grad():
        a, b = net.eval()(dl.Tensor(x)).data, twin(torch.tensor(x)).numpy()
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max())


def test_googlenets_transform_of_the_input():
    torchvision = _torchvision()
    twin = torchvision.models.googlenet(weights=None, init_weights=False, transform_input=True).eval()
    net = models.blank("googlenet", variant="torchvision", transform_input=True)
    net.load_state_dict({k: v.numpy() for k, v in twin.state_dict().items()})
    x = np.random.default_rng(6).standard_normal((2, 3, 64, 64)).astype(np.float32)
    with torch.no_grad(), dl.no_grad():
        a, b = net.eval()(dl.Tensor(x)).data, twin(torch.tensor(x)).numpy()
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max())
