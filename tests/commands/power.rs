//! `kinglet bench --power`, `--sustain` and `--cool`, and `kinglet run --cool`, on recorded trees.

use kinglet::Type;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const MODEL: &str = "gqa3-head64";
const CHIP: &str = "sys/class/hwmon/hwmon4";

/// A cache and a tree of files of their own for each test.
struct Place(TempDir);

impl Place {
    /// A machine without anything.
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        fs::create_dir(place.path("root")).unwrap();
        place
    }

    /// A machine whose INA226 shows 5 W, in a warm room.
    fn with_sensor() -> Self {
        let place = Self::new();
        place.write(&format!("{CHIP}/name"), "ina226");
        place.write(&format!("{CHIP}/power1_input"), "5000000");
        place.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal");
        place.write("sys/class/thermal/thermal_zone0/temp", "48500");
        place.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1500000");
        place.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "ondemand");
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path("root").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    /// A Raspberry Pi's way of telling that it lacks voltage now.
    fn lack_voltage(&self) {
        let program = self.path("root/usr/bin/vcgencmd");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(self.path("draft"), "#!/bin/sh\necho throttled=0x50001\n").unwrap();
        let mut install = Command::new("install");
        let status = install.args(["-m", "755"]).arg(self.path("draft")).arg(program).status();
        assert!(status.unwrap().success());
    }

    fn command(&self, name: &str, args: &[&str]) -> Said {
        drop(models::small(MODEL, Type::Q4));
        let mut command = kinglet(self.0.path());
        command.env("KINGLET_ROOT", self.path("root"));
        command.arg(name).arg(models::converted_path(MODEL, Type::Q4)).args(args);
        Said::by(command.stdin(Stdio::null()))
    }

    /// Two short tests with energy.
    fn bench(&self, args: &[&str]) -> Said {
        let tests = ["-p", "16", "-n", "8", "-r", "2", "--power-seconds", "1"];
        self.command("bench", &[&tests[..], args].concat())
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn assert_close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} is not {b}");
}

#[test]
fn the_record_follows_from_the_sensor_and_the_time() {
    let place = Place::with_sensor();
    let said = place.bench(&["--power", "hwmon:ina226", "-o", "json"]);
    assert!(said.err.contains("same reading"), "{}", said.err);
    let documents = said.json();
    assert_eq!(documents.as_array().unwrap().len(), 2);
    for (document, phase, other) in
        [(&documents[0], "prefill", "decode"), (&documents[1], "decode", "prefill")]
    {
        let power = &document["power"];
        assert!(power[other].is_null() && document["curve"].is_null(), "{power}");
        let cost = &power[phase];
        let (tokens, seconds) = (number(&cost["tokens"]), number(&cost["seconds"]));
        assert!(seconds >= 1.0 && tokens > 0.0);
        // A sensor that always shows 5 W.
        assert_close(number(&cost["watts"]), 5.0);
        assert_close(number(&cost["joules"]), 5.0 * seconds);
        assert_close(number(&cost["joules_per_token"]), 5.0 * seconds / tokens);
        assert_close(number(&cost["tokens_per_joule"]), tokens / seconds / 5.0);
        assert_close(number(&power["idle_watts"]), 5.0);
        assert!(number(&cost["net_watts"]).abs() < 1e-6);
        assert_eq!((&cost["unchanging"], &cost["changes"]), (&true.into(), &0.into()));
        assert_eq!(cost["repeats_joules_per_token"].as_array().unwrap().len(), 2);
        assert_eq!(power["source"], "hwmon:ina226");
        assert!(power["boundary"].as_str().unwrap().contains("ina226"));
        assert_eq!((&power["governor"], &power["power_mode"]), (&"ondemand".into(), &Value::Null));
        assert_eq!(power["temperatures_after"], serde_json::json!([["cpu-thermal", 48.5]]));
        assert_eq!(power["frequencies_before"], serde_json::json!([["cpu0", 1500.0]]));
        // Speed comes from the same runs.
        let runs: f64 = document["samples_ns"].as_array().unwrap().iter().map(number).sum();
        let whole = &power["whole"];
        assert_close(number(&whole["seconds"]), runs / 1e9);
        assert_close(number(&document["joules_per_token"]), number(&whole["joules_per_token"]));
        assert!(document["throttled"].is_null());
    }
    assert!(documents[0]["power"]["prefill"]["output_tokens_per_joule"].is_null());
    // Of the public benchmark: tokens of a run by power times the median time of a run.
    let runs = documents[1]["samples_ns"].as_array().unwrap().iter().map(number);
    let mut runs: Vec<f64> = runs.collect();
    runs.sort_by(f64::total_cmp);
    let median = (runs[(runs.len() - 1) / 2] + runs[runs.len() / 2]) / 2e9;
    let public = number(&documents[1]["power"]["decode"]["output_tokens_per_joule"]);
    assert!((public / (8.0 / (5.0 * median)) - 1.0).abs() < 0.01, "{public} {median}");
}

#[test]
fn a_prompt_and_its_reply_are_measured_apart() {
    let place = Place::with_sensor();
    let args = ["-p", "0", "-n", "0", "-pg", "48,4", "-r", "1", "--power-seconds", "1"];
    let said = place.command("bench", &[&args[..], &["--power", "auto", "-o", "json"]].concat());
    let documents = said.json();
    let power = &documents[0]["power"];
    for phase in ["prefill", "decode"] {
        assert!(number(&power[phase]["seconds"]) >= 1.0, "{power}");
    }
    let sum = |field: &str| number(&power["prefill"][field]) + number(&power["decode"][field]);
    assert_close(number(&power["whole"]["joules"]), sum("joules"));
    assert_close(number(&power["whole"]["tokens"]), sum("tokens"));
    let ratio = number(&power["prefill"]["tokens"]) / number(&power["decode"]["tokens"]);
    assert_eq!(ratio, 12.0);
}

