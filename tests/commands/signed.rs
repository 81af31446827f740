//! Signed models: `kinglet sign`, and `--require-key` wherever a model is opened.

use crate::serve::{CHAT, chat};
use kinglet::{Model, Signature, Trust, Type};
use kinglet_quant::signature;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::keys::{self, KEY_ID, OTHER_PUBLIC, PUBLIC};
use kinglet_tests::models::{converted_path, small, small_source};
use kinglet_tests::server::Server;
use kinglet_tests::skip::skip;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const MODEL: &str = "gqa3-head64";
/// A folder of its own for each test, with keys and a model that is not signed.
pub struct Place(pub TempDir);

impl Place {
    pub fn new() -> Self {
        drop(small(MODEL, Type::Q4));
        let place = Self(TempDir::new().unwrap());
        for (name, key) in [
            ("key.pub", "fleet.pub"),
            ("key.secret", "fleet.key"),
            ("other.secret", "other.key"),
            ("protected.secret", "protected.key"),
        ] {
            fs::copy(keys::path(key), place.path(name)).unwrap();
        }
        fs::copy(converted_path(MODEL, Type::Q4), place.path("m.kinglet")).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = kinglet(&self.path("home"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    pub fn say(&self, args: &[&str]) -> Said {
        Said::by(&mut self.command(args))
    }

    /// Signs a file in its place.
    pub fn sign(&self, file: &str, id: &str, version: u64) -> Said {
        let version = version.to_string();
        let key = ["--key", "key.secret", "--id", id, "--model-version", &version];
        self.say(&[&["sign", file][..], &key].concat())
    }

    /// Opens a file as somebody does who requires something.
    fn open(&self, file: &str, required: &[&str]) -> Said {
        self.say(&[&["tokenize", file, "-p", "one"], required].concat())
    }

    pub fn alter(&self, file: &str, at: usize) {
        let mut bytes = self.read(file);
        bytes[at] ^= 1;
        self.write(file, bytes);
    }
}

/// Every command that opens a model.
const OPENING: [&[&str]; 9] = [
    &["inspect", "m.kinglet"],
    &["run", "m.kinglet", "-p", "one", "-n", "2"],
    &["chat", "m.kinglet", "-n", "2"],
    &["tokenize", "m.kinglet", "-p", "one"],
    &["embed", "m.kinglet", "-p", "one"],
    &["eval", "m.kinglet", "--text", "text", "--ctx", "16"],
    &["plan", "m.kinglet"],
    &["bench", "m.kinglet", "-p", "4", "-n", "2", "-r", "1"],
    &["doctor", "m.kinglet"],
];

#[test]
fn every_command_takes_only_what_is_signed() {
    let place = Place::new();
    place.write("text", "one two three ".repeat(40));
    let require = |more: &[&str], number: Option<u32>| {
        for command in OPENING.iter().chain(&[&["serve", "m.kinglet"][..]]) {
            // A server that starts is another test's.
            if number.is_none() && command[0] == "serve" {
                continue;
            }
            let said = place.say(&[*command, &["--require-key", "key.pub"], more].concat());
            match number {
                None => drop(said.ok()),
                Some(number) => said.fails(1, number),
            }
        }
    };
    require(&[], Some(206));
    place.sign("m.kinglet", "bird", 7).ok();
    require(&["--require-model", "bird", "--require-version", "7"], None);
    require(&["--require-model", "bird", "--require-version", "8"], Some(208));
    require(&["--require-model", "bat"], Some(208));
    place
        .say(&[
            "sign",
            "m.kinglet",
            "--key",
            "other.secret",
            "--id",
            "bird",
            "--model-version",
            "8",
        ])
        .ok();
    require(&[], Some(207));
    place.open("m.kinglet", &["--require-key", OTHER_PUBLIC]).ok();
}

#[test]
fn a_reference_needs_the_same_key_of_any_model() {
    let place = Place::new();
    place.write("text", "one two three ".repeat(40));
    fs::copy(place.path("m.kinglet"), place.path("n.kinglet")).unwrap();
    place.sign("m.kinglet", "bird", 7).ok();
    let compare = || {
        let eval = ["eval", "m.kinglet", "--reference", "n.kinglet", "--text", "text"];
        let required = ["--ctx", "16", "--require-key", "key.pub", "--require-model", "bird"];
        place.say(&[&eval[..], &required[..]].concat())
    };
    compare().fails(1, 206);
    place.sign("n.kinglet", "bat", 1).ok();
    compare().ok();
}

#[test]
fn signing_changes_160_bytes() {
    let place = Place::new();
    let before = place.read("m.kinglet");
    let said = place.sign("m.kinglet", "bird", 3).ok();
    assert_eq!(said, format!("m.kinglet: bird, version 3, signed with key {KEY_ID}\n"));
    let after = place.read("m.kinglet");
    let end = signature::OFFSET + size_of::<Signature>();
    assert_eq!(before[..signature::OFFSET], after[..signature::OFFSET]);
    assert_eq!(before[end..], after[end..]);
    // The same again gives the same, and another place gets a copy.
    place.sign("m.kinglet", "bird", 3).ok();
    assert!(place.read("m.kinglet") == after);
    let args = ["sign", "m.kinglet", "--key", "key.secret", "--id", "bird", "--model-version", "4"];
    let document = place.say(&[&args[..], &["-o", "out.kinglet", "--json"]].concat()).json();
    let wanted = json!({"file": "out.kinglet", "model_id": "bird", "version": 4, "key_id": KEY_ID});
    assert_eq!(document, wanted);
    assert!(place.read("m.kinglet") == after);
    // The library says the same.
    let path = place.path("out.kinglet");
    let trust = Trust { least_version: 4, model_id: Some("bird"), ..Trust::new(keys::public()) };
    let model = Model::open_signed(&path, &trust).unwrap();
    assert_eq!(model.file().signature().unwrap().version(), 4);
    let error = Model::open_signed(&path, &Trust { least_version: 5, ..trust }).unwrap_err();
    assert_eq!(error.code() as i32, 208);
    assert!(error.message().starts_with(path.to_str().unwrap()), "{error}");
}

#[test]
fn versions_only_grow() {
    let place = Place::new();
    place.sign("m.kinglet", "bird", 5).ok();
    place.sign("m.kinglet", "bird", 4).fails(2, 404);
    // Another model counts for itself.
    place.sign("m.kinglet", "bat", 1).ok();
    place.sign("m.kinglet", "bird", 6).ok();
    // Other content cannot be the same version.
    let other = small_source(MODEL);
    let convert = ["convert", other.to_str().unwrap(), "--type", "q8", "-o", "n.kinglet", "-q"];
    place.say(&convert).ok();
    let onto = |version: &str| {
        let args = ["sign", "n.kinglet", "-o", "m.kinglet", "--key", "key.secret", "--id", "bird"];
        place.say(&[&args[..], &["--model-version", version]].concat())
    };
    onto("6").fails(2, 404);
    onto("7").ok();
    place.open("m.kinglet", &["--require-key", "key.pub", "--require-version", "7"]).ok();
    // What is converted anew is not signed.
    place.say(&[&convert[..5], &["m.kinglet", "-q"]].concat()).ok();
    place.open("m.kinglet", &["--require-key", "key.pub"]).fails(1, 206);
}

#[test]
fn what_cannot_be_signed_is_refused() {
    let place = Place::new();
    let before = place.read("m.kinglet");
    let sign = |file: &str, key: &str, id: &str, version: &str| {
        place.say(&["sign", file, "--key", key, "--id", id, "--model-version", version])
    };
    sign("m.kinglet", "nothing", "bird", "1").fails(1, 101);
    sign("m.kinglet", "key.pub", "bird", "1").fails(2, 404);
    sign("m.kinglet", "m.kinglet", "bird", "1").fails(2, 404);
    let said = sign("m.kinglet", "protected.secret", "bird", "1");
    said.fails(2, 404);
    assert!(said.err.contains("minisign -C -W"), "{said:?}");
    sign("m.kinglet", "key.secret", "a bird", "1").fails(2, 404);
    sign("key.pub", "key.secret", "bird", "1").fails(1, 201);
    sign("nothing.kinglet", "key.secret", "bird", "1").fails(1, 101);
    assert_eq!(sign("m.kinglet", "key.secret", "bird", "0").code, Some(2));
    // A file that is not whole, in its last section.
    place.alter("m.kinglet", before.len() - 1);
    sign("m.kinglet", "key.secret", "bird", "1").fails(1, 204);
    place.alter("m.kinglet", before.len() - 1);
    assert!(place.read("m.kinglet") == before);
    place
        .say(&[
            "sign",
            "m.kinglet",
            "--key",
            "key.secret",
            "--id",
            "b",
            "--model-version",
            "1",
            "-o",
            "no/folder.kinglet",
        ])
        .fails(1, 103);
}

#[test]
fn what_is_required_comes_from_flags_or_the_environment() {
    let place = Place::new();
    place.sign("m.kinglet", "bird", 7).ok();
    let line = PUBLIC.lines().nth(1).unwrap();
    for key in ["key.pub", line, place.path("key.pub").to_str().unwrap()] {
        place.open("m.kinglet", &["--require-key", key]).ok();
    }
    for key in ["nothing.pub", "key.secret", "RWQ", ""] {
        place.open("m.kinglet", &["--require-key", key]).fails(2, 404);
    }
    // Alone they would require nothing.
    for flag in [&["--require-version", "1"][..], &["--require-model", "x"]] {
        assert_eq!(place.open("m.kinglet", flag).code, Some(2));
    }
    let with = |variables: &[(&str, &str)]| {
        let mut command = place.command(&["tokenize", "m.kinglet", "-p", "one"]);
        let variables = variables.iter().map(|(name, value)| (format!("KINGLET_{name}"), value));
        Said::by(command.envs(variables))
    };
    with(&[("REQUIRE_KEY", "key.pub"), ("REQUIRE_VERSION", "7")]).ok();
    with(&[("REQUIRE_KEY", "key.pub"), ("REQUIRE_VERSION", "8")]).fails(1, 208);
    with(&[("REQUIRE_KEY", line), ("REQUIRE_MODEL", "bat")]).fails(1, 208);
    with(&[("REQUIRE_KEY", OTHER_PUBLIC)]).fails(1, 207);
    // What is converted on the way has no signature.
    let source = small_source(MODEL);
    place.open(source.to_str().unwrap(), &["--require-key", "key.pub"]).fails(2, 404);
    place.open("smollm2-135m", &["--require-key", "key.pub"]).fails(2, 404);
    place.open("no-such-model", &["--require-key", "key.pub"]).fails(1, 101);
}

#[test]
fn weights_are_checked_unless_told_otherwise() {
    let place = Place::new();
    place.sign("m.kinglet", "bird", 1).ok();
    let bytes = place.read("m.kinglet");
    let key = ["--require-key", "key.pub"];
    let lax = ["--require-key", "key.pub", "--skip-weights-check"];
    place.alter("m.kinglet", bytes.len() - 1);
    place.open("m.kinglet", &key).fails(1, 204);
    place.open("m.kinglet", &lax).ok();
    place.alter("m.kinglet", bytes.len() - 1);
    // The tokenizer is checked in any case, and before it is read.
    let model = Model::open(place.path("m.kinglet")).unwrap();
    let vocab = model.file().sections()[2].offset as usize;
    drop(model);
    place.alter("m.kinglet", vocab + 200);
    place.open("m.kinglet", &key).fails(1, 204);
    place.open("m.kinglet", &lax).fails(1, 204);
    place.alter("m.kinglet", vocab + 200);
    place.alter("m.kinglet", 70);
    place.open("m.kinglet", &key).fails(1, 207);
}

#[test]
fn inspect_tells_who_has_signed_what() {
    let place = Place::new();
    let line = |args: &[&str]| {
        let text = place.say(&[&["inspect", "m.kinglet"], args].concat()).ok();
        let line = text.lines().find_map(|line| line.strip_prefix("signature "));
        line.unwrap().trim().to_owned()
    };
    assert_eq!(line(&[]), "none");
    let document = |args: &[&str]| {
        let args = [&["inspect", "m.kinglet", "--json"], args].concat();
        place.say(&args).json()
    };
    assert_eq!(document(&[])["signature"], json!(null));
    place.sign("m.kinglet", "bird", 7).ok();
    let said = format!("bird, version 7, by key {KEY_ID}");
    assert_eq!(line(&[]), format!("{said}: not checked, which needs --require-key"));
    assert_eq!(line(&["--require-key", "key.pub"]), format!("{said}: right"));
    for (args, is_checked, is_verified) in [
        (&[][..], false, false),
        (&["--require-key", "key.pub"], true, true),
        (&["--require-key", "key.pub", "--skip-weights-check"], true, false),
    ] {
        let wanted = json!({
            "model_id": "bird", "version": 7, "key_id": KEY_ID, "checked": is_checked,
        });
        let document = document(args);
        assert_eq!((&document["signature"], &document["verified"]), (&wanted, &json!(is_verified)));
    }
}

#[test]
fn a_server_takes_only_what_is_signed() {
    let place = Place::new();
    place.sign("m.kinglet", "bird", 7).ok();
    let required = ["--require-key", OTHER_PUBLIC];
    place
        .say(&[&["serve", "m.kinglet", "--listen", "127.0.0.1:0"], &required[..]].concat())
        .fails(1, 207);
    let path = place.path("key.pub");
    let required = ["--require-key", path.to_str().unwrap(), "--require-version", "7"];
    let args = [&["--threads", "1", "-q"], &required[..]].concat();
    let server = Server::start(&place.path("m.kinglet"), &args);
    assert_eq!(server.post(CHAT, &chat("one two", 8, 1)).status, 200);
}

/// Runs the real minisign in a folder, with a line for each time that it asks for a password.
fn minisign(folder: &Path, args: &[&str], passwords: &str) -> Said {
    let mut command = Command::new("sh");
    let script = "printf \"$0\" | minisign \"$@\"";
    Said::by(command.args(["-c", script, passwords]).args(args).current_dir(folder))
}

#[test]
fn keys_and_signatures_are_those_of_minisign() {
    let test = "keys_and_signatures_are_those_of_minisign";
    if Command::new("minisign").arg("-v").output().is_err() {
        return skip(test, "Debian's package minisign is not installed");
    }
    let place = Place::new();
    let folder = place.0.path();
    minisign(folder, &["-G", "-W", "-p", "a.pub", "-s", "a.key"], "").ok();
    let args = ["sign", "m.kinglet", "--key", "a.key", "--id", "bird", "--model-version", "9"];
    place.say(&args).ok();
    place.open("m.kinglet", &["--require-key", "a.pub"]).ok();
    // What minisign signs without hashing it first is the same to the bit.
    let file = place.read("m.kinglet");
    let signature = Signature::of(&file).unwrap();
    place.write("message", signature.signed(&file).unwrap().concat());
    minisign(folder, &["-S", "-l", "-s", "a.key", "-m", "message"], "").ok();
    let written = String::from_utf8(place.read("message.minisig")).unwrap();
    let proof = kinglet_quant::key::decode::<74>(written.lines().nth(1).unwrap()).unwrap();
    let place_of_proof = signature::OFFSET + size_of::<Signature>() - 64;
    assert_eq!(proof[10..], file[place_of_proof..][..64]);
    // Keys with a password need the advice that the refusal gives.
    minisign(folder, &["-G", "-p", "b.pub", "-s", "b.key"], "word\\nword\\n").ok();
    let args = ["sign", "m.kinglet", "--key", "b.key", "--id", "bird", "--model-version", "9"];
    place.say(&args).fails(2, 404);
    assert!(place.say(&args).err.contains("minisign -C -W"));
    minisign(folder, &["-C", "-W", "-s", "b.key"], "word\\n").ok();
    place.say(&args).ok();
    place.open("m.kinglet", &["--require-key", "b.pub"]).ok();
}
