//! Outputs that cannot be written, inputs that are no files, and signals while the command waits.

use kinglet::Type;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models::{converted_path, small, small_source};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use tempfile::TempDir;

const MODEL: &str = "gqa3-head64";

/// A folder of its own for each test.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        drop(small(MODEL, Type::Q4));
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn pipe(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = kinglet(&self.path("home"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    fn say(&self, args: &[&str]) -> Said {
        Said::by(&mut self.command(args))
    }

    /// What lies in the folder, but for the cache.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "home").collect();
        names.sort();
        names
    }
}

fn model() -> String {
    converted_path(MODEL, Type::Q4).to_str().unwrap().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn outputs_are_checked_before_any_work() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    fs::write(place.path("notes.txt"), "mine").unwrap();
    let pipe = place.pipe("pipe");
    let before = place.names();
    for (output, words) in [
        ("folder", "is a folder"),
        ("notes.txt", "no Kinglet file"),
        (text(&pipe), "a device or a pipe"),
        ("/dev/null", "a device or a pipe"),
        ("nowhere/x.kinglet", "nowhere does not exist"),
        ("/proc/x.kinglet", "cannot write /proc/x.kinglet"),
    ] {
        // That there is no such checkpoint is not even looked at.
        let said = place.say(&["convert", "no/checkpoint", "-o", output]);
        said.fails(1, 103);
        assert!(said.err.contains(words) && !said.err.contains("os error"), "{}", said.err);
    }
    let source = place.path("source");
    fs::create_dir(&source).unwrap();
    for entry in fs::read_dir(small_source(MODEL)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, source.join(path.file_name().unwrap())).unwrap();
    }
    for output in ["source", "source/model.safetensors", "source/config.json"] {
        place.say(&["convert", "source", "-o", output]).fails(1, 103);
    }
    fs::remove_dir_all(&source).unwrap();
    assert_eq!(place.names(), before, "nothing is left behind");
    assert_eq!(fs::read(place.path("notes.txt")).unwrap(), b"mine");
}

#[test]
fn what_killed_conversions_left_is_removed() {
    let place = Place::new();
    fs::write(place.path(".x.kinglet.aB3xYz.partial"), "half a model").unwrap();
    for folder in [".x.kinglet.Zz9pQr.partial", ".x.kinglet.calibration"] {
        fs::create_dir(place.path(folder)).unwrap();
        fs::write(place.path(folder).join("half"), "a model").unwrap();
    }
    let source = small_source(MODEL);
    place.say(&["convert", text(&source), "-o", "x.kinglet", "--type", "q8"]).ok();
    assert_eq!(place.names(), ["x.kinglet"]);
}

#[test]
fn pipes_and_devices_are_no_models() {
    let place = Place::new();
    let pipe = place.pipe("pipe");
    for name in [text(&pipe), "/dev/null", "/dev/zero"] {
        for args in [
            &["run", name, "-p", "one"][..],
            &["chat", name],
            &["inspect", name],
            &["plan", name],
            &["convert", name, "-o", "x.kinglet"],
        ] {
            let said = place.say(args);
            said.fails(1, 102);
            assert!(said.err.contains(&format!("{name} is a ")), "{args:?}: {}", said.err);
        }
    }
    let mut command = place.command(&["run", "/dev/stdin", "-p", "one"]);
    let said = Said::by(command.stdin(Stdio::from(std::io::pipe().unwrap().0)));
    said.fails(1, 102);
    assert!(said.err.contains("/dev/stdin is a pipe"), "{}", said.err);
    // A folder of a checkpoint with a pipe in it.
    fs::create_dir(place.path("source")).unwrap();
    place.pipe("source/config.json");
    place.say(&["convert", "source", "-o", "x.kinglet"]).fails(1, 102);
}

#[test]
fn texts_come_from_pipes_but_not_from_devices_without_end() {
    let place = Place::new();
    let pipe = place.pipe("pipe");
    let writer = {
        let pipe = pipe.clone();
        thread::spawn(move || fs::write(pipe, "one two").unwrap())
    };
    let tokens = place.say(&["tokenize", &model(), "-f", text(&pipe), "--json"]).json();
    writer.join().unwrap();
    let same = place.say(&["tokenize", &model(), "-p", "one two", "--json"]).json();
    assert_eq!(tokens, same);
    let said = place.say(&["tokenize", &model(), "-f", "/dev/zero"]);
    said.fails(1, 102);
    assert!(said.err.contains("/dev/zero is a device"), "{}", said.err);
    place.say(&["run", &model(), "-p", "one", "--json-schema", "/dev/zero"]).fails(1, 102);
}

/// A chat that has answered once and waits for what comes next.
fn waiting_chat(command: &mut Command) -> Child {
    let mut chat =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    say(&mut chat);
    chat
}

/// Says something to a chat and reads the reply of one token, which a line ends.
fn say(chat: &mut Child) {
    chat.stdin.as_mut().unwrap().write_all(b"one\n").unwrap();
    let mut line = Vec::new();
    BufReader::new(chat.stdout.as_mut().unwrap()).read_until(b'\n', &mut line).unwrap();
    assert_eq!(line.last(), Some(&b'\n'));
}

