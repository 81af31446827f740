//! Programs in C that call every function of the C library, rightly and wrongly, under tools that
//! see what a program must not do: `tests/c` has them.

use kinglet::Type;
use kinglet::tools::{Choice, Tools};
use kinglet_tests::c::{checked_library, compile, has, link_static, package, sources};
use kinglet_tests::command::Said;
use kinglet_tests::keys;
use kinglet_tests::models::{converted_path, small};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The files of the program that calls everything.
const PROOF: &[&str] = &[
    "main",
    "proof",
    "library",
    "model",
    "signed",
    "tokens",
    "session",
    "choices",
    "replies",
    "constraint",
    "tools",
    "states",
    "texts",
    "threads",
    "faults",
    "memory",
    "answers",
];
const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
/// A stack that no thread can have, if the library asked the environment for its size.
const ENVIRONMENT: [(&str, &str); 2] =
    [("RUST_MIN_STACK", "1000000000000000"), ("RUST_BACKTRACE", "full")];

/// A small model with a chat template, and one of another shape.
fn models() -> [PathBuf; 2] {
    [("gqa3-head64", Type::Q4), ("mha-head32", Type::Q8)].map(|(name, kind)| {
        drop(small(name, kind));
        converted_path(name, kind)
    })
}

/// The first of them, signed.
fn signed(folder: &TempDir) -> PathBuf {
    let mut bytes = fs::read(&models()[0]).unwrap();
    keys::sign(&mut bytes, "bird", 7).unwrap();
    let path = folder.path().join("signed.kinglet");
    fs::write(&path, bytes).unwrap();
    path
}

/// A table of functions.
fn tools(folder: &TempDir) -> PathBuf {
    let functions = json!([
        {"name": "set", "parameters": {
            "type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"],
        }},
        {"name": "read"},
    ]);
    let table =
        Tools::from_json(&functions.to_string()).unwrap().table(Choice::Required, 1).unwrap();
    let path = folder.path().join("functions.ktools");
    fs::write(&path, table).unwrap();
    path
}

/// Compiles files of `tests/c` with one compiler into a program of that folder.
fn build(folder: &TempDir, files: &[&str], flags: &[&str]) -> PathBuf {
    let paths: Vec<PathBuf> =
        files.iter().map(|file| sources().join(file).with_extension("c")).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let program = folder.path().join(files[0]);
    let flags: Vec<&str> = ["-std=c11"].iter().chain(flags).copied().collect();
    compile("gcc", &flags, &paths, &program);
    program
}

/// [`build`] of the program that calls everything, with the static library.
fn build_proof(folder: &TempDir, flags: &[&str]) -> PathBuf {
    let libraries = link_static(checked_library());
    let flags = flags.iter().copied().chain(libraries.iter().map(String::as_str));
    build(folder, PROOF, &flags.collect::<Vec<_>>())
}

/// [`build`] with the shared library, ready to be run.
fn build_shared(folder: &TempDir, files: &[&str]) -> Command {
    let library = checked_library();
    let search = format!("-L{}", library.display());
    let mut program = Command::new(build(folder, files, &[&search, "-lkinglet", "-lpthread"]));
    program.env("LD_LIBRARY_PATH", library);
    program
}

/// The tool finds each of these flaws.
fn assert_finds(command: impl Fn() -> Command, flaws: &[&str]) {
    assert_eq!(Said::by(&mut command()).code, Some(0));
    for flaw in flaws {
        let said = Said::by(command().arg(flaw));
        assert_ne!(said.code, Some(0), "a {flaw} was not found: {}", said.err);
    }
}

/// The program says nothing but that everything is proved. Memory that is too little grows by so
/// many bytes.
fn assert_proved(program: &mut Command, folder: &TempDir, step: &str) {
    let said = program.args(models()).arg(signed(folder)).arg(tools(folder)).arg(step);
    let said = Said::by(said.envs(ENVIRONMENT));
    let is_proved = said.code == Some(0) && said.out == "proved\n" && said.err.is_empty();
    assert!(is_proved, "{:?}: {}{}", said.code, said.out, said.err);
}

