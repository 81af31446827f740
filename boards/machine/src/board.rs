//! Which board this is.

use crate::{Profile, Root};

/// The board that the system says it runs on.
#[derive(Clone, Debug)]
pub struct Board {
    /// What is known about it, or about its processor's architecture where the board is unknown.
    pub profile: Profile,
    /// Whether nothing but the architecture was recognised.
    pub is_generic: bool,
    /// What the machine calls itself; `None` where it does not.
    pub name: Option<String>,
    /// The release of NVIDIA's system for Jetson, such as `36.4.7`.
    pub l4t: Option<String>,
}

impl Board {
    /// The board whose profile fits best: the device tree's `compatible` counts most, then the
    /// processor's name. `None` where neither says anything that a profile knows.
    pub fn detect(root: &Root) -> Option<Self> {
        let compatible = root.text("/proc/device-tree/compatible").unwrap_or_default();
        let cpuinfo = root.text("/proc/cpuinfo").unwrap_or_default();
        let words: Vec<&str> = cpuinfo.split(|c: char| !c.is_alphanumeric() && c != '-').collect();
        // The longest pattern is the most special: `p3767-0005-super` before `p3767-0005`.
        let longest = |patterns: &[String], fits: &dyn Fn(&str) -> bool| {
            patterns.iter().filter(|pattern| fits(pattern)).map(String::len).max().unwrap_or(0)
        };
        let score = |profile: &Profile| {
            let board = longest(&profile.detect.compatible, &|part| compatible.contains(part));
            let processor = longest(&profile.detect.cpu, &|word| words.contains(&word));
            // The vendor's name and a field that every ARM processor has are no names of
            // processors.
            (board, if is_generic(profile) { 0 } else { processor }, processor)
        };
        let best = Profile::all().into_iter().max_by_key(|profile| score(profile))?;
        (score(&best) != (0, 0, 0)).then(|| Self {
            is_generic: is_generic(&best),
            profile: best,
            name: name(root),
            l4t: l4t(root),
        })
    }

