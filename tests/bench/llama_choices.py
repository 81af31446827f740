#!/usr/bin/env python3
"""Log likelihoods of the choices in a file by `llama-cpp-python`, as `kinglet eval --choices
--json` prints them.

    llama_choices.py MODEL.gguf QUESTIONS.jsonl --threads 2
"""

import argparse
import json

import llama_cpp
import numpy


class Scorer:
    """A model, and one text of it."""

    def __init__(self, model: str, threads: int) -> None:
        self.model = llama_cpp.Llama(
            model, n_ctx=2048, n_batch=512, n_threads=threads, n_threads_batch=threads,
            logits_all=True, verbose=False,
        )  # fmt: skip
        self.begin = llama_cpp.llama_vocab_eos(self.model._model.vocab)
        # What the model has read last; its logits and cache stay there.
        self.read: list[int] = []

    def tokens(self, text: str) -> list[int]:
        return self.model.tokenize(text.encode(), add_bos=False, special=True)

    def log_likelihoods(self, context: str, choices: list[str]) -> list[float]:
        """As lm-eval cuts and counts: blanks at the end of the context belong to the choice."""
        prefix = self.tokens(context.rstrip()) or [self.begin]
        return [self.one(prefix, context, choice) for choice in choices]

    def one(self, prefix: list[int], context: str, choice: str) -> float:
        tokens = self.tokens(context + choice)
        if not context.rstrip():
            tokens.insert(0, self.begin)
        # What this text has in common with the last one is not read again.
        same = [a == b for a, b in zip(self.read, tokens[:-1])]
        self.model.n_tokens = (same + [False]).index(False)
        self.read = tokens[:-1]
        if self.model.n_tokens < len(self.read):
            self.model.eval(self.read[self.model.n_tokens :])
        first, width = len(prefix), self.model.n_vocab()
        logits = self.model.scores[first - 1 : len(tokens) - 1, :width].astype(numpy.float64)
        highest = logits.max(axis=1, keepdims=True)
        norms = highest[:, 0] + numpy.log(numpy.exp(logits - highest).sum(axis=1))
        chosen = logits[numpy.arange(len(norms)), tokens[first:]]
        return float((chosen - norms).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("questions")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    scorer = Scorer(args.model, args.threads)
    with open(args.questions, encoding="utf-8") as file:
        questions = [json.loads(line) for line in file if line.strip()]
    found = [scorer.log_likelihoods(q["context"], q["choices"]) for q in questions]
    print(json.dumps({"questions": len(questions), "log_likelihoods": found}))


main()
