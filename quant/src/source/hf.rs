//! Folders as the Hugging Face hub has them.

use super::disk::{file_name, unreadable};
use super::hf_config::{GenerationConfig, ModelConfig, TokenizerConfig, parse};
use super::peft_config;
use super::safetensors::Shards;
use super::update::no_model;
use super::{Kind, Opened, Texts};
use crate::config::Config;
use crate::tensor;
use crate::vocab_build::TokenizerTables;
use crate::{Code, Result, Role, ensure};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

/// Names under which a folder may have the text of its licence.
const LICENCE_FILES: [&str; 6] =
    ["LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING"];

/// The weights of an opened folder.
#[derive(Debug)]
pub(super) struct Folder {
    shards: Shards,
}

/// Opens a folder and checks that it holds a whole model.
pub(super) fn open(folder: &Path) -> Result<Opened> {
    reject_adapter(folder)?;
    let model: ModelConfig = parse("config.json", &read_text(folder, "config.json")?)?;
    model.reject_unsupported()?;
    let generation_text = read_optional(folder, "generation_config.json")?;
    let generation: GenerationConfig = match &generation_text {
        Some(text) => parse("generation_config.json", text)?,
        None => GenerationConfig::default(),
    };
    let names: TokenizerConfig = match read_optional(folder, "tokenizer_config.json")? {
        Some(text) => parse("tokenizer_config.json", &text)?,
        None => TokenizerConfig::default(),
    };
    let tokenizer = TokenizerTables::from_tokenizer_json(&read_text(folder, "tokenizer.json")?)?;
    let config = model.into_config(&generation, &names, &tokenizer)?;
    let shards = Shards::open(folder)?;
    for (role, layer) in tensor::order(&config) {
        let (rows, cols) = role.shape(&config);
        shards.find(&tensor_name(role, layer), rows, cols)?;
    }
    ensure!(
        !shards.any_name_ends_with("_proj.bias"),
        Code::UnsupportedArchitecture,
        "the checkpoint has biases: only models without can be converted"
    );
    let texts = Texts {
        name: name_of(folder),
        chat_template: match read_optional(folder, "chat_template.jinja")? {
            Some(template) => Some(template),
            None => names.into_chat_template(),
        },
        licence: read_licence(folder)?,
        generation_config: generation_text,
        origin: shards.origin(),
    };
    Ok(Opened { config, texts, tokenizer, kind: Kind::Folder(Folder { shards }) })
}

/// Fails for a folder that has an adapter and no model.
fn reject_adapter(folder: &Path) -> Result<()> {
    let is_model = Shards::is_in(folder);
    match read_optional(folder, peft_config::NAME)? {
        Some(settings) if !is_model => {
            Err(no_model(folder, peft_config::base_of(&settings).as_deref()))
        }
        _ => Ok(()),
    }
}

impl Folder {
    /// Appends rows of a tensor to `out`.
    pub fn load_rows(
        &self,
        config: &Config,
        role: Role,
        layer: u16,
        rows: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let (all, cols) = role.shape(config);
        let found = self.shards.find(&tensor_name(role, layer), all, cols)?;
        found.load(rows.start * cols, rows.len() * cols, out)
    }
}

/// The name of a tensor in a Hugging Face checkpoint.
pub(super) fn tensor_name(role: Role, layer: u16) -> String {
    let part = match role {
        Role::Embedding => return "model.embed_tokens.weight".to_owned(),
        Role::Head => return "lm_head.weight".to_owned(),
        Role::FinalNorm => return "model.norm.weight".to_owned(),
        Role::AttnNorm => "input_layernorm",
        Role::Q => "self_attn.q_proj",
        Role::K => "self_attn.k_proj",
        Role::V => "self_attn.v_proj",
        Role::O => "self_attn.o_proj",
        Role::FfnNorm => "post_attention_layernorm",
        Role::Gate => "mlp.gate_proj",
        Role::Up => "mlp.up_proj",
        Role::Down => "mlp.down_proj",
    };
    format!("model.layers.{layer}.{part}.weight")
}

fn read_text(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    std::fs::read_to_string(&path).map_err(|e| unreadable(&path, &e))
}

fn read_optional(folder: &Path, name: &str) -> Result<Option<String>> {
    let path = folder.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable(&path, &e)),
    }
}

/// The folder's own name, also of `.` and of paths that end in `..`.
pub(super) fn name_of(folder: &Path) -> String {
    file_name(&folder.canonicalize().unwrap_or_else(|_| folder.to_owned()))
}

/// The text of the licence, or the identifier in the head of the model card.
fn read_licence(folder: &Path) -> Result<Option<String>> {
    for name in LICENCE_FILES {
        if let Some(text) = read_optional(folder, name)? {
            return Ok(Some(text));
        }
    }
    let Some(card) = read_optional(folder, "README.md")? else {
        return Ok(None);
    };
    let Some((head, _)) = card.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---"))
    else {
        return Ok(None);
    };
    let licence = head.lines().find_map(|line| line.strip_prefix("license:"));
    Ok(licence.map(|licence| licence.trim().to_owned()))
}
