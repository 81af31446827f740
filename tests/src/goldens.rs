//! Reference values that `goldens/make.py` has computed with `transformers`.

use crate::models::golden_path;
use safetensors::SafeTensors;
use std::fs;

/// One prompt on one model.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Token ids.
    pub prompt: Vec<u32>,
    /// Logits behind the last positions of the prompt, `[positions][vocabulary]`.
    pub logits: Vec<f32>,
    /// Positions that have logits: all, or the last one.
    pub positions: usize,
    /// The most probable continuation, end tokens included.
    pub greedy: Vec<u32>,
    /// How far a logit of the reference moves when it rounds keys and values to f16 as well.
    pub half_cache_shift: f32,
}

/// The goldens of a model. Panics when the file is not what the script writes.
pub fn read(model: &str) -> Vec<Golden> {
    let bytes = fs::read(golden_path(&format!("{model}.safetensors"))).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let texts = header.metadata().as_ref().unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    (0..)
        .map_while(|i| {
            let logits = tensors.tensor(&format!("logits_{i}")).ok()?;
            Some(Golden {
                prompt: words(&tensors, &format!("prompt_{i}"), u32::from_le_bytes),
                logits: words(&tensors, &format!("logits_{i}"), f32::from_le_bytes),
                positions: logits.shape()[0],
                greedy: words(&tensors, &format!("greedy_{i}"), u32::from_le_bytes),
                half_cache_shift: texts[&format!("kv_f16_{i}")].parse().unwrap(),
            })
        })
        .collect()
}

fn words<T>(tensors: &SafeTensors<'_>, name: &str, from: fn([u8; 4]) -> T) -> Vec<T> {
    let (chunks, rest) = tensors.tensor(name).unwrap().data().as_chunks::<4>();
    assert!(rest.is_empty());
    chunks.iter().map(|&bytes| from(bytes)).collect()
}
