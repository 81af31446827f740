//! Checks of single kernels on a device: what they compute is what the scalar definition says.
//!
//! They need no more of the driver than the engine does, so that they run on a real one as well.

use crate::aligned::Aligned;
use kinglet_backends::{Checked, Checker};
use kinglet_core::arena::Columns;
use kinglet_core::check::{self, Attention, Product, Random};
use kinglet_core::kernels::{Kernels, Output};
use kinglet_core::kv::{KvLayout, KvType};
use kinglet_core::scalar::Scalar;
use kinglet_quant::Type;
use kinglet_quant::format::TILE_ROWS;

/// Batches of several blocks of vectors and of tiles, and columns that are staged in parts: how
/// many of the products are ones that tensor cores compute where there are some.
pub fn batches(checker: &Checker) -> u64 {
    let (mut random, mut of_bytes) = (Random::new(5), 0);
    let formats = check::products().into_iter().filter(|case| {
        case.cols == 288 && case.tokens == 1 && case.kind.is_quantized() && !case.extreme
    });
    for format in formats {
        for (rows, cols, tokens, extreme) in
            [(16, 608, 64, false), (130, 96, 33, false), (60, 544, 16, true), (5, 1536, 9, false)]
        {
            let case = Product { rows, cols, tokens, extreme, ..format };
            let mut memory = check::Aligned::zeroed(case.weight_bytes());
            case.fill(memory.bytes_mut(), &mut random);
            let (w, inputs) = (case.matrix(memory.bytes()), case.inputs(&mut random));
            let width = w.tile_count() * TILE_ROWS;
            for output in [Output::Store, Output::Add] {
                let mut expected = random.vector(tokens * width, 1.0);
                let mut found = expected.clone();
                let (tiles, x) = (0..w.tile_count(), inputs.view());
                let columns = &mut Columns::all(&mut expected, width);
                Scalar.matmul(&w, tiles.clone(), &x, columns, output, &mut []);
                let columns = &mut Columns::all(&mut found, width);
                Checked(checker).matmul(&w, tiles, &x, columns, output, &mut []);
                let is_same = found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(is_same, "{case:?} {output:?}");
                of_bytes += u64::from(case.kind != Type::Q8Planes);
            }
        }
    }
    assert!(of_bytes > 0, "no format was checked");
    of_bytes
}

/// Products of a long prompt, in every format.
pub fn products_of_many_vectors(checker: &Checker) {
    let mut random = Random::new(5);
    let cases = check::products().into_iter().filter(|case| (case.rows, case.tokens) == (40, 19));
    let formats: Vec<_> = cases.map(|case| Product { tokens: 64, ..case }).collect();
    assert!(formats.len() > 10);
    formats.iter().for_each(|case| check::matmul(Checked(checker), case, &mut random));
}

/// The last position of a context of 2,048 attends to all of it: 16 spans of one block.
pub fn attention_over_a_long_context(checker: &Checker) {
    let mut random = Random::new(6);
    for kind in [KvType::Int8, KvType::F16] {
        for head_dim in [64, 112] {
            let case = Attention { kind, head_dim, group: 3, positions: 0..2048 };
            check::attend(Checked(checker), &case, &mut random);
        }
    }
}

/// Keys of every width, rotated and appended.
pub fn rotated_and_appended_keys(checker: &Checker) {
    let mut random = Random::new(3);
    for kind in [KvType::Int8, KvType::F16] {
        for (number, head_dim) in (16..=256).step_by(16).enumerate() {
            let layout = KvLayout::new(kind, head_dim, 40);
            let [mut expected, mut found] = [0, 1].map(|_| Aligned::zeroed(layout.block_bytes()));
            for position in [0, 1, 15, 16, 38] {
                let range = number as f32 * 0.7;
                let [key, value] = [0, 1].map(|_| random.vector(head_dim, range));
                let [cos, sin] = [0, 1].map(|_| random.vector(head_dim / 2, 1.0));
                let vectors = [&*key, &value];
                checker.rotate_and_append(&layout, found.as_mut(), position, vectors, [&cos, &sin]);
                let mut key = key.clone();
                Scalar.rope(&mut key, &cos, &sin);
                layout.store(expected.as_mut(), position, &key, &value);
            }
            assert!(expected.as_mut() == found.as_mut(), "{kind:?}, heads of {head_dim}");
        }
    }
}
