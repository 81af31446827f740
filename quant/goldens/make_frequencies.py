"""The rotary frequencies that transformers computes: `frequencies.json`.

    pip install torch transformers==5.24.0
    python make_frequencies.py
"""

import json
import pathlib

from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

LLAMA_3 = {"factor": 8.0, "low": 1.0, "high": 4.0, "original_context": 8192}
LLAMA_32 = LLAMA_3 | {"factor": 32.0}
SHORT = {"factor": 3.0, "low": 1.0, "high": 4.0, "original_context": 64}
CASES = [
    {"kind": "default", "theta": 1e4, "head_dim": 48},
    {"kind": "default", "theta": 1e5, "head_dim": 8},
    {"kind": "linear", "theta": 1e4, "head_dim": 64, "factor": 2.0},
    {"kind": "linear", "theta": 1e6, "head_dim": 24, "factor": 2.5},
    {"kind": "llama3", "theta": 5e5, "head_dim": 128, **LLAMA_3},
    {"kind": "llama3", "theta": 5e5, "head_dim": 64, **LLAMA_32},
    {"kind": "llama3", "theta": 1e4, "head_dim": 32, **SHORT},
]


def frequencies(case):
    rope = {"rope_type": case["kind"], "rope_theta": case["theta"]}
    names = {
        "factor": "factor",
        "low": "low_freq_factor",
        "high": "high_freq_factor",
        "original_context": "original_max_position_embeddings",
    }
    rope |= {names[key]: case[key] for key in names if key in case}
    config = LlamaConfig(head_dim=case["head_dim"], rope_parameters=rope)
    return LlamaRotaryEmbedding(config).inv_freq.tolist()


cases = [case | {"frequencies": frequencies(case)} for case in CASES]
path = pathlib.Path(__file__).with_name("frequencies.json")
path.write_text(json.dumps(cases) + "\n")
