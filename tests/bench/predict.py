#!/usr/bin/env python3
"""Predicts the speed on boards that nobody has measured: instructions, a model of the core, memory.

    tests/bench/predict.py "135M q4.kinglet" "135M q8.kinglet"

How often each instruction is executed comes from an emulator, as in instructions.py. Those that
follow one another and are executed equally often, which is what loops consist of, go to llvm-mca as
pieces that repeat; it predicts their cycles on each core, with all data in the first cache. A
board's tokens/s is the lower of two limits: these cycles divided among its threads, and the time in
which its memory delivers the bytes of a token. The time that threads wait for one another, and any
further waiting for memory, is left out.

A model's file is named after its size and type, `135M q4.kinglet`. Prints two tables of Markdown:
millions of instructions and of cycles that a token takes, by function; and tokens/s by board. Needs
what instructions.py needs, and llvm 17 or newer.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from bisect import bisect_right
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable, Iterator

import record
from emulated import Cost, Emulator, prepare
from profiles import Profile
from tables import pivot

# A line of a record.
Line = dict[str, str]
# Cores: the one to emulate, and the model of LLVM. It has no model of A76 and A78AE; Neoverse N1 is
# the server's version of A76. A57 and A72 share one.
CORES = {
    "A53": ("cortex-a53", "cortex-a53"),
    "A57": ("cortex-a53", "cortex-a57"),
    "A72": ("cortex-a53", "cortex-a72"),
    "A76": ("cortex-a76", "neoverse-n1"),
    "A78AE": ("cortex-a76", "neoverse-n1"),
    "V3AE": ("max", "neoverse-v3ae"),
}
TABLE = ["A53", "A72", "A76"]
# Shares below this one of a token's instructions are added up as "the rest".
SHOWN = 0.02
# Of the instructions that llvm-mca gets to see; the rest take as long as these on average.
COVERED = 0.98
ITERATIONS = 100
FEATURES = "+dotprod,+i8mm,+fullfp16,+lse"


SIGNS = [("_$LT$", "<"), ("$LT$", "<"), ("$GT$", ">"), ("$RF$", "&"), ("$u20$", " ")]
SIGNS += [("_$u7b$", "{"), ("$u7b$", "{"), ("$u7d$", "}"), ("..", "::")]


@dataclass(frozen=True)
class Board:
    name: str
    core: str
    ghz: float
    threads: int
    # Bytes that all threads read together, in GB/s: published or, where nobody has published them
    # (marked), 40% of the memory's theoretical rate, which is what a Pi 4 reaches.
    bandwidth: float
    assumed: bool


def board(name: str, profile: str) -> Board:
    known = Profile(profile)
    core = known.cores["kind"].removeprefix("Cortex-").removeprefix("Neoverse-")
    is_assumed = not known.is_checked("memory", "read_gb_per_s")
    bandwidth = known.memory["read_gb_per_s"]
    return Board(name, core, known.cores["ghz"], known.threads(), bandwidth, is_assumed)


BOARDS = [
    board("Pi Zero 2 W", "pi-zero-2w"),
    board("Pi 3 B+", "pi-3b-plus"),
    board("Pi 4", "pi-4"),
    board("Pi 5", "pi-5"),
    board("Jetson Nano", "jetson-nano"),
    board("Jetson TX2", "jetson-tx2"),
    board("Jetson Orin Nano", "orin-nano-super"),
    board("Jetson Thor", "thor"),
]


def output(*command) -> str:
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode(errors="replace")


def short(symbol: str) -> str:
    """`<a::b::C<D> as E>::f::{closure#0}` as `C::f`, also where LLVM left it half mangled."""
    for mangled, sign in SIGNS:
        symbol = symbol.replace(mangled, sign)
    name = re.sub(r"::\{[^}]*\}|::h[0-9a-f]{16}$", "", symbol)
    while found := re.search(r"<([^<>]*)>", name):
        before = name[: found.start()]
        kept = "" if before and before[-1] not in "< &(" else found[1].split(" as ")[0]
        name = before.removesuffix("::") + kept + name[found.end() :]
    return "::".join(name.split("::")[-2:])


def assembly(text: str) -> str:
    """An instruction as the assembler reads it: with a label for another place in the program."""
    text = re.sub(r"\s*(<|//).*", "", text)
    return re.sub(r"(?<![#\w-])0x[0-9a-f]+$", "elsewhere", text)


class Program:
    """The instructions of a program and the functions that they are in."""

    def __init__(self, path: Path, tools: str, *flags: str):
        symbols = output(f"llvm-nm{tools}", "--demangle", "--defined-only", "-n", path)
        found = re.findall(r"^([0-9a-f]+) [tTwW] (.*)$", symbols, re.MULTILINE)
        self.starts = [int(address, 16) for address, _ in found]
        self.names = [short(name) for _, name in found]
        listing = output(
            f"llvm-objdump{tools}", "--disassemble", "--no-show-raw-insn", *flags, path
        )
        lines = re.findall(r"^ *([0-9a-f]+):\s+(.*)$", listing, re.MULTILINE)
        self.text = {int(at, 16): assembly(text) for at, text in lines}
        addresses = list(self.text)
        self.next = dict(zip(addresses, addresses[1:]))

    def function(self, address: int) -> str:
        index = bisect_right(self.starts, address) - 1
        return self.names[index] if address in self.text and index >= 0 else "other libraries"


@dataclass(frozen=True)
class Piece:
    """Instructions in a row that a token executes equally often."""

    function: str
    lines: tuple[str, ...]
    times: float

    def executed(self) -> float:
        return len(self.lines) * self.times


def pieces(program: Program, counts: dict[int, float]) -> list[Piece]:
    """The pieces of a token, those that execute most first."""
    found, run = [], []
    for at in sorted(at for at, times in counts.items() if times > 0):
        follows = run and program.next.get(run[-1]) == at
        starts = run and not (follows and abs(counts[at] - counts[run[0]]) <= 0.01)
        if starts or (run and program.function(at) != program.function(run[0])):
            found.append(run)
            run = []
        run.append(at)
    found.append(run)
    made = []
    for run in found:
        lines = tuple(program.text.get(at, "") for at in run)
        made.append(Piece(program.function(run[0]), lines, counts[run[0]]))
    return sorted(made, key=Piece.executed, reverse=True)


def cycles_by_llvm(found: list[Piece], model: str, tools: str) -> list[float]:
    """What llvm-mca predicts for one execution of each piece."""
    regions = [
        f"// LLVM-MCA-BEGIN {i}\n" + "\n".join(piece.lines) + "\n// LLVM-MCA-END\n"
        for i, piece in enumerate(found)
    ]
    command = [f"llvm-mca{tools}", "-mtriple=aarch64", f"-mcpu={model}", f"-mattr={FEATURES}"]
    command += [f"-iterations={ITERATIONS}", "--json"]
    done = subprocess.run(command, input="".join(regions), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stderr[-2000:]}\nllvm-mca fails for {model}")
    views = json.loads(done.stdout)["CodeRegions"]
    summaries = {int(view["Name"]): view["SummaryView"] for view in views}
    return [summaries[i]["TotalCycles"] / ITERATIONS for i in range(len(found))]


@dataclass(frozen=True)
class Prediction:
    """A token's millions of instructions and cycles, by function."""

    instructions: Counter
    cycles: Counter

    def figures(self, names: set[str]) -> list[Line]:
        """What these functions take together."""
        parts = {"million instructions": self.instructions, "million cycles": self.cycles}
        totals = {unit: sum(part[name] for name in names) for unit, part in parts.items()}
        return [{"value": f"{total:.1f}", "unit": unit} for unit, total in totals.items()]


