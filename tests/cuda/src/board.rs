//! Boards: what their devices say about themselves.

/// A device and its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// The name by which it is chosen.
    pub name: &'static str,
    /// What the device calls itself.
    pub device: &'static str,
    /// Compute capability: 87 for 8.7; 0 without a device.
    pub capability: u32,
    /// The version of CUDA that the driver knows: 12060 for 12.6.
    pub driver: i32,
    /// The newest PTX that the driver knows: 85 for 8.5.
    pub ptx: u32,
    /// Multiprocessors.
    pub processors: i32,
    /// Whether the processor's memory is the device's.
    pub is_integrated: bool,
    /// Whether memory of the host can be registered read-only.
    pub registers_read_only: bool,
    /// Whether kernels can use all memory of the process.
    pub is_pageable: bool,
    /// Bytes of shared memory that a block can ask for.
    pub block_shared: i32,
    /// Bytes of shared memory of a multiprocessor.
    pub processor_shared: i32,
    /// Threads of a multiprocessor.
    pub processor_threads: i32,
}

/// Jetson Orin with JetPack 6.
const ORIN: Board = Board {
    name: "orin",
    device: "Orin (stand-in)",
    capability: 87,
    driver: 12_060,
    ptx: 85,
    processors: 8,
    is_integrated: true,
    registers_read_only: true,
    is_pageable: false,
    block_shared: 166_912,
    processor_shared: 167_936,
    processor_threads: 1536,
};

/// All boards; the first is the usual one.
pub const BOARDS: [Board; 6] = [
    ORIN,
    // With JetPack 5.
    Board { name: "orin5", driver: 11_040, ptx: 74, registers_read_only: false, ..ORIN },
    Board {
        name: "xavier",
        device: "Xavier (stand-in)",
        capability: 72,
        driver: 11_040,
        ptx: 74,
        registers_read_only: false,
        block_shared: 98_304,
        processor_shared: 98_304,
        processor_threads: 2048,
        ..ORIN
    },
    Board {
        name: "thor",
        device: "Thor (stand-in)",
        capability: 110,
        driver: 13_000,
        ptx: 90,
        processors: 20,
        is_pageable: true,
        block_shared: 232_448,
        processor_shared: 233_472,
        ..ORIN
    },
    Board {
        name: "discrete",
        device: "Ampere card (stand-in)",
        capability: 86,
        processors: 28,
        is_integrated: false,
        block_shared: 101_376,
        processor_shared: 102_400,
        ..ORIN
    },
    // A driver without a device.
    Board { name: "none", device: "", capability: 0, ..ORIN },
];

/// Bytes of memory where the environment says nothing.
const MEMORY: u64 = 4_000_000_000;

/// Bytes of shared memory that a block has without asking for more.
pub const USUAL_SHARED: i32 = 49_152;

impl Board {
    /// The board with a name.
    pub fn named(name: &str) -> Option<Self> {
        BOARDS.into_iter().find(|board| board.name == name)
    }

    /// The board that `KINGLET_STAND_IN_BOARD` names.
    pub fn of_environment() -> Self {
        match std::env::var("KINGLET_STAND_IN_BOARD") {
            Ok(name) => Self::named(&name).unwrap_or_else(|| {
                eprintln!("stand-in: there is no board {name}, so there is no device");
                BOARDS[BOARDS.len() - 1]
            }),
            Err(_) => BOARDS[0],
        }
    }

    /// The bytes of memory that `KINGLET_STAND_IN_MEMORY` names.
    pub fn memory_of_environment() -> u64 {
        let value = std::env::var("KINGLET_STAND_IN_MEMORY").ok();
        value.and_then(|value| value.parse().ok()).unwrap_or(MEMORY)
    }

    /// Whether there is a device at all.
    pub fn has_device(&self) -> bool {
        self.capability != 0
    }

    /// An attribute of the device by its number, `CUdevice_attribute`; none where the driver is too
    /// old to know it.
    pub fn attribute(&self, number: i32) -> Option<i32> {
        /// The last attribute of CUDA 11.4.
        const LAST_OF_11_4: i32 = 119;
        if number < 1 || number > LAST_OF_11_4 && self.driver < 11_050 {
            return None;
        }
        Some(match number {
            // Threads of a block, in all and along x and y, then along z.
            1..=3 => 1024,
            4 => 64,
            // Blocks along each axis.
            5 => i32::MAX,
            6 | 7 => 65_535,
            8 => USUAL_SHARED,
            9 => 65_536,
            10 => 32,
            // Registers of a block and of a multiprocessor.
            12 | 82 => 65_536,
            // Kilohertz of the processors and of memory, bits of its bus, bytes of the cache.
            13 => 1_020_000,
            36 => 3_200_000,
            37 => 128,
            38 => 4 << 20,
            16 => self.processors,
            18 => self.is_integrated.into(),
            39 => self.processor_threads,
            75 => (self.capability / 10) as i32,
            76 => (self.capability % 10) as i32,
            81 => self.processor_shared,
            // Use of pageable memory, alone, at the same time, and by the host's page tables.
            88 | 89 | 100 => self.is_pageable.into(),
            97 => self.block_shared,
            106 => 16,
            111 => i32::from(self.capability >= 80) * 1024,
            113 => self.registers_read_only.into(),
            // Overlap, mapped memory, concurrent kernels, unified addresses, priorities, managed
            // memory, preemption, registered pointers, cooperative launches, registration, pools.
            15 | 19 | 31 | 41 | 78 | 83 | 90 | 91 | 95 | 99 | 115 => 1,
            _ => 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_differ_in_what_programs_ask() {
        let get = |name: &str, number| Board::named(name).unwrap().attribute(number);
        assert_eq!([get("orin", 75), get("orin", 76)], [Some(8), Some(7)]);
        assert_eq!([get("thor", 75), get("thor", 76)], [Some(11), Some(0)]);
        assert_eq!([get("orin", 88), get("thor", 88)], [Some(0), Some(1)]);
        assert_eq!([get("orin", 113), get("xavier", 113)], [Some(1), Some(0)]);
        assert_eq!([get("orin", 18), get("discrete", 18)], [Some(1), Some(0)]);
        assert_eq!([get("orin5", 121), get("orin", 121)], [None, Some(0)]);
        assert!(!Board::named("none").unwrap().has_device());
        assert!(Board::named("nano").is_none());
    }
}
