//! Llama models in GGUF files.

use super::gguf::{Gguf, Value};
use super::permuted::permuted_row;
use super::update::no_model;
use super::{Kind, Opened, Texts, checked, set_eos, to_u32};
use crate::config::{Config, NO_TOKEN};
use crate::tensor;
use crate::vocab_build::TokenizerTables;
use crate::{Code, Result, Role, ensure, fail};
use bytemuck::Zeroable;
use std::ops::Range;
use std::path::Path;

/// The weights of an opened file.
#[derive(Debug)]
pub(super) struct Model {
    gguf: Gguf,
}

/// Opens a GGUF file and checks that it holds a whole model.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let gguf = Gguf::open(path)?;
    if gguf.is_adapter() {
        return Err(no_model(path, gguf.text("general.base_model.0.name")));
    }
    reject_unsupported(&gguf)?;
    let config = checked(read_config(&gguf)?, gguf.file().name())?;
    let model = Model { gguf };
    for (role, layer) in tensor::order(&config) {
        model.check(&config, role, layer)?;
    }
    let tokenizer = read_tokenizer(&model.gguf)?;
    let texts = read_texts(&model.gguf);
    Ok(Opened { config, texts, tokenizer, kind: Kind::Gguf(model) })
}

/// Fails for everything that would change the arithmetic of the model.
fn reject_unsupported(gguf: &Gguf) -> Result<()> {
    let name = gguf.file().name();
    let architecture = gguf.text("general.architecture").unwrap_or("unknown");
    ensure!(
        architecture == "llama",
        Code::UnsupportedArchitecture,
        "{name} is a model of the architecture {architecture}: only llama can be converted"
    );
    let scaling = gguf.text("llama.rope.scaling.type").unwrap_or("none");
    ensure!(
        scaling == "none" && gguf.tensor("rope_freqs.weight").is_none(),
        Code::UnsupportedArchitecture,
        "{name} scales its rotary positions ({scaling}), which Kinglet does not"
    );
    let experts = gguf.unsigned("llama.expert_count")?.unwrap_or(0);
    ensure!(
        experts == 0,
        Code::UnsupportedArchitecture,
        "{name} is a mixture of {experts} experts, which Kinglet does not run"
    );
    if let Some(bias) = gguf.tensor_names().find(|tensor| tensor.ends_with(".bias")) {
        fail!(
            Code::UnsupportedArchitecture,
            "{name} has the bias {bias}: only models without biases can be converted"
        );
    }
    Ok(())
}

fn read_config(gguf: &Gguf) -> Result<Config> {
    let number = |key: &str| to_u32(gguf.required(key)?, key);
    let optional = |key: &str, otherwise: u32| match gguf.unsigned(key)? {
        Some(value) => to_u32(value, key),
        None => Ok(otherwise),
    };
    let Some((vocab_size, _)) = gguf.tensor("token_embd.weight").and_then(|t| t.shape()) else {
        fail!(Code::MissingTensor, "{} has no tensor token_embd.weight", gguf.file().name());
    };
    let hidden = number("llama.embedding_length")?;
    let heads = number("llama.attention.head_count")?;
    let head_dim = optional("llama.attention.key_length", hidden / heads.max(1))?;
    for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
        ensure!(
            optional(key, head_dim)? == head_dim,
            Code::UnsupportedArchitecture,
            "{key} in {} differs from the head size {head_dim}",
            gguf.file().name()
        );
    }
    let epsilon = gguf.float("llama.attention.layer_norm_rms_epsilon").unwrap_or(1e-5);
    let mut config = Config {
        vocab_size: to_u32(vocab_size, "the vocabulary")?,
        hidden,
        layers: number("llama.block_count")?,
        heads,
        kv_heads: optional("llama.attention.head_count_kv", heads)?,
        head_dim,
        ffn: number("llama.feed_forward_length")?,
        max_context: number("llama.context_length")?,
        rope_theta: gguf.float("llama.rope.freq_base").unwrap_or(10_000.0) as f32,
        rms_eps: epsilon as f32,
        tied: u32::from(gguf.tensor("output.weight").is_none()),
        bos: optional("tokenizer.ggml.bos_token_id", NO_TOKEN)?,
        pad: optional("tokenizer.ggml.padding_token_id", NO_TOKEN)?,
        ..Config::zeroed()
    };
    for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
        set_eos(&mut config, Some(optional(key, NO_TOKEN)?).filter(|&token| token != NO_TOKEN))?;
    }
    Ok(config)
}

