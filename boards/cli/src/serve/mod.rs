//! The server: HTTP on one thread, the engine on another, a bounded queue between them.

mod access;
mod answer;
mod app;
mod ask;
#[cfg(feature = "check")]
pub mod check;
mod embedding;
mod energy;
mod engine;
mod event;
mod failure;
mod fields;
mod folder;
mod framing;
mod histogram;
mod job;
mod listen;
mod metrics;
mod notify;
mod number;
mod ollama;
mod openai;
mod openapi;
mod page;
mod patience;
mod queue;
mod recipient;
mod response;
mod room;
mod routes;
mod sampling;
mod socket;
mod store;
#[cfg_attr(not(target_os = "linux"), path = "systemd/none.rs")]
mod systemd;
mod talk;
mod ticket;
mod tokens;

use crate::out;
use access::Access;
use app::App;
use energy::Energy;
use engine::Engine;
use kinglet::template::Template;
use kinglet::{Code, Error, Model, Result, SessionOptions};
use kinglet_machine::power::Request;
use kinglet_quant::ensure;
use listen::Service;
use metrics::Metrics;
use notify::Manager;
use queue::Queue;
use room::Room;
use std::net::TcpListener;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use store::Store;
use tokio::sync::Semaphore;

pub use socket::Door;
pub use store::{BUDGETED_BYTES as STORE_BYTES, Options as StoreOptions};

/// Replies that wait for a text at most.
const QUEUE_LENGTH: usize = 128;

/// What the process takes for connections, requests and grammars beside model and texts.
pub const RESERVED_BYTES: u64 = 24 << 20;
/// What of that answers take until their clients have read them.
pub const BUDGETED_ANSWER_BYTES: usize = 8 << 20;
/// What answers take without a budget.
pub const ANSWER_BYTES: usize = 256 << 20;

/// Where, for whom and how long to serve.
pub struct Place {
    /// What clients connect to.
    pub door: Door,
    /// What requests must show.
    pub key: Option<Vec<u8>>,
    /// The model's name in documents.
    pub name: String,
    /// Where beginnings of texts are kept across restarts.
    pub store: Option<StoreOptions>,
    /// What answers may take until their clients have read them.
    pub answer_bytes: usize,
    /// The sensor whose energy is counted; else any that works.
    pub sensor: Option<Request>,
    /// The server ends when there has been nothing to do for so long.
    pub exit_idle: Option<Duration>,
}

/// Serves a model until SIGTERM or SIGINT. Tells on standard output where, once it answers.
///
/// `BadArgument` for an address that cannot be listened on, what a batch, a store and a sensor
/// return, and `Internal` when the engine fails meanwhile.
pub fn run(model: &Model, options: SessionOptions, place: Place) -> Result<()> {
    let Place { door, key, name, store, answer_bytes, sensor, exit_idle } = place;
    let listener = door.open()?;
    let is_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let energy = Energy::start(sensor.as_ref())?;
    let metrics = Metrics { energy, ..Metrics::default() };
    let access = Access::new(key.as_deref(), is_local);
    let (app, worker) = start(model, options, name, access, metrics, store, answer_bytes)?;
    let queue = Arc::clone(&app.queue);
    let served = serve(listener, app, exit_idle);
    // The engine closes it when it fails.
    let has_failed = queue.is_closed();
    queue.close();
    let ended = worker.join();
    served?;
    ensure!(
        ended.is_ok() && !has_failed,
        Code::Internal,
        "the engine has failed: start the server again"
    );
    Ok(())
}

/// Starts the engine; its thread ends when the queue is closed.
fn start(
    model: &Model,
    options: SessionOptions,
    name: String,
    access: Access,
    metrics: Metrics,
    store: Option<StoreOptions>,
    answer_bytes: usize,
) -> Result<(App, JoinHandle<()>)> {
    let (queue, metrics) = (Arc::new(Queue::new(QUEUE_LENGTH)), Arc::new(metrics));
    let (tell, told) = channel();
    let worker = {
        let (model, queue, metrics) = (model.clone(), Arc::clone(&queue), Arc::clone(&metrics));
        // The batch binds its thread to a processor, and HTTP shall run on any.
        thread::spawn(move || work(&model, &options, queue, metrics, store.as_ref(), &tell))
    };
    let context = told.recv().expect("the engine tells how it began")?;
    let app = App {
        model: model.clone(),
        name,
        template: Template::of(&model.file()),
        created: openai::now(),
        context,
        access,
        queue,
        metrics,
        bodies: Arc::new(Semaphore::new(routes::ALL_BODIES_KIB)),
        answers: Room::new(answer_bytes),
        guides: OnceLock::new(),
    };
    Ok((app, worker))
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
    store: Option<&StoreOptions>,
    tell: &Sender<Result<usize>>,
) {
    let _end = End(Arc::clone(&queue));
    let made = model.batch(options).and_then(|batch| {
        let open = |options| Store::open(options, &batch, Arc::clone(&queue), Arc::clone(&metrics));
        let store = store.map(open).transpose()?;
        Ok((batch, store))
    });
    match made {
        Ok((batch, store)) => {
            out::note_selection(batch.selection());
            // Whoever made this thread waits for it.
            let _ = tell.send(Ok(batch.plan().limits().context));
            Engine::new(batch, queue, metrics, store).run();
        }
        Err(error) => {
            let _ = tell.send(Err(error));
        }
    }
}

fn serve(listener: TcpListener, app: App, exit_idle: Option<Duration>) -> Result<()> {
    let failed = |cause: std::io::Error| {
        Error::new(Code::Resource, format_args!("the server cannot run: {cause}"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(1)
        .build()
        .map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    out::text(&format!("listening on http://{address}\n"))?;
    let service = Service { manager: Manager::find(), exit_idle };
    let app = Arc::new(app);
    let served = runtime.block_on(listen::serve(listener, Arc::clone(&app), service));
    if !app.queue.is_closed() {
        out::note("stopped");
    }
    served.map_err(failed)
}
