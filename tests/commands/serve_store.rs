//! `kinglet serve --prefix-store`: what is kept is used, and nothing that a folder holds, lacks or
//! loses makes a request fail.

use crate::serve::{COMPLETIONS, model};
use kinglet::SessionOptions;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::disk::Disk;
use kinglet_tests::models;
use kinglet_tests::server::Server;
use kinglet_tests::skip::skip;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use tempfile::TempDir;

fn server(folder: &Path, args: &[&str]) -> Server {
    let store = ["--prefix-store", folder.to_str().unwrap(), "--threads", "1"];
    let args = [&["--listen", "127.0.0.1:0", "-q"], &store[..], args].concat();
    Server::start_as(&model(), &args, |_| ())
}

/// Some tokens that are a beginning, different for each number.
fn beginning(number: u32, length: u32) -> Vec<u32> {
    (0..length).map(|place| 20 + (place * (7 + 2 * number) + 31 * number) % 600).collect()
}

/// What a prompt gives, with the tokens of it that were known.
fn ask(server: &Server, prompt: &[u32]) -> (Value, u64) {
    let ask = json!({"prompt": prompt, "max_tokens": 12, "seed": 5, "temperature": 1.0,
        "logit_bias": {"2": -100}});
    let document = server.post(COMPLETIONS, &ask).document();
    let reused = &document["usage"]["prompt_tokens_details"]["cached_tokens"];
    (document["choices"][0]["text"].clone(), reused.as_u64().unwrap())
}

/// Asks for a beginning in two ways, so that it is worth a file, and waits until it has one.
fn share(server: &Server, beginning: &[u32]) {
    let kept = server.metric("kinglet_kept_total");
    for last in [40, 41] {
        ask(server, &[beginning, &[last]].concat());
    }
    server.await_metric("kinglet_kept_total", |now| now > kept);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "prefix")).collect()
}

