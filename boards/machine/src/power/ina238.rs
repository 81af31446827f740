//! The sensor at the input of a Jetson Thor (INA238).

use super::hwmon::Hwmon;
use crate::Root;
use kinglet_quant::{Code, Result};

const NAME: &str = "ina238";

/// The sensor; `NotFound` where there is none.
pub fn open(root: &Root) -> Result<Hwmon> {
    Ok(Hwmon::open(root, NAME)?.known_as(NAME, "input of the board (VIN)"))
}

/// The same; `None` where there is none.
pub fn find(root: &Root) -> Option<Result<Hwmon>> {
    match open(root) {
        Err(error) if error.code() == Code::NotFound => None,
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power::Source;
    use std::fs;

    #[test]
    fn it_measures_the_input_of_the_board() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        assert!(find(&root).is_none());
        let chip = root.path("/sys/class/hwmon/hwmon5");
        fs::create_dir_all(&chip).unwrap();
        fs::write(chip.join("name"), "ina238\n").unwrap();
        fs::write(chip.join("power1_input"), "41500000\n").unwrap();
        let mut found = find(&root).unwrap().unwrap();
        assert_eq!((found.read().unwrap(), found.name()), (41.5, "ina238"));
        assert!(found.boundary().contains("board"));
    }
}
