"""What is measured, by which command, and which of its figures are shown."""

import json
import re
from dataclasses import dataclass

from netlab import Failure


@dataclass(frozen=True)
class Reading:
    """One figure of a measurement."""
    name: str
    title: str
    field: str
    unit: str
    scale: float = 1.0
    higher_is_better: bool = False


@dataclass(frozen=True)
class Metric:
    name: str
    service: str
    paths: tuple
    command: object       # (lab, options, node, call) -> (namespace, words)
    readings: tuple
    parse: object = json.loads


def _client(kind, service, *more):
    def command(lab, options, _, call):
        return call.client_ns, [lab.fnbench, kind, call.target, str(call.ports[service]), *more, *_span(lab, options)]
    return command


def _span(lab, options):
    return ["--cpu", str(lab.cpu), "--seconds", str(options.seconds), "--warmup", str(options.warmup)]


def _inject(lab, options, node, call):
    source, outer = node.injection()
    words = [lab.fnbench, "inject", "--dev", "eth0", "--dst-mac", node.mac_for_injection(), "--src", source, "--dst", call.target,
             "--dst-port", str(call.ports["udp-sink"]), "--sink-port", str(call.server_ports["udp-sink"]),
             "--sink-netns", f"/run/netns/{call.server_ns}", "--flows", str(options.inject_flows),
             "--size", str(max(options.inject_bytes, 60 if lab.family == 4 else 62))]
    return node.outside_ns, words + outer + _span(lab, options)


def _wrk(lab, options, _, call):
    host = f"[{call.target}]" if ":" in call.target else call.target
    return call.client_ns, ["taskset", "-c", str(lab.cpu), "wrk", "-t1", f"-c{options.http_connections}",
                            f"-d{max(1, round(options.seconds))}s", "--latency", f"http://{host}:{call.ports['tcp-http']}/"]


WRK_UNITS = {"us": 1e3, "ms": 1e6, "s": 1e9}


def parse_wrk(text):
    def found(pattern, what):
        match = re.search(pattern, text)
        if not match:
            raise Failure(f"wrk printed no {what}: {text.strip()[-200:]}")
        return match

    answer = {"requests_per_second": float(found(r"Requests/sec:\s*([\d.]+)", "rate")[1]),
              "transactions": int(found(r"(\d+) requests in", "count")[1])}
    for name, percent in (("p50_ns", 50), ("p99_ns", 99)):
        value = found(rf"\s{percent}%\s+([\d.]+)(us|ms|s)\b", f"{percent}th percentile")
        answer[name] = round(float(value[1]) * WRK_UNITS[value[2]])
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    answer["failed"] = sum(map(int, errors.groups())) if errors else 0
    answer["failed"] += int(refused[1]) if refused else 0
    return answer


def _round_trip(name, title):
    return (Reading(name, f"{title} p50", "p50_ns", "us", 1e-3), Reading(f"{name}.p99", f"{title} p99", "p99_ns", "us", 1e-3))


def _stream(name, title):
    return (Reading(name, title, "bytes_per_second", "Gbit/s", 8e-9, True),)


EVERY = ("published", "outbound", "container", "localhost", "hairpin", "overlay")
METRICS = (
    Metric("tcp_rr", "tcp-echo", EVERY, _client("tcp_rr", "tcp-echo"), _round_trip("tcp_rr", "TCP_RR")),
    Metric("udp_rr", "udp-echo", EVERY, _client("udp_rr", "udp-echo"), _round_trip("udp_rr", "UDP_RR")),
    Metric("crr_fin", "tcp-echo", EVERY, _client("tcp_crr", "tcp-echo"), _round_trip("crr_fin", "TCP connect-request-close (FIN)")),
    Metric("crr_rst", "tcp-echo", ("published",), _client("tcp_crr", "tcp-echo", "--rst"),
           _round_trip("crr_rst", "TCP connect-request-close (RST)")),
    Metric("stream_up", "tcp-sink", EVERY, _client("tcp_stream", "tcp-sink"), _stream("stream_up", "TCP stream to the server")),
    Metric("stream_down", "tcp-source", EVERY, _client("tcp_stream", "tcp-source", "--down"),
           _stream("stream_down", "TCP stream from the server")),
    Metric("http", "tcp-http", EVERY, _wrk,
           (Reading("http", "HTTP requests, nginx and wrk, keep-alive", "requests_per_second", "1/s", 1.0, True),
            Reading("http.p99", "HTTP p99", "p99_ns", "us", 1e-3)), parse_wrk),
    Metric("inject", "udp-echo", ("published", "overlay"), _inject,
           (Reading("inject", "injected UDP, per delivered packet", "ns_per_delivered", "ns"),
            Reading("inject.rate", "injected UDP, delivered", "delivered_per_second", "1/s", 1.0, True))),
)
