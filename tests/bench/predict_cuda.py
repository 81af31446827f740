#!/usr/bin/env python3
"""Predicts the speed of the CUDA engine on boards that nobody has measured.

    tests/bench/predict_cuda.py

A token's time is the sum over its launches. A launch takes a fixed time, and then the longer of
two: that in which memory delivers its bytes, and that in which the multiprocessors execute the
loops that multiply, whose instructions are counted in the machine code. The rest of a kernel, and
waiting within it, is left out. "Cautious" are slower memory and launches: see `Assumed`.

Prints tables of Markdown, and whether the speeds asked for are met. Needs the tools that
tests/cuda/check fetches.
"""

import argparse
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Iterator

import record
import sass
from profiles import Profile
from tables import pivot

TILE_ROWS, BLOCK, STRIP_GROUPS = 16, 32, 4
CONTEXT = 512
SPAN = 128
# Tokens of a pass that reads a prompt; those that share a tile's weights in a block of threads.
PASS = 64
SHARING = {"IDP": 8, "IMMA": 16}
# Instructions that a multiprocessor executes in a cycle, for whole warps, as NVIDIA's programming
# guide has them for 7.x and 8.x. Thor is taken to have the same. Tensor cores: 33 TOPS of 8
# multiprocessors at 1.02 GHz (67 are published, with sparse weights) are 2048 multiply-adds.
ISSUED, PER_CYCLE = 4, {"multiplier": 2, "integer": 2, "memory": 1}
TENSOR_PRODUCTS = 2048
# Tokens/s that are asked for: board, model, type, test.
FLOORS = {
    ("Jetson Orin Nano Super", "135M", "q4", "decode"): 550,
    ("Jetson Orin Nano Super", "360M", "q4", "decode"): 270,
    ("Jetson Orin Nano Super", "135M", "q4", "prefill"): 8000,
}


@dataclass(frozen=True)
class Board:
    """Compute capability, multiprocessors, their clock, GB/s of memory: not checked on a board."""

    name: str
    device: int
    multiprocessors: int
    ghz: float
    bandwidth: float


def board(name: str, profile: str, device: int | None = None) -> Board:
    """A board; `device` where the tools call the capability otherwise."""
    known = Profile(profile)
    capability = int(known.gpu["compute_capability"].replace(".", ""))
    clock, bandwidth = known.gpu["ghz"], known.memory["theoretical_gb_per_s"]
    return Board(name, device or capability, known.gpu["multiprocessors"], clock, bandwidth)


BOARDS = [
    # Both 51.2 and 59.7 GB/s are said of it: the lower counts.
    # The disassembler no longer reads code for sm_72.
    board("Jetson Xavier NX", "xavier-nx", 75),
    board("Jetson Orin Nano", "orin-nano"),
    board("Jetson Orin Nano Super", "orin-nano-super"),
    board("Jetson AGX Orin", "agx-orin"),
    # The assembler of CUDA 12 calls it sm_101.
    board("Jetson Thor", "thor", 101),
]


@dataclass(frozen=True)
class Assumed:
    """What no data sheet says."""

    name: str
    # Share of the memory's rate that reading reaches. Public runs: 60% to 65% (MLC, 1.7B on an Orin
    # Nano Super); 80% is usual for large copies on GPUs.
    memory: float
    # Seconds of a launch in a graph: about 2 µs is usual, and not measured on these boards.
    graph: float
    # Seconds of a launch outside of a graph, which the board's processor needs: a guess.
    launch: float
    # Whether a second group of tokens finds weights in the second-level cache. Registered memory
    # is not cached on boards before Thor, as NVIDIA's guide for Tegra says.
    is_cached: bool


EXPECTED = Assumed("expected", 0.8, 2e-6, 5e-6, True)
CAUTIOUS = Assumed("cautious", 0.65, 4e-6, 10e-6, False)


@dataclass(frozen=True)
class Model:
    name: str
    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int = 64
    vocabulary: int = 49152


MODELS = [
    Model("135M", 576, 1536, 30, 9, 3),
    Model("360M", 960, 2560, 32, 15, 5),
    Model("1.7B", 2048, 8192, 24, 32, 32),
]


