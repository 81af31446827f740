//! The C library computes on a device when it is asked for one, and says so when there is none.

use kinglet::{Code, Tier, Type};
use kinglet_tests::c::{checked_library, compile, has, link_static, sources};
use kinglet_tests::command::Said;
use kinglet_tests::models::{SMALL, converted_path, small};
use kinglet_tests::stand_in::library;
use std::os::unix::fs::symlink;
use std::process::Command;
use tempfile::TempDir;

#[test]
fn a_c_program_generates_on_a_device() {
    if !has("a_c_program_generates_on_a_device", "gcc") {
        return;
    }
    let folder = TempDir::new().unwrap();
    drop(small(SMALL[1], Type::Q8));
    let model = converted_path(SMALL[1], Type::Q8);
    let program = folder.path().join("device");
    let files = ["device.c", "proof.c"].map(|file| sources().join(file));
    let libraries = link_static(checked_library());
    let flags: Vec<&str> =
        ["-std=c11"].into_iter().chain(libraries.iter().map(String::as_str)).collect();
    compile("gcc", &flags, &[&files[0], &files[1]], &program);
    symlink(library(), folder.path().join("libcuda.so.1")).unwrap();
    let said = |board: &str| {
        let mut command = Command::new(&program);
        command.env("LD_LIBRARY_PATH", folder.path()).env("KINGLET_STAND_IN_BOARD", board);
        Said::by(command.arg(&model)).ok()
    };
    let best = Tier::best().name();
    let lines = said("orin");
    let lines: Vec<&str> = lines.lines().collect();
    let [on_processor, on_device] = lines[..] else { panic!("{lines:?}") };
    let (name, tokens) = on_processor.split_once(" 0: ").unwrap();
    assert_eq!((name, tokens.split(' ').count()), (best, 8));
    let (device, on_device) = on_device.split_once(": ").unwrap();
    assert_eq!(on_device, tokens);
    let bytes: u64 = device.strip_prefix("cuda ").unwrap().parse().unwrap();
    assert!(bytes > 0);
    let lines = said("none");
    let refused = format!("cuda {}", Code::TierUnavailable as u32);
    assert_eq!(lines.lines().nth(1), Some(refused.as_str()));
}
