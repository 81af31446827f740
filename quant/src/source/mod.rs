//! Checkpoints that can be converted: Hugging Face folders and GGUF files.
//!
//! A [`Source`] reads the small parts when it is opened and checks that every tensor of the model
//! is there with the right shape and in a known number format. Weights are read when asked for, by
//! rows, so that converting takes little memory.

mod blocks;
mod disk;
mod gguf;
mod gguf_llama;
mod hf;
mod hf_config;
mod safetensors;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use crate::fold::Folds;
use crate::vocab_build::TokenizerTables;
use crate::{Code, Config, Error, Result, Role, ensure, fail};
use std::ops::Range;
use std::path::Path;

/// The token that ends a document in every model of the family.
const END_OF_TEXT: &str = "<|endoftext|>";

/// The texts that a checkpoint carries along.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// The model's name.
    pub name: String,
    /// Chat template in Jinja.
    pub chat_template: Option<String>,
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
    texts: Texts,
    tokenizer: TokenizerTables,
    kind: Kind,
    folds: Vec<Folds>,
}

#[derive(Debug)]
enum Kind {
    Folder(hf::Folder),
    Gguf(gguf_llama::Model),
}

/// What the readers of both kinds hand to [`Source`].
struct Opened {
    config: Config,
    texts: Texts,
    tokenizer: TokenizerTables,
    kind: Kind,
}

impl Source {
    /// Opens a folder with `config.json`, safetensors and tokenizer, or a `.gguf` file.
    pub fn open(path: &Path) -> Result<Self> {
        ensure!(
            path.exists(),
            Code::NotFound,
            "{} does not exist: name a Hugging Face folder or a GGUF file",
            path.display()
        );
        let opened = if path.is_dir() { hf::open(path)? } else { gguf_llama::open(path)? };
        let Opened { mut config, texts, mut tokenizer, kind } = opened;
        let tokens = config.vocab_size as usize;
        ensure!(
            tokenizer.len() <= tokens,
            Code::TokenizerMismatch,
            "the tokenizer has {} tokens, the model {tokens}: take both from one checkpoint",
            tokenizer.len()
        );
        tokenizer.pad_to(tokens);
        // Replies of instruction-tuned models end with a token of their own, now and then with
        // this.
        set_eos(&mut config, tokenizer.token_id(END_OF_TEXT))?;
        Ok(Self { config, texts, tokenizer, kind, folds: Vec::new() })
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
        let (all, cols) = role.shape(&self.config);
        assert!(rows.start <= rows.end && rows.end <= all);
        out.clear();
        out.reserve_exact(rows.len() * cols);
        let range = rows.clone();
        match &self.kind {
            Kind::Folder(folder) => folder.load_rows(&self.config, role, layer, range, out)?,
            Kind::Gguf(model) => model.load_rows(&self.config, role, layer, range, out)?,
        }
        self.folds.iter().for_each(|folds| folds.apply(role, layer, rows.clone(), out));
        ensure!(
            out.iter().all(|value| value.is_finite()),
            Code::BadSource,
            "tensor {} has values that are not finite numbers: the checkpoint is damaged",
            crate::tensor::name(role, layer)
        );
        Ok(())
    }
}

/// Checks a configuration made from a checkpoint; the error names the checkpoint.
fn checked(config: Config, name: &str) -> Result<Config> {
    match config.check() {
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
