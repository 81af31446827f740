#!/usr/bin/env python3
"""Makes small models that are Llamas with details SmolLM does not have, and their reference values:
models/NAME and NAME.safetensors as make.py has them. Run by hand, never by the tests.

    pip install torch transformers==5.24.0 safetensors tokenizers gguf numpy
    python3 make_relatives.py
"""

import json

import make
import numpy as np
import torch
from transformers import LlamaConfig

# Widths that fill no blocks of 32 columns and heads that are no multiples of 16, too.
RELATIVES = {
    "llama3-biases": (
        dict(
            hidden=64, heads=4, kv_heads=2, head_dim=40, ffn=80, layers=2, vocab=353, tied=True,
            theta=1e4, nested_rope=False, dtype=torch.bfloat16, shards=1, seed=11,
        ),
        dict(
            attention_bias=True,
            mlp_bias=True,
            rope_scaling=dict(
                rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=32,
            ),
        ),
    ),
    "narrow-linear": (
        dict(
            hidden=16, heads=4, kv_heads=4, head_dim=4, ffn=44, layers=2, vocab=401, tied=False,
            theta=1e4, nested_rope=False, dtype=torch.float32, shards=1, seed=13,
        ),
        dict(rope_scaling=dict(type="linear", factor=2.0)),
    ),
}


def biases(state, shape):
    """A bias for each projection, as large as what it is added to."""
    rng = np.random.default_rng(100 + shape["seed"])
    for name, weights in state.items():
        if "_proj." in name:
            values = rng.standard_normal(weights.shape[0]).astype(np.float32) / 2
            yield name.replace(".weight", ".bias"), torch.from_numpy(values).to(shape["dtype"])


def main():
    """All of them."""
    source = make.HERE / "models" / "mha-head32" / "tokenizer.json"
    tokenizer = json.loads(source.read_text(encoding="utf-8"))
    for name, (shape, settings) in RELATIVES.items():
        state = make.small_state(shape)
        if settings.get("attention_bias"):
            state |= dict(biases(state, shape))
        folder = make.write_small(name, shape, state, tokenizer)
        make.write_json(folder / "config.json", make.small_config(shape) | settings)
        model = make.reference_model(LlamaConfig.from_pretrained(folder), state)
        rng = np.random.default_rng(1000 + shape["seed"])
        lengths = make.PROMPT_LENGTHS
        cases = [make.draw_case(model, rng, length, shape["vocab"]) for length in lengths]
        make.save_goldens(make.HERE / f"{name}.safetensors", model, cases, last_only=False)
        for prompt, logits, greedy, gap in cases:
            print(
                f"{name}: prompt {len(prompt)}, logits {logits.min():.2f} to {logits.max():.2f}, "
                f"{len(set(greedy))} different tokens, smallest gap {gap:.4f}"
            )


if __name__ == "__main__":
    main()
