//! Llama models in GGUF files.

use super::frequencies::{self, Scaling};
use super::gguf::Gguf;
use super::permuted::permuted_row;
use super::update::no_model;
use super::{Kind, Opened, Texts, checked, set_eos, to_u32};
use super::{gguf_parts, gguf_tokenizer};
use crate::config::{Config, FEATURE_ATTENTION_BIAS, FEATURE_FFN_BIAS, NO_TOKEN};
use crate::tensor;
use crate::vocab_build::TokenizerTables;
use crate::{Code, Result, Role, ensure, fail};
use bytemuck::Zeroable;
use std::ops::Range;
use std::path::Path;

/// The tensor that the wavelengths of the rotary positions are multiplied by.
const FREQUENCIES: &str = "rope_freqs.weight";
/// Elements that it may have: one for two of a head's.
const MAX_FREQUENCIES: u64 = 1 << 12;

/// Names of special tokens in templates, with the entries that have their ids.
const SPECIALS: [(&str, &str); 4] = [
    ("bos_token", "tokenizer.ggml.bos_token_id"),
    ("eos_token", "tokenizer.ggml.eos_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
    ("pad_token", "tokenizer.ggml.padding_token_id"),
];

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
    let frequencies = read_frequencies(&gguf, &config)?;
    let model = Model { gguf };
    for (role, layer) in tensor::order(&config) {
        model.check(&config, role, layer)?;
    }
    let tokenizer = gguf_tokenizer::read(&model.gguf)?;
    let texts = read_texts(&model.gguf, &tokenizer);
    let kind = Kind::Gguf(model);
    Ok(Opened { config, frequencies, texts, tokenizer, kind, notes: Vec::new() })
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
    let experts = gguf.unsigned("llama.expert_count")?.unwrap_or(0);
    ensure!(
        experts == 0,
        Code::UnsupportedArchitecture,
        "{name} is a mixture of {experts} experts, which Kinglet does not run"
    );
    let is_other = |tensor: &&str| {
        let part = tensor.rsplit('.').nth(1).unwrap_or_default();
        tensor.ends_with(".bias") && !biased_parts().any(|(_, biased)| part == biased)
    };
    if let Some(bias) = gguf.tensor_names().find(is_other) {
        fail!(
            Code::UnsupportedArchitecture,
            "{name} has the bias {bias}, which no Llama has: only biases of the projections can be \
             converted"
        );
    }
    Ok(())
}

/// The projections that may have biases, with the features that say so and their names.
fn biased_parts() -> impl Iterator<Item = (u32, &'static str)> {
    let attention = ["attn_q", "attn_k", "attn_v", "attn_output"].into_iter();
    let ffn = ["ffn_gate", "ffn_up", "ffn_down"].into_iter();
    let attention = attention.map(|part| (FEATURE_ATTENTION_BIAS, part));
    attention.chain(ffn.map(|part| (FEATURE_FFN_BIAS, part)))
}

/// The `FEATURE_…` bits of the biases that a file has.
fn biases(gguf: &Gguf) -> u32 {
    let is_of = |tensor: &str, part: &str| tensor.ends_with(&format!(".{part}.bias"));
    let found =
        biased_parts().filter(|(_, part)| gguf.tensor_names().any(|name| is_of(name, part)));
    found.fold(0, |features, (feature, _)| features | feature)
}

/// How fast each pair of a head turns where positions are scaled, by the rules of llama.cpp; a
/// scaling by 1 is none.
fn read_frequencies(gguf: &Gguf, config: &Config) -> Result<Option<Vec<f32>>> {
    let name = gguf.file().name();
    // Without a type, a factor means a linear scaling. The older key counts where the newer is not.
    let kind = gguf.text("llama.rope.scaling.type").unwrap_or("linear");
    let factor = match gguf.float("llama.rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => gguf.float("llama.rope.scale_linear")?,
    };
    ensure!(
        kind == "none" || kind == "linear",
        Code::UnsupportedArchitecture,
        "{name} scales its rotary positions ({kind}{}): Kinglet knows linear scaling and \
         {FREQUENCIES}",
        factor.map_or(String::new(), |factor| format!(", factor {factor}"))
    );
    let scaling = match factor {
        Some(factor) if kind == "linear" && factor != 0.0 && factor != 1.0 => {
            Some(Scaling::Linear { factor: factor as f32 }.check(name)?)
        }
        _ => None,
    };
    let attention = gguf.float("llama.rope.scaling.attn_factor")?.unwrap_or(1.0);
    ensure!(
        attention == 1.0,
        Code::UnsupportedArchitecture,
        "{name} scales its attention (llama.rope.scaling.attn_factor {attention}), which Kinglet \
         does not"
    );
    let factors = read_factors(gguf, config)?;
    let is_plain = scaling.is_none() && factors.iter().all(|&factor| factor == 1.0);
    let plain = frequencies::plain(config.rope_theta, config.head_dim).into_iter();
    let scaled = |(pair, frequency): (usize, f32)| {
        let frequency = scaling.map_or(frequency, |scaling| scaling.apply(frequency));
        frequency / factors.get(pair).unwrap_or(&1.0)
    };
    Ok((!is_plain).then(|| plain.enumerate().map(scaled).collect()))
}

