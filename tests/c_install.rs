//! The installed C library: its size, what it needs, and the examples built against it.

use kinglet::schema::compile as compile_schema;
use kinglet::template::{Message, Template};
use kinglet::tools::{Choice, Toolbox, Tools, Turn};
use kinglet::{GenerateOptions, Model, SessionOptions, Tier, Type};
use kinglet_tests::c::{COMPILERS, compile, has, package, sources};
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::keys;
use kinglet_tests::models::{converted_path, small};
use kinglet_tests::skip::skip;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// What the stripped shared library may have at most.
const LIBRARY_BYTES: u64 = 1_200_000;
/// A small model with a chat template.
const MODEL: &str = "gqa3-head64";
const QUESTION: &str = "What is a kinglet?";

/// The prefix that the library was installed to, once, with the documented command.
fn installed() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = package().join("../../target/c-prefix");
        let mut install = Command::new(package().join("install"));
        Said::by(install.arg("--prefix").arg(&prefix)).ok();
        prefix.canonicalize().unwrap()
    })
}

fn shared_library() -> PathBuf {
    installed().join("lib/libkinglet.so.1")
}

#[test]
fn the_shared_library_is_small() {
    let bytes = fs::metadata(shared_library()).unwrap().len();
    println!("libkinglet.so: {bytes} of {LIBRARY_BYTES} bytes, stripped");
    assert!(bytes <= LIBRARY_BYTES);
}

/// No network, no other programs, no signals: the functions are not even linked.
#[test]
fn the_shared_library_keeps_to_itself() {
    let mut nm = Command::new("nm");
    let needed = Said::by(nm.args(["-D", "--undefined-only"]).arg(shared_library())).ok();
    let names = needed.lines().filter_map(|line| line.split_whitespace().nth(1));
    let names: Vec<&str> = names.map(|name| name.split('@').next().unwrap()).collect();
    assert!(names.contains(&"mmap64") || names.contains(&"mmap"), "{names:?}");
    for foreign in [
        "socket",
        "connect",
        "bind",
        "listen",
        "accept",
        "getaddrinfo",
        "send",
        "recv",
        "fork",
        "vfork",
        "execve",
        "execvp",
        "posix_spawn",
        "system",
        "kill",
        "raise",
        "signal",
        "sigaction",
        "exit",
        "setenv",
    ] {
        assert!(!names.contains(&foreign), "{foreign}");
    }
}

/// What the Rust library replies.
fn reply(model: &Model) -> String {
    let message = Message { role: "user".into(), content: QUESTION.into() };
    let text = Template::of(&model.file()).unwrap().render(&[message], true).unwrap();
    reply_to(model, &model.tokenize(&text).unwrap())
}

/// What the Rust library replies to a prompt.
fn reply_to(model: &Model, prompt: &[u32]) -> String {
    let options = SessionOptions { threads: Some(1), ..SessionOptions::default() };
    let mut session = model.session(&options).unwrap();
    let mut reply = String::new();
    let options = GenerateOptions { max_tokens: 128, ..GenerateOptions::default() };
    let generation = session.generate(prompt, &options, &mut |piece| {
        reply.push_str(piece.text);
        ControlFlow::Continue(())
    });
    assert!(generation.unwrap().tokens > 8);
    reply + "\n"
}

/// Runs an example, which must say what the Rust library says.
fn assert_replies(program: &mut Command) {
    let model = small(MODEL, Type::Q8);
    program.arg(converted_path(MODEL, Type::Q8)).arg(QUESTION);
    let said = Said::by(program);
    assert_eq!(said.err, "");
    assert_eq!(said.ok(), reply(&model));
}

