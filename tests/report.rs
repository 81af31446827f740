//! `kinglet report`: pages as a browser shows them, and documents that are none.

use kinglet_tests::browser::Browser;
use kinglet_tests::command::{Said, kinglet};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What `tests/report/record.py` has recorded.
const TESTS: &str = include_str!("report/bench.json");
const PLANS: &str = include_str!("report/plan.json");

/// What is looked for on a page.
const LOOK: &str = include_str!("report/look.js");

/// Widths of windows: a phone's, and a wide screen's.
const WIDTHS: [u32; 2] = [400, 1200];

/// A folder of its own for each test.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn report(&self, args: &[&str]) -> Said {
        Said::by(kinglet(&self.path("home")).arg("report").args(args))
    }

    /// The page of some documents.
    fn page(&self, documents: &[&str], args: &[&str]) -> PathBuf {
        let names = documents.iter().enumerate();
        let files: Vec<String> =
            names.map(|(i, text)| self.write(&format!("{i}.json"), text)).collect();
        let output = self.path("report.html");
        let mut all: Vec<&str> = files.iter().map(String::as_str).collect();
        all.extend(["-o", output.to_str().unwrap()]);
        all.extend(args);
        self.report(&all).ok();
        output
    }

    fn text_of_page(&self, documents: &[&str], args: &[&str]) -> String {
        fs::read_to_string(self.page(documents, args)).unwrap()
    }
}

/// The recorded tests, each changed.
fn changed(change: impl Fn(&mut Value)) -> String {
    let mut tests: Value = serde_json::from_str(TESTS).unwrap();
    tests.as_array_mut().unwrap().iter_mut().for_each(change);
    tests.to_string()
}

fn tests() -> Vec<Value> {
    serde_json::from_str(TESTS).unwrap()
}

/// What a browser finds wrong on a page, at every width, in light and dark colours.
fn look(browser: &mut Browser, page: &Path, pictures: u64) -> Vec<String> {
    let mut faults = Vec::new();
    for width in WIDTHS {
        for is_dark in [false, true] {
            browser.show(width, is_dark);
            let loaded = browser.load(page);
            let seen = browser.evaluate(LOOK);
            let place = format!("{width} pixels, {}", if is_dark { "dark" } else { "light" });
            let found = seen["faults"].as_array().unwrap().iter().map(|fault| fault.to_string());
            let found = found.chain(loaded.messages).chain(loaded.requests);
            faults.extend(found.map(|fault| format!("{place}: {fault}")));
            if seen["pictures"] != pictures {
                faults.push(format!("{place}: {} pictures, not {pictures}", seen["pictures"]));
            }
        }
    }
    faults
}

#[test]
fn pages_read_well_in_a_browser() {
    let Some(mut browser) = Browser::start("pages_read_well_in_a_browser") else { return };
    let place = Place::new();
    // Decode and prefill, the roofline, power and temperature, energy, and memory.
    let page = place.page(&[TESTS, PLANS], &["--board", "pi-5"]);
    assert_eq!(look(&mut browser, &page, 7), Vec::<String>::new());
    // Numbers, names and times of other sizes.
    let times = |value: &mut Value, factor: f64| *value = (value.as_f64().unwrap() * factor).into();
    for factor in [1e-3, 1e4] {
        let changed = changed(|test| {
            test["model_filename"] = format!("{}.kinglet", "a-long-name-".repeat(9)).into();
            times(&mut test["avg_ts"], factor);
            times(&mut test["stddev_ts"], factor);
            if let Some(points) = test["curve"].as_array_mut() {
                points.iter_mut().for_each(|point| times(&mut point["watts"], factor));
            }
            for phase in ["prefill", "decode"] {
                if test["power"][phase].is_object() {
                    times(&mut test["power"][phase]["joules_per_token"], factor);
                }
            }
        });
        let page = place.page(&[&changed], &["--board", "thor"]);
        assert_eq!(look(&mut browser, &page, 6), Vec::<String>::new(), "{factor}");
    }
}

#[test]
fn a_browser_sees_what_is_wrong() {
    let Some(mut browser) = Browser::start("a_browser_sees_what_is_wrong") else { return };
    let place = Place::new();
    let wrong = "<!DOCTYPE html><body style='background: white'>
        <figure><svg viewBox='0 0 300 100' width='300' role='img'>
        <text x='10' y='20' font-size='6'>small</text>
        <text x='10' y='50' fill='#dddddd'>pale and behind</text><text x='40' y='52'>before</text>
        <text x='280' y='80'>outside</text></svg></figure>
        <div style='width: 1500px'>wide</div><th>head</th>
        <img src='http://127.0.0.1:9/x.png'><script>console.error('broken')</script>";
    let path = place.write("wrong.html", wrong);
    let faults = look(&mut browser, Path::new(&path), 1).join("\n");
    for fault in [
        "400 pixels, light: \"the page is ",
        "1200 pixels, dark: \"the paper is rgb(255, 255, 255)",
        "says nothing to those who do not see it",
        "small is 6 pixels high",
        "pale and behind is pale",
        "overlaps",
        "outside\\\" leaves its picture",
        "http://127.0.0.1:9/x.png",
        "broken",
    ] {
        assert!(faults.contains(fault), "{fault} is not among:\n{faults}");
    }
}

