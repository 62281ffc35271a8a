"""Milliseconds of a training step on a GPU: as it is, replayed as a CUDA graph, and in mixed precision.

    .venv/bin/python benchmarks/gpu_step.py [lenet resnet20 …] [--rounds 3] [--json FILE]

Nets, batches and the optimizer are those of `minidl bench models`, times are the GPU's, and each form has a process of
its own; they take turns. PyTorch runs as it is and in mixed precision, with channels last, where it is installed.
"""

import argparse
import json
from contextlib import ExitStack, nullcontext

from minidl.bench import gpu, harness, kernels, steps

FORMS = {
    "minidl": ("ours", "eager"),
    "minidl, graph": ("ours", "graph"),
    "minidl, float16": ("ours", "float16"),
    "PyTorch": ("theirs", "eager"),
    "PyTorch, float16": ("theirs", "float16"),
}


def ours(form, name):
    import minidl as dl

    net = dl.models.create(name, steps.NETS[name].variant).to("cuda")
    images, labels = (dl.Tensor(array).to("cuda") for array in steps.data(name, steps.NETS[name].batch))
    optimizer = dl.optim.SGD(net.parameters(), **steps.SGD)
    scaler = dl.amp.GradScaler() if form == "float16" else None

    def step():
        with dl.amp.autocast() if scaler else nullcontext():
            loss = dl.models.training_loss(net(images), labels)
        optimizer.zero_grad()
        if scaler:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        else:
            loss.backward()
            optimizer.step()

    if form != "graph":
        return gpu.timed(step)
    step()
    graph = dl.cuda.CUDAGraph()
    with dl.cuda.graph(graph):
        step()
    return gpu.timed(lambda kept=step: graph.replay())  # on the arrays that step holds


def theirs(form, name):
    import torch
    from torch.nn.functional import cross_entropy

    from minidl.bench import twins

    torch.backends.cudnn.allow_tf32 = False  # float32 as ours
    net = twins.TWINS[name]().to("cuda", memory_format=torch.channels_last).train()
    images, labels = (torch.from_numpy(array).to("cuda") for array in steps.data(name, steps.NETS[name].batch))
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), **steps.SGD, fused=True)
    scaler = torch.amp.GradScaler("cuda", enabled=form == "float16")

    def step():
        with torch.autocast("cuda", torch.float16, enabled=form == "float16"):
            loss = cross_entropy(net(images), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return gpu.timed_torch(step)


def measure(name, rounds):
    """Form -> [median, least, greatest] seconds."""
    forms = {form: entry for form, entry in FORMS.items() if entry[0] == "ours" or kernels.has_pytorch("cuda")}
    with ExitStack() as stack:
        competitors = [
            stack.enter_context(harness.Competitor(form, __file__, function, how, name))
            for form, (function, how) in forms.items()
        ]
        times = {c.name: max(3, min(50, int(0.2 / min(c.run(2))))) for c in competitors}
        return harness.compare(competitors, rounds, times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=["lenet", "resnet20", "resnet18", "resnet50"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="also write the figures")
    options = parser.parse_args()
    found = {**gpu.device(), "machine": harness.machine(), "rounds": options.rounds, "seconds": {}}
    print("| net | images |", " | ".join(FORMS), "|")
    print("|---|--:|" + "--:|" * len(FORMS))
    for name in options.names:
        found["seconds"][name] = measure(name, options.rounds)
        cells = (f"{found['seconds'][name][f][0] * 1e3:.2f}" if f in found["seconds"][name] else "" for f in FORMS)
        print(f"| {name} | {steps.NETS[name].batch} |", " | ".join(cells), "|", flush=True)
        if options.json:
            with open(options.json, "w") as file:
                json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
