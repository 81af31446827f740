//! Workers: each runs every task once, what they share does not overlap, failures come out.

use kinglet::Pool;
use kinglet_core::Workers;
use kinglet_core::arena::{MAX_WORKERS, SharedColumns, SharedRows, Split};
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn every_worker_runs_every_task_once() {
    for count in [1, 2, 3, 8] {
        let pool = Pool::new(count, false).unwrap();
        assert_eq!(pool.count(), count);
        let calls: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        for round in 1..=2000 {
            pool.run(&|worker| {
                calls[worker].fetch_add(1, Ordering::Relaxed);
            });
            assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == round));
        }
    }
}

#[test]
fn workers_that_fell_asleep_wake_up() {
    let pool = Pool::new(3, true).unwrap();
    let calls = AtomicUsize::new(0);
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(20));
        pool.run(&|worker| {
            // The caller, worker 0, sleeps on the others too.
            std::thread::sleep(Duration::from_millis(5 * worker as u64));
            calls.fetch_add(1, Ordering::Relaxed);
        });
    }
    assert_eq!(calls.load(Ordering::Relaxed), 15);
}

#[test]
fn a_failing_task_fails_the_caller_after_all_have_ended() {
    for failing in 0..3 {
        let pool = Pool::new(3, false).unwrap();
        let ended = AtomicUsize::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(&|worker| {
                assert_ne!(worker, failing);
                std::thread::sleep(Duration::from_millis(5));
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }));
        assert!(outcome.is_err());
        assert_eq!(ended.load(Ordering::Relaxed), 2);
    }
}

#[test]
fn impossible_pools_are_refused() {
    assert!(Pool::new(0, false).is_err() && Pool::new(MAX_WORKERS + 1, false).is_err());
}

#[test]
fn a_part_is_lent_once() {
    let mut data = [0u32; 12];
    let split = Split::whole(4, 2);
    let rows = SharedRows::new(&mut data, 3, split);
    assert_eq!(rows.take(0).len(), 6);
    assert!(catch_unwind(AssertUnwindSafe(|| rows.take(0))).is_err());
    assert_eq!(rows.take(1).len(), 6);
}

proptest! {
    #[test]
    fn pieces_of_a_pass_are_dealt_completely_and_evenly(
        counts in prop::collection::vec(0usize..50, 1..4), parts in 1usize..=MAX_WORKERS,
    ) {
        let total: usize = counts.iter().sum();
        let mut loads = vec![0; parts];
        let mut first = 0;
        for &count in &counts {
            let split = Split::piece(first, count, total, parts);
            let mut next = 0;
            for (part, load) in loads.iter_mut().enumerate() {
                let range = split.range(part);
                prop_assert_eq!(range.start, next);
                next = range.end;
                *load += range.len();
            }
            prop_assert_eq!(next, count);
            first += count;
        }
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        prop_assert!(most - least <= 1);
    }

    #[test]
    fn columns_of_all_parts_cover_a_matrix_once(
        height in 1usize..6, units in 1usize..9, unit in 1usize..5, rest in 0usize..4,
        parts in 1usize..6,
    ) {
        let width = units * unit + rest;
        let mut data = vec![0u8; height * width];
        let columns = SharedColumns::new(&mut data, width, unit, Split::whole(units, parts));
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
