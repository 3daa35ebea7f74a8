"""Tables on stdout, and the same as Markdown for README.md."""

from . import growth, quoted
from .judging import flips, noise
from .variants import PATHS, VARIANTS


def digits(value):
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def readings_of(metrics):
    return [reading for metric in metrics for reading in metric.readings]


def names_in(path, readings):
    return [variant.name for variant in VARIANTS if variant.path == path and any(variant.name in rows for rows in readings.values())]


def header(document):
    found, options = document["facts"], document["options"]
    print(f"{found['date']}  kernel {found['kernel']}  {found['cpu']}, {found['cpus']} cpus, all on cpu {found['pinned_to_cpu']}  "
          f"IPv{found['family']}  commit {found['commit']}{'+changes' if found['uncommitted_changes'] else ''}")
    print(f"load {found['load_average_before'][0]:.2f} -> {found['load_average_after'][0]:.2f}, "
          f"steal at most {found['steal_percent_max']} %, {options['rounds']} rounds of {options['seconds']} s, medians")
    print(f"docker: {found['docker']}")


def details(results, metrics):
    for path, readings in results.items():
        base = PATHS[path][0]
        for reading in readings_of(metrics):
            rows = readings.get(reading.name)
            if not rows:
                continue
            print(f"\n{path}: {reading.title} [{reading.unit}, {'more' if reading.higher_is_better else 'less'} is better]")
            print(f"  {'variant':<18}{'median':>9}{'min':>9}{'max':>9}{'MAD':>8}   {'/' + base:<11} round by round")
            for name, row in rows.items():
                found = row["ratios"].get(base)
                spread = f"{found['least']:.3f}..{found['most']:.3f}" if found and "least" in found else ""
                print(f"  {name:<18}{digits(row['median']):>9}{digits(row['min']):>9}{digits(row['max']):>9}{digits(row['mad']):>8}   "
                      f"{format(found['ratio'], '.3f') if found else '1':<11} {spread}")


def matrix(results, metrics):
    for path, readings in results.items():
        base, meaning = PATHS[path]
        names = names_in(path, readings)
        print(f"\n{path} ({meaning}): medians, and in brackets the ratio to {base}")
        print(f"  {'':<22}" + "".join(f"{name:>18}" for name in names))
        for reading in readings_of(metrics):
            rows = readings.get(reading.name)
            if not rows:
                continue
            print(f"  {reading.name + ' [' + reading.unit + ']':<22}" + "".join(f"{cell(rows, name, base):>18}" for name in names))
        again = [f"{name} {moved:+.1%}" for name, moved in noise({path: readings}).get(path, {}).items()]
        if again:
            print(f"  noise of this run ({base} against {base}): {', '.join(again)}")


def cell(rows, name, base):
    if name not in rows:
        return "-"
    found = rows[name]["ratios"].get(base)
    return digits(rows[name]["median"]) + (f" ({found['ratio']:.2f})" if found else "")


def grown(found):
    for title, reading, unit, counts, lines in growth.rows(found):
        print(f"\ngrowth, {reading} [{unit}] by {title}: medians, and in brackets the ratio to {counts[0]}")
        print(f"  {'':<12}" + "".join(f"{count:>18,}" for count in counts))
        for variant, figures in lines:
            print(f"  {variant:<12}" + "".join(f"{growth_cell(median, ratio):>18}" for median, ratio in figures))
    print("\nseconds from nothing to a node with that many published ports: " + "; ".join(
        f"{variant} " + ", ".join(f"{seconds:g} ({int(count):,})" for count, seconds in by_count.items())
        for variant, by_count in found["publish_seconds"].items()))


def growth_cell(median, ratio):
    return "-" if median is None else digits(median) + (f" ({ratio:.2f})" if ratio else "")


def quotation(document):
    lines = [quoted.COLUMNS, *quoted.rows(document)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(quoted.COLUMNS))]
    print("\na quoted comparison of Docker's modes, and Docker 20.10 as seen before this project, with this machine's figures")
    for line in lines:
        print("  " + line[0].ljust(widths[0]) + "".join("  " + text.rjust(width) for text, width in zip(line[1:], widths[1:])))


def targets(judged):
    print(f"\n{'targets':<56}{'measured':>10}{'+-':>7}  {'limit':<9}verdict")
    for row in judged:
        what = f"{row['path']} {row['reading']}: {row['variant']} / {row['against']}"
        measured = "-" if row["ratio"] is None else f"{row['ratio']:.3f}"
        tolerance = "" if row["tolerance"] is None else f"{row['tolerance']:.3f}"
        print(f"  {what:<54}{measured:>10}{tolerance:>7}  {row['bound'] + ' ' + format(row['limit'], '.2f'):<9}{row['verdict']}")


def same_verdicts(names, documents):
    """Whether two runs say the same; prints what differs, returns whether none contradicts the other."""
    contradictions, pairs = flips(*(document["targets"] for document in documents))
    print(f"{'':<56}{names[0]:>24}{names[1]:>24}")
    for one, two in pairs:
        if one["verdict"] != two["verdict"]:
            what = f"{one['path']} {one['reading']}: {one['variant']} / {one['against']} {one['bound']} {one['limit']:.2f}"
            said = [(format(row["ratio"], ".3f") if row["ratio"] else "-") + " " + row["verdict"] for row in (one, two)]
            print(f"  {what:<54}" + "".join(f"{text:>24}" for text in said))
    equal = sum(one["verdict"] == two["verdict"] for one, two in pairs)
    print(f"{equal} of {len(pairs)} verdicts are the same, {len(contradictions)} contradict each other, "
          "the rest is at the limit or not measured in one of them")
    return not contradictions and bool(pairs)
