#!/usr/bin/env python3
"""Cuts a tokenizer.json down to its special tokens, its bytes and its first merges.

    make_small_tokenizer.py TOKENIZER_JSON > small-tokenizer.json

small-tokenizer.json was made from the one of HuggingFaceTB/SmolLM2-135M-Instruct (Apache-2.0),
whose alphabet lacks some bytes; the cut keeps them missing.
"""

import json
import sys

MERGES = 700


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        tokenizer = json.load(file)
    model = tokenizer["model"]
    merges = [m.split(" ") if isinstance(m, str) else m for m in model["merges"][:MERGES]]
    specials = [token["content"] for token in tokenizer["added_tokens"]]
    by_id = sorted(model["vocab"], key=model["vocab"].get)
    alphabet = [token for token in by_id if len(token) == 1]
    merged = dict.fromkeys(left + right for left, right in merges)
    tokens = [*specials, *alphabet, *merged]
    model["merges"] = [" ".join(pair) for pair in merges]
    model["vocab"] = {token: index for index, token in enumerate(tokens)}
    for token in tokenizer["added_tokens"]:
        token["id"] = model["vocab"][token["content"]]
    json.dump(tokenizer, sys.stdout, ensure_ascii=False, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
