"""Draws the error of number formats against the bytes that a token reads, from the samples of
`quality.py`: `plot_quality.py result.json quality.svg`.
"""

import json
import sys

import matplotlib

matplotlib.use("svg")
# Text stays text, and the same samples give the same file.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "quality"})
from matplotlib import pyplot  # noqa: E402  (the backend comes first)

MARKERS = {"Kinglet": ("o", "#c2410c"), "llama.cpp": ("s", "#475569")}


def main() -> None:
    source, output = sys.argv[1:]
    with open(source) as file:
        formats = json.load(file).values()
    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for maker, (marker, colour) in MARKERS.items():
        points = sorted(
            (found["read_bytes_per_token"] / 1e6, found["mean_kl"], found["name"])
            for found in formats
            if found["maker"] == maker
        )
        across, up, _ = zip(*points)
        axes.plot(across, up, marker=marker, color=colour, linestyle="none", label=maker)
        for x, y, name in points:
            axes.annotate(name, (x, y), xytext=(6, 4), textcoords="offset points", color=colour)
    # Room for the names at the right.
    axes.margins(x=0.1)
    axes.set_yscale("log")
    axes.set_xlabel("MB that a token reads")
    axes.set_ylabel("mean KL divergence to the unquantized model")
    axes.grid(True, which="both", linewidth=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(output, metadata={"Date": None})


main()
