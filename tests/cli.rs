//! The `kinglet` command as people and scripts use it: documents, exit codes, messages, pipes.

use kinglet::Model;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models::small_source;
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

const COMMANDS: &str = "pull convert inspect sign run chat compile-schema serve tokenize embed \
                        eval plan bench report doctor boards completions";

/// A checkpoint with 512 positions, 640 tokens and a chat template.
const CHAT_MODEL: &str = "gqa3-head64";
/// A checkpoint with another vocabulary.
const OTHER_MODEL: &str = "mha-head32";

/// A folder of its own for each test: cache and files.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = kinglet(&self.path("home"));
        command.args(args).stdin(Stdio::null());
        command
    }

    fn say(&self, args: &[&str]) -> Said {
        Said::by(&mut self.command(args))
    }

    /// Runs with a text on standard input.
    fn say_to(&self, args: &[&str], input: &str) -> Said {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap().into()
    }

    /// A copy of a checkpoint of the goldens, to be damaged.
    fn copy_of(&self, name: &str) -> PathBuf {
        let copy = self.path(name);
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(small_source(name)).unwrap().flatten() {
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        copy
    }

    /// Converts a checkpoint of the goldens to bf16.
    fn converted(&self, name: &str) -> String {
        let output = self.path(&format!("{name}.kinglet")).to_str().unwrap().to_owned();
        let source = small_source(name).to_str().unwrap().to_owned();
        let said = self.say(&["convert", &source, "-o", &output, "--type", "bf16", "--quiet"]).ok();
        assert_eq!(said, "", "--quiet leaves no table");
        output
    }
}

fn assert_has(document: &Value, wanted: &[&str]) {
    let found = document.as_object().unwrap();
    assert!(wanted.iter().all(|&key| found.contains_key(key)), "{found:?} lacks one of {wanted:?}");
}

#[test]
fn every_command_explains_itself_with_examples() {
    let place = Place::new();
    let help = place.say(&["--help"]).ok();
    for command in COMMANDS.split(' ') {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        let text = place.say(&[command, "--help"]).ok();
        assert!(text.contains("Usage: kinglet") && text.contains("Examples:"), "{text}");
    }
    assert!(place.say(&["--version"]).ok().starts_with("kinglet "));
}

#[test]
fn wrong_usage_ends_with_2() {
    let wrong: [&[&str]; 13] = [
        &[],
        &["fly"],
        &["run"],
        &["run", "m", "--fly"],
        &["run", "m", "-p", "a", "-f", "b"],
        &["run", "m", "-p", "a", "--ctx", "0"],
        &["run", "m", "-p", "a", "--temp", "-1"],
        &["run", "m", "-p", "a", "--top-p", "1.5"],
        &["run", "m", "-p", "a", "--kv", "int9"],
        &["run", "m", "-p", "a", "--memory-budget", "12Q"],
        &["run", "m", "-p", "a", "--logit-bias", "x"],
        &["convert", "m"],
        &["pull"],
    ];
    let place = Place::new();
    for args in wrong {
        let said = place.say(args);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?}");
        assert!(said.err.contains("--help"), "{said:?}");
    }
}

#[test]
fn completions_are_scripts() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.say(&["completions", shell]).ok();
        assert!(COMMANDS.split(' ').all(|command| script.contains(command)), "{shell}");
    }
    let script = place.write("bash", place.say(&["completions", "bash"]).ok());
    assert!(Command::new("bash").arg("-n").arg(script).status().unwrap().success());
}

#[test]
fn colour_is_for_terminals_and_never_with_no_color() {
    let place = Place::new();
    for args in [&["run", "no-such-model", "-p", "a"][..], &["--help"], &["fly"]] {
        let escapes = |variables: &[(&str, &str)]| {
            let said = Said::by(place.command(args).envs(variables.iter().copied()));
            said.out.contains('\x1b') || said.err.contains('\x1b')
        };
        assert!(!escapes(&[]), "{args:?}");
        assert!(escapes(&[("CLICOLOR_FORCE", "1")]), "{args:?}");
        assert!(!escapes(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), "{args:?}");
    }
}

#[test]
fn run_prints_one_document_or_streams_the_same_text() {
    let place = Place::new();
    let model = place.converted(CHAT_MODEL);
    let args = ["run", &model, "-p", "Hello there", "-n", "20", "--temp", "0", "--threads", "2"];
    let document =
        place.say(&[&args[..], &["--json", "--ctx", "128", "--kv", "f16"]].concat()).json();
    assert_has(
        &document,
        &[
            "text",
            "tokens",
            "prompt_tokens",
            "prefill_tps",
            "decode_tps",
            "drafted_tokens",
            "accepted_tokens",
            "ttft_ms",
            "peak_rss_bytes",
        ],
    );
    assert!(document["tokens"].as_array().unwrap().len() <= 20);
    assert!(document["peak_rss_bytes"].as_u64().unwrap() > 0);
    let streamed = place.say(&[&args[..], &["--kv", "f16"]].concat());
    for figure in ["prefill", "decode", "tokens/s", "GB/s", "first token", "peak"] {
        assert!(streamed.err.contains(figure), "{}", streamed.err);
    }
    assert_eq!(streamed.ok(), document["text"].as_str().unwrap());
}

