//! Printing what tests found: llama-bench's fields and formats, followed by Kinglet's fields.

use crate::args::Format;
use crate::bench::measure::Measured;
use crate::bench::plan::Test;
use crate::bench::record::{PowerRecord, columns};
use crate::bench::table;
use crate::system;
use kinglet::{KvType, Result, SessionOptions};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::io::{Write, stderr};
use std::time::Duration;

/// The fields of one test, in order.
type Fields = Vec<(&'static str, Value)>;

/// Every field of a test but its samples.
fn fields(found: &Measured) -> Fields {
    let mut fields = what_ran(found);
    fields.extend(without_meaning());
    fields.extend(results(found));
    fields.extend(own(found));
    fields
}

/// The name that llama-bench has for what computed.
fn backend_name(device: Option<&str>) -> &'static str {
    if device.is_some() { "CUDA" } else { "CPU" }
}

fn what_ran(found: &Measured) -> Fields {
    let test = &found.test;
    let device = found.selection.backend().device_name();
    vec![
        ("build_commit", env!("CARGO_PKG_VERSION").into()),
        ("build_number", 0.into()),
        ("cpu_info", system::cpu_name().into()),
        ("gpu_info", device.unwrap_or_default().into()),
        ("backends", backend_name(device).into()),
        ("model_filename", test.model.as_str().into()),
        ("model_type", model_type(found).into()),
        ("model_size", found.file_bytes.into()),
        ("model_n_params", found.parameters.into()),
        ("n_batch", test.batch.into()),
        ("n_ubatch", test.batch.into()),
        ("n_threads", test.threads.into()),
        ("cpu_mask", "0x0".into()),
        ("cpu_strict", false.into()),
        ("poll", 50.into()),
        ("type_k", test.kv.name().into()),
        ("type_v", test.kv.name().into()),
    ]
}

/// Settings of llama-bench that Kinglet does not have, with their default values.
fn without_meaning() -> Fields {
    vec![
        ("n_gpu_layers", (-1).into()),
        ("n_cpu_moe", 0.into()),
        ("split_mode", "layer".into()),
        ("main_gpu", 0.into()),
        ("no_kv_offload", false.into()),
        ("flash_attn", (-1).into()),
        ("devices", "auto".into()),
        ("tensor_split", "0.00".into()),
        ("tensor_buft_overrides", "none".into()),
        ("load_mode", "auto".into()),
        ("lazy_mode", "auto".into()),
        ("embeddings", false.into()),
        ("no_op_offload", 0.into()),
        ("no_host", false.into()),
        ("repack", true.into()),
        ("fit_target", 0.into()),
        ("fit_min_ctx", 0.into()),
    ]
}

fn results(found: &Measured) -> Fields {
    let test = &found.test;
    let (ns, speeds) = (samples_ns(found), samples_ts(found));
    let times: Vec<f64> = ns.iter().map(|&ns| ns as f64).collect();
    vec![
        ("n_prompt", test.prompt.into()),
        ("n_gen", test.generated.into()),
        ("n_depth", test.depth.into()),
        ("test_time", humantime::format_rfc3339_seconds(found.started).to_string().into()),
        ("avg_ns", (mean(&times) as u64).into()),
        ("stddev_ns", (deviation(&times) as u64).into()),
        ("avg_ts", mean(&speeds).into()),
        ("stddev_ts", deviation(&speeds).into()),
    ]
}

/// Kinglet's own fields; null where a test has no such figure.
fn own(found: &Measured) -> Fields {
    let mut fields = vec![
        ("load_ns", nanoseconds(found.load).into()),
        ("ttft_ns", found.first_token.map(nanoseconds).into()),
        ("read_bytes_per_second", (mean(&found.bandwidths) as u64).into()),
        ("bytes_per_token", found.bytes_per_token.map(|bytes| bytes as u64).into()),
        ("wall_share", wall_share(found).into()),
        ("multiply_adds_per_second", multiply_adds_per_second(found).into()),
        ("peak_rss_bytes", found.peak_rss_bytes.into()),
        ("p50_ns", percentile(&found.latencies, 50).map(nanoseconds).into()),
        ("p99_ns", percentile(&found.latencies, 99).map(nanoseconds).into()),
        ("tier", found.selection.backend().name().into()),
        ("texts", found.test.texts.into()),
        ("n_layers", found.layers.into()),
        ("layer_multiply_adds", found.multiply_adds_per_token[0].into()),
        ("head_multiply_adds", found.multiply_adds_per_token[1].into()),
    ];
    fields.extend(columns(found));
    fields
}

fn model_type(found: &Measured) -> String {
    format!("llama {:.0}M {}", found.parameters as f64 / 1e6, found.kind.name())
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos() as u64
}

