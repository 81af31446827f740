//! Folders as the Hugging Face hub has them.

use super::disk::{file_name, read_optional, read_prose, read_text};
use super::hf_config::{self, ModelConfig};
use super::hf_tokenizer::TokenizerConfig;
use super::peft_config;
use super::place::SNAPSHOTS;
use super::safetensors::{Found, Shards};
use super::update::no_model;
use super::{Kind, Opened, Texts};
use crate::config::{Config, FEATURE_ATTENTION_BIAS, FEATURE_FFN_BIAS};
use crate::json::Object;
use crate::tensor::{self, NO_LAYER};
use crate::vocab_build::TokenizerTables;
use crate::{Code, Result, Role, ensure, fail};
use std::ops::Range;
use std::path::Path;

const GENERATION: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer.json";

/// Tokenizers in other files, with what to do about them.
const OTHER_TOKENIZERS: [(&str, &str); 3] = [
    ("vocab.json", "load it with AutoTokenizer of transformers and save it with save_pretrained"),
    (
        "tokenizer.model",
        "load it with AutoTokenizer of transformers and save it with save_pretrained",
    ),
    ("spiece.model", "load it with AutoTokenizer of transformers and save it with save_pretrained"),
];

/// Weights of head and embedding that are compared at a time.
const COMPARED: usize = 1 << 20;

/// Names under which a folder may have the text of its licence.
const LICENCE_FILES: [&str; 6] =
    ["LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING"];

/// The weights of an opened folder.
#[derive(Debug)]
pub(super) struct Folder {
    shards: Shards,
    /// The name under which the embedding is stored.
    embedding: String,
}

/// Opens a folder and checks that it holds a whole model.
pub(super) fn open(folder: &Path) -> Result<Opened> {
    reject_adapter(folder)?;
    let path = folder.join(hf_config::NAME);
    ensure!(
        path.exists(),
        Code::NotFound,
        "{} has no {}: name a Hugging Face folder or a GGUF file",
        folder.display(),
        hf_config::NAME
    );
    let model = ModelConfig::parse(&read_text(&path)?)?;
    let (generation, generation_text) = read_generation(folder)?;
    let names = TokenizerConfig::open(folder)?;
    let mut tokenizer = read_tokenizer(folder)?;
    if let Some(begin) = names.begin()? {
        let Some(token) = tokenizer.token_id(begin) else {
            fail!(
                Code::UnsupportedTokenizer,
                "every text begins with the token {begin}, which the tokenizer does not have: \
                 correct bos_token in its settings"
            );
        };
        tokenizer.begin_with(token);
    }
    let shards = Shards::open(folder)?;
    let embedding = embedding_name(&shards, model.is_tied()?)?;
    let mut config = model.to_config(&generation, &names, &tokenizer)?;
    let weights = Folder { shards, embedding };
    for (role, layer) in tensor::order(&config) {
        weights.find(&config, role, layer)?;
    }
    let mut notes = Vec::new();
    if weights.has_other_head(&config)? {
        notes.push(
            "config.json calls head and embedding one matrix, but the weights have a head of its \
             own: it is used, as transformers does"
                .to_owned(),
        );
        config.tied = 0;
    }
    for (feature, part, key) in [
        (FEATURE_ATTENTION_BIAS, ".self_attn.", "attention_bias"),
        (FEATURE_FFN_BIAS, ".mlp.", "mlp_bias"),
    ] {
        let is_bias = |name: &str| name.contains(part) && name.ends_with("_proj.bias");
        ensure!(
            config.has(feature) || !weights.shards.any_name(is_bias),
            Code::UnsupportedArchitecture,
            "the checkpoint has biases that {} does not ask for: set {key} to true in it if they \
             belong to the model",
            hf_config::NAME
        );
    }
    let texts = Texts {
        name: name_of(folder),
        chat_template: names.chat_template(folder, &mut notes)?,
        specials: names.specials(),
        licence: read_licence(folder)?,
        generation_config: generation_text,
        origin: weights.shards.origin(),
    };
    let frequencies = model.frequencies(&config);
    let kind = Kind::Folder(weights);
    Ok(Opened { config, frequencies, texts, tokenizer, kind, notes })
}

/// `generation_config.json`, parsed and as it is.
fn read_generation(folder: &Path) -> Result<(Object, Option<String>)> {
    let Some(text) = read_optional(&folder.join(GENERATION))? else {
        return Ok((Object::default(), None));
    };
    let object = Object::parse(GENERATION, &text)?;
    Ok((object, Some(text.trim_start_matches('\u{FEFF}').to_owned())))
}

