#!/usr/bin/env python3
"""Checks that lm-eval's `local-completions` finds with `kinglet serve` what `kinglet eval` finds.

    tests/serve/likelihoods.py MODEL --tokenizer FOLDER [--questions FILE]
                               [--kinglet target/release/kinglet]

MODEL is what `kinglet serve` takes, FOLDER has its tokenizer as Hugging Face publishes it; a
small model of the tests' goldens will do. Log likelihoods must be those of `kinglet eval
--choices` within 1e-5. Whether a choice is greedy must be what the server itself writes at
temperature 0. As random choices hardly are, every question gets the greedy continuation as one
more choice. The package is installed into target/serve/likelihoods. Exit code 1: something
differs.
"""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

from served import FOLDER, KEY, ROOT, arguments, prepare, server

PACKAGES = ["lm_eval[api]==0.4.13", "transformers==5.24.0"]
LARGEST_DIFFERENCE = 1e-5
GREEDY_TOKENS = 4


def ask(address: str, prompt: str | list[int], tokens: int) -> str:
    """The greedy continuation of a text."""
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0}
    head = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        f"{address}/v1/completions", json.dumps(body).encode(), headers=head
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]["text"]


def with_greedy_choices(questions: Path, address: str) -> Path:
    """The questions, each with its greedy continuation among the choices."""
    target = FOLDER / "questions.jsonl"
    lines = [json.loads(line) for line in questions.read_text().splitlines() if line.strip()]
    for line in lines:
        # A text that begins with the context alone is cut into tokens as lm-eval cuts it.
        if line["context"].strip():
            line["context"] = line["context"].rstrip()
            line["choices"].append(ask(address, line["context"], GREEDY_TOKENS))
    target.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return target


def by_lm_eval(address: str, tokenizer: str, questions: Path) -> list[list[tuple[float, bool]]]:
    """For each question, how likely every choice is, and whether it is greedy."""
    import lm_eval
    import yaml

    task = yaml.safe_load(Path(__file__).with_name("choices.yaml").read_text())
    task["dataset_kwargs"] = {"data_files": {"test": str(questions)}}
    # An empty context stands for the token that ends texts, as in `kinglet eval`.
    settings = {
        "model": "kinglet", "base_url": f"{address}/v1/completions", "tokenizer": tokenizer,
        "tokenizer_backend": "huggingface", "custom_prefix_token_id": end_token(tokenizer),
        "batch_size": 3,
    }  # fmt: skip
    found = lm_eval.simple_evaluate(
        "local-completions", settings, [task], log_samples=True, bootstrap_iters=0
    )
    samples = sorted(found["samples"]["kinglet_choices"], key=lambda sample: sample["doc_id"])
    answers = [[response for (response,) in sample["resps"]] for sample in samples]
    unique = {sample["doc_id"]: answer for sample, answer in zip(samples, answers)}
    return list(unique.values())


def end_token(tokenizer: str) -> int:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(tokenizer).eos_token_id


def is_greedy(address: str, tokenizer: str, context: str, choice: str) -> bool:
    """Whether the server writes a choice by itself."""
    import transformers

    words = transformers.AutoTokenizer.from_pretrained(tokenizer)
    prefix = words(context.rstrip(), add_special_tokens=False).input_ids
    whole = words(context + choice, add_special_tokens=False).input_ids
    if not prefix:
        prefix, whole = [words.eos_token_id], [words.eos_token_id, *whole]
    return ask(address, prefix, len(whole) - len(prefix)) == words.decode(whole[len(prefix) :])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--questions", type=Path, default=ROOT / "tests/goldens/choices.jsonl")
    args = parser.parse_args()
    prepare("likelihoods", PACKAGES)
    os.environ.update({"OPENAI_API_KEY": KEY, "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"})
    with server(args.kinglet, args.model) as address:
        questions = with_greedy_choices(args.questions, address)
        found = by_lm_eval(address, args.tokenizer, questions)
        lines = [json.loads(line) for line in questions.read_text().splitlines()]
        greedy = [
            [is_greedy(address, args.tokenizer, line["context"], c) for c in line["choices"]]
            for line in lines
        ]
    command = [args.kinglet, "-q", "eval", args.model, "--json", "--choices", questions]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    expected = json.loads(done)["log_likelihoods"]
    assert [len(sums) for sums in found] == [len(sums) for sums in expected]
    pairs = [pair for f, e in zip(found, expected) for pair in zip(f, e)]
    largest = max(abs(float(sum_) - known) for (sum_, _), known in pairs)
    assert largest < LARGEST_DIFFERENCE, f"log likelihoods differ by {largest}"
    assert [[flag for _, flag in sums] for sums in found] == greedy, (found, greedy)
    count = sum(map(sum, greedy))
    assert count >= len(lines) / 2, "hardly any choice is greedy, so that nothing is shown"
    print(f"lm-eval: {len(pairs)} log likelihoods within {largest:.1e}, {count} of them greedy")


if __name__ == "__main__":
    main()
