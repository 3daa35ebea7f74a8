"""The real Docker daemon in a node's namespace. All its files are in the turn's scratch directory; containers run the host's programs,
which are mounted read-only into an image that holds nothing else: no registry is asked."""

import json
import os
import shutil
import subprocess
import tarfile

from netlab import Failure, die_with_parent, inside, run

from .lab import wait_for

NEEDED = ("dockerd", "containerd", "runc")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
IMAGE = "fastnet-bench:1"
SUBNET = {4: "172.17.0.0/16", 6: "fd00:dc::/64"}
HOST = {4: "172.17.0.{}", 6: "fd00:dc::{}"}
WIDTH = {4: 16, 6: 64}
STOP_SECONDS = 60


def missing():
    """Why no dockerd can run here, or None."""
    lacking = [program for program in (*NEEDED, "docker") if not shutil.which(program, path=PATH)]
    return f"no program {', '.join(lacking)} (Debian's docker.io)" if lacking else None


class Dockerd:
    """A started daemon. It ends with the turn, its containers before it."""

    def __init__(self, lab, netns, userland_proxy):
        self.lab, self.netns = lab, netns
        self.directory = os.path.join(lab.scratch, "docker")
        os.makedirs(os.path.join(self.directory, "bin"))
        for name in ("iptables", "ip6tables"):  # the first in PATH is what dockerd uses
            os.symlink(shutil.which(f"{name}-{lab.iptables}", path=PATH) or f"/usr/sbin/{name}-{lab.iptables}", self._path("bin", name))
        self.environment = {"PATH": f"{self._path('bin')}:{PATH}", "DOCKER_HOST": f"unix://{self._path('sock')}", "HOME": self.directory}
        with open(self._path("daemon.json"), "w", encoding="utf-8") as file:
            json.dump(self._configuration(userland_proxy), file)
        log = open(self._path("log"), "w", encoding="utf-8")  # pylint: disable=consider-using-with
        lab.undo.callback(log.close)
        lab.undo.callback(lab.attempt, self._gone)
        self.process = subprocess.Popen(
            inside(netns, ["dockerd", "--config-file", self._path("daemon.json"), "--data-root", self._path("data"),
                           "--exec-root", self._path("exec"), "--pidfile", self._path("pid"), "-H", f"unix://{self._path('sock')}",
                           "--storage-driver", "overlay2"]),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True, preexec_fn=die_with_parent)
        wait_for("dockerd answers", self._answers, 30, 0.05)
        self._import_image()

    def _configuration(self, userland_proxy):
        found = {"userland-proxy": userland_proxy, "bip": f"{HOST[4].format(1)}/{WIDTH[4]}"}
        if self.lab.family == 6:
            found |= {"ipv6": True, "fixed-cidr-v6": SUBNET[6], "ip6tables": True, "experimental": True}
        return found

    def _path(self, *names):
        return os.path.join(self.directory, *names)

    def _answers(self):
        if self.process.poll() is not None:
            with open(self._path("log"), encoding="utf-8") as log:
                raise Failure(f"dockerd ended: {(log.read().strip().splitlines() or ['without a word'])[-1]}")
        return os.path.exists(self._path("sock")) and self.call("info", check=False)

    def _import_image(self):
        with tarfile.open(self._path("image.tar"), "w") as image:
            for name in ("usr", "etc", "proc", "sys", "dev"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                image.addfile(entry)
            for name in ("bin", "sbin", "lib", "lib64"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
                image.addfile(entry)
        self.call("import", self._path("image.tar"), IMAGE)

    def call(self, *words, check=True, timeout=120):
        command = [shutil.which("docker", path=PATH), *words]
        return run(inside(self.netns, ["env", "-i", *(f"{name}={value}" for name, value in self.environment.items()), *command]),
                   check=check, timeout=timeout)

    def start(self, publish, command, timeout=120):
        """`docker run -d`: the container's id."""
        programs = os.path.dirname(self.lab.fnbench)
        return self.call("run", "-d", "--ulimit", "nofile=1024:1024", "-v", "/usr:/usr:ro", "-v", f"{programs}:{programs}:ro",
                         *(word for spec in publish for word in ("-p", spec)), IMAGE, *command, timeout=timeout).strip()

    def container(self, name, publish):
        """A container that does nothing, its namespace named `name`; returns its addresses by family."""
        identity = self.start(publish, ["/usr/bin/sleep", "infinity"])
        found = json.loads(self.call("inspect", identity))[0]
        self.lab.adopt_netns(name, found["State"]["Pid"])
        network = found["NetworkSettings"]
        return {4: network["IPAddress"], 6: network["GlobalIPv6Address"]}

    def remove_containers(self):
        identities = self.call("ps", "-aq").split()
        if identities:
            self.call("rm", "-f", *identities)

    def pin_proxies(self, cpu):
        """The userland proxies carry traffic: they run where client and server do."""
        for pid in children_of(self.process.pid, "docker-proxy"):
            run(["taskset", "-acp", str(cpu), str(pid)])

    def _gone(self):
        if self.process.poll() is None:
            self.lab.attempt(self.remove_containers)
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failure(f"dockerd did not end within {STOP_SECONDS} s") from None


def children_of(parent, name):
    """Process ids."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8") as stat:
                before, _, after = stat.read().rpartition(")")
        except OSError:
            continue  # it has ended meanwhile
        if int(after.split()[1]) == parent and before.partition("(")[2] == name[:15]:
            found.append(int(entry))
    return found