#[test]
fn sanitizers_find_nothing() {
    if !has("sanitizers_find_nothing", "gcc") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let run = |program: &Path| {
        let mut program = Command::new(program);
        program.env("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1");
        program
    };
    let flawed = build(&folder, &["flawed"], &SANITIZERS);
    assert_finds(|| run(&flawed), &["leak", "overrun", "overflow"]);
    assert_proved(&mut run(&build_proof(&folder, &SANITIZERS)), &folder, "1");
}

#[test]
fn valgrind_finds_nothing() {
    if !has("valgrind_finds_nothing", "gcc") || !has("valgrind_finds_nothing", "valgrind") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let run = |program: &Path| {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--leak-check=full", "--show-leak-kinds=all"]);
        valgrind.args(["--errors-for-leak-kinds=all", "--error-exitcode=9"]);
        valgrind.arg(format!("--suppressions={}", sources().join("valgrind.supp").display()));
        valgrind.arg(program);
        valgrind
    };
    let flawed = build(&folder, &["flawed"], &[]);
    assert_finds(|| run(&flawed), &["leak", "overrun"]);
    assert_proved(&mut run(&build_proof(&folder, &[])), &folder, "64");
}

/// The names of all functions in the recorded interface.
fn recorded() -> Vec<String> {
    let recorded = fs::read_to_string(sources().join("interface.txt")).unwrap();
    recorded.lines().filter_map(|line| line.strip_prefix("function ")).map(str::to_owned).collect()
}

/// A function that is added without a proof fails here.
#[test]
fn every_function_is_called() {
    if !has("every_function_is_called", "gcc") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let object = build(&folder, PROOF, &["-r", "-nostdlib"]);
    let mut nm = Command::new("nm");
    let needed = Said::by(nm.args(["--undefined-only", "--format=posix"]).arg(object)).ok();
    let mut names: Vec<&str> = needed.lines().filter_map(|line| line.split(' ').next()).collect();
    names.retain(|name| name.starts_with("kinglet_"));
    names.sort_unstable();
    assert_eq!(names, recorded());
}

/// Who may call it from which thread is part of every function's description.
#[test]
fn every_function_tells_its_thread_rules() {
    let header = fs::read_to_string(package().join("include/kinglet.h")).unwrap();
    let lines: Vec<&str> = header.lines().collect();
    for name in recorded() {
        let call = format!("{name}(");
        let at = lines.iter().position(|line| !line.starts_with("//") && line.contains(&call));
        let comment = lines[..at.expect("it is declared")].iter().rev();
        let mut comment = comment.take_while(|line| line.starts_with("//"));
        assert!(comment.any(|line| line.starts_with("// Threads: ")), "{name} has no rule");
    }
}

#[test]
fn nothing_is_allocated_behind_the_callers_back() {
    if !has("nothing_is_allocated_behind_the_callers_back", "gcc") {
        return;
    }
    let folder = TempDir::new().unwrap();
    drop(small("gqa3-head64", Type::Bf16));
    for model in [&models()[0], &converted_path("gqa3-head64", Type::Bf16)] {
        let mut program = build_shared(&folder, &["allocation", "proof"]);
        println!("{}", Said::by(program.arg(model).arg(tools(&folder))).ok());
    }
}

#[test]
fn missing_memory_is_a_status() {
    if !has("missing_memory_is_a_status", "gcc") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut program = build_shared(&folder, &["shortage", "proof"]);
    println!("{}", Said::by(program.arg(&models()[0])).ok());
}

#[test]
fn sessions_endure() {
    if !has("sessions_endure", "gcc") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut program = build_shared(&folder, &["endurance", "proof"]);
    println!("{}", Said::by(program.arg(&models()[0]).arg("10000")).ok());
}