fn only_file(folder: &Path) -> PathBuf {
    let files = files(folder);
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn what_two_requests_had_in_common_outlives_the_server() {
    let folder = TempDir::new().unwrap();
    let beginning = beginning(1, 200);
    let prompt = [&beginning[..], &[50, 51]].concat();
    let plain = Server::start(&model(), &["--threads", "1", "-q"]);
    let (expected, none) = ask(&plain, &prompt);
    assert_eq!(none, 0);
    let first = server(folder.path(), &[]);
    share(&first, &beginning);
    // A prompt that nobody else has begun with is not written.
    ask(&first, &self::beginning(2, 200));
    first.settle();
    assert_eq!(first.metric("kinglet_kept_total"), 1);
    first.kill();
    let second = server(folder.path(), &[]);
    assert_eq!(ask(&second, &prompt), (expected, 200));
    assert_eq!(second.metric("kinglet_restored_tokens_total"), 200);
    let bytes = fs::metadata(only_file(folder.path())).unwrap().len();
    assert_eq!(second.metric("kinglet_store_bytes"), bytes);
    // Beside a reply that is being made, too.
    second.kill();
    let third = server(folder.path(), &["--slots", "2"]);
    let busy = thread::scope(|scope| {
        let third = &third;
        let long = json!({"prompt": [30, 31], "max_tokens": 480, "logit_bias": {"2": -100}});
        let long = scope.spawn(move || third.post(COMPLETIONS, &long).document());
        while third.metric("kinglet_reply_tokens_total") == 0 {
            thread::yield_now();
        }
        assert_eq!(ask(third, &prompt).1, 200);
        long.join().unwrap()
    });
    assert_eq!(busy["usage"]["completion_tokens"], 480);
}

#[test]
fn conversations_go_on_after_a_server_has_ended() {
    let folder = TempDir::new().unwrap();
    let first = server(folder.path(), &[]);
    let prompt = beginning(3, 150);
    ask(&first, &prompt);
    first.terminate();
    assert!(first.wait().success());
    let second = server(folder.path(), &[]);
    let (_, reused) = ask(&second, &[&prompt[..], &[60]].concat());
    assert_eq!(reused, 150);
    // It has grown by too little to be written again.
    second.terminate();
    assert!(second.wait().success());
    only_file(folder.path());
}

/// Texts that begin with each other have one file, and those not used for longest go first.
#[test]
fn the_folder_stays_within_its_limit() {
    let folder = TempDir::new().unwrap();
    let first = server(folder.path(), &[]);
    share(&first, &beginning(4, 100));
    share(&first, &beginning(4, 300));
    let bytes = fs::metadata(only_file(folder.path())).unwrap().len();
    share(&first, &beginning(5, 300));
    first.kill();
    let limit = (2 * bytes + bytes / 2).to_string();
    let second = server(folder.path(), &["--prefix-store-bytes", &limit]);
    // The first one is used again, so that the other one goes.
    let reused =
        |server: &Server, number| ask(server, &[&beginning(number, 300)[..], &[42]].concat()).1;
    assert_eq!(reused(&second, 4), 300);
    second.settle();
    share(&second, &beginning(6, 300));
    assert_eq!(files(folder.path()).len(), 2);
    assert!(second.metric("kinglet_store_bytes") <= 2 * bytes + bytes / 2);
    second.kill();
    let third = server(folder.path(), &["--prefix-store-bytes", &limit]);
    assert_eq!([4, 6, 5].map(|number| reused(&third, number)), [300, 300, 0]);
    third.kill();
    let none = server(folder.path(), &["--prefix-store-bytes", "1000"]);
    assert!(files(folder.path()).is_empty());
    for last in [40, 41] {
        ask(&none, &[&beginning(4, 300)[..], &[last]].concat());
    }
    none.terminate();
    assert!(none.wait().success());
    assert!(files(folder.path()).is_empty());
}

#[test]
fn what_is_torn_or_foreign_is_never_used() {
    let folder = TempDir::new().unwrap();
    let prompt = beginning(7, 200);
    let first = server(folder.path(), &[]);
    share(&first, &prompt);
    first.kill();
    let path = only_file(folder.path());
    let whole = fs::read(&path).unwrap();
    for name in ["notes.txt", "0123.prefix", "keep"] {
        fs::write(folder.path().join(name), "somebody's").unwrap();
    }
    fs::write(folder.path().join("unfinished"), &whole[..900]).unwrap();
    let flipped = |place: usize| {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        bytes
    };
    let plain = Server::start(&model(), &["--threads", "1", "-q"]);
    let prompt = [&prompt[..], &[50]].concat();
    let (expected, _) = ask(&plain, &prompt);
    let altered = [
        Vec::new(),
        vec![0xFF; 3],
        vec![0xFF; whole.len()],
        whole[..500].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..], &[0]].concat(),
        flipped(0),
        flipped(100),
        // The version of the state, its model, and its last value.
        flipped(4 * 201 + 8),
        flipped(4 * 201 + 40),
        flipped(whole.len() - 1),
    ];
    for (number, bytes) in altered.into_iter().enumerate() {
        fs::write(&path, bytes).unwrap();
        let server = server(folder.path(), &[]);
        assert_eq!(ask(&server, &prompt), (expected.clone(), 0), "{number}");
        assert!(!path.exists(), "{number}");
        server.kill();
    }
    assert!(!folder.path().join("unfinished").exists());
    for name in ["notes.txt", "0123.prefix", "keep"] {
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), "somebody's");
    }
    // It is altered while a server runs that knows it.
    fs::write(&path, &whole).unwrap();
    let server = server(folder.path(), &[]);
    fs::write(&path, flipped(whole.len() / 2)).unwrap();
    assert_eq!(ask(&server, &prompt), (expected.clone(), 0));
    assert!(!path.exists());
    server.kill();
    // Others do not use it, and leave it where it is.
    fs::write(&path, &whole).unwrap();
    for args in [["--ctx", "400"], ["--kv", "f16"], ["--tier", "scalar"]] {
        let server = self::server(folder.path(), &args);
        assert_eq!(ask(&server, &prompt).1, 0, "{args:?}");
        server.kill();
        assert!(path.exists(), "{args:?}");
    }
    drop(models::small(models::SMALL[0], kinglet::Type::Q8));
    let other = models::converted_path(models::SMALL[0], kinglet::Type::Q8);
    let store = folder.path().to_str().unwrap();
    let args = ["--listen", "127.0.0.1:0", "-q", "--prefix-store", store, "--tier", "scalar"];
    let server = Server::start_as(&other, &args, |_| ());
    let prompt: Vec<u32> = prompt.iter().map(|token| token % 300).collect();
    assert_eq!(ask(&server, &prompt).1, 0);
    assert!(path.exists());
}

