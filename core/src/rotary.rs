//! The angles of the rotary embedding (Su et al. 2021), as every engine has them.

use kinglet_quant::Config;

/// Radians that a position turns the pair `i` of a head: `theta^(−2i/head_dim)`, in f32 as the
/// reference has it.
pub fn frequency(config: &Config, i: usize) -> f32 {
    let exponent = (2 * i) as f32 / config.head_dim as f32;
    1.0 / libm::powf(config.rope_theta, exponent)
}

/// Cosine and sine of `position · frequency`.
pub fn cos_sin(position: usize, frequency: f32) -> (f32, f32) {
    let angle = f64::from(position as f32 * frequency);
    (libm::cos(angle) as f32, libm::sin(angle) as f32)
}
