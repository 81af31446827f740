#!/usr/bin/env python3
"""Multiple-choice scores of the number formats of Kinglet and llama.cpp.

    tests/bench/scores.py --piqa piqa.jsonl --hellaswag hellaswag.jsonl --record scores
    tests/bench/scores.py --piqa piqa.jsonl --types q8,q4

The model is SmolLM2-135M-Instruct as it is published, in 4 bits: `--rescaled` takes the one of
`quality.py`, whose weights are off that grid. The files have the lines that `kinglet eval
--choices` reads: all questions of PIQA's validation set and the first 2,000 of HellaSwag's are
answered, with the choices' tokens cut and their likelihoods divided as lm-eval does. llama.cpp's
formats are scored by `llama-cpp-python`, which is built for that. Every type behind bf16 in the
list is compared with it, question by question.
"""

import argparse
import json
import math
import subprocess
from dataclasses import dataclass
from pathlib import Path

import record
from parts import Line, Table
from prepare import FOLDER, HERE, PUBLISHED, Workshop, build_kinglet, chosen_from, say

KINGLET_TYPES = ["bf16", "q8", "q5", "q4", "q4s", "q3"]
LLAMA_TYPES = ["Q4_0", "Q4_K_M"]
HELLASWAG_QUESTIONS = 2000


@dataclass(frozen=True)
class Questions:
    """The questions of one test."""

    name: str
    path: Path
    items: list[dict]

    @staticmethod
    def read(name: str, path: Path, most: int | None) -> "Questions":
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        chosen = lines[:most]
        kept = FOLDER / f"{name}.jsonl"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text("".join(f"{line}\n" for line in chosen), encoding="utf-8")
        return Questions(name, kept, [json.loads(line) for line in chosen])

    def right(self, log_likelihoods: list[list[float]], by_characters: bool) -> list[bool]:
        """Whether each question is answered rightly, by lm-eval's acc or its acc_norm."""

        def answer(question: dict, sums: list[float]) -> int:
            choices = question["choices"]
            lengths = [len(c.removeprefix(" ")) if by_characters else 1 for c in choices]
            scaled = [total / length for total, length in zip(sums, lengths)]
            return scaled.index(max(scaled))

        pairs = zip(self.items, log_likelihoods, strict=True)
        return [answer(question, sums) == question["answer"] for question, sums in pairs]


@dataclass(frozen=True)
class Score:
    """What a number format makes of a test."""

    model: str
    program: str
    kind: str
    test: str
    # By acc and by acc_norm.
    right: dict[str, list[bool]]

    def lines(self, reference: "Score | None") -> list[Line]:
        about = {"model": self.model, "program": self.program, "type": self.kind}
        found = []

        def add(figure: str, value: str, unit: str) -> None:
            test = f"{self.test} {figure}"
            found.append({**about, "test": test, "value": value, "unit": unit})

        for name, right in self.right.items():
            mean, error = mean_and_error([100.0 * is_right for is_right in right])
            add(name, f"{mean:.2f} ±{error:.2f}", "%")
            if reference and reference is not self:
                pairs = zip(right, reference.right[name], strict=True)
                mean, error = mean_and_error([100.0 * (a - b) for a, b in pairs])
                add(f"{name} over bf16", f"{mean:+.2f} ±{error:.2f}", "points")
        return found


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """The mean, and its standard error as lm-eval estimates it."""
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def score(program: str, kind: str, size: str, questions: Questions, command: list) -> Score:
    """Runs a command that prints a document with `log_likelihoods`."""
    model = "135M" if size == PUBLISHED else "135M, re-scaled"
    say(f"{questions.name} with {program}'s {kind}")
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    sums = json.loads(done)["log_likelihoods"]
    names = {"acc": False, "acc_norm": True}
    right = {name: questions.right(sums, by) for name, by in names.items()}
    return Score(model, program, kind, questions.name, right)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = KINGLET_TYPES + LLAMA_TYPES
    parser.add_argument("--piqa", type=Path, help="PIQA's validation set")
    parser.add_argument("--hellaswag", type=Path, help="HellaSwag's validation set")
    parser.add_argument("--types", type=chosen_from(every), default=every, help=",".join(every))
    parser.add_argument("--rescaled", action="store_true", help="the model off the 4-bit grid")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kinglet", type=Path, help="an executable instead of a new build")
    parser.add_argument("--llama-python", type=Path, help="one that has llama-cpp-python")
    parser.add_argument("--record", metavar="NAME", help="add the figures to records/NAME.csv")
    parser.add_argument("--machine", help="what the record calls the machine")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    given = [("PIQA", args.piqa, None), ("HellaSwag", args.hellaswag, HELLASWAG_QUESTIONS)]
    tests = [Questions.read(name, path, most) for name, path, most in given if path]
    workshop, size = Workshop(FOLDER), "rescaled" if args.rescaled else PUBLISHED
    kinglet = (args.kinglet or build_kinglet()).resolve()
    lines: list[Line] = []
    references: dict[str, Score] = {}
    for kind in args.types:
        if kind in KINGLET_TYPES:
            file = workshop.converted(size, kind, kinglet)
            command = [kinglet, "eval", file, "--json", "--threads", args.threads, "--choices"]
            program = "Kinglet"
        else:
            python = args.llama_python or workshop.llama_python()
            file = workshop.requantized(size, kind, python)
            # Isolated, since a script beside it has the name of the library.
            command = [python, "-I", HERE / "llama_choices.py", file, "--threads", args.threads]
            program = "llama.cpp"
        for questions in tests:
            found = score(program, kind, size, questions, [*command, questions.path])
            if kind == "bf16":
                references[questions.name] = found
            added = found.lines(references.get(questions.name))
            lines += added
            # At once, as all types take hours on a slow machine.
            if args.record:
                record.append(args.record, added, args.machine)
    print(Table("Scores", ["model", "program", "type"], ["test", "unit"], lines, {}).markdown())


if __name__ == "__main__":
    main()
