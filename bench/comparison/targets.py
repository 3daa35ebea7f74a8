"""What the project aims at: ratios of medians of one run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    path: str
    reading: str
    variant: str
    against: str
    bound: str
    limit: float


TARGETS = (
    # Near host mode, and faster than host mode on a node where conntrack runs.
    Target("published", "tcp_rr", "fastnet", "host", "<=", 1.05),
    Target("published", "tcp_rr", "fastnet", "host+conntrack", "<=", 0.93),
    Target("published", "udp_rr", "fastnet", "host", "<=", 1.05),
    Target("published", "udp_rr", "fastnet", "host+conntrack", "<=", 0.93),
    Target("published", "crr_fin", "fastnet", "host", "<=", 1.10),
    Target("published", "crr_fin", "fastnet", "host+conntrack", "<=", 1.00),
    Target("published", "crr_rst", "fastnet", "host", "<=", 1.10),
    Target("published", "crr_rst", "fastnet", "host+conntrack", "<=", 1.00),
    Target("published", "stream_up", "fastnet", "host", ">=", 0.97),
    Target("published", "stream_down", "fastnet", "host", ">=", 0.97),
    Target("published", "http", "fastnet", "host", ">=", 0.98),
    Target("published", "inject", "fastnet", "host+conntrack", "<=", 1.00),
    Target("published", "inject", "fastnet", "iptables", "<=", 0.45),
    Target("container", "tcp_rr", "fastnet", "loopback", "<=", 0.92),
    Target("localhost", "tcp_rr", "fastnet", "loopback", "<=", 1.05),
    Target("hairpin", "tcp_rr", "fastnet", "fastnet-direct", "<=", 1.05),
    Target("overlay", "tcp_rr", "fastnet", "host", "<=", 1.15),
    Target("overlay", "udp_rr", "fastnet", "host", "<=", 1.15),
    Target("overlay", "stream_up", "fastnet", "host", ">=", 0.95),
    Target("overlay", "stream_down", "fastnet", "host", ">=", 0.95),
    # The host's own traffic must not notice fastnet.
    Target("container", "tcp_rr", "loopback-prepared", "loopback", "<=", 1.02),
    Target("published", "tcp_rr", "host-prepared", "host", "<=", 1.02),
    Target("published", "udp_rr", "host-prepared", "host", "<=", 1.02),
    Target("published", "crr_fin", "host-prepared", "host", "<=", 1.02),
    Target("published", "crr_rst", "host-prepared", "host", "<=", 1.02),
    Target("published", "stream_up", "host-prepared", "host", ">=", 0.98),
    Target("published", "stream_down", "host-prepared", "host", ">=", 0.98),
    Target("published", "inject", "host-prepared", "host", "<=", 1.02),
)
