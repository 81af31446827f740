#!/usr/bin/env python3
"""Predicts the speed on Intel's N100 and its like, whose Gracemont cores nobody here has.

    tests/bench/predict_gracemont.py "135M q4.kinglet" "135M q8.kinglet"

As predict.py does for ARM, but LLVM's model of that name is the one of another core, so cycles
come from the numbers of its ports, as they are described in public: five micro-operations start in
a cycle, two loads and two stores of 16 bytes, three of vectors with 16 bytes each, of which two can
multiply or compute with floats, four of integers. Instructions on 32 bytes are two. A piece takes
as long as what is busiest; that results wait for each other is left out, so the cycles are a lower
bound.

The emulator lacks AVX-VNNI. The program is built for it without asking the processor, and in its copy
each dot product becomes another instruction with the same operands: what it computes means
nothing, how often its loops run does. Everything else is counted in a program that has no AVX-VNNI,
with the kernels of AVX2, because how much of the head is searched depends on results. Needs
qemu-user 7.2 or 8 and llvm.
"""

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from emulated import ROOT, Cost, Emulator, build_plugin
from predict import (
    Piece,
    Prediction,
    Program,
    about,
    board,
    function_lines,
    newest_tools,
    output,
    predict,
    speed_lines,
    tell,
)

BOARD = board("PC with an N100", "n100")
FEATURES = "-Ctarget-feature=+avx2,+fma,+f16c"
FOLDER = ROOT / "target/gracemont"
# A core of QEMU that has all of this but AVX-VNNI.
EMULATED = "Haswell"
# Whose loops are the same whatever they compute.
LOOPS = ("multiply", "screen")
# `vpdpbusd` and `vpdpwssd`, as VEX encodes them, and `vpmaddubsw`.
DOT_PRODUCTS, INSTEAD = (0x50, 0x52), 0x04

# What can be done in a cycle.
PORTS = {
    "start": 5,
    "load": 2,
    "store": 2,
    "vector": 3,
    "multiply": 2,
    "integer": 4,
    "branch": 2,
}
MULTIPLY = re.compile(
    r"v?(pdp|pmadd|pmul|fn?m(add|sub)|mul|add[ps]s|sub[ps]s|div|sqrt|cvt|round|min[ps]s|max[ps]s)"
)
# Reads memory into a register and does nothing else.
PLAIN_LOAD = re.compile(r"v?(mov(?!ms)|lddqu|p?broadcast)")


def dot_products(path: Path, tools: str) -> list[int]:
    """Addresses of a program's dot products of AVX-VNNI."""
    listing = output(f"llvm-objdump{tools}", "--disassemble", "--no-show-raw-insn", path)
    return [int(at, 16) for at in re.findall(r"^ *(\w+):\s+\{vex\}\s+vpdp", listing, re.MULTILINE)]


def offset_of(path: Path, address: int) -> int:
    """Where the byte at an address lies in the file."""
    listing = output("readelf", "--wide", "--segments", path)
    for line in re.findall(r"^ *LOAD +(.*)$", listing, re.MULTILINE):
        offset, start, _, size = (int(word, 16) for word in line.split()[:4])
        if start <= address < start + size:
            return offset + address - start
    sys.exit(f"no part of {path} is loaded to {address:#x}")


def build(features: str) -> Path:
    """The program for processors that have these features."""
    folder = FOLDER / features.rpartition("+")[2]
    command = ["cargo", "build", "--release", "-p", "kinglet-cli", "--no-default-features"]
    env = {**os.environ, "RUSTFLAGS": features, "CARGO_TARGET_DIR": str(folder)}
    subprocess.run(command, cwd=ROOT, env=env, check=True)
    return folder / "release/kinglet"


def build_patched(tools: str) -> Path:
    """The program for AVX-VNNI, as an emulator without it can run it."""
    built = build(f"{FEATURES},+avxvnni")
    code = bytearray(built.read_bytes())
    for address in dot_products(built, tools):
        # The prefix of three bytes comes first.
        at = offset_of(built, address)
        if code[at] != 0xC4 or code[at + 3] not in DOT_PRODUCTS:
            sys.exit(f"a dot product at {address:#x} is encoded otherwise")
        code[at + 3] = INSTEAD
    patched = FOLDER / "kinglet"
    patched.write_bytes(code)
    patched.chmod(0o755)
    return patched


