"""From single answers to medians, spreads, ratios and verdicts. Pure: no measuring, no printing."""

import math
import statistics

from .variants import PATHS

FEWEST_ROUNDS = 5  # that a verdict needs: of fewer, the spread says nothing
RESOLUTION = 0.01  # runs of the same thing on the same machine differ by that: memory is laid out anew


def mad(values):
    """Median absolute deviation."""
    middle = statistics.median(values)
    return statistics.median(abs(value - middle) for value in values)


def summarise(raw, variants, metrics):
    """path -> reading -> variant -> figures, with ratios to every other variant of the path."""
    results = {}
    for path in PATHS:
        for metric in metrics:
            for reading in metric.readings:
                rows = {}
                for variant in variants:
                    answers = raw.get((path, metric.name, variant.name), []) if variant.path == path else []
                    values = [answer[reading.field] * reading.scale for answer in answers]
                    if values:
                        rows[variant.name] = {"unit": reading.unit, "median": statistics.median(values), "min": min(values),
                                              "max": max(values), "mad": mad(values), "values": values,
                                              "rounds": [answer.get("round", number) for number, answer in enumerate(answers)]}
                for name, row in rows.items():
                    row["ratios"] = {other: ratio(row, against) for other, against in rows.items() if other != name}
                if rows:
                    results.setdefault(path, {})[reading.name] = rows
    return results


def ratio(row, base):
    """Of the medians; least and most of single rounds; and how far chance may have moved it (95 %)."""
    found = {"ratio": row["median"] / base["median"]}
    others = dict(zip(base["rounds"], base["values"]))
    paired = [value / others[number] for number, value in zip(row["rounds"], row["values"]) if number in others]
    if paired:
        # The standard error of a median is 1.2533 of the mean's; 1.4826 MAD estimates the standard deviation.
        error = 1.96 * 1.2533 * 1.4826 * mad(paired) / math.sqrt(len(paired))
        found |= {"least": min(paired), "most": max(paired), "error": error}
    return found | {"pairs": len(paired)}


def noise(results):
    """path -> reading -> how far the baseline was from itself."""
    found = {}
    for path, readings in results.items():
        base = PATHS[path][0]
        for name, rows in readings.items():
            if base in rows and f"{base}-again" in rows:
                found.setdefault(path, {})[name] = rows[f"{base}-again"]["ratios"][base]["ratio"] - 1
    return found


def judge(results, targets):
    """Met or missed; `too few rounds` of both, or `at the limit` where this run cannot tell, because the limit is within what chance does to the ratio."""
    moved = noise(results)
    judged = []
    for target in targets:
        rows = results.get(target.path, {}).get(target.reading, {})
        found = rows[target.variant]["ratios"].get(target.against) if target.variant in rows else None
        verdict, tolerance = "not measured", None
        if found:
            tolerance = max(RESOLUTION, found.get("error", 0), abs(moved.get(target.path, {}).get(target.reading, 0)))
            margin = (target.limit - found["ratio"]) if target.bound == "<=" else (found["ratio"] - target.limit)
            verdict = "too few rounds" if found["pairs"] < FEWEST_ROUNDS else "at the limit" if abs(margin) <= tolerance * target.limit else "met" if margin > 0 else "MISSED"
        judged.append({"path": target.path, "reading": target.reading, "variant": target.variant, "against": target.against,
                       "bound": target.bound, "limit": target.limit, "ratio": found and found["ratio"], "tolerance": tolerance,
                       "verdict": verdict})
    return judged


def flips(one, two):
    """The targets whose verdicts contradict each other: met in one run, missed in the other."""
    def key(row):
        return row["path"], row["reading"], row["variant"], row["against"], row["bound"], row["limit"]

    others = {key(row): row for row in two}
    pairs = [(row, others[key(row)]) for row in one if key(row) in others]
    return [(a, b) for a, b in pairs if {a["verdict"], b["verdict"]} == {"met", "MISSED"}], pairs


def doubts(raw):
    """Answers that are not what they look like: losses, failed connections."""
    found = []
    for (path, metric, variant), answers in raw.items():
        done = sum(answer.get("transactions", 0) for answer in answers)
        for what in ("failed", "lost", "port_busy"):
            total = sum(answer.get(what, 0) for answer in answers)
            if total > done / 1000:
                found.append(f"{path}/{variant} {metric}: {what} {total} of {done}")
        sent = sum(answer.get("sent", 0) for answer in answers)
        delivered = sum(answer.get("delivered", 0) for answer in answers)
        if delivered < 0.999 * sent:
            found.append(f"{path}/{variant} {metric}: only {delivered} of {sent} frames were delivered")
    return found
