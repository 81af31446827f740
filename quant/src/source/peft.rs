//! LoRA adapters in the folders that `peft` writes.

use super::collector::{Collector, Part, factor};
use super::disk::{DiskFile, read_text};
use super::hf;
use super::lora::LowRank;
use super::peft_config::{NAME, PeftConfig};
use super::safetensors::Shard;
use super::update::{Found, hash};
use crate::{Code, Config, Result, Role, ensure, fail};
use std::path::Path;

const WEIGHTS: &str = "adapter_model.safetensors";
/// What `peft` wraps a model in.
const PREFIX: &str = "base_model.model.";

/// Opens a folder and checks that its updates fit a model of this shape.
pub(super) fn open(folder: &Path, scale: f64, config: &Config) -> Result<Found> {
    let place = folder.display();
    let path = folder.join(NAME);
    ensure!(
        path.exists(),
        Code::NotFound,
        "{place} has no {NAME}: name the folder of an adapter, as peft's save_pretrained writes it"
    );
    let settings = read_text(&path)?;
    let peft = PeftConfig::parse(&path.display().to_string(), &settings)?;
    let path = folder.join(WEIGHTS);
    ensure!(
        path.exists(),
        Code::NotFound,
        "{place} has no {WEIGHTS}{}: save the adapter as safetensors",
        if folder.join("adapter_model.bin").exists() { " but adapter_model.bin" } else { "" }
    );
    let shard = Shard::read(DiskFile::open(&path)?.named(path.display().to_string()))?;
    let names = shard.names();
    let module_name = |role, layer| {
        let name = hf::tensor_name(role, layer);
        name.strip_suffix(".weight").expect("all of them are weights").to_owned()
    };
    let stored = names.iter().map(|name| (name, shard.stored(name)));
    let stored: Vec<_> = stored.collect();
    let file = shard.into_file();
    let mut collector = Collector::new(config, &file, peft.base.as_deref(), module_name);
    for (name, stored) in stored {
        let (module, part) = classify(name, &file)?;
        let (role, _) = collector.find(&module)?;
        let mut stored = stored?;
        let (is_embedding, is_factor) = (is_embedding(name), matches!(part, Part::A | Part::B));
        ensure!(
            !is_factor || is_embedding == (role == Role::Embedding),
            Code::BadSource,
            "{} has {name}, but {module} is {} embedding: save the adapter again",
            file.name(),
            if is_embedding { "no" } else { "an" }
        );
        // An embedding looks rows up: of one-hot inputs, the transposed factors are the product's.
        let part = match part {
            Part::A if is_embedding => Part::B,
            Part::B if is_embedding => Part::A,
            part => part,
        };
        if is_embedding {
            stored = stored.transposed();
        }
        collector.add(&module, part, name, stored)?;
    }
    let updates = collector.finish(|module, _, a, b| {
        let (rank, wanted) = (a.shape().0, peft.rank(module));
        ensure!(
            rank as f64 == wanted,
            Code::WrongShape,
            "the update of {module} in {} has rank {rank}, {NAME} says {wanted}: save both again",
            file.name()
        );
        let scale = factor(file.name(), module, peft.factor(module, scale))?;
        Ok(LowRank { a, b, scale, permuted: None })
    })?;
    let sha256 = hash(&settings, &file)?;
    Ok(Found { file, keeps_tie: peft.keeps_tie, updates, sha256 })
}

fn is_embedding(name: &str) -> bool {
    name.contains(".lora_embedding_")
}

/// The module that a stored tensor belongs to, and what it is to it.
///
/// `peft` leaves out the adapter's own name, as in `lora_A.default.weight`; others keep it.
fn classify(name: &str, file: &DiskFile) -> Result<(String, Part)> {
    let path: Vec<&str> = name.strip_prefix(PREFIX).unwrap_or(name).split('.').collect();
    let marks = |part: &&str| part.starts_with("lora_") || is_wrapper(part);
    let at = path.iter().position(marks).unwrap_or(path.len() - 1);
    let module = path[..at].join(".");
    let part = match path[at..] {
        ["lora_A", "weight"] | ["lora_A", _, "weight"] => Part::A,
        ["lora_B", "weight"] | ["lora_B", _, "weight"] => Part::B,
        ["lora_embedding_A"] | ["lora_embedding_A", _] => Part::A,
        ["lora_embedding_B"] | ["lora_embedding_B", _] => Part::B,
        ["base_layer", "weight"] => Part::Base,
        ["modules_to_save", _, "weight"] | ["weight"] => Part::Whole,
        [.., "bias"] => fail!(
            Code::UnsupportedArchitecture,
            "{} has the bias {name}: models have no biases here, train a LoRA without \
             (lora_bias false, bias none)",
            file.name()
        ),
        ["lora_magnitude_vector", ..] => fail!(
            Code::UnsupportedArchitecture,
            "{} has {name}, which is of a DoRA (use_dora): only plain LoRA can be merged",
            file.name()
        ),
        ["token_adapter", ..] => fail!(
            Code::UnsupportedArchitecture,
            "{} has {name}, of tokens that were trained one by one (trainable_token_indices): only \
             plain LoRA can be merged",
            file.name()
        ),
        _ => fail!(
            Code::BadSource,
            "{} has {name}, which is no part of a LoRA: save the adapter with peft",
            file.name()
        ),
    };
    Ok((module, part))
}

/// Whether a part of a tensor's name is that of one of `peft`'s wrappers.
fn is_wrapper(part: &str) -> bool {
    ["base_layer", "modules_to_save", "token_adapter"].contains(&part)
}
