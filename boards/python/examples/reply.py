#!/usr/bin/env python3
"""Streams a model's reply to one message:

./reply.py smollm2-135m-instruct.kinglet "What is a kinglet?"
"""

import sys

import kinglet


def main(path: str, content: str) -> None:
    with kinglet.Model(path) as model, kinglet.Session(model) as session:
        for piece in session.chat([{"role": "user", "content": content}], max_tokens=128):
            print(piece.text, end="", flush=True)
        print()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
