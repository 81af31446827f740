#!/usr/bin/env python3
"""Decode speed with and without speculation, in alternating runs of `kinglet run`.

    python3 tests/bench/speculation.py target/release/kinglet MODEL.kinglet --threads 2

Some tasks copy much of a text (`article.txt`), as editing, extraction and summaries do; others write
freely, so that there is little to look up. Every run is greedy, and both ways must give the same
tokens. Reported is the median over pairs of runs, with the order of the two swapped each time.
"""

import argparse
import json
import statistics
import subprocess
from pathlib import Path

ARTICLE = Path(__file__).with_name("article.txt").read_text(encoding="utf-8")

COPYING = {
    "edit: spelling": "Repeat the following text word by word, and fix spelling mistakes.\n\n{}",
    "edit: one word": "Rewrite this text exactly, but call the county Norfolk.\n\n{}",
    "edit: markdown": "Format this text as Markdown with a heading, keep every sentence.\n\n{}",
    "extract: people": "{}\n\nQuote every sentence of the text that names a person.",
    "extract: numbers": "{}\n\nList all sentences of the text that contain a number.",
    "extract: museum": "{}\n\nWhat does the text say about the restoration? Quote it.",
    "summary: short": "Summarize the following text.\n\n{}",
    "summary: points": "Summarize this text as a list of bullet points.\n\n{}",
    "summary: sections": "{}\n\nSummarize each paragraph of the text in one sentence.",
}

WRITING = {
    "story": "Write a short story about a fox who learns to read.",
    "letter": "Write a letter to a friend about moving to a new city.",
    "explain": "Explain how a refrigerator works.",
    "opinion": "What are the advantages and disadvantages of working at night?",
    "recipe": "How do I bake bread with a sourdough starter?",
    "code": "Write a Python function that reads a CSV file and prints the mean of each column.",
    "poem": "Write a poem about autumn rain.",
    "question on the text": ARTICLE + "\n\nWhy do people like old buildings? Use your own words.",
}


def as_chat(message):
    """The message in the template of SmolLM2's instruction-tuned models."""
    return f"<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\n"


def run(options, prompt, *flags):
    """One run's document."""
    command = [options.kinglet, "--quiet", "run", options.model, "--json", "--temp", "0"]
    command += ["--threads", str(options.threads), "-n", str(options.tokens), *flags]
    output = subprocess.run([*command, "-p", prompt], check=True, stdout=subprocess.PIPE)
    return json.loads(output.stdout)


def compare(options, prompt):
    """Ratios of decode speed of each pair, and the last document of each way."""
    ratios = []
    for pair in range(options.pairs):
        flags = [[], ["--no-speculation"]]
        documents = [run(options, prompt, *f) for f in (flags if pair % 2 else flags[::-1])]
        with_it, without = documents if pair % 2 else documents[::-1]
        assert with_it["tokens"] == without["tokens"], "speculation changed the text"
        ratios.append(with_it["decode_tps"] / without["decode_tps"])
    return ratios, with_it, without


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinglet", help="the program")
    parser.add_argument("model", help="a .kinglet file of an instruction-tuned SmolLM2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=256, help="tokens to generate at most")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each way")
    options = parser.parse_args()
    print("| task | tokens | plain tok/s | accepted / drafted | times plain (median) | least |")
    print("|---|---|---|---|---|---|")
    for kind, tasks in (("copying", COPYING), ("writing", WRITING)):
        medians = []
        for name, task in tasks.items():
            ratios, with_it, without = compare(options, as_chat(task.format(ARTICLE)))
            medians.append(statistics.median(ratios))
            drafts = f"{with_it['accepted_tokens']} / {with_it['drafted_tokens']}"
            print(
                f"| {name} | {len(without['tokens'])} | {without['decode_tps']:.0f} | {drafts} "
                f"| {medians[-1]:.2f} | {min(ratios):.2f} |",
                flush=True,
            )
        mean = statistics.geometric_mean(medians)
        print(f"| **{kind}** | | | | **{mean:.2f}** (mean) | {min(medians):.2f} (median) |")


if __name__ == "__main__":
    main()
