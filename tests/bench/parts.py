"""The parts of the comparison: each measures and gives a table."""

import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Iterator

from measure import Pair, busy_neighbours
from prepare import LLAMA_TYPES, Workshop, say
from programs import Kinglet, Llama, Program, Test

THREADS = [1, 2]
# The type of Kinglet that stands against each type of llama.cpp.
OPPONENT = {"Q4_0": "q4", "IQ4_NL": "q4", "Q4_K_M": "q4", "Q8_0": "q8"}
LIKE_FOR_LIKE = ["Q4_0", "Q8_0"]
# llama.cpp's cache in 8 bits, which needs its flash attention.
LLAMA_INT8_CACHE = ["-ctk", "q8_0", "-ctv", "q8_0", "-fa", "1"]
DECODE = 128
PREFILL = 256
DEPTHS = [0, 128, 512, 2048]
GROWTH_DECODE = 32
PROMPTS = [32, 256, 2048]
MEGABYTE = 1e6


@dataclass(frozen=True)
class Table:
    """A table of Markdown, and what it was made from."""

    title: str
    head: list[str]
    rows: list[list[str]]
    samples: dict[str, dict]

    def markdown(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"## {self.title}\n\n{body}\n"


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
        model = self.workshop.quantized(size, kind, self.llama_folder)
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


def figures(pair: Pair, digits: int = 0) -> list[str]:
    """Kinglet, llama.cpp, ratio."""
    kinglet, llama = pair.medians()
    return [f"{kinglet:.{digits}f}", f"{llama:.{digits}f}", f"**{pair.ratio():.2f}**"]


def speed_table(comparison: Comparison, title: str, tests: dict[str, Test]) -> Table:
    """Tokens per second of every pair of types: a group of three columns for each test."""
    opponents = list(comparison.opponents(LLAMA_TYPES))
    pairs = comparison.pairs(
        {
            f"{label}, {name}": contest(kinglet, llama, test)
            for label, kinglet, llama in opponents
            for name, test in tests.items()
        }
    )
    head = ["model"]
    for name in tests:
        head += [f"Kinglet, {name}", f"llama.cpp, {name}", f"ratio, {name}"]
    rows = [
        [label, *(cell for name in tests for cell in figures(pairs[f"{label}, {name}"]))]
        for label, _, _ in opponents
    ]
    return Table(title, head, rows, samples(pairs))


def files(comparison: Comparison) -> Table:
    rows, found = [], {}
    for label, kinglet, llama in comparison.opponents(LLAMA_TYPES):
        sizes = [program.model.stat().st_size / MEGABYTE for program in (kinglet, llama)]
        found[label] = {"kinglet": sizes[0], "llama": sizes[1]}
        rows.append([label, *(f"{size:.1f}" for size in sizes), f"{sizes[0] / sizes[1]:.2f}"])
    return Table("File, MB", ["model", "Kinglet", "llama.cpp", "ratio"], rows, found)


def decode(comparison: Comparison) -> Table:
    tests = {f"{t}t": Test(generated=DECODE, threads=t) for t in THREADS}
    return speed_table(comparison, f"Decode, tokens/s (tg{DECODE})", tests)


def prefill(comparison: Comparison) -> Table:
    tests = {f"{t}t": Test(prompt=PREFILL, threads=t) for t in THREADS}
    return speed_table(comparison, f"Prefill, tokens/s (pp{PREFILL})", tests)


def outside_table(
    comparison: Comparison, title: str, figure: Callable[[Program], float], digits: int
) -> Table:
    """A figure that is taken from outside of the processes."""
    pairs = comparison.pairs(
        {
            label: (lambda k=kinglet: figure(k), lambda l=llama: figure(l))
            for label, kinglet, llama in comparison.opponents(LIKE_FOR_LIKE)
        }
    )
    rows = [[label, *figures(pair, digits)] for label, pair in pairs.items()]
    return Table(title, ["model", "Kinglet", "llama.cpp", "ratio"], rows, samples(pairs))


def first_token(comparison: Comparison) -> Table:
    title = "Process start to first text, 7-token prompt, file in the page cache, 2 threads, ms"
    return outside_table(comparison, title, lambda program: program.first_byte(2) * 1e3, 1)


def memory(comparison: Comparison) -> Table:
    title = "Peak resident memory, context 2048 filled by a prompt of 1900 tokens, MB"
    return outside_table(comparison, title, lambda program: program.peak_bytes(2) / MEGABYTE, 1)


def bandwidth(comparison: Comparison) -> Table:
    """How much of what memory gives either program's decoding takes."""
    rows, found = [], {}
    for size in comparison.sizes:
        for kind in LIKE_FOR_LIKE:
            ours = OPPONENT[kind]
            kinglet, llama = comparison.kinglet(size, ours), comparison.llama(size, kind)
            for threads in THREADS:
                label = f"{size} {ours} / {kind}, {threads}t"
                reports = shares(comparison, kinglet, llama, threads, label)
                found[label] = reports
                middle = {name: statistics.median(values) for name, values in reports.items()}
                rows.append(
                    [
                        label,
                        f"{middle['read_gigabytes_per_second']:.1f}",
                        f"{middle['megabytes_per_token']:.1f}",
                        f"**{middle['kinglet_share']:.0%}**",
                        f"{middle['llama_share']:.0%}",
                    ]
                )
    head = ["model", "memory GB/s", "MB/token", "Kinglet's share", "llama.cpp's share"]
    return Table("Decode, share of the read bandwidth measured in the same run", head, rows, found)


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
    rows = []
    for label, _, _ in opponents:
        for name, which in [("Kinglet", "kinglet"), ("llama.cpp", "llama")]:
            quiet, loud = getattr(calm[label], which), getattr(busy[label], which)
            kept = statistics.median(b / c for b, c in zip(loud, quiet))
            middle = [f"{statistics.median(values):.0f}" for values in (quiet, loud)]
            rows.append([f"{label}: {name}", *middle, f"**{kept:.0%}**"])
    found = {"alone": samples(calm), "beside busy processes": samples(busy)}
    head = ["model", "alone", "beside busy processes", "kept"]
    title = "Decode beside one busy process per processor, 2 threads, tokens/s"
    return Table(title, head, rows, found)


def avx2(comparison: Comparison) -> Table:
    """Kinglet's AVX2 kernels against llama.cpp built without AVX-512."""
    contests = {}
    for size in comparison.sizes:
        for kind in LIKE_FOR_LIKE:
            kinglet = comparison.kinglet(size, OPPONENT[kind], "--tier", "avx2")
            llama = comparison.llama(size, kind, build="avx2")
            for threads in THREADS:
                for name, test in [
                    ("decode", Test(generated=DECODE, threads=threads)),
                    ("prefill", Test(prompt=PREFILL, threads=threads)),
                ]:
                    label = f"{size} {OPPONENT[kind]} / {kind}, {name}, {threads}t"
                    contests[label] = contest(kinglet, llama, test)
    pairs = comparison.pairs(contests)
    rows = [[label, *figures(pair)] for label, pair in pairs.items()]
    title = "AVX2, tokens/s: the tier forced, llama.cpp built without AVX-512"
    return Table(title, ["test", "Kinglet", "llama.cpp", "ratio"], rows, samples(pairs))


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
    pairs = comparison.pairs(contests)
    rows = []
    for label, pair in pairs.items():
        empty = pairs[f"{label.split()[0]} decode at 0"]
        slower = "" if "prefill" in label else f"{slowdown(empty, pair):.2f}"
        rows.append([label, *figures(pair), slower])
    title = "Growth, 2 threads, tokens/s: q4 / Q4_0, caches int8 / q8_0"
    head = ["test", "Kinglet", "llama.cpp", "ratio", "Kinglet's time over empty context"]
    return Table(title, head, rows, samples(pairs))


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
    "avx2": avx2,
    "growth": growth,
}
