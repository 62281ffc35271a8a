"""One training step of each of the five nets on the GPU, equal to the CPU's: loss, gradients, weights, statistics."""

import numpy as np
import pytest
from helpers import close, normal

import minidl as dl
from minidl import models

NETS = {
    "lenet": ({"variant": "lecture", "width": 0.3, "num_classes": 3}, (32, 32)),
    "alexnet": ({"variant": "paper", "width": 0.02, "num_classes": 3, "stem": "small"}, (15, 17)),
    "vgg11": ({"width": 0.03, "num_classes": 3, "stem": "small", "batch_norm": True}, (16, 16)),
    "googlenet": ({"width": 0.03, "num_classes": 3}, (31, 33)),
    "resnet18": ({"width": 0.03, "num_classes": 3, "stem": "small"}, (9, 10)),
}
RTOL = {np.float64: 1e-10, np.float32: 1e-4}  # of what went through many layers


def step(name, dtype, device):
    """What a step leaves: the loss and, by name, gradients, weights and running statistics, as NumPy arrays."""
    options, size = NETS[name]
    dl.manual_seed(1)
    net = models.create(name, **options).to(dtype).to(device)
    images = dl.tensor(normal(3, net.in_channels, *size, seed=2), dtype=dtype, device=device)
    labels = dl.tensor([2, 0, 1], device=device)
    optimizer = dl.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    loss = models.training_loss(net(images), labels)
    loss.backward()
    optimizer.step()
    left = {f"gradient of {name}": p.grad for name, p in net.named_parameters() if p.grad is not None}
    left |= {"loss": loss, **net.state_dict()}
    assert all(t.device == images.device for t in left.values())
    return {name: t.detach().cpu().numpy() for name, t in left.items()}


def test_a_training_step_is_the_cpus_however_late_the_gpu_is(late):
    got = step("resnet18", np.float32, "cuda")
    with dl.use_kernels("reference"):
        expected = step("resnet18", np.float32, "cpu")
    for what, array in expected.items():
        close(got[what], array, RTOL[np.float32], what, atol=RTOL[np.float32])


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", NETS)
def test_a_training_step_is_the_cpus(cupy, name, dtype):
    got = step(name, dtype, "cuda")
    with dl.use_kernels("reference"):  # which are not the code under test
        expected = step(name, dtype, "cpu")
    assert got.keys() == expected.keys()
    for what, array in expected.items():
        close(got[what], array, RTOL[dtype], what, atol=RTOL[dtype])
