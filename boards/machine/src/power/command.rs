//! Any command that prints watts, such as one that asks a power plug.

use super::source::{Quantity, Source, plausible};
use crate::process;
use kinglet_quant::{Code, Result, fail};

/// A line for the shell.
pub struct Printer {
    name: String,
    line: String,
}

impl Printer {
    /// The command; it is not run yet.
    pub fn new(line: &str) -> Self {
        Self { name: format!("command:{line}"), line: line.into() }
    }
}

impl Source for Printer {
    fn name(&self) -> &str {
        &self.name
    }

    fn boundary(&self) -> &str {
        "what the command measures"
    }

    fn quantity(&self) -> Quantity {
        Quantity::Power
    }

    fn rate_hz(&self) -> f64 {
        4.0
    }

    fn read(&mut self) -> Result<f64> {
        let text = process::output(&mut process::shell(&self.line), &self.line)?;
        let Some(watts) = watts(&text) else {
            let start: String = text.chars().take(40).collect();
            fail!(
                Code::Unreadable,
                "the command {:?} printed {start:?}: it must print watts, such as 4.25 or 4.25 W",
                self.line
            );
        };
        plausible(watts, &self.name)
    }
}

/// The watts of a text such as `4.25`, `4.25W` or `4.25 W`.
fn watts(text: &str) -> Option<f64> {
    let text = text.trim();
    let number = text.strip_suffix(['W', 'w']).unwrap_or(text).trim_end();
    number.parse().ok().filter(|watts: &f64| watts.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_print_watts_and_nothing_else() {
        for text in ["4.25\n", " 4.25W\n", "4.25 W"] {
            assert_eq!(watts(text), Some(4.25), "{text:?}");
        }
        for text in ["", "W", "4250 mW", "4.25 5", "power: 4", "inf", "nan W"] {
            assert_eq!(watts(text), None, "{text:?}");
        }
        assert_eq!(Printer::new("echo 2.5").read().unwrap(), 2.5);
    }

    #[test]
    fn a_command_that_fails_is_quoted() {
        for (line, part) in [
            ("echo no meter >&2; exit 3", "no meter"),
            ("echo volts", "must print watts"),
            ("echo -- -7", "must print watts"),
            ("echo -7", "wrong way round"),
        ] {
            let error = Printer::new(line).read().unwrap_err();
            assert_eq!(error.code(), Code::Unreadable);
            assert!(error.message().contains(part), "{error}");
        }
    }
}
