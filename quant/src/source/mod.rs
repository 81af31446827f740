//! Checkpoints that can be converted: Hugging Face folders and GGUF files.
//!
//! A [`Source`] reads the small parts when it is opened and checks that every tensor of the model
//! is there with the right shape and in a known number format. Weights are read when asked for, by
//! rows, so that converting takes little memory. Adapters can be merged into it.

mod adapter;
mod blocks;
mod collector;
mod disk;
mod frequencies;
mod ggml_types;
mod gguf;
mod gguf_head;
mod gguf_llama;
mod gguf_lora;
mod gguf_parts;
#[cfg(test)]
mod gguf_tests;
mod gguf_tokenizer;
mod hf;
mod hf_config;
mod hf_names;
#[cfg(test)]
mod hf_tests;
mod hf_tokenizer;
mod lora;
mod peft;
mod peft_config;
mod permuted;
mod place;
mod safetensors;
mod stored;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod testing_gguf;
#[cfg(test)]
mod tests;
mod update;
mod widened;

use crate::config::FEATURE_ROTARY_FREQUENCIES;
use crate::fold::Folds;
use crate::template::{SpecialTexts, Template};
use crate::vocab_build::TokenizerTables;
use crate::{Code, Config, Error, Result, Role, ensure, fail};
use adapter::Adapter;
pub use adapter::Merged;
pub use gguf_parts::parts;
pub use place::locate;
use std::ops::Range;
use std::path::Path;
use widened::{Widths, widened};

/// The token that ends a document in every model of the family.
const END_OF_TEXT: &str = "<|endoftext|>";

/// Rows that a model has at most for tokens that its tokenizer does not have.
const MAX_UNUSED: usize = 1 << 16;

/// Tokens that a tokenizer is taken to have been given for a training of the model.
const MAX_ADDED: usize = 64;

/// The texts that a checkpoint carries along.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// The model's name.
    pub name: String,
    /// Chat template in Jinja.
    pub chat_template: Option<String>,
    /// What the tokenizer's files say of special tokens; `None` where they say nothing.
    pub specials: Option<SpecialTexts>,
    /// The licence: its full text, or its SPDX identifier where that is all there is.
    pub licence: Option<String>,
    /// `generation_config.json` as it is.
    pub generation_config: Option<String>,
    /// File names and sizes that the weights come from.
    pub origin: String,
}

/// An opened checkpoint.
#[derive(Debug)]
pub struct Source {
    config: Config,
    /// The shape as the checkpoint has it.
    stored: Config,
    /// One for each pair of a head, where they do not follow from the model's theta.
    frequencies: Option<Vec<f32>>,
    texts: Texts,
    tokenizer: TokenizerTables,
    kind: Kind,
    /// Whether the head is read from the embedding.
    is_tied: bool,
    adapters: Vec<Adapter>,
    folds: Vec<Folds>,
    notes: Vec<String>,
}

#[derive(Debug)]
enum Kind {
    Folder(hf::Folder),
    Gguf(gguf_llama::Model),
}

/// What the readers of both kinds hand to [`Source`].
struct Opened {
    /// The shape as the checkpoint has it; the widened one was checked.
    config: Config,
    /// How fast each pair of a head turns, where positions are scaled.
    frequencies: Option<Vec<f32>>,
    texts: Texts,
    tokenizer: TokenizerTables,
    kind: Kind,
    /// What the user should know.
    notes: Vec<String>,
}

impl Source {
    /// Opens a folder with `config.json`, safetensors and tokenizer, or a `.gguf` file, as
    /// [`locate`] finds it under a path.
    pub fn open(path: &Path) -> Result<Self> {
        let path = &locate(path)?;
        let opened = if path.is_dir() { hf::open(path)? } else { gguf_llama::open(path)? };
        let Opened { config: mut stored, frequencies, texts, mut tokenizer, kind, mut notes } =
            opened;
        let tokens = stored.vocab_size as usize;
        check_vocabulary(&tokenizer, tokens)?;
        tokenizer.pad_to(tokens);
        // Replies of instruction-tuned models end with a token of their own, now and then with
        // this.
        set_eos(&mut stored, tokenizer.token_id(END_OF_TEXT))?;
        let is_tied = stored.tied == 1;
        let mut config = widened(&stored);
        // The format's formula takes the width of a head with its zeros.
        let is_wider = config.head_dim != stored.head_dim;
        let plain = || frequencies::plain(stored.rope_theta, stored.head_dim);
        let frequencies = frequencies.or_else(|| is_wider.then(plain));
        if frequencies.is_some() {
            stored.features |= FEATURE_ROTARY_FREQUENCIES;
            config.features |= FEATURE_ROTARY_FREQUENCIES;
        }
        let (adapters, folds) = (Vec::new(), Vec::new());
        if let Some(Err(error)) = template_of(&texts, &config, &tokenizer) {
            let message = error.message();
            notes.push(format!("{message}: `kinglet run` works, `kinglet chat` does not"));
        }
        Ok(Self {
            config,
            stored,
            frequencies,
            texts,
            tokenizer,
            kind,
            is_tied,
            adapters,
            folds,
            notes,
        })
    }

