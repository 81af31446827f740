"""What the loops of CUDA kernels execute: machine code from NVIDIA's own assembler, counted."""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "target/ptxas"
DISASSEMBLER = "nvidia-cuda-nvdisasm==13.2.78"
PTX = ROOT / "backends/src/cuda/ptx"
# Multiply-adds of an instruction that takes four bytes in each of a warp's 32 lanes.
DOT_PRODUCTS = 32 * 4
# The pipes that can be the limit, and the instructions that each executes.
PIPES = {
    "multiplier": {"IDP", "IMAD"},
    "integer": {"LOP3", "IADD3", "SHF", "PRMT", "LEA", "ISETP", "SEL", "IABS", "FMNMX", "IMNMX"},
    "memory": {"LDG", "STG", "LDS", "STS", "LDSM", "LD", "ST"},
    "tensor": {"IMMA"},
}
NIBBLES, FIFTH_BITS = "0xf0f0f0f", "0x11111111"


def run(*command) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def ptx_for(device: int) -> list[Path]:
    """The files that a device has the instructions for."""
    target = re.compile(r"^\.target sm_(\d+)", re.MULTILINE)
    paths = sorted(PTX.glob("*.ptx"))
    return [path for path in paths if int(target.search(path.read_text())[1]) <= device]


def disassembler() -> Path:
    """NVIDIA's disassembler, fetched once. It reads code for sm_75 and newer."""
    folder = TOOLS.with_name("nvdisasm") / DISASSEMBLER.split("==")[1]
    if not folder.is_dir():
        pip = ROOT / "target/zig/bin/pip"
        run(pip, "install", "--quiet", "--no-deps", "--target", folder, DISASSEMBLER)
    return next(folder.glob("**/bin/nvdisasm"))


def disassembled(device: int) -> str:
    """The machine code of the kernels for a device, `sm_` and this number."""
    found = sorted(TOOLS.glob("12.*/**/bin/ptxas"))
    if not found:
        sys.exit(f"no assembler is in {TOOLS}: tests/cuda/check fetches it")
    texts = []
    for path in ptx_for(device):
        with tempfile.NamedTemporaryFile(suffix=".cubin") as out:
            run(found[-1], f"-arch=sm_{device}", path, "-o", out.name)
            texts.append(run(disassembler(), "-c", out.name))
    return "\n".join(texts)


@dataclass(frozen=True)
class Loop:
    """The instructions of a loop, as the disassembler writes them."""

    start: int
    body: tuple[str, ...]

    def names(self) -> Counter:
        words = (re.sub(r"^@!?U?P\w+ ", "", line).split()[0] for line in self.body)
        return Counter(word.split(".")[0] for word in words)

    def columns(self) -> set[int]:
        """Columns that its tensor cores sum at once: `IMMA.16832` sums 32 for 16 rows."""
        return {int(k) for k in re.findall(r"IMMA\.168(\d\d)\b", "\n".join(self.body))}

    def products(self, name: str) -> int:
        """Multiply-adds of one turn. `IDP.2A` multiplies half as many numbers as `IDP.4A`, and in
        a loop of both it multiplies sums by scales."""
        if name == "IDP":
            fours, twos = (sum(f"IDP.{n}A" in line for line in self.body) for n in (4, 2))
            return fours * DOT_PRODUCTS if fours else twos * DOT_PRODUCTS // 2
        return self.names()[name] * 16 * 8 * max(self.columns())

    def contains(self, other: "Loop") -> bool:
        end, others = self.start + len(self.body), other.start + len(other.body)
        return self != other and self.start <= other.start and others <= end

    def is_innermost(self, loops: list["Loop"]) -> bool:
        """Among loops that multiply."""
        return not any(self.contains(other) for other in loops)

    def form(self) -> str:
        """What its unpacking shows: `bytes`, `nibbles`, `fives` or `table`."""
        text = "\n".join(self.body)
        # FIVES have a fifth bit. Tables are looked up with PRMT, beside two of them for each row's
        # scales, which are shared by eight IDP.
        names = self.names()
        if names["PRMT"] > 2 + names["IDP"] // 4:
            return "table"
        if FIFTH_BITS in text:
            return "fives"
        return "nibbles" if NIBBLES in text else "bytes"


def kernels(code: str) -> dict[str, list[Loop]]:
    """The loops of every kernel."""
    found = {}
    for section in re.split(r"\.section\s+\.text\.", code)[1:]:
        labels, lines, loops = {}, [], []
        for line in section.split("\n"):
            if label := re.match(r"\s*(\.L_x_\d+):", line):
                labels[label[1]] = len(lines)
            elif instruction := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line):
                lines.append(instruction[1])
        for i, line in enumerate(lines):
            jump = re.search(r"\bBRA\b.*?(\.L_x_\d+)", line)
            if jump and labels.get(jump[1], i + 1) <= i:
                start = labels[jump[1]]
                loops.append(Loop(start, tuple(lines[start : i + 1])))
        found[section.split(",")[0]] = loops
    return found


@dataclass(frozen=True)
class Cost:
    """What one multiply-add takes of a warp's instructions, in all and by pipe."""

    kernel: str
    instruction: str
    each: float
    pipes: dict[str, float]


def hot_loop(found: dict[str, list[Loop]], pattern: str, form: str, group: int) -> Cost:
    """The innermost loop of kernels of this name that multiplies weights of this format and group.

    Loops of tensor cores come before those of dot products. Of several that look alike the shortest
    counts: the two planes of a head unpack as nibbles do, and then compute more.
    """
    for name in ("IMMA", "IDP"):
        fits = []
        for kernel, loops in found.items():
            having = [l for l in loops if l.names()[name] and re.fullmatch(pattern, kernel)]
            inner = [l for l in having if l.is_innermost(having)]
            fits += [(kernel, loop) for loop in inner if loop.form() == form]
        if name == "IMMA":
            fits = [(kernel, loop) for kernel, loop in fits if loop.columns() == {group}]
        if fits:
            kernel, loop = min(fits, key=lambda fit: len(fit[1].body) / fit[1].products(name))
            made, names = loop.products(name), loop.names()
            pipes = {p: sum(names[i] for i in has) / made for p, has in PIPES.items()}
            return Cost(kernel, name, len(loop.body) / made, pipes)
    sys.exit(f"no loop of {pattern} multiplies {form}: has its machine code changed?")
