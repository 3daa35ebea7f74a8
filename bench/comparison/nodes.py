"""The nodes that are compared: outside -- veth wire -- node (-- containers).

Every kind of node builds the same shape, so that any path can be measured on any of them: `outside_ns`, `node_ns`, `containers`
(namespaces), `addresses` (of the containers), and the first container's ports published as `publish` says. A node lives for one
measurement. Not longer, because nodes are not independent: netfilter hooks and cgroup hooks switch on code in the whole kernel (static
keys; fastnet's socket hooks run for every process and look at the namespace's cookie), so while a baseline is measured no other node may
exist. Host mode measured 2 to 4 % slower beside an idle iptables node. And each turn gets memory placed anew, so no variant keeps a
lucky layout.
"""

import json
import os
import sys
import time

from netlab import Failure, inside, run

from . import dockerd
from .lab import CLIENT, CONTAINER_PORTS, NODE, WIRE_WIDTH, mac_of, protocol_of

FASTNET_SECONDS = 300  # for 10,000 ports, each by itself
FLOOR = {4: "10.201.0.10{}", 6: "fd00:c9::10{}"}  # containers without translation


def published(ports):
    """Ports of the host that lead to ports of the first container: [(protocol, outer, inner), ...]."""
    return sorted((protocol_of(service), ports[service], inner) for service, inner in CONTAINER_PORTS.items())


class Node:
    """Nothing but the wire; the servers are on the node itself."""

    programs = ()            # that must be installed
    conntrack = False        # whether it must be active, checked after each measurement
    answers_directly = False  # containers are called by their own addresses: nothing is published

    def __init__(self, lab, containers, publish):
        self.lab, self.count, self.publish = lab, containers, publish
        self.outside_ns = self.node_ns = ""
        self.containers, self.addresses = [], []
        self.attach_ms = []

    def build(self):
        self.node_ns, self.outside_ns = self.lab.netns("n"), self.lab.netns("c")
        self._wire()
        self.join()

    def _wire(self):
        """The node's end has gro on, as a NIC has: that is also what lets XDP frames in."""
        lab = self.lab
        lab.veth(self.outside_ns, "eth0", self.node_ns, "eth0")
        run(inside(self.node_ns, ["ethtool", "-K", "eth0", "gro", "on"]))
        if lab.segmented_wire:
            for netns in (self.outside_ns, self.node_ns):
                run(inside(netns, ["ethtool", "-K", "eth0", "tso", "off", "tx-udp_tnl-segmentation", "off", "tx-udp-segmentation", "off"]))
        for family in (4, 6):
            lab.address(self.outside_ns, "eth0", f"{CLIENT[family]}/{WIRE_WIDTH[family]}")
            lab.address(self.node_ns, "eth0", f"{NODE[family]}/{WIRE_WIDTH[family]}")
            run(["ip", f"-{family}", "-n", self.node_ns, "route", "add", "default", "via", CLIENT[family]])

    def join(self):
        """Makes the containers, connects and publishes them."""

    def mac_for_injection(self):
        return mac_of(self.node_ns)

    def injection(self):
        """(source address of injected frames, more words for `fnbench inject`)"""
        return CLIENT[self.lab.family], []


class ConntrackNode(Node):
    """One nftables rule: the least that makes conntrack run."""
    programs = ("nft",)
    conntrack = True

    def join(self):
        run(inside(self.node_ns, ["nft", "-f", "-"]),
            stdin="table inet bench {\n chain input {\n  type filter hook input priority 0\n  ct state established,related accept\n }\n}\n")


