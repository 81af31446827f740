//! The C library computes on a device when it is asked for one, finds out whether that is faster,
//! and says so when there is none.

use kinglet::{Code, Tier, Type};
use kinglet_tests::c::{checked_library, compile, has, link_static, package, sources};
use kinglet_tests::command::Said;
use kinglet_tests::models::{SMALL, converted_path, small};
use kinglet_tests::stand_in::library;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use tempfile::TempDir;

/// What the program says on a board of the stand-in's, or where there is no driver.
fn said(board: Option<&str>) -> Said {
    said_with(board, None)
}

/// The same on a board with so many bytes of memory.
fn said_with(board: Option<&str>, memory: Option<u64>) -> Said {
    let folder = TempDir::new().unwrap();
    drop(small(SMALL[1], Type::Q8));
    let program = folder.path().join("device");
    let files = ["device.c", "proof.c"].map(|file| sources().join(file));
    let libraries = link_static(checked_library());
    let flags: Vec<&str> =
        ["-std=c11"].into_iter().chain(libraries.iter().map(String::as_str)).collect();
    compile("gcc", &flags, &[&files[0], &files[1]], &program);
    let mut command = Command::new(&program);
    if let Some(board) = board {
        symlink(library(), folder.path().join("libcuda.so.1")).unwrap();
        command.env("LD_LIBRARY_PATH", folder.path()).env("KINGLET_STAND_IN_BOARD", board);
    }
    if let Some(memory) = memory {
        command.env("KINGLET_STAND_IN_MEMORY", memory.to_string());
    }
    Said::by(command.arg(converted_path(SMALL[1], Type::Q8)))
}

#[test]
fn a_c_program_generates_on_a_device() {
    if !has("a_c_program_generates_on_a_device", "gcc") {
        return;
    }
    let (best, said) = (Tier::best().name(), said(Some("orin")));
    let lines: Vec<&str> = said.out.lines().collect();
    let [on_processor, on_device, faster, prompts, new, large, named] = lines[..] else {
        panic!("{said:?}")
    };
    let (name, tokens) = on_processor.split_once(" 0: ").unwrap();
    assert_eq!((name, tokens.split(' ').count()), (best, 8));
    let (device, on_device) = on_device.split_once(": ").unwrap();
    assert_eq!(on_device, tokens);
    let bytes: u64 = device.strip_prefix("cuda ").unwrap().parse().unwrap();
    assert!(bytes > 0);
    assert_eq!(
        faster,
        format!(
            "cuda; cuda; cuda was faster than {best} in a trial: 1000 prompt tokens/s and 1000 new \
             tokens/s against 100 prompt tokens/s and 100 new tokens/s, for 256 tokens of prompt \
             and 256 new ones"
        )
    );
    assert!(prompts.starts_with("cuda; cuda; cuda was faster"), "{prompts}");
    assert!(prompts.ends_with("for 1000 tokens of prompt and 10 new ones"), "{prompts}");
    assert_eq!(
        new,
        format!(
            "null; {best}; {best} was faster than cuda in a trial: 100 prompt tokens/s and 100 new \
             tokens/s against 1000 prompt tokens/s and 10 new tokens/s, for 10 tokens of prompt \
             and 1000 new ones"
        )
    );
    assert!(large.starts_with("cuda; cuda; cuda was faster"), "{large}");
    assert_eq!(named, "scalar; scalar was ");
    // With the system's clock the stand-in is slower.
    assert!(said.err.starts_with(&format!("{best} was faster than cuda in a trial: ")), "{said:?}");
    assert_eq!(said.code, Some(0));
}

/// A device whose memory does for a small session is not chosen for a large one.
#[test]
fn a_device_without_the_memory_for_a_session_is_not_chosen() {
    if !has("a_device_without_the_memory_for_a_session_is_not_chosen", "gcc") {
        return;
    }
    let best = Tier::best().name();
    let bytes = |said: &Said| {
        let line = said.out.lines().nth(1).unwrap().strip_prefix("cuda ").unwrap();
        line.split_once(':').unwrap().0.parse::<u64>().unwrap()
    };
    let small = bytes(&said(Some("orin")));
    let said = said_with(Some("orin"), Some(small));
    let chosen: Vec<&str> = said.out.lines().skip(2).collect();
    assert!(chosen[0].starts_with("cuda; cuda; "), "{said:?}");
    let failed = format!("null; {best}; {best} is used, because cuda failed in a trial: ");
    assert!(chosen[3].starts_with(&failed) && chosen[3].contains("memory"), "{said:?}");
    assert_eq!(said.code, Some(0));
}

#[test]
fn a_c_program_is_told_why_there_is_no_device() {
    if !has("a_c_program_is_told_why_there_is_no_device", "gcc") {
        return;
    }
    let best = Tier::best().name();
    let lacks = [
        (Some("none"), "is used, because there is no CUDA: the NVIDIA driver finds no device"),
        (Some("nano"), "is used, because there is no CUDA: "),
        (None, "is the fastest that this machine has: no NVIDIA driver was found"),
    ];
    for (board, lack) in lacks {
        let said = said(board);
        let refused = format!("cuda {}", Code::TierUnavailable as u32);
        let lines: Vec<&str> = said.out.lines().collect();
        assert_eq!((lines.len(), lines[1]), (7, refused.as_str()), "{said:?}");
        for chosen in &lines[2..6] {
            assert!(chosen.starts_with(&format!("null; {best}; {best} {lack}")), "{chosen}");
        }
        assert!(said.err.starts_with(&format!("{best} {lack}")) && said.code == Some(0));
    }
}

/// What the header shows is what the program does.
#[test]
fn the_example_of_the_header_is_run() {
    let header = fs::read_to_string(package().join("include/kinglet.h")).unwrap();
    let program = fs::read_to_string(sources().join("device.c")).unwrap();
    let after = header.split("choose nothing themselves:\n//\n").nth(1).unwrap();
    let example = after.lines().map_while(|line| line.strip_prefix("//     "));
    let example: String = example.map(|line| format!("  {line}\n")).collect();
    assert!(example.contains("kinglet_session_choose_tier(") && program.contains(&example));
}
