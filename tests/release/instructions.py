#!/usr/bin/env python3
"""Checks that a program for 64-bit ARM runs on every core: instructions of ARMv8.0 alone.

    instructions.py FILE...

Newer ones may stand only in functions that are reached behind a check at run time, which the list
below names. The judge is LLVM's disassembler, told to know ARMv8.0: what it does not know then is
newer. The files must have symbols, with names that tell the instance of a generic function.
"""

import re
import shutil
import subprocess
import sys

# Functions with newer instructions, and what checks the processor before they are called.
ALLOWED = [
    # A value of these types proves the instructions: backends/src/neon.rs.
    (r"kinglet_backends::neon::.*(Sdot|Smmla)", "Kinglet's tiers neon-dot and neon-i8mm"),
    (r"__aarch64_(cas|swp|ldadd|ldclr|ldeor|ldset)\d+_\w+", "atomics: the compiler's own check"),
    (r"ring_core_\w+_(aes_hw|aes_gcm|gcm_\w*clmul|sha\d+_block_data_order_hw)\w*", "ring"),
    (r"sha2::sha\d+::aarch64", "sha2"),
    (r"crc32fast::specialized::aarch64", "crc32fast"),
    (r"zlib_rs::crc32::acle", "zlib-rs"),
    # Registers of extensions are read for frames that have them.
    (r"libunwind|__libunwind_Registers_arm64_\w+", "the unwinder"),
]
# Reading or writing a system register that ARMv8.0 does not have a name for.
UNNAMED_REGISTER = re.compile(r"\b(mrs|msr)\b.*\bS\d_\d_C\d+_C\d+_\d\b", re.IGNORECASE)


def functions(file):
    """Every function with the lines of its instructions that ARMv8.0 lacks, and how many it has."""
    command = ["llvm-objdump", "--disassemble", "--demangle", "--no-show-raw-insn"]
    command += ["--mcpu=generic", file]
    listing = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace")
    name, count, newer = None, 0, []
    for line in listing.stdout:
        if found := re.fullmatch(r"[0-9a-f]+ <(.*)>:\n", line):
            if name:
                yield name, count, newer
            name, count, newer = found[1], 0, []
        elif re.match(r" *[0-9a-f]+:", line):
            count += 1
            if "<unknown>" in line or UNNAMED_REGISTER.search(line):
                newer.append(line.strip())
    yield name, count, newer
    if listing.wait() != 0:
        sys.exit(f"llvm-objdump fails on {file}")


def check(file):
    """The names of functions that break the rule."""
    total, used, broken = 0, {}, []
    for name, count, newer in functions(file):
        total += count
        if not newer:
            continue
        rule = next((rule for rule, _ in ALLOWED if re.search(rule, name)), None)
        if rule is None:
            broken.append(f"{file}: {len(newer)} instructions newer than ARMv8.0 in {name}")
            broken.extend(f"    {line}" for line in newer[:3])
        else:
            used[rule] = used.get(rule, 0) + len(newer)
    print(f"{file}: {total} instructions; newer than ARMv8.0, behind checks:")
    for rule, who in ALLOWED:
        print(f"    {used.get(rule, 0):6} {who}")
    if total < 100_000:
        broken.append(f"{file} has {total} instructions: this is not the whole program")
    if ALLOWED[0][0] not in used:
        broken.append(f"{file}: no dot products found: the judge or the names are wrong")
    return broken


def main():
    if not shutil.which("llvm-objdump"):
        sys.exit("llvm-objdump is missing: install llvm")
    broken = [line for file in sys.argv[1:] for line in check(file)]
    print("\n".join(broken))
    sys.exit(bool(broken) or len(sys.argv) < 2)


main()
