//! The angles of the rotary embedding (Su et al. 2021), as every engine has them.

use kinglet_quant::File;

/// Cosines and sines of `position · frequency` for the pairs of a head, in f32 as the reference has
/// them: `[positions][head_dim / 2]` each. The frequency of pair `i` is `theta^(−2i/head_dim)`
/// unless the model has its own.
pub fn angles(
    model: &File<'_>,
    positions: impl Iterator<Item = usize> + Clone,
    cos: &mut [f32],
    sin: &mut [f32],
) {
    let (config, own) = (model.config(), model.rotary_frequencies());
    let half = config.head_dim as usize / 2;
    for i in 0..half {
        let frequency = match own {
            Some(frequencies) => frequencies[i],
            None => 1.0 / libm::powf(config.rope_theta, (2 * i) as f32 / config.head_dim as f32),
        };
        for (row, position) in positions.clone().enumerate() {
            let angle = f64::from(position as f32 * frequency);
            cos[row * half + i] = libm::cos(angle) as f32;
            sin[row * half + i] = libm::sin(angle) as f32;
        }
    }
}
