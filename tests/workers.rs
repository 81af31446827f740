//! Workers: every part of a task runs once, what they share does not overlap, failures come out.

use kinglet::Pool;
use kinglet_core::Workers;
use kinglet_core::arena::{MAX_PARTS, MAX_WORKERS, SharedColumns, SharedRows, Shares, Split};
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn every_part_of_every_task_runs_once() {
    for count in [1, 2, 3, 8] {
        let pool = Pool::new(count, false).unwrap();
        assert_eq!(pool.count(), count);
        let calls: Vec<AtomicUsize> = (0..MAX_PARTS).map(|_| AtomicUsize::new(0)).collect();
        let mut expected = vec![0; MAX_PARTS];
        for round in 0..4000 {
            let parts = 1 + round * 7 % MAX_PARTS;
            pool.run(parts, &|part| {
                calls[part].fetch_add(1, Ordering::Relaxed);
            });
            expected[..parts].iter_mut().for_each(|calls| *calls += 1);
            assert!(calls.iter().map(|calls| calls.load(Ordering::Relaxed)).eq(expected.clone()));
        }
    }
}

#[test]
fn workers_that_fell_asleep_wake_up() {
    let pool = Pool::new(3, true).unwrap();
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(20));
        let meeting = Barrier::new(3);
        // Parts that wait for one another need a worker each; the caller then sleeps on the rest.
        pool.run(3, &|part| {
            meeting.wait();
            std::thread::sleep(Duration::from_millis(5 * part as u64));
        });
    }
}

#[test]
fn nobody_waits_for_a_worker_that_does_not_come() {
    let pool = Pool::new(2, false).unwrap();
    let caller = std::thread::current().id();
    let (is_held, by_caller) = (AtomicBool::new(false), AtomicUsize::new(0));
    pool.run(20, &|_| {
        if std::thread::current().id() == caller {
            by_caller.fetch_add(1, Ordering::SeqCst);
        } else if !is_held.swap(true, Ordering::SeqCst) {
            // The one part that the worker got ends after all others.
            while by_caller.load(Ordering::SeqCst) < 19 {
                std::thread::yield_now();
            }
        }
    });
    assert!(by_caller.into_inner() >= 19);
}

#[test]
fn a_failing_part_fails_the_caller_after_all_have_ended() {
    for failing in 0..3 {
        let pool = Pool::new(3, false).unwrap();
        let ended = AtomicUsize::new(0);
        for _ in 0..2 {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.run(3, &|part| {
                    assert_ne!(part, failing);
                    std::thread::sleep(Duration::from_millis(5));
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            }));
            assert!(outcome.is_err());
        }
        assert_eq!(ended.load(Ordering::Relaxed), 4);
        pool.run(3, &|_| ());
    }
}

/// A pool that refuses a task takes the next one.
#[test]
fn tasks_of_too_many_parts_are_refused_before_they_begin() {
    let pool = Pool::new(2, false).unwrap();
    for parts in [MAX_PARTS + 1, 1 << 16, usize::MAX] {
        let calls = AtomicUsize::new(0);
        let count = |_| {
            calls.fetch_add(1, Ordering::Relaxed);
        };
        assert!(catch_unwind(AssertUnwindSafe(|| pool.run(parts, &count))).is_err());
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        pool.run(MAX_PARTS, &count);
        assert_eq!(calls.load(Ordering::Relaxed), MAX_PARTS);
        pool.run(0, &count);
        assert_eq!(calls.load(Ordering::Relaxed), MAX_PARTS);
    }
}

/// What a part panics with is not looked at before every part has ended.
#[test]
fn what_panics_once_more_when_it_is_dropped_leaves_nobody_behind() {
    struct Stubborn;
    impl Drop for Stubborn {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let pool = Pool::new(2, false).unwrap();
    let ended = AtomicUsize::new(0);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        pool.run(8, &|part| {
            if part < 2 {
                std::panic::panic_any(Stubborn);
            }
            std::thread::sleep(Duration::from_millis(5));
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }));
    assert!(outcome.is_err());
    assert_eq!(ended.load(Ordering::Relaxed), 6);
}

#[test]
fn impossible_pools_are_refused() {
    assert!(Pool::new(0, false).is_err() && Pool::new(MAX_WORKERS + 1, false).is_err());
}

#[test]
fn a_part_is_lent_once() {
    let mut data = [0u32; 12];
    let split = Split::whole(4, Shares::even(2));
    let rows = SharedRows::new(&mut data, 3, split);
    assert_eq!(rows.take(0).len(), 6);
    assert!(catch_unwind(AssertUnwindSafe(|| rows.take(0))).is_err());
    assert_eq!(rows.take(1).len(), 6);
}

proptest! {
    #[test]
    fn pieces_of_a_pass_are_dealt_completely_and_evenly(
        pieces in prop::collection::vec((0usize..50, 1u64..9), 1..4),
        workers in 1usize..=MAX_WORKERS, tapers: bool,
    ) {
        let total = pieces.iter().map(|&(count, cost)| count as u64 * cost).sum();
        let shares = if tapers { Shares::tapering(workers) } else { Shares::even(workers) };
        let mut loads = vec![0; shares.count()];
        let mut first = 0;
        for &(count, cost) in &pieces {
            let split = Split::piece(first, count, cost, total, shares);
            let mut next = 0;
            for (part, load) in loads.iter_mut().enumerate() {
                let range = split.range(part);
                prop_assert_eq!(range.start, next);
                next = range.end;
                *load += range.len() as u64 * cost;
            }
            prop_assert_eq!(next, count);
            first += count as u64 * cost;
        }
        let largest_unit = pieces.iter().map(|&(_, cost)| cost).max().unwrap();
        for round in loads.chunks(workers) {
            let (least, most) = (round.iter().min().unwrap(), round.iter().max().unwrap());
            prop_assert!(most - least <= 2 * largest_unit + 1, "{loads:?}");
        }
        for (part, load) in loads.iter().enumerate().skip(workers) {
            prop_assert!(*load <= loads[part % workers] + 2 * largest_unit + 1, "{loads:?}");
        }
    }

    #[test]
    fn columns_of_all_parts_cover_a_matrix_once(
        height in 1usize..6, units in 1usize..9, unit in 1usize..5, rest in 0usize..4,
        parts in 1usize..6,
    ) {
        let width = units * unit + rest;
        let mut data = vec![0u8; height * width];
        let split = Split::whole(units, Shares::even(parts));
        let columns = SharedColumns::new(&mut data, width, unit, split);
        for part in 0..parts {
            let mut columns = columns.take(part);
            for row in 0..height {
                columns.row(row).iter_mut().for_each(|x| *x += 1);
            }
        }
        for row in data.chunks_exact(width) {
            prop_assert!(row[..units * unit].iter().all(|&x| x == 1));
            prop_assert!(row[units * unit..].iter().all(|&x| x == 0));
        }
    }
}