class BridgeNode(Node):
    """Containers on a plain kernel bridge: no rule, bridge-nf-call-iptables=0."""
    answers_directly = True
    bridge_netfilter = 0

    def join(self):
        lab = self.lab
        run(["ip", "-n", self.node_ns, "link", "add", "docker0", "type", "bridge"])
        lab.address(self.node_ns, "docker0", *(f"{dockerd.HOST[f].format(1)}/{dockerd.WIDTH[f]}" for f in (4, 6)))
        for number in range(1, self.count + 1):
            container = self.lab.netns(f"w{number}")
            lab.veth(self.node_ns, f"veth{number}", container, "eth0")
            run(["ip", "-n", self.node_ns, "link", "set", f"veth{number}", "master", "docker0", "up"])
            for family in (4, 6):
                lab.address(container, "eth0", f"{dockerd.HOST[family].format(number + 1)}/{dockerd.WIDTH[family]}")
                run(["ip", f"-{family}", "-n", container, "route", "add", "default", "via", dockerd.HOST[family].format(1)])
            self.containers.append(container)
            self.addresses.append(dockerd.HOST[lab.family].format(number + 1))
        try:
            lab.sysctl(self.node_ns, *(f"net.bridge.bridge-nf-call-{tool}={self.bridge_netfilter}" for tool in ("iptables", "ip6tables")))
        except Failure:
            if self.bridge_netfilter:  # no br_netfilter in this kernel: Docker could not switch it on either
                print("compare: net.bridge.bridge-nf-call-iptables is not there", file=sys.stderr)


