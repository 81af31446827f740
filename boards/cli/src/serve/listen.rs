//! The loop that takes connections, and what ends it.

use super::app::App;
use super::notify::{Manager, Watch};
use super::patience::Patience;
use super::routes;
use crate::{interrupt, out};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

/// Connections at once; others wait in the system's queue.
const MAX_CONNECTIONS: usize = 512;
/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Headers of a request.
const MAX_HEADERS: usize = 64;
/// Within it a request's head must be whole; so long a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// So long a client may read nothing of what is there for it.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// How often the loop looks whether it shall end.
const LOOK_TIME: Duration = Duration::from_millis(200);
/// What is being answered when the server ends may still take so long.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// Who manages the server, and when it may end by itself.
pub struct Service {
    /// Hears how the server is.
    pub manager: Manager,
    /// How long there must have been nothing to do.
    pub exit_idle: Option<Duration>,
}

/// Serves until SIGTERM or SIGINT, until there was nothing to do for long enough, or until the
/// engine fails, then lets the requests that there are come to their end.
pub async fn serve(
    listener: std::net::TcpListener,
    app: Arc<App>,
    service: Service,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let Service { manager, exit_idle } = service;
    let address = listener.local_addr()?;
    manager.tell(&format!("READY=1\nSTATUS=listening on http://{address}\n"));
    let manager = Arc::new(manager);
    if let Some(step) = manager.watch_step() {
        tokio::spawn(ping(Arc::clone(&manager), step, Arc::clone(&app)));
    }
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (end, ending) = watch::channel(false);
    let mut busy = Instant::now();
    while !interrupt::requested() && !app.queue.is_closed() {
        if places.available_permits() < MAX_CONNECTIONS || !app.queue.is_idle() {
            busy = Instant::now();
        }
        if exit_idle.is_some_and(|time| busy.elapsed() >= time) {
            break;
        }
        let place = timeout(LOOK_TIME, Arc::clone(&places).acquire_owned()).await;
        let Ok(Ok(place)) = place else { continue };
        match timeout(LOOK_TIME, listener.accept()).await {
            Ok(Ok((stream, _))) => {
                tokio::spawn(connection(stream, Arc::clone(&app), ending.clone(), place));
            }
            // What fails is this connection, or there are too many files open for a while.
            Ok(Err(_)) => tokio::time::sleep(LOOK_TIME).await,
            Err(_) => {}
        }
    }
    drop(listener);
    let time = DRAIN_TIME.as_secs();
    manager.tell(&format!("STOPPING=1\nSTATUS=ending: replies that there are get {time} s\n"));
    // The connections hear it, or there are none.
    let _ = end.send(true);
    let all = places.acquire_many(MAX_CONNECTIONS as u32);
    if timeout(DRAIN_TIME, all).await.is_err() {
        out::note(format_args!("some replies had not ended after {time} s and were cut"));
    }
    Ok(())
}

/// Tells the manager again and again that the server is alive, as long as the engine is.
async fn ping(manager: Arc<Manager>, step: Duration, app: Arc<App>) {
    let mut engine = Watch::new();
    loop {
        if engine.is_alive(app.metrics.turns.get(), app.queue.is_idle()) {
            manager.tell("WATCHDOG=1\n");
        }
        tokio::time::sleep(step).await;
    }
}

/// Answers the requests of one connection, one after the other.
async fn connection(
    stream: TcpStream,
    app: Arc<App>,
    mut ending: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    // Without it, each event of a stream may wait for the one before to be acknowledged.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(routes::answer(app, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(Patience::new(stream, WRITE_TIME), service);
    let mut connection = pin!(connection);
    let mut is_ending = pin!(async move { ending.wait_for(|&ends| ends).await.is_ok() });
    let mut has_ended = false;
    poll_fn(|context| {
        if !has_ended && is_ending.as_mut().poll(context).is_ready() {
            has_ended = true;
            connection.as_mut().graceful_shutdown();
        }
        // What a client does to its connection is its own affair.
        connection.as_mut().poll(context).map(|_| ())
    })
    .await;
}
