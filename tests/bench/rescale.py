"""Writes a GGUF file that computes what another one does, in F32 and off the grid that its weights
were rounded to: `rescale.py SOURCE OUTPUT`.

Every channel is scaled by a seeded random factor of up to 10%, which cancels: norm gains against
the columns of the matrices behind them, value rows against output columns, up rows against down
columns. Weights that were published in 4 bits would otherwise flatter every 4-bit type.
"""

import sys

import numpy as np
from gguf import GGUFReader, GGUFWriter, dequantize

from gguf_fields import copy_fields, write

LARGEST = 0.1


def main() -> None:
    source, output = sys.argv[1:]
    reader = GGUFReader(source)
    writer = GGUFWriter(output, "llama", use_temp_file=True)
    copy_fields(reader, writer, {})
    weights = {t.name: dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
    random = np.random.default_rng(1)

    def factors(count: int) -> np.ndarray:
        return random.uniform(1 - LARGEST, 1 + LARGEST, count).astype(np.float32)

    def setting(name: str) -> int:
        return int(reader.fields[f"llama.{name}"].contents())

    queries_per_value = setting("attention.head_count") // setting("attention.head_count_kv")
    for layer in range(setting("block_count")):

        def tensor(name: str) -> np.ndarray:
            return weights[f"blk.{layer}.{name}.weight"]

        for norm, readers in [
            ("attn_norm", ["attn_q", "attn_k", "attn_v"]),
            ("ffn_norm", ["ffn_gate", "ffn_up"]),
        ]:
            scale = factors(len(tensor(norm)))
            tensor(norm)[:] *= scale
            for name in readers:
                tensor(name)[:] /= scale
        scale = factors(len(tensor("attn_v")))
        tensor("attn_v")[:] *= scale[:, None]
        heads = scale.reshape(setting("attention.head_count_kv"), -1)
        tensor("attn_output")[:] /= np.repeat(heads, queries_per_value, axis=0).reshape(-1)
        scale = factors(len(tensor("ffn_up")))
        tensor("ffn_up")[:] *= scale[:, None]
        tensor("ffn_down")[:] /= scale
    for name, values in weights.items():
        writer.add_tensor(name, values)
    write(writer)


main()
