//! The record of a test's energy: an object of JSON, and the columns of other formats.

use crate::bench::energy::Energy;
use crate::bench::measure::Measured;
use kinglet_machine::power::Phase;
use serde::Serialize;
use serde_json::Value;

/// The object `power`. What is not known is null.
#[derive(Serialize)]
pub struct PowerRecord<'a> {
    source: &'a str,
    boundary: &'a str,
    readings: &'static str,
    rate_hz: f64,
    sampler_share: Option<f64>,
    idle_watts: Option<f64>,
    idle_seconds: Option<f64>,
    whole: PhaseRecord<'a>,
    prefill: Option<PhaseRecord<'a>>,
    decode: Option<PhaseRecord<'a>>,
    governor: Option<&'a str>,
    power_mode: Option<&'a str>,
    firmware: Option<&'a str>,
    /// Pairs of a name and degrees Celsius.
    temperatures_before: &'a [(String, f64)],
    temperatures_after: &'a [(String, f64)],
    /// Pairs of a name and MHz.
    frequencies_before: &'a [(String, f64)],
    frequencies_after: &'a [(String, f64)],
    earlier_throttle_flags: &'a [&'static str],
}

/// One phase.
#[derive(Serialize)]
struct PhaseRecord<'a> {
    seconds: f64,
    tokens: u64,
    tokens_per_second: f64,
    watts: Option<f64>,
    net_watts: Option<f64>,
    joules: Option<f64>,
    joules_per_token: Option<f64>,
    net_joules_per_token: Option<f64>,
    tokens_per_joule: Option<f64>,
    /// As the public benchmark of Jetsons defines it; for generating only.
    output_tokens_per_joule: Option<f64>,
    samples: Option<usize>,
    samples_per_second: Option<f64>,
    changes: Option<usize>,
    unchanging: Option<bool>,
    repeats_joules_per_token: &'a [f64],
    spread_joules_per_token: Option<f64>,
    /// Why the figures are not known.
    unknown: Option<&'a str>,
}

impl<'a> PowerRecord<'a> {
    /// The record of a test; `None` where energy was not asked for.
    pub fn of(found: &'a Measured) -> Option<Self> {
        let energy = found.watched.energy.as_ref()?;
        let decode = energy.decode.as_ref().map(|phase| PhaseRecord::new(phase, true));
        Some(Self {
            source: &energy.source,
            boundary: &energy.boundary,
            readings: energy.readings,
            rate_hz: energy.rate_hz,
            sampler_share: energy.cost_share,
            idle_watts: energy.idle_watts,
            idle_seconds: energy.idle_seconds,
            whole: PhaseRecord::new(&energy.whole, false),
            prefill: energy.prefill.as_ref().map(|phase| PhaseRecord::new(phase, false)),
            decode,
            governor: energy.settings.governor.as_deref(),
            power_mode: energy.settings.power_mode.as_deref(),
            firmware: energy.settings.firmware.as_deref(),
            temperatures_before: &energy.before.temperatures,
            temperatures_after: &energy.after.temperatures,
            frequencies_before: &energy.before.frequencies,
            frequencies_after: &energy.after.frequencies,
            earlier_throttle_flags: &found.watched.throttling.earlier_flags,
        })
    }
}

impl<'a> PhaseRecord<'a> {
    fn new(phase: &'a Phase, is_decode: bool) -> Self {
        let figures = phase.figures.as_ref().ok();
        let window = figures.map(|figures| figures.window);
        Self {
            seconds: phase.seconds,
            tokens: phase.tokens,
            tokens_per_second: phase.tokens as f64 / phase.seconds,
            watts: figures.map(|figures| figures.watts),
            net_watts: figures.and_then(|figures| figures.net_watts),
            joules: figures.map(|figures| figures.joules),
            joules_per_token: figures.map(|figures| figures.joules_per_token),
            net_joules_per_token: figures.and_then(|figures| figures.net_joules_per_token),
            tokens_per_joule: figures.map(|figures| figures.tokens_per_joule),
            output_tokens_per_joule: figures
                .filter(|_| is_decode)
                .map(|figures| figures.output_tokens_per_joule),
            samples: window.map(|window| window.samples),
            samples_per_second: window.map(|window| window.samples as f64 / window.seconds),
            changes: window.map(|window| window.changes),
            unchanging: window.map(|window| window.unchanging),
            repeats_joules_per_token: figures.map_or(&[], |figures| &figures.repeats),
            spread_joules_per_token: figures.and_then(|figures| figures.spread),
            unknown: phase.figures.as_ref().err().map(String::as_str),
        }
    }
}

/// The columns that every format has: of the test as a whole.
pub fn columns(found: &Measured) -> Vec<(&'static str, Value)> {
    let watched = &found.watched;
    let figures = watched.energy.as_ref().and_then(|energy| energy.whole.figures.as_ref().ok());
    let flags = (!watched.throttling.flags.is_empty()).then(|| watched.throttling.flags.join(", "));
    vec![
        ("watts", figures.map(|figures| figures.watts).into()),
        ("joules_per_token", figures.map(|figures| figures.joules_per_token).into()),
        ("tokens_per_joule", figures.map(|figures| figures.tokens_per_joule).into()),
        ("throttled", watched.throttling.throttled.into()),
        ("throttle_flags", flags.into()),
        ("rested_ns", found.rested.map(|rested| rested.as_nanos() as u64).into()),
    ]
}

/// What a reader must know about the energy of a test, beside its figures.
pub fn caveats(energy: &Energy) -> Vec<String> {
    let phases = [("prefill", &energy.prefill), ("decode", &energy.decode)];
    let phases = phases.iter().filter_map(|(name, phase)| Some((*name, phase.as_ref()?)));
    let mut found = Vec::new();
    for (name, phase) in phases {
        match &phase.figures {
            Err(reason) => found.push(format!("the energy of {name} is not known: {reason}")),
            Ok(figures) if figures.window.unchanging => found.push(format!(
                "the sensor showed the same reading for long in {name}: it may stand still"
            )),
            Ok(_) => {}
        }
    }
    found
}
