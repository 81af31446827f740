#!/usr/bin/env python3
"""Checks what the programs and libraries of a package ask of a machine.

    elf.py PREFIX GLIBC PAGE FILE...

PREFIX names the binutils (`aarch64-linux-gnu`), GLIBC the newest C library that may be needed
(`2.31`), PAGE the largest pages of memory, in KiB. Each FILE must need symbols of no newer library,
only the C library's own parts, and have segments that a kernel with such pages can map.
"""

import re
import subprocess
import sys

LIBRARIES = re.compile(r"(libc|libm|libdl|libpthread|librt|ld-linux[a-z0-9-]*)\.so\.\d+")


def read(prefix, *arguments):
    command = [f"{prefix}-readelf", "--wide", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def number(version):
    return tuple(int(part) for part in version.split("."))


def broken_rules(prefix, newest, page, file):
    versions = set(re.findall(r"GLIBC_([0-9.]+)", read(prefix, "--version-info", file)))
    if not versions:
        yield "names no version of the C library: is it linked?"
    for version in sorted(versions, key=number):
        if number(version) > number(newest):
            yield f"needs GLIBC_{version}"
    if re.search(r"GLIBC_ABI_DT_RELR|GLIBC_PRIVATE", read(prefix, "--version-info", file)):
        yield "needs a loader newer than the version says, or another's private symbols"
    for library in re.findall(r"\(NEEDED\).*\[(.*)\]", read(prefix, "--dynamic", file)):
        if not LIBRARIES.fullmatch(library):
            yield f"needs {library}, which the package does not depend on"
    loads = re.findall(r"^ *LOAD +(.*)$", read(prefix, "--segments", file), re.MULTILINE)
    if not loads:
        yield "has no segments to load"
    for load in loads:
        offset, address, *_, align = (int(x, 16) for x in re.findall(r"0x[0-9a-f]+", load))
        if align < page or (address - offset) % page != 0:
            yield f"has a segment that pages of {page >> 10} KiB cannot map: {load}"


def main():
    prefix, newest, kib, *files = sys.argv[1:]
    page = int(kib) << 10
    broken = [f"{f} {rule}" for f in files for rule in broken_rules(prefix, newest, page, f)]
    print("\n".join(broken) or f"{len(files)} files run with glibc {newest} and {kib} KiB pages")
    sys.exit(bool(broken) or not files)


main()