/// The tables of `tokenizer.json`.
fn read_tokenizer(folder: &Path) -> Result<TokenizerTables> {
    let path = folder.join(TOKENIZER);
    if let Some(text) = read_optional(&path)? {
        return TokenizerTables::from_tokenizer_json(&text);
    }
    let other = OTHER_TOKENIZERS.iter().find(|(name, _)| folder.join(name).exists());
    let Some((name, advice)) = other else {
        fail!(Code::NotFound, "{} has no {TOKENIZER}: fetch it too", folder.display());
    };
    fail!(Code::NotFound, "{} has {name} but no {TOKENIZER}: {advice}", folder.display())
}

/// The name under which the weights have the embedding.
fn embedding_name(shards: &Shards, is_tied: bool) -> Result<String> {
    let [embedding, head] = [Role::Embedding, Role::Head].map(|role| tensor_name(role, NO_LAYER));
    ensure!(
        is_tied || shards.has(&head) || !shards.has(&embedding),
        Code::MissingTensor,
        "the checkpoint has no {head}, and config.json does not call it one matrix with the \
         embedding: fetch all weights, or set tie_word_embeddings to true if it is"
    );
    let is_under_head = is_tied && !shards.has(&embedding) && shards.has(&head);
    Ok(if is_under_head { head } else { embedding })
}

/// Fails for a folder that has an adapter and no model.
fn reject_adapter(folder: &Path) -> Result<()> {
    let is_model = Shards::is_in(folder);
    match read_optional(&folder.join(peft_config::NAME))? {
        Some(settings) if !is_model => {
            Err(no_model(folder, peft_config::base_of(&settings).as_deref()))
        }
        _ => Ok(()),
    }
}

impl Folder {
    fn find(&self, config: &Config, role: Role, layer: u16) -> Result<Found<'_>> {
        let (rows, cols) = role.shape(config);
        match role {
            Role::Embedding => self.shards.find(&self.embedding, rows, cols),
            role => self.shards.find(&tensor_name(role, layer), rows, cols),
        }
    }

    /// Whether the weights of a model that is called tied hold a head that differs from the
    /// embedding.
    fn has_other_head(&self, config: &Config) -> Result<bool> {
        let head = tensor_name(Role::Head, NO_LAYER);
        if config.tied == 0 || self.embedding == head || !self.shards.has(&head) {
            return Ok(false);
        }
        let (rows, cols) = Role::Embedding.shape(config);
        let head = self.shards.find(&head, rows, cols)?;
        let embedding = self.find(config, Role::Embedding, NO_LAYER)?;
        let step = (COMPARED / cols).max(1);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for start in (0..rows).step_by(step) {
            let count = step.min(rows - start) * cols;
            a.clear();
            b.clear();
            head.load(start * cols, count, &mut a)?;
            embedding.load(start * cols, count, &mut b)?;
            if a != b {
                return Ok(true);
            }
        }
        Ok(false)
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
        let (_, cols) = role.shape(config);
        let found = self.find(config, role, layer)?;
        found.load(rows.start * cols, rows.len() * cols, out)
    }
}

/// The name of a tensor in a Hugging Face checkpoint.
pub(super) fn tensor_name(role: Role, layer: u16) -> String {
    if let Some(matrix) = role.of_bias() {
        let name = tensor_name(matrix, layer);
        return name.replace(".weight", ".bias");
    }
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
        role => unreachable!("no checkpoint has {role:?} by itself"),
    };
    format!("model.layers.{layer}.{part}.weight")
}

/// The folder's own name, also of `.` and of paths that end in `..`; the model's where the folder
/// is a snapshot of the hub's cache.
pub(super) fn name_of(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let cached = folder.parent().filter(|parent| parent.ends_with(SNAPSHOTS));
    let cached = cached.and_then(|parent| parent.parent()).map(file_name);
    match cached.as_deref().and_then(|name| name.rsplit_once("--")) {
        Some((_, name)) => name.to_owned(),
        None => file_name(&folder),
    }
}

/// The text of the licence, or the identifier in the head of the model card.
fn read_licence(folder: &Path) -> Result<Option<String>> {
    for name in LICENCE_FILES {
        if let Some(text) = read_prose(&folder.join(name))? {
            return Ok(Some(text));
        }
    }
    let Some(card) = read_prose(&folder.join("README.md"))? else {
        return Ok(None);
    };
    let mut lines = card.lines();
    if lines.next() != Some("---") {
        return Ok(None);
    }
    let mut head = lines.take_while(|line| *line != "---");
    let licence = head.find_map(|line| line.strip_prefix("license:"));
    let licence = licence.map(|licence| licence.trim().trim_matches(['"', '\'']).to_owned());
    Ok(licence.filter(|licence| !licence.is_empty()))
}