/// Whatever a server was doing when it was killed, the folder holds whole texts.
#[test]
fn a_server_that_is_killed_leaves_whole_files() {
    let folder = TempDir::new().unwrap();
    let mut session = models::small("gqa3-head64", kinglet::Type::Q4)
        .session(&SessionOptions { threads: Some(1), ..SessionOptions::default() })
        .unwrap();
    let unfinished = folder.path().join("unfinished");
    let mut in_writing = 0;
    for round in 0..12 {
        let server = server(folder.path(), &[]);
        for last in [40, 41] {
            ask(&server, &[&beginning(10 + round, 400)[..], &[last]].concat());
        }
        // Now it writes, or has written.
        let is_writing = || (0..1000).any(|_| unfinished.exists());
        while !is_writing() && server.metric("kinglet_kept_total") == 0 {}
        server.kill();
        in_writing += usize::from(unfinished.exists());
        for path in files(folder.path()) {
            let bytes = fs::read(&path).unwrap();
            let count = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
            session.restore(&bytes[4 * (1 + count)..]).unwrap();
            let tokens: Vec<u8> =
                session.tokens().iter().flat_map(|token| token.to_le_bytes()).collect();
            assert_eq!(bytes[4..4 * (1 + count)], tokens[..]);
        }
    }
    eprintln!("{in_writing} of 12 servers were killed while they wrote");
    let server = server(folder.path(), &[]);
    let kept = files(folder.path()).len();
    let known = (0..12)
        .filter(|round| ask(&server, &[&beginning(10 + round, 400)[..], &[42]].concat()).1 == 400);
    assert_eq!(known.count(), kept);
}

#[test]
fn a_full_disk_only_means_that_nothing_is_kept() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("disk");
    fs::create_dir(&place).unwrap();
    let Some(_disk) = Disk::mount(&place, 1 << 14) else {
        let test = "a_full_disk_only_means_that_nothing_is_kept";
        skip(test, "mounting a file system needs root");
        return;
    };
    let log = folder.path().join("log");
    let args = ["--listen", "127.0.0.1:0", "--prefix-store", place.to_str().unwrap()];
    let server = Server::start_as(&model(), &args, |command| {
        command.stderr(Stdio::from(File::create(&log).unwrap()));
    });
    for number in 0..3 {
        for last in [40, 41] {
            ask(&server, &[&beginning(number, 300)[..], &[last]].concat());
        }
        let failures = u64::from(number) + 1;
        server.await_metric("kinglet_keep_failures_total", |now| now == failures);
    }
    assert_eq!(server.metric("kinglet_kept_total"), 0);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    server.terminate();
    assert!(server.wait().success());
    let log = fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("is not kept").count(), 1, "{log}");
    assert!(log.contains("the disk is full"), "{log}");
}

#[test]
fn a_folder_that_cannot_be_had_is_refused_at_the_door() {
    let folder = TempDir::new().unwrap();
    let serve = |args: &[&str]| {
        let mut command = kinglet(folder.path());
        command.arg("serve").arg(model()).args(["--listen", "127.0.0.1:0"]).args(args);
        Said::by(command.stdin(Stdio::null()))
    };
    let store = folder.path().join("store");
    let path = store.to_str().unwrap();
    // It is part of the budget.
    serve(&["--memory-budget", "40MB", "--prefix-store", path]).fails(2, 403);
    let said = serve(&["--prefix-store-bytes", "1M"]);
    assert!(said.code == Some(2) && said.err.contains("--prefix-store <DIR>"), "{said:?}");
    fs::write(&store, "a file").unwrap();
    serve(&["--prefix-store", path]).fails(1, 103);
    fs::remove_file(&store).unwrap();
    let _first = server(&store, &["--memory-budget", "96MB"]);
    serve(&["--prefix-store", path]).fails(2, 404);
}
