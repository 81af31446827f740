//! Lanes together: branches, shuffles, votes, reductions, products of matrices, barriers.

mod kernel;

use kernel::{Run, random, with_body};

/// The words that a block of 32 threads writes, of `%w4` after a body in which `%w0` is the lane
/// and `%w1` the word of the input at that lane.
fn lanes(body: &str, input: &[u32]) -> Vec<u32> {
    let text = with_body(&format!(
        "ld.param.u64 %d8, [first]; ld.param.u64 %d9, [second]; mov.u32 %w0, %tid.x;
        mad.wide.u32 %d8, %w0, 4, %d8; mad.wide.u32 %d9, %w0, 4, %d9;
        ld.global.u32 %w1, [%d8]; mov.b32 %w4, 0;
        {body}
        st.global.u32 [%d9], %w4; ret;"
    ));
    let bytes: Vec<u8> = input.iter().flat_map(|word| word.to_le_bytes()).collect();
    let run = Run { input: &bytes, ..Run::new(&text, 32) };
    run.words().unwrap_or_else(|fault| panic!("{body}: {fault}"))
}

fn input() -> Vec<u32> {
    let mut state = 1;
    (0..32).map(|_| random(&mut state) as u32).collect()
}

#[test]
fn shuffles_follow_the_table() {
    let input = input();
    for (mode, clamp) in [("up", 0), ("down", 31), ("bfly", 31), ("idx", 31)] {
        for width in [32, 16, 8] {
            for distance in [0, 1, 3, 8, 16, 31] {
                let c = (32 - width) << 8 | clamp;
                let body = format!(
                    "shfl.sync.{mode}.b32 %w4|%p1, %w1, {distance}, {c}, -1;
                    @!%p1 not.b32 %w4, %w4;"
                );
                let found = lanes(&body, &input);
                for lane in 0..32i32 {
                    let (base, within) = (lane / width * width, lane % width);
                    let source = match mode {
                        "up" => within - distance,
                        "down" => within + distance,
                        // A later segment may read from an earlier one.
                        "bfly" if (lane ^ distance) < base => {
                            assert_eq!(found[lane as usize], input[(lane ^ distance) as usize]);
                            continue;
                        }
                        "bfly" => (lane ^ distance) - base,
                        _ => distance % width,
                    };
                    let want = match source {
                        at if (0..width).contains(&at) => input[(base + at) as usize],
                        _ => !input[lane as usize],
                    };
                    assert_eq!(found[lane as usize], want, "{body} lane {lane}");
                }
            }
        }
    }
}

#[test]
fn votes_count_those_that_take_part() {
    let odd = "and.b32 %w2, %w0, 1; setp.eq.b32 %p1, %w2, 1;";
    assert_eq!(
        lanes(&format!("{odd} vote.sync.ballot.b32 %w4, %p1, -1;"), &input()),
        [0xAAAA_AAAA; 32]
    );
    for (question, want) in [("all", 0), ("any", 1), ("uni", 0)] {
        let body =
            format!("{odd} vote.sync.{question}.pred %p2, %p1, -1; selp.b32 %w4, 1, 0, %p2;");
        assert_eq!(lanes(&body, &input()), [want; 32]);
    }
    let half = "setp.lt.u32 %p1, %w0, 16; @!%p1 bra L; vote.sync.ballot.b32 %w4, %p1, 0xFFFF;
        activemask.b32 %w5; add.u32 %w4, %w4, %w5; L:";
    let found = lanes(half, &input());
    assert_eq!((found[0], found[15], found[16]), (0x1_FFFE, 0x1_FFFE, 0));
}

#[test]
fn reductions_are_those_of_all_lanes() {
    let input = input();
    let sum = input.iter().fold(0u64, |sum, word| sum + u64::from(*word)) as u32;
    assert_eq!(lanes("redux.sync.add.u32 %w4, %w1, -1;", &input), [sum; 32]);
    let least = input.iter().map(|word| *word as i32).min().unwrap() as u32;
    assert_eq!(lanes("redux.sync.min.s32 %w4, %w1, -1;", &input), [least; 32]);
}

