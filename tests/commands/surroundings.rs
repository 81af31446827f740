//! What the command does where its surroundings are poor: files that change, no threads, others
//! beside it.

use kinglet::Type;
use kinglet_tests::affinity::allowed;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, Stdio};
use tempfile::TempDir;

const MODEL: &str = "gqa3-head64";

/// A chat about a copy of the model that waits for its next line.
struct Waiting {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Waiting {
    fn new(folder: &TempDir, args: &[&str]) -> Self {
        drop(models::small(MODEL, Type::Q4));
        let model = folder.path().join("model.kinglet");
        fs::copy(models::converted_path(MODEL, Type::Q4), &model).unwrap();
        let mut command = kinglet(folder.path());
        command.arg("chat").arg(&model).args(["-n", "4", "--ctx", "128"]).args(args);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut waiting = Self { child, out };
        // The first reply shows that model and session are there.
        waiting.say("one");
        let mut line = String::new();
        waiting.out.read_line(&mut line).unwrap();
        waiting
    }

    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

#[test]
fn a_model_that_is_cut_short_while_in_use_is_named() {
    let folder = TempDir::new().unwrap();
    let mut chat = Waiting::new(&folder, &[]);
    let model = File::options().write(true).open(folder.path().join("model.kinglet")).unwrap();
    model.set_len(0).unwrap();
    chat.say("two");
    let mut said = String::new();
    chat.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = chat.child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(1), None), "{said}");
    assert!(said.contains("rename") && said.contains("(error 102)"), "{said}");
}

#[test]
fn a_model_is_replaced_by_renaming() {
    let folder = TempDir::new().unwrap();
    let mut chat = Waiting::new(&folder, &[]);
    let model = folder.path().join("model.kinglet");
    let new = folder.path().join("new.kinglet");
    fs::write(&new, b"another file").unwrap();
    fs::rename(&new, &model).unwrap();
    chat.say("two");
    drop(chat.child.stdin.take());
    let mut rest = String::new();
    chat.out.read_to_string(&mut rest).unwrap();
    assert!(chat.child.wait().unwrap().success(), "the old file stays until its process ends");
}

#[test]
fn processes_are_bound_to_single_processors_on_request_only() {
    let folder = TempDir::new().unwrap();
    for (args, is_single) in
        [(&["--threads", "1"][..], false), (&["--threads", "1", "--pin"], true)]
    {
        let mut chat = Waiting::new(&folder, args);
        let found = allowed(&chat.child.id().to_string());
        let here = allowed("self");
        assert_eq!(found == here, !is_single || !here.contains(['-', ',']), "{found} of {here}");
        drop(chat.child.stdin.take());
        assert!(chat.child.wait().unwrap().success());
    }
}

/// Runs a copy of the command in this folder with no thread beside its first. The system limits
/// nobody who is root, so that one becomes somebody else.
fn without_threads(folder: &TempDir, args: &[&str]) -> Said {
    let program = folder.path().join("program");
    let built = kinglet(folder.path());
    if !program.exists() {
        fs::copy(built.get_program(), &program).unwrap();
    }
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -u 1 && exec \"$@\"", "bash"]).arg(program).args(args);
    command.envs(built.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(65534);
    }
    Said::by(command.current_dir(folder.path()))
}

#[test]
fn a_system_without_threads_is_no_panic() {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    drop(models::small(MODEL, Type::Q4));
    fs::copy(models::converted_path(MODEL, Type::Q4), folder.path().join("model")).unwrap();
    fs::create_dir(folder.path().join("source")).unwrap();
    for entry in fs::read_dir(models::small_source(MODEL)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join("source").join(entry.file_name())).unwrap();
    }
    let convert = ["convert", "source", "-o", "converted", "--type", "q8", "--threads", "4", "-q"];
    // Calibration runs the model, and a session has as many threads as were asked for.
    without_threads(&folder, &convert).fails(1, 502);
    without_threads(&folder, &[&convert[..], &["--calibrate", "none"]].concat()).ok();
    let bench = ["bench", "model", "--threads", "2", "-p", "4", "-n", "2", "-o", "json"];
    without_threads(&folder, &bench).fails(1, 502);
    let run = ["run", "model", "--threads", "2", "-p", "one", "-n", "2"];
    without_threads(&folder, &run).fails(1, 502);
}

#[test]
fn whole_weights_have_a_cache_of_floats() {
    let home = TempDir::new().unwrap();
    let source = models::small_source(MODEL);
    let kv = |kind: &str, more: &[&str]| {
        let mut command = kinglet(home.path());
        command.arg("plan").arg(&source).args(["--json", "--type", kind]).args(more);
        Said::by(&mut command).json()["kv"].clone()
    };
    assert_eq!(kv("bf16", &[]), "f16");
    assert_eq!(kv("q8", &[]), "int8");
    assert_eq!(kv("bf16", &["--kv", "int8"]), "int8");
}
