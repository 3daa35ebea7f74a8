"""Servers, addresses and ports: the same in every variant."""

import json
import os
import subprocess
import time

from netlab import Failure, Namespaces, die_with_parent, inside, run

CLIENT = {4: "10.201.0.2", 6: "fd00:c9::2"}  # outside: the far end of the wire
NODE = {4: "10.201.0.1", 6: "fd00:c9::1"}
WIRE_WIDTH = {4: 24, 6: 64}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}

CONTAINER_PORTS = {"tcp-echo": 80, "tcp-sink": 81, "tcp-source": 82, "udp-echo": 80, "udp-sink": 84, "tcp-http": 85}
HOST_PORTS = {service: port + 1920 for service, port in CONTAINER_PORTS.items()}
OTHER_PORTS = {service: port + 1000 for service, port in HOST_PORTS.items()}  # published, or not, beside what is measured
FNBENCH_SERVICES = ("tcp-echo", "tcp-sink", "tcp-source", "udp-echo")

NGINX_CONFIG = """\
daemon off;
master_process off;
user root;
pid {directory}/pid;
error_log {directory}/error.log crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory};
  server {{ listen {port}; listen [::]:{port} ipv6only=on; root {directory}; }}
}}
"""
PAGE_BYTES = 612  # nginx's own index.html has that many


def protocol_of(service):
    return service.split("-")[0]


def mac_of(netns, device="eth0"):
    return json.loads(run(["ip", "-n", netns, "-j", "link", "show", device]))[0]["address"]


def wait_for(what, condition, seconds=30, pause=0.01):
    """Polls until condition() is true; how long that took."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(pause)
    return time.monotonic() - begin


class Lab(Namespaces):
    """The namespaces and servers of one turn at a time."""

    def __init__(self, fnbench, fastnet, cpu, family, iptables, segmented_wire):
        super().__init__()
        self.fnbench, self.fastnet, self.cpu, self.family, self.iptables = fnbench, fastnet, cpu, family, iptables
        self.segmented_wire = segmented_wire

    def spawn(self, command, **more):
        """A process that goes with the turn: ended by SIGTERM, by SIGKILL after five seconds, or with this program."""
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_parent, **more)
        self.undo.callback(self._stop, process)
        return process

    @staticmethod
    def _stop(process):
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()

    def serve(self, netns, ports):
        services = [f"{service}:{ports[service]}" for service in FNBENCH_SERVICES]
        command = inside(netns, [self.fnbench, "serve"] + services + ["--cpu", str(self.cpu), "--die-with-parent"])
        server = self.spawn(command + (["-6"] if self.family == 6 else []), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if not server.stdout.readline():
            raise Failure(f"server in {netns}: {server.stderr.read().strip()}")

    def serve_http(self, netns, ports):
        """A real nginx: one process, on the core of everything else, with one small page."""
        directory = os.path.join(self.scratch, "nginx")
        os.makedirs(directory)
        config = os.path.join(directory, "nginx.conf")
        for path, text in ((config, NGINX_CONFIG.format(directory=directory, port=ports["tcp-http"])),
                           (os.path.join(directory, "index.html"), "x" * PAGE_BYTES)):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        server = self.spawn(inside(netns, ["taskset", "-c", str(self.cpu), "nginx", "-p", directory, "-c", config]),
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        listening = inside(netns, ["ss", "-Hltn", f"sport = :{ports['tcp-http']}"])

        def up():
            if server.poll() is not None:
                raise Failure(f"nginx in {netns}: {server.stderr.read().strip()}")
            return run(listening).strip()
        wait_for("nginx listens", up, 10)
