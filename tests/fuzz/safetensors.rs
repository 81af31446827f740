//! Weights: one safetensors file, or an index and two shards.

use super::checkpoint::{Folder, shapes, use_source, weights};
use super::parts::{join, split};
use kinglet_quant::source::Source;
use serde_json::json;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

thread_local! {
    static FOLDER: Folder = Folder::new();
}

pub fn run(input: &[u8]) -> bool {
    let [first, index, second] = split(input);
    FOLDER.with(|folder| {
        if index.is_empty() && second.is_empty() {
            folder.put(SINGLE, first);
        } else {
            folder.remove(SINGLE);
            folder.put(SHARDS[0], first);
            folder.put(SHARDS[1], second);
            if !index.is_empty() {
                folder.put(INDEX, index);
            }
        }
        let is_accepted = Source::open(folder.path()).inspect(use_source).is_ok();
        [INDEX, SHARDS[0], SHARDS[1]].into_iter().for_each(|name| folder.remove(name));
        is_accepted
    })
}

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let shapes = shapes();
    let (first, second) = shapes.split_at(4);
    let shards = [first, second].map(weights);
    let place = |(index, part): (usize, &[(String, Vec<usize>)])| {
        part.iter().map(|(name, _)| (name.clone(), SHARDS[index])).collect::<Vec<_>>()
    };
    let places = [first, second].into_iter().enumerate().flat_map(place);
    let index = json!({ "weight_map": places.collect::<std::collections::BTreeMap<_, _>>() });
    let index = index.to_string();
    vec![
        ("single", weights(&shapes)),
        ("indexed", join(&[&shards[0], index.as_bytes(), &shards[1]])),
        ("shards", join(&[&shards[0], b"", &shards[1]])),
    ]
}
