//! Which channels of a layer to re-scale, and how strongly: a search for the least error on the
//! calibration's inputs.
//!
//! A large input makes the errors of the inputs in its block larger, and a large weight those of
//! the weights in its group.
//! Candidates are `size of the inputs^a / size of the weights^b`; each is tried by rounding some
//! rows and measuring what reaches the outputs, the error of activations in bytes included.

use crate::calibrate::gptq;
use crate::calibrate::metric::{DAMPING, Metric};
use crate::calibrate::moments::{LayerMoments, Moments};
use crate::fold::{LayerFolds, balance, by_value_channel, column_sizes, for_each_query_head};
use crate::format::BLOCK;
use crate::quantize::Scheme;
use crate::source::Source;
use crate::tensor;
use crate::{Config, Result, Role};

/// Exponents of input and weight sizes that are tried.
const EXPONENTS: [(f32, f32); 6] =
    [(0.0, 0.0), (0.25, 0.0), (0.5, 0.0), (0.25, 0.25), (0.35, 0.35), (0.5, 0.5)];

/// How far predictions move when the outputs of one kind of matrix have a relative error: the KL
/// divergence over the error's power, as measured on SmolLM2-135M with noise of 8%.
pub fn sensitivity(role: Role) -> f64 {
    match role {
        Role::Q => 2.8,
        Role::K => 2.0,
        Role::V => 8.9,
        Role::O => 2.4,
        Role::Gate => 3.2,
        Role::Up => 8.9,
        _ => 14.4,
    }
}

/// The tensors of a layer in memory.
pub(crate) struct Layer {
    config: Config,
    tensors: Vec<(Role, Vec<f32>)>,
}

impl Layer {
    pub fn load(source: &Source, layer: u16) -> Result<Self> {
        let config = *source.config();
        let load = |role| Ok((role, source.load(role, layer)?));
        let tensors = tensor::layer_roles(&config).map(load).collect::<Result<_>>()?;
        Ok(Self { config, tensors })
    }

    /// The values of a tensor, `[rows][cols]`.
    pub fn tensor(&self, role: Role) -> &[f32] {
        let found = self.tensors.iter().find(|(other, _)| *other == role);
        &found.expect("a role of layers").1
    }

    /// Re-scales channels.
    pub fn fold(&mut self, folds: &LayerFolds) {
        for &mut (role, ref mut tensor) in &mut self.tensors {
            folds.apply(&self.config, role, 0..role.shape(&self.config).0, tensor);
        }
    }
}

/// The factors with the least cost, site by site.
pub(crate) fn search(
    layer: &Layer,
    moments: &LayerMoments,
    schemes: &dyn Fn(Role) -> Scheme,
    threads: usize,
) -> LayerFolds {
    let config = &layer.config;
    let site = |moments, roles: &'static [Role]| Site { layer, moments, roles, schemes, threads };
    let by_input = |site: &Site<'_>| site.best(&|sizes| sizes.to_vec(), &|factors| factors);
    LayerFolds {
        attention: by_input(&site(&moments.attention, &[Role::Q, Role::K, Role::V])),
        value: site(&moments.output, &[Role::O])
            .best(&|sizes| by_value_channel(config, sizes), &|factors| {
                for_each_query_head(config, &factors)
            }),
        feed_forward: by_input(&site(&moments.feed_forward, &[Role::Gate, Role::Up])),
        up: by_input(&site(&moments.down, &[Role::Down])),
    }
}

/// Matrices that read the same inputs.
struct Site<'a> {
    layer: &'a Layer,
    moments: &'a Moments,
    roles: &'a [Role],
    schemes: &'a dyn Fn(Role) -> Scheme,
    threads: usize,
}

impl Site<'_> {
    /// The best factors of the channels that can have one of their own; `to_channels` joins the
    /// sizes of inputs that share a channel, `to_inputs` gives every input its channel's factor.
    fn best(
        &self,
        to_channels: &dyn Fn(&[f32]) -> Vec<f32>,
        to_inputs: &dyn Fn(Vec<f32>) -> Vec<f32>,
    ) -> Vec<f32> {
        let width = self.moments.width();
        let sizes = self.moments.sizes();
        let matrices: Vec<&[f32]> = self.roles.iter().map(|&r| self.layer.tensor(r)).collect();
        let (inputs, weights) = (to_channels(&sizes), to_channels(&column_sizes(&matrices, width)));
        let candidates = EXPONENTS.map(|exponents| balance(&inputs, &weights, exponents));
        let metric = Metric::new(self.moments, &vec![1.0; width], DAMPING);
        let cost = |factors: &Vec<f32>| self.cost(&metric, &to_inputs(factors.clone()));
        let costs = candidates.each_ref().map(cost);
        let best = (0..costs.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b]));
        candidates[best.expect("there are candidates")].clone()
    }

    /// What rounding does to the outputs of some rows when inputs are divided by `factors`.
    fn cost(&self, metric: &Metric, factors: &[f32]) -> f64 {
        let metric = metric.divided(factors);
        let noise = activation_noise(self.moments, factors);
        let cost = |&role: &Role| {
            let weights = self.layer.tensor(role);
            let scheme = (self.schemes)(role);
            let trial = gptq::try_rows(&scheme, weights, factors, &metric, &noise, self.threads);
            sensitivity(role) * trial.error / trial.exact.max(f64::MIN_POSITIVE)
        };
        self.roles.iter().map(cost).sum()
    }
}

/// The error power of each input when inputs, divided by `factors`, become bytes with a scale for
/// every 32: a twelfth of the squared step.
fn activation_noise(moments: &Moments, factors: &[f32]) -> Vec<f32> {
    let mut noise = vec![0f32; factors.len()];
    let count = moments.samples().len() / factors.len();
    for sample in moments.samples().chunks_exact(factors.len()) {
        let blocks = sample.chunks_exact(BLOCK).zip(factors.chunks_exact(BLOCK));
        for ((sample, factors), noise) in blocks.zip(noise.chunks_exact_mut(BLOCK)) {
            let scaled = sample.iter().zip(factors).map(|(x, factor)| (x / factor).abs());
            let step = scaled.fold(0.0, f32::max) / 127.0;
            noise.iter_mut().for_each(|noise| *noise += step * step / 12.0);
        }
    }
    noise.iter_mut().for_each(|noise| *noise /= count as f32);
    noise
}
