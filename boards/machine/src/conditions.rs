//! How warm and how fast the board is, and what its settings are.

use crate::{Root, firmware};
use std::collections::BTreeSet;

const ZONES: &str = "/sys/class/thermal";
const CHIPS: &str = "/sys/class/hwmon";
const CPUS: &str = "/sys/devices/system/cpu";
const DEVICES: &str = "/sys/class/devfreq";

/// A zone of older Jetsons that shows the same number for ever.
const CONSTANT_ZONE: &str = "PMIC-Die";
/// Processors whose temperature no zone shows.
const PROCESSOR_CHIPS: [&str; 3] = ["coretemp", "k10temp", "zenpower"];
/// What lies outside is a sensor that is switched off.
const POSSIBLE_CELSIUS: std::ops::Range<f64> = -60.0..200.0;

/// Temperatures and frequencies at some moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    /// Names and degrees Celsius.
    pub temperatures: Vec<(String, f64)>,
    /// Names and MHz: processors, and other devices such as a GPU.
    pub frequencies: Vec<(String, f64)>,
}

impl Conditions {
    /// What this tree tells now.
    pub fn read(root: &Root) -> Self {
        let mut temperatures = zones(root);
        if temperatures.is_empty() {
            temperatures = processor_chips(root);
        }
        Self { temperatures, frequencies: frequencies(root) }
    }

    /// The highest temperature, in degrees Celsius.
    pub fn hottest(&self) -> Option<f64> {
        self.temperatures.iter().map(|(_, celsius)| *celsius).reduce(f64::max)
    }

    /// The highest frequency of a processor, in MHz.
    pub fn fastest_cpu(&self) -> Option<f64> {
        let cpus = self.frequencies.iter().filter(|(name, _)| name.starts_with("cpu"));
        cpus.map(|(_, megahertz)| *megahertz).reduce(f64::max)
    }
}

/// The highest temperature of the board now, in degrees Celsius.
pub fn hottest_celsius(root: &Root) -> Option<f64> {
    Conditions { temperatures: zones(root), ..Conditions::default() }
        .hottest()
        .or_else(|| processor_chips(root).into_iter().map(|(_, celsius)| celsius).reduce(f64::max))
}

fn celsius(root: &Root, path: &str) -> Option<f64> {
    let celsius = root.number::<f64>(path)? / 1e3;
    POSSIBLE_CELSIUS.contains(&celsius).then_some(celsius)
}

fn zones(root: &Root) -> Vec<(String, f64)> {
    let zone = |zone: String| {
        let name = root.text(&format!("{ZONES}/{zone}/type"))?;
        let celsius = celsius(root, &format!("{ZONES}/{zone}/temp"))?;
        (name != CONSTANT_ZONE).then_some((name, celsius))
    };
    let names = root.names(ZONES).into_iter().filter(|name| name.starts_with("thermal_zone"));
    names.filter_map(zone).collect()
}

fn processor_chips(root: &Root) -> Vec<(String, f64)> {
    let chip = |chip: String| {
        let name = root.text(&format!("{CHIPS}/{chip}/name"))?;
        let is_processor = PROCESSOR_CHIPS.contains(&name.as_str());
        let celsius = celsius(root, &format!("{CHIPS}/{chip}/temp1_input"))?;
        is_processor.then_some((name, celsius))
    };
    root.names(CHIPS).into_iter().filter_map(chip).collect()
}

fn frequencies(root: &Root) -> Vec<(String, f64)> {
    let cpu = |cpu: String| {
        let kilohertz: f64 = root.number(&format!("{CPUS}/{cpu}/cpufreq/scaling_cur_freq"))?;
        Some((cpu, kilohertz / 1e3))
    };
    let device = |device: String| {
        let hertz: f64 = root.number(&format!("{DEVICES}/{device}/cur_freq"))?;
        Some((device, hertz / 1e6))
    };
    let cpus = root.names(CPUS).into_iter().filter_map(cpu);
    cpus.chain(root.names(DEVICES).into_iter().filter_map(device)).collect()
}

/// What decides about speed and stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The governors of the processors' frequencies.
    pub governor: Option<String>,
    /// The power mode of a Jetson.
    pub power_mode: Option<String>,
    /// The version of the firmware.
    pub firmware: Option<String>,
}

impl Settings {
    /// What this tree tells.
    pub fn read(root: &Root) -> Self {
        let path = |cpu: String| format!("{CPUS}/{cpu}/cpufreq/scaling_governor");
        let governors = root.names(CPUS).into_iter().filter_map(|cpu| root.text(&path(cpu)));
        let governors: Vec<String> = governors.collect::<BTreeSet<_>>().into_iter().collect();
        Self {
            governor: (!governors.is_empty()).then(|| governors.join(", ")),
            power_mode: firmware::power_mode(root),
            firmware: firmware::version(root),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(root: &Root, path: &str, text: &str) {
        let path = root.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    #[test]
    fn zones_that_are_off_or_constant_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        assert_eq!(Conditions::read(&root), Conditions::default());
        assert_eq!((hottest_celsius(&root), Conditions::default().hottest()), (None, None));
        write(&root, "/sys/class/hwmon/hwmon1/name", "k10temp");
        write(&root, "/sys/class/hwmon/hwmon1/temp1_input", "61250");
        assert_eq!(hottest_celsius(&root), Some(61.25));
        for (zone, name, temp) in [
            (0, "cpu-thermal", "48500"),
            (1, "PMIC-Die", "100000"),
            (2, "cv0-thermal", "-256000"),
            (3, "gpu-thermal", "47000"),
        ] {
            write(&root, &format!("/sys/class/thermal/thermal_zone{zone}/type"), name);
            write(&root, &format!("/sys/class/thermal/thermal_zone{zone}/temp"), temp);
        }
        let found = Conditions::read(&root);
        let expected = [("cpu-thermal".into(), 48.5), ("gpu-thermal".into(), 47.0)];
        assert_eq!(found.temperatures, expected);
        assert_eq!((found.hottest(), hottest_celsius(&root)), (Some(48.5), Some(48.5)));
    }

    #[test]
    fn frequencies_and_governors_are_those_of_all_processors() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        for (cpu, frequency, governor) in [(0, "600000", "ondemand"), (1, "2400000", "schedutil")] {
            let path = format!("{CPUS}/cpu{cpu}/cpufreq");
            write(&root, &format!("{path}/scaling_cur_freq"), frequency);
            write(&root, &format!("{path}/scaling_governor"), governor);
        }
        write(&root, "/sys/class/devfreq/17000000.gpu/cur_freq", "1020000000");
        let found = Conditions::read(&root);
        let names: Vec<&str> = found.frequencies.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["cpu0", "cpu1", "17000000.gpu"]);
        assert_eq!((found.fastest_cpu(), found.frequencies[2].1), (Some(2400.0), 1020.0));
        let settings = Settings::read(&root);
        assert_eq!(settings.governor.as_deref(), Some("ondemand, schedutil"));
        assert_eq!((settings.power_mode, settings.firmware), (None, None));
    }
}
