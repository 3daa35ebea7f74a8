"""Writes a result where people read it: README.md between its markers, and bench/results/ with everything."""

import json
import os

from netlab import REPO_DIR, Failure

from . import growth, plot, quoted
from .metrics import METRICS
from .report import digits, growth_cell, names_in, readings_of
from .variants import PATHS

RESULTS = os.path.join(REPO_DIR, "bench", "results")
BEGIN, END = "<!-- bench/compare writes from here -->", "<!-- to here -->"
COLUMNS = (("Docker", ("docker", "iptables")), ("Docker, no proxy", ("docker-no-proxy",)), ("nftables", ("nftables",)),
           ("vxlan + bridge", ("vxlan",)), ("floor", ("floor",)), ("**fastnet**", ("fastnet",)))
SHOWN = (("published", ("tcp_rr", "udp_rr", "crr_fin", "stream_up", "http", "inject")), ("outbound", ("tcp_rr", "crr_fin")),
         ("container", ("tcp_rr",)), ("localhost", ("tcp_rr",)), ("hairpin", ("tcp_rr",)), ("overlay", ("tcp_rr", "udp_rr", "stream_up")))


def markdown(lines):
    """The first line is the head."""
    yield "| " + " | ".join(lines[0]) + " |"
    yield "|" + "---|" * len(lines[0])
    for line in lines[1:]:
        yield "| " + " | ".join(line) + " |"


def summary_table(results):
    titles = {reading.name: reading for reading in readings_of(METRICS)}
    lines = [("path, metric", "host mode or loopback", *(title for title, _ in COLUMNS))]
    for path, names in SHOWN:
        base = PATHS[path][0]
        for name in names:
            rows = results.get(path, {}).get(name, {})
            if base not in rows:
                continue
            cells = []
            for _, variants in COLUMNS:
                variant = next((variant for variant in variants if variant in rows), None)
                cells.append(f"{rows[variant]['ratios'][base]['ratio']:.2f}" if variant else "")
            cells[-1] = f"**{cells[-1]}**" if cells[-1] else ""
            better = " (more is better)" if titles[name].higher_is_better else ""
            lines.append((f"{path}: {titles[name].title}{better}", f"{digits(rows[base]['median'])} {titles[name].unit}", *cells))
    return lines


def where(document):
    facts, options = document["facts"], document["options"]
    changes = " with changes" if facts["uncommitted_changes"] else ""
    return (f"{facts['date'][:10]}, commit {facts['commit']}{changes}, {facts['cpu']}, {facts['cpus']} CPUs, kernel {facts['kernel']}, "
            f"{facts['docker']}; client, server and softirq on one core; medians of {options['rounds']} rounds of "
            f"{options['seconds']:g} s; load {facts['load_average_before'][0]:.1f} when it began. Made by `{facts['command']}`.")


def full_tables(document):
    yield from ("# Results of bench/compare", "",
                "Written by `bench/compare --from FILE --readme`; do not edit. `bench/README.md` says what each figure means.", "",
                where(document), "", "![cost of each variant](compare.svg)", "")
    for path, readings in document["results"].items():
        base, meaning = PATHS[path]
        names = names_in(path, readings)
        yield from (f"## {path}: {meaning}", "", f"Medians, least to most of a round, ratio to {base}.", "")
        lines = [("", *names)]
        for reading in readings_of(METRICS):
            rows = readings.get(reading.name)
            if rows:
                lines.append((f"{reading.name} [{reading.unit}]", *(full_cell(rows.get(name), base) for name in names)))
        yield from markdown(lines)
        yield ""
    yield from ("## Aims", "", "`at the limit`: the limit is within what chance does to this ratio, so this run cannot tell.", "")
    yield from markdown([("ratio", "measured", "+-", "limit", "verdict"),
                         *((f"{row['path']} {row['reading']}: {row['variant']} / {row['against']}", f"{row['ratio']:.3f}",
                            f"{row['tolerance']:.3f}", f"{row['bound']} {row['limit']:.2f}", row["verdict"])
                           for row in document["targets"] if row["ratio"])])
    if "growth" in document:
        yield from ("", "## Growth", "")
        yield from growth_tables(document["growth"])
    if "quoted" in document:
        yield from ("", "## A quoted comparison, with these figures", "")
        yield from markdown([quoted.COLUMNS, *quoted.rows(document)])
    warnings = [*document["warnings"], *(f"{key}: {why}" for key, why in document["errors"].items())]
    if warnings:
        yield from ("", "## Warnings", "", *(f"- {text}" for text in warnings))


