//! Any chip below `/sys/class/hwmon` that measures power, such as an INA219 or INA226 on a header.

use super::meter::Meter;
use super::source::{Quantity, Source, plausible};
use crate::Root;
use kinglet_quant::{Code, Error, Result, ensure};
use std::fs;

const FOLDER: &str = "/sys/class/hwmon";
/// Chips that people wire between the power supply and a board.
const ON_HEADERS: [&str; 4] = ["ina219", "ina226", "ina220", "ina231"];

/// A chip.
pub struct Hwmon {
    name: String,
    boundary: String,
    meter: Meter,
}

/// A chip that was found: its name, its place on the bus, and what it measures.
struct Chip {
    name: String,
    address: String,
    meter: Meter,
}

impl Hwmon {
    /// The chip of this name, or at this place on its bus, such as `1-0040`.
    ///
    /// `NotFound` where there is none that measures power; `BadArgument` where several have the
    /// name.
    pub fn open(root: &Root, wanted: &str) -> Result<Self> {
        let all = chips(root);
        let (mut found, others): (Vec<Chip>, Vec<Chip>) =
            all.into_iter().partition(|chip| chip.name == wanted || chip.address == wanted);
        let list = |chips: &[Chip], show: fn(&Chip) -> &str| match chips.is_empty() {
            true => "none".into(),
            false => chips.iter().map(show).collect::<Vec<_>>().join(", "),
        };
        ensure!(
            found.len() < 2,
            Code::BadArgument,
            "several sensors have the name {wanted:?}: choose one by its place on the bus, \
             hwmon: and one of {}",
            list(&found, |chip| &chip.address)
        );
        let Some(Chip { meter, address, .. }) = found.pop() else {
            return Err(Error::new(
                Code::NotFound,
                format_args!(
                    "no sensor in {FOLDER} has the name {wanted:?} and measures power; those that \
                     do are: {}",
                    list(&others, |chip| &chip.name)
                ),
            ));
        };
        let place = if address.is_empty() { String::new() } else { format!(" at {address}") };
        let boundary = format!("what the sensor {wanted}{place} is wired to");
        Ok(Self { name: format!("hwmon:{wanted}"), boundary, meter })
    }

    /// The chip on a header; `None` where there is none.
    pub fn on_header(root: &Root) -> Option<Result<Self>> {
        let chips = chips(root);
        let is_there = |name: &&'static str| chips.iter().any(|chip| chip.name == **name);
        ON_HEADERS.into_iter().find(is_there).map(|name| Self::open(root, name))
    }

    /// The same sensor under the name and boundary that are known of it.
    pub fn known_as(self, name: &str, boundary: &str) -> Self {
        Self { name: name.into(), boundary: boundary.into(), ..self }
    }
}

/// Every chip that measures power. Their numbers mean nothing: they follow the order of drivers.
fn chips(root: &Root) -> Vec<Chip> {
    let chip = |folder: String| {
        let folder = format!("{FOLDER}/{folder}");
        let name = root.text(&format!("{folder}/name"))?;
        let path = root.path(&folder);
        let device = fs::canonicalize(path.join("device")).ok();
        let address = device.and_then(|device| device.file_name()?.to_str().map(str::to_owned));
        let address = address.unwrap_or_default();
        Some(Chip { name, address, meter: Meter::of_chip(&path)? })
    };
    root.names(FOLDER).into_iter().filter_map(chip).collect()
}

impl Source for Hwmon {
    fn name(&self) -> &str {
        &self.name
    }

    fn boundary(&self) -> &str {
        &self.boundary
    }

    fn quantity(&self) -> Quantity {
        Quantity::Power
    }

    fn rate_hz(&self) -> f64 {
        100.0
    }

    fn read(&mut self) -> Result<f64> {
        plausible(self.meter.watts()?, &self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chip(root: &Root, number: u32, name: &str, files: &[(&str, &str)]) {
        let folder = root.path(&format!("{FOLDER}/hwmon{number}"));
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in [("name", name)].iter().chain(files) {
            fs::write(folder.join(file), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn chips_are_found_by_name_whatever_their_number() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        chip(&root, 0, "cpu_thermal", &[("temp1_input", "40000")]);
        chip(&root, 7, "ina226", &[("power1_input", "2500000"), ("in1_input", "5000")]);
        chip(&root, 3, "ina219", &[("in1_input", "5000"), ("curr1_input", "700")]);
        assert_eq!(Hwmon::open(&root, "ina226").unwrap().read().unwrap(), 2.5);
        let mut first = Hwmon::on_header(&root).unwrap().unwrap();
        assert_eq!((first.read().unwrap(), first.name()), (3.5, "hwmon:ina219"));
        let error = Hwmon::open(&root, "cpu_thermal").err().unwrap();
        assert_eq!(error.code(), Code::NotFound);
        assert!(error.message().ends_with("ina219, ina226"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn of_two_alike_one_is_named_by_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        for (number, place, power) in [(1, "1-0040", "1000000"), (2, "1-0041", "2000000")] {
            chip(&root, number, "ina226", &[("power1_input", power)]);
            let device = root.path(&format!("/sys/devices/i2c-1/{place}"));
            fs::create_dir_all(&device).unwrap();
            let link = root.path(&format!("{FOLDER}/hwmon{number}/device"));
            std::os::unix::fs::symlink(device, link).unwrap();
        }
        let error = Hwmon::open(&root, "ina226").err().unwrap();
        assert_eq!(error.code(), Code::BadArgument);
        assert!(error.message().ends_with("1-0040, 1-0041"), "{error}");
        assert_eq!(Hwmon::open(&root, "1-0041").unwrap().read().unwrap(), 2.0);
    }
}
