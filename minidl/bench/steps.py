"""A net's training step or inference in minidl, PyTorch and onnxruntime, each for a process of its own.

These functions are what Competitor calls. Nothing of minidl is imported before one runs: PyTorch has to be loaded
before numba, or its threads would wait as numba's are told to.
"""

import importlib
import tempfile
from pathlib import Path
from typing import NamedTuple


class Net(NamedTuple):
    """What is run: the images of a step, and what models.create is given beside the name."""

    batch: int
    image: tuple  # (C, H, W)
    classes: int
    variant: str | None


_PHOTO = (3, 224, 224)
NETS = {
    "lenet": Net(256, (1, 32, 32), 10, "lecture"),
    "resnet20": Net(128, (3, 32, 32), 10, None),
    "alexnet": Net(32, _PHOTO, 1000, "torchvision"),
    "googlenet": Net(16, _PHOTO, 1000, "torchvision"),
    "resnet18": Net(16, _PHOTO, 1000, "torchvision"),
    "resnet50": Net(16, _PHOTO, 1000, "torchvision"),
    "vgg16": Net(8, _PHOTO, 1000, None),
}
SGD = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4}


def minidl(name, batch, training, device="cpu"):
    """One run of our net; on a GPU by its own clock."""
    import minidl as dl

    if device == "cuda":
        from minidl.bench.gpu import timed
    else:
        timed = _as_it_is
    net = dl.models.create(name, NETS[name].variant).to(device)
    images, labels = (dl.Tensor(array).to(device) for array in data(name, batch))
    if not training:
        net = dl.optimize_for_inference(net)

        def infer():
            with dl.no_grad():
                net(images)

        return timed(infer)
    optimizer = dl.optim.SGD(net.parameters(), **SGD)
    dl.optimize_for_training(net)

    def step():
        optimizer.zero_grad()
        dl.models.training_loss(net(images), labels).backward()
        optimizer.step()

    return timed(step)


def pytorch(name, batch, training, channels_last, compiled, device="cpu"):
    """One run of the twin in PyTorch, in one of its memory formats, perhaps through torch.compile."""
    import torch
    from torch.nn.functional import cross_entropy

    from minidl.bench import twins

    if device == "cuda":
        from minidl.bench.gpu import timed_torch as timed

        torch.backends.cudnn.allow_tf32 = False  # float32 as ours
    else:
        timed = _as_it_is
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = twins.TWINS[name]().to(device, memory_format=layout).train(training)
    images, labels = (torch.from_numpy(array).to(device) for array in data(name, batch))
    images = images.contiguous(memory_format=layout)
    run = torch.compile(net) if compiled else net
    if not training:

        def infer():
            with torch.inference_mode():
                run(images)

        return timed(infer)
    optimizer = torch.optim.SGD(net.parameters(), **SGD, fused=True)

    def step():
        optimizer.zero_grad()
        output = run(images)
        logits, *heads = output if isinstance(output, tuple) else (output,)
        loss = cross_entropy(logits, labels)
        for head in heads:
            loss = loss + 0.3 * cross_entropy(head, labels)
        loss.backward()
        optimizer.step()

    return timed(step)


def _as_it_is(run):
    return run


def onnxruntime(name, batch, threads):
    """One inference of our net by onnxruntime, from the file that minidl.onnx writes."""
    import numpy as np
    import onnxruntime as ort

    import minidl as dl

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.onnx"
        dl.onnx.export(dl.models.create(name, NETS[name].variant), file, NETS[name].image, batch)
        session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    images = {session.get_inputs()[0].name: np.ascontiguousarray(data(name, batch)[0])}
    return lambda: session.run(None, images)


def memory(name, batch, form, *arguments):
    """Notes: bytes that a training step of a form needs, above what its process had before the net was built.

    On a GPU (the last of the arguments), the bytes that the form's pool has taken from it.
    """
    # What counts as there before. PyTorch comes first, see above.
    for package in (*(("torch", "minidl.bench.twins") if form == "pytorch" else ()), "minidl"):
        importlib.import_module(package)
    before = _resident("VmRSS")
    run = {"minidl": minidl, "pytorch": pytorch}[form](name, batch, True, *arguments)
    for _ in range(3):  # the second step finds the gradients and the velocities of the first
        run()
    if arguments[-1:] == ("cuda",):
        return run, {"bytes": _reserved(form)}
    return run, {"bytes": _resident("VmHWM") - before}


def _reserved(form):
    """Bytes; without those that gpu.timed fills."""
    from minidl.bench import gpu

    if form == "pytorch":
        import torch

        return torch.cuda.max_memory_reserved() - gpu.FILLED
    import minidl as dl

    return dl.cuda.memory_reserved() - gpu.FILLED


def layers(name, batch, training, rounds):
    """Notes: where the time of a run of our net goes (see profile.py)."""
    from minidl.bench import profile

    run = minidl(name, batch, training)
    return run, profile.profile(run, rounds)


def data(name, batch):
    """Random images and labels. The images' memory is channels-last, as our loader gives them."""
    import numpy as np

    rng, (channels, height, width) = np.random.default_rng(0), NETS[name].image
    images = rng.standard_normal((batch, height, width, channels), dtype=np.float32)
    return images.transpose(0, 3, 1, 2), rng.integers(0, NETS[name].classes, batch)


def _resident(field):
    """Bytes of this process that are (VmRSS) or at most were (VmHWM) in memory."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))
    except OSError:  # no Linux. There ru_maxrss would not do: a process inherits its parent's.
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes, on macOS
