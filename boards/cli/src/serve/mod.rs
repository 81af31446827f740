//! The server: HTTP on one thread, the engine on another, a bounded queue between them.

mod access;
mod answer;
mod app;
mod ask;
mod embedding;
mod engine;
mod failure;
mod fields;
mod framing;
mod job;
mod listen;
mod metrics;
mod ollama;
mod openai;
mod openapi;
mod patience;
mod queue;
mod response;
mod routes;
mod sampling;
mod talk;
mod tokens;

use crate::{interrupt, out};
use access::Access;
use app::App;
use engine::Engine;
use kinglet::template::Template;
use kinglet::{Batch, Code, Error, Model, Result, SessionOptions};
use kinglet_quant::ensure;
use metrics::Metrics;
use queue::Queue;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;

/// Replies that wait for a text at most.
const QUEUE_LENGTH: usize = 128;

/// What the process takes for connections, requests and grammars beside model and texts.
pub const RESERVED_BYTES: u64 = 24 << 20;

/// Where and for whom to serve.
pub struct Place {
    /// The address.
    pub address: SocketAddr,
    /// What requests must show.
    pub key: Option<Vec<u8>>,
    /// The model's name in documents.
    pub name: String,
}

/// Serves a model until SIGTERM or SIGINT. Tells on standard output where, once it answers.
///
/// `BadArgument` for an address that cannot be listened on, what a batch returns, and `Internal`
/// when the engine fails meanwhile.
pub fn run(model: &Model, options: SessionOptions, place: Place) -> Result<()> {
    let Place { address, key, name } = place;
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    });
    let (address, listener) = listener.map_err(|cause| {
        let message = format_args!("cannot listen on {address}: {cause}; choose another --listen");
        Error::new(Code::BadArgument, message)
    })?;
    let queue = Arc::new(Queue::new(QUEUE_LENGTH));
    let metrics = Arc::new(Metrics::default());
    let (tell, told) = channel();
    let worker = {
        let (model, queue, metrics) = (model.clone(), Arc::clone(&queue), Arc::clone(&metrics));
        // The batch binds its thread to a processor, and HTTP shall run on any.
        thread::spawn(move || work(&model, &options, queue, metrics, &tell))
    };
    let context = told.recv().expect("the engine tells how it began")?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let app = App {
        model: model.clone(),
        name,
        template: Template::of(&model.file()),
        created,
        context,
        access: Access::new(key.as_deref(), address.ip().is_loopback()),
        queue: Arc::clone(&queue),
        metrics,
        bodies: Arc::new(Semaphore::new(routes::ALL_BODIES_KIB)),
        guides: OnceLock::new(),
    };
    let served = serve(listener, address, app);
    queue.close();
    let ended = worker.join();
    served?;
    ensure!(
        ended.is_ok() && interrupt::requested(),
        Code::Internal,
        "the engine has failed: start the server again"
    );
    Ok(())
}

/// Closes the queue when the engine ends, however it does: a server without one ends as well.
struct End(Arc<Queue>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The thread of the engine. Tells the context of its texts, or why there is no engine.
fn work(
    model: &Model,
    options: &SessionOptions,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    tell: &Sender<Result<usize>>,
) {
    let _end = End(Arc::clone(&queue));
    let batch: Result<Batch> = model.batch(options);
    match batch {
        Ok(batch) => {
            out::note_selection(batch.selection());
            // Whoever made this thread waits for it.
            let _ = tell.send(Ok(batch.plan().limits().context));
            Engine::new(batch, queue, metrics).run();
        }
        Err(error) => {
            let _ = tell.send(Err(error));
        }
    }
}

fn serve(listener: TcpListener, address: SocketAddr, app: App) -> Result<()> {
    let failed = |cause: std::io::Error| {
        Error::new(Code::Resource, format_args!("the server cannot run: {cause}"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(1)
        .build()
        .map_err(failed)?;
    out::text(&format!("listening on http://{address}\n"))?;
    let served = runtime.block_on(listen::serve(listener, Arc::new(app)));
    if interrupt::requested() {
        out::note("stopped");
    }
    served.map_err(failed)
}
