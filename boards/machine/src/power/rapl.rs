//! The energy counters of x86 processors (RAPL), which Intel and AMD have alike.

use super::source::{Quantity, Source, number};
use crate::Root;
use kinglet_quant::{Code, Error, Result, ensure, fail};
use std::path::PathBuf;

const FOLDER: &str = "/sys/class/powercap";

/// What gives the right to read counters. Whoever reads them can guess at what other processes
/// compute, so a group gets it and not everybody.
pub const RIGHT: &str = "join the group adm and put this line into \
                         /etc/udev/rules.d/60-kinglet.rules: SUBSYSTEM==\"powercap\", RUN+=\"\
                         /bin/sh -c 'cd /sys%p; chgrp adm energy_uj; chmod g+r energy_uj'\"";

/// The counter of one package, in microjoules.
struct Package {
    file: PathBuf,
    /// Where it starts again from 0.
    range: f64,
    last: f64,
}

/// The counters of all packages.
pub struct Rapl {
    packages: Vec<Package>,
    boundary: String,
    joules: f64,
}

impl Rapl {
    /// The counters of this tree; `None` where there are none.
    ///
    /// Domains inside a package are part of its energy, and `psys` covers more than packages.
    pub fn find(root: &Root) -> Option<Result<Self>> {
        let is_package = |folder: &String| {
            let number = folder.strip_prefix("intel-rapl:")?;
            let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
            let name = root.text(&format!("{FOLDER}/{folder}/name"))?;
            (is_number && name.starts_with("package")).then_some(())
        };
        let mut folders = root.names(FOLDER);
        folders.retain(|folder| is_package(folder).is_some());
        (!folders.is_empty()).then(|| Self::open(root, &folders))
    }

    fn open(root: &Root, folders: &[String]) -> Result<Self> {
        let package = |folder: &String| {
            let file = root.path(&format!("{FOLDER}/{folder}/energy_uj"));
            let range_file = root.path(&format!("{FOLDER}/{folder}/max_energy_range_uj"));
            let (last, range) = (number(&file, RIGHT)?, number(&range_file, RIGHT)?);
            ensure!(
                range > 0.0,
                Code::Unreadable,
                "{} says that the counter has no range",
                range_file.display()
            );
            Ok(Package { file, range, last })
        };
        let packages = folders.iter().map(package).collect::<Result<Vec<_>>>()?;
        let boundary = match packages.len() {
            1 => "processor package, without memory and board".into(),
            n => format!("{n} processor packages, without memory and board"),
        };
        Ok(Self { packages, boundary, joules: 0.0 })
    }
}

impl Source for Rapl {
    fn name(&self) -> &str {
        "rapl"
    }

    fn boundary(&self) -> &str {
        &self.boundary
    }

    fn quantity(&self) -> Quantity {
        Quantity::Energy
    }

    fn rate_hz(&self) -> f64 {
        50.0
    }

    /// Joules since the source was opened.
    fn read(&mut self) -> Result<f64> {
        for package in &mut self.packages {
            let now = number(&package.file, RIGHT)?;
            let difference = match now - package.last {
                difference if difference < 0.0 => difference + package.range,
                difference => difference,
            };
            if difference < 0.0 {
                fail!(
                    Code::Unreadable,
                    "{} fell by more than its range: the counter was set anew",
                    package.file.display()
                );
            }
            package.last = now;
            self.joules += difference / 1e6;
        }
        Ok(self.joules)
    }
}

/// That a machine has no counters.
pub fn missing() -> Error {
    Error::new(
        Code::NotFound,
        format_args!(
            "there is no energy counter of the processor (RAPL) in {FOLDER}: it needs an x86 \
             processor and the module intel_rapl_msr, and virtual machines have none"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn domain(root: &Root, folder: &str, name: &str, microjoules: u64) {
        let folder = root.path(&format!("{FOLDER}/{folder}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("name"), format!("{name}\n")).unwrap();
        fs::write(folder.join("energy_uj"), format!("{microjoules}\n")).unwrap();
        fs::write(folder.join("max_energy_range_uj"), "1000000000\n").unwrap();
    }

    #[test]
    fn packages_are_summed_and_wrap_each_on_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        assert!(Rapl::find(&root).is_none());
        let write = |first: u64, second: u64| {
            domain(&root, "intel-rapl:0", "package-0", first);
            domain(&root, "intel-rapl:1", "package-1", second);
        };
        write(999_000_000, 5_000_000);
        // Parts of package 0, the whole platform, and package 0 by another way.
        domain(&root, "intel-rapl:0:0", "core", 1);
        domain(&root, "intel-rapl:2", "psys", 1);
        domain(&root, "intel-rapl-mmio:0", "package-0", 1);
        let mut rapl = Rapl::find(&root).unwrap().unwrap();
        assert_eq!((rapl.quantity(), rapl.read().unwrap()), (Quantity::Energy, 0.0));
        write(999_500_000, 6_000_000);
        assert_eq!(rapl.read().unwrap(), 1.5);
        write(1_500_000, 6_000_000);
        assert_eq!(rapl.read().unwrap(), 3.5);
        assert!(rapl.boundary().starts_with("2 processor packages"));
        fs::remove_file(root.path("/sys/class/powercap/intel-rapl:1/energy_uj")).unwrap();
        assert_eq!(rapl.read().unwrap_err().code(), Code::NotFound);
    }
}