#[test]
fn pages_need_nothing_else() {
    let page = Place::new().text_of_page(&[TESTS, PLANS], &["--board", "pi-5"]);
    for other in ["http:", "https:", "src=", "@import", "url(", "<script", "javascript:"] {
        assert!(!page.contains(other), "{other}");
    }
    assert!(page.contains("default-src 'none'"), "the page forbids itself to load anything");
}

/// Replaces every text below a value, and tells how many there were.
fn replace_texts(value: &mut Value, text: &str) -> usize {
    match value {
        Value::String(old) => {
            *old = text.to_owned();
            1
        }
        Value::Array(list) => list.iter_mut().map(|value| replace_texts(value, text)).sum(),
        Value::Object(map) => map.values_mut().map(|value| replace_texts(value, text)).sum(),
        _ => 0,
    }
}

#[test]
fn foreign_text_stays_text() {
    const HOSTILE: &str = "\"'></text></style><script>alert(1)</script>{{ 7 * 7 }}&lt;";
    let (mut tests, mut plans): (Value, Value) =
        (serde_json::from_str(TESTS).unwrap(), serde_json::from_str(PLANS).unwrap());
    assert!(replace_texts(&mut tests, HOSTILE) > 200 && replace_texts(&mut plans, HOSTILE) > 20);
    for test in tests.as_array_mut().unwrap() {
        test["throttled"] = true.into();
        test["throttle_flags"] = HOSTILE.into();
    }
    let place = Place::new();
    let page = place.text_of_page(&[&tests.to_string(), &plans.to_string()], &[]);
    assert!(!page.contains("<script") && !page.contains("</text></style>"));
    assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("{{ 7 * 7 }}&amp;lt;"));
    assert_eq!(page.matches("<style>").count(), page.matches("</style>").count());
    if let Some(mut browser) = Browser::start("foreign_text_stays_text, in a browser") {
        assert_eq!(look(&mut browser, &place.path("report.html"), 7), Vec::<String>::new());
    }
}

#[test]
fn every_test_and_plan_is_in_a_table() {
    let page = Place::new().text_of_page(&[TESTS, PLANS], &["--board", "pi-5"]);
    let rows = |caption: &str| {
        let table = page.split("<table>").find(|table| table.contains(caption)).unwrap();
        let table = table.split("</table>").next().unwrap();
        table.matches("<th scope=\"row\">").count()
    };
    let tests = tests();
    let points: usize =
        tests.iter().filter_map(|test| test["curve"].as_array()).map(Vec::len).sum();
    let phases = tests.iter().filter(|test| test["power"].is_object()).count();
    assert_eq!(rows("<caption>Speed of every test"), tests.len());
    assert_eq!(rows("<caption>Points of the picture<"), tests.len());
    assert_eq!(rows("<caption>Points of the pictures"), points);
    assert_eq!(rows("<caption>Energy of every phase"), phases);
    let plans: Vec<Value> = serde_json::from_str(PLANS).unwrap();
    assert_eq!(rows("<caption>Memory of every plan"), plans.len());
}

#[test]
fn predictions_are_those_of_plan() {
    let page = Place::new().text_of_page(&[TESTS], &["--board", "pi-zero-2w"]);
    let table =
        page.split("<table>").find(|table| table.contains("<caption>Points of the picture<"));
    let plans: Vec<Value> = serde_json::from_str(PLANS).unwrap();
    let mut compared = 0;
    for row in table.unwrap().split("<tr>").filter(|row| row.contains(">pp128<")) {
        let cells: Vec<&str> =
            row.split('>').filter_map(|part| part.split_once("</t")).map(|c| c.0).collect();
        let model = format!("{}.kinglet", cells[0].split(',').next().unwrap());
        let plan = plans.iter().find(|plan| plan["model"] == model).unwrap();
        let planned = plan["predictions"][0]["prefill_tokens_per_second"].as_f64().unwrap();
        let shown: f64 = cells[7].parse().unwrap();
        assert!((shown / planned - 1.0).abs() < 1e-3, "{model}: {shown}, not {planned}");
        compared += 1;
    }
    assert_eq!(compared, 8);
}

