"""What many published ports and many flows cost: the same measurements on nodes with 1 to 10,000 ports, and beside 1 to 200,000 flows."""

import json
import statistics
import time

from netlab import Failure, inside, run

from .metrics import METRICS
from .runner import measure, progress, serve, wait_until_reachable
from .variants import VARIANTS

NAMES = ("host", "iptables", "nftables", "fastnet")
PORTS = (1, 100, 10_000)
FLOWS = (1, 1_000, 20_000, 200_000)
FLOWS_IN_USE = (1, 100, 10_000)
SOURCES = {4: [f"10.201.0.{number}" for number in range(11, 16)], 6: [f"fd00:c9::b{number}" for number in range(1, 6)]}
FILL_SECONDS = 120
BY_PORTS = ("tcp_rr", "crr_fin")
BY_FLOWS = ("tcp_rr", "udp_rr", "crr_fin")
FIRST_PORT = 20_001  # every second one, so that none makes a range with another


def single_ports(count):
    """TCP ports that are no range, published in front of those that are measured: a list of rules is searched to its end."""
    return [("tcp", FIRST_PORT + 2 * number, 1000 + (7919 * number) % 20_000) for number in range(count)]


class Growth:
    def __init__(self, lab, options, small):
        self.lab, self.options = lab, options
        self.metrics = {metric.name: metric for metric in METRICS}
        self.ports, self.flows, self.in_use = ((1, 10), (1, 50), (1, 20)) if small else (PORTS, FLOWS, FLOWS_IN_USE)
        self.variants = [variant for variant in VARIANTS if variant.path == "published" and variant.name in NAMES]
        self.errors = {}
        self.raw = {}  # (table, metric, variant and count) -> answers

    def measure(self):
        """{table: {reading: {variant: {count: {median, min, max}}}}}, and how long the ports took to publish."""
        found = {"ports": {}, "flows": {}, "flows_in_use": {}, "publish_seconds": {}}
        for variant in self.variants:
            for count in self.ports[:1] if variant.on_node else self.ports:  # a server on the host publishes nothing
                self._node("ports", variant, count, found)
            for count in self.flows:
                self._node("flows", variant, count, found)
            for count in self.in_use:
                self._node("flows_in_use", variant, count, found)
        progress()
        return found

    def _node(self, table, variant, count, found):
        """One node with that many ports or flows, measured as often as there are rounds."""
        progress(f"growth  {variant.name}  {count} {table}")
        try:
            with self.lab.turn():
                begin = time.monotonic()
                node, call = variant.build(self.lab, single_ports(count - 1) if table == "ports" else ())
                if table == "ports":
                    found["publish_seconds"].setdefault(variant.name, {})[count] = round(time.monotonic() - begin, 2)
                serve(self.lab, self.metrics["tcp_rr"], call)
                wait_until_reachable(self.lab, call, "udp-echo")
                if table == "flows":
                    self._fill(node, call, count)
                for name in {"ports": BY_PORTS, "flows": BY_FLOWS}.get(table, ("inject",)):
                    metric, reading = self.metrics[name], self.metrics[name].readings[0]
                    options = self.options if table != "flows_in_use" else _with(self.options, inject_flows=count)
                    answers = [measure(self.lab, options, metric, node, call) for _ in range(self.options.rounds)]
                    self.raw["growth " + table, name, f"{variant.name} {count}"] = answers
                    values = [answer[reading.field] * reading.scale for answer in answers]
                    found[table].setdefault(name, {}).setdefault(variant.name, {})[count] = {
                        "unit": reading.unit, "median": statistics.median(values), "min": min(values), "max": max(values)}
        except (Failure, ValueError, KeyError) as error:
            self.errors[f"growth {variant.name} {count} {table}"] = str(error)

    def _fill(self, node, call, count):
        """UDP flows that were answered once, from five more addresses of the outside."""
        if count <= 1:
            return
        family = self.lab.family
        self.lab.address(node.outside_ns, "eth0", *(f"{address}/{128 if family == 6 else 32}" for address in SOURCES[family]))
        words = [self.lab.fnbench, "flows", call.target, str(call.ports["udp-echo"]), "--count", str(count), "--sources",
                 ",".join(SOURCES[family])]
        answer = json.loads(run(inside(call.client_ns, words), timeout=FILL_SECONDS))
        if answer["failed"] > count / 1000:
            raise Failure(f"{answer['failed']} of {count} flows were not made")


def _with(options, **changes):
    changed = type(options)(**vars(options))
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


TITLES = {"ports": "published ports, each by itself", "flows": "idle flows", "flows_in_use": "flows that the injected packets use in turn"}


def rows(found):
    """For tables: (title, reading, unit, counts, [(variant, [(median, ratio to the first count), ...]), ...])."""
    for table, title in TITLES.items():
        for reading, by_variant in found[table].items():
            counts = sorted({int(count) for by_count in by_variant.values() for count in by_count})
            unit = next(iter(next(iter(by_variant.values())).values()))["unit"]
            lines = []
            for variant, by_count in by_variant.items():
                medians = {int(count): row["median"] for count, row in by_count.items()}
                first = medians.get(counts[0])
                lines.append((variant, [(median, median and first and median / first) for median in map(medians.get, counts)]))
            yield title, reading, unit, counts, lines
