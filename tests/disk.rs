//! A disk that fills up: one clear error, nothing half-made, nothing lost.

use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::disk::Disk;
use kinglet_tests::models::small_source;
use kinglet_tests::skip::skip;
use std::fs;

#[test]
fn a_full_disk_ends_a_conversion_and_keeps_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let (home, place) = (folder.path().join("home"), folder.path().join("disk"));
    fs::create_dir(&place).unwrap();
    let Some(_disk) = Disk::mount(&place, 1 << 20) else {
        let test = "a_full_disk_ends_a_conversion_and_keeps_what_was_there";
        skip(test, "mounting a file system needs root");
        return;
    };
    let output = place.join("model.kinglet");
    let convert = |kind: &str| {
        let mut command = kinglet(&home);
        command.arg("convert").arg(small_source("gqa3-head64")).arg("-o").arg(&output);
        Said::by(command.args(["--type", kind]))
    };
    // Too small for two files at once, so that the second conversion fills it.
    convert("bf16").ok();
    let before = fs::read(&output).unwrap();
    assert!(before.len() > 1 << 19, "two files of {} bytes fit", before.len());
    // What a calibration has finished stays for the next one, and the command says where.
    for (kind, left) in [("bf16", vec![]), ("q4", vec![".model.kinglet.calibration"])] {
        let said = convert(kind);
        assert!(left.iter().all(|name| said.err.contains(name)), "{}", said.err);
        said.fails(1, 104);
        assert_eq!(fs::read(&output).unwrap(), before);
        let names = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name());
        let others: Vec<_> = names.filter(|name| name != "model.kinglet").collect();
        assert_eq!(others, left, "{kind}");
    }
}
