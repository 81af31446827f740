#!/usr/bin/env python3
"""Answers the lines of a file on the workers of a Ray cluster:

    ./ray_batch.py model.kinglet questions.jsonl answers.jsonl --workers 2
    ./ray_batch.py model.kinglet questions.jsonl answers.jsonl --workers 8 --address auto

A line is an object of JSON with `messages` as for `Session.chat`, or with a `prompt`. It comes back
with its `reply`, its `stop_reason` and the number of `tokens`; or with the `error` and its `code`,
where it cannot be answered. Answers come in the order in which they are ready. Each worker has one
session; the model's file must be on every machine. What a lost worker was doing is done again.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import sys
from typing import Any, Iterable, Iterator

import kinglet
import ray

# Lines that a worker has at most: the next one is there when it has answered one.
LINES_PER_WORKER = 2


class Worker:
    """A session on some machine of the cluster."""

    def __init__(self, path: str, threads: int) -> None:
        self.session = kinglet.Session(kinglet.Model(path), threads=threads)

    def answer(self, line: dict[str, Any], max_tokens: int) -> tuple[dict[str, Any], str]:
        """The line with its answer, and who has answered."""
        worker = f"{os.uname().nodename}:{os.getpid()}"
        try:
            return {**line, **self.reply(line, max_tokens)}, worker
        except kinglet.KingletError as error:
            return {**line, "error": str(error), "code": error.code}, worker

    def reply(self, line: dict[str, Any], max_tokens: int) -> dict[str, Any]:
        if "messages" in line:
            reply = self.session.chat(line["messages"], max_tokens=max_tokens)
        else:
            self.session.reset()
            reply = self.session.generate(line["prompt"], max_tokens=max_tokens)
        text, result = reply.read(), reply.result
        return {"reply": text, "stop_reason": result.stop_reason.name, "tokens": result.tokens}


def answers(
    workers: list[Any], lines: Iterable[dict[str, Any]], max_tokens: int
) -> Iterator[tuple[dict[str, Any], str]]:
    """All lines with their answers. No more are in memory than the workers have."""
    free = workers * LINES_PER_WORKER
    working: dict[Any, Any] = {}

    def take() -> tuple[dict[str, Any], str]:
        (ready, *_), _ = ray.wait(list(working))
        free.append(working.pop(ready))
        answer: tuple[dict[str, Any], str] = ray.get(ready)
        return answer

    for line in lines:
        if not free:
            yield take()
        worker = free.pop(0)
        working[worker.answer.remote(line, max_tokens)] = worker
    while working:
        yield take()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("questions")
    parser.add_argument("answers")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="threads of each worker")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--address", help="a cluster's; without it, one on this machine")
    options = parser.parse_args()
    if options.address:
        ray.init(address=options.address)
    else:
        ray.init(num_cpus=options.workers * options.threads, include_dashboard=False)
    start = ray.remote(num_cpus=options.threads, max_restarts=-1, max_task_retries=3)(Worker)
    workers = [start.remote(options.model, options.threads) for _ in range(options.workers)]
    done: collections.Counter[str] = collections.Counter()
    with open(options.questions) as questions, open(options.answers, "w") as file:
        lines = (json.loads(line) for line in questions)
        for answer, worker in answers(workers, lines, options.max_tokens):
            file.write(json.dumps(answer) + "\n")
            done[worker] += 1
    for worker, count in sorted(done.items()):
        print(f"{worker}: {count} answers", file=sys.stderr)


if __name__ == "__main__":
    main()
