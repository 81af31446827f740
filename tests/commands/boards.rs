//! What the command says about boards and memory, on recorded trees of machines.

use kinglet::Type;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use tempfile::TempDir;

const MODEL: &str = "gqa3-head64";
const MIB: u64 = 1 << 20;

/// A cache, and the files that a system shows.
struct Place(TempDir);

impl Place {
    /// A machine that says nothing about itself.
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        fs::create_dir(place.0.path().join("root")).unwrap();
        place
    }

    /// A Pi 5 with 2 GiB of memory, of which 1.5 are left, under Linux with pages of 16 KiB.
    fn pi_5() -> Self {
        let place = Self::new();
        place.write("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0");
        place.write("proc/device-tree/compatible", "raspberrypi,5-model-b\0brcm,bcm2712\0");
        place.write("proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\n");
        place.write("proc/meminfo", "MemTotal: 2097152 kB\nMemAvailable: 1572864 kB\n");
        place.write("proc/self/smaps", "0-1 r-xp 0 00:00 0\nKernelPageSize: 16 kB\n");
        place.write("sys/devices/system/cpu/online", "0-3\n");
        for cpu in 0..4 {
            let folder = format!("sys/devices/system/cpu/cpu{cpu}/cpufreq");
            place.write(&format!("{folder}/scaling_governor"), "ondemand\n");
            place.write(&format!("{folder}/scaling_cur_freq"), "2400000\n");
        }
        place
    }

    /// A machine with so much memory left.
    fn with_memory(kib: u64) -> Self {
        let place = Self::new();
        place.write("proc/meminfo", &format!("MemTotal: {kib} kB\nMemAvailable: {kib} kB\n"));
        place
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.0.path().join("root").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn say(&self, args: &[&str]) -> Said {
        let mut command = kinglet(self.0.path());
        command.env("KINGLET_ROOT", self.0.path().join("root"));
        Said::by(command.args(args).stdin(Stdio::null()))
    }
}

/// The path of a small model.
fn model() -> String {
    drop(models::small(MODEL, Type::Q4));
    models::converted_path(MODEL, Type::Q4).to_str().unwrap().to_owned()
}

#[test]
fn boards_are_listed_and_shown_with_their_sources() {
    let place = Place::pi_5();
    let list = place.say(&["boards"]).ok();
    let here: Vec<&str> = list.lines().filter(|line| line.ends_with("(this machine)")).collect();
    assert!(list.lines().count() >= 20 && here.len() == 1 && here[0].starts_with("pi-5 "));
    let shown = place.say(&["boards", "show", "here"]).ok();
    assert!(shown.contains("read_gb_per_s") && shown.contains("https://"), "{shown}");
    let document = place.say(&["boards", "show", "pi-5", "--json"]).json();
    let facts = document["facts"].as_array().unwrap();
    let fact = |name: &str| facts.iter().find(|fact| fact["name"] == name).unwrap();
    assert_eq!(fact("page_bytes")["value"], 16384);
    assert_eq!(
        (&fact("reserve_mib")["verified"], &fact("ghz")["verified"]),
        (&Value::Bool(false), &Value::Bool(true))
    );
    let ids = place.say(&["boards", "--json"]).json();
    assert!(ids.as_array().unwrap().iter().any(|board| board["id"] == "orin-nano-super"));
}

#[test]
fn wrong_boards_and_profiles_are_refused() {
    let place = Place::new();
    place.say(&["boards", "show", "pi-6"]).fails(2, 404);
    place.say(&["boards", "show", "./none.toml"]).fails(1, 101);
    place.say(&["boards", "show", "here"]).fails(2, 404);
    place.say(&["plan", &model(), "--board", "pi-6"]).fails(2, 404);
    let broken = place.write("mine.toml", "name = \"Mine\"\nsoc = 5\n");
    let said = place.say(&["boards", "show", broken.to_str().unwrap()]);
    said.fails(2, 404);
    assert!(said.err.contains("mine.toml: `soc` is 5: write a text"), "{said:?}");
}

