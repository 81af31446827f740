//! The real model off the grid that its weights were published on.

use kinglet_quant::Config;
use kinglet_quant::fold::{Folds, LayerFolds};

/// Random factors of up to 10% for every channel, which cancel: the model computes the same, but
/// its weights no longer lie on the 4-bit grid of their published form, which would flatter 4 bits.
pub fn random_folds(config: &Config, seed: u64) -> Folds {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut factors =
        |count: usize| -> Vec<f32> { (0..count).map(|_| 0.9 + 0.2 * random.f32()).collect() };
    let layers = (0..config.layers).map(|_| LayerFolds {
        attention: factors(config.hidden as usize),
        value: factors(config.kv_dim()),
        feed_forward: factors(config.hidden as usize),
        up: factors(config.ffn as usize),
    });
    Folds::new(config, layers.collect())
}