@dataclass(frozen=True)
class Matrix:
    rows: int
    cols: int
    # The form that its codes have in machine code, and columns of a scale.
    form: str
    group: int
    # Row scales; a searched head has norms of residuals, too, and reads one plane of nibbles.
    row_floats: int = 1

    def bytes(self) -> int:
        """As `quant/src/tile.rs` lays tiles out."""
        codes = TILE_ROWS * self.cols // (1 if self.form == "bytes" else 2)
        strips = ceil(self.cols / (STRIP_GROUPS * self.group)) * STRIP_GROUPS * TILE_ROWS
        return ceil(self.rows / TILE_ROWS) * (self.row_floats * TILE_ROWS * 4 + strips + codes)

    def products(self) -> int:
        return self.rows * self.cols


@dataclass(frozen=True)
class Launch:
    """A kernel's blocks for one token, its bytes, and its multiply-adds by form and group."""

    kernel: str
    blocks: int = 0
    weights: int = 0
    cache: int = 0
    products: tuple[tuple[str, int, int], ...] = ()


def multiplied(matrices: list[Matrix], kernel: str = "product_one") -> Launch:
    tiles = sum(ceil(m.rows / TILE_ROWS) for m in matrices)
    products = tuple((m.form, m.group, m.products()) for m in matrices)
    return Launch(kernel, tiles, sum(m.bytes() for m in matrices), 0, products)


def layer(m: Model, kind: str, context: int) -> list[Launch]:
    """The launches of a layer, as `backends/src/cuda/step.rs` has them."""
    form, group = ("nibbles", 16) if kind == "q4" else ("bytes", 32)
    q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
    inputs = [Matrix(q, m.hidden, form, group), Matrix(kv, m.hidden, form, group)]
    # Values are Q8 in files of q4.
    qkv = multiplied([*inputs, Matrix(kv, m.hidden, "bytes", 32)])
    attended = (("bytes", 32, 2 * q * context),)
    cache = 2 * m.kv_heads * context * (m.head_dim + 2)
    attend = Launch("attend", m.kv_heads * ceil(context / SPAN), 0, cache, attended)
    o = multiplied([Matrix(m.hidden, q, form, group)])
    gate_and_up = multiplied([Matrix(m.ffn, m.hidden, form, group)] * 2)
    down = multiplied([Matrix(m.hidden, m.ffn, form, group)])
    small = [Launch(name) for name in ("norm", "append", "join", "quantize", "norm", "silu_mul")]
    return [qkv, attend, o, gate_and_up, down, *small]


def token(m: Model, kind: str, context: int) -> list[Launch]:
    """The launches of a token without logits."""
    return [Launch("embed"), *(layer(m, kind, context) * m.layers)]


def head(m: Model) -> list[Launch]:
    """The launches of a search of the head."""
    plane = Matrix(m.vocabulary, m.hidden, "nibbles", 32, row_floats=2)
    names = ("norm", "margins", "threshold", "rescore", "collect")
    return [multiplied([plane], "screen_one"), *(Launch(name) for name in names)]


class Code:
    """The kernels of a device."""

    def __init__(self, device: int):
        self.kernels = sass.kernels(sass.disassembled(device))

    @cache
    def cost(self, kernel: str, form: str, group: int) -> sass.Cost:
        return sass.hot_loop(self.kernels, kernel, form, group)


def cycles(cost: sass.Cost, group: int) -> float:
    """Cycles of a multiprocessor for a multiply-add: of the pipe that takes longest."""
    limits = [cost.each / ISSUED]
    limits += [cost.pipes[pipe] / rate for pipe, rate in PER_CYCLE.items()]
    if cost.instruction == "IMMA":
        # An instruction of 16 columns is taken for as long as one of 32.
        limits.append(BLOCK / group / TENSOR_PRODUCTS)
    return max(limits)


def computed(board: Board, code: Code, launch: Launch, kernel: str, blocks: int) -> float:
    """Seconds of a launch's loops: those of the multiprocessor with the most blocks."""
    taken = sum(n * cycles(code.cost(kernel, f, g), g) for f, g, n in launch.products)
    busiest = ceil(blocks / board.multiprocessors) / blocks
    return taken * busiest / (board.ghz * 1e9)


@dataclass(frozen=True)
class Time:
    """Seconds of a token: of launches, and of those whose limit is memory, and instructions."""

    launches: float
    memory: float
    instructions: float

    def total(self) -> float:
        return self.launches + self.memory + self.instructions


def added(parts: Iterator[tuple[float, float, float]]) -> Time:
    """The sum over launches of what each takes: the launch, and the slower of the other two."""
    launches = memory = instructions = 0.0
    for launch, delivered, computed_in in parts:
        launches += launch
        memory += delivered if delivered >= computed_in else 0.0
        instructions += computed_in if computed_in > delivered else 0.0
    return Time(launches, memory, instructions)


