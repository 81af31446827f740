//! Which sensor is wanted, and finding it.

use super::command::Printer;
use super::hwmon::Hwmon;
use super::ina3221::Ina3221;
use super::pmic::Pmic;
use super::rapl::Rapl;
use super::source::Source;
use super::{ina238, ina3221, pmic, rapl};
use crate::Root;
use kinglet_quant::{Code, Error, Result};
use std::str::FromStr;

const RULE: &str = "write auto, rapl, ina3221, ina3221:RAIL, ina238, pmic, hwmon:NAME or \
                    command:COMMAND";

type Opened = Result<Box<dyn Source>>;

/// A sensor as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The first that is there.
    Auto,
    /// The energy counters of an x86 processor.
    Rapl,
    /// The rails of a Jetson: its input or all of them, or one by its label.
    Ina3221(Option<String>),
    /// The input of a Jetson Thor.
    Ina238,
    /// The power chip of a Raspberry Pi 5.
    Pmic,
    /// A chip in `/sys/class/hwmon`, by its name or its place on the bus.
    Hwmon(String),
    /// A command that prints watts.
    Command(String),
}

impl FromStr for Request {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) if !rest.trim().is_empty() => (kind, Some(rest.trim().to_owned())),
            Some(_) => return Err(RULE),
            None => (text, None),
        };
        Ok(match (kind, rest) {
            ("auto", None) => Self::Auto,
            ("rapl", None) => Self::Rapl,
            ("ina3221", rail) => Self::Ina3221(rail),
            ("ina238", None) => Self::Ina238,
            ("pmic", None) => Self::Pmic,
            ("hwmon", Some(name)) => Self::Hwmon(name),
            ("command", Some(line)) => Self::Command(line),
            _ => return Err(RULE),
        })
    }
}

impl Request {
    /// The sensor, which has given a reading.
    ///
    /// `NotFound` where there is none of this kind; `Unreadable` where it may not be read, and the
    /// sentence says how to change that, or where it makes no sense; `BadArgument` where several
    /// have the name.
    pub fn open(&self, root: &Root) -> Opened {
        match self {
            Self::Auto => auto(root),
            Self::Rapl => working(Rapl::find(root).ok_or_else(rapl::missing)?),
            Self::Ina3221(None) => working(Ina3221::find(root).ok_or_else(ina3221::missing)?),
            Self::Ina3221(Some(label)) => working(Ina3221::rail(root, label)),
            Self::Ina238 => working(ina238::open(root)),
            Self::Pmic => working(Pmic::find(root).ok_or_else(pmic::missing)?),
            Self::Hwmon(name) => working(Hwmon::open(root, name)),
            Self::Command(line) => working(Ok(Printer::new(line))),
        }
    }
}

/// A sensor once it has given a reading.
fn working(source: Result<impl Source + 'static>) -> Opened {
    let mut source = source?;
    source.read()?;
    Ok(Box::new(source))
}

/// The first sensor that works. One at the input of the board goes before a sum of rails.
fn auto(root: &Root) -> Opened {
    let rails = |has_total: bool| {
        let is_wanted = |found: &Ina3221| found.has_total() == has_total;
        Ina3221::find(root).filter(|found| found.as_ref().map_or(true, is_wanted)).map(working)
    };
    let kinds: [&dyn Fn() -> Option<Opened>; 6] = [
        &|| Rapl::find(root).map(working),
        &|| rails(true),
        &|| ina238::find(root).map(working),
        &|| rails(false),
        &|| Pmic::find(root).map(working),
        &|| Hwmon::on_header(root).map(working),
    ];
    let mut refused = None;
    for found in kinds.iter().filter_map(|find| find()) {
        match found {
            Ok(source) => return Ok(source),
            Err(error) => {
                log::warn!("{}", error.message());
                refused = refused.or(Some(error));
            }
        }
    }
    Err(refused.unwrap_or_else(|| {
        Error::new(
            Code::NotFound,
            format_args!(
                "this machine has no power sensor that Kinglet knows (RAPL, INA3221, INA238, the \
                 power chip of a Pi 5, INA219, INA226): wire one to the board, or give a command \
                 that prints watts, such as --power 'command:my-meter'"
            ),
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        let read = |text: &str| text.parse::<Request>().ok();
        assert_eq!(read("auto"), Some(Request::Auto));
        assert_eq!(read("ina3221"), Some(Request::Ina3221(None)));
        assert_eq!(read("ina3221:VDD_SOC"), Some(Request::Ina3221(Some("VDD_SOC".into()))));
        assert_eq!(read("hwmon:ina226"), Some(Request::Hwmon("ina226".into())));
        assert_eq!(read("command:a b:c"), Some(Request::Command("a b:c".into())));
        for wrong in ["", "AUTO", "nvml", "hwmon", "hwmon:", "command: ", "rapl:0", "auto:x", ":x"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    fn write(root: &Root, folder: &str, files: &[(&str, &str)]) {
        fs::create_dir_all(root.path(folder)).unwrap();
        for (name, text) in files {
            fs::write(root.path(&format!("{folder}/{name}")), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn auto_takes_the_widest_boundary_that_works() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let auto = || Request::Auto.open(&root).map(|found| found.name().to_owned());
        let error = auto().unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        assert!(error.message().ends_with('\''), "the sentence is cut: {error}");
        write(&root, "/sys/class/hwmon/hwmon9", &[("name", "ina226"), ("power1_input", "1")]);
        assert_eq!(auto().unwrap(), "hwmon:ina226");
        let rail = [("in1_label", "VDD_GPU"), ("in1_input", "5000"), ("curr1_input", "10")];
        write(&root, "/sys/bus/i2c/drivers/ina3221/2-0040/hwmon/hwmon1", &rail);
        assert_eq!(auto().unwrap(), "ina3221");
        write(&root, "/sys/class/hwmon/hwmon2", &[("name", "ina238"), ("power1_input", "1")]);
        assert_eq!(auto().unwrap(), "ina238");
        let counter =
            [("name", "package-0"), ("energy_uj", "7"), ("max_energy_range_uj", "1000000")];
        write(&root, "/sys/class/powercap/intel-rapl:0", &counter);
        assert_eq!(auto().unwrap(), "rapl");
        // A sensor that makes no sense is passed over, and asked for by name it says why.
        write(&root, "/sys/class/powercap/intel-rapl:0", &[("energy_uj", "many")]);
        assert_eq!(auto().unwrap(), "ina238");
        let error = Request::Rapl.open(&root).err().unwrap();
        assert!(error.message().contains("\"many\""), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        for (text, part) in [
            ("rapl", "x86"),
            ("ina3221", "Jetsons"),
            ("ina3221:VDD_IN", "\"VDD_IN\""),
            ("ina238", "\"ina238\""),
            ("pmic", "Raspberry Pi 5"),
            ("hwmon:ina226", "\"ina226\""),
        ] {
            let error = text.parse::<Request>().unwrap().open(&root).err().unwrap();
            assert_eq!(error.code(), Code::NotFound, "{text}");
            assert!(error.message().contains(part), "{error}");
        }
    }
}
