#!/usr/bin/env python3
"""Compares what the number formats of Kinglet and llama.cpp cost and give: KL divergence to the
unquantized model, perplexity, bytes and decoding speed.

    tests/bench/quality.py --text wiki.valid.txt              takes about an hour
    tests/bench/quality.py --text wiki.valid.txt --types q4,Q4_K_M --rounds 3

The model is SmolLM2-135M-Instruct with its channels re-scaled, which changes nothing but that its
weights leave the 4-bit grid they were published on; both programs' files are made from it, and each
is held against that program's own unquantized model. Of every chunk of 512 tokens the second half
is scored. Decoding is timed in turns. The table, every sample and a plot of error against bytes are
written to quality.md, quality.json and quality.svg under target/bench-llama.
"""

import argparse
import hashlib
import json
import re
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path

import record
from parts import MEGABYTE, Line, Table
from prepare import FOLDER, HERE, Workshop, build_kinglet, chosen_from, run, say
from programs import Kinglet, Llama, Program, Test

MODEL = "rescaled"
CONTEXT = 512
CHUNKS = 24
DECODE = 128
KINGLET_TYPES = ["q8", "q5", "q4", "q4s", "q3"]
LLAMA_TYPES = ["Q8_0", "Q5_K_M", "Q4_K_M", "IQ4_NL", "Q4_0", "Q3_K_M"]


@dataclass
class Format:
    """A number format: what it costs and what it gives."""

    name: str
    program: Program
    file_bytes: int
    read_bytes_per_token: int
    mean_kl: float
    perplexity: float
    # Of the program's own unquantized model.
    reference_perplexity: float
    speeds: list[float] = field(default_factory=list)

    @property
    def maker(self) -> str:
        return "Kinglet" if isinstance(self.program, Kinglet) else "llama.cpp"

    def lines(self, threads: int) -> list[Line]:
        worse = 100 * (self.perplexity / self.reference_perplexity - 1)
        figures = [
            ("file", "", f"{self.file_bytes / MEGABYTE:.1f}", "MB"),
            ("read per token", "", f"{self.read_bytes_per_token / MEGABYTE:.1f}", "MB"),
            ("mean KL", "", f"{self.mean_kl:.4f}", ""),
            ("perplexity", "", f"{worse:+.2f}", "%"),
            ("decode", str(threads), f"{statistics.median(self.speeds):.0f}", "tokens/s"),
        ]
        about = {"model": "135M", "program": self.maker, "type": self.name}
        fields = ["test", "threads", "value", "unit"]
        return [{**about, **dict(zip(fields, figure))} for figure in figures]

    def document(self) -> dict:
        known = asdict(self)
        del known["program"]
        return {"maker": self.maker, **known}


def kinglet_format(
    workshop: Workshop, kinglet: Path, kind: str, text: Path, calibration: list[str]
) -> Format:
    say(f"scoring Kinglet's {kind}")
    reference = workshop.converted(MODEL, "bf16", kinglet)
    model = workshop.converted(MODEL, kind, kinglet, *calibration)

    def document(*arguments) -> dict:
        command = [kinglet, "-q", *arguments, "--json"]
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)

    size = ["--ctx", str(CONTEXT), "--chunks", str(CHUNKS)]
    scored = document("eval", model, "--text", text, "--reference", reference, *size)
    held = document("inspect", model)
    return Format(
        kind,
        Kinglet(model, kinglet),
        held["file_bytes"],
        held["read_bytes_per_token"],
        scored["mean_kl"],
        scored["perplexity"],
        scored["reference_perplexity"],
    )


def llama_format(workshop: Workshop, llama: Path, kind: str, text: Path) -> Format:
    say(f"scoring llama.cpp's {kind}")
    perplexity = llama / "native/bin/llama-perplexity"
    # The logits of one text are nothing to another.
    digest = hashlib.sha256(text.read_bytes()).hexdigest()[:16]
    logits = workshop.folder / f"logits.{digest}.bin"
    size = ["-c", CONTEXT, "--chunks", CHUNKS, "-f", text, "--kl-divergence-base", logits]
    if not logits.exists():
        partial = logits.with_suffix(".partial")
        run([perplexity, "-m", workshop.checkpoint(MODEL), *size[:-1], partial])
        partial.rename(logits)
    model = workshop.quantized(MODEL, kind, llama / "native/bin/llama-quantize")
    command = [perplexity, "-m", model, *size, "--kl-divergence"]
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )

    def figure(label: str) -> float:
        return float(re.search(rf"{re.escape(label)}\s*:\s*(\S+)", done.stdout)[1])

    file_bytes = model.stat().st_size
    # The matrix of the embedding is the head's, too: a token reads the whole file.
    return Format(
        kind,
        Llama(model, llama / "native/bin"),
        file_bytes,
        file_bytes,
        figure("Mean    KLD"),
        figure("Mean PPL(Q)"),
        figure("Mean PPL(base)"),
    )


def table(formats: list[Format], rounds: int, threads: int) -> Table:
    samples = {f"{found.maker} {found.name}": found.document() for found in formats}
    size = f"at most {CHUNKS} chunks of {CONTEXT} tokens"
    title = f"Number formats, {size}, medians of {rounds} rounds"
    lines = [line for found in formats for line in found.lines(threads)]
    return Table(title, ["program", "type"], ["test", "unit"], lines, samples)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = KINGLET_TYPES + LLAMA_TYPES
    parser.add_argument("--text", type=Path, required=True, help="what is scored, UTF-8")
    parser.add_argument("--types", type=chosen_from(every), default=every, help=",".join(every))
    parser.add_argument("--calibrate", help="as of `kinglet convert`, instead of its default")
    parser.add_argument("--threads", type=int, default=2, help="of decoding")
    parser.add_argument("--rounds", type=int, default=7, help="timed runs of every type")
    parser.add_argument("--kinglet", type=Path, help="an executable instead of a new build")
    parser.add_argument("--llama-dir", type=Path, help="a folder with native/bin, not a build")
    parser.add_argument("--record", metavar="NAME", help="add the figures to records/NAME.csv")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    workshop = Workshop(FOLDER)
    kinglet = (args.kinglet or build_kinglet()).resolve()
    llama = (args.llama_dir or workshop.llama([])).resolve()
    calibration = ["--calibrate", args.calibrate] if args.calibrate else []
    text = args.text.resolve()
    formats = [
        kinglet_format(workshop, kinglet, kind, text, calibration)
        if kind in KINGLET_TYPES
        else llama_format(workshop, llama, kind, text)
        for kind in args.types
    ]
    test = Test(generated=DECODE, threads=args.threads)
    for number in range(args.rounds):
        say(f"decoding, round {number + 1} of {args.rounds}")
        for found in formats:
            found.speeds.append(found.program.speed(test))
    result = table(formats, args.rounds, args.threads)
    print(result.markdown())
    if args.record:
        record.append(args.record, result.lines)
    (FOLDER / "quality.md").write_text(result.markdown())
    samples = FOLDER / "quality.json"
    samples.write_text(json.dumps(result.samples, indent=1) + "\n")
    run([workshop.python(), HERE / "plot_quality.py", samples, FOLDER / "quality.svg"])
    say(f"written to {FOLDER}")


if __name__ == "__main__":
    main()
