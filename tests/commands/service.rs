//! The services of systemd that packages bring are ones that systemd takes, and closed to the rest
//! of the system.

use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models::{SMALL, converted_path, small};
use kinglet_tests::skip::skip;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Systemd's measure of what a service could do if it were taken over, from 0 to 100.
const MOST_EXPOSED: &str = "15";

/// Copies a unit of the packages that runs the command which the tests have built, as `name`.
fn copy(unit: &str, folder: &Path, name: &str) -> PathBuf {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards/release/system");
    let text = fs::read_to_string(units.join(unit)).unwrap();
    let program = kinglet(folder).get_program().to_str().unwrap().to_owned();
    let place = folder.join(name);
    fs::write(&place, text.replace("/usr/bin/kinglet", &program)).unwrap();
    place
}

fn analyze(arguments: &[&str], unit: &Path) {
    let mut command = Command::new("systemd-analyze");
    let said = Said::by(command.args(arguments).arg(unit));
    assert!(said.code == Some(0) && said.err.is_empty(), "{said:?}");
}

fn assert_closed(service: &Path) {
    let offline = ["security", "--offline=yes", "--no-pager", "--threshold", MOST_EXPOSED];
    analyze(&offline, service);
}

/// Skips a test where systemd's own judge of units is missing.
fn has_analyze(test: &str) -> bool {
    let has = Command::new("systemd-analyze").arg("--version").output().is_ok();
    if !has {
        skip(test, "systemd-analyze is missing");
    }
    has
}

#[test]
fn systemd_takes_the_server_and_its_socket() {
    if !has_analyze("systemd_takes_the_server_and_its_socket") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = copy("kinglet-serve.socket", folder.path(), "kinglet-serve.socket");
    let service = copy("kinglet-serve.service", folder.path(), "kinglet-serve.service");
    analyze(&["verify", "--man=no"], &socket);
    analyze(&["verify", "--man=no"], &service);
    assert_closed(&service);
}

#[test]
fn systemd_takes_the_service_and_its_limit_of_memory() {
    if !has_analyze("systemd_takes_the_service_and_its_limit_of_memory") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = copy("kinglet@.service", folder.path(), "kinglet@test.service");

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

    analyze(&["verify", "--man=no"], &here);
    assert_closed(&here);
}
