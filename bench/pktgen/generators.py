"""The two generators: the kernel's pktgen, and fnbench's XDP live frames. Same request, same answer."""

import dataclasses
import json
import os
import re
import subprocess
import time

from netlab import Failure, die_with_parent, inside, run

from counters import within

PKTGEN_SMALLEST = {4: 60, 6: 78}  # pktgen puts 16 bytes of its own behind the UDP header
LIVE_SMALLEST = {4: 60, 6: 62}
TUNNEL_PORT = 4789
TUNNEL_HEADERS = 50  # VXLAN over IPv4, around the inner frame


@dataclasses.dataclass
class Tunnel:
    """VXLAN around the frames."""
    vni: int
    outer_source: str
    outer_destination: str
    outer_destination_mac: str


@dataclasses.dataclass
class Stream:
    """What to send, from where."""
    netns: str | None
    device: str
    destination_mac: str
    source: str
    destination: str
    destination_port: int
    family: int
    source_mac: str | None = None  # None: the device's
    tunnel: Tunnel | None = None   # with it, the addresses above are the inner frame's
    first_source_port: int = 20000


@dataclasses.dataclass
class Amount:
    size: int
    flows: int
    threads: int
    first_cpu: int
    rate: float      # frames per second of all threads; 0: as fast as it goes
    count: int       # of each thread; 0: by time
    seconds: float   # at most
    burst: int
    clones: int = 0  # pktgen: how often a frame is sent before the next is made


def flows_of_thread(flows, threads, number):
    """(first, count), as fnbench shares them out."""
    first = flows * number // threads
    return first, flows * (number + 1) // threads - first


def frame_words(stream, amount):
    """The frames, as fnbench is told."""
    words = ["--dev", stream.device, "--src", stream.source, "--dst", stream.destination, "--dst-port", str(stream.destination_port),
             "--first-src-port", str(stream.first_source_port), "--flows", str(amount.flows), "--size", str(amount.size)]
    if stream.tunnel:
        tunnel = stream.tunnel
        return words + ["--dst-mac", tunnel.outer_destination_mac, "--vni", str(tunnel.vni), "--outer-src", tunnel.outer_source,
                        "--outer-dst", tunnel.outer_destination, "--inner-src-mac", stream.source_mac,
                        "--inner-dst-mac", stream.destination_mac]
    return words + ["--dst-mac", stream.destination_mac] + (["--src-mac", stream.source_mac] if stream.source_mac else [])


# ---- XDP live frames -------------------------------------------------------------------------------------------------------


class LiveFrames:
    name = "live frames"

    def __init__(self, fnbench):
        self.fnbench = fnbench

    def smallest(self, family):
        return LIVE_SMALLEST[family]

    def command(self, stream, amount):
        words = [self.fnbench, "generate", *frame_words(stream, amount), "--batch", str(amount.burst), "--cpu", str(amount.first_cpu),
                 "--threads", str(amount.threads), "--seconds", str(amount.seconds), "--die-with-parent"]
        words += ["--rate", f"{amount.rate:.6f}"] if amount.rate else []
        return words + (["--count", str(amount.count)] if amount.count else [])

    def generate(self, stream, amount):
        out = run(within(stream.netns, self.command(stream, amount)), timeout=amount.seconds + 60)
        return json.loads(out)["threads"]


# ---- the kernel's pktgen -----------------------------------------------------------------------------------------------------


# Lines of file and command on its standard input.
WRITE_COMMANDS = """while read -r file line; do
  echo "$line" > "/proc/net/pktgen/$file" || { echo "$file: $line: refused" >&2; exit 1; }
  said=$(sed -n "s/^Result: //p" "/proc/net/pktgen/$file")
  case $said in OK*|""|NA*|Idle*) ;; *) echo "$file: $line: $said" >&2; exit 1;; esac
done"""


def pktgen_is_there():
    if not os.path.isdir("/proc/net/pktgen"):
        subprocess.run(["modprobe", "-q", "pktgen"], check=False, stderr=subprocess.DEVNULL)
    return os.path.isdir("/proc/net/pktgen")


def outer(stream, amount):
    """What pktgen sends of a tunnel: the outer frames."""
    tunnel = stream.tunnel
    return (dataclasses.replace(stream, tunnel=None, family=4, destination_mac=tunnel.outer_destination_mac, source_mac=None,
                                source=tunnel.outer_source, destination=tunnel.outer_destination, destination_port=TUNNEL_PORT),
            dataclasses.replace(amount, size=amount.size + TUNNEL_HEADERS))