#[test]
fn lanes_part_and_meet_again() {
    // Collatz steps of the lane: every lane has another number of turns.
    let body = "add.u32 %w2, %w0, 1;
        TOP: setp.eq.u32 %p1, %w2, 1; @%p1 bra DONE;
        and.b32 %w3, %w2, 1; setp.eq.u32 %p2, %w3, 1; @%p2 bra ODD;
        shr.u32 %w2, %w2, 1; bra NEXT;
        ODD: mad.lo.u32 %w2, %w2, 3, 1;
        NEXT: add.u32 %w4, %w4, 1; bra TOP;
        DONE: activemask.b32 %w5; setp.ne.b32 %p3, %w5, -1; @%p3 mov.b32 %w4, 1000;";
    let found = lanes(body, &input());
    for (lane, found) in found.into_iter().enumerate() {
        let (mut value, mut steps) = (lane as u32 + 1, 0);
        while value != 1 {
            value = if value % 2 == 1 { 3 * value + 1 } else { value / 2 };
            steps += 1;
        }
        assert_eq!(found, steps, "lane {lane}");
    }
}

#[test]
fn jumps_have_several_targets() {
    let body = "and.b32 %w2, %w0, 3;
        T: .branchtargets A, B, C, D;
        brx.idx %w2, T;
        A: mov.b32 %w4, 10; bra END; B: mov.b32 %w4, 20; bra END;
        C: mov.b32 %w4, 30; bra END; D: mov.b32 %w4, 40;
        END: shl.b32 %w4, %w4, 1;";
    let want: Vec<u32> = (0..32).map(|lane| 20 * (lane % 4 + 1)).collect();
    assert_eq!(lanes(body, &input()), want);
}

/// Matrices of bytes, 16 rows and 8 columns with `depth` between, and what is added to products.
struct Matrices {
    a: Vec<Vec<u8>>,
    b: Vec<Vec<u8>>,
    addend: i32,
}

impl Matrices {
    fn new(depth: usize, addend: i32, mut byte: impl FnMut() -> u8) -> Self {
        let mut matrix = |rows: usize, columns: usize| -> Vec<Vec<u8>> {
            (0..rows).map(|_| (0..columns).map(|_| byte()).collect()).collect()
        };
        Self { a: matrix(16, depth), b: matrix(depth, 8), addend }
    }

    /// Fragments as the manual draws them: registers of `a`, then of `b`, each of all lanes.
    fn fragments(&self) -> Vec<u8> {
        let (a_count, b_count) = (self.b.len() / 8, self.b.len() / 16);
        let mut input = vec![0u8; 128 * (a_count + b_count)];
        for lane in 0..32 {
            for i in 0..4 * a_count {
                let row = lane / 4 + if i / 4 % 2 == 1 { 8 } else { 0 };
                let column = lane % 4 * 4 + i % 4 + if i >= 8 { 16 } else { 0 };
                input[128 * (i / 4) + 4 * lane + i % 4] = self.a[row][column];
            }
            for i in 0..4 * b_count {
                let row = lane % 4 * 4 + i % 4 + if i >= 4 { 16 } else { 0 };
                input[128 * (a_count + i / 4) + 4 * lane + i % 4] = self.b[row][lane / 4];
            }
        }
        input
    }

