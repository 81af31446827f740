"""Makes every_type.gguf, a tiny llama model with a tensor of every supported GGUF type, and
every_type.json, the SHA-256 of each tensor's f32 values as the package `gguf` decodes them.

    pip install gguf numpy && python3 make_every_type.py

The blocks are random bytes with finite scales, so every bit of every field matters. Query and key rows
are permuted as llama.cpp's converter does; the hashes are of the rows in Hugging Face's order.
"""

import hashlib
import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

HIDDEN, FFN, HEADS, KV_HEADS, HEAD_DIM, LAYERS = 256, 32, 2, 1, 16, 3
DATA = Path(__file__).parent
# Where the f16 scales lie in a block.
SCALES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.IQ4_NL: [0], T.IQ4_XS: [0],
}
# Matrices of 32 columns cannot have the types with blocks of 256.
TYPES = {
    0: {"attn_q": T.Q4_K, "attn_k": T.Q5_K, "attn_v": T.Q6_K, "attn_output": T.Q4_0,
        "ffn_gate": T.Q4_1, "ffn_up": T.Q5_0, "ffn_down": T.Q5_1},
    1: {"attn_q": T.F16, "attn_k": T.BF16, "attn_v": T.Q4_K, "attn_output": T.F32,
        "ffn_gate": T.Q6_K, "ffn_up": T.Q5_K, "ffn_down": T.Q8_0},
    2: {"attn_q": T.Q2_K, "attn_k": T.Q3_K, "attn_v": T.IQ4_XS, "attn_output": T.IQ4_NL,
        "ffn_gate": T.Q3_K, "ffn_up": T.Q2_K, "ffn_down": T.IQ4_NL},
}
random = np.random.default_rng(1)


def blocks(kind, rows, cols):
    """Encoded rows of a type."""
    if kind not in SCALES:
        values = random.standard_normal((rows, cols), dtype=np.float32)
        if kind == T.BF16:
            return gguf.quants.quantize(values, kind)
        return values.astype(np.float16 if kind == T.F16 else np.float32)
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    data = random.integers(0, 256, (rows * cols // elements, size), dtype=np.uint8)
    for at in SCALES[kind]:
        scale = random.standard_normal(len(data)).astype(np.float16)
        data[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return data.reshape(rows, -1)


def unpermute(values, heads):
    """Inverse of `LlamaModel.permute` in llama.cpp's convert_hf_to_gguf.py."""
    rows, cols = values.shape
    return values.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def byte_alphabet():
    """GPT-2's printable character for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return [chr(b) if b in plain else chr(256 + others.index(b)) for b in range(256)]


def main():
    DATA.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(DATA / "every_type.gguf", "llama")
    writer.add_name("Every type")
    writer.add_license("apache-2.0")
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *byte_alphabet(), "he"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * 257)
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{{ messages }}")
    hashes = {}

    def add(name, label, kind, rows, cols, heads=None):
        data = blocks(kind, rows, cols)
        writer.add_tensor(name, data, raw_dtype=kind)
        values = gguf.quants.dequantize(data, kind).reshape(rows, cols)
        if heads:
            values = unpermute(values, heads)
        values = np.ascontiguousarray(values, dtype="<f4")
        hashes[label] = {"type": kind.name, "sha256": hashlib.sha256(values).hexdigest()}

    def add_norm(name, label):
        values = random.standard_normal(HIDDEN, dtype=np.float32)
        writer.add_tensor(name, values)
        hashes[label] = {"type": "F32", "sha256": hashlib.sha256(values).hexdigest()}

    add("token_embd.weight", "embedding", T.Q4_0, len(tokens), HIDDEN)
    add("output.weight", "head", T.Q6_K, len(tokens), HIDDEN)
    add_norm("output_norm.weight", "final_norm")
    q_dim, kv_dim = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    shapes = {
        "attn_q": ("q", q_dim, HIDDEN, HEADS), "attn_k": ("k", kv_dim, HIDDEN, KV_HEADS),
        "attn_v": ("v", kv_dim, HIDDEN), "attn_output": ("o", HIDDEN, q_dim),
        "ffn_gate": ("gate", FFN, HIDDEN), "ffn_up": ("up", FFN, HIDDEN),
        "ffn_down": ("down", HIDDEN, FFN),
    }
    for layer, types in TYPES.items():
        for norm in ["attn_norm", "ffn_norm"]:
            add_norm(f"blk.{layer}.{norm}.weight", f"layers.{layer}.{norm}")
        for part, (role, *shape) in shapes.items():
            add(f"blk.{layer}.{part}.weight", f"layers.{layer}.{role}", types[part], *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (DATA / "every_type.json").write_text(json.dumps(hashes, indent=1) + "\n")


main()
