//! The three-channel sensors of Jetsons (INA3221), as JetPack 4 and as newer kernels lay them out.

use super::meter::{Meter, RIGHT};
use super::source::{Quantity, Source, plausible, unreadable};
use crate::Root;
use kinglet_quant::{Code, Error, Result};
use std::io::ErrorKind;

/// Rails that feed all others.
const TOTALS: [&str; 2] = ["VDD_IN", "POM_5V_IN"];
/// The label of a channel that is wired to nothing.
const UNCONNECTED: &str = "NC";
const CHANNELS: u32 = 3;

/// A channel with the name that its board gives it.
struct Rail {
    label: String,
    meter: Meter,
}

/// The rails whose power is summed.
pub struct Ina3221 {
    name: String,
    boundary: String,
    rails: Vec<Rail>,
}

impl Ina3221 {
    /// The rails of this tree that make up the module: its input where a rail is that, else all of
    /// them. `None` where there are none.
    pub fn find(root: &Root) -> Option<Result<Self>> {
        let mut rails = match rails(root) {
            Ok(rails) => rails,
            Err(error) => return Some(Err(error)),
        };
        let total = rails.iter().position(|rail| TOTALS.contains(&rail.label.as_str()));
        let boundary = match total {
            Some(at) => {
                rails = vec![rails.swap_remove(at)];
                format!("input of the module (rail {})", rails[0].label)
            }
            None => {
                let labels: Vec<&str> = rails.iter().map(|rail| rail.label.as_str()).collect();
                format!("sum of the rails {}, without the carrier board", labels.join(", "))
            }
        };
        (!rails.is_empty()).then(|| Ok(Self { name: "ina3221".into(), boundary, rails }))
    }

    /// One rail by its label. `NotFound` where the board has no such rail.
    pub fn rail(root: &Root, label: &str) -> Result<Self> {
        let mut rails = rails(root)?;
        let labels: Vec<&str> = rails.iter().map(|rail| rail.label.as_str()).collect();
        let labels = if labels.is_empty() { "none".into() } else { labels.join(", ") };
        rails.retain(|rail| rail.label == label);
        if rails.is_empty() {
            return Err(Error::new(
                Code::NotFound,
                format_args!("there is no rail {label:?}: this board has {labels}"),
            ));
        }
        let (name, boundary) = (format!("ina3221:{label}"), format!("rail {label} alone"));
        Ok(Self { name, boundary, rails })
    }

    /// Whether the rail that feeds all others is measured.
    pub fn has_total(&self) -> bool {
        self.rails.iter().all(|rail| TOTALS.contains(&rail.label.as_str()))
    }
}

/// Every connected channel of every chip, sorted by chip and channel. `Unreadable` where a label
/// may not be read.
fn rails(root: &Root) -> Result<Vec<Rail>> {
    let mut found = Vec::new();
    for folder in folders(root, "/sys/bus/i2c/drivers/ina3221x", "iio:device", "") {
        for channel in 0..CHANNELS {
            let power = root.path(&format!("{folder}/in_power{channel}_input"));
            if let Some(label) = label(root, &format!("{folder}/rail_name_{channel}"))? {
                found.push(Rail { label, meter: Meter::Milliwatts(power) });
            }
        }
    }
    for folder in folders(root, "/sys/bus/i2c/drivers/ina3221", "hwmon", "hwmon") {
        // Channel 7, the sum of shunt voltages, is no rail.
        for channel in 1..=CHANNELS {
            let label = label(root, &format!("{folder}/in{channel}_label"))?;
            let meter = Meter::of_channel(&root.path(&folder), channel);
            found.extend(label.zip(meter).map(|(label, meter)| Rail { label, meter }));
        }
    }
    Ok(found)
}

/// The label of a channel; `None` where the chip has no such channel or nothing is wired to it.
fn label(root: &Root, path: &str) -> Result<Option<String>> {
    match root.read(path) {
        Ok(label) => Ok(Some(label).filter(|label| label != UNCONNECTED && !label.is_empty())),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(unreadable(&root.path(path), RIGHT, &cause)),
    }
}

