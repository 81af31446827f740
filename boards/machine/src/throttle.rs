//! Whether the board slowed itself down: for heat, for lack of voltage, or for too much current.

use crate::Root;
use crate::firmware::vcgencmd;
use crate::process::output;
use std::process::Command;

/// What the firmware of a Raspberry Pi tells: the bit of now; 16 bits above it, of since the start.
const PI_FLAGS: [(u32, &str); 4] = [
    (0, "under-voltage"),
    (1, "frequency capped"),
    (2, "throttled"),
    (3, "soft temperature limit"),
];
const SINCE_START: u32 = 16;

/// One look at what the system tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// The bits of `vcgencmd get_throttled`.
    pi_bits: Option<u32>,
    /// How often the cores and packages of an x86 processor grew too hot.
    heat_events: Option<u64>,
    /// How often a Jetson drew too much current.
    current_events: Option<u64>,
}

impl Throttle {
    /// What this tree tells now.
    pub fn read(root: &Root) -> Self {
        Self {
            pi_bits: pi_bits(root),
            heat_events: heat_events(root),
            current_events: current_events(root),
        }
    }
}

fn pi_bits(root: &Root) -> Option<u32> {
    let mut command = Command::new(vcgencmd(root)?);
    let text = output(command.arg("get_throttled"), "vcgencmd get_throttled").ok()?;
    u32::from_str_radix(text.trim().strip_prefix("throttled=0x")?, 16).ok()
}

/// The numbers of the files `folder/NAME*/file` below, summed; `None` where there are none.
fn sum(root: &Root, paths: impl Iterator<Item = String>) -> Option<u64> {
    let mut counts = paths.filter_map(|path| root.number::<u64>(&path));
    counts.next().map(|first| first + counts.sum::<u64>())
}

fn heat_events(root: &Root) -> Option<u64> {
    let folder = "/sys/devices/system/cpu";
    let files = ["core_throttle_count", "package_throttle_count"];
    let cpus = root.names(folder).into_iter().filter(|name| name.starts_with("cpu"));
    let paths =
        cpus.flat_map(|cpu| files.map(|file| format!("{folder}/{cpu}/thermal_throttle/{file}")));
    sum(root, paths)
}

fn current_events(root: &Root) -> Option<u64> {
    let folder = "/sys/class/hwmon";
    let paths = root.names(folder).into_iter().flat_map(|chip| {
        let chip = format!("{folder}/{chip}");
        let is_event = |file: &String| file.starts_with("oc") && file.ends_with("_event_cnt");
        let files = root.names(&chip).into_iter().filter(is_event);
        files.map(|file| format!("{chip}/{file}")).collect::<Vec<_>>()
    });
    sum(root, paths)
}

/// What several looks during some work tell about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Whether the board slowed down; `None` where nothing tells.
    pub throttled: Option<bool>,
    /// For what reasons.
    pub flags: Vec<&'static str>,
    /// What had happened since the start of the system, before the work began. While such a flag
    /// is set, a Raspberry Pi shows the same only at the moment when it is asked.
    pub earlier_flags: Vec<&'static str>,
}

impl Throttling {
    /// From looks in the order of time: before, during and after the work.
    pub fn of(looks: &[Throttle]) -> Self {
        let (Some(first), Some(last)) = (looks.first(), looks.last()) else {
            return Self::default();
        };
        let bits = |look: &Throttle| look.pi_bits.unwrap_or(0);
        let now = looks.iter().map(bits).fold(0, |all, bits| all | bits);
        let new = (bits(last) & !bits(first)) >> SINCE_START;
        let named = |bits: u32| {
            PI_FLAGS.iter().filter(move |(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| *name)
        };
        let mut flags: Vec<&str> = named(now | new).collect();
        let more = |count: fn(&Throttle) -> Option<u64>| count(last) > count(first);
        if more(|look| look.heat_events) {
            flags.push("processor too hot");
        }
        if more(|look| look.current_events) {
            flags.push("too much current");
        }
        let tells = looks.iter().any(|look| *look != Throttle::default());
        Self {
            throttled: tells.then_some(!flags.is_empty()),
            flags,
            earlier_flags: named(bits(first) >> SINCE_START).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware::tests::with_script;
    use std::fs;

    fn pi(bits: u32) -> Throttle {
        Throttle { pi_bits: Some(bits), ..Throttle::default() }
    }

    #[test]
    fn bits_of_the_firmware_have_names() {
        let (_folder, root) = with_script("/usr/bin/vcgencmd", "echo throttled=0x50005");
        assert_eq!(Throttle::read(&root), pi(0x50005));
        let found = Throttling::of(&[pi(0), pi(0x4)]);
        assert_eq!((found.throttled, found.flags), (Some(true), vec!["throttled"]));
        // Between two looks, and over again when it ended.
        let found = Throttling::of(&[pi(0), pi(0x10000)]);
        assert_eq!((found.throttled, found.flags), (Some(true), vec!["under-voltage"]));
        // Long ago.
        let found = Throttling::of(&[pi(0x50000), pi(0x50000)]);
        assert_eq!((found.throttled, found.flags), (Some(false), vec![]));
        assert_eq!(found.earlier_flags, ["under-voltage", "throttled"]);
        let found = Throttling::of(&[pi(0x80000), pi(0x80008), pi(0x80000)]);
        assert_eq!(found.flags, ["soft temperature limit"]);
    }

    #[test]
    fn counters_count_from_the_first_look() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let looks = [Throttle::read(&root)];
        assert_eq!(Throttling::of(&looks).throttled, None);
        let write = |folder: &str, file: &str, count: u32| {
            fs::create_dir_all(root.path(folder)).unwrap();
            fs::write(root.path(&format!("{folder}/{file}")), format!("{count}\n")).unwrap();
            Throttle::read(&root)
        };
        let core = "/sys/devices/system/cpu/cpu0/thermal_throttle";
        let before = write(core, "core_throttle_count", 7);
        assert_eq!(Throttling::of(&[before, before]).throttled, Some(false));
        let after = write(core, "core_throttle_count", 8);
        assert_eq!(Throttling::of(&[before, after]).flags, ["processor too hot"]);
        let before = write("/sys/class/hwmon/hwmon1", "oc3_event_cnt", 0);
        let after = write("/sys/class/hwmon/hwmon1", "oc3_event_cnt", 1);
        assert_eq!(Throttling::of(&[before, after]).flags, ["too much current"]);
    }
}