fn samples_ns(found: &Measured) -> Vec<u64> {
    found.samples.iter().copied().map(nanoseconds).collect()
}

/// Tokens per second of each run.
fn samples_ts(found: &Measured) -> Vec<f64> {
    let Test { prompt, generated, texts, .. } = found.test;
    let tokens = (prompt + generated * texts) as f64;
    found.samples.iter().map(|time| tokens / time.as_secs_f64()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard deviation of a sample; 0 for a single value.
fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (squares / (values.len().max(2) - 1) as f64).sqrt()
}

/// The value that `percent` of the sorted values do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

fn wall_share(found: &Measured) -> Option<f64> {
    let read = found.bytes_per_token? * mean(&samples_ts(found));
    Some(read / mean(&found.bandwidths))
}

fn multiply_adds_per_second(found: &Measured) -> Option<u64> {
    let seconds: Vec<f64> = found.samples.iter().map(Duration::as_secs_f64).collect();
    Some((found.multiply_adds? / mean(&seconds)) as u64)
}

/// All fields, the record of energy, the curve and the samples, as one JSON object.
struct Document<'a>(&'a Measured);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in fields(self.0) {
            map.serialize_entry(name, &value)?;
        }
        map.serialize_entry("power", &PowerRecord::of(self.0))?;
        map.serialize_entry("curve", &self.0.watched.curve)?;
        map.serialize_entry("samples_ns", &samples_ns(self.0))?;
        map.serialize_entry("samples_ts", &samples_ts(self.0))?;
        map.end()
    }
}

/// Prints tests as they end.
pub struct Printer {
    format: Format,
    write: fn(&str) -> Result<()>,
    /// Columns of Markdown: those that differ between tests or from what is usual.
    shows_batch: bool,
    shows_kv: bool,
    shows_power: bool,
    printed: usize,
    /// What follows the table in Markdown.
    appendix: String,
}

impl Printer {
    /// A printer for these tests. `power` describes the sensor, where energy is measured.
    pub fn new(
        format: Format,
        tests: &[Test],
        power: Option<&str>,
        write: fn(&str) -> Result<()>,
    ) -> Self {
        let usual = SessionOptions::default();
        Self {
            format,
            write,
            shows_power: power.is_some(),
            appendix: power.map_or(String::new(), |power| format!("\npower: {power}\n")),
            shows_batch: tests.iter().any(|test| test.batch != usual.batch),
            shows_kv: tests.iter().any(|test| test.kv != KvType::Int8),
            printed: 0,
        }
    }

    /// Prints one test, behind the head of the document if it is the first.
    pub fn add(&mut self, found: &Measured) -> Result<()> {
        let is_first = self.printed == 0;
        self.printed += 1;
        let text = match self.format {
            Format::Csv => csv(&fields(found), is_first),
            Format::Json => {
                let document = serde_json::to_string_pretty(&Document(found));
                let start = if is_first { "[\n" } else { ",\n" };
                format!("{start}{}", document.expect("reports serialize"))
            }
            Format::Jsonl => {
                serde_json::to_string(&Document(found)).expect("reports serialize") + "\n"
            }
            Format::Md => {
                let curve = found.watched.curve.iter();
                self.appendix
                    .extend(curve.map(|points| table::curve(&found.test.to_string(), points)));
                table::row(&self.cells(found), is_first)
            }
            Format::Sql => sql(&fields(found), is_first),
        };
        (self.write)(&text)
    }

    /// Ends the document.
    pub fn finish(&self) -> Result<()> {
        match self.format {
            Format::Json => (self.write)("\n]\n"),
            Format::Md => {
                let build = concat!("\nbuild: kinglet ", env!("CARGO_PKG_VERSION"), "\n");
                (self.write)(&format!("{}{build}", self.appendix))
            }
            Format::Csv | Format::Jsonl | Format::Sql => Ok(()),
        }
    }

    /// The columns of Markdown: title and text.
    fn cells(&self, found: &Measured) -> Vec<(&'static str, String)> {
        let test = &found.test;
        let speeds = samples_ts(found);
        let megabytes = |bytes: u64| format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20));
        let milliseconds = |time: Option<Duration>| {
            time.map_or("".into(), |time| format!("{:.2}", time.as_secs_f64() * 1e3))
        };
        let share = wall_share(found).map_or("".into(), |share| format!("{:.1}%", share * 100.0));
        let mut cells = vec![
            ("model", model_type(found)),
            ("size", megabytes(found.file_bytes)),
            ("params", format!("{:.2} M", found.parameters as f64 / 1e6)),
            ("backend", backend_name(found.selection.backend().device_name()).into()),
            ("threads", test.threads.to_string()),
        ];
        if self.shows_batch {
            cells.push(("n_batch", test.batch.to_string()));
        }
        if self.shows_kv {
            cells.push(("type_k", test.kv.name().into()));
        }
        cells.extend([
            ("tier", found.selection.backend().name().into()),
            ("peak", megabytes(found.peak_rss_bytes)),
            ("ttft ms", milliseconds(found.first_token)),
            ("p50 ms", milliseconds(percentile(&found.latencies, 50))),
            ("p99 ms", milliseconds(percentile(&found.latencies, 99))),
            ("read GB/s", format!("{:.1}", mean(&found.bandwidths) / 1e9)),
            ("wall", share),
            ("test", test.to_string()),
            ("t/s", format!("{:.2} ± {:.2}", mean(&speeds), deviation(&speeds))),
        ]);
        if self.shows_power {
            cells.extend(power_cells(found));
        } else if throttling(found) == "yes" {
            let (_, speed) = cells.last_mut().expect("every row has a speed");
            speed.push_str(" throttled");
        }
        cells
    }
}

