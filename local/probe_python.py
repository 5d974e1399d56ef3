"""Print the version of an interpreter and what is installed, as `name=value` for setup_env.sh.

Runs under any `python` of a machine, so it is written for Python 2.7 and later. It reads installed
versions from metadata, because importing torch would take seconds.
usage: python probe_python.py setup.py "extra extra"
"""

import ast
import re
import sys

TORCH_RANGE = "torch >=2.11,<2.15,!=2.12"
ESPNET = "202611"


def python_fits():
    implementation = getattr(getattr(sys, "implementation", None), "name", "")
    return implementation == "cpython" and (3, 12) <= sys.version_info[:2] < (3, 14)


def torch_fits(version):
    """Whether a version such as 2.14.1+cpu is supported; False for one that cannot be parsed."""
    match = re.match(r"(\d+)\.(\d+)", version)
    if not match:
        return False
    minor = (int(match.group(1)), int(match.group(2)))
    return (2, 11) <= minor < (2, 15) and minor != (2, 12)


def requirements(setup_path, extras):
    """Return the names of required distributions, from the literals of setup.py."""
    with open(setup_path) as handle:
        tree = ast.parse(handle.read())
    literals = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id in ("REQUIRES", "EXTRAS"):
            literals[node.targets[0].id] = ast.literal_eval(node.value)
    lines = list(literals["REQUIRES"])
    for extra in extras:
        if extra not in literals["EXTRAS"]:
            print("unknown_extra=" + extra)
            print("known_extras=" + " ".join(sorted(literals["EXTRAS"])))
            continue
        lines += literals["EXTRAS"][extra]
    return [re.match(r"[A-Za-z0-9_.-]+", line).group(0) for line in lines]


def main():
    print("executable=" + sys.executable)
    print("version=" + ".".join(str(number) for number in sys.version_info[:3]))
    print("prefix=" + sys.prefix)
    print("in_venv=" + str(sys.prefix != getattr(sys, "base_prefix", sys.prefix)).lower())
    print("python_fits=" + str(python_fits()).lower())
    if not python_fits():
        return
    import json
    from importlib import metadata
    from urllib.parse import unquote, urlparse

    def installed(name):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return ""

    def editable(name):  # the folder of an editable installation, else ""
        for distribution in metadata.distributions(name=name):
            origin = json.loads(distribution.read_text("direct_url.json") or "{}")
            if origin.get("dir_info", {}).get("editable"):
                return unquote(urlparse(origin["url"]).path)
        return ""

    torch, espnet = installed("torch"), installed("espnet")
    print("torch=" + torch)
    print("torchaudio=" + installed("torchaudio"))
    print("torch_fits=" + str(torch_fits(torch)).lower())
    print("espnet=" + espnet)
    print("espnet_fits=" + str(espnet == ESPNET).lower())
    print("editable=" + editable("espnet-ext"))
    names = requirements(sys.argv[1], sys.argv[2].split())
    print("missing=" + " ".join(name for name in names if not installed(name)))


if __name__ == "__main__":
    main()
