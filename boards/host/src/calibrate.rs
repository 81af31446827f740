//! Calibration: what a model's activations look like on a text, for better rounding.

mod observed;
mod work;
mod writing;

pub use observed::Observed;
pub use work::{Calibrate, Stage, TextSource, convert_calibrated, expected_seconds};
pub use writing::{Writing, write};

use crate::{Backend, Model, SessionOptions};
use kinglet_core::engine::Site;
use kinglet_quant::convert::{Options, Progress, convert};
use kinglet_quant::fold::{Folds, LayerSizes};
use kinglet_quant::{Code, Error, Result, Source, Type, partial};
use std::ops::ControlFlow;
use std::path::Path;

/// Prose, dialogue, lists and code, so that no kind of text sets the sizes alone.
const TEXT: &str = include_str!("calibrate/text.txt");
/// Tokens of the text that are used at most.
const TOKENS: usize = 1024;

/// Weights from which on the model that is observed has 4 bits, to keep within 1.5 GB of memory.
const LARGE: u64 = 1_000_000_000;

/// Re-scales the channels of a checkpoint, exactly, so that rounding weights and activations to few
/// bits costs less: runs the model over a short text of Kinglet's own and evens out what it sees.
///
/// Takes about as long as a conversion, and as much space beside `output` while it runs. `progress`
/// is that of the conversion; when it breaks, the result is `Interrupted`.
pub fn smooth(
    source: &mut Source,
    output: &Path,
    threads: usize,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<()> {
    let folder = partial::Folder::new(output).map_err(|error| {
        let message = format_args!("cannot write beside {}: {error}", output.display());
        Error::new(Code::Unwritable, message)
    })?;
    let path = folder.path().join("calibration.kinglet");
    let kind = if source.config().parameters() > LARGE { Type::Q4 } else { Type::Q8 };
    convert(source, &path, &Options::new(kind, threads), progress)?;
    let sizes = observe(&Model::open(&path)?, threads)?;
    let folds = Folds::smoothing(source, &sizes)?;
    source.fold(folds);
    Ok(())
}

/// The sizes of every layer's activations over the text.
fn observe(model: &Model, threads: usize) -> Result<Vec<LayerSizes>> {
    let mut tokens = model.tokenize(TEXT)?;
    tokens.truncate(TOKENS.min(model.config().max_context as usize));
    let context = Some(tokens.len());
    let options = SessionOptions {
        context,
        threads: Some(threads),
        backend: Some(Backend::best()),
        ..SessionOptions::default()
    };
    let mut session = model.session(&options)?;
    let mut layers = vec![LayerSizes::default(); model.config().layers as usize];
    session.observe(&tokens, &mut |site, layer, values| {
        if site == Site::Head {
            return;
        }
        let layer = &mut layers[usize::from(layer)];
        let config = model.config();
        let (squares, width) = match site {
            Site::Attention => (&mut layer.attention, config.hidden as usize),
            Site::Output => (&mut layer.output, config.q_dim()),
            Site::FeedForward => (&mut layer.feed_forward, config.hidden as usize),
            Site::Down => (&mut layer.down, config.ffn as usize),
            Site::Head => unreachable!("left out above"),
        };
        squares.resize(width, 0.0);
        for token in values.chunks_exact(width) {
            squares.iter_mut().zip(token).for_each(|(sum, x)| *sum += x * x);
        }
    })?;
    let to_sizes = |squares: &mut Vec<f32>| {
        squares.iter_mut().for_each(|sum| *sum = (*sum / tokens.len() as f32).sqrt());
    };
    for LayerSizes { attention, output, feed_forward, down } in &mut layers {
        [attention, output, feed_forward, down].into_iter().for_each(to_sizes);
    }
    Ok(layers)
}
