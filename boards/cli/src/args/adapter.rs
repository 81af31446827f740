//! Adapters as people name them.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// An adapter and how strongly to merge it: `DIR` or `DIR=SCALE`.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterArg {
    /// A PEFT folder or a GGUF file.
    pub path: PathBuf,
    /// What its updates are multiplied by.
    pub scale: f64,
}

impl FromStr for AdapterArg {
    type Err = String;

    /// A path may have `=` in it where it exists as a whole.
    fn from_str(text: &str) -> Result<Self, String> {
        let whole = || Self { path: text.into(), scale: 1.0 };
        let (path, scale) = match text.rsplit_once('=') {
            None => return Ok(whole()),
            Some(_) if Path::new(text).exists() => return Ok(whole()),
            Some(parts) => parts,
        };
        match scale.parse::<f64>() {
            Ok(scale) if scale.is_finite() && scale != 0.0 && !path.is_empty() => {
                Ok(Self { path: path.into(), scale })
            }
            _ => Err("write a folder or file, then maybe = and a scale other than 0, such as \
                      style or style=0.5"
                .into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_follow_the_last_equals_sign() {
        let parse = |text: &str| text.parse::<AdapterArg>();
        let arg = |path: &str, scale| Ok(AdapterArg { path: path.into(), scale });
        assert_eq!(parse("style"), arg("style", 1.0));
        assert_eq!(parse("a/b.gguf=0.5"), arg("a/b.gguf", 0.5));
        assert_eq!(parse("a=b=-2"), arg("a=b", -2.0));
        for wrong in ["a=", "a=b", "a=0", "a=inf", "a=NaN", "=1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r=16");
        std::fs::write(&path, "").unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(parse(path), arg(path, 1.0));
        assert_eq!(parse(&format!("{path}=0.5")), arg(path, 0.5));
    }
}
