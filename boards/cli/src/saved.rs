//! Texts with their keys and values, saved to files.

use crate::chat::shared_prefix;
use crate::errors::unwritable;
use crate::input;
use kinglet::{Result, Session};
use std::fs;
use std::path::Path;

/// Replaces the session's text by a saved one, and keeps of it what it has in common with `prompt`.
/// Returns how many tokens of the prompt that are.
pub fn load(session: &mut Session, path: &Path, prompt: &[u32]) -> Result<usize> {
    session.restore(&input::file(path)?)?;
    let common = shared_prefix(session.tokens(), prompt);
    session.rewind(common);
    Ok(common)
}

/// Saves the session's text. A file that was there is replaced once the new one is complete.
pub fn save(session: &mut Session, path: &Path) -> Result<()> {
    let mut state = vec![0; session.state_bytes()];
    let bytes = session.save(0, &mut state)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let written = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))
        .and_then(|file| fs::write(file.path(), &state[..bytes]).map(|()| file))
        .and_then(|file| Ok(file.persist(path)?));
    written.map(|_| ()).map_err(|cause| unwritable(path, &cause))
}