/// The columns of Markdown for energy.
fn power_cells(found: &Measured) -> [(&'static str, String); 4] {
    let energy = found.watched.energy.as_ref();
    let figures = energy.and_then(|energy| energy.whole.figures.as_ref().ok());
    let shown = |value: Option<f64>| value.map_or(String::new(), significant);
    [
        ("W", shown(figures.map(|figures| figures.watts))),
        ("J/token", shown(figures.map(|figures| figures.joules_per_token))),
        ("tokens/J", shown(figures.map(|figures| figures.tokens_per_joule))),
        ("throttled", throttling(found).into()),
    ]
}

/// Four digits, whatever the size.
fn significant(value: f64) -> String {
    let digits = (3.0 - value.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{value:.digits$}")
}

/// Whether the board slowed itself down; nothing where that is not known.
fn throttling(found: &Measured) -> &'static str {
    match found.watched.throttling.throttled {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    }
}

/// A value as text: booleans as 1 or 0, null as nothing.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(flag) => u8::from(*flag).to_string(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn joined<'a>(
    fields: &'a Fields,
    between: &str,
    show: impl Fn(&'a (&'static str, Value)) -> String,
) -> String {
    fields.iter().map(show).collect::<Vec<_>>().join(between)
}

fn csv(fields: &Fields, is_first: bool) -> String {
    let head = joined(fields, ",", |(name, _)| (*name).into());
    let row =
        joined(fields, ",", |(_, value)| format!("\"{}\"", plain(value).replace('"', "\"\"")));
    if is_first { format!("{head}\n{row}\n") } else { row + "\n" }
}

fn sql(fields: &Fields, is_first: bool) -> String {
    let column = |(name, value): &(&str, Value)| {
        let kind = match value {
            Value::String(_) => "TEXT",
            Value::Number(number) if number.is_f64() => "REAL",
            _ => "INTEGER",
        };
        format!("  {name} {kind}")
    };
    let create = joined(fields, ",\n", column);
    let names = joined(fields, ", ", |(name, _)| (*name).into());
    let values = joined(fields, ", ", |(_, value)| match value {
        Value::Null => "NULL".into(),
        value => format!("'{}'", plain(value).replace('\'', "''")),
    });
    let insert = format!("INSERT INTO llama_bench ({names}) VALUES ({values});\n");
    if is_first {
        format!("CREATE TABLE IF NOT EXISTS llama_bench (\n{create}\n);\n\n{insert}")
    } else {
        insert
    }
}

/// Writes to standard error, where nothing can be done about a failure.
pub fn to_stderr(text: &str) -> Result<()> {
    let _ = stderr().write_all(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_those_of_a_sample() {
        assert_eq!(deviation(&[5.0]), 0.0);
        assert_eq!(deviation(&[1.0, 2.0, 3.0]), 1.0);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_nanos).collect();
        assert_eq!(percentile(&times, 50), Some(Duration::from_nanos(100)));
        assert_eq!(percentile(&times, 99), Some(Duration::from_nanos(198)));
        assert_eq!(percentile(&times[..1], 99), Some(Duration::from_nanos(1)));
        assert_eq!(percentile(&[], 99), None);
    }

    #[test]
    fn figures_of_any_size_have_four_digits() {
        let shown = [5.0, 0.000_926_375, 82744.2, 14.128].map(significant);
        assert_eq!(shown, ["5.000", "0.0009264", "82744", "14.13"]);
    }

    #[test]
    fn texts_are_quoted() {
        let fields = vec![("a", "x\"y".into()), ("b", true.into()), ("c", Value::Null)];
        assert_eq!(csv(&fields, true), "a,b,c\n\"x\"\"y\",\"1\",\"\"\n");
        let fields = vec![("a", "it's".into()), ("c", Value::Null)];
        assert_eq!(sql(&fields, false), "INSERT INTO llama_bench (a, c) VALUES ('it''s', NULL);\n");
    }
}