    /// The checkpoint's chat template, if it has one. `BadSource` when it needs something that
    /// Kinglet lacks.
    pub fn chat_template(&self) -> Option<Result<Template>> {
        template_of(&self.texts, &self.config, &self.tokenizer)
    }

    /// What the user should know of the checkpoint, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Merges a LoRA adapter into everything that is loaded from now on: `W += scale · f · B A`,
    /// with the factor `f` that the adapter asks for (its alpha over its rank, or over the root of
    /// it). All of it is computed in f32, also where the checkpoint has fewer bits. `path` is a
    /// folder as `peft` writes it, or a GGUF file; several adapters are added one after the other.
    ///
    /// Where the head is the embedding and the adapter changes one of them only, or each by itself,
    /// the model gets a head of its own, as it was while the adapter was trained.
    ///
    /// Errors name the file and what to do: `NotFound`, `BadSource` and `Truncated` for what cannot
    /// be read, `UnsupportedArchitecture` for other adapters than plain LoRA, `MissingTensor` and
    /// `WrongShape` for those of another model, `BadArgument` for a scale that makes no sense.
    /// Panics when channels have been re-scaled before.
    pub fn merge(&mut self, path: &Path, scale: f64) -> Result<()> {
        assert!(self.folds.is_empty(), "adapters come before re-scaling");
        let adapter = Adapter::open(path, scale, &self.stored)?;
        self.adapters.iter().try_for_each(|other| adapter.check_beside(other))?;
        if adapter.unties {
            self.config.tied = 0;
            self.stored.tied = 0;
        }
        self.adapters.push(adapter);
        Ok(())
    }

    /// The adapters that are merged, in their order.
    pub fn adapters(&self) -> impl Iterator<Item = &Merged> {
        self.adapters.iter().map(|adapter| &adapter.merged)
    }

    /// The shape of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The texts that come with the model.
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// The tokenizer, padded with empty tokens to the model's vocabulary.
    pub fn tokenizer(&self) -> &TokenizerTables {
        &self.tokenizer
    }

    /// Re-scales channels of everything that is loaded from now on; see [`crate::fold`].
    pub fn fold(&mut self, folds: Folds) {
        self.folds.push(folds);
    }

    /// Whether channels are re-scaled.
    pub fn is_folded(&self) -> bool {
        !self.folds.is_empty()
    }