def pktgen_commands(stream, amount, number, shared_allowed):
    """The lines for one thread's device file, in order."""
    # Handed to the device, a frame passes no egress program; a tunnel's has no outer checksum (RFC 7348 section 5).
    flags = ["flag UDPCSUM"]
    if stream.tunnel:
        stream, amount = outer(stream, amount)
        flags = ["xmit_mode queue_xmit"]
    first, flows = flows_of_thread(amount.flows, amount.threads, number)
    port = stream.first_source_port + first
    lines = [f"count {amount.count}", f"pkt_size {amount.size}", f"clone_skb {amount.clones}", "delay 0",
             f"dst_mac {stream.destination_mac}", f"udp_dst_min {stream.destination_port}", f"udp_dst_max {stream.destination_port}",
             # From min to max - 1, each frame the next one.
             f"udp_src_min {port}", f"udp_src_max {port + flows if flows > 1 else port}",
             "flag QUEUE_MAP_CPU", "flag NO_TIMESTAMP", *flags]
    if stream.source_mac:
        lines.append(f"src_mac {stream.source_mac}")
    if stream.family == 6:
        lines += [f"dst6 {stream.destination}", f"src6 {stream.source}"]
    else:
        lines += [f"dst_min {stream.destination}", f"dst_max {stream.destination}", f"src_min {stream.source}", f"src_max {stream.source}"]
    if shared_allowed:
        lines.append(f"burst {amount.burst}")
    else:
        lines.append("flag !SHARED")
    if amount.rate:
        lines.append(f"ratep {max(1, round(amount.rate / amount.threads))}")
    return lines


def parse_pktgen(text, cpu):
    """One core's row of a device file of pktgen after a run."""
    sofar = re.search(r"pkts-sofar:\s*(\d+)\s+errors:\s*(\d+)", text)
    result = re.search(r"Result: OK: (\d+)\(c(\d+)\+d(\d+)\) usec, (\d+)", text)
    if not sofar or not result:
        said = re.search(r"Result: (.*)", text)
        raise Failure(f"pktgen on cpu {cpu}: {said[1] if said else 'no result'}")
    sent = int(sofar[1]) + int(sofar[2])  # errors: frames that the device dropped, and counted
    return {"cpu": cpu, "sent": sent, "timed_frames": sent, "elapsed_ns": int(result[1]) * 1000, "idle_ns": int(result[3]) * 1000,
            "errors": int(sofar[2])}


class KernelPktgen:
    name = "kernel pktgen"

    def __init__(self, fnbench, among_veths=True):
        self.fnbench = fnbench
        self.shared_allowed = not among_veths  # a NIC leaves the frame alone; a veth hands it to programs that write into it

    def smallest(self, family):
        return PKTGEN_SMALLEST[family]

    @staticmethod
    def write(netns, *commands):
        """(file, command) each, in order, by one shell. A command that pktgen refuses fails; what it does not understand it says in the
        file only."""
        try:
            run(within(netns, ["sh", "-c", WRITE_COMMANDS]), stdin="".join(f"{file} {line}\n" for file, line in commands))
        except Failure as failure:
            raise Failure(f"pktgen: {str(failure).rpartition(WRITE_COMMANDS + ': ')[2]}") from None

    @staticmethod
    def read(netns, file):
        return run(within(netns, ["cat", f"/proc/net/pktgen/{file}"]))

    def generate(self, stream, amount):
        device = stream.device
        cpus = range(amount.first_cpu, amount.first_cpu + amount.threads)
        commands = [("pgctrl", "reset")]
        for number, cpu in enumerate(cpus):
            commands.append((f"kpktgend_{cpu}", f"add_device {device}@{cpu}"))
            commands += [(f"{device}@{cpu}", line) for line in pktgen_commands(stream, amount, number, self.shared_allowed)]
        if stream.tunnel:
            run(within(stream.netns, [self.fnbench, "vxlan", *frame_words(stream, amount)]))
        try:
            self.write(stream.netns, *commands)
            self.start(stream.netns, amount)
            return [parse_pktgen(self.read(stream.netns, f"{device}@{cpu}"), cpu) for cpu in cpus]
        finally:
            self.write(stream.netns, ("pgctrl", "reset"))

    def start(self, netns, amount):
        """The write ends when all threads are done; by time, a second one stops them."""
        words = ["sh", "-c", "echo start > /proc/net/pktgen/pgctrl"]
        with subprocess.Popen(words if netns is None else inside(netns, words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=die_with_parent) as starter:
            end = time.monotonic() + amount.seconds
            try:
                try:
                    starter.wait(max(0.0, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    self.write(netns, ("pgctrl", "stop"))
                    starter.wait(10)
            except BaseException:
                starter.kill()
                raise
            if starter.returncode != 0:
                raise Failure(f"pktgen: start: {starter.stderr.read().strip()}")


def choose(wanted, fnbench, among_veths):
    """auto: pktgen where it is there and can be used."""
    if wanted == "live":
        return LiveFrames(fnbench)
    there = pktgen_is_there()
    if wanted == "pktgen" and not there:
        raise Failure("no /proc/net/pktgen: this kernel has no pktgen module (CONFIG_NET_PKTGEN); --generator live needs none")
    if there and among_veths and not shares_on_demand():
        if wanted == "pktgen":
            raise Failure("this kernel's pktgen sends frames that it keeps a hold of (no SHARED flag, which came in 6.7): programs behind "
                          "a veth write into them and the kernel would stop; --generator live, or --dev with a NIC")
        there = False
    return KernelPktgen(fnbench, among_veths) if there else LiveFrames(fnbench)


def shares_on_demand():
    """Whether this pktgen knows the flag SHARED."""
    try:
        KernelPktgen.write(None, ("kpktgend_0", "add_device lo@fnbench"), ("lo@fnbench", "flag !SHARED"))
        return True
    except Failure:
        return False
    finally:
        KernelPktgen.write(None, ("kpktgend_0", "rem_device_all"))
