"""Writes a GGUF file with the shape of a larger SmolLM2, seeded random weights, and the vocabulary
and settings of another file: `random_weights.py 360m|1.7b SOURCE OUTPUT`.

Speed and memory depend on the shape alone. The weights are 16-bit floats of about the size that
trained ones have.
"""

import sys
from dataclasses import dataclass

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter

from gguf_fields import copy_fields, write

HEAD_DIM = 64
DEVIATION = 0.03
SEED = 360


@dataclass(frozen=True)
class Shape:
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int

    def fields(self) -> dict[str, int]:
        return {
            "llama.block_count": self.layers,
            "llama.embedding_length": self.hidden,
            "llama.feed_forward_length": self.ffn,
            "llama.attention.head_count": self.heads,
            "llama.attention.head_count_kv": self.kv_heads,
            "llama.rope.dimension_count": HEAD_DIM,
        }

    def tensors(self, vocabulary: int):
        """Name and `[rows, columns]` of every tensor."""
        hidden, ffn, queries = self.hidden, self.ffn, self.heads * HEAD_DIM
        yield "token_embd.weight", (vocabulary, hidden)
        yield "output_norm.weight", (hidden,)
        for layer in range(self.layers):
            block = f"blk.{layer}."
            yield block + "attn_norm.weight", (hidden,)
            yield block + "attn_q.weight", (queries, hidden)
            yield block + "attn_k.weight", (self.kv_heads * HEAD_DIM, hidden)
            yield block + "attn_v.weight", (self.kv_heads * HEAD_DIM, hidden)
            yield block + "attn_output.weight", (hidden, queries)
            yield block + "ffn_norm.weight", (hidden,)
            yield block + "ffn_gate.weight", (ffn, hidden)
            yield block + "ffn_up.weight", (ffn, hidden)
            yield block + "ffn_down.weight", (hidden, ffn)


SHAPES = {"360m": Shape(960, 32, 15, 5, 2560), "1.7b": Shape(2048, 24, 32, 32, 8192)}


def main() -> None:
    size, source, output = sys.argv[1:]
    shape = SHAPES[size]
    reader = GGUFReader(source)
    writer = GGUFWriter(output, "llama", use_temp_file=True)
    copy_fields(reader, writer, shape.fields())
    random = np.random.default_rng(SEED)
    vocabulary = len(reader.fields["tokenizer.ggml.tokens"].data)
    for name, shape_of_tensor in shape.tensors(vocabulary):
        if len(shape_of_tensor) == 1:
            writer.add_tensor(name, np.ones(shape_of_tensor, np.float32))
        else:
            values = random.standard_normal(shape_of_tensor, np.float32) * DEVIATION
            writer.add_tensor(name, values.astype(np.float16), raw_dtype=GGMLQuantizationType.F16)
    write(writer)


main()
