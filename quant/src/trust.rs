//! Which signed files are accepted.

use crate::{Code, PublicKey, Result, Signature, ensure, fail};

/// Which signed files are accepted.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// Who must have signed.
    pub key: PublicKey,
    /// Which model it must be; `None` takes any that the key has signed.
    pub model_id: Option<&'a str>,
    /// The oldest version that is accepted: where it is the newest one that was ever used, nobody
    /// can bring back an older file.
    pub least_version: u64,
    /// Whether weights are compared with their checksum when the file is opened, too, which reads
    /// all of it. Altered weights change what the model says, and nothing else.
    pub checks_weights: bool,
}

impl<'a> Trust<'a> {
    /// Accepts every version of every model that the key has signed, weights checked.
    pub fn new(key: PublicKey) -> Self {
        Self { key, model_id: None, least_version: 0, checks_weights: true }
    }

    /// Whether a file that begins with these bytes is accepted, before anything of it is believed.
    /// Returns its signature.
    ///
    /// `NotSigned`, `WrongSignature`, `Replayed` for another model or an older version, and what
    /// [`Signature::signed`] returns.
    pub fn check(&self, file: &[u8]) -> Result<Signature> {
        let Some(signature) = Signature::of(file) else {
            fail!(
                Code::NotSigned,
                "the file is not signed, and key {} is required: sign it with `kinglet sign`, or \
                 get a signed one",
                self.key.id()
            );
        };
        signature.check(&self.key, file)?;
        if let Some(id) = self.model_id {
            ensure!(
                signature.model_id() == id,
                Code::Replayed,
                "the file is model {}, and {id} is required",
                signature.model_id()
            );
        }
        ensure!(
            signature.version() >= self.least_version,
            Code::Replayed,
            "the file is version {} of {}, and {} is the oldest that is accepted: get a newer one",
            signature.version(),
            signature.model_id(),
            self.least_version
        );
        Ok(signature)
    }
}

#[cfg(all(test, feature = "import"))]
mod tests;
