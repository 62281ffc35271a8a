"""The picture of a benchmark: horizontal bars, shares of a ceiling on the left, ratios to a peer on the right."""

_THICK = 0.27  # of the three bars of a line, each


def draw(titles, shares, ratios, labels, title, file):
    """Write the image.

    Args:
        titles: of the lines. shares: up to three of name -> (colour, {line's number: share}). ratios: {line's number:
            ratio}, above 1 where ours is faster.
        labels: what the two axes say. title: above all.

    Raises:
        ModuleNotFoundError: matplotlib is missing (pip install 'minidl[train]').
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(13, 1.6 + 0.3 * len(titles)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for number, (name, (colour, values)) in enumerate(shares.items()):
        if values:
            places = [place + (number - 1) * _THICK for place in values]
            left.barh(places, list(values.values()), _THICK, color=colour, label=name)
    left.axvline(1, color="black", linewidth=0.8)
    left.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    left.set_yticks(range(len(titles)), titles)
    left.set_ylim(len(titles) - 0.4, -0.6)
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
    if ratios:
        values = list(ratios.values())
        colours = ["#2e9e5b" if v >= 1 else "#d04a3a" for v in values]
        right.barh(list(ratios), [v - 1 for v in values], 0.6, left=1, color=colours)
        right.set_xscale("log", base=2)
        right.set_xlim(min(0.45, min(values) / 2), max(2.2, max(values) * 2))
        right.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        for place, value in ratios.items():
            right.annotate(f"{value:.2f}", (value, place), (4 if value >= 1 else -4, 0), textcoords="offset points",
                           ha="left" if value >= 1 else "right", va="center", fontsize=8)  # fmt: skip
    right.axvline(1, color="black", linewidth=0.8)
    for axes, label in zip((left, right), labels, strict=True):
        axes.set_xlabel(label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    figure.suptitle(title, fontsize=10)
    figure.savefig(file, dpi=110)