def operations(line: str) -> Counter:
    """What an instruction, in AT&T's syntax, takes of each kind of port."""
    name, _, operands = line.replace("{vex}", "").strip().partition("\t")
    width = 2 if "%ymm" in operands else 1
    is_vector = "%xmm" in operands or "%ymm" in operands
    parts = Counter()
    memory = "(" in operands and not name.startswith(("lea", "nop", "prefetch"))
    is_store = memory and operands.rstrip().endswith(")") and not name.startswith(("cmp", "test"))
    if memory:
        parts["store" if is_store else "load"] += width if is_vector else 1
    if name.startswith(("j", "call", "ret")):
        parts["branch"] += 1
    elif is_vector and not (memory and PLAIN_LOAD.match(name)):
        parts["vector"] += width
        if MULTIPLY.match(name):
            parts["multiply"] += width
    elif not is_vector and not (memory and name.startswith("mov")) and not name.startswith("nop"):
        parts["integer"] += 1
    # What is read from memory starts with what it is used for.
    used = sum(parts[kind] for kind in ("vector", "integer", "branch", "store"))
    parts["start"] += max(used, parts["load"], 1)
    return parts


def cycles(pieces: list[Piece]) -> list[float]:
    """How long the busiest ports take for each piece."""
    found = []
    for piece in pieces:
        total = sum((operations(line) for line in piece.lines), Counter())
        found.append(max(count / PORTS[kind] for kind, count in total.items()))
    return found


@dataclass(frozen=True)
class Half:
    """What is counted in one program: its loops, or everything else."""

    program: Program
    emulator: Emulator
    tier: str
    is_for_loops: bool

    @staticmethod
    def of(path: Path, tools: str, tier: str, is_for_loops: bool) -> "Half":
        program = Program(path, tools)
        starts, options = sorted(program.text), ("--tier", tier)
        emulator = Emulator(path, build_plugin(), ["qemu-x86_64"], starts, options)
        return Half(program, emulator, tier, is_for_loops)

    def predict(self, counts: dict[int, float]) -> Prediction:
        function = self.program.function
        is_loop = {at: function(at).split("::")[-1] in LOOPS for at in counts}
        counted = {at: n for at, n in counts.items() if is_loop[at] == self.is_for_loops}
        return predict(self.program, counted, cycles)

    def measure(self, model: Path) -> tuple[Cost, list[Prediction]]:
        cost = self.emulator.cost(EMULATED, model)
        if cost.tier != self.tier:
            sys.exit(f"the program chose the tier {cost.tier}")
        return cost, [self.predict(part) for part in (cost.decode, cost.prefill)]


def measure(halves: list[Half], model: Path) -> tuple[Cost, list[Prediction]]:
    """What a token of a model takes, decoded and read."""
    (cost, loops), (_, others) = (half.measure(model) for half in halves)
    parts = zip(loops, others, strict=True)
    return cost, [Prediction(a.instructions + b.instructions, a.cycles + b.cycles) for a, b in parts]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL.kinglet")
    parser.add_argument("--record", action="store_true", help="add to boards.csv and functions.csv")
    args = parser.parse_args()
    tools = newest_tools()
    halves = [
        Half.of(build_patched(tools), tools, "avx-vnni", True),
        Half.of(build(FEATURES), tools, "avx2", False),
    ]
    with ThreadPoolExecutor(2) as pool:
        measured = list(pool.map(lambda model: measure(halves, model), args.models))
    functions, boards = [], []
    for model, (cost, found) in zip(args.models, measured):
        for phase, prediction in zip(["decode", "prefill"], found):
            functions += function_lines(about(model, phase), {BOARD.core: prediction})
        boards += speed_lines(BOARD, model, cost, *found)
    tell(functions, boards, "predicted by ports", args.record)


main()