fn read_tokenizer(gguf: &Gguf) -> Result<TokenizerTables> {
    let name = gguf.file().name();
    let model = gguf.text("tokenizer.ggml.model").unwrap_or("missing");
    ensure!(
        model == "gpt2",
        Code::UnsupportedTokenizer,
        "the tokenizer of {name} is of the kind {model}: only byte-level BPE (gpt2) is supported"
    );
    let texts = |key: &str| match gguf.get(key) {
        Some(Value::Texts(texts)) => Ok(texts.as_slice()),
        _ => fail!(Code::UnsupportedTokenizer, "{name} lacks the list {key}"),
    };
    let token_types = match gguf.get("tokenizer.ggml.token_type") {
        Some(Value::Integers(types)) => types.as_slice(),
        _ => fail!(Code::UnsupportedTokenizer, "{name} lacks the list tokenizer.ggml.token_type"),
    };
    TokenizerTables::from_gguf(
        texts("tokenizer.ggml.tokens")?,
        texts("tokenizer.ggml.merges")?,
        token_types,
        gguf.text("tokenizer.ggml.pre").unwrap_or("default"),
    )
}

fn read_texts(gguf: &Gguf) -> Texts {
    let file = gguf.file();
    let stem = file.name().strip_suffix(".gguf").unwrap_or(file.name());
    Texts {
        name: gguf.text("general.name").unwrap_or(stem).to_owned(),
        chat_template: gguf.text("tokenizer.chat_template").map(str::to_owned),
        licence: gguf.text("general.license").map(str::to_owned),
        generation_config: None,
        origin: format!("{} ({} bytes)", file.name(), file.len()),
    }
}

impl Model {
    fn check(&self, config: &Config, role: Role, layer: u16) -> Result<()> {
        let name = tensor_name(role, layer);
        let Some(tensor) = self.gguf.tensor(&name) else {
            fail!(Code::MissingTensor, "{} has no tensor {name}", self.gguf.file().name());
        };
        let (rows, cols) = role.shape(config);
        ensure!(
            tensor.shape() == Some((rows as u64, cols as u64)),
            Code::WrongShape,
            "tensor {name} has the widths {:?}, the model needs {cols} × {rows}",
            tensor.dims
        );
        ensure!(
            tensor.encoding(&name)?.row_bytes(cols).is_some(),
            Code::WrongShape,
            "the {cols} columns of tensor {name} are no whole blocks of its type"
        );
        Ok(())
    }

    /// Appends rows of a tensor to `out`.
    pub fn load_rows(
        &self,
        config: &Config,
        role: Role,
        layer: u16,
        rows: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let name = tensor_name(role, layer);
        let tensor = self.gguf.tensor(&name).expect("checked when the file was opened");
        let encoding = tensor.encoding(&name)?;
        let row_bytes =
            encoding.row_bytes(role.shape(config).1).expect("checked when the file was opened");
        let read = |row: usize, buffer: &mut [u8]| {
            let offset = tensor.offset.saturating_add((row * row_bytes) as u64);
            self.gguf.read_data(offset, buffer)
        };
        if matches!(role, Role::Q | Role::K) {
            let mut buffer = vec![0; row_bytes];
            for row in rows {
                read(permuted_row(row, config.head_dim as usize), &mut buffer)?;
                encoding.decode(&buffer, out);
            }
        } else {
            let mut buffer = vec![0; rows.len() * row_bytes];
            read(rows.start, &mut buffer)?;
            encoding.decode(&buffer, out);
        }
        Ok(())
    }
}

/// The name of a tensor in a GGUF file.
pub(super) fn tensor_name(role: Role, layer: u16) -> String {
    let part = match role {
        Role::Embedding => return "token_embd.weight".to_owned(),
        Role::Head => return "output.weight".to_owned(),
        Role::FinalNorm => return "output_norm.weight".to_owned(),
        Role::AttnNorm => "attn_norm",
        Role::Q => "attn_q",
        Role::K => "attn_k",
        Role::V => "attn_v",
        Role::O => "attn_output",
        Role::FfnNorm => "ffn_norm",
        Role::Gate => "ffn_gate",
        Role::Up => "ffn_up",
        Role::Down => "ffn_down",
    };
    format!("blk.{layer}.{part}.weight")
}