/// The folders `driver/*/prefix*`, or `driver/*/within/prefix*`.
fn folders(root: &Root, driver: &str, prefix: &str, within: &str) -> Vec<String> {
    let mut found = Vec::new();
    for chip in root.names(driver) {
        let chip = format!("{driver}/{chip}/{within}");
        let names = root.names(&chip).into_iter().filter(|name| name.starts_with(prefix));
        found.extend(names.map(|name| format!("{}/{name}", chip.trim_end_matches('/'))));
    }
    found
}

impl Source for Ina3221 {
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
        let watts = self.rails.iter().map(|rail| rail.meter.watts()).sum::<Result<f64>>()?;
        plausible(watts, &self.name)
    }
}

/// That a machine has no such sensor.
pub fn missing() -> Error {
    Error::new(
        Code::NotFound,
        format_args!(
            "there is no INA3221 in /sys/bus/i2c/drivers: Jetsons have one, other boards do not"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn the_input_of_a_module_is_taken_where_it_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        assert!(Ina3221::find(&root).is_none());
        let chip = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon4";
        write(
            &root.path(chip),
            &[
                ("in1_label", "VDD_IN"),
                ("in1_input", "5000"),
                ("curr1_input", "1200"),
                ("in2_label", "VDD_CPU_GPU_CV"),
                ("in2_input", "5000"),
                ("curr2_input", "600"),
                ("in7_label", "sum of shunt voltages"),
                ("in7_input", "9"),
                ("curr7_input", "9"),
            ],
        );
        let mut found = Ina3221::find(&root).unwrap().unwrap();
        assert_eq!(found.read().unwrap(), 6.0);
        assert!(found.has_total() && found.boundary().contains("VDD_IN"));
        let mut rail = Ina3221::rail(&root, "VDD_CPU_GPU_CV").unwrap();
        assert_eq!((rail.read().unwrap(), rail.name()), (3.0, "ina3221:VDD_CPU_GPU_CV"));
        let error = Ina3221::rail(&root, "VDD_SOC").err().unwrap();
        assert!(error.message().contains("VDD_IN, VDD_CPU_GPU_CV"), "{error}");
    }

    #[test]
    fn without_an_input_all_connected_rails_are_summed() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let driver = "/sys/bus/i2c/drivers/ina3221";
        let first = [
            ("in1_label", "VDD_GPU_SOC"),
            ("in1_input", "20000"),
            ("curr1_input", "100"),
            ("in2_label", "VDD_CPU_CV"),
            ("in2_input", "20000"),
            ("curr2_input", "50"),
        ];
        write(&root.path(&format!("{driver}/1-0040/hwmon/hwmon3")), &first);
        let second = [
            ("in1_label", "NC"),
            ("in1_input", "20000"),
            ("curr1_input", "9000"),
            ("in2_label", "VDDQ_VDD2_1V8AO"),
            ("in2_input", "5000"),
            ("curr2_input", "200"),
        ];
        write(&root.path(&format!("{driver}/1-0041/hwmon/hwmon2")), &second);
        let mut found = Ina3221::find(&root).unwrap().unwrap();
        assert_eq!(found.read().unwrap(), 2.0 + 1.0 + 1.0);
        assert!(!found.has_total());
        assert!(found.boundary().contains("VDD_GPU_SOC, VDD_CPU_CV, VDDQ_VDD2_1V8AO"));
    }

    #[test]
    fn jetpack_4_names_rails_in_files_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let chip = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0";
        let files = [
            ("rail_name_0", "POM_5V_GPU"),
            ("in_power0_input", "300"),
            ("rail_name_1", "POM_5V_IN"),
            ("in_power1_input", "2500"),
        ];
        write(&root.path(chip), &files);
        let mut found = Ina3221::find(&root).unwrap().unwrap();
        assert_eq!(found.read().unwrap(), 2.5);
        // A label that cannot be read is not a rail that is missing.
        fs::create_dir(root.path(&format!("{chip}/rail_name_2"))).unwrap();
        assert_eq!(Ina3221::find(&root).unwrap().err().unwrap().code(), Code::Unreadable);
    }
}
