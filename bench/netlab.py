"""What the benchmarks of this directory share: processes, namespaces that go with their maker, finding the programs that are measured.

Nothing here outlives the benchmark: children die with it, namespaces and scratch directories carry its pid, and the next run removes
those of a dead one.
"""

import contextlib
import ctypes
import datetime
import fcntl
import glob
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile

BENCH_DIR = os.path.dirname(os.path.realpath(__file__))
REPO_DIR = os.path.dirname(BENCH_DIR)
PROGRAM = os.path.basename(sys.argv[0])
PREFIX = "fnb"
LOCK_PATH = "/run/lock/fastnet-bench.lock"

# ---- processes ----------------------------------------------------------------------------------------------------


class Failure(Exception):
    """Something that this program needs did not work; the text says what."""


def die_with_parent():
    """In the child, before exec: killed when this program is gone, even by SIGKILL."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def run(command, stdin=None, timeout=60, check=True):
    """Runs a command in a session of its own (Ctrl-C is ours to handle) and returns its stdout."""
    try:
        done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout,
                              start_new_session=True, preexec_fn=die_with_parent)
    except subprocess.TimeoutExpired:
        raise Failure(f"{shortened(command)}: no end within {timeout} s") from None
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}") from None
    if check and done.returncode != 0:
        why = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
        raise Failure(f"{shortened(command)}: {why}")
    return done.stdout


def shortened(command, most=300):
    text = " ".join(command)
    return text if len(text) <= most else text[:most] + " ..."


def inside(netns, command):
    """nsenter, not `ip netns exec`: the latter makes a mount namespace, and a bpffs mounted in there dies with it."""
    return ["nsenter", f"--net=/run/netns/{netns}"] + command


def end_by_signal(number, _frame):
    raise SystemExit(128 + number)


def read_text(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return None


# ---- namespaces, and everything that must be undone ------------------------------------------------------------------


class Namespaces:
    """Owns namespaces, processes and the scratch directory of one turn at a time. Leaving turn() removes them all, whatever
    happened; signals wait until that is done."""

    def __init__(self):
        self.prefix = f"{PREFIX}{os.getpid()}-"
        self.undo = contextlib.ExitStack()
        self.scratch = ""
        self.leftovers = []  # what could not be cleaned up

    @contextlib.contextmanager
    def turn(self):
        try:
            self.scratch = tempfile.mkdtemp(prefix=self.prefix)
            self.undo.callback(remove_tree_with_mounts, self.scratch)
            yield
        finally:
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
            self.undo.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def attempt(self, what, *arguments):
        """One step of the clean-up: a failure is reported and the next step still happens."""
        try:
            what(*arguments)
        except (Failure, OSError) as error:
            print(f"{PROGRAM}: clean-up: {error}", file=sys.stderr)
            self.leftovers.append(str(error))

    def netns(self, name):
        full = self.prefix + name
        self.undo.callback(self.attempt, self._remove_netns, full)  # before it exists: a signal may come in between
        run(["ip", "netns", "add", full])
        run(["ip", "-n", full, "link", "set", "lo", "up"])
        return full

    def adopt_netns(self, full, pid):
        """Names the namespace of a process that somebody else made. The name goes with the turn."""
        self.undo.callback(self.attempt, self._remove_netns, full)
        run(["ip", "netns", "attach", full, str(pid)])

    @staticmethod
    def _remove_netns(name):
        if os.path.exists(f"/run/netns/{name}"):
            run(["ip", "netns", "del", name])

    def sysctl(self, netns, *assignments):
        run(inside(netns, ["sysctl", "-q", "-w", *assignments]))

    def veth(self, one, one_name, other, other_name):
        run(["ip", "link", "add", one_name, "netns", one, "type", "veth", "peer", "name", other_name, "netns", other])

    def address(self, netns, device, *addresses):
        for address in addresses:
            run(["ip", "-n", netns, "addr", "add", address, "dev", device] + (["nodad"] if ":" in address else []))
        run(["ip", "-n", netns, "link", "set", device, "up"])


def remove_tree_with_mounts(directory):
    """fastnet may have mounted a bpffs under its --root; after its own clean-up none should be left."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        points = [line.split()[1] for line in mounts]
    for point in sorted((p for p in points if p.startswith(directory + "/")), reverse=True):
        subprocess.run(["umount", "-l", point], check=False)
    shutil.rmtree(directory, ignore_errors=True)


def sweep(fastnet):
    """Removes what a run left behind that was killed by SIGKILL: namespaces and directories named after a dead process."""
    def is_stale(path):
        match = re.fullmatch(PREFIX + r"(\d+)-.*", os.path.basename(path))
        return match and not os.path.exists(f"/proc/{match[1]}")

    stale = [os.path.basename(path) for path in filter(is_stale, glob.glob(f"/run/netns/{PREFIX}*-*"))]
    for name in stale:
        for pid in run(["ip", "netns", "pids", name], check=False).split():  # a dockerd's containers outlive it
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    for directory in filter(is_stale, glob.glob(os.path.join(tempfile.gettempdir(), PREFIX + "*-*"))):
        pid_prefix = re.match(PREFIX + r"\d+-", os.path.basename(directory))[0]
        for root in glob.glob(os.path.join(directory, "root-*")):
            node = pid_prefix + os.path.basename(root)[len("root-"):]
            if fastnet and os.path.exists(f"/run/netns/{node}"):
                run(inside(node, [fastnet, "--root", root, "cleanup"]), check=False)
        remove_tree_with_mounts(directory)
        print(f"{PROGRAM}: removed {directory} of an earlier run", file=sys.stderr)
    for name in stale:
        run(["ip", "netns", "del", name], check=False)
        print(f"{PROGRAM}: removed namespace {name} of an earlier run", file=sys.stderr)


# ---- the machine and its programs --------------------------------------------------------------------------------------


def newest_program(name, extra=()):
    """The newest executable of that name in a build directory of this repository (or a usual scratch one)."""
    builds = [os.path.dirname(path) for path in glob.glob(os.path.join(REPO_DIR, "*", "CMakeCache.txt"))] + list(extra)
    found = []
    for build in builds:
        for directory, children, files in os.walk(build):
            children[:] = [child for child in children if child not in ("CMakeFiles", "_deps", ".git")]
            path = os.path.join(directory, name)
            if name in files and os.access(path, os.X_OK):
                found.append(path)
    return max(found, key=os.path.getmtime) if found else None


def locked():
    """Held until the process ends."""
    lock = open(LOCK_PATH, "w", encoding="utf-8")  # pylint: disable=consider-using-with
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise Failure("another benchmark of bench/ is running: two would measure each other") from None
    return lock


def machine():
    """What a figure was measured on."""
    model = re.search(r"^model name\s*: (.*)$", read_text("/proc/cpuinfo") or "", re.M)
    git = ["git", "-C", REPO_DIR]
    commit = run(git + ["rev-parse", "--short=12", "HEAD"], check=False).strip()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit if re.fullmatch(r"[0-9a-f]+", commit) else None,
        "uncommitted_changes": bool(run(git + ["status", "--porcelain"], check=False).strip()),
        "kernel": platform.release(), "machine": platform.machine(), "cpu": model[1] if model else None, "cpus": os.cpu_count(),
        "clocksource": read_text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "kernel_command_line": read_text("/proc/cmdline"), "load_average_before": os.getloadavg(),
    }
