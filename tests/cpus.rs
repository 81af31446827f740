//! Processors: what `--cpus` chooses, and that threads stay there.

use kinglet::{Cpus, Pool, Root};
use kinglet_core::Workers;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::{affinity, models};
use std::collections::BTreeSet;
use std::sync::{Barrier, Mutex};

/// The processors that Linux lets the calling thread run on.
fn allowed() -> String {
    affinity::allowed("thread-self")
}

/// Where each thread of a pool of two may run, the caller's set first.
fn sets(cpus: &Cpus, pin: bool) -> (String, String) {
    let pool = Pool::on(cpus, 2, pin).unwrap();
    let (caller, meeting) = (std::thread::current().id(), Barrier::new(2));
    let worker = Mutex::new(String::new());
    pool.run(2, &|_| {
        // Parts that wait for one another need a thread each.
        meeting.wait();
        if std::thread::current().id() != caller {
            *worker.lock().unwrap() = allowed();
        }
    });
    (allowed(), worker.into_inner().unwrap())
}

#[test]
fn pinned_callers_are_released() {
    let here = allowed();
    let all: Cpus = here.parse().unwrap();
    let pinned = || Pool::on(&Cpus::fastest(&Root::here()), 2, true).unwrap();
    let (first, second) = (pinned(), sets(&Cpus::fastest(&Root::here()), true));
    let distinct: BTreeSet<String> = [second.0, second.1].into();
    assert_eq!(distinct.len(), all.numbers().len().min(2), "beside another one: {distinct:?}");
    drop(first);
    assert_eq!(allowed(), here);
}

#[test]
fn threads_stay_on_their_processors() {
    let here = allowed();
    let all: Cpus = here.parse().unwrap();
    let one: Cpus = all.numbers().last().unwrap().to_string().parse().unwrap();
    assert_eq!(sets(&one, false), (here.clone(), one.to_string()));
    assert_eq!(
        sets(&one, true),
        (one.to_string(), one.to_string()),
        "two threads on one processor"
    );
    assert_eq!(sets(&all, false), (here.clone(), here));
    let (caller, worker) = sets(&all, true);
    let distinct: BTreeSet<String> = [caller, worker].into();
    assert_eq!(distinct.len(), all.numbers().len().min(2), "each on its own: {distinct:?}");
}

#[test]
fn threads_follow_from_the_processors_named() {
    let home = tempfile::tempdir().unwrap();
    let model = models::small_source("gqa3-head64");
    let plan = |list: &str| {
        let mut command = kinglet(home.path());
        Said::by(command.arg("plan").arg(&model).args(["--json", "--cpus", list])).json()
    };
    assert_eq!(plan("0-4,6")["threads"], 6);
    assert_eq!(plan("3")["threads"], 1);
    assert_eq!(plan("0-63")["threads"], 8);
    let mut command = kinglet(home.path());
    command.arg("run").arg(&model).args(["-p", "a", "-n", "2", "--json", "--cpus", "0"]);
    assert_eq!(Said::by(&mut command).json()["threads"], 1);
    assert_eq!(Said::by(command.args(["--threads", "3"])).json()["threads"], 3);
    let mut command = kinglet(home.path());
    command.arg("bench").arg(&model).args(["-p", "0", "-n", "2", "-r", "1", "-o", "json"]);
    let tests = Said::by(command.args(["--cpus", "0"])).json();
    assert_eq!(tests[0]["n_threads"], 1);
}

#[test]
fn processors_that_are_not_there_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let model = models::small_source("gqa3-head64");
    let run = |list: &str| {
        let mut command = kinglet(home.path());
        Said::by(command.arg("run").arg(&model).args(["-p", "a", "-n", "1", "--cpus", list]))
    };
    run("1023").fails(2, 404);
    let said = run("0-");
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("write a list such as 0-3,6"), "{said:?}");
}
