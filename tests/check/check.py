#!/usr/bin/env python3
"""The rules of the house that a machine can see. Each check prints what is wrong and exits 1, or prints one line.

layers   include lines point downwards only, and there is no circle
headers  every header compiles alone (C++ by g++, BPF by clang)
format   clang-format
tidy     the clang-tidy checks of .clang-tidy over loader/ and userspace/
docs     every verdict and map of the code is in ARCHITECTURE.md; NAT.md has every requirement, and its tests exist
"""
import argparse
import concurrent.futures
import json
import pathlib
import re
import subprocess
import sys

# Folder -> folders that it may include from. `bench` and `tests` may see all.
LAYERS = {
    "bpf/abi": {"bpf/abi"},
    "bpf/lib": {"bpf/abi", "bpf/lib"},
    "bpf/hook": {"bpf/abi", "bpf/lib", "bpf/hook"},
    "bpf": {"bpf/abi", "bpf/lib", "bpf/hook"},
    "loader/base": {"loader/base"},
    "loader": {"bpf/abi", "loader/base", "loader"},
    "userspace/model": {"loader/base", "userspace/model"},
    "userspace/store": {"loader/base", "userspace/model", "userspace/store"},
    "userspace/host": {"loader/base", "userspace/model", "userspace/host"},
    "userspace/etcd": {"loader/base", "userspace/etcd"},
    "userspace/control": {"bpf/abi", "loader/base", "loader", "userspace/model", "userspace/store", "userspace/host",
                          "userspace/control"},
    "userspace/etcd": {"loader/base", "userspace/etcd"},
    "userspace/cluster": {"loader/base", "userspace/model", "userspace/control", "userspace/etcd", "userspace/cluster"},
    "userspace/agent": {"loader/base", "userspace/model", "userspace/host", "userspace/control", "userspace/cluster", "userspace/etcd",
                        "userspace/agent"},
    # agent_main alone
    "userspace/cli": {"loader/base", "userspace/model", "userspace/control", "userspace/agent", "userspace/cli"},
}


def sources(root, *suffixes):
    listed = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True,
                            check=True).stdout.split()
    return [pathlib.Path(name) for name in listed if name.endswith(suffixes) and (pathlib.Path(root) / name).exists()]


def includes(path):
    return re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.M)


def check_layers(options):
    wrong, graph = [], {}
    for name in sources(options.source, ".h", ".c", ".cpp"):
        folder = str(name.parent)
        for included in includes(pathlib.Path(options.source) / name):
            target = str(pathlib.Path(included).parent)
            graph.setdefault(str(name), set()).add(included)
            if folder in LAYERS and target in LAYERS and target not in LAYERS[folder]:
                wrong.append(f"{name}: {folder} must not include {included}")
            if folder == "userspace/cli" and target == "userspace/agent" and name.name != "agent_main.cpp":
                wrong.append(f"{name}: only agent_main.cpp may include {included}")
            if folder in LAYERS and (included.startswith("tests/") or included.startswith("bench/")):
                wrong.append(f"{name}: includes {included}")
    state = {}

    def visit(node, path):
        if state.get(node) == "done":
            return
        if state.get(node) == "open":
            wrong.append("circle: " + " -> ".join(path[path.index(node):] + [node]))
            return
        state[node] = "open"
        for target in sorted(graph.get(node, ())):
            visit(target, path + [node])
        state[node] = "done"

    for node in sorted(graph):
        visit(node, [])
    return wrong, f"{len(graph)} files include downwards only"


def run(command):
    result = subprocess.run(command, capture_output=True, text=True)
    return result.returncode, (result.stdout + result.stderr).strip()


