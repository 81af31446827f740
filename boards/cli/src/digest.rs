//! SHA-256 of files.

use crate::{errors, units};
use kinglet_quant::Result;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The SHA-256 of a file in hexadecimal. `step` hears the bytes read so far and may stop the work.
pub fn sha256_file(path: &Path, step: &mut dyn FnMut(u64) -> Result<()>) -> Result<String> {
    let mut file = File::open(path).map_err(|cause| errors::unreadable(path, &cause))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let count = file.read(&mut buffer).map_err(|cause| errors::unreadable(path, &cause))?;
        if count == 0 {
            return Ok(units::hex(&hash.finalize()));
        }
        hash.update(&buffer[..count]);
        done += count as u64;
        step(done)?;
    }
}
