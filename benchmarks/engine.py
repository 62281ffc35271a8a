"""The engine's cost per operation beside PyTorch's, on Tensors so small that the arithmetic is next to nothing.

    .venv/bin/pip install torch==2.13.0
    .venv/bin/python benchmarks/engine.py [--rounds 7] [--json FILE]

Chains of 1,000 operations on float32 Tensors that require gradients, forward alone and with the backward pass; then a
chain of 10,000 additions and a graph of 100,000 nodes, a tree of additions over one leaf. Both libraries run on one
thread. "NumPy" is the arithmetic alone, called on arrays: what is above it in minidl's time is the engine.
"""

import argparse
import json
from pathlib import Path

import numpy as np

LENGTH = 1_000
OPERATIONS = {
    "z + y": lambda z, y: z + y,
    "z - y": lambda z, y: z - y,
    "z * y": lambda z, y: z * y,
    "z / y": lambda z, y: z / y,
    "z * 1.0001": lambda z, y: z * 1.0001,
    "-z": lambda z, y: -z,
    "exp": lambda z, y: z.exp(),
    "tanh": lambda z, y: z.tanh(),
    "relu": lambda z, y: z.relu(),
    "clone": lambda z, y: z.clone(),
    "sum over rows": lambda z, y: z.sum(0, keepdim=True),
    "reshape": lambda z, y: z.reshape(z.shape),
}

# By NumPy: the result, and what goes to z and y of a gradient g of the result r.
ARITHMETIC = {
    "z + y": (lambda z, y: z + y, lambda g, z, y, r: (g, g)),
    "z - y": (lambda z, y: z - y, lambda g, z, y, r: (g, -g)),
    "z * y": (lambda z, y: z * y, lambda g, z, y, r: (g * y, g * z)),
    "z / y": (lambda z, y: z / y, lambda g, z, y, r: (q := g / y, -(q * r))),
    "z * 1.0001": (lambda z, y: z * 1.0001, lambda g, z, y, r: (g * 1.0001, None)),
    "-z": (lambda z, y: -z, lambda g, z, y, r: (-g, None)),
    "exp": (lambda z, y: np.exp(z), lambda g, z, y, r: (g * r, None)),
    "tanh": (lambda z, y: np.tanh(z), lambda g, z, y, r: (g * (1 - r * r), None)),
    "relu": (lambda z, y: np.maximum(z, 0), lambda g, z, y, r: (np.where(r <= 0, 0, g), None)),
    "clone": (lambda z, y: z.copy(), lambda g, z, y, r: (g, None)),
    "sum over rows": (lambda z, y: z.sum(0, keepdims=True), lambda g, z, y, r: (np.broadcast_to(g, z.shape), None)),
    "reshape": (lambda z, y: z.reshape(z.shape), lambda g, z, y, r: (g.reshape(z.shape), None)),
}


def _leaf(library, value):
    """A 2 × 3 leaf; exp of exp of ... leaves the range of float32, whose arithmetic costs the same."""
    array = np.full((2, 3), value, np.float32)
    if library == "minidl":
        import minidl as dl

        np.seterr(all="ignore")
        dl.set_num_threads(1)
        return dl.Tensor(array, requires_grad=True)
    import torch

    torch.set_num_threads(1)
    return torch.tensor(array, requires_grad=True)


def _ones_like(x):
    return x.detach() * 0 + 1


def chain(library, name, length, with_backward):
    """A run: x, then `length` operations, each on the result before it."""
    if library == "NumPy":
        return _arithmetic(*ARITHMETIC[name], length, with_backward)
    x, y, operation = _leaf(library, 0.5), _leaf(library, 1.0001), OPERATIONS[name]

    def forward():
        z = x
        for _ in range(length):
            z = operation(z, y)
        return z

    start = _ones_like(forward())

    def both():
        x.grad = y.grad = None
        forward().backward(start)

    return both if with_backward else forward


def _arithmetic(forward, backward, length, with_backward):
    x, y = (np.full((2, 3), value, np.float32) for value in (0.5, 1.0001))
    np.seterr(all="ignore")

    def run():
        results = [x]
        for _ in range(length):
            results.append(forward(results[-1], y))
        if not with_backward:
            return
        g, total = np.ones_like(results[-1]), np.zeros_like(y)
        for k in range(length, 0, -1):
            g, term = backward(g, results[k - 1], y, results[k])
            if term is not None:
                total += term

    return run


def tree(library, leaves):
    """A run: 50,000 negated copies of a leaf, added in pairs until one is left, and the way back."""
    x = _leaf(library, 0.5)
    start = _ones_like(x)

    def both():
        x.grad = None
        level = [-x for _ in range(leaves)]
        while len(level) > 1:
            level = [a + b for a, b in zip(level[::2], level[1::2], strict=False)] + level[len(level) & ~1 :]
        level[0].backward(start)

    return both


def measure(function, arguments, rounds, times, names=("minidl", "PyTorch")):
    """Seconds of a run by each: the least of all, since others may be using the machine."""
    from minidl.bench import harness  # here, so that a competitor's process loads no numba before PyTorch

    competitors = [harness.Competitor(name, __file__, function, name, *arguments) for name in names]
    seconds = harness.compare(competitors, rounds, times)
    for competitor in competitors:
        competitor.close()
    return {name: least for name, (_, least, _) in seconds.items()}


def main():
    from minidl.bench import harness

    parser = argparse.ArgumentParser(description="the engine's cost per operation, beside PyTorch's")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    print(f"{harness.machine()}\n")
    print("| operation | forward, µs | NumPy | PyTorch | forward and backward, µs | NumPy | PyTorch |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for name in OPERATIONS:
        names = "minidl", "NumPy", "PyTorch"
        passes = [measure("chain", (name, LENGTH, both), options.rounds, 15, names) for both in (False, True)]
        us = [{who: 1e6 * seconds / LENGTH for who, seconds in each.items()} for each in passes]
        cells = " | ".join(f"{each[who]:.1f}" for each in us for who in names)
        print(f"| {name} | {cells} |", flush=True)
        rows.append({"operation": name, "forward_us": us[0], "forward_and_backward_us": us[1]})
    print("\n| graph | minidl, s | per node, µs | PyTorch, s | per node, µs |\n|---|---|---|---|---|")
    graphs = []
    for name, nodes, function, arguments in (
        ("chain of 10,000 additions", 10_000, "chain", ("z + y", 10_000, True)),
        ("tree of 100,000 nodes", 99_999, "tree", (50_000,)),
    ):
        seconds = measure(function, arguments, options.rounds, 3)
        cells = " | ".join(f"{seconds[who]:.3f} | {1e6 * seconds[who] / nodes:.1f}" for who in ("minidl", "PyTorch"))
        print(f"| {name} | {cells} |", flush=True)
        graphs.append({"graph": name, "nodes": nodes, "seconds": seconds})
    if options.json:
        result = {"machine": harness.machine(), "operations": rows, "graphs": graphs}
        options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
