//! The service of systemd that packages bring is one that systemd takes, and closed to the rest of
//! the system.

use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models::{SMALL, converted_path, small};
use kinglet_tests::skip::skip;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Systemd's measure of what a service could do if it were taken over, from 0 to 100.
const MOST_EXPOSED: &str = "15";

#[test]
fn systemd_takes_the_service_and_its_limit_of_memory() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        skip("systemd_takes_the_service_and_its_limit_of_memory", "systemd-analyze is missing");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let unit =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards/release/system/kinglet@.service");
    let unit = fs::read_to_string(unit).unwrap();
    let program = kinglet(folder.path()).get_program().to_str().unwrap().to_owned();
    let here = folder.path().join("kinglet@test.service");
    fs::write(&here, unit.replace("/usr/bin/kinglet", &program)).unwrap();

    small(SMALL[0], kinglet::Type::Q8);
    let model = converted_path(SMALL[0], kinglet::Type::Q8);
    let plan = |flag: &str| {
        let mut plan = kinglet(folder.path());
        Said::by(plan.arg("plan").arg(&model).args(["--ctx", "64", flag])).ok()
    };
    let limit = plan("--systemd");
    let document: serde_json::Value = serde_json::from_str(&plan("--json")).unwrap();
    let bytes = limit.strip_prefix("[Service]\nMemoryMax=").unwrap().trim();
    let planned = document["process_bytes"].as_u64().unwrap();
    // The program's own heap is part of the sum, and is not the same in every run.
    assert!(bytes.parse::<u64>().unwrap().abs_diff(planned) < 1 << 18, "{bytes} {planned}");
    let drop_in = folder.path().join("kinglet@test.service.d");
    fs::create_dir(&drop_in).unwrap();
    fs::write(drop_in.join("memory.conf"), limit).unwrap();

    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        let said = Said::by(command.args(arguments).arg(&here));
        assert!(said.code == Some(0) && said.err.is_empty(), "{said:?}");
    };
    analyze(&["verify", "--man=no"]);
    analyze(&["security", "--offline=yes", "--no-pager", "--threshold", MOST_EXPOSED]);
}
