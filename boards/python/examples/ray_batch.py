#!/usr/bin/env python3
"""Answers the lines of a file on the workers of a Ray cluster:

    ./ray_batch.py model.kinglet questions.jsonl answers.jsonl --workers 2
    ./ray_batch.py model.kinglet questions.jsonl answers.jsonl --workers 8 --address auto

A line is an object of JSON with `messages` as for `Session.chat`, or with a `prompt`. It comes back
with its `reply`, its `stop_reason` and the number of `tokens`; or with the `error` and its `code`,
where it cannot be answered. Answers come in the order in which they are ready. Each worker has one
session, which goes on with `--texts` lines in one pass; the model's file must be on every machine.
What a lost worker was doing is done again.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import os
import sys
from typing import Any, Iterable, Iterator

import kinglet
import ray

Line = dict[str, Any]

# Parts of the lines that a worker has at most: the next one is there when it has answered one.
PARTS_PER_WORKER = 2


class Worker:
    """A session on some machine of the cluster."""

    def __init__(self, path: str, threads: int, texts: int) -> None:
        model = kinglet.Model(path)
        self.session = kinglet.Session(model, threads=threads, texts=texts)
        self.context = self.session.info.context

    def answer(self, lines: list[Line], max_tokens: int) -> tuple[list[Line], str]:
        """The lines with their answers, made in one pass; and who has answered."""
        found = [dict(line) for line in lines]
        prompts = [self.prompt(line) for line in found]
        asked = [line for line, prompt in zip(found, prompts) if prompt]
        if asked:
            replies = self.session.generate_all(list(filter(None, prompts)), max_tokens=max_tokens)
            for line, text, result in zip(asked, replies.read(), replies.results):
                line.update(reply=text, stop_reason=result.stop_reason.name, tokens=result.tokens)
        return found, f"{os.uname().nodename}:{os.getpid()}"

    def prompt(self, line: Line) -> list[int]:
        """The tokens of a line's prompt; none where the line gets an error instead."""
        model = self.session.model
        try:
            if "messages" in line:
                tokens = model.chat_tokens(line["messages"])
            else:
                tokens = model.encode(line["prompt"])
        except kinglet.KingletError as error:
            line.update(error=str(error), code=error.code)
            return []
        if not 0 < len(tokens) <= self.context:
            error = f"the prompt has {len(tokens)} tokens, the context {self.context}"
            line.update(error=error, code=401)
            return []
        return tokens


def answers(
    workers: list[Any], lines: Iterable[Line], texts: int, max_tokens: int
) -> Iterator[tuple[list[Line], str]]:
    """All lines with their answers. No more are in memory than the workers have."""
    free = workers * PARTS_PER_WORKER
    working: dict[Any, Any] = {}

    def take() -> tuple[list[Line], str]:
        (ready, *_), _ = ray.wait(list(working))
        free.append(working.pop(ready))
        answer: tuple[list[Line], str] = ray.get(ready)
        return answer

    rest = iter(lines)
    while part := list(itertools.islice(rest, texts)):
        if not free:
            yield take()
        worker = free.pop(0)
        working[worker.answer.remote(part, max_tokens)] = worker
    while working:
        yield take()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("questions")
    parser.add_argument("answers")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="threads of each worker")
    parser.add_argument("--texts", type=int, default=4, help="lines of one pass, up to 8")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--address", help="a cluster's; without it, one on this machine")
    options = parser.parse_args()
    if options.address:
        ray.init(address=options.address)
    else:
        ray.init(num_cpus=options.workers * options.threads, include_dashboard=False)
    start = ray.remote(num_cpus=options.threads, max_restarts=-1, max_task_retries=3)(Worker)
    given = (options.model, options.threads, options.texts)
    workers = [start.remote(*given) for _ in range(options.workers)]
    done: collections.Counter[str] = collections.Counter()
    with open(options.questions) as questions, open(options.answers, "w") as file:
        lines = (json.loads(line) for line in questions)
        for part, worker in answers(workers, lines, options.texts, options.max_tokens):
            file.writelines(json.dumps(answer) + "\n" for answer in part)
            done[worker] += len(part)
    for worker, count in sorted(done.items()):
        print(f"{worker}: {count} answers", file=sys.stderr)


if __name__ == "__main__":
    main()
