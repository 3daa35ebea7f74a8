"""What is compared on which path: a path says who calls whom, a variant puts a node under it."""

from dataclasses import dataclass

from . import nodes
from .lab import CLIENT, CONTAINER_PORTS, HOST_PORTS, LOOPBACK, NODE, OTHER_PORTS

PATHS = {  # path -> (the variant that is 1.00, what it is)
    "published": ("host", "outside to a published port"),
    "outbound": ("host", "container to outside"),
    "container": ("loopback", "container to container"),
    "localhost": ("loopback", "the host itself to a published port by its loopback address"),
    "hairpin": ("loopback", "container to a port that another container published on the host"),
    "overlay": ("host", "container to container on another node"),
}


@dataclass
class Call:
    """Who calls whom."""
    client_ns: str
    server_ns: str
    target: str
    ports: dict         # where the client connects to
    server_ports: dict  # where the server listens


@dataclass(frozen=True)
class Variant:
    path: str
    name: str
    node: type
    on_node: bool = False      # the container's part (path outbound: calling; else: serving) is played by the node itself
    direct: bool = False       # called by the container's own address, by the ports it listens on
    containers: int = None     # more than the path needs
    stands_in: bool = False    # measured only where no dockerd runs, or when it is asked for by name
    answers_udp: bool = True
    ipv4_only: bool = False    # the kernel routes no ::1 to a container, and Docker 20.10 leaves published IPv6 ports to its proxy

    def build(self, lab, more_ports=()):
        """A node and a call on it; `more_ports` are published before those that are called."""
        containers = self.containers
        if containers is None:
            containers = 0 if self.on_node else 2 if self.path in ("container", "hairpin") else 1
        # What is published on a node that serves by itself is something else than what it serves.
        node = self.node(lab, containers, [*more_ports, *nodes.published(OTHER_PORTS if self.on_node else HOST_PORTS)])
        node.build()
        call = self._call(lab.family, node)
        # TIME_WAIT ports may be used again after a second (see tcp_bench.cpp); no effect on anything else.
        lab.sysctl(call.client_ns, "net.ipv4.tcp_tw_reuse=1")
        return node, call

    def _call(self, family, node):
        here, outside = node.node_ns, node.outside_ns
        first = here if self.on_node else node.containers[0]
        if self.path == "outbound":
            return Call(first, outside, CLIENT[family], HOST_PORTS, HOST_PORTS)
        second = node.containers[1] if len(node.containers) > 1 else here
        client = {"published": outside, "localhost": here, "overlay": outside if self.on_node else second}.get(self.path, second)
        if not self.on_node and (self.direct or node.answers_directly):
            return Call(client, first, node.addresses[0], CONTAINER_PORTS, CONTAINER_PORTS)
        target = (LOOPBACK if self.path == "localhost" or client == first else NODE)[family]
        return Call(client, first, target, HOST_PORTS, HOST_PORTS if self.on_node else CONTAINER_PORTS)

    @property
    def is_fastnet(self):
        return self.node in (nodes.FastnetNode, nodes.FastnetNodes)

    @property
    def is_docker(self):
        return issubclass(self.node, nodes.DockerNode)


def _all():
    n = nodes
    yield from (Variant("published", "host", n.Node, on_node=True),
                Variant("published", "host-again", n.Node, on_node=True),
                Variant("published", "host+conntrack", n.ConntrackNode, on_node=True),
                Variant("published", "host+docker", n.IptablesNode, on_node=True, containers=1),
                Variant("published", "docker", n.DockerNode),
                Variant("published", "docker-no-proxy", n.DockerNodeWithoutProxy, ipv4_only=True),
                Variant("published", "iptables", n.IptablesNode),
                Variant("published", "nftables", n.NftablesNode),
                Variant("published", "floor", n.FloorNode),
                Variant("published", "fastnet", n.FastnetNode),
                Variant("published", "host-prepared", n.FastnetNode, on_node=True, containers=1))
    yield from (Variant("outbound", "host", n.Node, on_node=True),
                Variant("outbound", "host-again", n.Node, on_node=True),
                Variant("outbound", "host+conntrack", n.ConntrackNode, on_node=True),
                Variant("outbound", "docker", n.DockerNode),
                Variant("outbound", "iptables", n.IptablesNode, stands_in=True),
                Variant("outbound", "nftables", n.NftablesNode),
                Variant("outbound", "floor", n.FloorNode),
                Variant("outbound", "fastnet", n.FastnetNode))
    yield from (Variant("container", "loopback", n.Node, on_node=True),
                Variant("container", "loopback-again", n.Node, on_node=True),
                Variant("container", "bridge", n.BridgeNode),
                Variant("container", "docker", n.DockerNode, direct=True),
                Variant("container", "iptables", n.IptablesNode, direct=True, stands_in=True),
                Variant("container", "floor", n.FloorNode),
                Variant("container", "fastnet", n.FastnetNode, direct=True),
                Variant("container", "loopback-prepared", n.FastnetNode, on_node=True, containers=1))
    yield from (Variant("localhost", "loopback", n.Node, on_node=True),
                Variant("localhost", "loopback-again", n.Node, on_node=True),
                Variant("localhost", "docker", n.DockerNode),
                Variant("localhost", "docker-no-proxy", n.DockerNodeWithoutProxy, ipv4_only=True),
                Variant("localhost", "iptables", n.ProxylessIptablesNode, stands_in=True, ipv4_only=True),
                Variant("localhost", "nftables", n.NftablesNode, ipv4_only=True),
                Variant("localhost", "floor", n.LocalFloorNode, ipv4_only=True),
                Variant("localhost", "fastnet", n.FastnetNode),
                Variant("localhost", "fastnet-direct", n.FastnetNode, direct=True))
    yield from (Variant("hairpin", "loopback", n.Node, on_node=True),
                Variant("hairpin", "loopback-again", n.Node, on_node=True),
                Variant("hairpin", "docker", n.DockerNode, answers_udp=False),
                Variant("hairpin", "docker-no-proxy", n.DockerNodeWithoutProxy, ipv4_only=True),
                Variant("hairpin", "iptables", n.ProxylessIptablesNode, stands_in=True),
                Variant("hairpin", "nftables", n.NftablesNode),
                Variant("hairpin", "fastnet", n.FastnetNode),
                Variant("hairpin", "fastnet-direct", n.FastnetNode, direct=True))
    yield from (Variant("overlay", "host", n.Node, on_node=True),
                Variant("overlay", "host-again", n.Node, on_node=True),
                Variant("overlay", "floor", n.FloorNodes),
                Variant("overlay", "vxlan", n.VxlanNodes),
                Variant("overlay", "fastnet", n.FastnetNodes))


VARIANTS = list(_all())
