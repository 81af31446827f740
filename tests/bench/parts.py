"""The parts of the comparison: each measures and gives a table."""

import statistics
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Callable, Iterator

from measure import Pair, busy_neighbours
from prepare import LLAMA_TYPES, Workshop, say
from programs import Kinglet, Llama, Program, Test
from tables import pivot

THREADS = [1, 2]
# The type of Kinglet that stands against each type of llama.cpp.
OPPONENT = {"Q4_0": "q4", "IQ4_NL": "q4", "Q4_K_M": "q4", "Q8_0": "q8"}
LIKE_FOR_LIKE = ["Q4_0", "Q8_0"]
# Tiers that are compared with a build of llama.cpp of their own, and what that has.
TIERS = {"sse": "SSE4.2", "avx2": "AVX2", "avx-vnni": "AVX-VNNI"}
# llama.cpp's cache in 8 bits, which needs its flash attention.
LLAMA_INT8_CACHE = ["-ctk", "q8_0", "-ctv", "q8_0", "-fa", "1"]
DECODE = 128
PREFILL = 256
DEPTHS = [0, 128, 512, 2048]
GROWTH_DECODE = 32
PROMPTS = [32, 256, 2048]
MEGABYTE = 1e6
PROGRAMS = ["Kinglet", "llama.cpp"]
# The fields of a record that name two opponents.
OPPONENTS = ["model", "pair"]


# A line of a record: what was measured, the value and its unit.
Line = dict[str, str]


@dataclass(frozen=True)
class Table:
    """Lines of a record, the fields that make the rows and columns of a table of them, and what
    the lines were made from."""

    title: str
    rows: list[str]
    columns: list[str]
    lines: list[Line]
    samples: dict[str, dict]

    def markdown(self) -> str:
        return f"## {self.title}\n\n{pivot(self.lines, self.rows, self.columns)}"


@dataclass(frozen=True)
class Comparison:
    """What every part needs."""

    workshop: Workshop
    kinglet_program: Path
    llama_folder: Path
    sizes: list[str]
    rounds: int

    def kinglet(self, size: str, kind: str, *flags: str) -> Kinglet:
        # How codes were chosen does not change the speed.
        quick = ["--calibrate", "none"]
        model = self.workshop.converted(size, kind, self.kinglet_program, *quick)
        return Kinglet(model, self.kinglet_program, list(flags))

    def llama(self, size: str, kind: str, *flags: str, build: str = "native") -> Llama:
        quantizer = self.llama_folder / "native/bin/llama-quantize"
        model = self.workshop.quantized(size, kind, quantizer)
        return Llama(model, self.llama_folder / build / "bin", list(flags))

    def opponents(self, kinds: list[str]) -> Iterator[tuple[str, Kinglet, Llama]]:
        """The label of every pair of programs, with them."""
        for size in self.sizes:
            for kind in kinds:
                ours = OPPONENT[kind]
                yield (
                    f"{size} {ours} / {kind}",
                    self.kinglet(size, ours),
                    self.llama(size, kind),
                )

    def pairs(self, contests: dict[str, tuple[Callable, Callable]]) -> dict[str, Pair]:
        """Every contest in every round, so that a slow minute does not meet one of them only."""
        pairs = {label: Pair() for label in contests}
        for number in range(self.rounds):
            for label, (kinglet, llama) in contests.items():
                say(f"  round {number + 1} of {self.rounds}: {label}")
                pairs[label].add(kinglet, llama)
        return pairs


def contest(kinglet: Program, llama: Program, test: Test) -> tuple[Callable, Callable]:
    return lambda: kinglet.speed(test), lambda: llama.speed(test)


def samples(pairs: dict[str, Pair]) -> dict[str, dict]:
    return {label: asdict(pair) for label, pair in pairs.items()}


def line(
    test: str, label: str, program: str, value: str, unit: str, threads: int | str = ""
) -> Line:
    """One figure; the label is that of two opponents, `135m q4 / Q4_0`."""
    size, pair = label.split(" ", 1)
    kinds = dict(zip(PROGRAMS, pair.split(" / ")))
    return {
        "test": test,
        "model": size.upper(),
        "pair": pair,
        "program": program,
        "type": kinds.get(program, ""),
        "threads": str(threads),
        "value": value,
        "unit": unit,
    }


def figures(
    test: str, label: str, pair: Pair, unit: str, threads: int | str = "", digits: int = 0
) -> list[Line]:
    """The medians of both programs, and the ratio."""
    medians = zip(PROGRAMS, pair.medians())
    found = [line(test, label, p, f"{m:.{digits}f}", unit, threads) for p, m in medians]
    return [*found, line(test, label, "ratio", f"{pair.ratio():.2f}", "ratio", threads)]


