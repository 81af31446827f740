//! What every sensor of power is to the rest.

use kinglet_quant::{Code, Error, Result, ensure};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Rails that carry nothing read slightly below zero; a sensor that is wired backwards reads more.
const LEAST_WATTS: f64 = -0.1;

/// What the readings of a sensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Energy since some moment, in joules: a counter, exact at any rate of reading.
    Energy,
    /// Power at the moment of the reading, in watts.
    Power,
}

impl Quantity {
    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Energy => "energy counter",
            Self::Power => "power",
        }
    }
}

/// A sensor.
pub trait Source: Send {
    /// Its name in records, which is also what selects it.
    fn name(&self) -> &str;

    /// What the readings cover: the input of the board, of the module, or which rails.
    fn boundary(&self) -> &str;

    /// What the readings are.
    fn quantity(&self) -> Quantity;

    /// Readings a second that suit it. A [`super::Sampler`] takes fewer where these cost too much.
    fn rate_hz(&self) -> f64;

    /// A reading: joules or watts, as [`Source::quantity`] says.
    ///
    /// `NotFound` when the sensor is gone, `Unreadable` when it refuses or its text makes no sense.
    fn read(&mut self) -> Result<f64>;
}

/// A file of the kernel that holds one number, which changes.
///
/// `right` is what a user without the right to read it can do, ending in a udev rule.
pub fn number(path: &Path, right: &str) -> Result<f64> {
    let text = first_line(path).map_err(|cause| unreadable(path, right, &cause))?;
    let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| {
        Error::new(
            Code::Unreadable,
            format_args!("{} holds {text:?}, where a sensor writes a number", path.display()),
        )
    })
}

/// The first line of a file, taken by one call: the kernel measures anew for each.
fn first_line(path: &Path) -> io::Result<String> {
    let mut bytes = [0; 64];
    let mut file = File::open(path)?;
    let length = loop {
        match file.read(&mut bytes) {
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    let text = String::from_utf8_lossy(&bytes[..length]);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Why a file of a sensor cannot be read, and what to do.
pub fn unreadable(path: &Path, right: &str, cause: &io::Error) -> Error {
    let path = path.display();
    match cause.kind() {
        ErrorKind::PermissionDenied => Error::new(
            Code::Unreadable,
            format_args!("you have no right to read {path}: run as root, or {right}"),
        ),
        ErrorKind::NotFound => {
            Error::new(Code::NotFound, format_args!("the power sensor is gone: there is no {path}"))
        }
        _ => Error::new(Code::Unreadable, format_args!("the power sensor {path} fails: {cause}")),
    }
}

/// `watts`, unless no load can be as low as that.
pub fn plausible(watts: f64, name: &str) -> Result<f64> {
    ensure!(
        watts >= LEAST_WATTS,
        Code::Unreadable,
        "{name} reads {watts:.2} W, less than nothing: its shunt may be wired the wrong way round"
    );
    Ok(watts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_number_is_the_first_line_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("in1_input");
        fs::write(&file, " 5012\n7\n").unwrap();
        assert_eq!(number(&file, "").unwrap(), 5012.0);
        for wrong in ["", "\n5\n", "five\n", "1 2\n", "inf\n", "nan\n", "0x10\n"] {
            fs::write(&file, wrong).unwrap();
            assert_eq!(number(&file, "").unwrap_err().code(), Code::Unreadable, "{wrong:?}");
        }
        fs::remove_file(&file).unwrap();
        assert_eq!(number(&file, "").unwrap_err().code(), Code::NotFound);
    }

    #[test]
    fn who_has_no_right_reads_what_gives_it() {
        let path = Path::new("/sys/class/powercap/intel-rapl:0/energy_uj");
        let cause = ErrorKind::PermissionDenied.into();
        // What packages install.
        let rules = include_str!("../../../release/system/60-kinglet.rules");
        for right in [super::super::rapl::RIGHT, super::super::meter::RIGHT] {
            let error = unreadable(path, right, &cause);
            assert_eq!(error.code(), Code::Unreadable);
            assert!(error.message().ends_with(right), "the rule is cut: {error}");
            assert!(right.contains("/etc/udev/rules.d/"), "{right}");
            assert!(rules.lines().skip(2).any(|rule| right.contains(rule)), "{right}");
        }
    }

    #[test]
    fn less_than_nothing_is_a_wrong_wiring() {
        assert_eq!(plausible(-0.01, "x").unwrap(), -0.01);
        assert_eq!(plausible(-5.0, "x").unwrap_err().code(), Code::Unreadable);
    }
}