def predict(
    program: Program, counts: dict[int, float], cycles: Callable[[list[Piece]], list[float]]
) -> Prediction:
    """What a token takes, when `cycles` tells those of one execution of each piece."""
    everything = sum(counts.values())
    chosen, covered = [], 0.0
    for piece in pieces(program, counts):
        if covered < COVERED * everything and all(piece.lines):
            chosen.append(piece)
            covered += piece.executed()
    instructions, taken = Counter(), Counter()
    for piece, each in zip(chosen, cycles(chosen)):
        instructions[piece.function] += piece.executed() / 1e6
        taken[piece.function] += each * piece.times / 1e6
    rest = everything / 1e6 - instructions.total()
    taken["rest"] = rest * taken.total() / instructions.total()
    instructions["rest"] = rest
    return Prediction(instructions, taken)


def about(model: Path, test: str) -> Line:
    """What is known of a model called `135M q4.kinglet`."""
    size, _, kind = model.stem.partition(" ")
    return {"test": test, "model": size, "type": kind}


def function_lines(known: Line, predictions: dict[str, Prediction]) -> Iterator[Line]:
    """Millions of instructions and cycles of a token, by function and core."""
    shown = {
        name
        for p in predictions.values()
        for name, count in p.instructions.items()
        if count > SHOWN * p.instructions.total() and name != "rest"
    }
    first = next(iter(predictions.values()))
    groups = {name: {name} for name in sorted(shown, key=lambda n: -first.cycles[n])}
    everything = set().union(*(p.cycles for p in predictions.values()))
    groups |= {"others": everything - shown, "all": everything}
    for name, names in groups.items():
        for core, prediction in predictions.items():
            for figure in prediction.figures(names):
                yield {**known, "function": name, "core": core, **figure}


