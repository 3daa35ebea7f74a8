"""One SVG: what each variant costs, as a multiple of host mode (or loopback), with the spread of the rounds."""

from netlab import Failure

from .judging import noise
from .report import names_in, readings_of
from .variants import PATHS

COLOURS = {"fastnet": "#d62728", "fastnet-direct": "#ff9896", "floor": "#8c8c8c", "docker": "#1f77b4", "docker-no-proxy": "#6baed6",
           "iptables": "#17becf", "nftables": "#2ca02c", "host+conntrack": "#9467bd", "host+docker": "#c5b0d5", "bridge": "#bcbd22",
           "vxlan": "#bcbd22", "host-prepared": "#e7a14a", "loopback-prepared": "#e7a14a"}
TICKS = (0.5, 0.7, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100)


def load_matplotlib():
    try:
        import matplotlib  # only here: nothing else needs it
    except ImportError as error:
        raise Failure(f"no plot: {error} (Debian's python3-matplotlib)") from None
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "fastnet", "svg.fonttype": "none", "font.size": 8, "axes.spines.top": False,
                                "axes.spines.right": False})
    from matplotlib import pyplot
    return pyplot


def cost(row, base, higher_is_better):
    """(ratio, least, most) such that more is slower, whatever is measured."""
    found = row["ratios"][base]
    values = found["ratio"], found.get("least", found["ratio"]), found.get("most", found["ratio"])
    return (1 / values[0], 1 / values[2], 1 / values[1]) if higher_is_better else values


def draw(document, metrics, file):
    pyplot = load_matplotlib()
    results = document["results"]
    columns = 2 if len(results) > 1 else 1
    readings = [reading for reading in readings_of(metrics) if "." not in reading.name]  # one figure of each metric
    lines = [sum(reading.name in found for reading in readings) for found in results.values()]
    heights = [max(lines[first:first + columns]) for first in range(0, len(lines), columns)]
    figure, axes = pyplot.subplots(len(heights), columns, squeeze=False, figsize=(5.6 * columns, 0.62 * sum(heights) + 1.1 * len(heights)),
                                   gridspec_kw={"height_ratios": heights}, layout="constrained")
    panels = list(axes.flat)
    for panel, path in zip(panels, results):
        _panel(panel, path, results[path], readings)
    for panel in panels[len(results):]:
        panel.set_visible(False)
    facts = document["facts"]
    figure.suptitle("Cost as a multiple of host mode or loopback on the same machine: left is faster. Median of "
                    f"{document['options']['rounds']} rounds, whiskers: least and most of a round\n"
                    f"{facts['date'][:10]}, kernel {facts['kernel']}, {facts['cpu']}, one core, commit {facts['commit']}", fontsize=8)
    figure.savefig(file, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _panel(panel, path, readings_found, readings):
    base, meaning = PATHS[path]
    shown = [reading for reading in readings if reading.name in readings_found]
    names = [name for name in names_in(path, readings_found) if name not in (base, f"{base}-again")]
    moved = noise({path: readings_found}).get(path, {})
    labelled = set()
    for line, reading in enumerate(shown):
        rows = readings_found[reading.name]
        around = max(abs(moved.get(reading.name, 0)), 0.002)
        panel.fill_betweenx([line - 0.45, line + 0.45], 1 / (1 + around), 1 + around, color="#dddddd", linewidth=0)
        for place, name in enumerate(names):
            if name not in rows or base not in rows:
                continue
            middle, least, most = cost(rows[name], base, reading.higher_is_better)
            height = line + 0.8 * ((place + 0.5) / len(names) - 0.5)
            panel.errorbar(middle, height, xerr=[[max(0, middle - least)], [max(0, most - middle)]], fmt="o", markersize=3, linewidth=0.8,
                           color=COLOURS.get(name, "#333333"), label=None if name in labelled else name)
            labelled.add(name)
    panel.axvline(1, color="black", linewidth=0.6)
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()
    panel.grid(axis="x", linewidth=0.3)
    panel.set_yticks(range(len(shown)), [reading.name for reading in shown])
    panel.set_ylim(len(shown) - 0.4, -0.6)
    panel.set_title(f"{path}: {meaning}\n({base} = 1; grey: {base} against itself)", fontsize=8, loc="left")
    panel.legend(fontsize=6, loc="best", framealpha=0.8)
