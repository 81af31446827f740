//! The record of a test's energy, as `kinglet bench --power` writes it.

use crate::report::fields::{Fields, MOST, MOST_TOKENS};
use kinglet::Result;

/// More watts than any board or server takes.
pub const MOST_WATTS: f64 = 1e6;
/// Temperatures that a sensor can mean, in degrees Celsius.
pub const CELSIUS: [f64; 2] = [-273.0, 1000.0];

/// What measured, and what it found.
#[derive(Debug)]
pub struct Power {
    /// The sensor.
    pub source: String,
    /// What it covers.
    pub boundary: String,
    /// Mean power of the idle board.
    pub idle_watts: Option<f64>,
    /// What stays as it is: name and value.
    pub settings: Vec<(&'static str, String)>,
    /// The hottest part before and after the test, in degrees Celsius.
    pub celsius: [Option<f64>; 2],
    /// Reading the prompt.
    pub prefill: Option<Phase>,
    /// Generating.
    pub decode: Option<Phase>,
}

/// What one phase cost.
#[derive(Debug)]
pub struct Phase {
    /// How long it lasted in all.
    pub seconds: f64,
    /// Tokens of it.
    pub tokens: f64,
    /// Mean power.
    pub watts: Option<f64>,
    /// With what the idle board takes.
    pub joules_per_token: Option<f64>,
    /// Without that.
    pub net_joules_per_token: Option<f64>,
    /// The standard deviation of the repeats.
    pub spread_joules_per_token: Option<f64>,
    /// Whether the sensor showed the same reading for long.
    pub unchanging: bool,
    /// Why nothing is known.
    pub unknown: Option<String>,
}

impl Power {
    /// Reads the object `power`.
    pub fn read(fields: &Fields<'_>) -> Result<Self> {
        let phase = |name| fields.object(name)?.map(|phase| Phase::read(&phase)).transpose();
        let names =
            [("governor", "governor"), ("power_mode", "power mode"), ("firmware", "firmware")];
        let mut settings = Vec::new();
        for (field, name) in names {
            settings.extend(fields.optional_text(field)?.map(|value| (name, value)));
        }
        let celsius = |name| fields.highest(name, CELSIUS[0], CELSIUS[1]);
        Ok(Self {
            source: fields.text("source")?,
            boundary: fields.text("boundary")?,
            idle_watts: fields.optional_number("idle_watts", MOST_WATTS)?,
            settings,
            celsius: [celsius("temperatures_before")?, celsius("temperatures_after")?],
            prefill: phase("prefill")?,
            decode: phase("decode")?,
        })
    }
}

impl Phase {
    fn read(fields: &Fields<'_>) -> Result<Self> {
        Ok(Self {
            seconds: fields.number("seconds", MOST_TOKENS)?,
            tokens: fields.number("tokens", MOST)?,
            watts: fields.optional_number("watts", MOST_WATTS)?,
            joules_per_token: fields.optional_number("joules_per_token", MOST)?,
            // The idle board can take more than a light load that was measured at another moment.
            net_joules_per_token: fields.between("net_joules_per_token", -MOST, MOST)?,
            spread_joules_per_token: fields.optional_number("spread_joules_per_token", MOST)?,
            unchanging: fields.optional_flag("unchanging")?.unwrap_or(false),
            unknown: fields.optional_text("unknown")?,
        })
    }
}