    /// What the system calls the processor; `None` where it gives no name.
    pub fn processor(root: &Root) -> Option<String> {
        let text = root.text("/proc/cpuinfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
        Some(line.trim_start_matches([' ', '\t', ':']).trim().to_owned())
    }
}

/// Whether the profile stands for all machines of an architecture.
fn is_generic(profile: &Profile) -> bool {
    ["x86-64", "aarch64"].contains(&profile.id.as_str())
}

/// What a device tree or the firmware of a PC calls the machine.
fn name(root: &Root) -> Option<String> {
    let files = ["/proc/device-tree/model", "/sys/class/dmi/id/product_name"];
    files.iter().find_map(|file| root.text(file)).filter(|name| !name.is_empty())
}

/// `# R36 (release), REVISION: 4.7, ..` as `36.4.7`.
fn l4t(root: &Root) -> Option<String> {
    let text = root.text("/etc/nv_tegra_release")?;
    let major = text.strip_prefix("# R")?.split_whitespace().next()?;
    let minor = text.split("REVISION: ").nth(1)?.split(',').next()?;
    Some(format!("{major}.{}", minor.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const ARM: &str = "processor\t: 0\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\n";

    /// What is recognised where the system has these files.
    fn detected(files: &[(&str, &str)]) -> Option<Board> {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        for (path, text) in files {
            fs::create_dir_all(root.path(path).parent().unwrap()).unwrap();
            fs::write(root.path(path), text).unwrap();
        }
        Board::detect(&root)
    }

    /// The names in the device trees of Linux, and those of NVIDIA's modules.
    #[test]
    fn boards_are_known_by_their_device_tree() {
        for (compatible, model, id) in [
            ("raspberrypi,model-zero-2-w\0brcm,bcm2837\0", "Raspberry Pi Zero 2 W", "pi-zero-2w"),
            ("raspberrypi,3-model-b-plus\0brcm,bcm2837\0", "Raspberry Pi 3 B+", "pi-3b-plus"),
            ("raspberrypi,4-model-b\0brcm,bcm2711\0", "Raspberry Pi 4 Model B Rev 1.4", "pi-4"),
            ("raspberrypi,400\0brcm,bcm2711\0", "Raspberry Pi 400 Rev 1.0", "pi-400"),
            ("raspberrypi,4-compute-module\0brcm,bcm2711\0", "Compute Module 4", "cm4"),
            ("raspberrypi,5-model-b\0brcm,bcm2712\0", "Raspberry Pi 5 Model B Rev 1.0", "pi-5"),
            ("raspberrypi,500\0brcm,bcm2712\0", "Raspberry Pi 500 Rev 1.0", "pi-500"),
            ("raspberrypi,5-compute-module\0brcm,bcm2712\0", "Compute Module 5", "cm5"),
            ("xunlong,orangepi-5\0rockchip,rk3588s\0", "Orange Pi 5", "orange-pi-5"),
            ("nvidia,p3450-0000\0nvidia,tegra210\0", "Jetson Nano", "jetson-nano"),
            ("nvidia,p2597-0000+p3310-1000\0nvidia,tegra186\0", "quill", "jetson-tx2"),
            ("nvidia,p3509-0000+p3668-0001\0nvidia,tegra194\0", "Xavier NX", "xavier-nx"),
            ("nvidia,p2972-0000\0nvidia,tegra194\0", "Jetson-AGX", "agx-xavier"),
            ("nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0", "Orin Nano", "orin-nano"),
            (
                "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0",
                "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
                "orin-nano-super",
            ),
            ("nvidia,p3768-0000+p3767-0000\0nvidia,tegra234\0", "Orin NX", "orin-nx"),
            ("nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0", "AGX Orin", "agx-orin"),
            ("nvidia,p3971-0089+p3834-0008\0nvidia,tegra264\0", "Thor", "thor"),
        ] {
            let files = [
                ("/proc/device-tree/compatible", compatible),
                ("/proc/device-tree/model", &format!("{model}\0")),
                ("/proc/cpuinfo", ARM),
            ];
            let board = detected(&files).unwrap();
            assert_eq!(board.profile.id, id);
            assert_eq!(board.name.as_deref(), Some(model));
            assert!(!board.is_generic);
        }
    }

    #[test]
    fn machines_without_a_device_tree_are_known_by_their_processor() {
        let pc = |model: &str| {
            let text = format!("vendor_id\t: GenuineIntel\nmodel name\t: {model}\n");
            detected(&[("/proc/cpuinfo", &text), ("/sys/class/dmi/id/product_name", "Mini PC\n")])
                .unwrap()
        };
        let mini = pc("Intel(R) N100");
        assert_eq!((mini.profile.id.as_str(), mini.is_generic), ("n100", false));
        assert_eq!(mini.name.as_deref(), Some("Mini PC"));
        let server = pc("Intel(R) Xeon(R) Processor @ 2.60GHz");
        assert_eq!((server.profile.id.as_str(), server.is_generic), ("x86-64", true));
    }

    #[test]
    fn unknown_boards_are_taken_for_their_architecture() {
        let files = [("/proc/device-tree/compatible", "acme,board\0"), ("/proc/cpuinfo", ARM)];
        let board = detected(&files).unwrap();
        assert_eq!((board.profile.id.as_str(), board.is_generic), ("aarch64", true));
        assert!(detected(&[]).is_none());
        assert!(detected(&[("/proc/cpuinfo", "isa\t: rv64imafdc\n")]).is_none());
    }

    #[test]
    fn releases_of_jetpack_are_read() {
        let text = "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64";
        let files = [("/etc/nv_tegra_release", text), ("/proc/cpuinfo", ARM)];
        assert_eq!(detected(&files).unwrap().l4t.as_deref(), Some("36.4.7"));
        let files = [("/etc/nv_tegra_release", "# R36\n"), ("/proc/cpuinfo", ARM)];
        assert_eq!(detected(&files).unwrap().l4t, None);
    }
}
