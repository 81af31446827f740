#!/usr/bin/env python3
"""Installs the package for WebAssembly as people do, and measures it.

    tests/wasm/package.py MODEL.kinglet --kinglet target/release/kinglet [--rounds 5] [--record]

MODEL is a real one, of SmolLM's vocabulary. npm installs the archive of `boards/wasm/build`, a
newer Node and TypeScript into target/wasm/installed; its example replies, and `tsc --strict`
takes the types. Then the command with the tier `sse`, Node with either module, and
`chromium-headless-shell` read and generate in turns, on one thread each. Prints medians and ratios
to the command; `--record` adds them to tests/bench/records/wasm.csv. Exit code 1: something is not
as the package promises.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests/bench"))

from record import append  # noqa: E402

FOLDER = ROOT / "target/wasm/installed"
PACKAGES = ["node@24.21.0", "typescript@7.0.2", "@types/node@24"]
TSC = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--types", "node"]
BROWSER = "chromium-headless-shell"
NODE = FOLDER / "node_modules/.bin/node"
# Programs, their modules, the Node that is started, and the browser.
PROGRAMS = [
    ("the system's Node", "simd128", ["node"], []),
    ("Node 24", "simd128", [NODE], []),
    ("Node 24", "relaxed-simd", [NODE], []),
    ("Chromium", "simd128", ["node"], [BROWSER]),
    ("Chromium", "relaxed-simd", ["node"], [BROWSER]),
]
TESTS = ("prefill", "decode")


def run(*command: object, **options: object) -> str:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options)
    return done.stdout


def install() -> Path:
    """The folder of the installed package."""
    run(ROOT / "boards/wasm/build", cwd=ROOT)
    archive = max((ROOT / "target/packages").glob("kinglet-wasm-*.tgz"))
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "package.json").write_text('{"type": "module"}\n')
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund"]
    run(*npm, archive, *PACKAGES, cwd=FOLDER)
    return FOLDER / "node_modules/kinglet-wasm"


def check(package: Path, model: Path) -> None:
    (FOLDER / "types.ts").write_text(Path(__file__).with_name("types.ts").read_text())
    run(FOLDER / "node_modules/.bin/tsc", *TSC, "types.ts", cwd=FOLDER)
    (FOLDER / "reply.mjs").write_text((package / "examples/reply.mjs").read_text())
    reply = run("node", "reply.mjs", model, "What is a kinglet?", cwd=FOLDER)
    if not reply.strip():
        sys.exit("the example says nothing")


def native(kinglet: Path, model: Path) -> dict[str, float]:
    words = ["bench", "-m", model, "--tier", "sse", "-t", "1", "-p", "256", "-n", "64", "-r", "1"]
    lines = run(kinglet, *words, "-o", "jsonl", stderr=subprocess.DEVNULL).splitlines()
    found = [json.loads(line) for line in lines]
    return {test: line["avg_ts"] for test, line in zip(TESTS, found)}


def package_speed(package: Path, model: Path, program: tuple) -> dict[str, float]:
    _, tier, node, browser = program
    script = Path(__file__).with_name("measure.mjs")
    return json.loads(run(*node, script, package, model, tier, *browser))


def measure(options: argparse.Namespace, package: Path) -> list[dict[str, str]]:
    """Lines of a record: speeds, and ratios to the command's in the same round."""
    speeds = {test: {program[:2]: [] for program in PROGRAMS} for test in TESTS}
    ratios = {test: {program[:2]: [] for program in PROGRAMS} for test in TESTS}
    command = {test: [] for test in TESTS}
    for number in range(options.rounds):
        # Each round begins with the command, and ends with it the next time.
        turns = [None, *PROGRAMS] if number % 2 == 0 else [*reversed(PROGRAMS), None]
        round_speeds = {}
        for program in turns:
            if program is None:
                mine = native(options.kinglet, options.model)
            else:
                round_speeds[program[:2]] = package_speed(package, options.model, program)
        for test in TESTS:
            command[test].append(mine[test])
            for name, found in round_speeds.items():
                speeds[test][name].append(found[test])
                ratios[test][name].append(found[test] / mine[test])
        print(f"round {number + 1}: {mine}, {round_speeds}", file=sys.stderr)
    lines = []
    for test in TESTS:
        own = statistics.median(command[test])
        lines.append(line(test, "kinglet", "sse", f"{own:.0f}", "tokens/s"))
        for name in speeds[test]:
            speed = statistics.median(speeds[test][name])
            ratio = statistics.median(ratios[test][name])
            named = (called(name[0]), name[1])
            lines.append(line(test, *named, f"{speed:.0f}", "tokens/s"))
            lines.append(line(f"{test}, of sse", *named, f"{ratio:.2f}", "ratio"))
    return lines


def called(program: str) -> str:
    """A program's name with its version, where that is the system's."""
    version = run("node", "--version").removeprefix("v").split(".")[0]
    return f"Node {version}" if program == PROGRAMS[0][0] else program


def line(test: str, program: str, tier: str, value: str, unit: str) -> dict[str, str]:
    return {"test": test, "program": program, "tier": tier, "value": value, "unit": unit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=lambda path: Path(path).resolve())
    parser.add_argument("--kinglet", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", metavar="MACHINE", help="what the record says of the machine")
    options = parser.parse_args()
    package = install()
    check(package, options.model)
    print("installed; the example replies; tsc --strict takes the types")
    lines = measure(options, package)
    for found in lines:
        print(*found.values())
    if options.record:
        print("recorded in", append("wasm", lines, options.record))


main()
