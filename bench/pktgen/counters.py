"""What became of the frames: counters of namespaces, devices, sockets and of fastnet, and the sum that has to come out.

Reading is in read_*(); everything else is arithmetic on numbers, without a machine (tests/unit/bench/pktgen_test.py).
"""

import json
import re

from netlab import inside, read_text, run

# What the kernel's IP and UDP layers throw away, by the names of /proc/net/snmp and /proc/net/snmp6. A socket whose queue is full
# counts in InErrors (RcvbufErrors is a part of it).
SOCKET_DROPS = ("UdpInErrors", "UdpNoPorts", "Udp6InErrors", "Udp6NoPorts")
STACK_DROPS = ("IpInHdrErrors", "IpInAddrErrors", "IpInDiscards", "IpOutDiscards", "IpOutNoRoutes", "IpReasmFails", "IpInUnknownProtos",
               "Ip6InHdrErrors", "Ip6InAddrErrors", "Ip6InDiscards", "Ip6OutDiscards", "Ip6OutNoRoutes", "Ip6InNoRoutes")
DEVICE_DROPS = ("rx_dropped", "rx_errors", "tx_dropped", "tx_errors")

# ---- reading -----------------------------------------------------------------------------------------------------------


def within(netns, command):
    """The command in that namespace; None is the one that we are in."""
    return command if netns is None else inside(netns, command)


def read_devices(netns):
    """{device: {counter: value}} of a namespace, lo left out."""
    found = {}
    for link in json.loads(run(within(netns, ["ip", "-j", "-s", "link", "show"]))):
        if link["ifname"] != "lo":
            found[link["ifname"]] = {f"{way}_{counter}": value for way in ("rx", "tx") for counter, value in link["stats64"][way].items()}
    return found


def parse_snmp(snmp, snmp6):
    """{name: value} of /proc/net/snmp (a line of names, a line of values, each) and /proc/net/snmp6 (a line for each)."""
    found = {}
    lines = [line.split() for line in snmp.splitlines()]
    for names, values in zip(lines[::2], lines[1::2]):
        found.update({names[0].rstrip(":") + name: int(value) for name, value in zip(names[1:], values[1:])})
    for line in snmp6.splitlines():
        name, value = line.split()
        found[name] = int(value)
    return found


def read_stack(netns):
    # A process of that namespace has to look: /proc/net is the reader's own.
    both = run(within(netns, ["sh", "-c", "cat /proc/net/snmp; echo; cat /proc/net/snmp6"]))
    return parse_snmp(*both.split("\n\n", 1))


def parse_softnet(text):
    """Frames that a cpu's backlog had no room for: the second hexadecimal column, one line per cpu."""
    return sum(int(line.split()[1], 16) for line in text.splitlines())


def read_verdicts(fastnet, netns, root):
    """{verdict: (kind, packets)}"""
    said = json.loads(run(within(netns, [fastnet, "--root", root, "stats", "--json"])))["verdicts"]
    return {name: (row["kind"], row["packets"]) for name, row in said.items()}


def snapshot(namespaces, nodes, fastnet):
    """Every counter now. namespaces: {label: netns or None}; nodes: {label: root}, those of them that run fastnet."""
    return {
        "softnet": parse_softnet(read_text("/proc/net/softnet_stat") or ""),
        "devices": {label: read_devices(netns) for label, netns in namespaces.items()},
        "stack": {label: read_stack(netns) for label, netns in namespaces.items()},
        "verdicts": {label: read_verdicts(fastnet, namespaces[label], root) for label, root in nodes.items()},
    }


# ---- arithmetic ----------------------------------------------------------------------------------------------------------


def difference(before, after):
    """What each counter moved by; what came meanwhile counts from 0."""
    if isinstance(after, dict):
        return {key: difference((before or {}).get(key), value) for key, value in after.items()}
    if isinstance(after, tuple):
        return after[:-1] + (after[-1] - (before[-1] if before else 0),)
    return after - (before or 0)


def device_drops(moved, wire):
    """{(label, device, counter): frames}, without zeros. A veth counts an XDP frame that its peer's ring had no room for at both ends, so
    what the sending end of the wire (label, device) says is not counted again at the receiving one."""
    drops = {}
    for label, devices in moved.items():
        for device, counters in devices.items():
            for counter in DEVICE_DROPS:
                drops[label, device, counter] = counters.get(counter, 0)
    if wire:
        (sender, receiver) = wire
        twice = min(drops.get((*sender, "tx_dropped"), 0), drops.get((*receiver, "rx_dropped"), 0))
        if (*receiver, "rx_dropped") in drops:
            drops[(*receiver, "rx_dropped")] -= twice
    return {key: value for key, value in drops.items() if value}


def drops_by_reason(moved, wire=None):
    """{reason: frames}: fastnet's verdicts, devices, sockets, stack."""
    reasons = {}
    for label, verdicts in moved["verdicts"].items():
        reasons.update({f"{label}: {name}": packets for name, (kind, packets) in verdicts.items() if kind == "drop" and packets})
    reasons.update({f"{label}: {device} {counter}": value
                    for (label, device, counter), value in device_drops(moved["devices"], wire).items()})
    for label, stack in moved["stack"].items():
        reasons.update({f"{label}: {name}": stack[name] for name in SOCKET_DROPS + STACK_DROPS if stack.get(name)})
    return reasons


def verdicts_of_kind(moved, kind):
    return {f"{label}: {name}": packets for label, verdicts in moved["verdicts"].items()
            for name, (its_kind, packets) in verdicts.items() if its_kind == kind and packets}