def full_cell(row, base):
    if not row:
        return ""
    found = row["ratios"].get(base)
    return f"{digits(row['median'])} ({digits(row['min'])}-{digits(row['max'])})" + (f" **{found['ratio']:.2f}**" if found else "")


def growth_tables(found):
    for title, reading, unit, counts, lines in growth.rows(found):
        yield from (f"{reading} [{unit}] by {title}; in brackets the ratio to {counts[0]}:", "")
        yield from markdown([("", *(f"{count:,}" for count in counts)),
                             *((variant, *(growth_cell(median, ratio) for median, ratio in figures)) for variant, figures in lines)])
        yield ""
    yield from ("Seconds from nothing to a node with that many published ports:", "")
    counts = sorted({int(count) for by_count in found["publish_seconds"].values() for count in by_count})
    yield from markdown([("", *(f"{count:,}" for count in counts)),
                         *((variant, *(f"{by_count[str(count)]:g}" if str(count) in by_count else "" for count in counts))
                           for variant, by_count in found["publish_seconds"].items())])


def rounded(value):
    """Six digits: nothing here was measured to more."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value


def sentences(document):
    """What the table of ratios does not show."""
    new = document.get("growth", {}).get("ports", {}).get("crr_fin", {})
    last = {name: by_count[max(by_count, key=int)]["median"] / by_count[min(by_count, key=int)]["median"] for name, by_count in new.items()
            if len(by_count) > 1}
    if {"iptables", "fastnet"} <= last.keys():
        count = max(int(count) for count in new["fastnet"])
        yield (f"With {count:,} published ports instead of one a new connection takes {last['iptables']:.1f} times as long "
               f"through Docker's rules, {last['fastnet']:.2f} times through fastnet.")
    quoted_rows = document.get("quoted", {})
    if {"docker", "fastnet"} <= quoted_rows.keys():
        docker, ours = quoted_rows["docker"], quoted_rows["fastnet"]
        yield (f"Publishing {quoted_rows['ports']:,} UDP ports takes Docker {docker['publish_seconds']:.1f} s and {docker['processes']:,} "
               f"processes, fastnet {ours['publish_seconds']:.2f} s and {ours['processes'] or 'none'}.")


def short_text(document):
    yield from ("Ratios to host mode (loopback where both ends are on the node) on the same machine; less is better unless it says",
                "otherwise. `floor` is a veth pair behind BPF programs that only redirect.", "")
    yield from markdown(summary_table(document["results"]))
    yield from ("", *sentences(document))
    yield from ("", "![cost of each variant, as a multiple of host mode](bench/results/compare.svg)", "", where(document),
                "All paths, metrics and spreads, growth with ports and flows, and a quoted comparison of Docker's modes:",
                "`bench/results/README.md`.")


def write(document):
    """`document` as read from JSON."""
    os.makedirs(RESULTS, exist_ok=True)
    plot.draw(document, METRICS, os.path.join(RESULTS, "compare.svg"))
    with open(os.path.join(RESULTS, "compare.json"), "w", encoding="utf-8") as file:
        json.dump(rounded({key: value for key, value in document.items() if key != "raw"}), file, separators=(",", ":"))
        file.write("\n")
    with open(os.path.join(RESULTS, "README.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(full_tables(document)).rstrip() + "\n")
    readme = os.path.join(REPO_DIR, "README.md")
    with open(readme, encoding="utf-8") as file:
        text = file.read()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Failure(f"README.md: no line {BEGIN!r} and {END!r} to write between")
    with open(readme, "w", encoding="utf-8") as file:
        file.write("\n".join([before + BEGIN, *short_text(document), END]) + after)
