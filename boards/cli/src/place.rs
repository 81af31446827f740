//! Where a model is planned to run: this machine, or a board that is known.

use crate::system;
use kinglet_machine::{Board, Memory, Profile};

/// A machine and its memory.
pub struct Place {
    profile: Option<Profile>,
    /// What the machine calls itself; `None` for a board by its profile.
    name: Option<String>,
    /// Bytes of the machine, and those of them that a process may have.
    ram_bytes: Option<u64>,
    usable_bytes: Option<u64>,
    is_here: bool,
}

impl Place {
    /// This machine, with what its memory has left now.
    pub fn here() -> Self {
        let root = system::root();
        let memory = Memory::read(&root);
        let board = Board::detect(&root).filter(|board| !board.is_generic);
        Self {
            name: board.as_ref().and_then(|board| board.name.clone()),
            profile: board.map(|board| board.profile),
            ram_bytes: memory.map(|memory| memory.total_bytes),
            usable_bytes: memory.map(|memory| memory.usable_bytes()),
            is_here: true,
        }
    }

    /// A board with the least memory that it is sold with.
    pub fn of_board(profile: Profile) -> Self {
        let ram_mib = profile.ram_mib.iter().copied().min().unwrap_or(0);
        let usable_mib = ram_mib.saturating_sub(profile.reserve_mib);
        Self {
            profile: Some(profile),
            name: None,
            ram_bytes: Some(ram_mib << 20),
            usable_bytes: Some(usable_mib << 20),
            is_here: false,
        }
    }

    /// What is known about the board; `None` for a machine that is none of them.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// Bytes that a process may have in all.
    pub fn usable_bytes(&self) -> Option<u64> {
        self.usable_bytes
    }

    /// Bytes that the operating system and other programs have.
    pub fn reserve_bytes(&self) -> Option<u64> {
        Some(self.ram_bytes?.saturating_sub(self.usable_bytes?))
    }

    /// Threads that a session has on a board; `None` where this machine itself decides.
    pub fn threads(&self) -> Option<usize> {
        let profile = self.profile.as_ref().filter(|_| !self.is_here)?;
        Some(kinglet_machine::roofline::threads(profile) as usize)
    }

    /// What messages call it, with its memory.
    pub fn title(&self) -> String {
        let known = self.profile.as_ref().map(|profile| profile.name.clone());
        let name = known.or(self.name.clone()).unwrap_or("this machine".into());
        match (self.ram_bytes, self.reserve_bytes()) {
            (Some(ram), Some(reserve)) => format!(
                "{name}, {} MiB, of which the system needs {} MiB",
                ram >> 20,
                reserve >> 20
            ),
            _ => name,
        }
    }
}
