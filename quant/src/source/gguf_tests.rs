//! GGUF files as people have them.

use super::testing_gguf::{Entry, GgufFile};
use super::*;
use crate::config::{FEATURE_ATTENTION_BIAS, FEATURE_FFN_BIAS, NO_TOKEN};
use crate::tensor::NO_LAYER;
use std::fs;

fn open_bytes(bytes: &[u8]) -> Result<Source> {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    Source::open(&path)
}

/// Opens a bent file.
fn open(bend: impl FnOnce(&mut GgufFile)) -> Result<Source> {
    let mut file = GgufFile::new();
    bend(&mut file);
    open_bytes(&file.bytes())
}

/// The code and the message that opening a bent file fails with.
fn refused(bend: impl FnOnce(&mut GgufFile)) -> (Code, String) {
    let error = open(bend).expect_err("the file is unusable");
    (error.code(), error.message().to_owned())
}

/// What sets an entry.
fn entry(key: &'static str, entry: Entry) -> impl FnOnce(&mut GgufFile) {
    move |file| file.set(key, entry)
}

#[test]
fn what_changes_nothing_is_read() {
    let plain = open(|_| ()).unwrap();
    assert_eq!((plain.config().rope_theta, plain.config().eos_tokens()), (20_000.0, &[2][..]));
    let frequencies = ("rope_freqs.weight".to_owned(), vec![16], 0, 1_f32.to_le_bytes().repeat(16));
    for (what, source) in [
        ("a scaling by 1", open(entry("llama.rope.scaling.factor", Entry::F32(1.0)))),
        ("the old key, by 1", open(entry("llama.rope.scale_linear", Entry::F32(1.0)))),
        ("linear without a factor", open(entry("llama.rope.scaling.type", Entry::Text("linear")))),
        ("frequencies of 1", open(|file| file.tensors.push(frequencies))),
        ("no BOS", open(entry("tokenizer.ggml.add_bos_token", Entry::Bool(false)))),
        ("one number for each layer", {
            open(entry("llama.attention.head_count_kv", Entry::Integers(vec![1, 1])))
        }),
        ("trailing ones", {
            open(|file| {
                file.tensor("output_norm.weight").1.extend([1, 1]);
                file.tensor("blk.0.attn_v.weight").1.extend([1, 1]);
            })
        }),
        ("none, whatever the factor", {
            open(|file| {
                file.set("llama.rope.scaling.type", Entry::Text("none"));
                file.set("llama.rope.scaling.factor", Entry::F32(4.0));
            })
        }),
    ] {
        let source = source.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(source.config(), plain.config(), "{what}");
    }
}

#[test]
fn positions_are_scaled_as_llama_cpp_does() {
    let frequencies = |change: &dyn Fn(&mut GgufFile)| {
        let source = open(change).unwrap();
        assert!(source.config().has(FEATURE_ROTARY_FREQUENCIES));
        source.load(Role::RotaryFrequencies, NO_LAYER).unwrap()
    };
    let plain: Vec<f32> = (0..16).map(|pair| 1.0 / 20_000_f32.powf(pair as f32 / 16.0)).collect();
    let expect = |what: &str, found: Vec<f32>, factor: &dyn Fn(usize) -> f32| {
        let wanted = plain.iter().enumerate().map(|(pair, plain)| plain / factor(pair));
        assert_eq!(found, wanted.collect::<Vec<_>>(), "{what}");
    };
    for key in ["llama.rope.scale_linear", "llama.rope.scaling.factor"] {
        expect(key, frequencies(&|file| file.set(key, Entry::F32(4.0))), &|_| 4.0);
    }
    let factors = |pair| 1.0 + pair as f32;
    let data: Vec<u8> = (0..16).flat_map(|pair| factors(pair).to_le_bytes()).collect();
    let tensor = ("rope_freqs.weight".to_owned(), vec![16], 0, data);
    let with_tensor = |file: &mut GgufFile| file.tensors.push(tensor.clone());
    expect("a tensor", frequencies(&with_tensor), &factors);
    let both = |file: &mut GgufFile| {
        with_tensor(file);
        file.set("llama.rope.scaling.factor", Entry::F32(2.0));
    };
    expect("both", frequencies(&both), &|pair| 2.0 * factors(pair));
}

