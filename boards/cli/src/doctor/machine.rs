//! What the machine has, as the system and a look at its memory tell.

use crate::system;
use kinglet::{Cpus, ReadStream, Root};
use kinglet_machine::power::Request;
use kinglet_machine::{Board, Conditions, Limits, Memory, Settings, Throttle, Throttling};
use serde::Serialize;

/// Memory that must be left over for the buffer which measures bandwidth.
const STREAM_BYTES: u64 = 1 << 30;

/// Facts about the machine; what is not known is null.
#[derive(Serialize)]
pub struct Machine {
    /// The profile that fits; the architecture's where `is_known_board` is false.
    pub board: Option<String>,
    /// Whether the board itself was recognised.
    pub is_known_board: bool,
    /// What the machine calls itself.
    pub name: Option<String>,
    /// NVIDIA's release of Linux for Jetson.
    pub l4t: Option<String>,
    /// The processors' numbers, and of them those of the highest capacity.
    pub allowed_cpus: String,
    pub fast_cpus: String,
    pub quota_cpus: Option<f64>,
    pub governor: Option<String>,
    pub power_mode: Option<String>,
    pub firmware: Option<String>,
    pub megahertz: Option<f64>,
    pub celsius: Option<f64>,
    /// Why the board has slowed itself down since the system started.
    pub throttle_flags: Vec<&'static str>,
    pub total_bytes: Option<u64>,
    pub available_bytes: Option<u64>,
    pub group_limit_bytes: Option<u64>,
    pub swap_bytes: Option<u64>,
    pub page_bytes: Option<u64>,
    pub huge_pages: Option<String>,
    pub locked_limit_bytes: Option<u64>,
    pub address_limit_bytes: Option<u64>,
    /// Bytes per second that the threads of a session read together.
    pub read_bytes_per_second: Option<f64>,
    /// What the board's profile says about that.
    pub expected_bytes_per_second: Option<f64>,
    /// The sensor of power and what it covers.
    pub power_sensor: Option<String>,
    /// Why there is none.
    pub power_lack: Option<String>,
}

impl Machine {
    /// Looks at the machine whose files `root` shows; `cpus` are those of a session.
    pub fn read(root: &Root, cpus: &Cpus) -> Self {
        let board = Board::detect(root);
        let (memory, limits) = (Memory::read(root), Limits::read(root));
        let (settings, conditions) = (Settings::read(root), Conditions::read(root));
        let sensor = Request::Auto.open(root);
        let known = board.as_ref().filter(|board| !board.is_generic);
        Self {
            is_known_board: known.is_some(),
            expected_bytes_per_second: known.map(|board| board.profile.read_gb_per_s * 1e9),
            name: board.as_ref().and_then(|board| board.name.clone()),
            l4t: board.as_ref().and_then(|board| board.l4t.clone()),
            board: board.map(|board| board.profile.id),
            allowed_cpus: Cpus::allowed(root).to_string(),
            fast_cpus: Cpus::fastest(root).to_string(),
            quota_cpus: limits.quota_cpus,
            governor: settings.governor,
            power_mode: settings.power_mode,
            firmware: settings.firmware,
            megahertz: conditions.fastest_cpu(),
            celsius: conditions.hottest(),
            throttle_flags: Throttling::of(&[Throttle::read(root)]).earlier_flags,
            total_bytes: memory.map(|memory| memory.total_bytes),
            available_bytes: memory.map(|memory| memory.usable_bytes()),
            group_limit_bytes: memory.and_then(|memory| memory.limit_bytes),
            swap_bytes: memory.map(|memory| memory.swap_bytes),
            page_bytes: limits.page_bytes,
            huge_pages: limits.huge_pages,
            locked_limit_bytes: limits.locked_bytes,
            address_limit_bytes: limits.address_bytes,
            read_bytes_per_second: bandwidth(root, cpus),
            power_sensor: sensor.as_ref().ok().map(|s| format!("{}, {}", s.name(), s.boundary())),
            power_lack: sensor.err().map(|error| error.message().to_owned()),
        }
    }
}

/// `None` for a recorded tree, and where the buffer would take memory that others need.
fn bandwidth(root: &Root, cpus: &Cpus) -> Option<f64> {
    let has_room = system::available_bytes().is_none_or(|bytes| bytes >= STREAM_BYTES);
    if !root.is_here() || !has_room {
        return None;
    }
    ReadStream::new().and_then(|stream| stream.measure(cpus)).ok()
}
