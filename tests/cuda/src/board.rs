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
    /// Kilohertz of the multiprocessors.
    pub clock: i32,
    /// Kilohertz of the memory, as the driver tells it; see [`BOARDS`].
    pub memory_clock: i32,
    /// Bits of the memory's bus, as the driver tells it; see [`BOARDS`].
    pub bus_bits: i32,
    /// Bytes of the level 2 cache.
    pub cache: i32,
    /// Whether the processor's memory is the device's.
    pub is_integrated: bool,
    /// Whether memory of the host can be registered where it is.
    pub registers: bool,
    /// Whether such memory may be read-only.
    pub registers_read_only: bool,
    /// Whether kernels can use all memory of the process.
    pub is_pageable: bool,
    /// Registers of a block.
    pub block_registers: i32,
    /// Bytes of shared memory that a block can ask for.
    pub block_shared: i32,
    /// Bytes of shared memory of a multiprocessor.
    pub processor_shared: i32,
    /// Threads of a multiprocessor.
    pub processor_threads: i32,
}

/// Jetson AGX Orin 64 GB with JetPack 6, in its mode of the highest power.
///
/// Clocks, bus and cache: <https://github.com/OE4T/meta-tegra/pull/2088>; 16 multiprocessors at
/// 1.3 GHz: <https://github.com/tmcdonell/cuda/issues/77>.
const ORIN: Board = Board {
    name: "orin",
    device: "Orin (stand-in)",
    capability: 87,
    driver: 12_060,
    ptx: 85,
    processors: 16,
    clock: 1_300_500,
    memory_clock: 612_000,
    bus_bits: 256,
    cache: 4 << 20,
    is_integrated: true,
    registers: true,
    registers_read_only: true,
    is_pageable: false,
    block_registers: 65_536,
    block_shared: 166_912,
    processor_shared: 167_936,
    processor_threads: 1536,
};

/// Jetson AGX Xavier with JetPack 5, in its mode of the highest power.
///
/// NVIDIA's deviceQuery says so in the guides of its EGX stack for Jetson Xavier.
const XAVIER: Board = Board {
    name: "xavier",
    device: "Xavier (stand-in)",
    capability: 72,
    driver: 11_040,
    ptx: 74,
    processors: 8,
    clock: 1_377_000,
    memory_clock: 1_377_000,
    cache: 512 << 10,
    registers_read_only: false,
    block_shared: 98_304,
    processor_shared: 98_304,
    processor_threads: 2048,
    ..ORIN
};

/// Jetson Nano with JetPack 4, the last for it.
///
/// All its attributes: <https://github.com/OE4T/meta-tegra-community/pull/3>; that its memory has
/// 12.75 MHz follows from the 194.55 MiB/s that TensorFlow derives from it.
const NANO: Board = Board {
    name: "nano",
    device: "NVIDIA Tegra X1 (stand-in)",
    capability: 53,
    driver: 10_020,
    ptx: 65,
    processors: 1,
    clock: 921_600,
    memory_clock: 12_750,
    bus_bits: 64,
    cache: 256 << 10,
    registers: false,
    registers_read_only: false,
    block_registers: 32_768,
    block_shared: 49_152,
    processor_shared: 65_536,
    processor_threads: 2048,
    ..ORIN
};