#[test]
fn the_token_before_texts_is_that_of_llama_cpp() {
    let begin = |bend: &dyn Fn(&mut GgufFile)| open(bend).unwrap().tokenizer().begin();
    assert_eq!(begin(&|_| ()), None);
    let add = |file: &mut GgufFile| file.set("tokenizer.ggml.add_bos_token", Entry::Bool(true));
    assert_eq!(begin(&add), Some(1));
    let pre = |file: &mut GgufFile| file.set("tokenizer.ggml.pre", Entry::Text("llama-bpe"));
    assert_eq!(begin(&pre), Some(1));
    let pieces = |file: &mut GgufFile| {
        let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let tokens = ["<unk>", "<s>", "</s>", "▁"].map(str::to_owned).into_iter().chain(bytes);
        let names = (260..970).map(|token| format!("token{token}"));
        let tokens: Vec<String> = tokens.chain(names).collect();
        let types = (0..tokens.len()).map(|token| match token {
            0 => 2,
            1 | 2 => 3,
            4..260 => 6,
            _ => 1,
        });
        file.set("tokenizer.ggml.model", Entry::Text("llama"));
        file.set("tokenizer.ggml.token_type", Entry::Integers(types.collect()));
        file.set("tokenizer.ggml.scores", Entry::Floats(vec![0.0; tokens.len()]));
        file.set("tokenizer.ggml.tokens", Entry::Texts(tokens));
    };
    assert_eq!(begin(&pieces), Some(1));
    let without = |file: &mut GgufFile| {
        pieces(file);
        file.set("tokenizer.ggml.add_bos_token", Entry::Bool(false));
    };
    assert_eq!(begin(&without), None);
    let (code, message) = refused(|file| {
        pieces(file);
        file.entries.remove("tokenizer.ggml.scores");
    });
    assert_eq!(code, Code::UnsupportedTokenizer, "{message}");
    let (code, message) = refused(|file| {
        add(file);
        file.entries.remove("tokenizer.ggml.bos_token_id");
    });
    assert_eq!(code, Code::UnsupportedTokenizer, "{message}");
}

#[test]
fn biases_are_read_each_by_itself() {
    let values: Vec<f32> = (0..96).map(|row| row as f32).collect();
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let source = open(|file| {
        file.tensors.push(("blk.1.attn_q.bias".to_owned(), vec![96], 0, bytes(&values)));
        file.tensors.push(("blk.0.attn_output.bias".to_owned(), vec![64], 0, bytes(&values[..64])));
    });
    let source = source.unwrap();
    let config = source.config();
    assert!(config.has(FEATURE_ATTENTION_BIAS) && !config.has(FEATURE_FFN_BIAS));
    // llama.cpp's order has the two halves of each head in turns.
    let halves: Vec<f32> =
        (0..96).map(|row| (row / 32 * 32 + row % 16 * 2 + row / 16 % 2) as f32).collect();
    assert_eq!(source.load(Role::QBias, 1).unwrap(), halves);
    assert_eq!(source.load(Role::OBias, 0).unwrap(), values[..64]);
    for (role, layer, count) in [(Role::QBias, 0, 96), (Role::VBias, 1, 32), (Role::OBias, 1, 64)] {
        assert_eq!(source.load(role, layer).unwrap(), vec![0.0; count]);
    }
}

#[test]
fn tokens_that_no_vocabulary_has_are_left_out() {
    let source = open(|file| {
        file.set("tokenizer.ggml.bos_token_id", Entry::I32(-1));
        file.set("tokenizer.ggml.eos_token_id", Entry::I32(-1));
        file.set("tokenizer.ggml.padding_token_id", Entry::U32(u32::MAX));
        file.set("tokenizer.ggml.unknown_token_id", Entry::U32(5));
    });
    let source = source.unwrap();
    let config = source.config();
    assert_eq!((config.bos, config.pad, config.eos_tokens()), (NO_TOKEN, NO_TOKEN, &[][..]));
    let specials = source.texts().specials.as_ref().unwrap();
    assert_eq!((specials.get("eos_token"), specials.get("unk_token")), (None, Some("token5")));
}

