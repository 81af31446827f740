//! The power chip of a Raspberry Pi 5, which the firmware reads.

use super::source::{Quantity, Source, plausible};
use crate::Root;
use crate::firmware;
use crate::process;
use kinglet_quant::{Code, Error, Result, fail};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

const REQUEST: &str = "pmic_read_adc";
/// Watts at the input for each watt of the rails, and watts that no rail shows, as fitted by
/// <https://pitop.hongjunwu.com/guide/power>.
const INPUT_PER_RAIL: f64 = 1.1451;
const INPUT_BESIDE_RAILS: f64 = 0.5879;

/// The rails that the firmware measures.
pub struct Pmic(PathBuf);

impl Pmic {
    /// The chip, read through `vcgencmd`; `None` where there is no such command, or where its
    /// board has no such chip.
    pub fn find(root: &Root) -> Option<Result<Self>> {
        let mut pmic = Self(firmware::vcgencmd(root)?);
        match pmic.read() {
            Ok(_) => Some(Ok(pmic)),
            Err(error) if error.code() == Code::NotFound => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl Source for Pmic {
    fn name(&self) -> &str {
        "pmic"
    }

    fn boundary(&self) -> &str {
        "input of the board, estimated from the rails of the power chip (sum × 1.1451 + 0.5879 W); \
         what USB and HAT ports feed from 5 V is not seen"
    }

    fn quantity(&self) -> Quantity {
        Quantity::Power
    }

    fn rate_hz(&self) -> f64 {
        10.0
    }

    fn read(&mut self) -> Result<f64> {
        let text = process::output(Command::new(&self.0).arg(REQUEST), "vcgencmd pmic_read_adc")
            .map_err(|error| match error.message().contains("/dev/vcio") {
                true => Error::new(
                    Code::Unreadable,
                    format_args!(
                        "you have no right to open /dev/vcio, through which the power chip is \
                         read: run as root, or join its group: sudo usermod -aG video $USER"
                    ),
                ),
                false => error,
            })?;
        let Some(rails) = rails_watts(&text) else {
            if text.contains("error") || text.trim().is_empty() {
                return Err(missing());
            }
            let start: String = text.chars().take(60).collect();
            fail!(
                Code::Unreadable,
                "vcgencmd pmic_read_adc printed {start:?}: no rail has both volts and amperes"
            );
        };
        plausible(rails * INPUT_PER_RAIL + INPUT_BESIDE_RAILS, "pmic")
    }
}

/// The power of all rails that have a voltage and a current: lines such as
/// `VDD_CORE_A current(7)=0.75012000A`, and `VDD_CORE_A=0.7501A` of other firmware.
fn rails_watts(text: &str) -> Option<f64> {
    let mut rails: BTreeMap<&str, [Option<f64>; 2]> = BTreeMap::new();
    for line in text.lines() {
        let (key, value) = line.split_once('=')?;
        let name = key.split_whitespace().next()?;
        let (rail, unit) = name.rsplit_once('_')?;
        let which = ["V", "A"].iter().position(|known| *known == unit)?;
        let value: f64 = value.trim().trim_end_matches(['A', 'V']).parse().ok()?;
        rails.entry(rail).or_default()[which] = Some(value);
    }
    let mut products = rails.values().filter_map(|[volts, amperes]| Some((*volts)? * (*amperes)?));
    products.next().map(|first| first + products.sum::<f64>())
}

/// That a machine has no such chip.
pub fn missing() -> Error {
    Error::new(
        Code::NotFound,
        format_args!(
            "there is no power chip that vcgencmd pmic_read_adc reads: a Raspberry Pi 5, 500 or \
             CM5 has one, older boards do not"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = " 3V7_WL_SW_A current(0)=0.00097593A\n   3V3_SYS_A current(1)=0.10000000A\n \
         VDD_CORE_A current(7)=2.00000000A\n  3V3_SYS_V volt(9)=3.30000000V\n\
         VDD_CORE_V volt(15)=0.75000000V\n     EXT5V_V volt(24)=5.15268000V\n\
         BATT_V volt(25)=0.00000000V\n";
    const SHORT: &str = "3V3_SYS_A=0.1000A\n3V3_SYS_V=3.3000V\nVDD_CORE_A=2.0000A\n\
         VDD_CORE_V=0.7500V\nEXT5V_V=5.1527V\n";

    #[test]
    fn both_texts_of_the_firmware_are_read() {
        for text in [LONG, SHORT] {
            assert!((rails_watts(text).unwrap() - (0.33 + 1.5)).abs() < 1e-9);
        }
        assert_eq!(rails_watts("EXT5V_V volt(24)=5.15268000V\n"), None);
        assert_eq!(rails_watts("VDD_CORE_A current(7)=much\n"), None);
    }

    fn with_script(script: &str) -> (tempfile::TempDir, Root) {
        firmware::tests::with_script("/usr/bin/vcgencmd", script)
    }

    #[test]
    fn the_input_is_estimated_from_the_rails() {
        let (_folder, root) = with_script(&format!("cat <<'END'\n{LONG}END"));
        let mut pmic = Pmic::find(&root).unwrap().unwrap();
        assert!((pmic.read().unwrap() - (1.83 * 1.1451 + 0.5879)).abs() < 1e-9);
    }

    #[test]
    fn older_boards_have_none_and_strangers_no_right() {
        let (_folder, root) = with_script("echo 'error=1 error_msg=\"Command not registered\"'");
        assert!(Pmic::find(&root).is_none());
        let (_folder, root) = with_script("echo \"Can't open device file: /dev/vcio\" >&2; exit 1");
        let error = Pmic::find(&root).unwrap().err().unwrap();
        assert!(error.message().contains("usermod -aG video"), "{error}");
        let (_folder, root) = with_script("echo nonsense");
        assert_eq!(Pmic::find(&root).unwrap().err().unwrap().code(), Code::Unreadable);
    }
}
