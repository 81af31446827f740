#!/usr/bin/env python3
"""Checks JSON schemas on the JSON-Schema-Test-Suite, with the real model.

    tests/schemas/check.py MODEL.kinglet [--replies 3] [--record schemas]

The suite (draft 2020-12) comes with the source package of PyPI's `jsonschema`. Of each schema that
Kinglet accepts, replies of the model must be valid by that package, and what the suite calls valid
must be something that a reply could be. Kinglet writes the properties of an object in the order of
the schema and does not write those that only `patternProperties` or nothing names in between, so
instances are put into that order first. Exit code 1: a reply is not valid.
"""

import argparse
import collections
import json
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "bench"))

import record  # noqa: E402

PACKAGE = "jsonschema==4.26.0"
FOLDER = ROOT / "target/schemas"
SUITE = "json/tests/draft2020-12/"


def prepare() -> tuple[Path, Path]:
    """The suite's archive, and an interpreter that has the package."""
    venv, archive = FOLDER / "venv", FOLDER / f"{PACKAGE.replace('==', '-')}.tar.gz"
    python = venv / "bin/python"
    if not archive.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        pip = [python, "-m", "pip", "-q"]
        subprocess.run([*pip, "install", PACKAGE], check=True)
        fetch = ["download", "--no-deps", "--no-binary", "jsonschema", "-d", FOLDER, PACKAGE]
        subprocess.run([*pip, *fetch], check=True)
    return archive, python


def groups(archive: Path) -> list[dict]:
    """The suite's schemas with their instances; those in folders of optional things are not."""
    found = []
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getnames()):
            name = member.partition(SUITE)[2]
            if name.endswith(".json") and "/" not in name:
                for group in json.load(tar.extractfile(member)):
                    found.append({**group, "file": name.removesuffix(".json")})
    return found


def in_order(instance, schema):
    """The instance with properties in the order that the schema has them, the rest behind."""
    if not isinstance(schema, dict):
        return instance
    if isinstance(instance, list):
        return [in_order(item, schema.get("items")) for item in instance]
    if not isinstance(instance, dict):
        return instance
    known = schema.get("properties", {})
    names = [name for name in known if name in instance]
    names += [name for name in instance if name not in known]
    return {name: in_order(instance[name], known.get(name)) for name in names}


def texts(group: dict) -> list[str]:
    valid = [test["data"] for test in group["tests"] if test["valid"]]
    return [json.dumps(in_order(data, group["schema"]), ensure_ascii=False) for data in valid]


VALIDATE = """
import json, sys
from jsonschema import Draft202012Validator
for line in sys.stdin:
    schema, texts = json.loads(line)
    validator = Draft202012Validator(schema)
    print(json.dumps([validator.is_valid(json.loads(text)) for text in texts]), flush=True)
"""


def asked(command: list, questions: list) -> list:
    """The answers of a program that reads and writes lines of JSON."""
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    done = subprocess.run(command, input=lines, stdout=subprocess.PIPE, check=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--replies", type=int, default=3)
    parser.add_argument("--record", metavar="NAME", help="add the figures to records/NAME.csv")
    parser.add_argument("--machine", help="what the record calls the machine")
    args = parser.parse_args()
    archive, python = prepare()
    build = ["cargo", "build", "--release", "--quiet", "-p", "kinglet-tests", "--bin", "schemas"]
    subprocess.run(build, cwd=ROOT, check=True)
    suite = groups(archive)
    questions = [
        {"schema": group["schema"], "instances": texts(group), "replies": args.replies}
        for group in suite
    ]
    answers = asked([ROOT / "target/release/schemas", args.model], questions)
    figures, refusals, missing = collections.Counter(schemas=len(suite)), collections.Counter(), []
    whole = []
    for group, question, answer in zip(suite, questions, answers, strict=True):
        if "refused" in answer:
            figures["schemas refused"] += 1
            refusals[answer["refused"]] += 1
            continue
        figures["schemas accepted"] += 1
        figures["valid instances"] += len(answer["fits"])
        figures["valid instances that fit"] += sum(answer["fits"])
        for text, fits in zip(question["instances"], answer["fits"], strict=True):
            if not fits:
                missing.append((group["file"], group["description"], text))
        figures["replies"] += len(answer["replies"])
        ended = [reply for reply in answer["replies"]]
        for reply in ended:
            if reply["ended_by"] not in ("complete", "end_of_text", "max_tokens"):
                print(f"{group['file']}: {group['description']}: {reply}")
                figures["replies that failed"] += 1
        done = [r["text"] for r in ended if r["ended_by"] in ("complete", "end_of_text")]
        figures["replies that were cut"] += sum(r["ended_by"] == "max_tokens" for r in ended)
        whole.append((group, done))
    verdicts = asked([python, "-c", VALIDATE], [(group["schema"], done) for group, done in whole])
    for (group, done), valid in zip(whole, verdicts, strict=True):
        figures["whole replies"] += len(valid)
        figures["whole replies that are valid"] += sum(valid)
        for text, is_valid in zip(done, valid, strict=True):
            if not is_valid:
                print(f"not valid: {group['file']}: {group['description']}: {text}")
    for file, description, text in missing:
        print(f"does not fit: {file}: {description}: {text}")
    for refusal, count in refusals.most_common():
        print(f"refused {count} times: {refusal}")
    for name, count in figures.items():
        print(f"{name}: {count}")
    if args.record:
        lines = [{"what": name, "count": str(count)} for name, count in figures.items()]
        record.append(args.record, lines, args.machine)
    sys.exit(figures["whole replies"] != figures["whole replies that are valid"])


if __name__ == "__main__":
    main()
