//! Fetching a checkpoint from the Hugging Face hub, or from a mirror with the same addresses.
//!
//! The transfer runs on a thread of its own and reports events, so that this side can draw the
//! progress, obey Ctrl-C and give up on a silent server whatever the HTTP client is waiting for.

use crate::progress::{Meter, Unit};
use crate::{digest, errors, interrupt, out};
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use kinglet_quant::{Code, Error, Result, ensure, fail};
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// How long resolving the hub's name and connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How long the first answer may take, and how long a transfer may stand still.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Times that a broken transfer is resumed.
const RETRIES: u32 = 2;
/// Smaller files are fetched without a bar.
const METERED_BYTES: u64 = 4_000_000;

const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
const OPTIONAL: [&str; 5] = [
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "LICENSE",
];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// What the transfer reports.
enum Event {
    Info,
    File { name: String, bytes: u64 },
    Bytes(u64),
    Verifying,
    Broken(Error),
    Done(Result<PathBuf>),
}

/// Fetches `repo` (`owner/name`) into `folder`, in the hub's own cache layout; returns the folder
/// of its checkpoint. Files whose SHA-256 the hub tells are verified.
pub fn fetch(folder: &Path, repo: &str) -> Result<PathBuf> {
    let endpoint = env::var("HF_ENDPOINT").ok().filter(|e| !e.is_empty());
    let endpoint = endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT).trim_end_matches('/').to_owned();
    out::note(format_args!("fetching {repo} from {endpoint}"));
    probe(&endpoint)?;
    let (events, inbox) = channel();
    let (folder, repo) = (folder.to_owned(), repo.to_owned());
    thread::spawn(move || {
        let result = Transfer::new(&endpoint, folder, repo, events.clone()).and_then(Transfer::run);
        // The other side is gone when the user interrupted.
        let _ = events.send(Event::Done(result));
    });
    follow(&inbox)
}

/// Draws what the transfer reports until it ends.
fn follow(inbox: &Receiver<Event>) -> Result<PathBuf> {
    let mut heard = Instant::now();
    let mut patience = ANSWER_TIMEOUT;
    let mut meter: Option<Meter> = None;
    let mut done = 0;
    loop {
        interrupt::check()?;
        let event = match inbox.recv_timeout(Duration::from_millis(100)) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) if heard.elapsed() < patience => continue,
            Err(_) => fail!(
                Code::Network,
                "the hub has been silent for {} s: run the same command again to go on where it \
                 stopped",
                patience.as_secs()
            ),
        };
        (heard, patience) = (Instant::now(), STALL_TIMEOUT);
        match event {
            Event::Info => {}
            Event::File { name, bytes } => {
                // The client announces a file more than once.
                if bytes >= METERED_BYTES && meter.is_none() {
                    meter = Some(Meter::new(&name, Unit::Bytes, 0, bytes));
                }
                done = 0;
            }
            Event::Bytes(more) => {
                done += more;
                if let Some(meter) = &mut meter {
                    meter.set(done);
                }
            }
            Event::Verifying => {
                if let Some(meter) = meter.take() {
                    meter.finish();
                }
            }
            Event::Broken(error) => out::note(format_args!("{}; trying again", error.message())),
            Event::Done(result) => return result,
        }
    }
}

/// Fails within a few seconds when the hub cannot be reached. With a proxy nothing is checked.
fn probe(endpoint: &str) -> Result<()> {
    let proxies = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"];
    let is_set =
        |name: &str| env::var_os(name).is_some() || env::var_os(name.to_lowercase()).is_some();
    if proxies.into_iter().any(is_set) {
        return Ok(());
    }
    let address: Option<(String, u16)> = endpoint.parse::<ureq::http::Uri>().ok().and_then(|uri| {
        let port = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        Some((uri.host()?.trim_matches(['[', ']']).to_owned(), uri.port_u16().unwrap_or(port)))
    });
    let Some(address) = address else {
        fail!(Code::BadArgument, "HF_ENDPOINT is not an address such as {DEFAULT_ENDPOINT}");
    };
    let host = address.0.clone();
    let (sender, receiver) = channel();
    // Resolving a name has no time limit, so its thread is abandoned when it takes too long.
    thread::spawn(move || sender.send(connect(&address)));
    let cause = match receiver.recv_timeout(CONNECT_TIMEOUT) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(cause)) => cause,
        Err(_) => ErrorKind::TimedOut.into(),
    };
    fail!(
        Code::Network,
        "cannot reach {host} ({cause}): check the network, or set HF_ENDPOINT to a mirror"
    )
}

