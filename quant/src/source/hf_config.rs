//! `config.json`, `generation_config.json` and `tokenizer_config.json` of a Hugging Face folder.

use super::{checked, set_eos, to_u32};
use crate::config::{Config, NO_TOKEN};
use crate::vocab_build::TokenizerTables;
use crate::{Code, Result, ensure, fail};
use bytemuck::Zeroable;
use serde::Deserialize;
use serde_json::Value;

/// What `config.json` says; absent keys have the defaults of transformers' `LlamaConfig`.
#[derive(Deserialize)]
pub(super) struct ModelConfig {
    model_type: Option<String>,
    vocab_size: u64,
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    #[serde(default = "default_max_position_embeddings")]
    max_position_embeddings: u64,
    #[serde(default = "default_rms_norm_eps")]
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_parameters: Option<Rope>,
    rope_scaling: Option<Rope>,
    #[serde(default)]
    rope_interleaved: bool,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    hidden_act: Option<String>,
    quantization_config: Option<Value>,
    bos_token_id: Option<TokenIds>,
    eos_token_id: Option<TokenIds>,
    pad_token_id: Option<TokenIds>,
}

/// The rope settings, under the two names that they have had.
#[derive(Deserialize)]
struct Rope {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
}

/// What `generation_config.json` adds.
#[derive(Default, Deserialize)]
pub(super) struct GenerationConfig {
    eos_token_id: Option<TokenIds>,
}

/// What `tokenizer_config.json` adds.
#[derive(Default, Deserialize)]
pub(super) struct TokenizerConfig {
    chat_template: Option<ChatTemplate>,
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
    pad_token: Option<SpecialToken>,
}

/// One token id or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum TokenIds {
    One(u32),
    Many(Vec<u32>),
}

/// A special token as text, or as an object around it.
#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Object { content: String },
}

/// One template, or several with names.
#[derive(Deserialize)]
#[serde(untagged)]
enum ChatTemplate {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

fn default_max_position_embeddings() -> u64 {
    2048
}

fn default_rms_norm_eps() -> f64 {
    1e-6
}

impl TokenIds {
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(token) => std::slice::from_ref(token),
            Self::Many(tokens) => tokens,
        }
    }
}

impl SpecialToken {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }
}

impl TokenizerConfig {
    /// The chat template; of several, the one called `default`.
    pub fn into_chat_template(self) -> Option<String> {
        match self.chat_template? {
            ChatTemplate::One(template) => Some(template),
            ChatTemplate::Named(all) => {
                all.into_iter().find(|t| t.name == "default").map(|t| t.template)
            }
        }
    }
}

impl ModelConfig {
    /// Fails for everything that would change the arithmetic of the model.
    pub fn reject_unsupported(&self) -> Result<()> {
        let kind = self.model_type.as_deref().unwrap_or("unknown");
        ensure!(
            kind == "llama",
            Code::UnsupportedArchitecture,
            "config.json describes a model of the type {kind}: only llama can be converted"
        );
        let activation = self.hidden_act.as_deref().unwrap_or("silu");
        ensure!(
            activation == "silu",
            Code::UnsupportedArchitecture,
            "config.json asks for the activation {activation}: only silu is supported"
        );
        let ropes = [&self.rope_parameters, &self.rope_scaling];
        for rope in ropes.into_iter().flatten() {
            let scaling = rope.rope_type.as_deref().unwrap_or("default");
            ensure!(
                scaling == "default",
                Code::UnsupportedArchitecture,
                "config.json scales the rotary positions ({scaling}), which Kinglet does not"
            );
        }
        let switches = [
            (self.attention_bias, "attention_bias"),
            (self.mlp_bias, "mlp_bias"),
            (self.rope_interleaved, "rope_interleaved"),
        ];
        for (on, key) in switches {
            ensure!(
                !on,
                Code::UnsupportedArchitecture,
                "config.json sets {key}, which Kinglet does not support"
            );
        }
        ensure!(
            self.quantization_config.is_none(),
            Code::UnsupportedTensorType,
            "the checkpoint is quantized already: use the original in F32, F16 or BF16"
        );
        Ok(())
    }

    /// The configuration of the weight file; special tokens that are given by name are looked up.
    pub fn into_config(
        self,
        generation: &GenerationConfig,
        names: &TokenizerConfig,
        tokenizer: &TokenizerTables,
    ) -> Result<Config> {
        let rope = self.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
        let heads = to_u32(self.num_attention_heads, "num_attention_heads")?;
        ensure!(heads > 0, Code::BadSource, "config.json says that there are no attention heads");
        let head_dim = self.head_dim.unwrap_or(self.hidden_size / u64::from(heads));
        let named = |token: &Option<SpecialToken>| tokenizer.token_id(token.as_ref()?.text());
        let first = |ids: &Option<TokenIds>| ids.as_ref()?.as_slice().first().copied();
        let mut config = Config {
            vocab_size: to_u32(self.vocab_size, "vocab_size")?,
            hidden: to_u32(self.hidden_size, "hidden_size")?,
            layers: to_u32(self.num_hidden_layers, "num_hidden_layers")?,
            heads,
            kv_heads: match self.num_key_value_heads {
                Some(count) => to_u32(count, "num_key_value_heads")?,
                None => heads,
            },
            head_dim: to_u32(head_dim, "head_dim")?,
            ffn: to_u32(self.intermediate_size, "intermediate_size")?,
            max_context: to_u32(self.max_position_embeddings, "max_position_embeddings")?,
            rope_theta: rope.or(self.rope_theta).unwrap_or(10_000.0) as f32,
            rms_eps: self.rms_norm_eps as f32,
            tied: self.tie_word_embeddings.into(),
            bos: first(&self.bos_token_id).or_else(|| named(&names.bos_token)).unwrap_or(NO_TOKEN),
            pad: first(&self.pad_token_id).or_else(|| named(&names.pad_token)).unwrap_or(NO_TOKEN),
            ..Config::zeroed()
        };
        for ids in [&self.eos_token_id, &generation.eos_token_id].into_iter().flatten() {
            set_eos(&mut config, ids.as_slice().iter().copied())?;
        }
        set_eos(&mut config, named(&names.eos_token))?;
        checked(config, "config.json")
    }
}

/// Parses a file of the folder; absent optional files give the default.
pub(super) fn parse<T: for<'a> Deserialize<'a>>(name: &str, text: &str) -> Result<T> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(e) => fail!(Code::BadSource, "{name} cannot be understood: {e}"),
    }
}
