//! One channel of a sensor: a file of power, or one of voltage and one of current.

use super::source::number;
use kinglet_quant::Result;
use std::path::{Path, PathBuf};

/// What gives the right to read channels.
pub const RIGHT: &str = "put this line into /etc/udev/rules.d/60-kinglet.rules and restart: \
                         SUBSYSTEM==\"hwmon|iio\", RUN+=\"/bin/sh -c 'chmod a+r /sys%p/*_input \
                         /sys%p/rail_name*'\"";

/// The files of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meter {
    /// Power in milliwatts.
    Milliwatts(PathBuf),
    /// Power in microwatts.
    Microwatts(PathBuf),
    /// Voltage in millivolts and current in milliamperes.
    VoltsAndAmperes(PathBuf, PathBuf),
}

impl Meter {
    /// Channel 1 of a chip in `/sys/class/hwmon`; `None` where it measures no power.
    pub fn of_chip(folder: &Path) -> Option<Self> {
        let named = ["power1_input", "power1_average"].map(|name| folder.join(name));
        let power = named.into_iter().find(|file| file.exists()).map(Self::Microwatts);
        power.or_else(|| Self::of_channel(folder, 1))
    }

    /// Voltage and current of a channel in `/sys/class/hwmon`; `None` where either is missing.
    pub fn of_channel(folder: &Path, channel: u32) -> Option<Self> {
        let volts = folder.join(format!("in{channel}_input"));
        let amperes = folder.join(format!("curr{channel}_input"));
        (volts.exists() && amperes.exists()).then_some(Self::VoltsAndAmperes(volts, amperes))
    }

    /// The power now, in watts.
    pub fn watts(&self) -> Result<f64> {
        Ok(match self {
            Self::Milliwatts(file) => number(file, RIGHT)? / 1e3,
            Self::Microwatts(file) => number(file, RIGHT)? / 1e6,
            Self::VoltsAndAmperes(volts, amperes) => {
                number(volts, RIGHT)? * number(amperes, RIGHT)? / 1e6
            }
        })
    }
}
