"""What transformers reads from config.json, in the spellings that there are: `configs.json`.

    pip install transformers==5.24.0
    python make_configs.py
"""

import json
import pathlib

from transformers import LlamaConfig

BASE = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 970,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 48,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 20000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}

# Changes of the settings; `...` takes a key away.
CHANGES = {
    "as it is": {},
    "rope_scaling null": {"rope_scaling": None},
    "type and rope_type": {"rope_scaling": {"type": "default", "rope_type": "default"}},
    "linear by 1": {"rope_scaling": {"type": "linear", "factor": 1.0}},
    "linear by 1, an integer": {"rope_scaling": {"rope_type": "linear", "factor": 1}},
    "linear by 2": {"rope_scaling": {"type": "linear", "factor": 2.0}},
    "linear by 2, in both spellings": {
        "rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 2.0}
    },
    "theta in rope_parameters": {
        "rope_theta": ...,
        "rope_parameters": {"rope_theta": 30000.0, "rope_type": "default"},
    },
    "theta in rope_parameters and beside": {
        "rope_parameters": {"rope_theta": 30000.0, "rope_type": "default"},
    },
    "theta in rope_scaling": {
        "rope_theta": ...,
        "rope_scaling": {"rope_theta": 30000.0, "rope_type": "default"},
    },
    "theta in rope_scaling and beside": {
        "rope_scaling": {"rope_theta": 30000.0, "rope_type": "default"},
    },
    "theta in both": {
        "rope_scaling": {"rope_theta": 30000.0, "rope_type": "default"},
        "rope_parameters": {"rope_theta": 40000.0, "rope_type": "default"},
    },
    "an empty rope_scaling": {
        "rope_scaling": {},
        "rope_parameters": {"rope_theta": 40000.0, "rope_type": "default"},
    },
    "no theta": {"rope_theta": ...},
    "theta an integer": {"rope_theta": 20000},
    "llama3": {
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 256,
        }
    },
    "yarn": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
    "head size left out": {"head_dim": ...},
    "head size null": {"head_dim": None},
    "key heads null": {"num_key_value_heads": None},
    "defaults": {"rms_norm_eps": ..., "max_position_embeddings": ..., "tie_word_embeddings": ...},
    "no token": {"pad_token_id": None, "bos_token_id": None},
}


def read(change):
    settings = {key: value for key, value in (BASE | change).items() if value is not ...}
    config = LlamaConfig.from_dict(json.loads(json.dumps(settings)))
    rope = config.rope_parameters
    is_refused = rope["rope_type"] not in ("default", "linear", "llama3")
    return {
        "settings": settings,
        "is_refused": is_refused,
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "max_context": config.max_position_embeddings,
        "rms_eps": config.rms_norm_eps,
        "rope_theta": rope["rope_theta"],
        "tied": config.tie_word_embeddings,
    }


cases = {name: read(change) for name, change in CHANGES.items()}
path = pathlib.Path(__file__).with_name("configs.json")
path.write_text(json.dumps(cases, indent=1) + "\n")
