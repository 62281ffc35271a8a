"""LeNet against the published figures and a twin in PyTorch with the same weights."""

import numpy as np
import pytest

import minidl as dl
from minidl import models


def test_parameters_layer_by_layer():
    net = models.create("lenet")
    sizes = {}
    for name, p in net.named_parameters():
        sizes[name.split(".")[0]] = sizes.get(name.split(".")[0], 0) + p.numel()
    assert sizes == {"c1": 156, "c3": 2416, "c5": 48120, "f6": 10164, "output": 850}
    assert sum(sizes.values()) == 61706  # the lecture's figure
    assert models.create("lenet", num_classes=26, in_channels=3).output.weight.shape == (26, 84)


def test_equals_a_pytorch_twin_forward_and_backward():
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    dl.manual_seed(0)
    net = models.create("lenet").double()
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((5, 1, 32, 32)), rng.integers(0, 10, 5)
    loss = dl.ops.cross_entropy(net(dl.Tensor(x)), dl.Tensor(labels))
    loss.backward()

    w = {k: torch.tensor(v.data.copy(), requires_grad=True) for k, v in net.state_dict().items()}
    h = F.max_pool2d(F.relu(F.conv2d(torch.tensor(x), w["c1.weight"], w["c1.bias"])), 2)
    h = F.max_pool2d(F.relu(F.conv2d(h, w["c3.weight"], w["c3.bias"])), 2).flatten(1)
    for layer in ("c5", "f6"):
        h = F.relu(F.linear(h, w[f"{layer}.weight"], w[f"{layer}.bias"]))
    expected = F.cross_entropy(F.linear(h, w["output.weight"], w["output.bias"]), torch.tensor(labels))
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for name, p in net.named_parameters():
        g = w[name].grad.numpy()
        np.testing.assert_allclose(p.grad.data, g, rtol=1e-9, atol=1e-12 * np.abs(g).max(), err_msg=name)


def test_the_reference_kernels_give_the_same():
    dl.manual_seed(0)
    net, x = models.create("lenet").double(), dl.Tensor(np.random.default_rng(1).standard_normal((2, 1, 32, 32)))
    fast = net(x)
    with dl.use_kernels("reference"):
        np.testing.assert_allclose(fast.data, net(x).data, rtol=1e-12)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"LeNet: images must be \(N, 1, 32, 32\), got \(2, 1, 28, 28\)"):
        models.create("lenet")(dl.Tensor(np.zeros((2, 1, 28, 28), np.float32)))
    with pytest.raises(ValueError, match="unknown model 'lenett', known are lenet, .*; did you mean 'lenet'"):
        models.create("lenett")
    with pytest.raises(ValueError, match="variant must be one of lecture, paper, got 'modern'"):
        models.create("lenet", "modern")
    with pytest.raises(ValueError, match="init must be one of .* got 'zeros'"):
        models.create("lenet", init="zeros")
    with pytest.raises(ValueError, match="lenet has no such option.*depth"):
        models.create("lenet", depth=3)


def test_hessian_vector_products_of_the_whole_net():
    """Against differences of first gradients, which other tests hold to numerical ones."""
    dl.manual_seed(0)
    net, rng = dl.models.create("lenet"), np.random.default_rng(1)
    parameters = list(net.parameters())
    for p in parameters:
        p.data = p.data.astype(np.float64)
    x, labels = dl.Tensor(rng.standard_normal((3, 1, 32, 32))), dl.Tensor(np.array([1, 4, 7]))
    vectors = [rng.standard_normal(p.shape) for p in parameters]

    def gradients(**options):
        return dl.grad(dl.ops.cross_entropy(net(x), labels), parameters, **options)

    def moved(step):
        for p, v in zip(parameters, vectors, strict=True):
            p.data = p.data + step * v
        return [g.numpy() for g in gradients()]

    firsts = gradients(create_graph=True)
    products = dl.grad(firsts, parameters, vectors)
    ahead, behind = moved(1e-6), moved(-2e-6)
    for product, a, b in zip(products, ahead, behind, strict=True):
        expected = (a - b) / 2e-6
        np.testing.assert_allclose(product.numpy(), expected, rtol=0, atol=1e-7 * np.abs(expected).max())