#[test]
fn what_would_compute_something_else_is_refused_by_name() {
    let eps = "llama.attention.layer_norm_rms_epsilon";
    let frequencies = ("rope_freqs.weight".to_owned(), vec![8], 0, 2_f32.to_le_bytes().repeat(8));
    let bias = ("blk.0.attn_norm.bias".to_owned(), vec![64], 0, vec![0; 256]);
    let quantized = |kind: u32, bytes: usize| {
        move |file: &mut GgufFile| {
            let (_, _, number, data) = file.tensor("blk.1.ffn_down.weight");
            (*number, *data) = (kind, vec![0; bytes]);
        }
    };
    for ((code, message), wanted, part) in [
        (refused(entry("llama.rope.scale_linear", Entry::F32(-2.0))), 305, "factor: -2.0"),
        (refused(entry("llama.rope.scaling.type", Entry::Text("yarn"))), 301, "(yarn)"),
        (refused(|file| file.tensors.push(frequencies)), 304, "each of the 16 pairs"),
        (refused(|file| file.tensors.push(bias)), 301, "the bias blk.0.attn_norm.bias"),
        (refused(entry("llama.rope.freq_base", Entry::Text("1e5"))), 305, "freq_base"),
        (refused(entry(eps, Entry::Text("1e-5"))), 305, "epsilon"),
        (refused(|file| drop(file.entries.remove(eps))), 305, "lacks the entry"),
        (refused(entry("tokenizer.ggml.add_eos_token", Entry::Bool(true))), 306, "add_eos_token"),
        (
            refused(entry("llama.attention.head_count_kv", Entry::Integers(vec![1, 3]))),
            301,
            "head_count_kv in model.gguf differs by layer",
        ),
        (
            refused(entry("llama.feed_forward_length", Entry::Longs(vec![96, 128]))),
            301,
            "feed_forward_length in model.gguf differs by layer",
        ),
        (
            refused(|file| drop(file.entries.remove("tokenizer.ggml.pre"))),
            306,
            "gguf-new-metadata --pre-tokenizer",
        ),
        (refused(entry("general.alignment", Entry::U32(48))), 305, "power of two"),
        (refused(quantized(39, 64 * 96 / 32 * 17)), 302, "stored as MXFP4"),
        (refused(quantized(35, 64 * 96 / 256 * 66)), 302, "stored as TQ2_0"),
        (refused(quantized(99, 64)), 302, "the type 99, which GGUF does not define"),
    ] {
        assert_eq!(code as i32, wanted, "{message}");
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn data_that_lies_elsewhere_is_refused() {
    let file = GgufFile::new();
    let count = file.tensors.len() as u64;
    let all_at = |offset: &dyn Fn(u64) -> u64| {
        let offsets: Vec<u64> = (0..count).map(offset).collect();
        let error = open_bytes(&file.bytes_at(&offsets)).unwrap_err();
        assert_eq!(error.code(), Code::BadSource);
        assert!(error.message().contains("lies at byte"), "{error}");
    };
    all_at(&|_| 0);
    all_at(&|number| number * 32);
    all_at(&|_| u64::MAX - 31);
    // Aligned to 64, which the file does not say.
    let mut wide = GgufFile::new();
    wide.alignment = 64;
    let mut bytes = wide.bytes();
    if bytes.len() == file.bytes().len() {
        wide.set("general.name", Entry::Text("a name that moves the data by 32"));
        bytes = wide.bytes();
    }
    let error = open_bytes(&bytes).unwrap_err();
    assert!(error.message().contains("aligned otherwise"), "{error}");
    let mut whole = file.bytes();
    assert_eq!(open_bytes(&whole[..whole.len() - 1]).unwrap_err().code(), Code::Truncated);
    // Two entries under one key.
    let [bos, eos] = ["bos", "eos"].map(|name| format!("tokenizer.ggml.{name}_token_id"));
    let at = whole.windows(bos.len()).position(|bytes| bytes == bos.as_bytes()).unwrap();
    whole[at..at + eos.len()].copy_from_slice(eos.as_bytes());
    let error = open_bytes(&whole).unwrap_err();
    assert!(error.message().contains("eos_token_id twice"), "{error}");
}

#[test]
fn what_is_no_file_of_this_order_is_named() {
    let mut big = GgufFile::new().bytes();
    big[4..8].reverse();
    let message = |bytes: &[u8]| open_bytes(bytes).unwrap_err().message().to_owned();
    assert!(message(&big).contains("big-endian"), "{}", message(&big));
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    assert!(message(pointer).contains("git lfs pull"));
    assert!(message(b"<!DOCTYPE html>").contains("web page"));
    assert!(message(b"").contains("no GGUF file"));
}

#[test]
fn parts_are_read_together() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = |number: u32| folder.path().join(format!("m-{number:05}-of-00003.gguf"));
    let whole = open(|_| ()).unwrap();
    let mut file = GgufFile::new();
    let tensors = std::mem::take(&mut file.tensors);
    for (number, part) in (0..).zip(tensors.chunks(tensors.len().div_ceil(3))) {
        file.set("split.count", Entry::U32(3));
        file.set("split.no", Entry::U32(number));
        file.tensors = part.to_vec();
        fs::write(path(number + 1), file.bytes()).unwrap();
        // Only the first has the metadata.
        file.entries.clear();
    }
    for named in [path(1), path(3), folder.path().to_owned()] {
        let source = Source::open(&named).unwrap();
        assert_eq!(source.config(), whole.config());
        for (role, layer) in crate::tensor::order(whole.config()) {
            assert_eq!(source.load(role, layer).unwrap(), whole.load(role, layer).unwrap());
        }
        assert_eq!(source.texts().name, "m");
        assert!(source.texts().origin.contains("m-00002-of-00003.gguf"));
    }
    assert_eq!(parts(&path(2)), [path(1), path(2), path(3)]);
    fs::remove_file(path(2)).unwrap();
    let error = Source::open(&path(1)).unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("m-00002-of-00003.gguf is missing"), "{error}");
    fs::copy(path(3), path(2)).unwrap();
    let error = Source::open(&path(1)).unwrap_err();
    assert!(error.message().contains("not the part that its name says"), "{error}");
    let renamed = folder.path().join("only.gguf");
    fs::rename(path(1), &renamed).unwrap();
    let error = Source::open(&renamed).unwrap_err();
    assert!(error.message().contains("is one of 3 parts: give all of them"), "{error}");
}
