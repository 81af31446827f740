//! Building the C library, and programs that use it.

use crate::command::Said;
use crate::skip::skip;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The compilers for C and C++ that everything must work with.
pub const COMPILERS: [(&str, &str); 2] = [("gcc", "g++"), ("clang", "clang++")];

/// The folder of the C library's package.
pub fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards/c").canonicalize().unwrap()
}

/// Sources of C programs that only tests need.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("c")
}

/// The folder with `libkinglet.so` and `libkinglet.a`, built once with the checks of a debug build,
/// and for devices too.
pub fn checked_library() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build)
}

fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "-p", "kinglet-c", "--message-format=json"]);
    cargo.args(["--features", "cuda"]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the library does not build:\n{errors}");
    let messages = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
    let folder = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let names = message.get("filenames")?.as_array()?.iter();
        let mut paths = names.filter_map(|name| Some(PathBuf::from(name.as_str()?)));
        paths.find(|path| path.ends_with("libkinglet.so"))?.parent().map(Path::to_path_buf)
    });
    folder.expect("cargo names the library")
}

/// Whether a program is there; else says that `test` is skipped.
pub fn has(test: &str, program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        skip(test, format_args!("{program} is not installed"));
    }
    is_there
}

/// Compiles sources against the header, and links them unless `flags` say otherwise.
pub fn compile(compiler: &str, flags: &[&str], sources: &[&Path], program: &Path) {
    let mut command = Command::new(compiler);
    command.arg("-I").arg(package().join("include"));
    command.args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-O1", "-g"]);
    command.args(sources).args(flags).arg("-o").arg(program);
    let said = Said::by(&mut command);
    assert_eq!(said.code, Some(0), "{compiler} {flags:?}:\n{}", said.err);
    assert_eq!(said.err, "", "{compiler} {flags:?}");
}

/// What a program needs behind its sources to use the static library in a folder.
pub fn link_static(folder: &Path) -> Vec<String> {
    let library = folder.join("libkinglet.a").to_str().unwrap().to_owned();
    [&library, "-lpthread", "-ldl", "-lm", "-lgcc_s"].map(str::to_owned).to_vec()
}
