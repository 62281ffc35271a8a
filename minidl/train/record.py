"""What a run leaves in its folder: the weights, the metrics of each epoch, the training curves."""

import csv
from dataclasses import asdict
from pathlib import Path

from ..serialization import atomic_write, save

WEIGHTS, METRICS, CURVES = "last.safetensors", "metrics.csv", "curves.png"


class Record:
    """Keeps the folder of a run up to date: every file is replaced whole, after each epoch, or not at all.

    Args:
        folder: made if missing.

    Raises:
        ValueError: the folder cannot be made or written to.
    """

    def __init__(self, folder):
        self.folder, self.epochs = Path(folder), []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic_write(self.folder / ".writable", lambda path: None)
            (self.folder / ".writable").unlink()
        except OSError as error:
            raise ValueError(f"out: {folder} cannot be written to: {error.strerror}") from None

    def add(self, epoch, net, metadata):
        """Note an Epoch; write the weights after it (with metadata, strings) and the metrics so far."""
        self.epochs.append(epoch)
        save(net.state_dict(), self.folder / WEIGHTS, metadata)
        atomic_write(self.folder / METRICS, self._write_metrics)

    def _write_metrics(self, path):
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, asdict(self.epochs[0]))
            writer.writeheader()
            writer.writerows(asdict(epoch) for epoch in self.epochs)

    def draw_curves(self, title):
        """Write the curves of loss and accuracy as PNG."""
        atomic_write(self.folder / CURVES, lambda path: _draw(self.epochs, title, path))


def _draw(epochs, title, path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    number = [e.epoch for e in epochs]
    for axes, name, scale, label in zip(
        figure.subplots(1, 2), ("loss", "top1"), ("log", "linear"), ("cross-entropy", "top-1 accuracy"), strict=True
    ):
        for part, colour in (("train", "tab:blue"), ("test", "tab:orange")):
            values = [getattr(e, f"{part}_{name}") for e in epochs]
            marker = "." if len(number) < 60 else None
            axes.plot(number, values, color=colour, marker=marker, label=f"{part}, at the end {values[-1]:.4f}")
        axes.set(xlabel="epoch", ylabel=label, yscale=scale)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3, which="both")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