#[test]
fn the_prompt_comes_from_argument_file_or_input() {
    let place = Place::new();
    let model = place.converted(CHAT_MODEL);
    let file = place.write("prompt.txt", "Once upon");
    let end = ["-n", "8", "-q"];
    let argument = place.say(&[&["run", &model, "-p", "Once upon"], &end[..]].concat());
    assert_eq!(argument.err, "", "--quiet leaves no statistics");
    let argument = argument.ok();
    let file = file.to_str().unwrap();
    assert_eq!(place.say(&[&["run", &model, "-f", file], &end[..]].concat()).ok(), argument);
    assert_eq!(place.say_to(&[&["run", &model], &end[..]].concat(), "Once upon").ok(), argument);
}

#[test]
fn stop_strings_end_the_text_and_seeds_repeat_it() {
    let place = Place::new();
    let model = place.converted(CHAT_MODEL);
    let run = |more: &[&str]| {
        let args =
            ["run", &model, "-p", "a", "-n", "40", "--temp", "1.5", "--ignore-eos", "--json"];
        place.say(&[&args[..], more].concat()).json()
    };
    let whole = run(&["--seed", "7"]);
    assert_eq!(whole["tokens"], run(&["--seed", "7"])["tokens"]);
    assert_ne!(whole["tokens"], run(&["--seed", "8"])["tokens"]);
    let text = whole["text"].as_str().unwrap();
    let middle = text.char_indices().nth(text.chars().count() / 2).unwrap().0;
    let stop: String = text[middle..].chars().take(3).collect();
    let stopped = run(&["--seed", "7", "--stop", &stop]);
    assert_eq!(stopped["stop_reason"], "stop_string");
    assert_eq!(stopped["text"].as_str().unwrap(), &text[..text.find(&stop).unwrap()]);
}

#[test]
fn tokenize_plan_and_inspect_print_documents() {
    let place = Place::new();
    let model = place.converted(CHAT_MODEL);
    let tokens = place.say(&["tokenize", &model, "-p", "Hi<|im_end|>", "--json"]).json();
    assert_has(&tokens, &["tokens", "pieces"]);
    assert_eq!(tokens["pieces"].as_array().unwrap().last().unwrap(), "<|im_end|>");
    let plain =
        place.say(&["tokenize", &model, "-p", "Hi<|im_end|>", "--json", "--no-specials"]).json();
    assert!(plain["tokens"].as_array().unwrap().len() > tokens["tokens"].as_array().unwrap().len());

    let plan = |kv| place.say(&["plan", &model, "--ctx", "256", "--kv", kv, "--json"]).json();
    let (small, large) = (plan("int8"), plan("f16"));
    let total = |plan: &Value| plan["total_bytes"].as_u64().unwrap();
    let parts = small["parts"].as_array().unwrap();
    let sum: u64 = parts.iter().map(|part| part["bytes"].as_u64().unwrap()).sum();
    assert_eq!(sum, total(&small));
    assert!(total(&small) < total(&large));
    let four = ["plan", &model, "--ctx", "256", "--kv", "int8", "--texts", "4", "--json"];
    let cache = |plan: &Value| plan["parts"][7]["bytes"].as_u64().unwrap();
    assert_eq!(cache(&place.say(&four).json()), 4 * cache(&small));
    let document = place.say(&["inspect", &model, "--json", "--verify"]).json();
    assert_has(&document, &["file_bytes", "config", "sections", "tensors", "chat_template"]);
    assert_eq!(document["file_bytes"].as_u64().unwrap(), fs::metadata(&model).unwrap().len());
    let read = &document["read_bytes_per_token"];
    assert_eq!(*read, Model::open(&model).unwrap().read_bytes_per_token());
    assert_eq!(document["config"]["vocab_size"], 640);
    assert!(place.say(&["inspect", &model, "--verify"]).ok().contains("embedding"));
}