/// All boards; the first is the usual one.
///
/// What drivers of Jetson tell of the memory is often not what the memory is: its clock is that of
/// the multiprocessors, or 0, and its bus has another width. By NVIDIA's data sheets AGX Orin has
/// 3.2 GHz and 256 bits, Orin Nano 2.13 GHz and 128 bits, and Xavier NX 1.87 GHz and 128 bits. The
/// numbers here are those of the drivers, since they are what a program gets.
pub const BOARDS: [Board; 10] = [
    ORIN,
    // With JetPack 5: <https://github.com/tmcdonell/cuda/issues/77>.
    Board {
        name: "orin5",
        driver: 11_040,
        ptx: 74,
        memory_clock: 1_300_500,
        bus_bits: 128,
        registers_read_only: false,
        ..ORIN
    },
    // Jetson Orin Nano 8 GB with JetPack 5: Jianliang-Shen/cuda-c-samples prints what it tells.
    Board {
        name: "orin-nano",
        driver: 11_040,
        ptx: 74,
        processors: 8,
        clock: 624_750,
        memory_clock: 624_750,
        bus_bits: 64,
        cache: 2 << 20,
        registers_read_only: false,
        ..ORIN
    },
    XAVIER,
    // Seeed-Studio/wiki-documents prints what Jetson Xavier NX tells.
    Board { name: "xavier-nx", processors: 6, clock: 1_109_250, memory_clock: 1_109_250, ..XAVIER },
    // Jetson AGX Thor with JetPack 7.0: <https://github.com/NVIDIA/cutlass/issues/2784>.
    Board {
        name: "thor",
        device: "Thor (stand-in)",
        capability: 110,
        driver: 13_000,
        ptx: 90,
        processors: 20,
        clock: 1_049_000,
        memory_clock: 0,
        bus_bits: 0,
        cache: 32 << 20,
        is_pageable: true,
        block_shared: 232_448,
        processor_shared: 233_472,
        ..ORIN
    },
    // GeForce RTX 3060, as deviceQuery prints it in many places.
    Board {
        name: "discrete",
        device: "Ampere card (stand-in)",
        capability: 86,
        processors: 28,
        clock: 1_777_000,
        memory_clock: 7_501_000,
        bus_bits: 192,
        cache: 2_359_296,
        is_integrated: false,
        block_shared: 101_376,
        processor_shared: 102_400,
        ..ORIN
    },
    NANO,
    // Jetson TX2 with JetPack 4: ifm's documentation of its O3R prints what it tells.
    Board {
        name: "tx2",
        device: "NVIDIA Tegra X2 (stand-in)",
        capability: 62,
        processors: 2,
        clock: 1_300_500,
        memory_clock: 1_300_500,
        bus_bits: 128,
        cache: 512 << 10,
        ..NANO
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
        // The last attributes of CUDA 10.2 and 11.4.
        let last = match self.driver {
            ..11_000 => 105,
            11_000..11_050 => 119,
            _ => i32::MAX,
        };
        if !(1..=last).contains(&number) {
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
            12 => self.block_registers,
            82 => 65_536,
            13 => self.clock,
            36 => self.memory_clock,
            37 => self.bus_bits,
            38 => self.cache,
            16 => self.processors,
            18 => self.is_integrated.into(),
            39 => self.processor_threads,
            75 => (self.capability / 10) as i32,
            76 => (self.capability % 10) as i32,
            81 => self.processor_shared,
            99 => self.registers.into(),
            // Use of pageable memory, alone, at the same time, and by the host's page tables.
            88 | 89 | 100 => self.is_pageable.into(),
            97 => self.block_shared,
            106 => 16,
            111 => i32::from(self.capability >= 80) * 1024,
            113 => self.registers_read_only.into(),
            // Overlap, mapped memory, concurrent kernels, unified addresses, priorities, managed
            // memory, preemption, registered pointers, cooperative launches, pools.
            15 | 19 | 31 | 41 | 78 | 83 | 90 | 91 | 95 | 115 => 1,
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
        assert_eq!([get("nano", 115), get("orin5", 115)], [None, Some(1)]);
        assert_eq!([get("tx2", 99), get("orin5", 99)], [Some(0), Some(1)]);
        assert!(!Board::named("none").unwrap().has_device());
        assert!(Board::named("jetson").is_none());
    }

    /// What a program needs to know how fast a device can be: multiprocessors, kilohertz of them
    /// and of the memory, bits of its bus, bytes of the cache, and whether it is integrated.
    #[test]
    fn boards_tell_what_their_speed_follows_from() {
        for (name, expected) in [
            ("nano", [1, 921_600, 12_750, 64, 262_144, 1]),
            ("tx2", [2, 1_300_500, 1_300_500, 128, 524_288, 1]),
            ("xavier-nx", [6, 1_109_250, 1_109_250, 256, 524_288, 1]),
            ("xavier", [8, 1_377_000, 1_377_000, 256, 524_288, 1]),
            ("orin-nano", [8, 624_750, 624_750, 64, 2_097_152, 1]),
            ("orin5", [16, 1_300_500, 1_300_500, 128, 4_194_304, 1]),
            ("orin", [16, 1_300_500, 612_000, 256, 4_194_304, 1]),
            ("thor", [20, 1_049_000, 0, 0, 33_554_432, 1]),
            ("discrete", [28, 1_777_000, 7_501_000, 192, 2_359_296, 0]),
        ] {
            let board = Board::named(name).unwrap();
            let told = [16, 13, 36, 37, 38, 18].map(|number| board.attribute(number));
            assert_eq!(told, expected.map(Some), "{name}");
        }
    }
}