fn connect(address: &(String, u16)) -> io::Result<()> {
    let mut failure = ErrorKind::AddrNotAvailable.into();
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT / 2) {
            Ok(_) => return Ok(()),
            Err(cause) => failure = cause,
        }
    }
    Err(failure)
}

/// One repository on its way.
struct Transfer {
    api: Api,
    folder: PathBuf,
    repo: String,
    events: Sender<Event>,
}

impl Transfer {
    fn new(endpoint: &str, folder: PathBuf, repo: String, events: Sender<Event>) -> Result<Self> {
        fs::create_dir_all(&folder).map_err(|cause| errors::unwritable(&folder, &cause))?;
        let builder = ApiBuilder::from_cache(Cache::new(folder.clone()))
            .with_endpoint(endpoint.to_owned())
            .with_token(token())
            .with_user_agent("kinglet", env!("CARGO_PKG_VERSION"));
        let api = builder.build().map_err(|cause| {
            Error::new(Code::Network, format_args!("cannot set up the HTTP client: {cause}"))
        })?;
        Ok(Self { api, folder, repo, events })
    }

    /// Fetches and verifies every file of the checkpoint, all from one commit.
    fn run(self) -> Result<PathBuf> {
        let latest = self.api.model(self.repo.clone());
        let info = latest.info().map_err(|cause| self.explain(&cause, ""))?;
        self.tell(Event::Info);
        ensure!(
            !info.sha.is_empty() && info.sha.bytes().all(|b| b.is_ascii_alphanumeric()),
            Code::Network,
            "the hub does not say which commit {} is at: check HF_ENDPOINT",
            self.repo
        );
        let commit = Repo::with_revision(self.repo.clone(), RepoType::Model, info.sha);
        let names: BTreeSet<&str> = info.siblings.iter().map(|s| s.rfilename.as_str()).collect();
        for name in REQUIRED {
            ensure!(
                names.contains(name),
                Code::BadSource,
                "{} has no {name}: it is not a model that can be imported",
                self.repo
            );
            self.file(&commit, name)?;
        }
        for name in OPTIONAL.into_iter().filter(|name| names.contains(name)) {
            self.file(&commit, name)?;
        }
        let weights = if names.contains(WEIGHTS) {
            self.file(&commit, WEIGHTS)?
        } else if names.contains(INDEX) {
            let index = self.file(&commit, INDEX)?;
            for shard in shards(&index)? {
                self.file(&commit, &shard)?;
            }
            index
        } else {
            fail!(Code::BadSource, "{} has no {WEIGHTS}: its weights cannot be imported", self.repo)
        };
        Ok(weights.parent().expect("files lie in a folder").to_owned())
    }

    /// The path of a file of the checkpoint, fetched unless it is there, and verified.
    fn file(&self, commit: &Repo, name: &str) -> Result<PathBuf> {
        let found = Cache::new(self.folder.clone()).repo(commit.clone()).get(name);
        let path = match found {
            Some(path) => path,
            None => self.download(&self.api.repo(commit.clone()), name)?,
        };
        self.tell(Event::Verifying);
        self.verify(&path, name)?;
        Ok(path)
    }

    fn download(&self, repo: &ApiRepo, name: &str) -> Result<PathBuf> {
        let mut attempt = 0;
        loop {
            let reporter = Reporter { events: self.events.clone() };
            let cause = match repo.download_with_progress(name, reporter) {
                Ok(path) => return Ok(path),
                Err(cause) => cause,
            };
            // The part on disk is longer than the file, or complete: only a fresh start helps.
            let useless_part =
                matches!(cause, ApiError::InvalidResume) || status(&cause) == Some(416);
            if useless_part {
                self.remove_parts();
            }
            let error = self.explain(&cause, name);
            let broken = error.code() == Code::Network && status(&cause).is_none_or(|s| s >= 500);
            if attempt == RETRIES || !(broken || useless_part) {
                return Err(error);
            }
            self.tell(Event::Broken(error));
            attempt += 1;
            thread::sleep(Duration::from_millis(500 << attempt));
        }
    }