#[test]
fn what_is_missing_is_said() {
    let place = Place::new();
    let page = place.text_of_page(&[PLANS], &[]);
    assert_eq!(page.matches("<figure>").count(), 1);
    for command in ["-d 0,512,1024", "-p 512 -n 128", "--sustain 10m --power", "--power auto"] {
        assert!(page.contains(command), "{command}");
    }
    let bare = changed(|test| {
        test["power"] = Value::Null;
        test["curve"] = Value::Null;
        test["n_depth"] = 0.into();
    });
    let page = place.text_of_page(&[&bare], &[]);
    assert_eq!(page.matches("<figure>").count(), 1, "only the roofline");
    assert!(page.contains("kinglet plan MODEL --json") && page.contains("Speed of every test"));
    assert!(page.contains("With --board BOARD"), "this machine has not measured that");
}

#[test]
fn what_slowed_a_board_down_is_marked() {
    let slow = changed(|test| {
        if test["n_depth"] == 512 && test["n_gen"] == 0 {
            test["throttled"] = true.into();
            test["throttle_flags"] = "under-voltage".into();
        }
    });
    let page = Place::new().text_of_page(&[&slow], &[]);
    assert_eq!(page.matches(": the board slowed itself down: under-voltage.").count(), 2);
    assert_eq!(page.matches("<td>under-voltage</td>").count(), 2);
}

#[test]
fn tests_of_several_files_are_told_apart() {
    let place = Place::new();
    let page = place.text_of_page(&[TESTS, TESTS], &[]);
    assert!(page.contains("avx512, 0.json") && page.contains("avx512, 1.json"), "same tests");
    let other = changed(|test| test["cpu_info"] = "Cortex-A76".into());
    let page = place.text_of_page(&[TESTS, &other], &[]);
    assert!(page.contains("avx512, Cortex-A76<") && page.contains("avx512, AMD EPYC<"));
    // Lines of bench's other format, and one document after the other.
    let lines: String = tests().iter().map(|test| format!("{test}\n")).collect();
    let as_list = place.text_of_page(&[TESTS], &[]);
    assert_eq!(place.text_of_page(&[&lines], &[]), as_list);
}

#[test]
fn wrong_files_are_refused() {
    let place = Place::new();
    let page = place.path("r.html");
    let page = page.to_str().unwrap();
    let good = place.write("good.json", TESTS);
    let bad = place.write("bad.md", "| model | t/s |\n");
    place.report(&["nowhere.json", "-o", page]).fails(1, 101);
    place.report(&[&bad, "-o", page]).fails(2, 404);
    place.report(&[&good, &bad, "-o", page]).fails(2, 404);
    place.report(&[&good, "-o", page, "--board", "pi-99"]).fails(2, 404);
    place.report(&[&good, "-o", "/nowhere/r.html"]).fails(1, 103);
    assert!(!Path::new(page).exists(), "no page of half the files");
    place.report(&[&good, "-o", &good]).fails(2, 404);
    assert_eq!(fs::read_to_string(&good).unwrap(), TESTS);
    assert_eq!(place.report(&[&good]).code, Some(2), "no output is named");
}

/// Every path to a value that is no list or object.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(name, value)| leaves(value, &format!("{path}/{name}"), found));
        }
        Value::Array(list) => {
            let list = list.iter().enumerate();
            list.for_each(|(i, value)| leaves(value, &format!("{path}/{i}"), found));
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn no_value_makes_a_page_fail() {
    let place = Place::new();
    let mut test = tests().into_iter().find(|test| test["power"].is_object()).unwrap();
    test["curve"].as_array_mut().unwrap().truncate(2);
    let plan: Value = serde_json::from_str::<Vec<Value>>(PLANS).unwrap().remove(0);
    let output = place.path("r.html");
    let (mut pages, mut refused) = (0, 0);
    for document in [test, plan] {
        let mut paths = Vec::new();
        leaves(&document, "", &mut paths);
        for path in paths {
            for wrong in [json!(null), json!(0), json!(-1), json!(1e300), json!("x"), json!([[]])] {
                let mut changed = document.clone();
                *changed.pointer_mut(&path).unwrap() = wrong.clone();
                let file = place.write("changed.json", &changed.to_string());
                let said = place.report(&[&file, "-o", output.to_str().unwrap()]);
                match said.code {
                    Some(0) => pages += 1,
                    _ => {
                        said.fails(2, 404);
                        let name = path.rsplit('/').find(|part| part.parse::<u32>().is_err());
                        let name = name.unwrap();
                        assert!(said.err.contains(name), "{path} {wrong}: {}", said.err);
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(pages > 200 && refused > 200, "{pages} pages, {refused} refused");
}
