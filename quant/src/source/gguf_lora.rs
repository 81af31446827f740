//! LoRA adapters in GGUF files, as llama.cpp's `convert_lora_to_gguf.py` writes them.

use super::collector::{Collector, Part, factor};
use super::gguf::Gguf;
use super::gguf_llama::tensor_name;
use super::lora::LowRank;
use super::update::{Found, hash};
use crate::{Code, Config, Result, Role, ensure, fail};
use std::path::Path;

/// Opens a file and checks that its updates fit a model of this shape.
pub(super) fn open(path: &Path, scale: f64, config: &Config) -> Result<Found> {
    let gguf = Gguf::open(path)?;
    let place = path.display().to_string();
    ensure!(
        gguf.is_adapter(),
        Code::BadSource,
        "{place} is no adapter but a {}: name a GGUF file whose general.type is adapter",
        gguf.text("general.type").unwrap_or("model")
    );
    for (key, wanted) in [("adapter.type", "lora"), ("general.architecture", "llama")] {
        let found = gguf.text(key).unwrap_or("nothing");
        ensure!(
            found == wanted,
            Code::UnsupportedArchitecture,
            "{key} in {place} is {found}: only adapters where it is {wanted} can be merged"
        );
    }
    ensure!(
        gguf.get("adapter.alora.invocation_tokens").is_none(),
        Code::UnsupportedArchitecture,
        "{place} is an aLoRA, which changes only what follows certain tokens: it cannot be merged"
    );
    let alpha = gguf.float("adapter.lora.alpha")?.unwrap_or(0.0);
    let base = gguf.text("general.base_model.0.name").map(str::to_owned);
    let names: Vec<String> = gguf.tensor_names().map(str::to_owned).collect();
    let stored: Vec<_> = names.iter().map(|name| gguf.stored(name)).collect();
    let file = gguf.into_file()?.named(place);
    let mut collector = Collector::new(config, &file, base.as_deref(), tensor_name);
    for (name, stored) in names.iter().zip(stored) {
        let (module, part) = match name.rsplit_once('.') {
            Some((module, "lora_a")) => (module, Part::A),
            Some((module, "lora_b")) => (module, Part::B),
            _ if name.ends_with("_norm.weight") => (name.as_str(), Part::Whole),
            _ => fail!(
                Code::BadSource,
                "{} has {name}, which is no part of a LoRA: convert the adapter again with \
                 convert_lora_to_gguf.py",
                file.name()
            ),
        };
        // Of the embedding, llama.cpp keeps the factors as `peft` does but the first transposed.
        let (role, _) = collector.find(module)?;
        let (part, stored) = match part {
            Part::A if role == Role::Embedding => (Part::B, stored?),
            Part::B if role == Role::Embedding => (Part::A, stored?.transposed()),
            part => (part, stored?),
        };
        collector.add(module, part, name, stored)?;
    }
    let updates = collector.finish(|module, role, a, b| {
        let rank = a.shape().0 as f64;
        // As llama.cpp has it: without an alpha the product is taken as it is.
        let wanted = if alpha == 0.0 { scale } else { scale * alpha / rank };
        let scale = factor(file.name(), module, wanted)?;
        let permuted = matches!(role, Role::Q | Role::K).then_some(config.head_dim as usize);
        Ok(LowRank { a, b, scale, permuted })
    })?;
    let sha256 = hash("", &file)?;
    Ok(Found { file, keeps_tie: false, updates, sha256 })
}
