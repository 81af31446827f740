"""Writes a GGUF file with the shape of SmolLM2-360M, seeded random weights, and the vocabulary and
settings of another file: `random_360m.py SOURCE OUTPUT`.

Speed depends on the shape alone. The weights are 16-bit floats of about the size that trained ones
have.
"""

import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FFN = 960, 32, 15, 5, 64, 2560
SHAPE = {
    "llama.block_count": LAYERS,
    "llama.embedding_length": HIDDEN,
    "llama.feed_forward_length": FFN,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": KV_HEADS,
    "llama.rope.dimension_count": HEAD_DIM,
}
WRITTEN_BY_THE_LIBRARY = ["GGUF.version", "GGUF.tensor_count", "GGUF.kv_count"]
DEVIATION = 0.03


def copy_fields(reader: GGUFReader, writer: GGUFWriter) -> None:
    skipped = [*WRITTEN_BY_THE_LIBRARY, "general.architecture", "general.file_type"]
    for name, field in reader.fields.items():
        if name in skipped:
            continue
        value = SHAPE.get(name, field.contents())
        items = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], items)


def shapes(vocabulary: int):
    """Name and `[rows, columns]` of every tensor."""
    yield "token_embd.weight", (vocabulary, HIDDEN)
    yield "output_norm.weight", (HIDDEN,)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", (HIDDEN,)
        yield block + "attn_q.weight", (HEADS * HEAD_DIM, HIDDEN)
        yield block + "attn_k.weight", (KV_HEADS * HEAD_DIM, HIDDEN)
        yield block + "attn_v.weight", (KV_HEADS * HEAD_DIM, HIDDEN)
        yield block + "attn_output.weight", (HIDDEN, HEADS * HEAD_DIM)
        yield block + "ffn_norm.weight", (HIDDEN,)
        yield block + "ffn_gate.weight", (FFN, HIDDEN)
        yield block + "ffn_up.weight", (FFN, HIDDEN)
        yield block + "ffn_down.weight", (HIDDEN, FFN)


def main() -> None:
    source, output = sys.argv[1:]
    reader = GGUFReader(source)
    writer = GGUFWriter(output, "llama", use_temp_file=True)
    copy_fields(reader, writer)
    random = np.random.default_rng(360)
    vocabulary = len(reader.fields["tokenizer.ggml.tokens"].data)
    for name, shape in shapes(vocabulary):
        if len(shape) == 1:
            writer.add_tensor(name, np.ones(shape, np.float32))
        else:
            values = random.standard_normal(shape, np.float32) * DEVIATION
            writer.add_tensor(name, values.astype(np.float16), raw_dtype=GGMLQuantizationType.F16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
