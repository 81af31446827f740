//! A checkpoint that is small enough to be read a thousand times in a second, and what a user does
//! with any.

use half::bf16;
use kinglet_quant::convert::{Options, convert};
use kinglet_quant::source::Source;
use kinglet_quant::{Config, File, Type, tensor};
use kinglet_tests::aligned::Aligned;
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::{Value, json};
use std::cell::OnceCell;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use tempfile::TempDir;

/// Weights of a model that is loaded and converted; of larger ones only the settings are read.
const MOST_WEIGHTS: u64 = 1 << 18;
/// Width of the residual stream, of the feed-forward layer and of both heads together.
pub const WIDTH: usize = 32;
/// Texts that tokens stand for alone, beside the special tokens.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz 0123456789\n.:{}[]\",-+\\<>_/";
const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
const MERGES: [(&str, &str); 4] = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n")];

/// A chat template that is a frame.
pub const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + \
    '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>assistant\n' }}{% endif %}";

/// A folder in memory where there is such a place.
pub fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

/// A tokenizer of some 60 tokens, JSON among them.
pub fn tokenizer() -> Value {
    let spelled = |c: char| match c {
        ' ' => "Ġ".to_owned(),
        '\n' => "Ċ".to_owned(),
        c => c.to_string(),
    };
    let merged = MERGES.iter().map(|(left, right)| format!("{left}{right}"));
    let tokens = SPECIALS.map(str::to_owned).into_iter();
    let tokens = tokens.chain(LETTERS.chars().map(spelled)).chain(merged);
    let vocab: serde_json::Map<String, Value> =
        tokens.zip(0..).map(|(token, id)| (token, json!(id))).collect();
    let added = SPECIALS.iter().zip(0..).map(|(content, id): (_, u32)| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added.collect::<Vec<_>>(), "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
             "use_regex": true},
        ]},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                    "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "ignore_merges": false, "vocab": vocab,
            "merges": MERGES.map(|(left, right)| format!("{left} {right}")),
        },
    })
}

/// Tokens of [`tokenizer`].
pub fn vocabulary() -> usize {
    SPECIALS.len() + LETTERS.chars().count() + MERGES.len()
}

/// `config.json` of the model.
pub fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "vocab_size": vocabulary(), "hidden_size": WIDTH, "intermediate_size": WIDTH,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": WIDTH / 2, "max_position_embeddings": 640, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "rope_scaling": null, "tie_word_embeddings": true,
        "attention_bias": false, "mlp_bias": false, "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": 2,
    })
}

/// Names and shapes of the model's tensors.
pub fn shapes() -> Vec<(String, Vec<usize>)> {
    let (width, half) = (WIDTH, WIDTH / 2);
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![vocabulary(), width]),
        ("model.norm.weight".to_owned(), vec![width]),
    ];
    for (part, shape) in [
        ("input_layernorm", vec![width]),
        ("post_attention_layernorm", vec![width]),
        ("self_attn.q_proj", vec![width, width]),
        ("self_attn.k_proj", vec![half, width]),
        ("self_attn.v_proj", vec![half, width]),
        ("self_attn.o_proj", vec![width, width]),
        ("mlp.gate_proj", vec![width, width]),
        ("mlp.up_proj", vec![width, width]),
        ("mlp.down_proj", vec![width, width]),
    ] {
        shapes.push((format!("model.layers.0.{part}.weight"), shape));
    }
    shapes
}

/// Values of the tensors, one after the other: such as take part in a model's work.
fn values(count: usize) -> impl Iterator<Item = f32> {
    let mut random = fastrand::Rng::with_seed(count as u64);
    (0..count).map(move |_| random.f32() - 0.5)
}

/// Some of the model's tensors as a safetensors file.
pub fn weights(shapes: &[(String, Vec<usize>)]) -> Vec<u8> {
    let encoded: Vec<Vec<u8>> = shapes
        .iter()
        .map(|(_, shape)| {
            let values = values(shape.iter().product());
            values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect()
        })
        .collect();
    let views = shapes.iter().zip(&encoded).map(|((name, shape), bytes)| {
        (name, TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap())
    });
    serialize(views, None).unwrap()
}

/// A folder with the whole checkpoint, whose files targets replace.
pub struct Folder(TempDir);

impl Folder {
    /// Writes the checkpoint.
    pub fn new() -> Self {
        let folder = Self(scratch());
        folder.put("config.json", config().to_string().as_bytes());
        folder.put("tokenizer.json", tokenizer().to_string().as_bytes());
        folder.put("model.safetensors", &weights(&shapes()));
        folder
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path().join(name), bytes).unwrap();
    }

    /// Removes a file that may be there.
    pub fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path().join(name));
    }
}

thread_local! {
    static OWN: OnceCell<Rc<Folder>> = const { OnceCell::new() };
    static OUTPUT: OnceCell<TempDir> = const { OnceCell::new() };
}

/// The checkpoint as it is, in a folder that stays.
pub fn folder() -> Rc<Folder> {
    OWN.with(|own| Rc::clone(own.get_or_init(|| Rc::new(Folder::new()))))
}

/// The bytes of the checkpoint as a weight file.
pub fn converted(kind: Type) -> Aligned {
    let folder = folder();
    folder.put("chat_template.jinja", TEMPLATE.as_bytes());
    let source = Source::open(folder.path()).unwrap();
    folder.remove("chat_template.jinja");
    written(&source, kind).unwrap()
}

fn written(source: &Source, kind: Type) -> kinglet::Result<Aligned> {
    OUTPUT.with(|output| {
        let path = output.get_or_init(scratch).path().join("model.kinglet");
        let options = Options { name: Some("tiny".to_owned()), ..Options::new(kind, 1) };
        convert(source, &path, &options, &mut |_| ControlFlow::Continue(()))?;
        Ok(Aligned::copy_of(&fs::read(&path).unwrap()))
    })
}

/// Does with an accepted checkpoint what `kinglet convert` does, and compares what was written with
/// what was read.
pub fn use_source(source: &Source) {
    let config = source.config();
    assert!(config.check().is_ok());
    assert_eq!(source.tokenizer().len(), config.vocab_size as usize);
    assert!(source.notes().iter().all(|note| !note.is_empty()));
    if config.parameters() > MOST_WEIGHTS || source.tokenizer().len() > 1 << 14 {
        return;
    }
    // Weights that are no numbers are refused when they are read.
    let Ok(bytes) = written(source, Type::Bf16) else { return };
    let file = File::open(bytes.as_ref()).expect("what was converted can be opened");
    file.verify().expect("what was written is whole");
    // An adapter may have given a head of its own to the model.
    assert_eq!(file.config(), config);
    let tables = source.tokenizer();
    for token in 0..tables.len() as u32 {
        assert_eq!(file.vocab().text(token), tables.text(token));
    }
    compare(source, &file, config);
}

/// Weights in the file are those of the checkpoint, but for the bits that bf16 has not.
fn compare(source: &Source, file: &File<'_>, config: &Config) {
    for (role, layer) in tensor::order(config) {
        let read = source.load(role, layer).expect("it was read before");
        let (rows, cols) = role.shape(config);
        if role.is_vector() {
            assert_eq!(file.vector(role, layer), read);
            continue;
        }
        let matrix = file.matrix(role, layer);
        let mut row = vec![0.0; cols];
        for index in 0..rows {
            matrix.read_row(index, &mut row);
            for (&written, &value) in row.iter().zip(&read[index * cols..]) {
                assert_eq!(written, bf16::from_f32(value).to_f32(), "{role:?} {layer}");
            }
        }
    }
}
