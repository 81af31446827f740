//! What a device has done, counted.

use std::collections::BTreeMap;

/// Bytes that memory delivers at once.
pub const SECTOR: u64 = 32;

/// Banks of shared memory, each of four bytes.
const BANKS: usize = 32;

/// What the launches of one kernel did. What [`Settings`](crate::exec::Settings) do not ask for
/// stays 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Launches, those of graphs included.
    pub launches: u64,
    /// Instructions of warps.
    pub instructions: u64,
    /// Barriers of blocks that all threads have passed.
    pub barriers: u64,
    /// Bytes that lanes loaded from global memory.
    pub load_bytes: u64,
    /// Sectors that the loads touched.
    pub load_sectors: u64,
    /// Bytes that lanes stored to global memory.
    pub store_bytes: u64,
    /// Sectors that the stores touched.
    pub store_sectors: u64,
    /// Bytes of memory that no kernel may write, each counted once for every load of a warp that
    /// touches it: weights.
    pub constant_bytes: u64,
    /// Sectors of that memory that the loads touched.
    pub constant_sectors: u64,
    /// Accesses of warps to shared memory.
    pub shared_operations: u64,
    /// Passes that its banks needed for them.
    pub bank_passes: u64,
    /// Passes that they would need if the words lay in different banks.
    pub least_passes: u64,
}

impl Kernel {
    /// Counts an access of a warp to global memory.
    pub fn count_global(&mut self, addresses: &[u64], bytes: u64, is_write: bool) {
        let mut sectors: Vec<u64> = addresses
            .iter()
            .flat_map(|address| address / SECTOR..=(address + bytes - 1) / SECTOR)
            .collect();
        sectors.sort_unstable();
        sectors.dedup();
        let (all_bytes, all_sectors) = match is_write {
            false => (&mut self.load_bytes, &mut self.load_sectors),
            true => (&mut self.store_bytes, &mut self.store_sectors),
        };
        *all_bytes += bytes * addresses.len() as u64;
        *all_sectors += sectors.len() as u64;
    }

    /// Counts a load of a warp from memory that no kernel may write.
    pub fn count_constant(&mut self, addresses: &[u64], bytes: u64) {
        let all = addresses.iter().flat_map(|address| *address..address + bytes);
        let mut all: Vec<u64> = all.collect();
        all.sort_unstable();
        all.dedup();
        self.constant_bytes += all.len() as u64;
        all.iter_mut().for_each(|address| *address /= SECTOR);
        all.dedup();
        self.constant_sectors += all.len() as u64;
    }

    /// Counts an access of a warp to shared memory. Lanes that use the same word share a pass.
    pub fn count_shared(&mut self, addresses: &[u64], bytes: u64) {
        let mut words: Vec<u64> =
            addresses.iter().flat_map(|address| address / 4..=(address + bytes - 1) / 4).collect();
        words.sort_unstable();
        words.dedup();
        self.least_passes += words.len().div_ceil(BANKS) as u64;
        let mut banks = [0; BANKS];
        for word in words {
            banks[word as usize % BANKS] += 1;
        }
        self.shared_operations += 1;
        self.bank_passes += banks.into_iter().max().unwrap_or(0);
    }
}

/// How a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say everything")]
pub enum Way {
    HostToDevice,
    DeviceToHost,
    DeviceToDevice,
}

/// Copies and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// How many.
    pub count: u64,
    /// Bytes in all.
    pub bytes: u64,
}

/// Everything that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By the names of kernels.
    pub kernels: BTreeMap<String, Kernel>,
    /// In the order of [`Way`].
    pub copies: [Copies; 3],
    /// Launches of graphs.
    pub graph_launches: u64,
    /// Allocations that are alive.
    pub live_allocations: u64,
    /// Bytes in them.
    pub live_bytes: u64,
    /// Bytes at most at the same time.
    pub peak_bytes: u64,
}

impl Counters {
    /// Counts a copy.
    pub fn count_copy(&mut self, way: Way, bytes: u64) {
        let copies = &mut self.copies[way as usize];
        copies.count += 1;
        copies.bytes += bytes;
    }

