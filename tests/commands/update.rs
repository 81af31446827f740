//! `boards/deploy/update`: the model of a board changes at once and only to what is signed,
//! whenever the power goes.

use crate::signed::Place;
use kinglet_tests::command::Said;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Programs that change what is on the disk.
const CHANGING: [&str; 4] = ["cp", "sync", "mv", "ln"];
/// How often the script calls them to install a file, and to confirm one.
const INSTALL_CALLS: u32 = 7;
const CONFIRM_CALLS: u32 = 3;
/// Stands for one of them: kills the script at a certain call, when half of a copy is there.
const POWER_CUT: &str = "#!/bin/sh
calls=$(cat \"$CALLS\" 2>/dev/null || echo 0)
echo $((calls + 1)) >\"$CALLS\"
name=${0##*/}
PATH=${PATH#*:}
if [ \"$calls\" = \"$CUT\" ]; then
    [ \"$name\" != cp ] || head -c 100000 \"$2\" >\"$3\"
    kill -9 $PPID
    exit 1
fi
exec \"$name\" \"$@\"
";

/// A board, and files that come to it: versions 1 to 3 of its model.
struct Board(Place);

impl Board {
    fn new() -> Self {
        let place = Place::new();
        let board = place.path("board");
        fs::create_dir(&board).unwrap();
        let key = place.path("key.pub");
        let trust = format!("KINGLET_REQUIRE_KEY={}\nKINGLET_REQUIRE_MODEL=bird\n", key.display());
        fs::write(board.join("trust.env"), trust).unwrap();
        for version in 1..=3 {
            let name = format!("v{version}.kinglet");
            fs::copy(place.path("m.kinglet"), place.path(&name)).unwrap();
            place.sign(&name, "bird", version).ok();
        }
        let board = Self(place);
        board.programs();
        board
    }

    /// Puts the command, and what stands for other programs, where the script finds them first.
    fn programs(&self) {
        let folder = self.0.path("programs");
        fs::create_dir(&folder).unwrap();
        let kinglet = self.0.command(&[]);
        let kinglet = kinglet.get_program().to_str().unwrap();
        let write = |name: &str, script: &str| {
            let path = folder.join(name);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        write("kinglet", &format!("#!/bin/sh\nexec {kinglet} \"$@\"\n"));
        CHANGING.iter().for_each(|name| write(name, POWER_CUT));
    }

    fn update(&self, what: &[&str], cut: Option<u32>) -> Said {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards/deploy/update");
        let calls = self.0.path("calls");
        let _ = fs::remove_file(&calls);
        // Only for its environment.
        let kinglet = self.0.command(&[]);
        let mut command = Command::new(script);
        for (name, value) in kinglet.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", self.0.path("programs").display());
        let cut = cut.map_or("never".to_owned(), |cut| cut.to_string());
        command.env("PATH", path).env("CALLS", calls).env("CUT", cut);
        Said::by(command.arg("board").args(what).current_dir(self.0.0.path()))
    }

    fn calls(&self) -> u32 {
        fs::read_to_string(self.0.path("calls")).unwrap().trim().parse().unwrap()
    }

    /// The version that a program on the board opens, which requires what the files say.
    fn version(&self) -> u64 {
        let mut command = self.0.command(&["inspect", "board/current", "--json"]);
        command.envs(self.required());
        let document = Said::by(&mut command).json();
        assert_eq!(document["signature"]["checked"], true);
        document["signature"]["version"].as_u64().unwrap()
    }

    /// The environment of a program on the board.
    fn required(&self) -> Vec<(String, String)> {
        let files = ["board/trust.env", "board/version.env"];
        let lines = files.map(|name| fs::read_to_string(self.0.path(name)).unwrap_or_default());
        let lines = lines.concat();
        let pairs = lines.lines().map(|line| line.split_once('=').unwrap());
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn least_version(&self) -> Option<String> {
        let required = self.required().into_iter();
        required.filter(|(name, _)| name == "KINGLET_REQUIRE_VERSION").map(|(_, n)| n).next()
    }

    fn partial_files(&self) -> usize {
        let names = fs::read_dir(self.0.path("board")).unwrap();
        names
            .filter(|name| {
                name.as_ref().unwrap().path().extension().is_some_and(|e| e == "partial")
            })
            .count()
    }
}

#[test]
fn boards_change_to_newer_versions_and_back() {
    let board = Board::new();
    let install = |file: &str| board.update(&["install", file], None);
    install("v1.kinglet").ok();
    assert_eq!((board.version(), board.calls()), (1, INSTALL_CALLS));
    board.update(&["confirm"], None).ok();
    assert_eq!(board.calls(), CONFIRM_CALLS);
    install("v2.kinglet").ok();
    assert_eq!((board.version(), board.least_version().unwrap()), (2, "1".to_owned()));
    // Not confirmed yet: the board may go back, and forth.
    board.update(&["back"], None).ok();
    assert_eq!(board.version(), 1);
    board.update(&["back"], None).ok();
    assert_eq!(board.version(), 2);
    board.update(&["confirm"], None).ok();
    assert_eq!(board.update(&["back"], None).code, Some(1));
    assert_eq!(board.version(), 2);
    // An older one, the same one, another model, another key, and half a file.
    board.0.sign("m.kinglet", "bat", 9).ok();
    fs::copy(board.0.path("v3.kinglet"), board.0.path("forged.kinglet")).unwrap();
    let sign = ["sign", "forged.kinglet", "--key", "other.secret", "--id", "bird"];
    board.0.say(&[&sign[..], &["--model-version", "9"]].concat()).ok();
    board.0.write("half.kinglet", &board.0.read("v3.kinglet")[..200_000]);
    for (file, number) in [
        ("v1.kinglet", 208),
        ("v2.kinglet", 208),
        ("m.kinglet", 208),
        ("forged.kinglet", 207),
        ("half.kinglet", 203),
    ] {
        let said = install(file);
        assert_eq!(said.code, Some(1), "{file}: {said:?}");
        assert!(said.err.ends_with(&format!("(error {number})\n")), "{file}: {said:?}");
        assert_eq!((board.version(), board.partial_files()), (2, 0), "{file}");
    }
    install("v3.kinglet").ok();
    assert_eq!(board.version(), 3);
}

#[test]
fn a_board_always_has_a_whole_model() {
    for cut in 0..INSTALL_CALLS {
        let board = Board::new();
        board.update(&["install", "v1.kinglet"], None).ok();
        board.update(&["confirm"], None).ok();
        let said = board.update(&["install", "v2.kinglet"], Some(cut));
        assert_eq!((said.code, board.calls()), (None, cut + 1), "{said:?}");
        // The last call only brings the link to the disk.
        let is_done = cut == INSTALL_CALLS - 1;
        assert_eq!(board.version(), if is_done { 2 } else { 1 }, "cut {cut}");
        // Copying, and making the link, are what can be left half done.
        let is_left = [0, 1, 2, 5].contains(&cut);
        assert_eq!(board.partial_files() == 1, is_left, "cut {cut}");
        // What was left behind does not hinder the next update.
        board.update(&["install", if is_done { "v3.kinglet" } else { "v2.kinglet" }], None).ok();
        assert_eq!(board.version(), if is_done { 3 } else { 2 }, "cut {cut}");
        assert_eq!(board.partial_files(), 0, "cut {cut}");
    }
}

#[test]
fn what_is_accepted_never_shrinks_or_gets_ahead() {
    for cut in 0..CONFIRM_CALLS {
        let board = Board::new();
        board.update(&["install", "v1.kinglet"], None).ok();
        board.update(&["confirm"], None).ok();
        board.update(&["install", "v2.kinglet"], None).ok();
        assert_eq!(board.update(&["confirm"], Some(cut)).code, None);
        let wanted = if cut == CONFIRM_CALLS - 1 { "2" } else { "1" };
        assert_eq!(board.least_version().unwrap(), wanted, "cut {cut}");
        assert_eq!(board.version(), 2);
        board.update(&["confirm"], None).ok();
        assert_eq!(board.least_version().unwrap(), "2", "cut {cut}");
    }
}
