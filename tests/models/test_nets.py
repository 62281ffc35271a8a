"""What holds for every net: it learns 64 digits by heart, its gradients are the numerical ones, mistakes speak."""

import importlib

import numpy as np
import pytest

import minidl as dl
from minidl import models, nn
from minidl.ops._common import empty_weight

TINY = {"width": 0.03, "num_classes": 3}
SMALL = {**TINY, "stem": "small"}
# (name, variant, options, rows and columns of the image, entries per parameter): little, each kind of block and layer
GRADCHECKED = [
    ("lenet", "lecture", {"width": 0.3, "num_classes": 3}, (32, 32), 16),
    ("lenet", "paper", {}, (32, 32), 16),
    ("alexnet", "paper", {"width": 0.02, "num_classes": 3}, (67, 67), 16),
    ("alexnet", "ungrouped", {"width": 0.02, "num_classes": 3, "stem": "small"}, (15, 17), 16),
    ("alexnet", "torchvision", {"width": 0.02, "num_classes": 3}, (63, 65), 16),
    ("vgg", "A-LRN", TINY, (32, 33), 8),
    ("vgg", "C", SMALL, (16, 17), 8),
    ("vgg11", "A", {**SMALL, "batch_norm": True}, (32, 33), 8),
    ("vgg19", "E", SMALL, (16, 17), 4),
    ("googlenet", "paper", TINY, (31, 33), 2),
    ("resnet18", "paper", {**SMALL, "shortcut": "A"}, (16, 18), 4),
    ("resnet34", "paper", {**SMALL, "shortcut": "C"}, (9, 10), 1),
    ("resnet50", "torchvision", TINY, (40, 33), 1),
    ("plain18", None, SMALL, (16, 18), 4),
    ("resnet20", None, {"width": 0.2}, (10, 12), 4),
]
IDS = [" ".join(filter(None, (name, variant))) + f" {i}" for i, (name, variant, *_) in enumerate(GRADCHECKED)]