    /// Compares a file with the hash that the hub names large files by; removes a wrong one.
    fn verify(&self, pointer: &Path, name: &str) -> Result<()> {
        let blob = pointer.canonicalize().map_err(|cause| errors::unreadable(pointer, &cause))?;
        let etag = blob.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if etag.len() != 64 || !etag.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(());
        }
        let found = digest::sha256_file(&blob, &mut |_| {
            self.tell(Event::Verifying);
            Ok(())
        })?;
        if found.eq_ignore_ascii_case(etag) {
            return Ok(());
        }
        for path in [pointer, &blob] {
            fs::remove_file(path).map_err(|cause| errors::unwritable(path, &cause))?;
        }
        fail!(
            Code::WrongHash,
            "{name} arrived with SHA-256 {found} instead of {etag} and was removed: run the same \
             command again"
        )
    }

    /// Removes what is left of broken transfers of this repository, which this run has locked.
    fn remove_parts(&self) {
        let repo = Repo::model(self.repo.clone());
        let blobs = self.folder.join(repo.folder_name()).join("blobs");
        for entry in fs::read_dir(blobs).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|e| e == "part") {
                // When this fails, so does the next attempt, with a message.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn tell(&self, event: Event) {
        // The other side is gone when the user interrupted.
        let _ = self.events.send(event);
    }

    /// The failure of a request for `name`, or for the repository when that is empty.
    fn explain(&self, cause: &ApiError, name: &str) -> Error {
        let what =
            if name.is_empty() { self.repo.clone() } else { format!("{}/{name}", self.repo) };
        match (status(cause), cause) {
            (Some(401 | 403), _) => Error::new(
                Code::Unauthorized,
                format_args!(
                    "the hub refuses access to {what}: check the name, and set HF_TOKEN to a token \
                     that may read it"
                ),
            ),
            (Some(404), _) => {
                Error::new(Code::NotFound, format_args!("the hub has no {what}: check the name"))
            }
            (Some(status), _) => Error::new(
                Code::Network,
                format_args!("the hub answered {what} with status {status}: try again later"),
            ),
            (None, ApiError::LockAcquisition(path)) => Error::new(
                Code::Resource,
                format_args!("another program holds {}: wait until it ends", path.display()),
            ),
            (None, ApiError::IoError(cause)) if is_local(cause) => {
                errors::unwritable(&self.folder, cause)
            }
            (None, cause) => Error::new(
                Code::Network,
                format_args!(
                    "the connection broke at {what} ({cause}): run the same command again to go on \
                     where it stopped"
                ),
            ),
        }
    }
}

/// The token of the environment or, failing that, of the hub's own tools.
fn token() -> Option<String> {
    let token = env::var("HF_TOKEN").ok().map(|token| token.trim().to_owned());
    token.filter(|token| !token.is_empty()).or_else(|| Cache::from_env().token())
}

fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(cause) => match **cause {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the disk failed instead of the network.
fn is_local(cause: &io::Error) -> bool {
    use ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(cause.kind(), StorageFull | QuotaExceeded | PermissionDenied | ReadOnlyFilesystem)
}

/// The files that an index spreads the weights over.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let text = fs::read(index).map_err(|cause| errors::unreadable(index, &cause))?;
    let parsed: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
    let map = parsed.as_ref().and_then(|index| index.get("weight_map")?.as_object());
    let names: Option<BTreeSet<String>> =
        map.and_then(|map| map.values().map(|v| v.as_str().map(str::to_owned)).collect());
    match names {
        Some(names)
            if names.iter().all(|n| !n.contains(['/', '\\']) && n.ends_with(".safetensors")) =>
        {
            Ok(names)
        }
        _ => fail!(Code::BadSource, "{INDEX} does not say which files hold the weights"),
    }
}

/// Turns the client's callbacks into events.
struct Reporter {
    events: Sender<Event>,
}

impl Reporter {
    fn tell(&self, event: Event) {
        // The other side is gone when the user interrupted.
        let _ = self.events.send(event);
    }
}

impl Progress for Reporter {
    fn init(&mut self, size: usize, name: &str) {
        self.tell(Event::File { name: name.to_owned(), bytes: size as u64 });
    }

    fn update(&mut self, size: usize) {
        self.tell(Event::Bytes(size as u64));
    }

    fn finish(&mut self) {}
}