def speeds(board: Board, cost: Cost, decode: Prediction, prefill: Prediction) -> dict[str, float]:
    """Tokens/s of decoding, of decoding if memory were free, and of reading a prompt."""
    per_second = board.ghz * 1e3 * board.threads
    computed = per_second / decode.cycles.total()
    return {
        "decode": min(computed, board.bandwidth / cost.gigabytes),
        "decode if memory were free": computed,
        "prefill": per_second / prefill.cycles.total(),
    }


def speed_lines(board: Board, model: Path, cost: Cost, *found: Prediction) -> Iterator[Line]:
    """The speeds of a board with a model, from what is found of decoding and of reading."""
    known = {
        "board": board.name,
        "cores": f"{board.threads} × {board.core} at {board.ghz} GHz",
        "bandwidth": f"{board.bandwidth:g}{'*' if board.assumed else ''}",
    }
    for test, speed in speeds(board, cost, *found).items():
        figure = {"value": f"{speed:.0f}", "unit": "tokens/s"}
        yield {**about(model, test), **known, **figure}


def newest_tools() -> str:
    """What stands behind the names of LLVM's programs: `-19`, or nothing."""
    versions = [f"-{n}" for n in range(40, 16, -1)] + [""]
    for version in versions:
        if shutil.which(f"llvm-mca{version}"):
            return version
    sys.exit("llvm-mca is missing: install llvm-19")


def measure(emulator: Emulator, models: list[Path]) -> dict[tuple[str, Path], Cost]:
    """Costs by emulated core and model."""
    runs = sorted({(core, model) for core, _ in CORES.values() for model in models})
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(runs, pool.map(lambda run: emulator.cost(*run), runs)))


def tell(functions: list[Line], boards: list[Line], source: str, is_recorded: bool) -> None:
    """Prints both tables, and adds them to their records."""
    print(pivot(functions, ["model", "type", "test", "function"], ["core", "unit"]))
    print(pivot(boards, ["board", "cores", "bandwidth"], ["model", "type", "test"]))
    if is_recorded:
        record.append("functions", functions, source)
        record.append("boards", boards, source)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL.kinglet")
    parser.add_argument("--kinglet", type=Path, help="a program for arm64 instead of a new build")
    parser.add_argument("--record", action="store_true", help="add to boards.csv and functions.csv")
    args = parser.parse_args()
    tools = newest_tools()
    emulator = prepare(args.kinglet)
    program = Program(emulator.program, tools, f"--mattr={FEATURES}")
    costs = measure(emulator, args.models)
    predicted = {}
    for core, (emulated, model_of_llvm) in CORES.items():
        for model in args.models:
            cost = costs[emulated, model]
            taken = partial(cycles_by_llvm, model=model_of_llvm, tools=tools)
            parts = (cost.decode, cost.prefill)
            predicted[core, model] = [predict(program, part, taken) for part in parts]
    functions = [
        line
        for model in args.models
        for i, phase in enumerate(["decode", "prefill"])
        for line in function_lines(
            about(model, phase), {core: predicted[core, model][i] for core in TABLE}
        )
    ]
    boards = [
        line
        for board in BOARDS
        for model in args.models
        for line in speed_lines(
            board, model, costs[CORES[board.core][0], model], *predicted[board.core, model]
        )
    ]
    version = re.search(r"version (\d+)", output(f"llvm-mca{tools}", "--version"))[1]
    tell(functions, boards, f"predicted by llvm-mca {version}", args.record)


if __name__ == "__main__":
    main()