/// The answer of `pkg-config` about what was installed to a prefix, cut at spaces.
fn pkg_config(prefix: &Path, flags: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
    let said = Said::by(command.args(flags).arg("kinglet")).ok();
    said.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_c_example_replies() {
    let folder = TempDir::new().unwrap();
    let (source, program) = (package().join("examples/reply.c"), folder.path().join("reply"));
    if !has("the_c_example_replies", "pkg-config") {
        return;
    }
    for (compiler, _) in COMPILERS {
        if !has("the_c_example_replies", compiler) {
            continue;
        }
        let shared = pkg_config(installed(), &["--cflags", "--libs"]);
        let flags = ["-std=c11"].into_iter().chain(shared.iter().map(String::as_str));
        compile(compiler, &flags.collect::<Vec<_>>(), &[&source], &program);
        let libraries = installed().join("lib");
        assert_replies(Command::new(&program).env("LD_LIBRARY_PATH", libraries));
    }
    let statically = pkg_config(installed(), &["--static", "--cflags", "--libs"]);
    let mut gcc = Command::new("gcc");
    gcc.arg("-static").arg(&source).args(&statically).arg("-o").arg(&program);
    // The linker warns of functions that this program does not call.
    Said::by(&mut gcc).ok();
    assert_replies(&mut Command::new(&program));
}

/// The example of calls does what the Rust library does: a call that the table forces, and what the
/// model says to its result.
#[test]
fn the_c_example_of_calls_calls() {
    if !has("the_c_example_of_calls_calls", "pkg-config") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let tools = Tools::from_json(r#"[{"name": "read_clock"}, {"name": "dim"}]"#).unwrap();
    let table = folder.path().join("functions.ktools");
    fs::write(&table, tools.table(Choice::Named("read_clock"), 1).unwrap()).unwrap();
    let (source, program) = (package().join("examples/calls.c"), folder.path().join("calls"));
    let flags = pkg_config(installed(), &["--cflags", "--libs"]);
    let flags = ["-std=c11"].into_iter().chain(flags.iter().map(String::as_str));
    compile("gcc", &flags.collect::<Vec<_>>(), &[&source], &program);
    let model = small(MODEL, Type::Q8);
    let mut command = Command::new(&program);
    command.env("LD_LIBRARY_PATH", installed().join("lib"));
    command.arg(converted_path(MODEL, Type::Q8)).arg(&table).arg(QUESTION);
    let said = Said::by(&mut command).ok();
    let toolbox = Toolbox::new(&model, tools).unwrap();
    let call = r#"<tool_call>[{"name": "read_clock", "arguments": {}}]</tool_call>"#;
    let turns = [
        Turn::User(QUESTION.into()),
        toolbox.read(call).unwrap(),
        Turn::Tool { name: "read_clock".into(), content: "done".into() },
    ];
    let prompt = toolbox.tokens(&model, &turns, true).unwrap();
    let expected = reply_to(&model, &prompt);
    assert_eq!(said, format!("read_clock({{}})\n{expected}"));
}

/// A compiler for a target without shared libraries makes the static one alone, which is installed.
#[test]
fn the_static_library_is_installed_where_it_is_the_only_one() {
    let test = "the_static_library_is_installed_where_it_is_the_only_one";
    if !has(test, "pkg-config") || !has(test, "cmake") {
        return;
    }
    // Whatever is installed here was built before.
    installed();
    let folder = TempDir::new().unwrap();
    let (prefix, cargo) = (folder.path().join("prefix"), folder.path().join("cargo"));
    let names = r#"cargo "$@" | sed -E 's/"[^"]*libkinglet\.so",//'"#;
    fs::write(&cargo, format!("#!/bin/sh\n{names}\n")).unwrap();
    fs::set_permissions(&cargo, Permissions::from_mode(0o755)).unwrap();
    let mut install = Command::new(package().join("install"));
    Said::by(install.arg("--prefix").arg(&prefix).env("CARGO_BUILD", &cargo)).ok();
    assert!(!prefix.join("lib/libkinglet.so").exists());
    let (source, program) = (package().join("examples/reply.c"), folder.path().join("reply"));
    let flags = pkg_config(&prefix, &["--cflags", "--libs"]);
    let flags = ["-std=c11"].into_iter().chain(flags.iter().map(String::as_str));
    compile("gcc", &flags.collect::<Vec<_>>(), &[&source], &program);
    assert_replies(&mut Command::new(&program));
    build_with_cmake(&folder, &prefix, "g++");
}

/// Installed as here the library has no CUDA, and says so when a tier is to be chosen.
#[test]
fn the_library_says_that_it_has_no_devices() {
    if !has("the_library_says_that_it_has_no_devices", "gcc") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("device");
    let files = ["device.c", "proof.c"].map(|file| sources().join(file));
    let libraries = installed().join("lib");
    let search = format!("-L{}", libraries.display());
    compile(
        "gcc",
        &["-std=c11", &search, "-lkinglet", "-lpthread"],
        &[&files[0], &files[1]],
        &program,
    );
    drop(small(MODEL, Type::Q8));
    let mut command = Command::new(&program);
    let said =
        Said::by(command.env("LD_LIBRARY_PATH", &libraries).arg(converted_path(MODEL, Type::Q8)));
    let best = Tier::best().name();
    let reason = format!("{best} is the fastest that this processor has: this build has no CUDA");
    assert_eq!(said.err, format!("{reason}\n"));
    let chosen = format!("null; {best}; {reason}");
    assert_eq!(said.ok().lines().filter(|line| *line == chosen).count(), 4);
}

/// Builds the example in C++ with CMake, once for each kind of library, and runs it.
fn build_with_cmake(folder: &TempDir, prefix: &Path, compiler: &str) {
    const PROJECT: &str = "cmake_minimum_required(VERSION 3.13)\nproject(reply CXX)\n\
        set(CMAKE_CXX_STANDARD 11)\nfind_package(kinglet 0.1 REQUIRED)\n\
        foreach(kind kinglet static)\n  add_executable(reply-${kind} ${SOURCE})\n\
        target_compile_options(reply-${kind} PRIVATE -Wall -Wextra -pedantic -Werror)\n\
        target_link_libraries(reply-${kind} kinglet::${kind})\nendforeach()\n";
    fs::write(folder.path().join("CMakeLists.txt"), PROJECT).unwrap();
    let source = package().join("examples/reply.cpp");
    let mut configure = Command::new("cmake");
    configure.args(["-S", ".", "-B", "build"]).current_dir(folder);
    configure.arg(format!("-DSOURCE={}", source.display()));
    configure.arg(format!("-DCMAKE_CXX_COMPILER={compiler}"));
    configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display()));
    Said::by(&mut configure).ok();
    Said::by(Command::new("cmake").args(["--build", "build"]).current_dir(folder)).ok();
    for kind in ["kinglet", "static"] {
        assert_replies(&mut Command::new(folder.path().join(format!("build/reply-{kind}"))));
    }
}

