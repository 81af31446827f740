#!/usr/bin/env python3
"""Makes the small tokenizers of other kinds that tests use:

    llama3-tokenizer.json   bytes, words split as in Llama 3, whole words before merges
    pieces-tokenizer.json   characters, as sentencepiece has them (of LlamaTokenizer's older form)
    pieces.json             the same vocabulary with its scores and kinds, as GGUF files have it, and
                            what sentencepiece itself makes of some texts

    pip install sentencepiece protobuf tokenizers transformers==5.24.0
    python make_other_tokenizers.py
"""

import io
import json
import pathlib

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers
from transformers.convert_slow_tokenizer import generate_merges

HERE = pathlib.Path(__file__).parent
TEXTS = HERE.parents[1] / "tests" / "goldens"
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Words that are tokens, but that merging does not make.
WHOLE = ["Ġwholly", "unmerged", "Ġ12", "ĠĠĠ"]
LINES = [
    "Grüße aus Köln, señor! Привет, мир. 你好，世界。 🌍 été naïve façade — “quotes” … 100 %",
    "def main():\n    return [x ** 2 for x in range(10)]\n\n\tif a != b:\n        pass",
    "Don't, can't, WON'T, it's, we're, I've, I'm, you'll, he'd. 1234567 3.14159 2026-11-30",
]
PROBES = [
    "", " ", "  ", "Hello", " Hello", "  Hello   world ", "Hello world\n\nNew line", "1234567",
    "Привет, 世界 🌍", "▁marked▁text", "a ▁b", "tab\there", "naïve façade", "\n", "x\x00y", "é́",
    *LINES,
]


def corpus():
    texts = [(TEXTS / name).read_text(encoding="utf-8") for name in ("own.txt", "second.txt")]
    return [*"\n".join(texts).split("\n"), *LINES * 20]


def llama3():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(LLAMA_3), "isolated", invert=False)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    whole = json.loads(tokenizer.to_str())
    vocab = whole["model"]["vocab"]
    for word in WHOLE:
        vocab.setdefault(word, len(vocab))
    tokenizer = Tokenizer.from_str(json.dumps(whole))
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>"]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    begin = tokenizer.token_to_id(names[0])
    template = processors.TemplateProcessing(
        single=f"{names[0]} $A", pair=f"{names[0]} $A {names[0]} $B",
        special_tokens=[(names[0], begin)],
    )
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=True), template]
    )
    return tokenizer


def train_pieces():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=model, model_type="bpe", vocab_size=900,
        byte_fallback=True, split_digits=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
        character_coverage=0.9995, minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def pieces(trained):
    """As `LlamaConverter` of transformers makes it for its older, `legacy` tokenizers."""
    names = [trained.id_to_piece(i) for i in range(trained.vocab_size())]
    scores = [trained.get_score(i) for i in range(trained.vocab_size())]
    vocab = {name: i for i, name in enumerate(names)}
    merges = generate_merges(vocab, dict(zip(names, scores, strict=True)))
    tokenizer = Tokenizer(
        models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(name, normalized=False) for name in ("<unk>", "<s>", "</s>")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def gguf_kind(trained, i):
    if trained.is_unknown(i):
        return 2
    if trained.is_control(i):
        return 3
    return 6 if trained.is_byte(i) else 1


def write(name, text):
    (HERE / name).write_text(text + "\n", encoding="utf-8")


def main():
    write("llama3-tokenizer.json", llama3().to_str())
    trained = train_pieces()
    write("pieces-tokenizer.json", pieces(trained).to_str())
    ids = range(trained.vocab_size())
    table = {
        "tokens": [trained.id_to_piece(i) for i in ids],
        "scores": [trained.get_score(i) for i in ids],
        "types": [gguf_kind(trained, i) for i in ids],
        "texts": [{"text": text, "ids": trained.encode(text)} for text in PROBES],
    }
    write("pieces.json", json.dumps(table, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
