//! Data beside the repository that a clone need not have.

use crate::skip::skip;
use std::path::{Path, PathBuf};

/// The path of `../shared/NAME`; where it does not exist, says that `test` is skipped.
pub fn shared(test: &str, name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    skip(test, format_args!("../shared/{name} is not there"));
    None
}
