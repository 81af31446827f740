//! The memory for answers: what the engine has made and no client has taken yet.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that are counted together.
const UNIT_BYTES: usize = 64;

/// What all answers may take together.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

impl Room {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS))))
    }

    /// A share of it; none where less is left.
    pub fn take(&self, bytes: usize) -> Option<Share> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(units).ok().map(Share)
    }
}

/// A share of the room, which others get once it is dropped.
#[derive(Debug)]
pub struct Share(OwnedSemaphorePermit);

impl Share {
    /// Adds another share of the same room.
    pub fn join(&mut self, other: Self) {
        self.0.merge(other.0);
    }
}

/// A text that keeps its share until it has been sent.
pub struct Held {
    text: String,
    _share: Option<Share>,
}

impl Held {
    /// A text and what it takes.
    pub fn new(text: String, share: Option<Share>) -> Self {
        Self { text, _share: share }
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_back() {
        let room = Room::new(256);
        let mut first = room.take(64).unwrap();
        first.join(room.take(65).unwrap());
        assert!(room.take(65).is_none(), "64 bytes are left");
        let last = room.take(1).unwrap();
        assert!(room.take(1).is_none());
        drop(Held::new(String::new(), Some(first)));
        assert!(room.take(192).is_some());
        drop(last);
        assert!(room.take(257).is_none());
        assert!(room.take(256).is_some());
    }
}