def decode(board: Board, code: Code, m: Model, kind: str, assumed: Assumed) -> Time:
    rate = board.bandwidth * 1e9 * assumed.memory
    return added(
        (
            assumed.graph,
            (l.weights + l.cache) / rate,
            computed(board, code, l, l.kernel, l.blocks) if l.products else 0.0,
        )
        for l in [*token(m, kind, CONTEXT), *head(m)]
    )


def prefill(board: Board, code: Code, m: Model, kind: str, assumed: Assumed) -> Time:
    """Of one token of a prompt as long as `CONTEXT`, so that half of it is before a token."""
    rate = board.bandwidth * 1e9 * assumed.memory
    parts = []
    for l in token(m, kind, CONTEXT // 2):
        kernel = "product_(?!one).*" if l.kernel == "product_one" else l.kernel
        instruction = code.cost(kernel, *l.products[0][:2]).instruction if l.products else "IDP"
        is_cached = assumed.is_cached or board.device >= 100
        weights = l.weights / (PASS if is_cached else SHARING[instruction])
        taken = computed(board, code, l, kernel, l.blocks * PASS) if l.products else 0.0
        parts.append((assumed.launch / PASS, (weights + l.cache / SPAN) / rate, taken))
    return added(iter(parts))


def lines(board: Board, code: Code) -> Iterator[dict[str, str]]:
    """Tokens/s of every model, and what a token's time consists of."""
    for m in MODELS:
        for kind in ("q4", "q8"):
            known = {"board": board.name, "bandwidth": f"{board.bandwidth:g}"}
            known |= {"model": m.name, "type": kind}
            for test, predict in (("decode", decode), ("prefill", prefill)):
                for assumed in (EXPECTED, CAUTIOUS):
                    time = predict(board, code, m, kind, assumed)
                    figures = {"all": (f"{1 / time.total():.0f}", "tokens/s")}
                    for part in ("launches", "memory", "instructions"):
                        figures[part] = (f"{getattr(time, part) * 1e6:.1f}", "µs")
                    for part, (value, unit) in figures.items():
                        figure = {"assumed": assumed.name, "part": part}
                        yield {**known, "test": test, **figure, "value": value, "unit": unit}


def floors(found: list[dict[str, str]]) -> str:
    """Whether each floor is met, and the arithmetic of both predictions."""
    text = []
    for (board, model, kind, test), floor in FLOORS.items():
        for assumed in (EXPECTED.name, CAUTIOUS.name):
            wanted = {"board": board, "model": model, "type": kind, "test": test}
            wanted["assumed"] = assumed
            mine = {l["part"]: l["value"] for l in found if wanted.items() <= l.items()}
            parts = " + ".join(f"{mine[p]} {p}" for p in ("launches", "memory", "instructions"))
            verdict = "met" if int(mine["all"]) >= floor else "NOT MET"
            text.append(
                f"{test} of {model} {kind} on {board}, {assumed}: {mine['all']} tokens/s of"
                f" {floor}: {verdict} (µs: {parts}; {1e6 / floor:.0f} are allowed)"
            )
    return "\n".join(text)


def recorded(speeds: list[dict[str, str]]) -> list[dict[str, str]]:
    """Lines whose tests have names of their own beside the processor's in boards.csv."""
    suffix = {EXPECTED.name: "", CAUTIOUS.name: ", cautious"}
    fields = ("model", "type", "board", "bandwidth", "value", "unit")
    return [
        {"test": f"GPU {l['test']}{suffix[l['assumed']]}", **{f: l[f] for f in fields}}
        for l in speeds
    ]


def main() -> None:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--record", action="store_true", help="add to cuda.csv")
    args = parser.parse_args()
    codes = {d: Code(d) for d in {b.device for b in BOARDS}}
    found = [line for board in BOARDS for line in lines(board, codes[board.device])]
    print("PREDICTION: no GPU has run Kinglet.\n\nTokens/s:\n")
    speeds = [line for line in found if line["part"] == "all"]
    print(pivot(speeds, ["board", "model", "type"], ["test", "assumed"]))
    parts = [line for line in found if line["part"] != "all"]
    print("µs of a token, by what limits each launch:\n")
    print(pivot(parts, ["board", "model", "type"], ["test", "assumed", "part"]))
    print(floors(found))
    if args.record:
        record.append("cuda", recorded(speeds), "predicted from machine code of ptxas 12.9")


main()