class IptablesNode(BridgeNode):
    """What dockerd configures (20.10, rule for rule), with legacy iptables by default. Without a userland proxy to go round, its rules
    also cover calls from containers and from the host itself: `proxyless`."""
    answers_directly = False
    bridge_netfilter = 1
    conntrack = True
    proxyless = False

    def join(self):
        super().join()
        self.lab.sysctl(self.node_ns, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        if self.proxyless:
            self.lab.sysctl(self.node_ns, "net.ipv4.conf.docker0.route_localnet=1")
            for number in range(1, self.count + 1):
                run(["ip", "-n", self.node_ns, "link", "set", f"veth{number}", "type", "bridge_slave", "hairpin", "on"])
        tool = f"ip{'6' if self.lab.family == 6 else ''}tables-{self.lab.iptables}-restore"
        run(inside(self.node_ns, [tool]), stdin=self._rules())

    def _rules(self):
        family = self.lab.family
        address = dockerd.HOST[family].format(2)
        container = f"{address}/{32 if family == 4 else 128}"
        target = address if family == 4 else f"[{address}]"
        loopback = "127.0.0.0/8" if family == 4 else "::1/128"
        subnet = dockerd.SUBNET[family]
        outer_only = "" if self.proxyless else "! -i docker0 "
        published = self.publish
        nat = [":PREROUTING ACCEPT", ":INPUT ACCEPT", ":OUTPUT ACCEPT", ":POSTROUTING ACCEPT", ":DOCKER -",
               "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
               f"-A OUTPUT {'' if self.proxyless else f'! -d {loopback} '}-m addrtype --dst-type LOCAL -j DOCKER"]
        nat += ["-A POSTROUTING -o docker0 -m addrtype --src-type LOCAL -j MASQUERADE"] if self.proxyless else []
        nat += [f"-A POSTROUTING -s {subnet} ! -o docker0 -j MASQUERADE"]
        nat += [f"-A POSTROUTING -s {container} -d {container} -p {p} -m {p} --dport {inner} -j MASQUERADE" for p, _, inner in published]
        nat += [] if self.proxyless else ["-A DOCKER -i docker0 -j RETURN"]
        nat += [f"-A DOCKER {outer_only}-p {p} -m {p} --dport {outer} -j DNAT --to-destination {target}:{inner}"
                for p, outer, inner in published]
        filters = [":INPUT ACCEPT", ":FORWARD DROP", ":OUTPUT ACCEPT", ":DOCKER -", ":DOCKER-ISOLATION-STAGE-1 -",
                   ":DOCKER-ISOLATION-STAGE-2 -", ":DOCKER-USER -",
                   "-A FORWARD -j DOCKER-USER",
                   "-A FORWARD -j DOCKER-ISOLATION-STAGE-1",
                   "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                   "-A FORWARD -o docker0 -j DOCKER",
                   "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
                   "-A FORWARD -i docker0 -o docker0 -j ACCEPT"]
        filters += [f"-A DOCKER -d {container} ! -i docker0 -o docker0 -p {p} -m {p} --dport {inner} -j ACCEPT"
                    for p, _, inner in published]
        filters += ["-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2",
                    "-A DOCKER-ISOLATION-STAGE-1 -j RETURN",
                    "-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP",
                    "-A DOCKER-ISOLATION-STAGE-2 -j RETURN",
                    "-A DOCKER-USER -j RETURN"]
        return "\n".join(["*nat"] + nat + ["COMMIT", "*filter"] + filters + ["COMMIT", ""])


class ProxylessIptablesNode(IptablesNode):
    proxyless = True


class NftablesNode(BridgeNode):
    """NAT as somebody who knows nftables writes it: ports in one map (a hash), no bridge netfilter, no proxy."""
    programs = ("nft",)
    answers_directly = False
    conntrack = True

    def join(self):
        super().join()
        self.lab.sysctl(self.node_ns, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.docker0.route_localnet=1")
        run(inside(self.node_ns, ["nft", "-f", "-"]), stdin=self._rules())

    def _rules(self):
        family = self.lab.family
        kind, ip, subnet = ("ipv4_addr", "ip", dockerd.SUBNET[4]) if family == 4 else ("ipv6_addr", "ip6", dockerd.SUBNET[6])
        address = dockerd.HOST[family].format(2)
        loopback = "127.0.0.0/8" if family == 4 else "::1"
        maps = {protocol: ", ".join(f"{outer} : {address} . {inner}" for p, outer, inner in self.publish if p == protocol)
                for protocol in ("tcp", "udp")}
        text = [f"table {ip} bench {{"]
        text += [f" map {protocol}_ports {{ type inet_service : {kind} . inet_service; elements = {{ {elements} }} }}"
                 for protocol, elements in maps.items()]
        text += [" chain publish {", *(f"  dnat {ip} to {protocol} dport map @{protocol}_ports" for protocol in maps), " }"]
        text += [f" chain {name} {{ type nat hook {name} priority {priority}; fib daddr type local jump publish; }}"
                 for name, priority in (("prerouting", "dstnat"), ("output", "-100"))]
        text += [" chain postrouting {", "  type nat hook postrouting priority srcnat;",
                 f"  {ip} saddr {subnet} oifname != \"docker0\" masquerade",
                 f"  {ip} saddr {{ {subnet}, {loopback} }} oifname \"docker0\" ct status dnat masquerade", " }",
                 " chain forward {", "  type filter hook forward priority 0; policy drop;", "  ct state established,related accept",
                 "  iifname \"docker0\" accept", "  ct status dnat accept", " }", "}", ""]
        return "\n".join(text)


class DockerNode(Node):
    """The real dockerd, and containers that it started."""
    conntrack = True
    userland_proxy = True
    pinned_proxies = True

    def join(self):
        self.daemon = dockerd.Dockerd(self.lab, self.node_ns, self.userland_proxy)
        for number in range(1, self.count + 1):
            publish = [f"{outer}:{inner}/{protocol}" for protocol, outer, inner in self.publish] if number == 1 else []
            name = self.lab.prefix + f"w{number}"
            begin = time.monotonic()
            addresses = self.daemon.container(name, publish)
            self.attach_ms.append((time.monotonic() - begin) * 1e3)
            self.containers.append(name)
            self.addresses.append(addresses[self.lab.family])
        if self.userland_proxy and self.pinned_proxies:
            self.daemon.pin_proxies(self.lab.cpu)


class DockerNodeAsItComes(DockerNode):
    """docker-proxy runs where the scheduler puts it: each packet wakes another core up."""
    pinned_proxies = False


class DockerNodeWithoutProxy(DockerNode):
    userland_proxy = False


class FloorNode(Node):
    """Containers behind veth pairs, joined to the wire or to each other by BPF programs that redirect and do nothing else: what isolation
    costs at least. No translation; neighbours are static."""
    answers_directly = True

    def join(self):
        for number in range(1, self.count + 1):
            self.container(number, self.node_ns)
        if self.count == 1:
            self.neighbours(self.outside_ns, CLIENT[self.lab.family], self.containers[0], self.addresses[0])
            self.redirect(self.node_ns, "eth0", "veth1", "--peer")
            self.redirect(self.node_ns, "veth1", "eth0")
        else:
            self.neighbours(self.containers[0], self.addresses[0], self.containers[1], self.addresses[1])
            self.redirect(self.node_ns, "veth1", "veth2", "--peer")
            self.redirect(self.node_ns, "veth2", "veth1", "--peer")

    def container(self, number, node):
        lab, name = self.lab, self.lab.netns(f"w{number}")
        lab.veth(node, f"veth{number}", name, "eth0")
        run(["ip", "-n", node, "link", "set", f"veth{number}", "up"])
        address = FLOOR[lab.family].format(number)
        lab.address(name, "eth0", f"{address}/{WIRE_WIDTH[lab.family]}")
        self.containers.append(name)
        self.addresses.append(address)

    @staticmethod
    def neighbours(one, one_address, other, other_address):
        for here, address, there in ((one, other_address, other), (other, one_address, one)):
            run(["ip", "-n", here, "neigh", "replace", address, "lladdr", mac_of(there), "dev", "eth0"])

    def redirect(self, node, source, target, *options):
        run(inside(node, [self.lab.fnbench, "redirect", "--from", source, "--to", target, *options]))

    def mac_for_injection(self):
        return mac_of(self.containers[0])


class LocalFloorNode(FloorNode):
    """The same for what a host calls on itself: from lo into the container, and from its veth back to lo, which takes frames with MACs of
    zeros, and its own addresses from elsewhere if it is told to. The route gives the caller another source than the address it calls."""

    def join(self):
        self.container(1, self.node_ns)
        container, address, host = self.containers[0], self.addresses[0], NODE[4]
        run(["ip", "-n", self.node_ns, "route", "add", "local", address, "dev", "lo", "src", host])
        self.lab.sysctl(self.node_ns, "net.ipv4.conf.lo.accept_local=1")
        run(["ip", "-n", container, "neigh", "replace", host, "lladdr", "00:00:00:00:00:00", "dev", "eth0"])
        self.redirect(self.node_ns, "lo", "veth1", "--peer", "--destination", address)
        self.redirect(self.node_ns, "veth1", "lo")


class FastnetNode(Node):
    def join(self):
        self.call = fastnet_on(self.lab, self.node_ns)
        publish = [word for protocol, outer, inner in self.publish for word in ("-p", f"{outer}:{inner}/{protocol}")]
        self.call("attach", "--mode", "bridge")
        for number in range(1, self.count + 1):
            container = self.lab.netns(f"w{number}")
            begin = time.monotonic()
            answer = self.call("attach", "--mode", "bridge", "--netns", container, "--json", *(publish if number == 1 else []))
            self.attach_ms.append((time.monotonic() - begin) * 1e3)
            address = json.loads(answer)["ipv4" if self.lab.family == 4 else "ipv6"]
            if not address:
                raise Failure(f"fastnet gave the container no IPv{self.lab.family} address")
            self.containers.append(container)
            self.addresses.append(address.split("/")[0])


def fastnet_on(lab, node):
    """The fastnet command on a node, with a state of its own; what it made goes with the turn."""
    root = os.path.join(lab.scratch, "root-" + node[len(lab.prefix):])
    os.makedirs(root)

    def call(*words):
        return run(inside(node, [lab.fastnet, "--root", root, *words]), timeout=FASTNET_SECONDS)
    lab.undo.callback(lab.attempt, call, "cleanup")
    return call


# ---- overlay: two nodes, joined by the wire, and a container on each -----------------------------------------------------

OVERLAY_SUBNET = {4: "10.202.0.0/24", 6: "fd00:ca::/64"}
OVERLAY = {4: "10.202.0.{}", 6: "fd00:ca::{}"}
VNI = 4711
VXLAN_OVERHEAD = 50  # the wire is IPv4 for every inner family


class OverlayNodes(Node):
    """containers[0] is on `node_ns` (the server's), containers[1] on `outside_ns`, which is a node here."""
    answers_directly = True

    def nodes(self):
        """[(node, own address, peer's address, container), ...]"""
        self.containers = [self.lab.netns("w1"), self.lab.netns("w2")]
        self.addresses = [OVERLAY[self.lab.family].format(number + 2) for number in range(2)]
        return [(self.node_ns, NODE[4], CLIENT[4], self.containers[0]), (self.outside_ns, CLIENT[4], NODE[4], self.containers[1])]

    def injection(self):
        """Frames enter at the wire, as the other node would send them."""
        return self.addresses[1], ["--vni", str(VNI), "--outer-src", CLIENT[4], "--outer-dst", NODE[4], "--inner-src-mac",
                                   mac_of(self.containers[1]), "--inner-dst-mac", mac_of(self.containers[0]), "--one-way"]


class VxlanNodes(OverlayNodes):
    """The kernel's vxlan device and bridge on each node, with what both would have learned; no rule, bridge-nf-call-iptables=0."""

    def join(self):
        lab = self.lab
        macs = []
        for number, (node, own, peer, container) in enumerate(self.nodes(), 2):
            run(["ip", "-n", node, "link", "add", "br0", "type", "bridge"])
            run(["ip", "-n", node, "link", "add", "vxlan0", "type", "vxlan", "id", str(VNI), "dstport", "4789", "local", own,
                 "remote", peer])
            run(["ip", "-n", node, "link", "set", "vxlan0", "master", "br0", "up"])
            lab.veth(node, "veth1", container, "eth0")
            run(["ip", "-n", node, "link", "set", "veth1", "master", "br0", "up"])
            run(["ip", "-n", node, "link", "set", "br0", "up"])
            run(["ip", "-n", container, "link", "set", "eth0", "mtu", str(1500 - VXLAN_OVERHEAD)])
            lab.address(container, "eth0", *(f"{OVERLAY[f].format(number)}/{WIRE_WIDTH[f]}" for f in (4, 6)))
            try:
                lab.sysctl(node, "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0")
            except Failure:
                pass  # no br_netfilter: nothing to switch off
            macs.append(mac_of(container))
        for here, there, mac in ((self.containers[0], 3, macs[1]), (self.containers[1], 2, macs[0])):
            for family in (4, 6):
                run(["ip", "-n", here, "neigh", "replace", OVERLAY[family].format(there), "lladdr", mac, "dev", "eth0"])


class FastnetNodes(OverlayNodes):
    """Our overlay; the addresses are learned, as without any server."""

    def join(self):
        for number, (node, _, peer, container) in enumerate(self.nodes(), 2):
            call = fastnet_on(self.lab, node)
            call("attach", "--mode", "bridge", "--uplink", "eth0")
            call("network", "create", "blue", "--driver", "overlay", "--vni", str(VNI),
                 *(word for f in (4, 6) for word in ("--subnet", OVERLAY_SUBNET[f])))
            call("peer", "add", peer, "--network", "blue")
            begin = time.monotonic()
            call("attach", "--mode", "overlay", "--network", "blue", "--netns", container,
                 *(word for f in (4, 6) for word in ("--ip", OVERLAY[f].format(number))))
            self.attach_ms.append((time.monotonic() - begin) * 1e3)


class FloorNodes(FloorNode):
    """A container on each node behind programs that redirect and do nothing else; nothing is encapsulated."""

    def join(self):
        self.container(1, self.node_ns)
        self.container(2, self.outside_ns)
        self.neighbours(self.containers[1], self.addresses[1], self.containers[0], self.addresses[0])
        for node, veth in ((self.node_ns, "veth1"), (self.outside_ns, "veth2")):
            self.redirect(node, "eth0", veth, "--peer")
            self.redirect(node, veth, "eth0")

    def injection(self):
        return self.addresses[1], ["--one-way"]
