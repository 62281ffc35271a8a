"""Batch norm and layer norm do the same to the same matrix, one down the columns, the other along the rows.

Rows are samples of a batch, columns are features (units, channels). Batch norm: Ioffe, Szegedy 2015, algorithm 1; layer
norm: Ba, Kiros, Hinton 2016, section 3. Both without their learned scale and shift.
"""

from pathlib import Path

import click
import numpy as np

import minidl as dl

EPS = 1e-5


def matrix(rows=6, columns=5, seed=0):
    """Features of different means and scales, and samples of different brightness: (rows, columns), float64."""
    rng = np.random.default_rng(seed)
    features = np.linspace(-3, 6, columns) + np.linspace(0.5, 2.5, columns) * rng.standard_normal((rows, columns))
    return features + 2 * rng.standard_normal((rows, 1))


def normalized(x, axis):
    """x with mean 0 and variance 1 along an axis: 0 is batch norm, 1 is layer norm."""
    x = dl.Tensor(x)
    return ((x - x.mean(axis, keepdim=True)) / (x.var(axis, correction=0, keepdim=True) + EPS).sqrt()).data


def statistics(x, axis):
    """(2, n): the means and the standard deviations along an axis."""
    return np.stack([x.mean(axis), x.std(axis)])


def draw(x, path):
    """Three heat maps with the statistics of the columns below and of the rows beside them."""
    from matplotlib.figure import Figure

    pictures = {"before": x, "batch norm: by columns": normalized(x, 0), "layer norm: by rows": normalized(x, 1)}
    rows, columns = x.shape
    figure = Figure(figsize=(13, 5), layout="constrained")
    for part, (title, values) in zip(figure.subfigures(1, 3, wspace=0.04), pictures.items(), strict=True):
        (main, right), (below, corner) = part.subplots(
            2, 2, width_ratios=(columns, 2), height_ratios=(rows, 2), gridspec_kw={"wspace": 0.04, "hspace": 0.04}
        )
        corner.set_axis_off()
        limit = np.abs(values).max()
        _cells(main, values, cmap="RdBu_r", vmin=-limit, vmax=limit)
        main.set_ylabel("sample")
        for axes, strip, fixed in ((below, statistics(values, 0), title.startswith("batch")),
                                   (right, statistics(values, 1).T, title.startswith("layer"))):  # fmt: skip
            _cells(axes, strip, cmap="Greys", vmin=0, vmax=1e9)  # white: only the numbers count
            for side in axes.spines.values():
                side.set(color="#009e73" if fixed else "#999999", linewidth=3 if fixed else 1)
        below.set_yticks([0, 1], ["mean", "std"])
        below.set_xlabel("feature")
        right.set_xticks([0, 1], ["mean", "std"])
        right.xaxis.tick_top()
        part.suptitle(title, fontsize=13)
    figure.savefig(path, dpi=100)


def _cells(axes, values, **colours):
    axes.imshow(values, aspect="auto", **colours)
    axes.set(xticks=[], yticks=[])
    axes.tick_params(length=0)
    for (i, j), value in np.ndenumerate(values):
        dark = colours["vmin"] < 0 and abs(value) > 0.65 * colours["vmax"]
        text = f"{value:.1f}".replace("-0.0", "0.0")
        axes.text(j, i, text, ha="center", va="center", color="white" if dark else "black", fontsize=11)


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default="runs/demonstrations", show_default=True
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def main(out, seed):
    """Normalize a matrix both ways, print the table and write the picture to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    x = matrix(seed=seed)
    print("greatest distance of the means from 0 and of the standard deviations from 1")
    print(f"{'':12} {'column means':>13} {'column stds':>12} {'row means':>10} {'row stds':>9}")
    for name, values in (("before", x), ("batch norm", normalized(x, 0)), ("layer norm", normalized(x, 1))):
        found = [np.abs(statistics(values, axis) - [[0], [1]]).max(1) for axis in (0, 1)]
        print("{:12} {:13.5f} {:12.5f} {:10.5f} {:9.5f}".format(name, *found[0], *found[1]))
    draw(x, out / "batch-and-layer-norm.png")


if __name__ == "__main__":
    main()
