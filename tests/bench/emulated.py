"""What a program executes, counted under an emulator: a cost that no noise moves."""

import json
import re
import subprocess
import sys
import tempfile
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SYSROOT = Path("/usr/aarch64-linux-gnu")
PROGRAM = ROOT / "target/aarch64-unknown-linux-gnu/release/kinglet"
# Starts a program for 64-bit ARM.
ARM = ["qemu-aarch64", "-L", SYSROOT, "-E", f"LD_LIBRARY_PATH={SYSROOT}/lib"]
# An instruction of 64-bit ARM.
BYTES = 4

# Tokens of the runs whose differences are taken.
PROMPT = 64
FIRST, LAST = 2, 10


@dataclass(frozen=True)
class Cost:
    """How often one token executes each instruction, by its address in the program."""

    tier: str
    # Weights that a token of decoding reads, in 10⁹ bytes.
    gigabytes: float
    decode: dict[int, float]
    prefill: dict[int, float]


@dataclass(frozen=True)
class Emulator:
    """One thread of a program on an emulated core."""

    program: Path
    plugin: Path
    command: list
    # Where the program's instructions start, in order, unless each has `BYTES`.
    starts: list[int] | None = None
    # Of the command.
    options: tuple[str, ...] = ()

    def counts(self, core: str, model: Path, prompt: int, tokens: int) -> tuple[dict, Counter]:
        """The command's document of a run, and how often each instruction was executed."""
        with tempfile.NamedTemporaryFile() as out:
            command = [*self.command, "-cpu", core, "-plugin", f"{self.plugin},out={out.name}"]
            command += [self.program, "run", model]
            command += ["-p", " the" * prompt, "-n", str(tokens), "--temp", "0", "--ignore-eos"]
            command += ["--no-speculation", "--threads", "1", "--ctx", "160", "--json", "--quiet"]
            command += self.options
            done = subprocess.run(command, stdout=subprocess.PIPE)
            if done.returncode != 0:
                sys.exit(f"failed: {' '.join(str(part) for part in command)}")
            document = json.loads(done.stdout)
            if (document["prompt_tokens"], len(document["tokens"])) != (prompt, tokens):
                sys.exit(f"a run has other tokens than asked for: {document}")
            return document, self.executions(Path(out.name))

    def executions(self, lines: Path) -> Counter:
        """The plugin's blocks as instructions."""
        first = first_address(self.program)
        found = Counter()
        for line in lines.read_text().splitlines():
            offset, instructions, times = map(int, line.split())
            for at in self.addresses(first + offset, instructions):
                found[at] += times
        return found

    def addresses(self, start: int, instructions: int) -> range | list[int]:
        """Where the instructions of a block start."""
        if self.starts:
            index = bisect_left(self.starts, start)
            if self.starts[index : index + 1] == [start]:
                return self.starts[index : index + instructions]
        return range(start, start + BYTES * instructions, BYTES)

    def cost(self, core: str, model: Path) -> Cost:
        """What a token costs: the differences between runs, and a prompt of `PROMPT` tokens."""
        run, short = self.counts(core, model, 1, FIRST)
        long = self.counts(core, model, 1, LAST)[1]
        prompt = self.counts(core, model, PROMPT, FIRST)[1]
        decode = {at: (long[at] - short[at]) / (LAST - FIRST) for at in long}
        # The short run's prompt of one token is taken for a token of decoding.
        prefill = {at: (prompt[at] - short[at] + decode.get(at, 0)) / PROMPT for at in prompt}
        gigabytes = run["decode_gbps"] / run["decode_tps"]
        return Cost(run["tier"], gigabytes, decode, prefill)


def first_address(program: Path) -> int:
    """The address that the plugin's offsets count from: that of the first code."""
    listing = subprocess.run(
        ["readelf", "--wide", "--segments", program], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    code = re.findall(r"^ *LOAD +\S+ (0x\S+) \S+ \S+ \S+ R?W? ?E", listing, re.MULTILINE)
    return min(int(address, 16) for address in code)


def build_plugin() -> Path:
    """What counts, for QEMU."""
    plugin = ROOT / "target/count_instructions.so"
    plugin.parent.mkdir(exist_ok=True)
    source = HERE / "count_instructions.c"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", plugin, source], check=True)
    return plugin


def prepare(program: Path | None) -> Emulator:
    """An emulator of this program for 64-bit ARM, else of the release's."""
    plugin = build_plugin()
    if program is None:
        subprocess.run([ROOT / "boards/release/build", "arm64"], check=True)
    return Emulator(program or PROGRAM, plugin, ARM)
