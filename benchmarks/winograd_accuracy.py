"""How far Winograd's algorithm moves the logits of each net, and whether a net trained with it is as good.

    .venv/bin/python benchmarks/winograd_accuracy.py [NET ...] [--seeds 3] [--json FILE]

Logits: a net with seeded weights on seeded images of the size it is made for, with Winograd and within
`minidl.exact_convolution()`. Each is compared with the other and with the exact logits in float64. Where a net has
batch norms, their running statistics are those of one pass over the same images, as fresh ones would let the
activations grow from layer to layer.

Accuracy: the same net, trained both ways from the same weights on the digits that come with minidl. How far two
trainings end from each other that differ by roundings alone, a third says: without Winograd, from weights of which each
was moved to a neighbouring number.
"""

import argparse
import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np

import minidl as dl
from minidl import data, models, nn, train
from minidl.bench import harness
from minidl.bench.steps import NETS

WAYS = {"winograd": nullcontext, "exact": dl.exact_convolution}
TRAININGS = {**WAYS, "exact, weights moved": dl.exact_convolution}
IMAGES = {32: 64, 224: 4}  # in a batch, by their size
TRAINED = {"vgg11": {"stem": "small", "width": 0.25, "batch_norm": True}, "resnet20": {}}
RECIPE = train.Recipe(epochs=5, batch_size=64, lr=0.05)


def distance(a, b):
    """How far a is from b, relative to b: by the Euclidean norm, and by the largest element."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    return {
        "norm": float(np.linalg.norm(a - b) / np.linalg.norm(b)),
        "largest": float(np.abs(a - b).max() / np.abs(b).max()),
    }


def logits(net, images, training):
    """The logits of a batch; a pass in training mode leaves the running statistics as they were."""
    kept = {name: buffer.data.copy() for name, buffer in net.named_buffers()}
    with dl.no_grad():
        output = net.train(training)(dl.Tensor(images))
    for name, buffer in net.named_buffers():
        buffer.data[...] = kept[name]
    return (output[0] if isinstance(output, tuple) else output).data


def prepare(name):
    """(net, images, has it batch norms): seeded; no dropout; running statistics of these very images."""
    dl.manual_seed(0)
    net = models.create(name, NETS[name].variant)
    shape = NETS[name].image
    images = np.random.default_rng(0).standard_normal((IMAGES[shape[-1]], *shape)).astype(np.float32)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with dl.no_grad(), dl.exact_convolution():
        net.train()(dl.Tensor(images))
    for norm, before in zip(norms, momentum, strict=True):
        norm.momentum = before
    return net, images, bool(norms)


def moved(name):
    """By mode: the distances of the logits with Winograd from those without, and of both from float64's."""
    net, images, normalized = prepare(name)
    modes = {"evaluation": False, "training": True} if normalized else {"evaluation": False}
    found = {}
    for mode, training in modes.items():
        found[mode] = {}
        for way, context in WAYS.items():
            with context():
                found[mode][way] = logits(net, images, training)
    net = net.double()
    rows = {}
    for mode, by_way in found.items():
        with dl.exact_convolution():
            truth = logits(net, images.astype(np.float64), modes[mode])
        rows[mode] = {"moved": distance(by_way["winograd"], by_way["exact"])}
        rows[mode] |= {f"{way} to float64": distance(by_way[way], truth) for way in WAYS}
    return {"images": list(images.shape), "modes": rows}


def accuracies(name, seeds):
    """By way, the test accuracy at the end of a training, per seed."""
    digits = data.load("digits")
    reached = {way: [] for way in TRAININGS}
    for seed in range(seeds):
        for way, context in TRAININGS.items():
            dl.manual_seed(seed)
            net = models.create(name, num_classes=10, in_channels=1, **TRAINED[name])
            if way.endswith("moved"):
                rng = np.random.default_rng(seed)
                for parameter in net.parameters():
                    infinity = np.where(rng.random(parameter.shape) < 0.5, np.float32(np.inf), np.float32(-np.inf))
                    parameter.data[...] = np.nextafter(parameter.data, infinity)
            with context():
                *_, last = train.fit(net, digits, RECIPE, seed)
            reached[way].append(last.test_top1)
            print(f"{name}, seed {seed}, {way}: loss {last.train_loss:.6f}, accuracy {last.test_top1:.4f}", flush=True)
    return {"options": TRAINED[name], "epochs": RECIPE.epochs, "accuracy": reached}


def main():
    parser = argparse.ArgumentParser(description="What Winograd's algorithm does to logits and to training")
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"of {', '.join(NETS)}")
    parser.add_argument("--seeds", type=int, default=3, help="trainings each way")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    print(harness.machine())
    results = {"machine": harness.machine(), "logits": {}, "training": {}}
    print(
        "\n| net | mode | moved: norm | largest | Winograd to float64 | exact to float64 |\n|---|---|---|---|---|---|"
    )
    for name in arguments.nets or NETS:
        results["logits"][name] = row = moved(name)
        for mode, d in row["modes"].items():
            figures = d["moved"]["norm"], d["moved"]["largest"]
            figures += d["winograd to float64"]["norm"], d["exact to float64"]["norm"]
            print(f"| {name} | {mode} | " + " | ".join(f"{f:.1e}" for f in figures) + " |", flush=True)
    for name in TRAINED if arguments.seeds else ():
        results["training"][name] = accuracies(name, arguments.seeds)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
