#!/usr/bin/env python3
"""Makes the adapters in `lora` and what `peft` makes of them. Run by hand, never by the tests.

Needs Python 3.10 or later and
    pip install torch transformers peft safetensors gguf numpy

    make_lora.py        lora/NAME for each adapter, lora/plain.gguf, lora/merged.json

`merged.json` has for each case the model, the adapters with their scales, whether the head is still
the embedding, and the SHA-256 of each tensor that differs from the model's own, as f32. The models
are loaded in f32, the adapters' stored values are bf16 or f32.

Where the head is the embedding, `peft` adds updates of either to both when it merges, which is not
what was trained: the values here are those of a model whose head was parted from its embedding
before, as `peft` advises, and the script checks that it computes what the adapter does unmerged.
"""

import hashlib
import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

HERE = Path(__file__).resolve().parent
LORA = HERE / "lora"
UNTIED, TIED = "gqa3-head32-untied", "mqa4-head32"
LAYER_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# Names of models and settings of adapters, each with a dtype to store it in.
ADAPTERS = {
    "style": (UNTIED, torch.bfloat16, dict(
        r=4, lora_alpha=6, use_rslora=True,
        target_modules=LAYER_MODULES + ["embed_tokens", "lm_head"],
        rank_pattern={"layers.0.self_attn.q_proj": 9, r"layers.1.mlp.(gate|up)_proj": 3},
        alpha_pattern={"^model.layers.1.self_attn.v_proj": 11, "self_attn.v_proj": 2.5},
    )),
    "task": (UNTIED, torch.float32, dict(
        r=16, lora_alpha=8, fan_in_fan_out=True, target_modules=r".*\.(q_proj|down_proj)",
    )),
    "plain": (UNTIED, torch.float32, dict(
        r=4, lora_alpha=7, target_modules=["q_proj", "k_proj", "o_proj", "embed_tokens", "lm_head"],
    )),
    "tied": (TIED, torch.bfloat16, dict(
        r=2, lora_alpha=3, target_modules=["q_proj", "embed_tokens"], modules_to_save=["norm"],
    )),
    "tying": (TIED, torch.bfloat16, dict(
        r=2, lora_alpha=3, target_modules=["embed_tokens"], ensure_weight_tying=True,
    )),
}  # fmt: skip

# Cases: a model and adapters with scales.
CASES = {
    "patterns": (UNTIED, [("style", 1.0)]),
    "two": (UNTIED, [("style", 0.75), ("task", -0.5)]),
    "plain": (UNTIED, [("plain", 1.0)]),
    "tied": (TIED, [("tied", 1.0)]),
    "tying": (TIED, [("tying", 0.5)]),
}


def load(name, **settings):
    """A small model in f32."""
    folder = HERE / "models" / name
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, **settings).eval()


def parted(name):
    """A small model with a head of its own that has the embedding's values."""
    model = load(name, tie_word_embeddings=False)
    model.lm_head.weight.data = model.model.embed_tokens.weight.data.clone()
    return model


def make_adapter(name, base, dtype, settings):
    """One random adapter, as `peft` saves it."""
    folder = LORA / name
    config = LoraConfig(init_lora_weights=False, **settings)
    model = get_peft_model(load(base), config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.dim() == 1:
                parameter += torch.randn_like(parameter) / 8
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    weights = folder / "adapter_model.safetensors"
    tensors = {key: value.to(dtype) for key, value in load_file(weights).items()}
    save_file(tensors, weights, {"format": "pt"})
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base
    # `peft` keeps sets of names, whose order changes from run to run.
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2) + "\n")


def permute(weights, heads):
    """`LlamaModel.permute` of llama.cpp's converter: neighbouring rows become pairs."""
    rows, cols = weights.shape
    halves = weights.reshape(heads, 2, rows // heads // 2, cols)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, cols))


def make_gguf(name):
    """An adapter as llama.cpp's `convert_lora_to_gguf.py` writes it."""
    config = json.loads((LORA / name / "adapter_config.json").read_text())
    shape = json.loads((HERE / "models" / UNTIED / "config.json").read_text())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, shape["num_hidden_layers"])
    writer = gguf.GGUFWriter(LORA / f"{name}.gguf", "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, config["lora_alpha"])
    tensors = load_file(LORA / name / "adapter_model.safetensors")
    for key, tensor in sorted(tensors.items()):
        module, factor = key.removeprefix("base_model.model.").split(".lora_")
        module, factor = module.removesuffix("."), factor.replace("embedding_", "")[0].lower()
        values, heads = tensor.float().numpy(), shape["num_attention_heads"]
        if factor == "b" and module.endswith("q_proj"):
            values = permute(values, heads)
        if factor == "b" and module.endswith("k_proj"):
            values = permute(values, shape["num_key_value_heads"])
        if factor == "a" and module.endswith("embed_tokens"):
            values = np.ascontiguousarray(values.T)
        writer.add_tensor(f"{names.get_name(module)}.weight.lora_{factor}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def wrap(model, adapters):
    """A model with adapters at their scales, not merged."""
    wrapped = None
    for name, scale in adapters:
        if wrapped is None:
            wrapped = PeftModel.from_pretrained(model, LORA / name, adapter_name=name)
        else:
            wrapped.load_adapter(LORA / name, adapter_name=name)
        for module in wrapped.modules():
            if hasattr(module, "set_scale") and name in module.scaling:
                module.set_scale(name, scale)
    wrapped.base_model.set_adapter([name for name, _ in adapters])
    return wrapped.eval()


@torch.no_grad()
def merge(base, adapters):
    """What `peft` makes of a model and adapters, and whether the head is still the embedding."""
    is_tied = load(base).config.tie_word_embeddings
    names = [name for name, _ in adapters]
    unmerged = wrap(load(base), adapters)
    tokens = torch.arange(3, 60)[None]
    wanted = unmerged(tokens).logits
    merged = wrap(parted(base) if is_tied else load(base), adapters)
    merged = merged.merge_and_unload(adapter_names=names)
    if is_tied and any(ADAPTERS[name][2].get("ensure_weight_tying") for name in names):
        merged.lm_head.weight.data = merged.model.embed_tokens.weight.data.clone()
    found = merged(tokens).logits
    difference = ((found - wanted).norm() / wanted.norm()).item()
    assert difference < 1e-5, (base, adapters, difference)
    state = merged.state_dict()
    same = torch.equal(state["model.embed_tokens.weight"], state["lm_head.weight"])
    return state, is_tied and same


def main():
    shutil.rmtree(LORA, ignore_errors=True)
    torch.manual_seed(19)
    for name, (base, dtype, settings) in ADAPTERS.items():
        make_adapter(name, base, dtype, settings)
    make_gguf("plain")
    cases = {}
    for case, (base, adapters) in CASES.items():
        state, stays_tied = merge(base, adapters)
        before = parted(base) if load(base).config.tie_word_embeddings else load(base)
        before = before.state_dict()
        changed = {
            key: hashlib.sha256(value.numpy().tobytes()).hexdigest()
            for key, value in state.items()
            if not torch.equal(value, before[key])
        }
        if stays_tied:
            del changed["lm_head.weight"]
        assert changed
        cases[case] = dict(model=base, adapters=adapters, tied=stays_tied, sha256=changed)
        print(f"{case}: {len(changed)} tensors differ, tied {stays_tied}")
    (LORA / "merged.json").write_text(json.dumps(cases, indent=2) + "\n")


if __name__ == "__main__":
    main()