    /// Runs `mma` with bytes of these types, and compares it with three loops.
    fn check(&self, [a_type, b_type]: [&str; 2]) {
        let depth = self.b.len();
        let (a_count, b_count) = (depth / 8, depth / 16);
        let names = |first: usize, count: usize| {
            let names = (first..first + count).map(|at| format!("%w{at}"));
            names.collect::<Vec<_>>().join(",")
        };
        let load = |at: usize, to: usize| format!("ld.global.u32 %w{to}, [%d8+{}];", 128 * at);
        let loads: String = (0..a_count + b_count).map(|at| load(at, 8 + at)).collect();
        let text = with_body(&format!(
            "ld.param.u64 %d8, [first]; ld.param.u64 %d9, [second]; mov.u32 %w0, %tid.x;
            mad.wide.u32 %d8, %w0, 4, %d8; mad.wide.u32 %d9, %w0, 16, %d9; {loads}
            mov.b32 %w1, {};
            mma.sync.aligned.m16n8k{depth}.row.col.s32.{a_type}.{b_type}.s32
            {{%w4,%w5,%w6,%w7}}, {{{}}}, {{{}}}, {{%w1,%w1,%w1,%w1}};
            st.global.v4.b32 [%d9], {{%w4,%w5,%w6,%w7}};",
            self.addend,
            names(8, a_count),
            names(8 + a_count, b_count)
        ));
        let input = self.fragments();
        let found = Run { input: &input, output: 512, ..Run::new(&text, 32) }.words().unwrap();
        let value = |byte: u8, kind: &str| match kind {
            "s8" => i64::from(byte as i8),
            _ => i64::from(byte),
        };
        for (row, column) in (0..16).flat_map(|row| (0..8).map(move |column| (row, column))) {
            let product =
                |k: usize| value(self.a[row][k], a_type) * value(self.b[k][column], b_type);
            let sum = i64::from(self.addend) + (0..depth).map(product).sum::<i64>();
            let lane = row % 8 * 4 + column / 2;
            let at = column % 2 + 2 * (row / 8);
            // Without .satfinite, sums wrap around.
            let place = format!("{depth} {a_type} {b_type} {} {row} {column}", self.addend);
            assert_eq!(found[4 * lane + at], sum as u32, "{place}");
        }
    }
}

#[test]
fn products_of_matrices_are_three_loops() {
    let mut state = 9;
    for depth in [32, 16] {
        for types in [["s8", "s8"], ["u8", "s8"], ["s8", "u8"], ["u8", "u8"]] {
            for addend in [5, i32::MAX, i32::MIN] {
                Matrices::new(depth, addend, || random(&mut state) as u8).check(types);
                // Of the lowest and the highest bytes: -128, 127, and 0, 255.
                let mut extreme = || [0x80, 0x7F, 0xFF, 0][random(&mut state) as usize % 4];
                Matrices::new(depth, addend, &mut extreme).check(types);
                for byte in [0x80, 0xFF] {
                    Matrices::new(depth, addend, || byte).check(types);
                }
            }
        }
    }
}

/// Every thread leaves its number in shared memory and takes that of a thread of another warp.
const EXCHANGE: &str = "
    .shared .align 4 .b8 cells[512];
    ld.param.u64 %d9, [second]; mov.u32 %w0, %tid.x;
    mad.wide.u32 %d9, %w0, 4, %d9;
    shl.b32 %w1, %w0, 2; mov.u32 %w2, cells; add.u32 %w1, %w1, %w2;
    st.shared.u32 [%w1], %w0;
    BARRIER
    xor.b32 %w3, %w0, 96; shl.b32 %w3, %w3, 2; add.u32 %w3, %w3, %w2;
    ld.shared.u32 %w4, [%w3]; st.global.u32 [%d9], %w4;";

#[test]
fn blocks_meet_at_barriers() {
    let want: Vec<u32> = (0..128).map(|thread| thread ^ 96).collect();
    for order in [0, 1, 2, 77] {
        for barrier in ["bar.sync 0;", "barrier.sync.aligned 1;", "bar.sync 2, 128;"] {
            let text = with_body(&EXCHANGE.replace("BARRIER", barrier));
            let mut run = Run::new(&text, 128);
            run.settings.order = order;
            assert_eq!(run.words().unwrap(), want, "{barrier}");
            assert_eq!(run.run().unwrap().1.barriers, 1);
        }
    }
}

