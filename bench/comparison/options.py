"""The command line of bench/compare."""

import argparse
import shutil

from . import dockerd
from .metrics import METRICS
from .variants import PATHS, VARIANTS


def parser():
    names = list(dict.fromkeys(variant.name for variant in VARIANTS))
    found = argparse.ArgumentParser(description="Host mode, Docker, iptables, nftables, kernel vxlan and fastnet side by side.",
                                    epilog="Example: bench/compare --only published,tcp_rr,host,docker,fastnet --rounds 5 --json out.json")
    found.add_argument("--only", default="", metavar="WORD,...",
                       help="paths (%s), variants (%s) and metrics (%s); words of one kind add up, kinds narrow each other"
                       % (", ".join(PATHS), ", ".join(names), ", ".join(metric.name for metric in METRICS)))
    found.add_argument("--growth", action="store_true", help="also what 1 to 10,000 published ports and 1 to 200,000 flows cost")
    found.add_argument("--quoted", action="store_true", help="also a quoted comparison of Docker's modes, with this machine's figures")
    found.add_argument("--full", action="store_true", help="--growth --quoted --targets")
    found.add_argument("--rounds", type=int, default=5)
    found.add_argument("--seconds", type=float, default=0.3, help="per measurement (default 0.3; wrk knows whole seconds only)")
    found.add_argument("--warmup", type=float, default=0.1, help="seconds before counting starts (default 0.1)")
    found.add_argument("--settle", type=float, default=0.1, help="seconds of rest before each measurement (default 0.1)")
    found.add_argument("--cpu", type=int, default=None, help="client, server and softirq run on this cpu (default: the last)")
    found.add_argument("--family", type=int, choices=(4, 6), default=4, help="IPv4 or IPv6")
    found.add_argument("--iptables", choices=("legacy", "nft"), default="legacy", help="which iptables Docker and its rules go through")
    found.add_argument("--segmented-wire", action="store_true",
                       help="TSO, UDP and tunnel segmentation off at both ends of the wire: a veth never segments, a NIC has to")
    found.add_argument("--inject-flows", type=int, default=1, help="source ports that the injected frames use in turn")
    found.add_argument("--inject-bytes", type=int, default=60, help="size of the injected frames")
    found.add_argument("--http-connections", type=int, default=16, help="keep-alive connections of wrk (default 16)")
    found.add_argument("--fastnet", metavar="PATH", help="the fastnet program (default: the newest in a build directory)")
    found.add_argument("--fnbench", metavar="PATH", help="the fnbench program (default: likewise)")
    found.add_argument("--json", metavar="FILE", help="write everything measured here; - is stdout, instead of the tables")
    found.add_argument("--plot", metavar="FILE", help="write the ratios as an SVG (needs python3-matplotlib)")
    found.add_argument("--brief", action="store_true", help="print the short tables only")
    found.add_argument("--targets", action="store_true", help="print each aim of the project with met, missed or at the limit")
    found.add_argument("--strict", action="store_true", help="exit status 1 when a target is missed")
    found.add_argument("--from", dest="source", metavar="FILE",
                       help="measure nothing: tables, plot and README.md from an earlier run's JSON")
    found.add_argument("--readme", action="store_true", help="write the result into README.md, between its markers (with --from)")
    found.add_argument("--same", nargs=2, metavar="FILE", help="measure nothing: do two runs' JSON files give the same verdicts?")
    found.add_argument("--smoke", action="store_true",
                       help="for ctest: exit status 77 where something is missing, no lock, each variant and metric once")
    found.add_argument("--list", action="store_true", help="print paths, variants and metrics, and exit")
    return found


def parse():
    command = parser()
    options = command.parse_args()
    if options.rounds < 1 or options.seconds <= 0 or min(options.warmup, options.settle) < 0 or options.http_connections < 1:
        command.error("--rounds, --seconds and --http-connections must be positive")
    if options.readme and not options.source:
        command.error("--readme goes with --from FILE")
    if options.smoke:
        options.rounds, options.seconds, options.warmup, options.settle = 1, 0.02, 0, 0
    if options.full:
        options.growth = options.quoted = options.targets = True
    return command, options


def select(command, options):
    """(variants, metrics) of --only, and why Docker cannot be measured here, if it cannot."""
    words = {word for word in options.only.split(",") if word}
    kinds = {"path": set(PATHS), "variant": {variant.name for variant in VARIANTS}, "metric": {metric.name for metric in METRICS}}
    unknown = words - set().union(*kinds.values())
    if unknown:
        command.error(f"--only: unknown {', '.join(sorted(unknown))}; see --list")
    chosen = {kind: (words & known) or known for kind, known in kinds.items()}
    no_docker = dockerd.missing()
    variants = [variant for variant in VARIANTS if variant.path in chosen["path"] and variant.name in chosen["variant"]
                and not (variant.stands_in and not no_docker and variant.name not in words)
                and not (variant.is_docker and no_docker) and not (variant.ipv4_only and options.family == 6)]
    metrics = [metric for metric in METRICS if metric.name in chosen["metric"] and any(path in chosen["path"] for path in metric.paths)]
    if not variants or not metrics:
        command.error("--only: nothing is left to measure" + (f" ({no_docker})" if no_docker else ""))
    return variants, metrics, no_docker


def missing_programs(variants, metrics):
    """Programs that what was chosen needs."""
    wanted = {"ip", "nsenter", "ethtool", "taskset", "ss", "sysctl"}.union(*(variant.node.programs for variant in variants))
    if any(metric.name == "http" for metric in metrics):
        wanted |= {"nginx", "wrk"}
    return sorted(program for program in wanted if not shutil.which(program))
