//! The command on a terminal.

use kinglet::Type;
use kinglet_tests::command::kinglet;
use kinglet_tests::models;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::thread;
use tempfile::TempDir;

const MODEL: &str = "gqa3-head64";
const PROMPT: &str = "one \u{1b}[2Jtwo";

/// A terminal: the side of the person, and the side of the program.
fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut person, mut program) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: both places are there; the rest may be null.
    let outcome =
        unsafe { libc::openpty(&mut person, &mut program, none, none.cast(), none.cast()) };
    assert_eq!(outcome, 0, "there is no terminal to be had");
    // SAFETY: both were opened just now, and nobody else has them.
    unsafe { (OwnedFd::from_raw_fd(person), OwnedFd::from_raw_fd(program)) }
}

/// What a person sees of `kinglet run`.
fn seen(args: &[&str]) -> String {
    let home = TempDir::new().unwrap();
    drop(models::small(MODEL, Type::Q4));
    let (person, program) = terminal();
    let mut command = kinglet(home.path());
    command.arg("run").arg(models::converted_path(MODEL, Type::Q4)).args(["-p", PROMPT]);
    command.args(["--temp", "0", "-n", "8", "--threads", "1"]).args(args);
    command.stdin(Stdio::null()).stdout(program).stderr(Stdio::null());
    let mut running = command.spawn().unwrap();
    // With it goes the program's side, so that reading ends when the program does.
    drop(command);
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    // A terminal whose other side is closed gives an error in place of an end.
    while let Ok(count @ 1..) = File::from(person.try_clone().unwrap()).read(&mut part) {
        bytes.extend_from_slice(&part[..count]);
    }
    assert!(person.as_raw_fd() >= 0 && running.wait().unwrap().success());
    String::from_utf8(bytes).unwrap()
}

/// The prompt stands dimmed in front of its continuation, and cannot steer the terminal.
#[test]
fn a_prompt_is_shown_in_front_of_its_continuation() {
    let alone = seen(&["--no-echo", "--regex", "[a-z]{3}"]);
    assert!(alone.trim_end().len() == 3, "{alone:?}");
    let shown = seen(&["--regex", "[a-z]{3}"]);
    let prompt = "\u{1b}[2mone \u{241b}[2Jtwo\u{1b}[22m";
    assert_eq!(shown, format!("{prompt}{alone}"));
}

/// What the model writes cannot steer the terminal either.
#[test]
fn control_characters_of_the_model_are_shown() {
    let said = seen(&["--no-echo", "--regex", "a\\x1b\\[2Jb\\tc"]);
    assert_eq!(said.trim_end(), "a\u{241b}[2Jb\tc");
}

/// Whether a terminal hands on whole lines, as it does unless a program edits them.
fn has_whole_lines(terminal: &OwnedFd) -> bool {
    // SAFETY: all zeros are a value of this type, which is plain data.
    let mut settings: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the file is open, and the place is there.
    let outcome = unsafe { libc::tcgetattr(terminal.as_raw_fd(), &mut settings) };
    assert_eq!(outcome, 0);
    settings.c_lflag & libc::ICANON != 0
}

#[test]
fn a_signal_ends_a_chat_that_waits_for_a_line_and_leaves_the_terminal_as_it_was() {
    let home = TempDir::new().unwrap();
    drop(models::small(MODEL, Type::Q4));
    let (person, program) = terminal();
    let mut command = kinglet(home.path());
    command.arg("chat").arg(models::converted_path(MODEL, Type::Q4)).args(["--threads", "1"]);
    command.stdin(program.try_clone().unwrap()).stdout(program.try_clone().unwrap());
    let mut running = command.stderr(Stdio::null()).env("TERM", "xterm").spawn().unwrap();
    assert!(has_whole_lines(&program));
    while has_whole_lines(&program) {
        assert!(running.try_wait().unwrap().is_none(), "the chat waits for a line");
        thread::yield_now();
    }
    // SAFETY: the program is this process's child and has not been waited for.
    assert_eq!(unsafe { libc::kill(running.id().cast_signed(), libc::SIGTERM) }, 0);
    assert_eq!(running.wait().unwrap().signal(), Some(libc::SIGTERM));
    assert!(has_whole_lines(&program));
    drop(person);
}
