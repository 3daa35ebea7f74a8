"""A widely quoted comparison of Docker's modes, and what was seen of Docker 20.10 before this project began, with this machine's figures
beside them. Measured here is what a variant does not show: how long many ports take, how many processes stand for them, when a new
container's port answers."""

import os
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from netlab import Failure, inside, run

from . import nodes
from .lab import NODE
from .metrics import METRICS
from .runner import measure, serve, wait_until_reachable
from .variants import Variant

FIRST_PORT, PORTS = 3000, 1000
ANSWER_SECONDS = 30
REACHABLE_SAMPLES = 5


def many_ports(count):
    return f"{FIRST_PORT}-{FIRST_PORT + count - 1}:{FIRST_PORT}-{FIRST_PORT + count - 1}/udp"


def seconds_of(action, *words):
    begin = time.monotonic()
    action(*words)
    return round(time.monotonic() - begin, 3)


class Quoted:
    def __init__(self, lab, options, small, with_docker):
        self.lab, self.options, self.with_docker = lab, options, with_docker
        self.count = 20 if small else PORTS
        self.samples = 1 if small else REACHABLE_SAMPLES
        self.errors = {}
        self.raw = {}  # a call that fails is an error here

    def _unpinned_proxy(self, found):
        """A call to localhost through a docker-proxy on whatever core: that is what other people measured."""
        metric = next(metric for metric in METRICS if metric.name == "tcp_rr")
        variant = Variant("localhost", "docker", nodes.DockerNodeAsItComes)
        values = []
        for _ in range(self.samples):
            with self.lab.turn():
                node, call = variant.build(self.lab)
                serve(self.lab, metric, call)
                wait_until_reachable(self.lab, call, metric.service)
                values.append(measure(self.lab, self.options, metric, node, call)["p50_ns"] / 1e3)
        found["unpinned_proxy_us"] = values

    def measure(self):
        kinds = {"fastnet": self._fastnet}
        if self.with_docker:
            kinds |= {"docker": lambda: self._docker(nodes.DockerNode),
                      "docker-no-proxy": lambda: self._docker(nodes.DockerNodeWithoutProxy)}
        found = {"ports": self.count}
        for name, kind in kinds.items():
            try:
                with self.lab.turn():
                    found[name] = kind()
            except (Failure, ValueError, KeyError) as error:
                self.errors[f"quoted {name}"] = str(error)
        if self.with_docker:
            try:
                self._unpinned_proxy(found)
            except (Failure, ValueError, KeyError) as error:
                self.errors["quoted unpinned proxy"] = str(error)
        return found

    def _processes(self, node):
        return len(run(["ip", "netns", "pids", node.node_ns]).split())

    def _docker(self, kind):
        node = kind(self.lab, 0, ())
        node.build()
        before = self._processes(node)
        publish = seconds_of(node.daemon.start, [many_ports(self.count)], ["/usr/bin/sleep", "infinity"], 300)
        processes = self._processes(node) - before + 1  # and the container's own
        remove = seconds_of(node.daemon.remove_containers)
        reachable, server = [], [self.lab.fnbench, "serve", "tcp-echo:80"]
        for _ in range(self.samples):
            reachable.append(self._until_answered(node, lambda: node.daemon.start(["2000:80/tcp"], server)))
            node.daemon.remove_containers()
        return self._row(publish, remove, processes, reachable)

    def _fastnet(self):
        node = nodes.FastnetNode(self.lab, 0, ())
        node.build()
        container = self.lab.netns("w1")
        before = self._processes(node)
        publish = seconds_of(node.call, "attach", "--netns", container, "-p", many_ports(self.count))
        processes = self._processes(node) - before
        remove = seconds_of(node.call, "detach", "--netns", container)
        single = [word for number in range(self.count) for word in ("-p", f"{FIRST_PORT + 2 * number}:{FIRST_PORT + number}/udp")]
        singly = seconds_of(node.call, "attach", "--netns", container, *single)
        node.call("detach", "--netns", container)
        reachable = [self._fastnet_run(node) for _ in range(self.samples)]
        return self._row(publish, remove, processes, reachable) | {"publish_singly_seconds": singly}

    def _fastnet_run(self, node):
        started = []

        def start():
            started.append(self.lab.spawn(inside(node.node_ns, [self.lab.fastnet, "--root", os.path.join(self.lab.scratch, "root-n"), "run",
                                                                "-p", "2000:80", "--", self.lab.fnbench, "serve", "tcp-echo:80"]),
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        milliseconds = self._until_answered(node, start, returns_at_once=True)
        started[0].terminate()
        started[0].wait(10)
        return milliseconds

    def _until_answered(self, node, start, returns_at_once=False):
        """From the command to the first answer of the container's server, seen from outside. What returns at once is started by this
        thread: the kernel kills a child that goes with its parent when the *thread* that made it ends (PR_SET_PDEATHSIG)."""
        probe = inside(node.outside_ns, [self.lab.fnbench, "tcp_rr", NODE[self.lab.family], "2000", "--warmup", "0", "--iterations", "1"])
        begin = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            if returns_at_once:
                start()
            starting = pool.submit((lambda: None) if returns_at_once else start)
            while not run(probe, check=False):
                if starting.done() and starting.exception():
                    raise starting.exception()
                if time.monotonic() - begin > ANSWER_SECONDS:
                    raise Failure(f"port 2000 does not answer within {ANSWER_SECONDS} s")
            milliseconds = (time.monotonic() - begin) * 1e3
            starting.result()
        return round(milliseconds, 1)

    @staticmethod
    def _row(publish, remove, processes, reachable):
        return {"publish_seconds": publish, "remove_seconds": remove, "processes": processes, "reachable_ms": reachable}


BRIDGES = ("docker", "docker-no-proxy", "fastnet")
COLUMNS = ("", "elsewhere", "host", *BRIDGES)


def rows(document):
    """[(what, elsewhere, host, docker, docker without proxy, fastnet)], texts."""
    results, found = document["results"], document.get("quoted", {})

    def figure(path, reading, name, form):
        row = results.get(path, {}).get(reading, {}).get(name)
        return form(row) if row else "-"

    def beside_host(reading, name):
        def form(row):
            text = f"{row['median']:,.0f}" if row["median"] >= 1000 else f"{row['median']:.2f}"
            relative = row["ratios"].get("host")
            return f"{text} ({relative['ratio'] - 1:+.0%})" if relative else text
        return figure("published", reading, name, form)

    def ratio(path, name, base):
        return figure(path, "tcp_rr", name, lambda row: f"{row['ratios'][base]['ratio']:.2f}" if base in row["ratios"] else "-")

    def measured(key, form):
        return [form(found[name][key]) if name in found else "-" for name in BRIDGES]

    for what, reading, elsewhere in (("round trip, TCP [us]", "tcp_rr", "21 host, 28 bridge (+33 %)"),
                                     ("HTTP keep-alive [requests/s]", "http", "18,248 host, 17,603 bridge (-4 %)"),
                                     ("TCP stream [Gbit/s]", "stream_up", "3.8 host, 3.5 bridge (-8 %)")):
        yield (what, elsewhere, *(beside_host(reading, name) for name in ("host", *BRIDGES)))
    yield ("published port, TCP_RR / host", "1.29", "1", *(ratio("published", name, "host") for name in BRIDGES))
    yield ("localhost, TCP_RR / loopback, all on one core", "", "1", *(ratio("localhost", name, "loopback") for name in BRIDGES))
    loopback = results.get("localhost", {}).get("tcp_rr", {}).get("loopback")
    if loopback and "unpinned_proxy_us" in found:
        anywhere = statistics.median(found["unpinned_proxy_us"]) / loopback["median"]
        yield ("the same, docker-proxy on any core", "20", "1", f"{anywhere:.2f}", "", "")
    count = found.get("ports", PORTS)
    yield (f"{count:,} published UDP ports: start [s]", "20.7", "", *measured("publish_seconds", lambda value: f"{value:.2f}"))
    yield (f"{count:,} published UDP ports: remove [s]", "12", "", *measured("remove_seconds", lambda value: f"{value:.2f}"))
    yield (f"{count:,} published UDP ports: processes", "2,010", "", *measured("processes", lambda value: f"{value:,}"))
    yield ("from the command to a port that answers [ms]", "260", "",
           *measured("reachable_ms", lambda values: f"{statistics.median(values):.0f}"))