fn signal(process: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &process.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn the_first_signal_ends_what_waits() {
    let place = Place::new();
    let model = model();
    let chat = ["chat", &model, "-n", "1", "--threads", "1", "-q"];
    for (name, number) in [("-INT", 2), ("-TERM", 15)] {
        let mut chat = waiting_chat(&mut place.command(&chat));
        signal(&chat, name);
        let status = chat.wait().unwrap();
        let is_ended = status.signal() == Some(number) || status.code() == Some(130);
        assert!(is_ended, "{name}: {status}");
        // A text and a schema from pipes that nobody writes to.
        let pipe = place.pipe(&format!("pipe{name}"));
        for args in [["-f", text(&pipe)], ["--json-schema", text(&pipe)]] {
            let args = [&["run", &model], &args[..], &["--no-echo"]].concat();
            let mut run = place.command(&args).stderr(Stdio::null()).spawn().unwrap();
            signal(&run, name);
            assert!(!run.wait().unwrap().success(), "{name}");
        }
    }
}

#[test]
fn an_ignored_signal_stays_ignored() {
    let place = Place::new();
    let kinglet = place.command(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' INT; exec \"$0\" \"$@\""]).arg(kinglet.get_program());
    command.args(["chat", &model(), "-n", "1", "--threads", "1", "-q"]);
    let mut chat = waiting_chat(command.current_dir(place.0.path()));
    signal(&chat, "-INT");
    signal(&chat, "-INT");
    say(&mut chat);
    drop(chat.stdin.take());
    assert!(chat.wait().unwrap().success());
}

#[test]
fn numbers_of_tokens_may_have_no_limit() {
    let place = Place::new();
    let run = |count: &str| {
        let args = ["--ignore-eos", "--ctx", "64", "--json", "--threads", "1"];
        place.say(&[&["run", &model(), "-p", "one", "-n", count][..], &args].concat())
    };
    assert_eq!(run("-1").json()["stop_reason"], "context_full");
    for wrong in ["-2", "99999999999", "many"] {
        let said = run(wrong);
        assert_eq!(said.code, Some(2));
        assert!(said.err.contains("-1 for no limit"), "{}", said.err);
    }
    let said = place.say(&["chat", &model(), "-n", "-3"]);
    assert!(said.code == Some(2) && said.err.contains("-1 for no limit"), "{}", said.err);
}

#[test]
fn texts_in_other_encodings_are_pointed_out() {
    let place = Place::new();
    let eval = |bytes: &[u8]| {
        fs::write(place.path("text"), bytes).unwrap();
        let said = place.say(&["eval", &model(), "--text", "text", "--ctx", "16", "--json"]);
        (said.err.clone(), said.json())
    };
    let words = "one two three four five six seven eight ".repeat(4);
    let (said, scores) = eval(words.as_bytes());
    assert!(!said.contains("UTF-8"), "{said}");
    let latin = [words.as_bytes(), b"caf\xe9 and more"].concat();
    let (said, others) = eval(&latin);
    assert!(said.contains(&format!("not UTF-8 from its byte {} on", words.len() + 3)), "{said}");
    fs::write(place.path("questions"), b"{\"context\": \"caf\xe9\"}").unwrap();
    place.say(&["eval", &model(), "--choices", "questions"]).fails(2, 404);
    let is_number = |document: &Value| document["perplexity"].as_f64().unwrap().is_finite();
    assert!(is_number(&scores) && is_number(&others));
}

#[test]
fn a_bench_that_cannot_end_does_not_begin() {
    let place = Place::new();
    let bench = |depths: &str| {
        let args = ["-p", "4", "-n", "0", "-r", "1", "-t", "1", "-o", "json", "-d", depths];
        place.say(&[&["bench", &model()][..], &args].concat())
    };
    assert_eq!(bench("0,8").json().as_array().unwrap().len(), 2);
    // The second test needs more positions than the model has.
    let said = bench("0,100000");
    assert!(said.out.is_empty() && said.code == Some(2), "{said:?}");
}

/// The newline that echo writes belongs to a text unless somebody says otherwise.
#[test]
fn ends_of_texts_are_taken_as_they_are_or_trimmed() {
    let place = Place::new();
    let tokens = |args: &[&str], input: &str| {
        let model = model();
        let args = [&["tokenize", &model, "--json"], args].concat();
        fs::write(place.path("input"), input).unwrap();
        let input = fs::File::open(place.path("input")).unwrap();
        Said::by(place.command(&args).stdin(input)).json()["tokens"].clone()
    };
    let plain = tokens(&["-p", " a b"], "");
    for end in ["\n", " \r\n\n"] {
        let text = format!(" a b{end}");
        assert_ne!(tokens(&[], &text), plain);
        assert_eq!(tokens(&["--trim"], &text), plain);
        assert_eq!(tokens(&["--trim", "-p", &text], ""), plain);
        fs::write(place.path("text"), &text).unwrap();
        assert_ne!(tokens(&["-f", "text"], ""), plain);
        assert_eq!(tokens(&["--trim", "-f", "text"], ""), plain);
    }
}
