//! That no arguments make the parts of a pass overlap.

use super::*;
use proptest::prelude::*;
use std::panic::catch_unwind;
use std::vec::Vec;

/// Numbers whose products and sums are near where 64 bits end, and small ones.
const EXTREMES: [u64; 8] = [0, 1, 3, 1 << 32, 1 << 60, (1 << 63) - 1, 1 << 63, u64::MAX];

fn all_shares() -> Vec<Shares> {
    let even = [1, 3, 4, MAX_PARTS].map(Shares::even);
    let tapering = [1, 3, 21, 22].map(Shares::tapering);
    even.into_iter().chain(tapering).collect()
}

/// Every part of a split lies behind the one before it, and together they are all units.
fn assert_dealt_once(split: Split) {
    for split in [split, split.reversed()] {
        let mut ranges: Vec<_> = (0..split.shares.count()).map(|p| split.range(p)).collect();
        if split.is_reversed {
            ranges.reverse();
        }
        let mut next = 0;
        for range in ranges {
            assert!(range.start == next && range.start <= range.end, "{split:?}: {range:?}");
            next = range.end;
        }
        assert_eq!(next, split.count, "{split:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "too many cases, of code without unsafe")]
fn no_numbers_make_parts_overlap() {
    assert_dealt_once(Split::piece(0, 8, 1 << 60, 1 << 63, Shares::even(4)));
    for shares in all_shares() {
        for (first, cost) in EXTREMES.into_iter().flat_map(|f| EXTREMES.map(|c| (f, c))) {
            for (count, total) in EXTREMES.into_iter().flat_map(|n| EXTREMES.map(|t| (n, t))) {
                let Ok(count) = usize::try_from(count) else { continue };
                let end = u128::from(first) + count as u128 * u128::from(cost);
                if cost > 0 && end <= u128::from(total) {
                    assert_dealt_once(Split::piece(first, count, cost, total, shares));
                }
            }
        }
        assert_dealt_once(Split::whole(usize::MAX, shares));
    }
}

#[test]
fn pieces_that_reach_behind_their_pass_are_refused() {
    let shares = Shares::even(2);
    for (first, count, cost, total) in [
        (0, 8, 1 << 61, 0),
        (0, 9, 1 << 61, 1 << 61),
        (u64::MAX, 1, 1, u64::MAX),
        (1 << 63, 2, 1 << 62, 1 << 63),
        (0, 1, 0, 1),
        (0, 2, 1, 1),
    ] {
        let piece = || Split::piece(first, count, cost, total, shares);
        assert!(catch_unwind(piece).is_err(), "{first} + {count} x {cost} of {total}");
    }
}

#[test]
fn matrices_that_end_before_their_units_are_refused() {
    let half = usize::MAX / 2 + 1;
    let columns = |length, width, unit, count| {
        let split = Split::whole(count, Shares::even(2));
        let mut data = std::vec![0u8; length];
        SharedColumns::new(&mut data, width, unit, split);
    };
    // Twice half of all numbers is no number.
    assert!(catch_unwind(|| columns(4, 4, half, 2)).is_err());
    assert!(catch_unwind(|| columns(4, 2, usize::MAX, 3)).is_err());
    assert!(catch_unwind(|| columns(4, 4, 3, 2)).is_err());
    assert!(catch_unwind(|| columns(5, 4, 2, 2)).is_err());
    columns(4, 4, 2, 2);
    let rows = |length, width, count| {
        let mut data = std::vec![0u8; length];
        SharedRows::new(&mut data, width, Split::whole(count, Shares::even(2)));
    };
    assert!(catch_unwind(|| rows(8, half, 2)).is_err());
    assert!(catch_unwind(|| rows(8, 4, half)).is_err());
    rows(8, 4, 2);
}

/// No row means no element, however wide the row would be.
#[test]
fn rows_that_are_not_there_are_not_reached() {
    let half = usize::MAX / 2 + 1;
    let split = Split::whole(2, Shares::even(2));
    let matrix = SharedColumns::new(&mut [0u32; 0], half, half / 2, split);
    for part in 0..2 {
        let mut columns = matrix.take(part);
        assert_eq!((columns.height(), columns.width()), (0, half / 2));
        assert_eq!(columns.narrow(half / 4..half / 2).width(), half / 4);
    }
}

#[test]
fn an_arena_refuses_what_no_memory_holds() {
    #[repr(align(64))]
    struct Nothing([u8; 0]);
    let take = |count| Arena::new(&mut Nothing([]).0).take::<u32>(count).len();
    for count in [usize::MAX, usize::MAX / 4 + 1, usize::MAX / 2 + 1, 1] {
        assert!(catch_unwind(|| take(count)).is_err(), "{count}");
    }
    assert_eq!(take(0), 0);
}

proptest! {
    #[test]
    fn parts_of_any_piece_are_dealt_once(
        (cost, count, first, rest) in (1u64.., any::<u64>(), any::<u64>(), any::<u64>())
            .prop_map(|(cost, count, first, rest)| {
                let count = count % (u64::MAX / cost).saturating_add(1);
                let left = u64::MAX - count * cost;
                let first = if left == u64::MAX { first } else { first % (left + 1) };
                (cost, count, first, rest % (left - first).saturating_add(1))
            }),
        shares in prop::sample::select(all_shares()),
    ) {
        let total = first + count * cost + rest;
        if let Ok(count) = usize::try_from(count) {
            assert_dealt_once(Split::piece(first, count, cost, total, shares));
        }
    }

    #[test]
    fn columns_of_parts_never_meet(
        height in 0usize..4, units in 0usize..9, unit in 0usize..5, rest in 0usize..4,
        shares in prop::sample::select(all_shares()),
    ) {
        let width = units * unit + rest;
        let mut data = std::vec![0u8; height * width];
        let split = Split::whole(units, shares);
        let matrix = SharedColumns::new(&mut data, width, unit, split);
        let mut parts: Vec<_> = (0..shares.count()).map(|part| matrix.take(part)).collect();
        // All rows of all parts are written while all parts are lent.
        for columns in &mut parts {
            for row in 0..columns.height() {
                columns.row(row).iter_mut().for_each(|x| *x += 1);
            }
        }
        let is_dealt = |place: usize| u8::from(place % width < units * unit);
        prop_assert!(data.iter().enumerate().all(|(place, &x)| x == is_dealt(place)));
    }
}