def per_packet(nanoseconds, packets):
    return nanoseconds / packets if packets else None


def account(generated, delivered, moved, wire=None):
    """The report's figures. generated: one row per core with cpu, sent, timed_frames, elapsed_ns, idle_ns; delivered: {cpu: frames},
    or None where nobody here could count them."""
    sent = sum(row["sent"] for row in generated)
    drops = drops_by_reason(moved, wire)
    arrived = None if delivered is None else sum(delivered.values())
    lost = None if arrived is None or not generated else sent - arrived
    counted = sum(drops.values())
    # The backlog's count is the whole machine's, so it explains what is missing and no more.
    backlog = moved["softnet"] if lost is None else max(0, min(lost - counted, moved["softnet"]))
    if backlog:
        drops["softnet backlog"] = backlog
    # The kernel's own frames (neighbour discovery, group membership) pass the same counters: more drops than losses are those.
    unexplained = lost if lost is None or lost < 0 else max(0, lost - counted - backlog)
    cores = []
    for row in generated:
        rate = row["timed_frames"] / row["elapsed_ns"] * 1e9 if row["elapsed_ns"] else None
        busy = per_packet(row["elapsed_ns"] - row["idle_ns"], row["timed_frames"])
        here = None if delivered is None else delivered.get(row["cpu"], 0)
        cores.append({"cpu": row["cpu"], "sent": row["sent"], "delivered": here, "sent_per_second": rate,
                      "idle_percent": 100 * row["idle_ns"] / row["elapsed_ns"] if row["elapsed_ns"] else None,
                      "ns_per_sent": busy, "ns_per_delivered": busy * row["sent"] / here if busy and here else None})
    # Cores may end at different times: each core's own time counts, and their sum is what all of it cost.
    busy_ns = sum(core["ns_per_sent"] * core["sent"] for core in cores if core["ns_per_sent"])
    rates = [core["sent_per_second"] for core in cores if core["sent_per_second"]]
    return {
        "sent": sent, "delivered": arrived, "drops": drops,
        "unexplained": unexplained, "drops_of_others": None if lost is None else max(0, counted - max(0, lost)),
        "forwarded": verdicts_of_kind(moved, "fast"), "left_to_kernel": verdicts_of_kind(moved, "kernel"),
        "sent_per_second": sum(rates) if rates else None,
        "delivered_per_second": sum(rates) * arrived / sent if rates and arrived is not None and sent else None,
        "ns_per_sent": per_packet(busy_ns, sent) if busy_ns else None,
        "ns_per_delivered": per_packet(busy_ns, arrived) if busy_ns and arrived else None,
        "cores": cores,
    }


def parse_rate(text):
    """frames per second: 500000, 500k, 1.5M"""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", text)
    value = float(match[1]) * {"": 1, "k": 1e3, "m": 1e6}[match[2].lower()] if match else 0
    if value <= 0:
        raise ValueError(f"not a rate: {text} (for example 500000, 500k, 1.5M)")
    return value


# ---- the report ------------------------------------------------------------------------------------------------------------


def cell(value, digits=0):
    return "-" if value is None else f"{value:,.{digits}f}"


def table(title, report):
    """The report of one run as text."""
    sent = report["sent"]

    def share(frames):
        return f"{100 * frames / sent:7.3f} %" if sent else ""

    lines = [title]
    if report["cores"]:
        lines.append(f"  {'sent':<44}{cell(sent):>14}")
    for device, counters in report.get("devices", {}).items():
        lines += [f"  {device + ' ' + counter:<44}{cell(counters[counter]):>14}" for counter in ("rx_packets", "tx_packets")
                  if counters.get(counter)]
    if report["delivered"] is not None:
        lines.append(f"  {'delivered':<44}{cell(report['delivered']):>14}  {share(report['delivered'])}")
    for reason, frames in sorted(report["drops"].items(), key=lambda item: -item[1]):
        lines.append(f"  dropped: {reason:<35}{cell(frames):>14}  {share(frames)}")
    if report["drops_of_others"]:
        lines.append(f"  {'of these, frames of others (the kernel)':<44}{cell(report['drops_of_others']):>14}")
    if report["unexplained"]:
        lines.append(f"  {'not explained by any counter':<44}{cell(report['unexplained']):>14}  {share(report['unexplained'])}")
    for what, rows in (("fastnet's fast path", report["forwarded"]), ("left to the kernel", report["left_to_kernel"])):
        lines += [f"  {what + ': ' + name:<44}{cell(frames):>14}  {share(frames)}" for name, frames in rows.items()]
    if not report["cores"]:
        return "\n".join(lines)
    lines.append(f"  {'core':<8}{'sent':>14}{'delivered':>14}{'sent/s':>14}{'waiting':>10}{'ns/sent':>10}{'ns/delivered':>14}")
    total = {"cpu": "all", "idle_percent": None} | {key: report[key] for key in ("sent", "delivered", "sent_per_second", "ns_per_sent",
                                                                               "ns_per_delivered")}
    for core in report["cores"] + ([total] if len(report["cores"]) > 1 else []):
        waiting = "" if core["idle_percent"] is None else f"{core['idle_percent']:.1f} %"
        lines.append(f"  {core['cpu']!s:<8}{cell(core['sent']):>14}{cell(core['delivered']):>14}{cell(core['sent_per_second']):>14}"
                     f"{waiting:>10}{cell(core['ns_per_sent'], 1):>10}{cell(core['ns_per_delivered'], 1):>14}")
    return "\n".join(lines)
