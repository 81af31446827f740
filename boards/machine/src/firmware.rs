//! Programs that vendors put on their boards, and the firmware behind them.

use crate::Root;
use crate::process::output;
use std::path::PathBuf;
use std::process::Command;

const VCGENCMD: [&str; 2] = ["/usr/bin/vcgencmd", "/opt/vc/bin/vcgencmd"];
const NVPMODEL: [&str; 2] = ["/usr/sbin/nvpmodel", "/usr/bin/nvpmodel"];

/// The program that asks the firmware of a Raspberry Pi.
pub fn vcgencmd(root: &Root) -> Option<PathBuf> {
    first(root, &VCGENCMD)
}

fn first(root: &Root, paths: &[&str]) -> Option<PathBuf> {
    paths.iter().map(|path| root.path(path)).find(|path| path.exists())
}

/// The power mode of a Jetson, such as `25W`; `None` on other boards.
pub fn power_mode(root: &Root) -> Option<String> {
    let asked = first(root, &NVPMODEL)
        .and_then(|program| output(Command::new(program).arg("-q"), "nvpmodel -q").ok());
    let name = asked.as_deref().and_then(mode_name).map(str::to_owned);
    name.or_else(|| root.text("/var/lib/nvpmodel/status")).filter(|mode| !mode.is_empty())
}

/// The name in what `nvpmodel -q` prints: `NV Power Mode: 25W`.
fn mode_name(text: &str) -> Option<&str> {
    let mut lines = text.lines();
    lines.find_map(|line| line.trim().strip_prefix("NV Power Mode:")).map(str::trim)
}

/// The version of the board's firmware: a Pi's, a Jetson's release, or a PC's BIOS.
pub fn version(root: &Root) -> Option<String> {
    let raspberry = vcgencmd(root)
        .and_then(|program| output(Command::new(program).arg("version"), "vcgencmd version").ok());
    let raspberry = raspberry.as_deref().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("version ")).map(str::to_owned)
    });
    let line = |path: &str| Some(root.text(path)?.lines().next()?.trim().to_owned());
    raspberry
        .or_else(|| line("/etc/nv_tegra_release"))
        .or_else(|| line("/sys/class/dmi/id/bios_version"))
        .filter(|version| !version.is_empty())
}

/// Trees with programs, for tests.
#[cfg(test)]
pub mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// A tree with a program that runs this script.
    ///
    /// Another process writes it. A file that this one writes could stay open in a program that
    /// another test starts at the same moment, and the system then refuses to run it.
    pub fn with_script(path: &str, script: &str) -> (TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let (draft, file) = (folder.path().join("draft"), root.path(path));
        fs::write(&draft, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mut install = Command::new("install");
        assert!(install.args(["-D", "-m", "755"]).arg(draft).arg(file).status().unwrap().success());
        (folder, root)
    }

    #[test]
    fn power_modes_have_names_or_numbers() {
        let (_folder, root) =
            with_script(NVPMODEL[0], "echo 'NV Fan Mode:quiet'; echo 'NV Power Mode: 25W'; echo 1");
        assert_eq!(power_mode(&root).as_deref(), Some("25W"));
        let (_folder, root) = with_script(NVPMODEL[0], "echo denied >&2; exit 1");
        assert_eq!(power_mode(&root), None);
        fs::create_dir_all(root.path("/var/lib/nvpmodel")).unwrap();
        fs::write(root.path("/var/lib/nvpmodel/status"), "pmode:0002 fmode:quiet\n").unwrap();
        assert_eq!(power_mode(&root).as_deref(), Some("pmode:0002 fmode:quiet"));
    }

    #[test]
    fn firmware_is_what_the_board_calls_its_version() {
        let script = "echo '2025/05/08 15:13:17'; echo 'version 69471177 (release) (embedded)'";
        let (_folder, root) = with_script(VCGENCMD[0], script);
        assert_eq!(version(&root).as_deref(), Some("69471177 (release) (embedded)"));
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        assert_eq!(version(&root), None);
        fs::create_dir_all(root.path("/etc")).unwrap();
        fs::write(root.path("/etc/nv_tegra_release"), "# R36 (release), REVISION: 4.7\n").unwrap();
        assert_eq!(version(&root).as_deref(), Some("# R36 (release), REVISION: 4.7"));
    }
}
