//! What `GET /metrics` of `kinglet serve` tells.

use crate::serve::{CHAT, chat, model, server};
use kinglet_tests::server::Server;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;
use tempfile::TempDir;

const PACKAGE: &str = "sys/class/powercap/intel-rapl:0";
const CHIP: &str = "sys/class/hwmon/hwmon4";

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{text}\n")).unwrap();
}

fn on(root: &Path, args: &[&str]) -> Server {
    let args = [&["--listen", "127.0.0.1:0"], args].concat();
    Server::start_as(&model(), &args, |command| {
        command.env("KINGLET_ROOT", root);
    })
}

/// The energy of a sensor, with its labels; `None` as long as there is none.
fn joules(server: &Server) -> Option<(String, f64)> {
    let page = server.get("/metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix("kinglet_energy_joules_total"))?;
    let (labels, number) = line.rsplit_once(' ').unwrap();
    Some((labels.to_owned(), number.parse().unwrap()))
}

fn await_joules(server: &Server, is_fine: impl Fn(f64) -> bool) -> (String, f64) {
    loop {
        match joules(server) {
            Some(found) if is_fine(found.1) => return found,
            _ => thread::yield_now(),
        }
    }
}

#[test]
fn energy_is_what_a_counter_says() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    write(root, &format!("{PACKAGE}/name"), "package-0");
    write(root, &format!("{PACKAGE}/max_energy_range_uj"), "1000000000");
    write(root, &format!("{PACKAGE}/energy_uj"), "999000000");
    let server = on(root, &[]);
    let (labels, _) = await_joules(&server, |joules| joules == 0.0);
    assert!(labels.starts_with("{sensor=\"rapl\",boundary=\"processor package"), "{labels}");
    // Written whole, as the kernel shows it; it has begun again from 0.
    write(root, "draft", "6500000");
    fs::rename(root.join("draft"), root.join(format!("{PACKAGE}/energy_uj"))).unwrap();
    await_joules(&server, |joules| joules == 7.5);
}

#[test]
fn energy_is_power_over_time() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), &format!("{CHIP}/name"), "ina226");
    write(folder.path(), &format!("{CHIP}/power1_input"), "5000000");
    let start = Instant::now();
    let server = on(folder.path(), &["--power", "hwmon:ina226"]);
    let (labels, joules) = await_joules(&server, |joules| joules > 0.0);
    assert!(labels.contains("sensor=\"hwmon:ina226\""), "{labels}");
    assert!(joules <= 5.0 * start.elapsed().as_secs_f64(), "{joules} J");
}

#[test]
fn what_no_sensor_tells_is_left_out() {
    let folder = TempDir::new().unwrap();
    let server = on(folder.path(), &[]);
    server.post(CHAT, &chat("one", 4, 1)).document();
    let page = server.get("/metrics").body;
    assert!(
        !page.contains("energy") && page.contains("\nkinglet_reply_tokens_total 4\n"),
        "{page}"
    );
}

#[test]
fn times_are_counted_once_for_each_token() {
    let server = server(&[]);
    for (seed, tokens) in [(1, 12), (2, 30)] {
        server.post(CHAT, &chat("one two", tokens, seed)).document();
    }
    server.settle();
    for (name, count) in [("queue", 2), ("first_token", 2), ("reply", 2), ("token", 40)] {
        let number = |rest: &str| server.metric(&format!("kinglet_{name}_seconds_{rest}"));
        assert_eq!((number("count"), number("bucket{le=\"+Inf\"}")), (count, count), "{name}");
    }
    let page = server.get("/metrics").body;
    // Every line of a histogram is one that Prometheus reads.
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, number) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("kinglet_") && number.parse::<f64>().is_ok(), "{line}");
    }
}
