//! The engine's way to beginnings of texts on disk: what is worth keeping, and a thread that reads
//! and writes, so that no reply waits for a disk.

use super::folder::{Folder, Found};
use super::metrics::Metrics;
use super::queue::Queue;
use crate::out;
use kinglet::{Batch, Code, Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

/// Fewer tokens are computed as fast as they are read.
const LEAST_TOKENS: usize = 64;
/// Changes when files come to mean something else.
const FORMAT: &[u8] = b"1";
/// What a saved text may take where the whole process has a budget, of which it is then a part.
pub const BUDGETED_BYTES: u64 = 16 << 20;

/// Where beginnings are kept, and how many.
pub struct Options {
    /// The folder.
    pub path: PathBuf,
    /// What its files may take together.
    pub limit_bytes: u64,
    /// What one saved text may take in memory.
    pub most_bytes: u64,
}

/// Beginnings on disk and the thread that works with them.
pub struct Store {
    folder: Arc<Folder>,
    most_bytes: u64,
    is_busy: Arc<AtomicBool>,
    /// `None` once the store is dropped.
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread has to do.
enum Order {
    Keep { tokens: Vec<u32>, state: Vec<u8> },
    Load { name: String, tell: Sender<Option<Vec<u8>>> },
}

/// A state that is being read.
pub struct Loading {
    /// The name of its file.
    pub name: String,
    /// Where it comes, or that there is none.
    pub state: Receiver<Option<Vec<u8>>>,
}

impl Store {
    /// Opens a folder for texts of this batch. The queue is woken when something was kept.
    ///
    /// What [`Folder::open`] returns, and `Resource` when there is no thread to be had.
    pub fn open(
        options: &Options,
        batch: &Batch,
        queue: Arc<Queue>,
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        let limits = batch.plan().limits();
        let kv = format!("{:?}", limits.kv);
        let dependencies: [&[u8]; 6] = [
            FORMAT,
            env!("CARGO_PKG_VERSION").as_bytes(),
            &batch.model().file().fingerprint(),
            batch.backend().name().as_bytes(),
            kv.as_bytes(),
            &limits.context.to_le_bytes(),
        ];
        let folder = Arc::new(Folder::open(&options.path, &dependencies, options.limit_bytes)?);
        metrics.store_bytes.set(folder.bytes());
        let is_busy = Arc::new(AtomicBool::new(false));
        // The engine waits until the thread has taken what it hands over.
        let (orders, ordered) = sync_channel(0);
        let worker = Worker {
            folder: Arc::clone(&folder),
            is_busy: Arc::clone(&is_busy),
            queue,
            metrics,
            has_failed: false,
        };
        let work = move || worker.run(&ordered);
        let thread = thread::Builder::new().name("store".into()).spawn(work).map_err(|cause| {
            Error::new(Code::Resource, format_args!("the store's thread does not start: {cause}"))
        })?;
        let most_bytes = options.most_bytes;
        Ok(Self { folder, most_bytes, is_busy, orders: Some(orders), thread: Some(thread) })
    }

    /// Whether the thread is at work.
    pub fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Acquire)
    }

    /// Begins to read the text that begins most like a prompt, where that saves more than a few
    /// tokens beyond those that are `known`.
    pub fn load(&self, prompt: &[u32], known: usize) -> Option<Loading> {
        if self.is_busy() {
            return None;
        }
        let Found { name, bytes, shared } = self.folder.find(prompt)?;
        if shared < known + LEAST_TOKENS || bytes > self.most_bytes {
            return None;
        }
        let (tell, state) = channel();
        self.order(Order::Load { name: name.clone(), tell });
        Some(Loading { name, state })
    }

    /// Removes a file that was of no use.
    pub fn remove(&self, name: &str) {
        self.folder.remove(name);
    }

    /// Whether a beginning that two requests had in common is worth a file: what is kept of it must
    /// grow by half. So a conversation is written a few times, not at each of its turns.
    pub fn wants_shared(&self, tokens: &[u32]) -> bool {
        let kept = self.kept(tokens);
        tokens.len() >= kept + LEAST_TOKENS.max(kept / 2)
    }

    /// Whether a text is worth a file when the server ends.
    pub fn wants_last(&self, tokens: &[u32]) -> bool {
        tokens.len() >= self.kept(tokens) + LEAST_TOKENS
    }

    fn kept(&self, tokens: &[u32]) -> usize {
        self.folder.find(tokens).map_or(0, |found| found.shared)
    }

    /// Hands the beginning of a text over to be kept; waits while the thread is at work. What is
    /// too large is left alone.
    pub fn keep(&self, batch: &mut Batch, text: usize, count: usize) -> Result<()> {
        let bytes = batch.text(text).prefix_bytes(count);
        if bytes as u64 > self.most_bytes || !self.folder.has_room(Folder::file_bytes(count, bytes))
        {
            return Ok(());
        }
        let mut state = vec![0; bytes];
        batch.text(text).save_prefix(count, 0, &mut state)?;
        self.order(Order::Keep { tokens: batch.tokens(text)[..count].to_vec(), state });
        Ok(())
    }

    fn order(&self, order: Order) {
        self.is_busy.store(true, Ordering::Release);
        let orders = self.orders.as_ref().expect("it is there until the store is dropped");
        orders.send(order).expect("the thread lives as long as the store");
    }
}

impl Drop for Store {
    /// Waits until what was handed over is written.
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // If it has panicked, there is nothing to wait for.
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Worker {
    folder: Arc<Folder>,
    is_busy: Arc<AtomicBool>,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    /// Whether the last text could not be kept.
    has_failed: bool,
}

impl Worker {
    fn run(mut self, orders: &Receiver<Order>) {
        for order in orders {
            // Again, since the order before has ended after the engine said so.
            self.is_busy.store(true, Ordering::Release);
            match order {
                Order::Keep { tokens, state } => self.keep(&tokens, &state),
                Order::Load { name, tell } => {
                    let state = self.folder.read(&name);
                    self.rest();
                    // If the job has failed meanwhile, nobody wants it.
                    let _ = tell.send(state);
                }
            }
            self.queue.wake();
        }
    }

    /// Before an outcome is told, so that whoever hears of it finds the store free.
    fn rest(&self) {
        self.metrics.store_bytes.set(self.folder.bytes());
        self.is_busy.store(false, Ordering::Release);
    }

    fn keep(&mut self, tokens: &[u32], state: &[u8]) {
        let outcome = self.folder.keep(tokens, state);
        self.rest();
        match &outcome {
            Ok(()) => self.metrics.kept.add(1),
            Err(error) => {
                self.metrics.keep_failures.add(1);
                // A disk that stays full is told of once.
                if !self.has_failed {
                    out::note(format_args!("a prompt is not kept: {}", error.message()));
                }
            }
        }
        self.has_failed = outcome.is_err();
    }
}