#[test]
fn every_format_has_energy_and_marks_a_board_that_slowed_down() {
    let place = Place::with_sensor();
    place.lack_voltage();
    let args = ["--power", "hwmon:ina226", "-p", "0", "-oe", "csv", "-q"];
    let with = |format| place.bench(&[&args[..], &["-o", format]].concat());
    let said = with("jsonl");
    let line: Value = serde_json::from_str(said.out.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&line["throttled"], &line["throttle_flags"]),
        (&true.into(), &"under-voltage".into())
    );
    assert_eq!(
        line["power"]["earlier_throttle_flags"],
        serde_json::json!(["under-voltage", "throttled"])
    );
    let mut rows = said.err.lines().map(|line| line.split(',').map(|cell| cell.trim_matches('"')));
    let cells: Vec<(&str, &str)> = rows.next().unwrap().zip(rows.next().unwrap()).collect();
    let cell = |name: &str| cells.iter().find(|(title, _)| *title == name).unwrap().1;
    for name in ["watts", "joules_per_token", "tokens_per_joule"] {
        assert_eq!(cell(name).parse(), Ok(number(&line[name])), "{name}");
    }
    assert_eq!((cell("throttled"), cell("throttle_flags")), ("1", "under-voltage"));
    let table = with("md").ok();
    let mut lines = table.lines();
    let titles: Vec<&str> = lines.next().unwrap().split('|').map(str::trim).collect();
    assert_eq!(titles[titles.len() - 5..], ["W", "J/token", "tokens/J", "throttled", ""]);
    let cells: Vec<&str> = lines.nth(1).unwrap().split('|').map(str::trim).collect();
    assert_eq!((cells[cells.len() - 5], cells[cells.len() - 2]), ("5.000", "yes"));
    assert!(table.contains("power: hwmon:ina226: what the sensor"), "{table}");
    let statements = with("sql").ok();
    assert!(statements.contains("  watts REAL,\n") && statements.contains(", throttled, "));
    // And where nobody asked for energy.
    let table = place.command("bench", &["-p", "0", "-n", "2", "-r", "1"]).ok();
    assert!(table.lines().nth(2).unwrap().ends_with(" throttled |"), "{table}");
}

#[test]
fn sustained_tests_have_a_curve() {
    let place = Place::with_sensor();
    let args = ["-p", "0", "-n", "8", "-r", "1", "--sustain", "3s", "--power", "command:echo 2.5"];
    let args = [&args[..], &["--power-seconds", "1", "-oe", "md", "-o", "json"]].concat();
    let said = place.command("bench", &args);
    assert!(said.err.contains("| seconds | t/s | W | °C | MHz |"), "{}", said.err);
    let documents = said.json();
    let curve = documents[0]["curve"].as_array().unwrap().clone();
    assert!(!curve.is_empty());
    let times: Vec<f64> = curve.iter().map(|point| number(&point["seconds"])).collect();
    assert!(times.is_sorted() && times[times.len() - 1] >= 3.0, "{times:?}");
    for point in &curve {
        assert!(number(&point["tokens_per_second"]) > 0.0);
        assert_close(number(&point["watts"]), 2.5);
        assert_eq!((number(&point["celsius"]), number(&point["megahertz"])), (48.5, 1500.0));
    }
}

#[test]
fn a_warm_board_rests_and_a_cool_one_does_not() {
    let place = Place::with_sensor();
    // Within 1.5 °C of the limit from the beginning, so that it rests ever more.
    let args = ["-p", "0", "-n", "8", "-r", "1", "--sustain", "3s", "-o", "json"];
    let rested = |limit: &str| {
        let documents = place.command("bench", &[&args[..], &["--cool", limit]].concat()).json();
        number(&documents[0]["rested_ns"])
    };
    assert!(rested("49") > 0.0);
    assert_eq!(rested("90"), 0.0);
    let run = |limit: &str| place.command("run", &["-p", "a", "-n", "3", "--cool", limit]);
    run("90").ok();
    let none = Place::new();
    none.command("run", &["-p", "a", "-n", "3", "--cool", "90"]).fails(1, 101);
    none.command("bench", &["--cool", "90"]).fails(1, 101);
}

#[test]
fn sensors_that_are_missing_or_unknown_are_refused() {
    let place = Place::new();
    for sensor in ["auto", "rapl", "ina3221", "ina3221:VDD_IN", "ina238", "pmic", "hwmon:ina226"] {
        place.bench(&["--power", sensor]).fails(1, 101);
    }
    place.bench(&["--power", "command:echo much"]).fails(1, 102);
    place.write(&format!("{CHIP}/name"), "ina226");
    place.write(&format!("{CHIP}/power1_input"), "a lot");
    place.bench(&["--power", "hwmon:ina226"]).fails(1, 102);
    let wrong: [&[&str]; 6] = [
        &["--power", "nvml"],
        &["--power", "hwmon"],
        &["--power", "command:"],
        &["--power", "auto", "--sustain", "10"],
        &["--power", "auto", "--power-seconds", "0"],
        &["--power", "auto", "--cool", "0"],
    ];
    for args in wrong {
        let said = place.bench(args);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?}");
    }
}
