//! Where the checkpoint lies under a path that the user names.

use super::disk::{check_regular, file_name, names_in, read_optional, unreadable};
use super::gguf_parts;
use super::peft_config;
use super::safetensors::Shards;
use crate::{Code, Result, ensure, fail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The folder of a cache entry of the hub that holds its revisions.
pub(super) const SNAPSHOTS: &str = "snapshots";
/// The folder of the library's home that holds the hub's cache.
const HUB: &str = "hub";
/// How the hub's cache calls the folders of models.
const CACHED: &str = "models--";
/// Names that a message lists at most.
const LISTED: usize = 4;

/// The folder or GGUF file that is meant by a path: what lies in a folder with nothing but a GGUF
/// file, and the snapshot of an entry of the hub's cache. Any other path is what it is.
///
/// `NotFound` when there is nothing, `Unreadable` for pipes and devices, `BadArgument` when there
/// are several to choose from.
pub fn locate(path: &Path) -> Result<PathBuf> {
    let exists = path.try_exists().map_err(|e| unreadable(path, &e))?;
    ensure!(
        exists,
        Code::NotFound,
        "{} does not exist: name a Hugging Face folder or a GGUF file",
        path.display()
    );
    if !path.is_dir() {
        check_regular(path)?;
        return Ok(path.to_owned());
    }
    if Shards::is_in(path) {
        return Ok(path.to_owned());
    }
    if let Some(file) = only_gguf(path)? {
        return Ok(file);
    }
    if path.join(SNAPSHOTS).is_dir() {
        return snapshot(path);
    }
    let cached_in = |folder: &Path| -> Vec<String> {
        names_in(folder).into_iter().filter(|name| name.starts_with(CACHED)).collect()
    };
    let hub = path.join(HUB);
    match &cached_in(path)[..] {
        [] if !cached_in(&hub).is_empty() => locate(&hub),
        [] => Ok(path.to_owned()),
        [one] => locate(&path.join(one)),
        several => fail!(
            Code::BadArgument,
            "{} holds several models: name one of {}",
            path.display(),
            listed(several)
        ),
    }
}

/// The GGUF file of a folder that holds one alone, the first of its parts where it is split.
fn only_gguf(folder: &Path) -> Result<Option<PathBuf>> {
    let is_adapter = folder.join(peft_config::NAME).exists();
    let names = names_in(folder).into_iter().filter(|name| name.ends_with(".gguf"));
    let first = names.map(|name| file_name(&gguf_parts::first(&folder.join(name))));
    let files: Vec<String> = first.collect::<BTreeSet<_>>().into_iter().collect();
    match &files[..] {
        _ if is_adapter => Ok(None),
        [] => Ok(None),
        [one] => Ok(Some(folder.join(one))),
        several => fail!(
            Code::BadArgument,
            "{} holds several GGUF files: name one of {}",
            folder.display(),
            listed(several)
        ),
    }
}

/// The revision that an entry of the hub's cache means by `main`, or the only one.
fn snapshot(entry: &Path) -> Result<PathBuf> {
    let all = entry.join(SNAPSHOTS);
    let main = read_optional(&entry.join("refs").join("main"))?;
    let main = main.map(|revision| all.join(revision.trim())).filter(|path| path.is_dir());
    let names = names_in(&all);
    match (main, &names[..]) {
        (Some(main), _) => locate(&main),
        (None, [one]) => locate(&all.join(one)),
        (None, []) => {
            fail!(Code::NotFound, "{} holds no snapshot: fetch the model again", entry.display())
        }
        (None, several) => fail!(
            Code::BadArgument,
            "{} holds several snapshots: name one of {}",
            all.display(),
            listed(several)
        ),
    }
}

/// Names for a message, not all of them where they are many.
fn listed(names: &[String]) -> String {
    let more = if names.len() > LISTED { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(LISTED)].join(", "))
}