#[test]
fn the_cpp_example_replies() {
    if !has("the_cpp_example_replies", "cmake") {
        return;
    }
    for (_, compiler) in COMPILERS {
        if has("the_cpp_example_replies", compiler) {
            build_with_cmake(&TempDir::new().unwrap(), installed(), compiler);
        }
    }
}

#[test]
fn the_python_example_replies() {
    if !has("the_python_example_replies", "python3") {
        return;
    }
    let mut python = Command::new("python3");
    python.arg(package().join("examples/reply.py")).env("KINGLET_LIBRARY", shared_library());
    assert_replies(python.env("PYTHONIOENCODING", "utf-8"));
}

/// A Python that the package for it supports, else nothing.
fn python(test: &str) -> Option<Command> {
    let mut asks = Command::new("python3");
    asks.args(["-c", "import sys; sys.exit(sys.version_info < (3, 9))"]);
    if !has(test, "python3") {
        return None;
    }
    if Said::by(&mut asks).code != Some(0) {
        skip(test, "python3 is older than 3.9");
        return None;
    }
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", python_package()).env("KINGLET_LIBRARY", shared_library());
    python.env("PYTHONIOENCODING", "utf-8").env("PYTHONDONTWRITEBYTECODE", "1");
    Some(python)
}

fn python_package() -> PathBuf {
    package().join("../python")
}

#[test]
fn the_python_package_replies() {
    if let Some(mut python) = python("the_python_package_replies") {
        assert_replies(python.arg(python_package().join("examples/reply.py")));
    }
}

/// The package's own tests, with nothing but Python; `boards/python/test` has several versions.
#[test]
fn the_python_package_passes_its_tests() {
    let Some(mut python) = python("the_python_package_passes_its_tests") else { return };
    let tests = python_package().join("tests");
    let (folder, schema) = (TempDir::new().unwrap(), tests.join("order.json"));
    let functions = fs::read_to_string(tests.join("functions.json")).unwrap();
    let functions = Tools::from_json(&functions).unwrap().table(Choice::Auto, 1).unwrap();
    let tools = folder.path().join("functions.ktools");
    fs::write(&tools, functions).unwrap();
    python.env("KINGLET_TEST_TOOLS", tools);
    let table = folder.path().join("order.kschema");
    fs::write(&table, compile_schema(&fs::read_to_string(schema).unwrap(), 1).unwrap()).unwrap();
    drop(small(MODEL, Type::Q8));
    python.env("KINGLET_TEST_MODEL", converted_path(MODEL, Type::Q8));
    let mut bytes = fs::read(converted_path(MODEL, Type::Q8)).unwrap();
    keys::sign(&mut bytes, "bird", 7).unwrap();
    let signed = folder.path().join("signed.kinglet");
    fs::write(&signed, bytes).unwrap();
    python.env("KINGLET_TEST_SIGNED", signed);
    python.env("KINGLET_TEST_SCHEMA", table).args(["-X", "dev", "-m", "unittest", "discover"]);
    let said = Said::by(python.arg("-s").arg(tests));
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.ends_with("\nOK\n"), "{}", said.err);
}

