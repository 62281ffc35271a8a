"""Why weights must start different: units that start equal stay equal, whatever the data and however long the training.

Two hidden units with the same weights compute the same, so the same gradient comes back to both, so they stay the same:
the layer has the power of a single unit. The net, 1024 - 8 - 10 with ReLU, learns the bundled digits twice, from
constant weights and from He's.
"""

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

import minidl as dl
from minidl import nn

COLOURS = {"constant": "#d55e00", "he": "#009e73"}


@dataclass
class Run:
    """A training. Entry 0 of weights and distances is the start, before the first step.

    losses: of each step's batch. accuracy: on the test images, at the end.
    weights: (steps + 1, hidden) the weight of each hidden unit for one pixel.
    distances: (steps + 1,) the greatest difference between the same weight of two hidden units.
    units: (hidden, 32, 32) all weights of the hidden units at the end.
    """

    losses: np.ndarray
    accuracy: float
    weights: np.ndarray
    distances: np.ndarray
    units: np.ndarray


def train(scheme, steps=400, hidden=8, batch=64, lr=0.02, pixel=(16, 16), seed=0):
    """Train the net from weights of a scheme of nn.init.SCHEMES with plain gradient descent; returns a Run."""
    dl.manual_seed(seed)
    digits = dl.data.load("digits")
    images, labels = digits.normalize(digits.train_images), digits.train_labels
    net = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, hidden), nn.ReLU(), nn.Linear(hidden, 10))
    nn.init.initialize(net, scheme)
    optimizer = dl.optim.SGD(net.parameters(), lr)
    weight, column = net[1].weight, 32 * pixel[0] + pixel[1]
    rng = np.random.default_rng(seed)
    losses, weights, distances = [], [], []

    def note():
        weights.append(weight.data[:, column].copy())
        distances.append(np.ptp(weight.data, axis=0).max())

    note()
    for _ in range(steps):
        chosen = rng.choice(len(images), batch, replace=False)
        optimizer.zero_grad()
        loss = dl.ops.cross_entropy(net(dl.Tensor(images[chosen])), dl.Tensor(labels[chosen]))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        note()
    with dl.no_grad():
        found = net(dl.Tensor(digits.normalize(digits.test_images))).data.argmax(1)
    accuracy = float((found == digits.test_labels).mean())
    return Run(
        np.array(losses), accuracy, np.array(weights), np.array(distances), weight.data.reshape(-1, 32, 32).copy()
    )


def draw(constant, he, path):
    """A weight of every unit over the steps, the losses, and what the units look for at the end."""
    from matplotlib.figure import Figure

    hidden = len(he.units)
    figure = Figure(figsize=(10.5, 6.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    panels = top.subplots(1, 3)
    for axes, run, name in zip(panels, (constant, he), COLOURS, strict=False):
        axes.plot(run.weights, color=COLOURS[name], lw=1.5, alpha=0.8)
        axes.set_title(f"{'He' if name == 'he' else name}: one weight of {hidden} units", fontsize=11)
        axes.set(xlabel="step", ylabel="weight of the middle pixel")
    if not constant.distances.any():
        panels[0].text(0.04, 0.93, f"{hidden} curves, one upon another", transform=panels[0].transAxes)
    for run, name in ((constant, "constant"), (he, "He")):
        smooth = np.convolve(run.losses, np.ones(10) / 10, "valid")
        label = f"{name}: test accuracy {run.accuracy:.0%}"
        panels[2].plot(np.arange(len(smooth)) + 10, smooth, color=COLOURS[name.lower()], lw=2, label=label)
    panels[2].set(xlabel="step", ylabel="cross-entropy, mean of 10 steps", ylim=(0, 3.2))
    panels[2].set_title("loss", fontsize=11)
    panels[2].legend(frameon=False, fontsize=9, loc="upper right")
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for line, run, name in zip(bottom.subplots(2, hidden), (constant, he), ("constant", "He"), strict=True):
        limit = np.abs(run.units).max()
        for number, (axes, unit) in enumerate(zip(line, run.units, strict=True)):
            axes.imshow(unit, cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set(xticks=[], yticks=[])
            if not number:
                axes.set_ylabel(name, fontsize=11)
            if name == "constant":
                axes.set_title(f"unit {number + 1}", fontsize=9)
    bottom.suptitle("weights of the hidden units after training (red positive, blue negative)", fontsize=11)
    figure.savefig(path, dpi=100)


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default="runs/demonstrations", show_default=True
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def main(out, seed):
    """Train from constant and from He's weights, print the table and write the picture to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    runs = {scheme: train(scheme, seed=seed) for scheme in COLOURS}
    print(f"{'weights':10} {'largest distance of units':>26} {'last losses':>12} {'test accuracy':>14}")
    for scheme, run in runs.items():
        print(f"{scheme:10} {run.distances.max():26.3g} {run.losses[-20:].mean():12.3f} {run.accuracy:14.3f}")
    draw(runs["constant"], runs["he"], out / "symmetric-weights.png")


if __name__ == "__main__":
    main()