class Seeded(nn.Module):
    """The net with the same dropout masks each time; all outputs."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        dl.manual_seed(5)
        output = self.net(x)
        return tuple(output) if isinstance(output, tuple) else output


@pytest.mark.filterwarnings("ignore::minidl.gradcheck.report.GradcheckWarning")  # constant weights, equal extents
@pytest.mark.parametrize(("name", "variant", "options", "size", "entries"), GRADCHECKED, ids=IDS)
def test_gradients_are_the_numerical_ones(name, variant, options, size, entries):
    """In training, with batch statistics and dropout: some entries of every parameter and of the image."""
    dl.manual_seed(1)
    net = models.create(name, variant, **options).double()
    random = np.random.default_rng(2)
    for parameter in net.parameters():
        if parameter.ndim == 1:  # biases of zero leave many ReLUs at their kink where an image's border is zero
            parameter.data += 0.1 * random.standard_normal(parameter.shape)
    x = random.standard_normal((3, net.in_channels, *size))
    assert dl.gradcheck(Seeded(net), [x], max_entries=entries, check_layouts=False)


@pytest.mark.filterwarnings("ignore::minidl.gradcheck.report.GradcheckWarning")
def test_a_wrong_gradient_inside_a_net_is_found(monkeypatch):
    """The check above can fail."""
    dl.manual_seed(1)
    net = models.create("resnet20", width=0.1).double()
    operation = importlib.import_module("minidl.ops.conv2d").Conv2dWeightGrad
    backward = operation.forward

    def wrong(ctx, *args):
        return backward(ctx, *args) * 1.01

    monkeypatch.setattr(operation, "forward", staticmethod(wrong))
    x = np.random.default_rng(2).standard_normal((3, 3, 10, 12))
    with pytest.raises(dl.GradcheckError):
        dl.gradcheck(Seeded(net), [x], max_entries=1, check_layouts=False)


LEARNERS = [  # wide enough to learn
    ("lenet", "lecture", {}),
    ("lenet", "paper", {}),
    *[("alexnet", v, {"stem": "small", "width": 0.15}) for v in ("paper", "ungrouped", "torchvision")],
    *[("vgg", config, {"stem": "small", "width": 0.1}) for config in ("A", "A-LRN", "B", "C", "D", "E")],
    ("vgg16", None, {"stem": "small", "width": 0.1, "batch_norm": True}),
    *[("googlenet", v, {"stem": "small", "width": 0.1}) for v in ("paper", "torchvision")],
    ("resnet18", "paper", {"stem": "small", "width": 0.1, "shortcut": "A"}),
    ("resnet34", None, {"stem": "small", "width": 0.1}),
    *[("resnet50", v, {"stem": "small", "width": 0.1}) for v in ("paper", "torchvision")],
    ("resnet20", None, {"width": 0.5}),
    ("resnet56", None, {"width": 0.25}),
    ("plain20", None, {"width": 0.5}),
]


@pytest.mark.parametrize(
    ("name", "variant", "options"), LEARNERS, ids=[f"{n} {v or ''} {i}" for i, (n, v, *_) in enumerate(LEARNERS)]
)
def test_64_digits_are_learnt_by_heart(name, variant, options):
    """To no error in evaluation mode, with dropout on in training; steps of Adam on all 64."""
    digits = dl.data.load("digits")
    x, labels = digits.normalize(digits.train_images[:64]), digits.train_labels[:64]
    dl.manual_seed(0)
    net = models.create(name, variant, num_classes=10, in_channels=1, **options)
    optimizer = dl.optim.Adam(net.parameters(), 2e-3)
    images, targets = dl.Tensor(x), dl.Tensor(labels)
    wrong = 64
    for step in range(400):
        loss = models.training_loss(net(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 5 == 4:
            net.eval()
            with dl.no_grad():
                wrong = int((net(images).data.argmax(1) != labels).sum())
            net.train()
            if not wrong:
                break
    assert wrong == 0


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        *[(name, {"stem": "small"}, size) for name in ("alexnet", "vgg16", "googlenet", "resnet18", "plain18")
          for size in ((28, 28), (32, 32))],
        *[(name, {}, size) for name in ("resnet18", "resnet50", "resnet20", "plain20") for size in ((1, 1), (7, 300))],
        ("googlenet", {}, (31, 100)), ("googlenet", {"variant": "torchvision"}, (57, 31)),
        ("googlenet", {}, (250, 231)), ("vgg11", {}, (32, 100)), ("alexnet", {}, (99, 300)),
    ],
)  # fmt: skip
def test_images_of_other_sizes(name, options, size):
    """All that end in the mean of all pixels take any; training and evaluation."""
    dl.manual_seed(0)
    net = models.create(name, num_classes=5, in_channels=2, width=0.05, **options)
    x = dl.Tensor(np.random.default_rng(0).standard_normal((3, 2, *size)).astype(np.float32))
    output = net(x)
    logits = output if isinstance(output, dl.Tensor) else output.logits
    assert logits.shape == (3, 5) and np.isfinite(logits.data).all()
    models.training_loss(output, dl.Tensor(np.array([0, 4, 2]))).backward()
    assert all(p.grad is not None and np.isfinite(p.grad.data).all() for p in net.parameters())
    assert net.eval()(x).shape == (3, 5)


@pytest.mark.parametrize(
    ("name", "options", "least"),
    [
        ("alexnet", {"variant": "paper"}, 67), ("alexnet", {"variant": "torchvision"}, 63),
        ("alexnet", {"stem": "small"}, 15), ("vgg16", {}, 32), ("vgg16", {"stem": "small"}, 16),
        ("googlenet", {}, 31), ("googlenet", {"variant": "torchvision"}, 15), ("googlenet", {"stem": "small"}, 8),
    ],
)  # fmt: skip
def test_the_least_size_is_named_and_is_enough(name, options, least):
    net = models.create(name, num_classes=3, width=0.03, **options)
    for size in ((least - 1, least), (least, least - 1)):
        with pytest.raises(ValueError, match=rf"\(N, 3, H, W\) with H and W at least {least}, got shape"):
            net(dl.Tensor(np.zeros((2, 3, *size), np.float32)))
    assert net.eval()(dl.Tensor(np.zeros((2, 3, least, least), np.float32))).shape == (2, 3)


def test_googlenet_in_training_returns_three_logits():
    net = models.create("googlenet", num_classes=4, width=0.05, stem="small")
    x = dl.Tensor(np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32))
    output = net(x)
    assert output._fields == ("logits", "aux1", "aux2") and all(y.shape == (2, 4) for y in output)
    target = dl.Tensor(np.array([1, 3]))
    parts = [dl.ops.cross_entropy(y, target).item() for y in output]
    expected = parts[0] + 0.3 * (parts[1] + parts[2])
    assert models.three_losses(output, target).item() == pytest.approx(expected, rel=1e-6)
    assert models.training_loss(output, target).item() == pytest.approx(expected, rel=1e-6)
    assert isinstance(net.eval()(x), dl.Tensor)
    alone = models.create("googlenet", num_classes=4, width=0.05, stem="small", aux_logits=False)
    assert isinstance(alone(x), dl.Tensor) and not any("aux" in name for name in alone.state_dict())


def test_option_a_takes_every_second_pixel_and_pads_half_before_and_half_after():
    shortcut = models.create("resnet20").layer2[0].downsample
    x = np.arange(2 * 16 * 5 * 6, dtype=np.float32).reshape(2, 16, 5, 6)
    y = shortcut(dl.Tensor(x)).data
    assert y.shape == (2, 32, 3, 3) and not y[:, :8].any() and not y[:, 24:].any()
    np.testing.assert_array_equal(y[:, 8:24], x[:, :, ::2, ::2])


def test_initial_weights_of_the_papers():
    dl.manual_seed(0)
    alexnet = models.create("alexnet", init="paper", num_classes=10, width=0.25)
    weights = np.concatenate([p.data.ravel() for n, p in alexnet.named_parameters() if n.endswith("weight")])
    assert weights.std() == pytest.approx(0.01, rel=0.02) and abs(weights.mean()) < 1e-4
    biases = [float(p.data.mean()) for n, p in alexnet.named_parameters() if n.endswith("bias")]
    assert biases == [0, 1, 0, 1, 1, 1, 1, 0]  # section 5: second, fourth, fifth convolution, hidden layers
    vgg = models.create("vgg11", init="paper", num_classes=10, width=0.1)
    for name, parameter in vgg.named_parameters():
        expected = 0.1 if name.endswith("weight") else 0.0
        assert float(parameter.data.std()) == pytest.approx(expected, rel=0.2)
    lenet = models.create("lenet", "paper")
    assert np.abs(lenet.f6.weight.data).max() <= 2.4 / 120 and np.abs(lenet.f6.weight.data).max() > 2.3 / 120
    assert np.abs(lenet.c3.four.weight.data).max() <= 2.4 / 100 and not lenet.c5.bias.data.any()
    for name in ("googlenet", "resnet18", "lenet"):
        models.create(name, init="paper")


def test_the_codes_of_the_digits_are_pictures_of_them():
    codes = models.create("lenet", "paper").output.codes.data
    assert codes.shape == (10, 84) and set(np.unique(codes)) == {-1, 1}
    apart = ((codes[:, None] - codes[None]) ** 2).sum(-1) / 4
    assert apart[~np.eye(10, dtype=bool)].min() >= 10  # pixels in which two digits differ
    random = models.create("lenet", "paper", num_classes=26).output.codes.data
    assert random.shape == (26, 84) and set(np.unique(random)) == {-1, 1}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("alexnet", {"variant": "caffe"}, "variant must be one of paper, ungrouped, torchvision, got 'caffe'"),
        ("vgg", {"variant": "F"}, "variant must be one of A, A-LRN, B, C, D, E, got 'F'"),
        ("vgg", {"config": 16}, "variant must be one of A, A-LRN, B, C, D, E, got 16"),
        ("vgg", {"variant": "A", "config": "B"}, "variant and config are the same thing, got 'A' and 'B'"),
        ("vgg16", {"variant": "A"}, "variant must be one of D, C, paper, torchvision, got 'A'"),
        ("googlenet", {"variant": "v3"}, "variant must be one of paper, torchvision, got 'v3'"),
        ("googlenet", {"variant": "torchvision", "batch_norm": False}, "batch_norm must be True"),
        ("googlenet", {"transform_input": True, "in_channels": 1}, "transform_input needs in_channels 3, got 1"),
        ("resnet50", {"variant": "v2"}, r"variant must be one of torchvision, v1\.5, paper, v1, got 'v2'"),
        ("resnet50", {"shortcut": "D"}, "shortcut must be one of A, B, C, got 'D'"),
        ("resnet20", {"shortcut": "D"}, "shortcut must be one of A, B, C, got 'D'"),
        ("resnet20", {"variant": "torchvision"}, "variant must be one of paper, got 'torchvision'"),
        ("resnet18", {"stem": "tiny"}, "stem must be one of imagenet, small, got 'tiny'"),
        ("resnet18", {"width": 0}, "width must be a positive number, got 0"),
        ("resnet18", {"init": "zeros"}, "init must be one of .*paper, got 'zeros'"),
        ("resnet18", {"depth": 20}, "resnet18 has no such option"),
        ("resnet20", {"stem": "small"}, "resnet20 has no such option.*stem"),
        ("resnet18", {"num_classes": 0}, "num_classes must be a positive integer, got 0"),
        ("resnet18", {"in_channels": 1.5}, r"in_channels must be a positive integer, got 1\.5"),
        ("lenet", {"image_size": 30}, "image_size must be one of 32, 28, got 30"),
        ("lenet", {"variant": "paper", "width": 2}, "lenet has no such option.*width"),
        ("resnet19", {}, "unknown model 'resnet19', known are lenet, .*; did you mean 'resnet1"),
    ],
)
def test_mistakes(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        models.create(name, **arguments)


@pytest.mark.parametrize("depth", [2, 21, 20.0, "20"])
def test_depths_that_are_not_6n_plus_2(depth):
    with pytest.raises(ValueError, match=r"depth must be 6n\+2, from 8 on, got"):
        models.cifar_resnet(depth)
    with pytest.raises(ValueError, match="resnet20: depth must be one of 18, 34, 50, 101, 152, got 20"):
        models.resnet(20)


def test_a_wrong_state_changes_nothing():
    net = models.create("resnet20", width=0.25)
    before = {k: v.data.copy() for k, v in net.state_dict().items()}
    state = {k: v.data + 1 for k, v in net.state_dict().items()}
    for change, message in (
        (lambda s: s.pop("fc.bias"), r"missing fc\.bias"),
        (lambda s: s.update(extra=np.zeros(2)), "unknown extra"),
        (lambda s: s.update({"fc.weight": np.zeros((10, 3))}), r"fc\.weight is \(10, 3\), must be \(10, 16\)"),
    ):
        wrong = dict(state)
        change(wrong)
        with pytest.raises((KeyError, ValueError), match=message):
            net.load_state_dict(wrong)
    assert all(np.array_equal(before[k], v.data) for k, v in net.state_dict().items())


def test_functions_take_positions_as_their_docstrings_say():
    assert models.resnet18("paper", 7, 1).fc.weight.shape == (7, 512)
    assert models.vgg(config="A", num_classes=3, width=0.1).config == "A"
    assert models.vgg16("C", 5, width=0.1).config == "C" and models.vgg16("torchvision", 5, width=0.1).config == "D"
    assert models.cifar_resnet(14, num_classes=4).fc.weight.shape == (4, 64)
    assert models.plain(20).fc.weight.shape == (10, 64)


def test_same_seed_same_weights_in_whatever_pieces_they_are_drawn():
    """A layer of more than a million weights is drawn a few rows at a time: the generator's numbers, in order."""
    dl.manual_seed(4)
    weight = nn.init.normal_(nn.Parameter(empty_weight(1500, 1001)), 0.0, 2.0)
    dl.manual_seed(4)
    expected = dl.random.generator().normal(0.0, 2.0, (1500, 1001)).astype(np.float32)
    np.testing.assert_array_equal(weight.data, expected)