    /// A whole tensor, `rows × cols` values row by row; see [`Source::load_rows`].
    pub fn load(&self, role: Role, layer: u16) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        self.load_rows(role, layer, 0..role.shape(&self.config).0, &mut values)?;
        Ok(values)
    }

    /// Replaces `out` by some rows of a tensor, `rows.len() × cols` values.
    ///
    /// Query and key rows come in the order of `rotate_half` whatever the source's order. Panics
    /// when the rows lie outside the tensor. `BadSource` when a value is not finite.
    pub fn load_rows(
        &self,
        role: Role,
        layer: u16,
        rows: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        assert!(rows.start <= rows.end && rows.end <= role.shape(&self.config).0);
        let widths = Widths { stored: &self.stored, wide: &self.config };
        if role.shape(&self.stored) == role.shape(&self.config) {
            self.load_stored(role, layer, rows.clone(), out)?;
        } else {
            let stored = widths.stored_rows(role, rows.clone());
            self.load_stored(role, layer, stored, out)?;
            *out = widths.widen(role, rows.clone(), out);
        }
        self.folds.iter().for_each(|folds| folds.apply(role, layer, rows.clone(), out));
        ensure!(
            is_finite(out),
            Code::BadSource,
            "tensor {} overflows with its adapters or re-scaled channels: take smaller scales",
            crate::tensor::name(role, layer)
        );
        Ok(())
    }

    /// Replaces `out` by some rows of a tensor as the checkpoint has it, with its adapters.
    fn load_stored(
        &self,
        role: Role,
        layer: u16,
        rows: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let cols = role.shape(&self.stored).1;
        out.clear();
        out.reserve_exact(rows.len() * cols);
        if let (Role::RotaryFrequencies, Some(frequencies)) = (role, &self.frequencies) {
            out.extend(frequencies);
            return Ok(());
        }
        // A head of its own that a tied model got from an adapter begins as the embedding.
        let from = if self.is_tied && role == Role::Head { Role::Embedding } else { role };
        let range = rows.clone();
        match &self.kind {
            Kind::Folder(folder) => folder.load_rows(&self.stored, from, layer, range, out)?,
            Kind::Gguf(model) => model.load_rows(&self.stored, from, layer, range, out)?,
        }
        ensure!(
            is_finite(out),
            Code::BadSource,
            "tensor {} has values that are not finite numbers: the checkpoint is damaged",
            crate::tensor::name(role, layer)
        );
        for adapter in &self.adapters {
            adapter.load_base(role, layer, rows.clone(), out)?;
        }
        for adapter in &self.adapters {
            adapter.merge(role, layer, rows.clone(), out)?;
        }
        Ok(())
    }
}

fn is_finite(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}

/// The chat template among these texts, tried on some conversations.
fn template_of(
    texts: &Texts,
    config: &Config,
    tokenizer: &TokenizerTables,
) -> Option<Result<Template>> {
    let source = texts.chat_template.as_ref().filter(|text| !text.is_empty())?;
    let template = match &texts.specials {
        Some(specials) => Template::with(source, specials.clone(), None),
        None => Template::of(source, config, |token| tokenizer.text(token), None),
    };
    Some(template.and_then(|template| template.check().map(|()| template)))
}

/// Fails when the tokenizer has tokens that the model has no rows for.
fn check_vocabulary(tokenizer: &TokenizerTables, rows: usize) -> Result<()> {
    let tokens = tokenizer.len();
    // A handful of them was added for a training; more are another model's.
    let is_added = (1..=MAX_ADDED).contains(&tokens.saturating_sub(rows));
    let first = (tokens > rows).then(|| String::from_utf8_lossy(tokenizer.text(rows as u32)));
    ensure!(
        !is_added,
        Code::TokenizerMismatch,
        "the tokenizer has {tokens} tokens, the model {rows}: {:?} was added without a row for it; \
         call resize_token_embeddings in transformers and save again, or take it out of the \
         tokenizer's added tokens",
        first.unwrap_or_default()
    );
    ensure!(
        tokens <= rows,
        Code::TokenizerMismatch,
        "the tokenizer has {tokens} tokens, the model {rows}: take both from one checkpoint"
    );
    // Each of them takes memory.
    ensure!(
        rows - tokens <= MAX_UNUSED,
        Code::TokenizerMismatch,
        "the model has {rows} rows for tokens, the tokenizer {tokens}: take both from one \
         checkpoint"
    );
    Ok(())
}

/// Checks a configuration made from a checkpoint; the error names the checkpoint.
fn checked(config: Config, name: &str) -> Result<Config> {
    match widened(&config).check() {
        Ok(()) => Ok(config),
        Err(e) => Err(Error::new(
            Code::UnsupportedArchitecture,
            format_args!("{name} describes a model that Kinglet cannot run: {}", e.message()),
        )),
    }
}

/// A number of the checkpoint as the `u32` that [`Config`] stores.
fn to_u32(value: u64, key: &str) -> Result<u32> {
    match u32::try_from(value) {
        Ok(value) => Ok(value),
        Err(_) => fail!(Code::BadSource, "{key} is {value}, which is far too large"),
    }
}

/// Puts the end tokens into a configuration, each once.
fn set_eos(config: &mut Config, tokens: impl IntoIterator<Item = u32>) -> Result<()> {
    for token in tokens {
        if config.eos_tokens().contains(&token) {
            continue;
        }
        let count = config.eos_count as usize;
        ensure!(
            count < crate::config::MAX_EOS,
            Code::BadSource,
            "the checkpoint names more than {} end tokens",
            crate::config::MAX_EOS
        );
        config.eos[count] = token;
        config.eos_count += 1;
    }
    Ok(())
}