#[test]
fn a_plan_says_what_fits_on_a_board_and_how_fast_it_is() {
    let (place, model) = (Place::new(), model());
    let plan = |args: &[&str]| place.say(&[&["plan", &model], args].concat());
    let document = plan(&["--board", "pi-zero-2w", "--json"]).json();
    let number = |key: &str| document[key].as_f64().unwrap();
    let parts: f64 =
        ["total_bytes", "file_bytes", "stack_bytes", "program_bytes"].map(number).iter().sum();
    assert_eq!(number("process_bytes"), parts);
    let usable = number("available_bytes");
    assert_eq!(usable + number("reserve_bytes"), (512 * MIB) as f64);
    assert_eq!(number("left_bytes"), usable - parts);
    assert_eq!((document["board"].as_str(), number("threads")), (Some("pi-zero-2w"), 4.0));
    let prediction = &document["predictions"][0];
    assert!(prediction["decode_tokens_per_second"].as_f64().unwrap() > 100.0);
    assert!(prediction["joules_per_token"].as_f64().unwrap() > 0.0);
    let said = plan(&["--board", "orin-nano-super"]).ok();
    for part in ["fits: ", "largest context that fits: 512", "predicted on the GPU", " J ±"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let matrix = plan(&["--all-boards"]).ok();
    assert!(matrix.lines().any(|line| line.starts_with("jetson-tx2 ")), "{matrix}");
    let matrix = plan(&[&model, "--all-boards", "--json"]).json();
    assert_eq!(matrix[0]["models"].as_array().unwrap().len(), 2);
}

#[test]
fn plans_of_several_models_are_a_list() {
    let (place, model) = (Place::new(), model());
    let plans = place.say(&["plan", &model, &model, "--ctx", "64", "--json"]).json();
    assert_eq!(plans.as_array().unwrap().len(), 2);
    assert_eq!(plans[0]["context"], 64);
    let said = place.say(&["plan", &model, &model]).ok();
    assert_eq!(said.lines().filter(|line| **line == model).count(), 2, "{said}");
}

#[test]
fn a_budget_chooses_the_context_or_is_refused() {
    let (place, model) = (Place::new(), model());
    let plan = |args: &[&str]| place.say(&[&["plan", &model, "--json"], args].concat());
    let bytes = |context: &str| plan(&["--ctx", context]).json()["process_bytes"].as_u64().unwrap();
    let between = u64::midpoint(bytes("128"), bytes("512")).to_string();
    // Each process has another heap, and the caches of this model are small.
    let fits = |context: u64| (64..512).contains(&context);
    let chosen = plan(&["--memory-budget", &between]).json();
    assert!(fits(chosen["context"].as_u64().unwrap()), "{chosen}");
    let run = |args: &[&str]| {
        place.say(&[&["run", &model, "-p", "a", "-n", "1", "--ignore-eos"], args].concat())
    };
    let said = run(&["--memory-budget", &between]);
    let context = said
        .err
        .lines()
        .find_map(|line| line.strip_prefix("context ")?.split(' ').next()?.parse::<u64>().ok());
    assert!(context.is_some_and(fits), "{said:?}");
    said.ok();
    run(&["--memory-budget", "1M"]).fails(2, 403);
    let less = (bytes("512") - MIB).to_string();
    let said = place.say(&["plan", &model, "--ctx", "512", "--memory-budget", &less]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.out.contains("does not fit") && said.err.contains("exceeds the budget"),
        "{said:?}"
    );
    let bench = ["bench", &model, "-p", "8", "-n", "2", "-r", "1", "--memory-budget"];
    place.say(&[&bench[..], &["1M"]].concat()).fails(2, 403);
}

#[test]
fn a_model_larger_than_the_memory_left_is_refused() {
    let (place, model) = (Place::with_memory(64), model());
    let run = ["run", &model, "-p", "a", "-n", "1"];
    let said = place.say(&run);
    said.fails(1, 502);
    assert!(said.err.contains("65.5 kB left") && said.err.contains("--allow-paging"), "{said:?}");
    place.say(&[&run[..], &["--allow-paging"]].concat()).ok();
    let group = Place::with_memory(1 << 20);
    group.write("proc/self/cgroup", "0::/a\n");
    group.write("sys/fs/cgroup/a/memory.max", "65536\n");
    group.say(&run).fails(1, 502);
}

#[test]
fn the_doctor_knows_the_board_and_gives_advice() {
    let place = Place::pi_5();
    let said = place.say(&["doctor"]).ok();
    for part in ["pi-5", "Raspberry Pi 5 Model B", "2400 MHz", "16.4 kB pages", "ondemand"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let document = place.say(&["doctor", "--json"]).json();
    assert_eq!(document["board"], "pi-5");
    assert_eq!(document["fast_cpus"], "0-3");
    assert_eq!(document["available_bytes"], 1536 * MIB);
    assert_eq!(document["read_bytes_per_second"], Value::Null, "not of this machine");
    let advice = document["advice"].as_array().unwrap();
    assert!(advice.iter().any(|line| line.as_str().unwrap().contains("scaling_governor")));
    assert!(Place::new().say(&["doctor"]).ok().contains("board      not known"));
}
