//! What the kernels ask of memory for a token, as the stand-in for NVIDIA's driver counts it.

use kinglet::{KvType, Model, Role, Type};
use kinglet_core::screen::Screen;
use kinglet_quant::Matrix;
use kinglet_quant::format::TILE_ROWS;
use kinglet_tests::devices::on_device;
use kinglet_tests::models::{SMALL, small};
use kinglet_tests::observe::limits;
use kinglet_tests::stand_in::StandIn;
use serde_json::Value;

/// Matrices of a layer.
const ROLES: [Role; 7] = [Role::Q, Role::K, Role::V, Role::O, Role::Gate, Role::Up, Role::Down];
/// Bytes that memory delivers at once.
const SECTOR: u64 = 32;
/// Warps of a block, each of which reads the scales of the rows.
const WARPS: u64 = 4;

/// Bytes of a matrix that its product loads: codes once, and scales for every 16 columns, so that
/// one of 32 columns is loaded twice at once.
fn bytes(w: &Matrix<'_>) -> u64 {
    let bits = match w.kind() {
        Type::Q8 => 8,
        Type::Q5 => 5,
        Type::Q4 => 4,
        Type::Q3 => 3,
        kind => panic!("{kind:?} is not of these models' layers"),
    };
    let (rows, cols) = (w.tile_count() as u64 * TILE_ROWS as u64, w.cols() as u64);
    rows * (cols * bits / 8 + cols / 16 + 4 * WARPS)
}

/// What a kernel did between two documents of counters.
fn difference(before: &Value, after: &Value, kernel: &str, name: &str) -> u64 {
    let of = |counters: &Value| counters["kernels"][kernel][name].as_u64().unwrap_or(0);
    of(after) - of(before)
}

/// Counters around one token behind others, with only the logits that can be chosen.
fn around_a_token(stand_in: &StandIn, model: &Model) -> [Value; 2] {
    stand_in.count_accesses(true);
    on_device(model, &limits(KvType::Int8), |texts| {
        let screen = Some(Screen { reach: 1.0, top: 1 });
        texts.text(0).prefill(&[40, 41, 42], &mut |_| Ok(())).unwrap();
        texts.text(0).push(43, screen).unwrap();
        let before = stand_in.counters();
        texts.text(0).push(44, screen).unwrap();
        [before, stand_in.counters()]
    })
}

#[test]
fn a_token_reads_each_weight_once_and_whole_sectors() {
    let stand_in = StandIn::take();
    for name in SMALL {
        for kind in [Type::Q8, Type::Q5, Type::Q4, Type::Q3] {
            let model = small(name, kind);
            let [before, after] = around_a_token(&stand_in, &model);
            let count = |kernel, name| difference(&before, &after, kernel, name);
            let layers = 0..model.config().layers as u16;
            let matrices =
                layers.flat_map(|layer| ROLES.map(|role| bytes(&model.file().matrix(role, layer))));
            let what = format!("{name} {kind:?}");
            assert_eq!(count("product_one", "constant_bytes"), matrices.sum::<u64>(), "{what}");
            for kernel in ["product_one", "screen_one"] {
                let [bytes, sectors] =
                    ["constant_bytes", "constant_sectors"].map(|name| count(kernel, name));
                let used = bytes as f64 / (SECTOR * sectors) as f64;
                assert!(used >= 0.9, "{what}: {kernel} uses {used:.3} of what it loads");
            }
            for kernel in after["kernels"].as_object().unwrap().keys() {
                let [passes, least] =
                    ["bank_passes", "least_passes"].map(|name| count(kernel, name));
                let ratio = passes as f64 / least.max(1) as f64;
                assert!(ratio <= 1.1, "{what}: {kernel} takes {ratio:.2} times the least passes");
            }
        }
    }
}
