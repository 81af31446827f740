//! `kinglet sign`: vouches for a weight file.

use crate::args::SignArgs;
use crate::secret_key::SecretKey;
use crate::{errors, input, interrupt, out};
use kinglet::{Code, Error, File, Model, Result, Signature};
use kinglet_quant::ensure;
use kinglet_quant::file::{Header, MAGIC};
use kinglet_quant::signature;
use kinglet_quant::write::{check_output, write_signed};
use serde_json::json;
use std::fs;
use std::io::{ErrorKind, Read};
use std::mem::offset_of;
use std::path::Path;

/// Checks all of a file, signs it and writes it.
pub fn run(args: &SignArgs) -> Result<()> {
    interrupt::install();
    let key = secret_key(&args.key)?;
    let output = args.output.as_ref().unwrap_or(&args.file);
    let unsigned = Signature::unsigned(&args.id, args.model_version, key.id())?;
    let model = Model::open(&args.file)?;
    let file = model.file();
    check_output(output)?;
    check_growth(output, &file, args)?;
    file.verify()?;
    let signature = key.sign(unsigned, file.bytes())?;
    write_signed(file.bytes(), &signature, output)?;
    let (id, version, key) = (signature.model_id(), signature.version(), signature.key_id());
    if args.json {
        return out::json(&json!({
            "file": output, "model_id": id, "version": version, "key_id": key.to_string(),
        }));
    }
    out::text(&format!("{}: {id}, version {version}, signed with key {key}\n", output.display()))
}

fn secret_key(path: &Path) -> Result<SecretKey> {
    let content = input::file(path)?;
    SecretKey::parse(&String::from_utf8_lossy(&content)).map_err(|error| {
        Error::new(error.code(), format_args!("{}: {}", path.display(), error.message()))
    })
}

/// Refuses to replace a version of the model by an older one, or by other content that calls itself
/// the same version.
fn check_growth(output: &Path, file: &File<'_>, args: &SignArgs) -> Result<()> {
    let Some((before, fingerprint)) = signed_before(output)? else { return Ok(()) };
    let is_newer = args.model_version > before.version()
        || args.model_version == before.version() && file.fingerprint() == fingerprint;
    ensure!(
        before.model_id() != args.id || is_newer,
        Code::BadArgument,
        "{} is version {} of {} already, and versions only grow: take a newer one",
        output.display(),
        before.version(),
        args.id
    );
    Ok(())
}

/// The signature of a file that is there, and its fingerprint.
fn signed_before(path: &Path) -> Result<Option<(Signature, [u8; 32])>> {
    let mut file = match fs::File::open(path) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|cause| errors::unreadable(path, &cause))?,
    };
    let mut front = Vec::new();
    let bytes = signature::OFFSET + size_of::<Signature>();
    let read = file.by_ref().take(bytes as u64).read_to_end(&mut front);
    read.map_err(|cause| errors::unreadable(path, &cause))?;
    let Some(signature) = Signature::of(&front).filter(|_| front.starts_with(&MAGIC)) else {
        return Ok(None);
    };
    let fingerprint = front[offset_of!(Header, sha256)..][..32].try_into().expect("32 bytes");
    Ok(Some((signature, fingerprint)))
}