#[test]
fn eval_compares_models() {
    let place = Place::new();
    let model = place.converted(CHAT_MODEL);
    let text = "The quick brown fox jumps over the lazy dog, 1234 times.\n".repeat(40);
    let text = place.write("text.txt", text);
    let text = text.to_str().unwrap();
    let args = ["eval", &model, "--text", text, "--ctx", "64", "--chunks", "3", "--json"];
    let exact = [&args[..], &["--kv", "f16"]].concat();
    let alone = place.say(&exact).json();
    assert_has(&alone, &["perplexity", "mean_kl", "kl_99", "top1_agreement", "tokens"]);
    assert_eq!(alone["tokens"], 3 * 31);
    assert!(alone["mean_kl"].is_null());
    let same = place.say(&[&exact[..], &["--reference", &model]].concat()).json();
    assert_eq!((&same["mean_kl"], &same["top1_agreement"]), (&0.0.into(), &1.0.into()));
    assert_eq!(same["perplexity"], alone["perplexity"]);
    let int8 = [&args[..], &["--kv", "int8", "--reference", &model]].concat();
    let int8 = place.say(&int8).json();
    assert_eq!(int8["reference_perplexity"], alone["perplexity"]);
    assert!(int8["mean_kl"].as_f64().unwrap() > 0.0);
    let other = place.converted(OTHER_MODEL);
    place.say(&[&args[..], &["--reference", &other]].concat()).fails(1, 307);
    place.say(&["eval", &model, "--text", "/dev/null"]).fails(2, 404);
    place.say(&["eval", &model, "--text", place.path("none").to_str().unwrap()]).fails(1, 101);
}

#[test]
fn bad_models_are_refused_with_one_sentence() {
    let place = Place::new();
    let model = place.converted(CHAT_MODEL);
    let bytes = fs::read(&model).unwrap();
    let mut wrong_header = bytes.clone();
    wrong_header[40] ^= 1;
    let mut wrong_version = bytes.clone();
    wrong_version[8] ^= 64;
    fs::create_dir(place.path("empty")).unwrap();
    let cases = [
        (place.path("missing.kinglet"), 101),
        (place.write("text.kinglet", "just a text"), 201),
        (place.write("empty.kinglet", ""), 201),
        (place.write("short.kinglet", &bytes[..bytes.len() - 1]), 203),
        (place.write("header.kinglet", wrong_header), 204),
        (place.write("version.kinglet", wrong_version), 202),
        (place.path("empty"), 101),
        (place.write("broken.gguf", "GGUF, but not really"), 305),
        // The only GGUF file in it is what is meant.
        (place.folder.path().to_owned(), 305),
    ];
    for (path, number) in cases {
        let said = place.say(&["run", path.to_str().unwrap(), "-p", "a", "-q"]);
        said.fails(1, number);
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
    }
}

#[test]
fn altered_weights_are_found_by_verify() {
    let place = Place::new();
    let model = place.converted(CHAT_MODEL);
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    place.say(&["inspect", &model]).ok();
    place.say(&["inspect", &model, "--verify"]).fails(1, 204);
}

#[test]
fn impossible_requests_end_with_2() {
    let place = Place::new();
    let model = place.converted(CHAT_MODEL);
    let long = "word ".repeat(200);
    let cases: [(&[&str], u32); 8] = [
        (&["-p", ""], 404),
        (&["-p", &long, "--ctx", "64"], 401),
        (&["-p", "a", "--ctx", "100000"], 404),
        (&["-p", "a", "--tier", "warp"], 404),
        (&["-p", "a", "--memory-budget", "1K"], 403),
        (&["-p", "a", "--type", "q4"], 404),
        (&["-p", "a", "--logit-bias", "640=1"], 406),
        (&["-p", "a", "--batch", "1000000"], 404),
    ];
    for (args, number) in cases {
        place.say(&[&["run", &model], args].concat()).fails(2, number);
    }
}

#[test]
fn a_full_context_ends_the_text_not_the_program() {
    let place = Place::new();
    let model = place.converted(CHAT_MODEL);
    let args = ["run", &model, "-p", "a", "--ctx", "32", "-n", "100", "--ignore-eos", "--json"];
    assert_eq!(place.say(&args).json()["stop_reason"], "context_full");
}

#[test]
fn a_failed_conversion_leaves_the_old_file() {
    let place = Place::new();
    let model = place.converted(CHAT_MODEL);
    let before = fs::read(&model).unwrap();
    let broken = place.copy_of(CHAT_MODEL);
    let config = fs::read_to_string(broken.join("config.json")).unwrap();
    fs::write(broken.join("config.json"), config.replace("\"llama\"", "\"mamba\"")).unwrap();
    place.say(&["convert", broken.to_str().unwrap(), "-o", &model]).fails(1, 301);
    assert_eq!(fs::read(&model).unwrap(), before);
    let precious = place.write("precious.txt", "precious");
    let source = small_source(CHAT_MODEL);
    let source = source.to_str().unwrap();
    place.say(&["convert", source, "-o", precious.to_str().unwrap()]).fails(1, 103);
    assert_eq!(fs::read_to_string(precious).unwrap(), "precious");
    let nowhere = place.path("no/such/folder/out.kinglet");
    place.say(&["convert", source, "-o", nowhere.to_str().unwrap()]).fails(1, 103);
}