def speed_table(comparison: Comparison, name: str, title: str, tests: dict[int, Test]) -> Table:
    """Tokens per second of every pair of types, by threads."""
    opponents = list(comparison.opponents(LLAMA_TYPES))
    pairs = comparison.pairs(
        {
            f"{label}, {threads}t": contest(kinglet, llama, test)
            for label, kinglet, llama in opponents
            for threads, test in tests.items()
        }
    )
    lines = [
        found
        for label, _, _ in opponents
        for threads in tests
        for found in figures(name, label, pairs[f"{label}, {threads}t"], "tokens/s", threads)
    ]
    return Table(title, OPPONENTS, ["program", "threads"], lines, samples(pairs))


def files(comparison: Comparison) -> Table:
    lines, found = [], {}
    for label, kinglet, llama in comparison.opponents(LLAMA_TYPES):
        sizes = [program.model.stat().st_size / MEGABYTE for program in (kinglet, llama)]
        pair = Pair([sizes[0]], [sizes[1]])
        lines += figures("file", label, pair, "MB", digits=1)
        found[label] = {"kinglet": sizes[0], "llama": sizes[1]}
    return Table("File, MB", OPPONENTS, ["program"], lines, found)


def decode(comparison: Comparison) -> Table:
    tests = {threads: Test(generated=DECODE, threads=threads) for threads in THREADS}
    return speed_table(comparison, "decode", f"Decode, tokens/s (tg{DECODE})", tests)


def prefill(comparison: Comparison) -> Table:
    tests = {threads: Test(prompt=PREFILL, threads=threads) for threads in THREADS}
    return speed_table(comparison, "prefill", f"Prefill, tokens/s (pp{PREFILL})", tests)


def outside_table(
    comparison: Comparison, name: str, unit: str, title: str, figure: Callable[[Program], float]
) -> Table:
    """A figure that is taken from outside of the processes, on 2 threads."""
    pairs = comparison.pairs(
        {
            label: (lambda k=kinglet: figure(k), lambda l=llama: figure(l))
            for label, kinglet, llama in comparison.opponents(LIKE_FOR_LIKE)
        }
    )
    lines = []
    for label, pair in pairs.items():
        lines += figures(name, label, pair, unit, 2, digits=1)
    return Table(title, OPPONENTS, ["program"], lines, samples(pairs))


def first_token(comparison: Comparison) -> Table:
    title = "Process start to first text, 7-token prompt, file in the page cache, 2 threads, ms"
    figure = lambda program: program.first_byte(2) * 1e3
    return outside_table(comparison, "first text", "ms", title, figure)


def memory(comparison: Comparison) -> Table:
    title = "Peak resident memory, context 2048 filled by a prompt of 1900 tokens, MB"
    figure = lambda program: program.peak_bytes(2) / MEGABYTE
    return outside_table(comparison, "peak memory", "MB", title, figure)


def bandwidth(comparison: Comparison) -> Table:
    """How much of what memory gives either program's decoding takes."""
    lines, found = [], {}
    for label, kinglet, llama in comparison.opponents(LIKE_FOR_LIKE):
        for threads in THREADS:
            title = f"{label}, {threads}t"
            found[title] = shares(comparison, kinglet, llama, threads, title)
            middle = {name: statistics.median(values) for name, values in found[title].items()}
            for program, value, unit in [
                ("memory", f"{middle['read_gigabytes_per_second']:.1f}", "GB/s"),
                ("token", f"{middle['megabytes_per_token']:.1f}", "MB"),
                ("Kinglet", f"{100 * middle['kinglet_share']:.0f}", "%"),
                ("llama.cpp", f"{100 * middle['llama_share']:.0f}", "%"),
            ]:
                lines.append(line("share of bandwidth", label, program, value, unit, threads))
    title = "Decode, share of the read bandwidth measured in the same run"
    return Table(title, [*OPPONENTS, "threads"], ["program", "unit"], lines, found)


def shares(
    comparison: Comparison, kinglet: Kinglet, llama: Llama, threads: int, label: str
) -> dict[str, list[float]]:
    """Of every round: bandwidth, bytes, and the shares of it; llama.cpp reads its file per token."""
    # The bandwidth is measured beside every repetition.
    test = Test(generated=DECODE, threads=threads, repetitions=3)
    file_bytes = llama.model.stat().st_size
    found = {
        "read_gigabytes_per_second": [],
        "megabytes_per_token": [],
        "kinglet_share": [],
        "llama_share": [],
    }
    for number in range(comparison.rounds):
        say(f"  round {number + 1} of {comparison.rounds}: {label}")
        report, speed = kinglet.bench(test), llama.speed(test)
        read = report["read_bytes_per_second"]
        found["read_gigabytes_per_second"].append(read / 1e9)
        found["megabytes_per_token"].append(report["bytes_per_token"] / MEGABYTE)
        found["kinglet_share"].append(report["wall_share"])
        found["llama_share"].append(speed * file_bytes / read)
    return found


