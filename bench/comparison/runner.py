"""Measures: every variant of one metric directly after one another, in an order that is rotated from round to round."""

import json
import sys
import time

from netlab import Failure, inside, read_text, run

from .lab import wait_for

REACHABLE_SECONDS = 5
# A switch that differs between the ends of two variants' wires makes every ratio of them wrong.
OFFLOADS = ("tcp-segmentation-offload", "generic-segmentation-offload", "generic-receive-offload", "tx-checksumming", "rx-checksumming",
            "rx-gro-list", "rx-udp-gro-forwarding", "tx-udp-segmentation")


def cpu_ticks(cpu):
    """(steal, total) of one cpu."""
    for line in (read_text("/proc/stat") or "").splitlines():
        fields = line.split()
        if fields[0] == f"cpu{cpu}":
            ticks = [int(value) for value in fields[1:9]]
            return ticks[7], sum(ticks)
    return 0, 0


def offloads(netns, device="eth0"):
    found = {}
    for line in run(inside(netns, ["ethtool", "-k", device])).splitlines():
        name, _, state = line.strip().partition(": ")
        if name in OFFLOADS:
            found[name] = state.split()[0]
    found["rps_cpus"] = run(["ip", "netns", "exec", netns, "cat", f"/sys/class/net/{device}/queues/rx-0/rps_cpus"]).strip()
    return found


def measure(lab, options, metric, node, call):
    """One measurement on a node that is up; the answer has what the metric's readings name."""
    netns, words = metric.command(lab, options, node, call)
    steal, total = cpu_ticks(lab.cpu)
    answer = metric.parse(run(inside(netns, words), timeout=options.seconds * 3 + 60))
    steal_after, total_after = cpu_ticks(lab.cpu)
    for reading in metric.readings:
        if not answer[reading.field] > 0:
            raise Failure(f"{reading.field} is {answer[reading.field]}")
    answer["steal_percent"] = round(100 * (steal_after - steal) / max(1, total_after - total), 2)
    return answer


def wait_until_reachable(lab, call, service):
    """A node that was made just now still resolves neighbours: that is not what the metrics are about."""
    kind = "udp_rr" if service.startswith("udp") else "tcp_rr"
    probe = inside(call.client_ns, [lab.fnbench, kind, call.target, str(call.ports["udp-echo" if kind == "udp_rr" else "tcp-echo"]),
                                    "--warmup", "0", "--iterations", "1", "--cpu", str(lab.cpu)])

    def answered():
        answer = run(probe, check=False)
        return answer and json.loads(answer).get("lost", 0) == 0
    wait_for(f"{call.target} answers", answered, REACHABLE_SECONDS, 0.02)


def serve(lab, metric, call):
    lab.serve(call.server_ns, call.server_ports)
    if metric.name == "http":
        lab.serve_http(call.server_ns, call.server_ports)


class Runner:
    def __init__(self, lab, options, variants, metrics):
        self.lab, self.options, self.variants, self.metrics = lab, options, variants, metrics
        self.round = 0
        self.raw = {}        # (path, metric, variant) -> [answers]
        self.errors = {}     # the same, joined by spaces -> text of the first failure
        self.offloads = {}   # variant of path published -> {client end, node end}
        self.warnings = []
        self.attach_ms = {}  # (path, variant) -> [...]

    def turn(self, variant, metric):
        """One measurement of one variant; a failure is noted and does not end the run."""
        key = (variant.path, metric.name, variant.name)
        try:
            with self.lab.turn():
                node, call = variant.build(self.lab)
                serve(self.lab, metric, call)
                wait_until_reachable(self.lab, call, metric.service)
                time.sleep(self.options.settle)  # the namespaces of the turn before are still being torn down
                self.raw.setdefault(key, []).append(measure(self.lab, self.options, metric, node, call) | {"round": self.round})
                self.attach_ms.setdefault(key[::2], []).extend(node.attach_ms)
                self.check(variant, node)
        except (Failure, ValueError, KeyError) as error:
            what = " ".join(key)
            if what not in self.errors:
                print(f"\ncompare: {what}: {error}", file=sys.stderr)
            self.errors.setdefault(what, str(error))

    def check(self, variant, node):
        """A baseline that has conntrack when it should not (or the reverse), or other offloads, makes every ratio wrong."""
        count = run(inside(node.node_ns, ["sysctl", "-n", "net.netfilter.nf_conntrack_count"]), check=False).strip()
        if count and (int(count) > 0) != node.conntrack:
            self.warn(f"{variant.path}/{variant.name}: conntrack is {'not ' if node.conntrack else ''}active")
        if variant.path == "published" and variant.name not in self.offloads:
            self.offloads[variant.name] = {"client": offloads(node.outside_ns), "node": offloads(node.node_ns)}

    def check_offloads(self):
        base = self.offloads.get("host")
        for name, found in self.offloads.items():
            for end in ("client", "node"):
                if base and found[end] != base[end]:
                    different = sorted(switch for switch in found[end] if found[end][switch] != base[end].get(switch))
                    self.warn(f"{name}: eth0 of the {end} differs from host in {', '.join(different)}")

    def warn(self, text):
        if text not in self.warnings:
            self.warnings.append(text)

    def wanted(self, variant, metric):
        if self.options.smoke and metric.name != "tcp_rr":  # each variant once, each metric once
            return variant.path == "published" and variant.name in ("host", "fastnet")
        return variant.answers_udp or not metric.service.startswith("udp")

    def rounds(self):
        for number in range(self.options.rounds):
            self.round = number
            log(f"round {number + 1} of {self.options.rounds}")
            for metric in self.metrics:
                for path in metric.paths:
                    variants = [variant for variant in self.variants if variant.path == path and self.wanted(variant, metric)]
                    shift = number % max(1, len(variants))
                    for variant in variants[shift:] + variants[:shift]:
                        progress(f"round {number + 1}/{self.options.rounds}  {path}  {metric.name}  {variant.name}")
                        self.turn(variant, metric)
        progress()
        self.check_offloads()


def progress(text=""):
    if sys.stderr.isatty():
        print(f"\r{text:<78}", end="" if text else "\n", file=sys.stderr, flush=True)


def log(text):
    """For who reads a file while this runs."""
    if not sys.stderr.isatty():
        print(f"compare: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
