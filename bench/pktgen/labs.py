"""The nodes that frames are sent through, one class per path. Each says where frames start, where they should arrive, and which
namespaces and wires lie between."""

import contextlib
import json
import os
import signal
import subprocess

from netlab import Failure, Namespaces, die_with_parent, inside, run

from counters import within
from generators import TUNNEL_PORT, Stream, Tunnel

OUTSIDE = {4: "10.201.0.2", 6: "fd00:c9::2"}
NODE = {4: "10.201.0.1", 6: "fd00:c9::1"}
WIRE_WIDTH = {4: 24, 6: 64}
OVERLAY_SUBNET = {4: "10.202.0.0/24", 6: "fd00:ca::/64"}
OVERLAY = {4: "10.202.0.{}", 6: "fd00:ca::{}"}
OVERLAY_WIDTH = {4: 24, 6: 64}
HERE, THERE = 2, 3  # container numbers on the overlay
THERE_MAC = "02:00:0a:ca:00:03"
VNI = 4711
NEVER_MS = 1_000_000_000
PUBLISHED_PORT, SERVICE_PORT = 2004, 84


def mac_of(netns, device="eth0"):
    return json.loads(run(["ip", "-n", netns, "-j", "link", "show", device]))[0]["address"]


class Helper:
    """A command of fnbench that counts until it is told to end."""

    def __init__(self, netns, command):
        self.process = subprocess.Popen(within(netns, command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, start_new_session=True, preexec_fn=die_with_parent)
        if not self.process.stdout.readline():
            raise Failure(f"{' '.join(command)}: {self.process.stderr.read().strip()}")

    def result(self):
        """{cpu: packets}, at its end."""
        self.process.send_signal(signal.SIGTERM)
        try:
            out, said = self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            raise Failure("a counting helper did not end") from None
        if self.process.returncode != 0:
            raise Failure(f"{self.process.args[-1]}: {said.strip()}")
        return {row["cpu"]: row["packets"] for row in json.loads(out)["threads"]}

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


class Path:
    """One path's nodes. Leaving it open in `with` builds it up, the end takes everything away."""

    name = ""
    about = ""

    def __init__(self, fnbench, fastnet, family, threads, first_cpu):
        self.lab = Namespaces()
        self.fnbench, self.fastnet, self.family, self.threads, self.first_cpu = fnbench, fastnet, family, threads, first_cpu
        self.namespaces = {}  # label -> netns: whose counters are looked at
        self.roots = {}       # label -> --root, of the fastnet nodes
        self.stream = None
        self.wire_ends = None  # ((label, device) that sends, (label, device) that receives)

    @contextlib.contextmanager
    def open(self):
        with self.lab.turn():
            self.build()
            yield self

    def build(self):
        raise NotImplementedError

    @contextlib.contextmanager
    def counting(self):
        """Yields a function that ends the counting and returns {cpu: frames that arrived}."""
        helper = Helper(*self.arrival())
        try:
            yield helper.result
        finally:
            helper.close()

    def arrival(self):
        """(netns, command) of what counts the frames at their end."""
        raise NotImplementedError

    def sink(self, label, port, family=None):
        return self.namespaces[label], [self.fnbench, "udp_sink", str(port), "--cpu", str(self.first_cpu), "--threads", str(self.threads),
                                        "--die-with-parent"] + (["-6"] if (family or self.family) == 6 else [])

    # ---- building blocks

    def netns(self, label):
        netns = self.namespaces[label] = self.lab.netns(label)
        # For devices to come: nothing of the kernel's own that would be counted among the frames.
        self.lab.sysctl(netns, "net.ipv6.conf.default.router_solicitations=0", "net.ipv6.conf.default.accept_dad=0",
                        f"net.ipv6.conf.default.mldv1_unsolicited_report_interval={NEVER_MS}",
                        f"net.ipv6.conf.default.mldv2_unsolicited_report_interval={NEVER_MS}")
        return netns

    def channels(self, netns, device):
        """A queue for each core, and NAPI: that is what lets XDP frames into a veth, and batches them as a NIC does. The device is up:
        6.18 loses all frames when one end was brought up before the other got its gro."""
        run(inside(netns, ["ethtool", "-K", device, "gro", "on"]))
        if self.threads > 1:
            run(inside(netns, ["ethtool", "-L", device, "rx", str(self.threads), "tx", str(self.threads)]))

    def wire(self):
        """outside -- veth -- node, both families"""
        outside, node = self.netns("outside"), self.netns("node")
        self.lab.veth(outside, "eth0", node, "eth0")
        for netns, addresses in ((outside, OUTSIDE), (node, NODE)):
            self.lab.address(netns, "eth0", *(f"{addresses[family]}/{WIRE_WIDTH[family]}" for family in (4, 6)))
        for netns in (outside, node):
            self.channels(netns, "eth0")
        for family in (4, 6):
            run(["ip", f"-{family}", "-n", node, "route", "add", "default", "via", OUTSIDE[family]])
        for here, address, there in ((outside, NODE, node), (node, OUTSIDE, outside)):
            for family in (4, 6):
                run(["ip", "-n", here, "neigh", "replace", address[family], "lladdr", mac_of(there), "dev", "eth0"])
        self.wire_ends = (("outside", "eth0"), ("node", "eth0"))

    def call(self, label, *words):
        return run(inside(self.namespaces[label], [self.fastnet, "--root", self.roots[label], *words]))

    def fastnet_node(self, label):
        netns = self.namespaces[label]
        self.roots[label] = os.path.join(self.lab.scratch, "root-" + netns[len(self.lab.prefix):])
        os.makedirs(self.roots[label])
        self.lab.undo.callback(self.lab.attempt, self.call, label, "cleanup")
        self.call(label, "attach", "--mode", "bridge", "--uplink", "eth0")

    def container(self, node, label, *words):
        """An attached container; its address."""
        said = json.loads(self.call(node, "attach", "--netns", self.netns(label), "--json", *words))
        address = said["ipv4" if self.family == 4 else "ipv6"]
        if not address:
            raise Failure(f"fastnet gave the container no IPv{self.family} address")
        return address.split("/")[0]

    def start_in(self, label, node):
        """Frames start in that container: they leave its eth0 and arrive at the ingress of its veth on the node."""
        index = json.loads(run(["ip", "-n", self.namespaces[label], "-j", "link", "show", "eth0"]))[0]["link_index"]
        links = json.loads(run(["ip", "-n", self.namespaces[node], "-j", "link", "show"]))
        veth = next(link["ifname"] for link in links if link["ifindex"] == index)
        self.channels(self.namespaces[node], veth)
        if self.threads > 1:
            self.channels(self.namespaces[label], "eth0")
        self.wire_ends = ((label, "eth0"), (node, veth))

    def gateway_of(self, label, node):
        """MAC address of a container's default gateway."""
        route = json.loads(run(["ip", f"-{self.family}", "-n", self.namespaces[label], "-j", "route", "show", "default"]))[0]
        networks = json.loads(run(["ip", f"-{self.family}", "-n", self.namespaces[node], "-j", "address", "show"]))
        for link in networks:
            if any(info.get("local") == route["gateway"] for info in link.get("addr_info", ())):
                return mac_of(self.namespaces[node], link["ifname"])
        raise Failure(f"nobody on the node has the gateway's address {route['gateway']}")


class XdpDrop(Path):
    name = "xdp_drop"
    about = "from outside to an XDP program that only counts and drops, at the node's uplink"

    def build(self):
        self.wire()
        self.stream = Stream(self.namespaces["outside"], "eth0", mac_of(self.namespaces["node"]), OUTSIDE[self.family], NODE[self.family],
                             PUBLISHED_PORT, self.family)

    def arrival(self):
        return self.namespaces["node"], [self.fnbench, "drop", "--dev", "eth0", "--die-with-parent"]


class Published(Path):
    name = "published"
    about = "from outside to a container's published port, read by a socket in it"

    def build(self):
        self.wire()
        self.fastnet_node("node")
        self.container("node", "web", "--mode", "bridge", "-p", f"{PUBLISHED_PORT}:{SERVICE_PORT}/udp")
        self.stream = Stream(self.namespaces["outside"], "eth0", mac_of(self.namespaces["node"]), OUTSIDE[self.family], NODE[self.family],
                             PUBLISHED_PORT, self.family)

    def arrival(self):
        return self.sink("web", SERVICE_PORT)


class Masquerade(Path):
    name = "masquerade"
    about = "from a container to the outside, read by a socket there"

    def build(self):
        self.wire()
        self.fastnet_node("node")
        address = self.container("node", "app", "--mode", "bridge")
        self.start_in("app", "node")
        self.stream = Stream(self.namespaces["app"], "eth0", self.gateway_of("app", "node"), address, OUTSIDE[self.family],
                             PUBLISHED_PORT, self.family)

    def arrival(self):
        return self.sink("outside", PUBLISHED_PORT)


class Overlay(Path):
    """The node has one container of an overlay; the outside is a peer that has another, which exists in name only."""

    def build(self):
        self.wire()
        self.fastnet_node("node")
        self.call("node", "network", "create", "blue", "--driver", "overlay", "--vni", str(VNI),
                  *(word for family in (4, 6) for word in ("--subnet", OVERLAY_SUBNET[family])))
        self.call("node", "peer", "add", OUTSIDE[4], "--network", "blue")
        self.address = self.container("node", "app", "--mode", "overlay", "--network", "blue",
                                      *(word for family in (4, 6) for word in ("--ip", OVERLAY[family].format(HERE))))
        self.call("node", "peer", "endpoint", "add", *(OVERLAY[family].format(THERE) for family in (4, 6)), "--peer", OUTSIDE[4],
                  "--network", "blue", "--mac", THERE_MAC)
        self.far_address = OVERLAY[self.family].format(THERE)


class Encap(Overlay):
    name = "encap"
    about = "from a container into VXLAN to another node, read there as VXLAN by a socket"

    def build(self):
        super().build()
        self.start_in("app", "node")
        self.stream = Stream(self.namespaces["app"], "eth0", THERE_MAC, self.address, self.far_address, SERVICE_PORT, self.family)

    def arrival(self):
        return self.sink("outside", TUNNEL_PORT, family=4)


class Decap(Overlay):
    name = "decap"
    about = "VXLAN from another node to a container, read by a socket in it"

    def build(self):
        super().build()
        tunnel = Tunnel(VNI, OUTSIDE[4], NODE[4], mac_of(self.namespaces["node"]))
        self.stream = Stream(self.namespaces["outside"], "eth0", mac_of(self.namespaces["app"]), self.far_address, self.address,
                             SERVICE_PORT, self.family, source_mac=THERE_MAC, tunnel=tunnel)

    def arrival(self):
        return self.sink("app", SERVICE_PORT)


PATHS = {kind.name: kind for kind in (XdpDrop, Published, Masquerade, Encap, Decap)}
