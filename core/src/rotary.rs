//! The angles of the rotary embedding (Su et al. 2021), as every engine has them.

use kinglet_quant::Config;

/// Cosines and sines of `position · theta^(−2i/head_dim)` for the pairs `i` of a head, in f32 as
/// the reference has them: `[positions][head_dim / 2]` each.
pub fn angles(
    config: &Config,
    positions: impl Iterator<Item = usize> + Clone,
    cos: &mut [f32],
    sin: &mut [f32],
) {
    let half = config.head_dim as usize / 2;
    for i in 0..half {
        let exponent = (2 * i) as f32 / config.head_dim as f32;
        let frequency = 1.0 / libm::powf(config.rope_theta, exponent);
        for (row, position) in positions.clone().enumerate() {
            let angle = f64::from(position as f32 * frequency);
            cos[row * half + i] = libm::cos(angle) as f32;
            sin[row * half + i] = libm::sin(angle) as f32;
        }
    }
}
