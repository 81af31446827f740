#!/usr/bin/env python3
"""Writes packages for npm: one with the program for an architecture, and one that starts it.

    npm.py --command kinglet --arch arm64 --version 0.1.0 --notices NOTICES.gz --out target/packages

Whoever installs the package `kinglet` gets `kinglet-linux-arm64` or `kinglet-linux-x64` with it,
whichever the processor can run. SOURCE_DATE_EPOCH is the time of their files; the same sources give
the same bytes.
"""

import argparse
import gzip
import io
import json
import os
import tarfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXTS = Path(__file__).with_name("npm")
# Debian's names of architectures to those of Node.
PROCESSORS = {"arm64": "arm64", "amd64": "x64"}


def description(name, options, processors):
    return {
        "name": name,
        "version": options.version,
        "description": "An embedded runtime for SmolLM models",
        "keywords": ["llm", "inference", "embedded", "raspberry-pi", "jetson"],
        "license": "MIT OR Apache-2.0",
        "os": ["linux"],
        "cpu": processors,
        "libc": ["glibc"],
    }


def name_of(processor):
    return f"kinglet-linux-{processor}"


def program(options):
    """The package with the program: its name and its files."""
    processor = PROCESSORS[options.arch]
    name = name_of(processor)
    # Some keep packages in archives, from which a program cannot be started.
    package = description(name, options, [processor]) | {"preferUnplugged": True}
    notices = gzip.decompress(options.notices.read_bytes())
    return name, package, {"bin/kinglet": options.command.read_bytes(), "NOTICES": notices}


def starter(options):
    """The package that starts the program: its name and its files."""
    processors = list(PROCESSORS.values())
    package = description("kinglet", options, processors) | {
        "bin": {"kinglet": "bin/kinglet"},
        "optionalDependencies": {name_of(processor): options.version for processor in processors},
    }
    return "kinglet", package, {"bin/kinglet": (TEXTS / "kinglet").read_bytes()}


def write(options, name, package, files):
    """An archive as `npm pack` makes it."""
    texts = {"README.md": TEXTS / "README.md"}
    texts |= {name: ROOT / name for name in ("LICENSE-APACHE", "LICENSE-MIT")}
    files = files | {name: path.read_bytes() for name, path in texts.items()}
    files["package.json"] = (json.dumps(package, indent=2) + "\n").encode()
    path = options.out / f"{name}-{options.version}.tgz"
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as packed,
        tarfile.open(mode="w", fileobj=packed, format=tarfile.USTAR_FORMAT) as archive,
    ):
        for place, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"package/{place}")
            entry.size, entry.mtime = len(content), seconds
            entry.mode = 0o755 if place.startswith("bin/") else 0o644
            archive.addfile(entry, io.BytesIO(content))
    print(f"made {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--command", type=Path, required=True)
    parser.add_argument("--arch", choices=PROCESSORS, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--notices", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for package in (program(options), starter(options)):
        write(options, *package)


main()