#[test]
fn convert_prints_the_table_of_tensors() {
    let place = Place::new();
    let (source, output) = (small_source(CHAT_MODEL), place.path("out.kinglet"));
    let args =
        ["convert", source.to_str().unwrap(), "-o", output.to_str().unwrap(), "--type", "q4"];
    let table = place.say(&args).ok();
    for word in ["embedding", "layers.1.down", "bits/weight", "relative error", "out.kinglet"] {
        assert!(table.contains(word), "{table}");
    }
    let document = place.say(&[&args[..], &["--json"]].concat()).json();
    assert_eq!(document["file_bytes"].as_u64().unwrap(), fs::metadata(&output).unwrap().len());
    assert_eq!(document["tensors"].as_array().unwrap().len(), 2 + 2 * 9);
}

#[test]
fn folders_are_converted_once_until_they_change() {
    let place = Place::new();
    let folder = place.copy_of(CHAT_MODEL);
    let converts = || {
        let said = place.say(&["tokenize", folder.to_str().unwrap(), "-p", "a"]);
        let converts = said.err.contains("converting");
        said.ok();
        converts
    };
    assert_eq!([converts(), converts()], [true, false]);
    let mut config = fs::read_to_string(folder.join("config.json")).unwrap();
    config.push('\n');
    fs::write(folder.join("config.json"), config).unwrap();
    assert_eq!([converts(), converts()], [true, false]);
    // What is damaged in the cache is made again.
    for entry in fs::read_dir(place.path("home").join("models")).unwrap() {
        let converted = OpenOptions::new().write(true).open(entry.unwrap().path()).unwrap();
        converted.set_len(converted.metadata().unwrap().len() / 2).unwrap();
    }
    assert_eq!([converts(), converts()], [true, false]);
}

#[test]
fn an_unusable_cache_is_an_error() {
    let place = Place::new();
    let file = place.write("home", "a file where the cache should be");
    let source = small_source(CHAT_MODEL);
    place.say(&["run", source.to_str().unwrap(), "-p", "a"]).fails(1, 103);
    assert!(file.is_file());
}

#[test]
fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
    let place = Place::new();
    let model = place.converted(CHAT_MODEL);
    let args = ["run", &model, "-p", "a", "-n", "500", "--ctx", "512", "--ignore-eos", "-q"];
    let mut command = place.command(&args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    Said::by(place.command(&args).stdout(full)).fails(1, 104);
}

/// Bytes that a process has written so far.
fn written(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let count = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    count.unwrap().parse().unwrap()
}

#[test]
fn ctrl_c_keeps_the_text_so_far() {
    const PIPE_BYTES: usize = 1 << 16;
    const ROOM: usize = 64;
    let place = Place::new();
    let model = place.converted(CHAT_MODEL);
    // The pipe is almost full, so the command has to wait in the middle of its text for the signal.
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'.'; PIPE_BYTES - ROOM]).unwrap();
    let args = ["run", &model, "-p", "a", "-n", "500", "--ctx", "512", "--ignore-eos", "-q"];
    let mut command = place.command(&args);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    while written(child.id()) < ROOM as u64 / 2 {
        thread::sleep(Duration::from_millis(10));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut text = Vec::new();
    reader.read_to_end(&mut text).unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    said.fails(130, 108);
    assert!(text.len() >= PIPE_BYTES - ROOM / 2);
}

#[test]
fn chat_answers_and_keeps_what_it_computed() {
    let place = Place::new();
    let model = place.converted(CHAT_MODEL);
    let first = "some words of a long first message ".repeat(4);
    let lines = format!("{first}\n\nshort\n/reset\nshort\n/quit\nnever said\n");
    let said = place.say_to(&["chat", &model, "--temp", "0", "-n", "4", "--ctx", "512"], &lines);
    let prefilled: Vec<usize> = said
        .err
        .lines()
        .filter_map(|line| line.strip_prefix("prefill ")?.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(prefilled.len(), 3, "{said:?}");
    assert!(prefilled[1] < prefilled[0], "the first message is not computed again: {prefilled:?}");
    assert!(prefilled[2] < prefilled[0], "after /reset the first message is gone: {prefilled:?}");
    said.ok();
    // What no longer fits is forgotten, and that is said.
    let long = ["chat", &model, "--temp", "0", "-n", "4", "--ctx", "128"];
    let said = place.say_to(&long, &"some words to say now\n".repeat(4));
    assert!(said.err.contains("oldest turns are forgotten"), "{said:?}");
    place.say_to(&["chat", &model, "--ctx", "64"], &"too long ".repeat(100)).fails(2, 401);
    let plain = place.copy_of(CHAT_MODEL);
    fs::remove_file(plain.join("chat_template.jinja")).unwrap();
    place.say_to(&["chat", plain.to_str().unwrap()], "Hi\n").fails(2, 405);
}