def check_headers(options):
    commands = {}
    for name in sources(options.source, ".h"):
        text = str(name)
        path = str(pathlib.Path(options.source) / name)
        if text.startswith(("bpf/lib/", "bpf/hook/")):
            commands[text] = ["clang-14", "-target", "bpf", "-O2", "-std=gnu11", "-Wall", "-Wno-unused-function",
                              "-Wno-unused-const-variable", "-I", options.source, "-isystem", "/usr/include/x86_64-linux-gnu",
                              "-fsyntax-only", "-x", "c", path]
        elif text.startswith(("bpf/abi/", "loader/", "userspace/")):
            commands[text] = ["g++", "-std=c++20", "-fsyntax-only", "-I", options.source, "-x", "c++", path]
    wrong = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for text, (code, output) in zip(commands, pool.map(run, commands.values())):
            if code:
                wrong.append(f"{text} does not compile alone:\n{output[:600]}")
    return wrong, f"{len(commands)} headers compile alone"


def check_format(options):
    names = [str(pathlib.Path(options.source) / name) for name in sources(options.source, ".h", ".c", ".cpp")]
    code, output = run(["clang-format-14", "--dry-run", "-Werror", *names])
    files = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", output, re.M)))
    return [f"{name} is not formatted (clang-format-14 -i)" for name in files] or ([output] if code else []), f"{len(names)} files formatted"


def check_tidy(options):
    database = pathlib.Path(options.build) / "compile_commands.json"
    files = sorted({entry["file"] for entry in json.loads(database.read_text())
                    if re.search(r"/(loader|userspace)/[^ ]*\.cpp$", entry["file"]) and "/tests/" not in entry["file"]})
    wrong = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [["clang-tidy-14", "--quiet", "-p", options.build, "--extra-arg=-Wno-unknown-warning-option",
                 # libbpf's macros, which g++ takes as they are
                 "--extra-arg=-Wno-c99-extensions", "--extra-arg=-Wno-gnu-statement-expression", name] for name in files]
        for name, (code, output) in zip(files, pool.map(run, jobs)):
            if code:
                lines = [line for line in output.splitlines() if "error:" in line or "warning:" in line]
                wrong.append(f"{name}:\n  " + "\n  ".join(lines[:8] or [output[-400:]]))
    return wrong, f"{len(files)} translation units"


def check_docs(options):
    root = pathlib.Path(options.source)
    text = (root / "ARCHITECTURE.md").read_text()
    verdicts = re.findall(r"^\s*ROW\((\w+),", (root / "bpf/abi/verdict.h").read_text(), re.M)
    maps = re.findall(r"^} (\w+) SEC\(\"\.maps\"\)", (root / "bpf/lib/maps.h").read_text(), re.M)
    wrong = [f"ARCHITECTURE.md does not mention {kind} {name}" for kind, names in (("verdict", verdicts), ("map", maps))
             for name in names if f"`{name}`" not in text]
    nat = (root / "NAT.md").read_text()
    tests = {f"{suite}.{name}" for path in sources(options.source, "_test.cpp") if path.parts[0] == "tests"
             for suite, name in re.findall(r"^TEST(?:_F|_P)?\((\w+), (\w+)\)", (root / path).read_text(), re.M)}
    named = set(re.findall(r"`([A-Z]\w*\.[A-Z]\w*)`", nat))
    wrong += [f"NAT.md names {name}, which is no test" for name in sorted(named - tests)]
    for title, count in (("RFC 4787", 14), ("RFC 5382", 10), ("RFC 5508", 11)):
        table = nat.split(f"## {title}")[1].split("\n## ")[0]
        rows = {int(number) for number in re.findall(r"^\| (\d+)", table, re.M)}
        wrong += [f"NAT.md: {title} REQ-{number} is missing" for number in range(1, count + 1) if number not in rows]
    return wrong, f"{len(verdicts)} verdicts and {len(maps)} maps are described, {len(named)} tests of NAT.md exist"


def main():
    checks = {name[6:]: function for name, function in globals().items() if name.startswith("check_")}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=sorted(checks))
    parser.add_argument("--source", default=".")
    parser.add_argument("--build", default="build")
    options = parser.parse_args()
    wrong, good = checks[options.check](options)
    print("\n".join(wrong) if wrong else f"{options.check}: {good}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