/// The command on its way to other machines: stripped, as packages have it, and its licences.
fn command_and_notices(folder: &Path) -> [PathBuf; 2] {
    let [command, notices] = ["kinglet", "NOTICES.gz"].map(|name| folder.join(name));
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&command).arg(kinglet(folder).get_program());
    Said::by(&mut strip).ok();
    let script = "import gzip, sys; open(sys.argv[1], 'wb').write(gzip.compress(b'licences'))";
    Said::by(Command::new("python3").args(["-c", script]).arg(&notices)).ok();
    [command, notices]
}

/// Debian's name for this architecture.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// Runs a script of the release for the command; returns what it made.
fn packed(script: &str, args: &[&OsStr], folder: &Path) -> Vec<PathBuf> {
    let [command, notices] = command_and_notices(folder);
    let out = folder.join("packages");
    fs::create_dir(&out).unwrap();
    let mut python = Command::new("python3");
    python.arg(package().join("../release").join(script)).args(args);
    python.args(["--arch", architecture(), "--version", "9.8.7"]);
    python.arg("--command").arg(command).arg("--notices").arg(notices).arg("--out").arg(&out);
    Said::by(&mut python).ok();
    let mut made: Vec<PathBuf> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    made.sort();
    made
}

/// The command at a path is the one of these tests.
fn assert_command(program: &Path) {
    let version = |mut command: Command| Said::by(command.arg("--version")).ok();
    let home = TempDir::new().unwrap();
    assert_eq!(version(Command::new(program)), version(kinglet(home.path())));
}

#[test]
fn the_wheel_brings_the_command() {
    if python("the_wheel_brings_the_command").is_none() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let library = shared_library();
    let args = ["--glibc", "2.17", "--library"].map(OsStr::new);
    let args = [&args[..], &[library.as_os_str()]].concat();
    let wheels = packed("wheel.py", &args, folder.path());
    let target = folder.path().join("installed");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target"]);
    Said::by(pip.arg(&target).args(&wheels)).ok();
    assert_command(&target.join("bin/kinglet"));
}

/// Packages of npm, where npm and pnpm would put them: beside each other, and one in the other.
#[test]
fn the_packages_for_npm_bring_the_command() {
    if python("the_packages_for_npm_bring_the_command").is_none() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let made = packed("npm.py", &[], folder.path());
    assert_eq!(made.len(), 2);
    let modules = folder.path().join("node_modules");
    let unpack = |archive: &Path, place: &Path| {
        fs::create_dir_all(place).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--strip-components=1", "-xzf"]).arg(archive).arg("-C").arg(place);
        Said::by(&mut tar).ok();
    };
    let starter = modules.join("kinglet");
    let program = match architecture() {
        "arm64" => "kinglet-linux-arm64",
        _ => "kinglet-linux-x64",
    };
    let archive = |name: &str| made[0].with_file_name(format!("{name}-9.8.7.tgz"));
    unpack(&archive("kinglet"), &starter);
    let command = folder.path().join("kinglet-by-name");
    std::os::unix::fs::symlink(starter.join("bin/kinglet"), &command).unwrap();
    let said = Said::by(Command::new(&command).arg("--version"));
    assert!(said.code == Some(1) && said.err.contains(program), "{said:?}");
    let inside = starter.join("node_modules").join(program);
    unpack(&archive(program), &inside);
    assert_command(&command);
    fs::rename(inside, modules.join(program)).unwrap();
    assert_command(&command);
}

/// A complete example has at most so many lines.
#[test]
fn the_c_example_is_short() {
    let example = fs::read_to_string(package().join("examples/reply.c")).unwrap();
    assert!(example.lines().count() < 100);
}
