//! Lists what the tests have skipped. Cargo starts test programs by their names: this is the last.

use kinglet_tests::skip::notes;
use std::collections::BTreeSet;
use std::fs;

fn main() {
    let lines = fs::read_to_string(notes()).unwrap_or_default();
    let _ = fs::remove_file(notes());
    let lines: BTreeSet<&str> = lines.lines().collect();
    println!("\n{} skipped{}", lines.len(), if lines.is_empty() { "" } else { ":" });
    for line in lines {
        println!("{line}");
    }
}
