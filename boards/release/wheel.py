#!/usr/bin/env python3
"""Writes a wheel of the package for Python: its modules, and for one architecture the C library and
the command.

    wheel.py --library libkinglet.so.1 --command kinglet --arch arm64 --glibc 2.31 \\
        --version 0.1.0 --notices NOTICES.gz --out target/packages

Nothing is compiled, so that a wheel is an archive with some texts. SOURCE_DATE_EPOCH is the time of
its files; the same sources give the same bytes.
"""

import argparse
import base64
import gzip
import hashlib
import os
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "boards/python"
# Debian's names of architectures to those of wheels.
MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}

METADATA = """\
Metadata-Version: 2.4
Name: kinglet
Version: {version}
Summary: An embedded runtime for SmolLM models, without dependencies
License-Expression: MIT OR Apache-2.0
License-File: LICENSE-APACHE
License-File: LICENSE-MIT
License-File: NOTICES
Keywords: llm,inference,embedded,raspberry-pi,jetson
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: Python :: 3
Classifier: Typing :: Typed
Requires-Python: >=3.9
Description-Content-Type: text/markdown

"""

# What lies here becomes a command.
SCRIPTS = ".data/scripts/"

WHEEL = """\
Wheel-Version: 1.0
Generator: kinglet
Root-Is-Purelib: false
Tag: {tag}
"""


def contents(options, tag):
    """Every file of the wheel but its record, by its path."""
    info = f"kinglet-{options.version}.dist-info"
    files = {f"kinglet/{path.name}": path.read_bytes() for path in modules()}
    files[f"kinglet/{options.library.name}"] = options.library.read_bytes()
    files[f"kinglet-{options.version}{SCRIPTS}kinglet"] = options.command.read_bytes()
    for name in ("LICENSE-APACHE", "LICENSE-MIT"):
        files[f"{info}/licenses/{name}"] = (ROOT / name).read_bytes()
    files[f"{info}/licenses/NOTICES"] = gzip.decompress(options.notices.read_bytes())
    metadata = METADATA.format(version=options.version).encode()
    files[f"{info}/METADATA"] = metadata + (PACKAGE / "README.md").read_bytes()
    files[f"{info}/WHEEL"] = WHEEL.format(tag=tag).encode()
    return files


def modules():
    found = [*(PACKAGE / "kinglet").glob("*.py"), PACKAGE / "kinglet/py.typed"]
    assert len(found) > 10, "the modules are missing"
    return found


def record(files, name):
    """The list of all files with their checksums, itself included without one."""
    lines = []
    for path, content in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
        lines.append(f"{path},sha256={digest.decode()},{len(content)}\n")
    return "".join([*lines, f"{name},,\n"]).encode()


def write(path, files):
    # Archives of this kind begin in 1980.
    seconds = max(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())), 315532800)
    date = time.gmtime(seconds)[:6]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as wheel:
        # The description of a wheel comes last, as its specification recommends.
        for name in sorted(files, key=lambda name: (".dist-info/" in name, name)):
            entry = zipfile.ZipInfo(name, date)
            entry.compress_type = zipfile.ZIP_DEFLATED
            # A plain file that everybody may read, and run where it is a command.
            entry.external_attr = (0o100755 if SCRIPTS in name else 0o100644) << 16
            wheel.writestr(entry, files[name], compresslevel=9)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--command", type=Path, required=True)
    parser.add_argument("--arch", choices=MACHINES, required=True)
    parser.add_argument("--glibc", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--notices", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    platform = f"manylinux_{options.glibc.replace('.', '_')}_{MACHINES[options.arch]}"
    tag = f"py3-none-{platform}"
    files = contents(options, tag)
    name = f"kinglet-{options.version}.dist-info/RECORD"
    files[name] = record(files, name)
    path = options.out / f"kinglet-{options.version}-{tag}.whl"
    write(path, files)
    print(f"made {path}")


main()
