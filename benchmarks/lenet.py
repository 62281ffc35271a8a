"""LeNet's training step and inference beside PyTorch's, at several batch sizes.

    .venv/bin/pip install torch==2.13.0
    .venv/bin/python benchmarks/lenet.py [--rounds 7] [--batches 32,256]

Both train the same net (61,706 parameters, ReLU, max pooling) on the same random images with SGD, momentum 0.9 and
weight decay 5e-4. PyTorch runs in its two memory formats; the better one counts.
"""

import argparse
import json
from pathlib import Path

MACS = 416_520  # of one image forward; a training step takes three times as many


def minidl(batch, training):
    import numpy as np

    import minidl as dl

    net = dl.models.create("lenet")
    optimizer = dl.optim.SGD(net.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4)
    rng = np.random.default_rng(0)
    x = dl.Tensor(rng.standard_normal((batch, 1, 32, 32), dtype=np.float32))
    labels = dl.Tensor(rng.integers(0, 10, batch))

    def step():
        optimizer.zero_grad()
        dl.ops.cross_entropy(net(x), labels).backward()
        optimizer.step()

    def infer():
        with dl.no_grad():
            net(x)

    return step if training else infer


def pytorch(batch, training, channels_last):
    import torch
    from torch import nn

    net = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    x, labels = torch.randn(batch, 1, 32, 32), torch.randint(0, 10, (batch,))
    if channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4, foreach=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()

    def infer():
        with torch.inference_mode():
            net(x)

    return step if training else infer


def measure(batch, training, rounds):
    """name -> (median, least, greatest) milliseconds."""
    from minidl.bench import harness  # here, so that a competitor's process loads no numba before PyTorch

    competitors = [
        harness.Competitor("minidl", __file__, "minidl", batch, training),
        harness.Competitor("PyTorch NCHW", __file__, "pytorch", batch, training, False),
        harness.Competitor("PyTorch channels-last", __file__, "pytorch", batch, training, True),
    ]
    seconds = harness.compare(competitors, rounds, max(5, 4096 // batch))
    for competitor in competitors:
        competitor.close()
    return {name: tuple(1e3 * s for s in values) for name, values in seconds.items()}


def main():
    from minidl.bench import harness

    parser = argparse.ArgumentParser(description="LeNet beside PyTorch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", default="32,256")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    gflops, gbytes = harness.ceilings()
    print(f"{harness.machine()}\nceilings: SGEMM {gflops:.0f} GFLOP/s, copy {gbytes:.1f} GB/s\n")
    print("| LeNet 1×32×32 | batch | minidl, ms | PyTorch NCHW, ms | channels-last, ms | ratio | minidl, GFLOP/s |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for training in (True, False):
        for batch in map(int, options.batches.split(",")):
            ms = measure(batch, training, options.rounds)
            ours, best = ms["minidl"][0], min(v[0] for name, v in ms.items() if name != "minidl")
            rate = 2 * MACS * batch * (3 if training else 1) / ours / 1e6
            cells = " | ".join("{:.2f} ({:.2f} to {:.2f})".format(*values) for values in ms.values())
            what = "training step" if training else "inference"
            print(f"| {what} | {batch} | {cells} | {best / ours:.2f} | {rate:.0f} |", flush=True)
            rows.append({"what": what, "batch": batch, "ms": ms, "ratio": best / ours, "gflops": rate})
    if options.json:
        result = {"machine": harness.machine(), "sgemm_gflops": gflops, "copy_gbytes": gbytes, "rows": rows}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