/// What the frequencies are divided by, one number for each pair of a head, or none at all.
fn read_factors(gguf: &Gguf, config: &Config) -> Result<Vec<f32>> {
    let Some(factors) = gguf.tensor(FREQUENCIES) else { return Ok(Vec::new()) };
    let encoding = factors.encoding(FREQUENCIES)?;
    let count = factors.shape().map_or(0, |(rows, cols)| rows.saturating_mul(cols));
    let mut values = Vec::new();
    if let (1..=MAX_FREQUENCIES, (1, bytes)) = (count, encoding.block()) {
        let mut buffer = vec![0; count as usize * bytes];
        gguf.read_tensor(factors, 0, &mut buffer)?;
        encoding.decode(&buffer, &mut values);
    }
    let pairs = config.head_dim as usize / 2;
    ensure!(
        values.len() == pairs && values.iter().all(|factor| factor.is_finite() && *factor > 0.0),
        Code::WrongShape,
        "{FREQUENCIES} in {} must have a number above 0 for each of the {pairs} pairs of a head: \
         convert the model again",
        gguf.file().name()
    );
    Ok(values)
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
    let vocab_size = to_u32(vocab_size, "the vocabulary")?;
    let mut config = Config {
        vocab_size,
        hidden,
        layers: number("llama.block_count")?,
        heads,
        kv_heads: optional("llama.attention.head_count_kv", heads)?,
        head_dim,
        ffn: number("llama.feed_forward_length")?,
        max_context: number("llama.context_length")?,
        rope_theta: gguf.float("llama.rope.freq_base")?.unwrap_or(10_000.0) as f32,
        rms_eps: gguf.required_float("llama.attention.layer_norm_rms_epsilon")? as f32,
        tied: u32::from(gguf.tensor("output.weight").is_none()),
        features: biases(gguf),
        bos: gguf.token("tokenizer.ggml.bos_token_id", vocab_size),
        pad: gguf.token("tokenizer.ggml.padding_token_id", vocab_size),
        ..Config::zeroed()
    };
    for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
        let token = gguf.token(key, vocab_size);
        set_eos(&mut config, Some(token).filter(|&token| token != NO_TOKEN))?;
    }
    Ok(config)
}

fn read_texts(gguf: &Gguf, tokenizer: &TokenizerTables) -> Texts {
    let files = gguf.files().map(|file| format!("{} ({} bytes)", file.name(), file.len()));
    let stem = || gguf_parts::stem(Path::new(gguf.file().name()));
    let name = gguf.text("general.name").map(str::to_owned).or_else(stem);
    let special = |(name, key): (&'static str, &str)| {
        let token = gguf.token(key, tokenizer.len() as u32);
        let text = (token != NO_TOKEN).then(|| String::from_utf8_lossy(tokenizer.text(token)));
        text.map(|text| (name, text))
    };
    let specials = SPECIALS.into_iter().filter_map(special);
    Texts {
        name: name.unwrap_or_else(|| gguf.file().name().to_owned()),
        chat_template: gguf.text("tokenizer.chat_template").map(str::to_owned),
        specials: Some(specials.collect()),
        licence: gguf.text("general.license").map(str::to_owned),
        generation_config: None,
        origin: files.collect::<Vec<_>>().join(", "),
    }
}

impl Model {
    fn check(&self, config: &Config, role: Role, layer: u16) -> Result<()> {
        let name = tensor_name(role, layer);
        let Some(tensor) = self.gguf.tensor(&name) else {
            if role.of_bias().is_some() {
                return Ok(());
            }
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
        let (_, cols) = role.shape(config);
        let Some(tensor) = self.gguf.tensor(&name) else {
            // Of the biases, llama.cpp has each by itself.
            assert!(role.of_bias().is_some(), "checked when the file was opened");
            out.resize(out.len() + rows.len() * cols, 0.0);
            return Ok(());
        };
        let encoding = tensor.encoding(&name)?;
        let row_bytes = encoding.row_bytes(cols).expect("checked when the file was opened");
        let read = |row: usize, buffer: &mut [u8]| {
            self.gguf.read_tensor(tensor, (row * row_bytes) as u64, buffer)
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
            let start = out.len();
            encoding.decode(&buffer, out);
            if matches!(role, Role::QBias | Role::KBias) {
                let stored = out[start..].to_vec();
                for (row, value) in out[start..].iter_mut().enumerate() {
                    *value = stored[permuted_row(row, config.head_dim as usize)];
                }
            }
        }
        Ok(())
    }
}

/// The name of a tensor in a GGUF file.
pub(super) fn tensor_name(role: Role, layer: u16) -> String {
    if let Some(matrix) = role.of_bias() {
        return tensor_name(matrix, layer).replace(".weight", ".bias");
    }
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
        Role::RotaryFrequencies => return FREQUENCIES.to_owned(),
        bias => unreachable!("{bias:?} has the name of its matrix"),
    };
    format!("blk.{layer}.{part}.weight")
}
