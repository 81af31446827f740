//! The server without sockets, and the folder of its store, for tests.

use super::access::Access;
use super::app::App;
use super::folder::Folder;
use super::metrics::Metrics;
use super::{BUDGETED_ANSWER_BYTES, routes, start};
use http_body_util::BodyExt;
use hyper::Method;
use kinglet::{Code, Error, Model, Result, SessionOptions};
use std::path::Path;
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Runtime};

/// A server that only its owner can ask.
pub struct Server {
    app: App,
    worker: Option<JoinHandle<()>>,
    runtime: Runtime,
}

/// What a client gets.
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body, or as much as came before the connection was cut.
    pub body: Vec<u8>,
    /// Whether the body came to its end.
    pub is_whole: bool,
}

impl Server {
    /// Starts an engine for these sessions. What a batch returns; `Resource` when there is no
    /// thread to be had.
    pub fn start(model: &Model, options: SessionOptions) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build().map_err(|cause| {
            Error::new(Code::Resource, format_args!("the server cannot run: {cause}"))
        })?;
        let (name, access) = ("model".to_owned(), Access::new(None, true));
        let (app, worker) =
            start(model, options, name, access, Metrics::default(), None, BUDGETED_ANSWER_BYTES)?;
        Ok(Self { app, worker: Some(worker), runtime })
    }

    /// The paths that take bodies.
    pub fn paths() -> impl Iterator<Item = &'static str> {
        routes::all().filter(|(_, method)| *method == Method::POST).map(|(path, _)| path)
    }

    /// The answer to a body; none where the path takes no bodies.
    pub fn answer(&self, path: &str, body: &[u8]) -> Option<Answer> {
        self.runtime.block_on(async {
            let response = routes::answer_body(&self.app, path, body).await?;
            let (status, mut incoming) = (response.status().as_u16(), response.into_body());
            let (mut body, mut is_whole) = (Vec::new(), true);
            while let Some(frame) = incoming.frame().await {
                match frame {
                    Ok(frame) => body.extend(frame.data_ref().into_iter().flatten()),
                    Err(_) => is_whole = false,
                }
            }
            Some(Answer { status, body, is_whole })
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.app.queue.close();
        let ended = self.worker.take().map(JoinHandle::join);
        assert!(!matches!(ended, Some(Err(_))), "the engine has failed");
    }
}

/// What a store does with a file of this name that it finds: opens the folder, looks for a text
/// that begins like `tokens`, and reads what it finds. The state, and how many tokens both begin
/// with.
///
/// What opening a folder returns.
pub fn found(folder: &Path, tokens: &[u32], limit_bytes: u64) -> Result<Option<(Vec<u8>, usize)>> {
    let folder = Folder::open(folder, &[b"check"], limit_bytes)?;
    let found = folder.find(tokens);
    Ok(found.and_then(|found| Some((folder.read(&found.name)?, found.shared))))
}

/// Has a store keep a text. What opening a folder returns, and what keeping returns.
pub fn keep(folder: &Path, tokens: &[u32], state: &[u8], limit_bytes: u64) -> Result<()> {
    Folder::open(folder, &[b"check"], limit_bytes)?.keep(tokens, state)
}