    /// The counters as a JSON document.
    pub fn json(&self) -> String {
        let mut text = String::from("{\"kernels\":{");
        for (at, (name, kernel)) in self.kernels.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let fields = [
                ("launches", kernel.launches),
                ("instructions", kernel.instructions),
                ("barriers", kernel.barriers),
                ("load_bytes", kernel.load_bytes),
                ("load_sectors", kernel.load_sectors),
                ("constant_bytes", kernel.constant_bytes),
                ("constant_sectors", kernel.constant_sectors),
                ("store_bytes", kernel.store_bytes),
                ("store_sectors", kernel.store_sectors),
                ("shared_operations", kernel.shared_operations),
                ("bank_passes", kernel.bank_passes),
                ("least_passes", kernel.least_passes),
            ];
            text += &format!("{comma}\"{name}\":{{{}}}", members(&fields));
        }
        let [up, down, across] = self.copies;
        let fields = [
            ("host_to_device_copies", up.count),
            ("host_to_device_bytes", up.bytes),
            ("device_to_host_copies", down.count),
            ("device_to_host_bytes", down.bytes),
            ("device_to_device_copies", across.count),
            ("device_to_device_bytes", across.bytes),
            ("graph_launches", self.graph_launches),
            ("live_allocations", self.live_allocations),
            ("live_bytes", self.live_bytes),
            ("peak_bytes", self.peak_bytes),
        ];
        text + &format!("}},{}}}", members(&fields))
    }
}

fn members(fields: &[(&str, u64)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(n, value)| format!("\"{n}\":{value}")).collect();
    fields.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_are_counted_once() {
        let mut kernel = Kernel::default();
        let row: Vec<u64> = (0..32).map(|lane| 256 + 4 * lane).collect();
        kernel.count_global(&row, 4, false);
        assert_eq!((kernel.load_bytes, kernel.load_sectors), (128, 4));
        let spread: Vec<u64> = (0..32).map(|lane| 256 + 64 * lane).collect();
        kernel.count_global(&spread, 4, true);
        assert_eq!((kernel.store_bytes, kernel.store_sectors), (128, 32));
    }

    #[test]
    fn lanes_that_share_constant_bytes_count_them_once() {
        let mut kernel = Kernel::default();
        let row: Vec<u64> = (0..32).map(|lane| 256 + 8 * (lane / 4)).collect();
        kernel.count_constant(&row, 8);
        assert_eq!((kernel.constant_bytes, kernel.constant_sectors), (64, 2));
        kernel.count_constant(&[30, 300], 4);
        assert_eq!((kernel.constant_bytes, kernel.constant_sectors), (72, 5));
    }

    #[test]
    fn passes_are_those_of_the_fullest_bank() {
        let passes = |stride: u64| {
            let mut kernel = Kernel::default();
            let row: Vec<u64> = (0..32).map(|lane| lane * stride).collect();
            kernel.count_shared(&row, 4);
            assert_eq!(kernel.least_passes, 1);
            kernel.bank_passes
        };
        assert_eq!([0, 4, 8, 128, 132].map(passes), [1, 1, 2, 32, 1]);
        let mut wide = Kernel::default();
        wide.count_shared(&(0..32).map(|lane| lane * 16).collect::<Vec<_>>(), 16);
        assert_eq!((wide.bank_passes, wide.least_passes), (4, 4));
    }

    #[test]
    fn the_document_names_everything() {
        let mut counters = Counters::default();
        counters.kernels.insert("k".to_owned(), Kernel { launches: 2, ..Kernel::default() });
        counters.count_copy(Way::DeviceToHost, 12);
        let text = counters.json();
        assert!(text.starts_with("{\"kernels\":{\"k\":{\"launches\":2,\"instructions\":0"));
        assert!(text.contains("\"device_to_host_bytes\":12"));
        assert!(text.ends_with("\"peak_bytes\":0}"));
    }
}