#[test]
fn lanes_come_to_a_barrier_one_by_one() {
    let want: Vec<u32> = (0..128).map(|thread| thread ^ 96).collect();
    // Even lanes take a longer way to the same barrier.
    let barrier = "and.b32 %w5, %w0, 1; setp.eq.u32 %p1, %w5, 1; @%p1 bra MEET;
        add.u32 %w6, %w6, 1; add.u32 %w6, %w6, 1; MEET: bar.sync 0;";
    let text = with_body(&EXCHANGE.replace("BARRIER", barrier));
    assert_eq!(Run::new(&text, 128).words().unwrap(), want);
    // The way of some lanes lies behind the barrier in the text.
    let barrier = "and.b32 %w5, %w0, 1; setp.eq.u32 %p1, %w5, 1; @%p1 bra AROUND;
        MEET: bar.sync 0; bra ON; AROUND: add.u32 %w6, %w6, 1; bra MEET; ON:";
    let text = with_body(&EXCHANGE.replace("BARRIER", barrier));
    assert_eq!(Run::new(&text, 128).words().unwrap(), want);
    // Lanes that have ended are not waited for.
    let barrier = "setp.eq.u32 %p1, %w0, 5; @%p1 ret; bar.sync 0;";
    let text = with_body(&EXCHANGE.replace("BARRIER", barrier));
    let found = Run::new(&text, 128).words().unwrap();
    assert_eq!((found[4], found[5], found[101]), (100, 0, 5));
}

#[test]
fn barriers_that_cannot_complete_are_faults() {
    let barrier = "setp.lt.u32 %p1, %w0, 64; @%p1 bra A; bar.sync 0; bra ON; A: bar.sync 1; ON:";
    let text = with_body(&EXCHANGE.replace("BARRIER", barrier));
    let fault = Run::new(&text, 128).words().unwrap_err();
    assert!(fault.text.contains("no thread can go on"), "{fault}");
    let barrier = "setp.lt.u32 %p1, %w0, 5; @%p1 bra A; bar.sync 0; bra ON; A: bar.sync 0; ON:";
    let text = with_body(&EXCHANGE.replace("BARRIER", barrier));
    let fault = Run::new(&text, 128).words().unwrap_err();
    assert!(fault.text.contains("different places of an aligned barrier"), "{fault}");
}

#[test]
fn atomics_lose_nothing() {
    let text = with_body(
        "ld.param.u64 %d9, [second]; mov.u32 %w0, %tid.x;
        atom.global.add.u32 %w1, [%d9], 3; atom.global.max.s32 %w2, [%d9+4], %w0;
        red.global.or.b32 [%d9+8], %w0; atom.global.exch.b32 %w3, [%d9+12], 9;
        atom.global.cas.b32 %w4, [%d9+16], 0, 7; atom.global.inc.u32 %w4, [%d9+20], 9;
        cvta.global.u64 %d9, %d9; atom.add.u64 %d1, [%d9+24], 5;",
    );
    let run = Run { grid: 3, ..Run::new(&text, 64) };
    let words = run.words().unwrap();
    assert_eq!(words[..8], [576, 63, 63, 9, 7, 192 % 10, 960, 0]);
}

#[test]
fn cooperative_blocks_wait_for_each_other() {
    // A barrier of the grid by a counter, then every block reads what the next has written.
    let text = with_body(
        "ld.param.u64 %d9, [second]; mov.u32 %w0, %ctaid.x; mov.u32 %w1, %nctaid.x;
        mad.wide.u32 %d8, %w0, 4, %d9; add.u32 %w2, %w0, 100; st.global.u32 [%d8+64], %w2;
        membar.gl; atom.global.add.u32 %w3, [%d9], 1;
        WAIT: ld.volatile.global.u32 %w3, [%d9]; setp.lt.u32 %p1, %w3, %w1; @%p1 bra WAIT;
        membar.gl;
        add.u32 %w3, %w0, 1; rem.u32 %w3, %w3, %w1; mad.wide.u32 %d7, %w3, 4, %d9;
        ld.global.u32 %w4, [%d7+64]; st.global.u32 [%d8+128], %w4;",
    );
    let mut run = Run { grid: 8, is_cooperative: true, output: 256, ..Run::new(&text, 1) };
    let want: Vec<u32> = (0..8).map(|block| 100 + (block + 1) % 8).collect();
    for order in [0, 1, 5] {
        run.settings.order = order;
        assert_eq!(run.words().unwrap()[32..40], want);
    }
    let without = text.replacen("membar.gl;", "", 1);
    let fault = Run { text: &without, ..run }.words().unwrap_err();
    assert!(fault.text.contains("race"), "{fault}");
}
