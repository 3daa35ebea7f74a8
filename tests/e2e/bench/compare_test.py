"""bench/compare in its shortest form: every kind of measurement gives a result, and what it writes can be read again. No time decides.

    compare_test.py COMPARE FASTNET FNBENCH DIRECTORY
"""

import json
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

SKIPPED = 77


def call(*words, expect=0):
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == SKIPPED:
        print(done.stdout)
        sys.exit(SKIPPED)
    if done.returncode != expect:
        sys.exit(f"{' '.join(map(str, words))}: exit status {done.returncode}, not {expect}\n{done.stdout}")
    return done.stdout


def check(condition, what):
    if not condition:
        sys.exit(f"failed: {what}")


def contradict(document):
    """The same run with one verdict turned round."""
    row = next(row for row in document["targets"] if row["ratio"])
    row["verdict"] = "MISSED"
    turned = json.loads(json.dumps(document))
    next(other for other in turned["targets"] if other["ratio"])["verdict"] = "met"
    return turned


def main():
    compare, fastnet, fnbench, directory = (Path(argument) for argument in sys.argv[1:])
    directory.mkdir(parents=True, exist_ok=True)
    result, plot, turned = directory / "compare.json", directory / "compare.svg", directory / "turned.json"
    printed = call(compare, "--smoke", "--full", "--fastnet", fastnet, "--fnbench", fnbench, "--json", result, "--plot", plot)
    document = json.loads(result.read_text(encoding="utf-8"))
    results = document["results"]

    measured = {(path, variant) for path, readings in results.items() for variant in readings.get("tcp_rr", {})}
    for path, base in (("published", "host"), ("outbound", "host"), ("container", "loopback"), ("localhost", "loopback"),
                       ("hairpin", "loopback"), ("overlay", "host")):
        for variant in (base, f"{base}-again", "fastnet"):
            check((path, variant) in measured, f"tcp_rr of {path}/{variant}")
    docker = "docker" if ("published", "docker") in measured else "iptables"
    check(("localhost", docker) in measured, f"localhost through {docker}, which stands for Docker here")
    for reading in ("udp_rr.p99", "crr_fin", "crr_rst", "stream_up", "stream_down", "http", "inject", "inject.rate"):
        row = results["published"][reading]["fastnet"]
        check(row["median"] > 0 and row["ratios"]["host"]["ratio"] > 0, f"{reading} of published/fastnet")
    for table, readings in (("ports", ("tcp_rr", "crr_fin")), ("flows", ("tcp_rr", "udp_rr", "crr_fin")), ("flows_in_use", ("inject",))):
        for reading in readings:
            found = document["growth"][table][reading]["fastnet"].values()
            check(found and all(row["median"] > 0 for row in found), f"growth of {reading} by {table}")
    check(document["quoted"]["fastnet"]["processes"] == 0, "fastnet needs no process for a port")
    check(not document["errors"] and not document["leftovers"], "errors")
    check("too few rounds" in printed, "verdicts are printed")

    drawing = xml.etree.ElementTree.fromstring(plot.read_text(encoding="utf-8"))
    texts = " ".join(text for element in drawing.iter() for text in element.itertext())
    check(drawing.tag.endswith("svg"), "the plot is an SVG")
    check(all(word in texts for word in ("published", "overlay", "fastnet", "tcp_rr")), "the plot has its paths and variants")

    check("published" in call(compare, "--from", result, "--brief"), "an earlier run is shown again")
    call(compare, "--same", result, result)
    turned.write_text(json.dumps(contradict(document)), encoding="utf-8")
    result.write_text(json.dumps(document), encoding="utf-8")
    check("1 contradict" in call(compare, "--same", result, turned, expect=1), "verdicts that contradict each other are found")


main()