def neighbour(comparison: Comparison) -> Table:
    """Decoding beside a busy process on every processor, over decoding undisturbed."""
    test = Test(generated=DECODE // 2, threads=2)
    opponents = list(comparison.opponents(["Q4_0"]))
    calm = {label: Pair() for label, _, _ in opponents}
    busy = {label: Pair() for label, _, _ in opponents}
    for number in range(comparison.rounds):
        for label, kinglet, llama in opponents:
            say(f"  round {number + 1} of {comparison.rounds}: {label}")
            calm[label].add(*contest(kinglet, llama, test))
            with busy_neighbours():
                busy[label].add(*contest(kinglet, llama, test))
    lines = []
    for label, _, _ in opponents:
        for name, which in zip(PROGRAMS, ["kinglet", "llama"]):
            quiet, loud = getattr(calm[label], which), getattr(busy[label], which)
            kept = statistics.median(b / c for b, c in zip(loud, quiet))
            alone, beside = (f"{statistics.median(values):.0f}" for values in (quiet, loud))
            lines.append(line("decode alone", label, name, alone, "tokens/s", 2))
            lines.append(line("decode beside busy processes", label, name, beside, "tokens/s", 2))
            lines.append(line("share kept", label, name, f"{100 * kept:.0f}", "%", 2))
    found = {"alone": samples(calm), "beside busy processes": samples(busy)}
    title = "Decode beside one busy process per processor, 2 threads"
    return Table(title, [*OPPONENTS, "program"], ["test", "unit"], lines, found)


def one_tier(comparison: Comparison, tier: str) -> Table:
    """The kernels of a tier against llama.cpp built for the same instructions."""
    contests, instructions = {}, TIERS[tier]
    for size in comparison.sizes:
        for kind in LIKE_FOR_LIKE:
            kinglet = comparison.kinglet(size, OPPONENT[kind], "--tier", tier)
            llama = comparison.llama(size, kind, build=tier)
            for threads in THREADS:
                for name, test in [
                    ("decode", Test(generated=DECODE, threads=threads)),
                    ("prefill", Test(prompt=PREFILL, threads=threads)),
                ]:
                    label = f"{size} {OPPONENT[kind]} / {kind}, {name}, {threads}t"
                    contests[label] = contest(kinglet, llama, test)
    pairs, lines = comparison.pairs(contests), []
    for title, pair in pairs.items():
        label, name, threads = title.split(", ")
        test = f"{name} with {instructions}"
        lines += figures(test, label, pair, "tokens/s", threads.removesuffix("t"))
    title = f"{instructions}, tokens/s: the tier forced, llama.cpp built for the same"
    return Table(title, [*OPPONENTS, "test", "threads"], ["program"], lines, samples(pairs))


def growth(comparison: Comparison) -> Table:
    """Speed at growing contexts and prompts, both caches in 8 bits."""
    contests = {}
    for size in comparison.sizes:
        kinglet, llama = comparison.kinglet(size, "q4"), comparison.llama(size, "Q4_0")
        llama = Llama(llama.model, llama.folder, LLAMA_INT8_CACHE)
        for depth in DEPTHS:
            test = Test(generated=GROWTH_DECODE, depth=depth)
            contests[f"{size} decode at {depth}"] = contest(kinglet, llama, test)
        for prompt in PROMPTS:
            contests[f"{size} prefill of {prompt}"] = contest(kinglet, llama, Test(prompt=prompt))
    pairs, lines = comparison.pairs(contests), []
    for title, pair in pairs.items():
        size, name = title.split(" ", 1)
        label = f"{size} q4 / Q4_0"
        lines += figures(name, label, pair, "tokens/s", 2)
        if name.startswith("decode"):
            slower = f"{slowdown(pairs[f'{size} decode at 0'], pair):.2f}"
            lines.append(line(name, label, "Kinglet's time over empty context", slower, "", 2))
    title = "Growth, 2 threads, tokens/s: q4 / Q4_0, caches int8 / q8_0"
    return Table(title, [*OPPONENTS, "test"], ["program"], lines, samples(pairs))


def slowdown(empty: Pair, filled: Pair) -> float:
    return statistics.median(e / f for e, f in zip(empty.kinglet, filled.kinglet))


PARTS: dict[str, Callable[[Comparison], Table]] = {
    "files": files,
    "decode": decode,
    "prefill": prefill,
    "first-token": first_token,
    "memory": memory,
    "bandwidth": bandwidth,
    "neighbour": neighbour,
    "growth": growth,
    **{tier: partial(one_tier, tier=tier) for tier in TIERS},
}
