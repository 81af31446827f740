//! What a model must be signed with.

use crate::input;
use clap::Args;
use kinglet::{Code, Error, PublicKey, Result, Trust};
use kinglet_quant::fail;
use std::path::Path;

/// Where help shows these flags.
const HEADING: &str = "Signature";

/// Which signed files are accepted. A heading for all of them would go on behind the last one.
#[derive(Clone, Debug, Args)]
pub struct TrustArgs {
    /// Take only files that this key has signed: a .pub file of minisign, or its line that begins
    /// with RW
    #[arg(long, value_name = "KEY", env = "KINGLET_REQUIRE_KEY", help_heading = HEADING)]
    require_key: Option<String>,
    /// Take only versions of the model with this id
    #[arg(long, value_name = "ID", env = "KINGLET_REQUIRE_MODEL", help_heading = HEADING)]
    #[arg(requires = "require_key")]
    require_model: Option<String>,
    /// Take this version or a newer one
    #[arg(long, value_name = "N", env = "KINGLET_REQUIRE_VERSION", help_heading = HEADING)]
    #[arg(requires = "require_key")]
    require_version: Option<u64>,
    /// Start without reading the whole file to compare the weights with their checksum
    #[arg(long, requires = "require_key", help_heading = HEADING)]
    skip_weights_check: bool,
}

impl TrustArgs {
    /// The same key for any version of any model.
    pub fn of_any_model(&self) -> Self {
        Self { require_model: None, require_version: None, ..self.clone() }
    }

    /// Which files are accepted, where a key is required.
    pub fn trust(&self) -> Result<Option<Trust<'_>>> {
        let Some(key) = &self.require_key else { return Ok(None) };
        Ok(Some(Trust {
            key: public_key(key)?,
            model_id: self.require_model.as_deref(),
            least_version: self.require_version.unwrap_or_default(),
            checks_weights: !self.skip_weights_check,
        }))
    }
}

/// The key that a text is, or that the file with this name holds.
fn public_key(text: &str) -> Result<PublicKey> {
    if let Ok(key) = PublicKey::parse(text) {
        return Ok(key);
    }
    let path = Path::new(text);
    if !path.exists() {
        fail!(
            Code::BadArgument,
            "{text} is neither a file nor a public key: give a .pub file of minisign, or its line \
             that begins with RW"
        );
    }
    let content = input::file(path)?;
    let content = String::from_utf8_lossy(&content);
    PublicKey::parse(&content)
        .map_err(|error| Error::new(error.code(), format_args!("{text}: {}", error.message())))
}
