//! Folding factors into tensors changes no result.

use kinglet::{KvType, Model, SessionOptions, Type};
use kinglet_quant::Source;
use kinglet_quant::convert::{Options, convert};
use kinglet_tests::compare::relative_rms;
use kinglet_tests::models::{RELATIVES, SMALL, small_source};
use kinglet_tests::rescale::random_folds;
use std::ops::ControlFlow;
use std::path::Path;

/// Logits behind a few tokens, from unquantized weights.
fn logits(source: &Source, folder: &Path) -> Vec<f32> {
    let path = folder.join("model.kinglet");
    convert(source, &path, &Options::new(Type::F32, 1), &mut |_| ControlFlow::Continue(()))
        .unwrap();
    let options = SessionOptions { kv: Some(KvType::F16), context: Some(64), ..Default::default() };
    let mut session = Model::open(&path).unwrap().session(&options).unwrap();
    session.prefill(&(30..60).collect::<Vec<u32>>()).unwrap();
    session.logits().unwrap().to_vec()
}

#[test]
fn folded_models_compute_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for name in SMALL.into_iter().chain(RELATIVES) {
        let mut source = Source::open(&small_source(name)).unwrap();
        let before = logits(&source, folder.path());
        source.fold(random_folds(source.config(), 11));
        let after = logits(&source, folder.path());
        // The f16 cache rounds differently scaled values; everything else is f32.
        let distance = relative_rms(&after, &before);
        assert!(distance > 0.0 && distance < 1e-3, "{name}: {distance}");
    }
}

#[test]
fn folded_tensors_differ_by_the_factors() {
    let mut source = Source::open(&small_source(SMALL[0])).unwrap();
    let folds = random_folds(source.config(), 5);
    let roles = kinglet_quant::tensor::LAYER_ROLES;
    let before = roles.map(|role| source.load(role, 1).unwrap());
    source.fold(folds);
    for (role, before) in roles.into_iter().zip(before) {
        let after = source.load(role, 1).unwrap();
        let ratios = after.iter().zip(&before).map(|(a, b)| a / b).filter(|r| r.is_finite());
        let (low, high) = ratios.fold((f32::MAX, 0f32), |(l, h), r| (l.min(r), h.max(r)));
        assert!(low < high && low > 0.7 && high < 1.4, "{role:?}: {low} to {high}");
        // Rows read alone get the same factors as rows of the whole tensor.
        if !role.is_vector() {
            let mut rows = Vec::new();
            source.load_rows(role, 1, 3..5, &mut rows).unwrap();
            let cols = role.shape(source.config()).1;
            assert_eq!(rows, after[3 * cols..5 * cols]);
        }
    }
}
