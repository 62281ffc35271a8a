"""How the scale of activations and of gradients travels through a deep net, by the weights it starts from.

A fully connected net without training, h = f(x W^T) thirty times over, fed with normal draws. A layer multiplies the
variance of what passes by fan_in * Var(w), and ReLU halves it, so after thirty layers the factor stands to the power
of thirty. minidl/nn/init.py has the papers' formulas.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

import minidl as dl
from minidl import ops
from minidl.nn import init

WEIGHTS = {
    "constant": lambda w: init.constant_(w, 1 / w.shape[1]),
    "std 0.01": lambda w: init.normal_(w, 0, 0.01),
    "std 0.2": lambda w: init.normal_(w, 0, 0.2),
    "Xavier": init.xavier_normal_,
    "He": lambda w: init.kaiming_normal_(w),
}
ACTIVATIONS = {"relu": ops.relu, "tanh": ops.tanh}
COLOURS = dict(zip(WEIGHTS, ("#888888", "#0072b2", "#d55e00", "#cc79a7", "#009e73"), strict=True))
MARKERS = dict(zip(WEIGHTS, "ovsD^", strict=True))
SHOWN = (1, 5, 10, 20, 30)  # layers of the histograms


@dataclass
class Signal:
    """What was measured, by layer; the first entry belongs to layer 1.

    activations: standard deviation of all entries of h. gradients: of the loss's derivatives with respect to h.
    spread: how far the units of a layer differ, the mean over the batch of the standard deviation over the units.
    values: h itself, (batch, width), one array per layer.
    """

    activations: list
    gradients: list
    spread: list
    values: list


def signal(weights, batch_norm=False, activation="relu", depth=30, width=256, batch=256, seed=0):
    """Send a batch of normal draws forward and a normal cotangent back; returns a Signal.

    weights: a name of WEIGHTS. batch_norm: normalize each layer's x W^T before the activation.
    """
    dl.manual_seed(seed)
    rng = np.random.default_rng(seed)
    h, layers = dl.Tensor(rng.standard_normal((batch, width), np.float32)), []
    for _ in range(depth):
        w = WEIGHTS[weights](dl.Tensor(np.empty((width, width), np.float32), requires_grad=True))
        z = ops.linear(h, w)
        h = ACTIVATIONS[activation](ops.batch_norm(z, None, None, training=True) if batch_norm else z)
        h.retain_grad()
        layers.append(h)
    h.backward(dl.Tensor(rng.standard_normal(h.shape, np.float32)))
    values = [h.data for h in layers]
    return Signal(
        [float(np.std(v, dtype=np.float64)) for v in values],
        [float(np.std(h.grad.data, dtype=np.float64)) for h in layers],
        [float(np.std(v, axis=1, dtype=np.float64).mean()) for v in values],
        values,
    )


def per_layer(scales):
    """By what factor a scale changes per layer, as a geometric mean."""
    return math.exp((math.log(scales[-1]) - math.log(scales[0])) / (len(scales) - 1))


def measure(activation="relu", seed=0, **sizes):
    """(weights, batch_norm) -> Signal, for all weights."""
    return {(w, bn): signal(w, bn, activation, seed=seed, **sizes) for bn in (False, True) for w in WEIGHTS}


def draw_scales(signals, activation, path):
    """Four panels: activations and gradients, without and with batch norm."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator

    figure = Figure(figsize=(10.5, 7), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    for column, batch_norm in enumerate((False, True)):
        for row, what in enumerate(("activations", "gradients")):
            axes = panels[row, column]
            for number, name in enumerate(WEIGHTS):
                scales = getattr(signals[name, batch_norm], what)
                # Where curves coincide, markers at different layers keep all of them in sight.
                axes.plot(
                    range(1, len(scales) + 1), scales, color=COLOURS[name], lw=2, label=name,
                    marker=MARKERS[name], markersize=6, markevery=(number, 5),
                )  # fmt: skip
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(FixedLocator([10.0**power for power in range(-40, 41, 5)]))
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0, column].set_title("with batch norm" if batch_norm else "without batch norm")
        panels[1, column].set_xlabel("layer")
    panels[0, 0].set_ylabel("std of the activations")
    panels[1, 0].set_ylabel("std of the gradients")
    depth, width = len(scales), signals["He", False].values[0].shape[1]
    name = {"relu": "ReLU"}.get(activation, activation)
    figure.suptitle(f"{depth} layers of {width} units, {name}: the scale of what passes through", fontsize=13)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=100)


def draw_histograms(rows, path, layers=SHOWN):
    """Small multiples: one row for each (title, Signal), one column for each layer; tanh's range, -1 to 1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 1.5 * len(rows) + 0.8), layout="constrained")
    panels = figure.subplots(len(rows), len(layers), sharex=True)
    for (title, found), line in zip(rows, panels, strict=True):
        for layer, axes in zip(layers, line, strict=True):
            axes.hist(found.values[layer - 1].ravel(), bins=41, range=(-1, 1), color=COLOURS[title.split(",")[0]])
            axes.set(yticks=[], xlim=(-1.05, 1.05), xticks=[-1, 0, 1])
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.set_title(f"std {found.activations[layer - 1]:.2g}", fontsize=9, loc="right")
            if axes is line[0]:
                axes.set_ylabel(title.replace(", ", ",\n"), rotation=0, ha="right", va="center", fontsize=11)
    for layer, axes in zip(layers, panels[-1], strict=True):
        axes.set_xlabel(f"layer {layer}", fontsize=11)
    figure.suptitle("Activations of a tanh net, by layer and initial weights", fontsize=13)
    figure.savefig(path, dpi=100)


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default="runs/demonstrations", show_default=True
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--activation", type=click.Choice(list(ACTIVATIONS)), default="relu", show_default=True)
def main(out, seed, activation):
    """Measure 30 layers, print the table and write the pictures to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    signals = measure(activation, seed)
    print(f"{activation}: std of layer 30 (h) and of the gradient at layer 1 (g), and the factor of h per layer")
    print(f"{'weights':10} {'h':>9} {'g':>9} {'factor':>8}   with batch norm: {'h':>6} {'g':>9} {'factor':>8}")
    for name in WEIGHTS:
        plain, normed = ((s.activations[-1], s.gradients[0], per_layer(s.activations)) for s in
                         (signals[name, False], signals[name, True]))  # fmt: skip
        print("{:10} {:9.2g} {:9.2g} {:8.3f}   {:23.2g} {:9.2g} {:8.3f}".format(name, *plain, *normed))
    draw_scales(signals, activation, out / f"signal-through-depth-{activation}.png")
    tanh = signals if activation == "tanh" else measure("tanh", seed)
    rows = [(name, tanh[name, False]) for name in WEIGHTS if name != "constant"]
    rows.append(("std 0.01, batch norm", tanh["std 0.01", True]))
    draw_histograms(rows, out / "signal-through-depth-histograms.png")


if __name__ == "__main__":
    main()
