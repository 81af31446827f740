//! Merged adapters are those of `peft`, to the bit; `goldens/make_lora.py` has made them.

use kinglet::calibrate::{Calibrate, Stage, TextSource, convert_calibrated};
use kinglet::{Code, Result};
use kinglet_quant::arrange::Preset;
use kinglet_quant::convert::Options;
use kinglet_quant::tensor::{self, NO_LAYER};
use kinglet_quant::{Role, Source};
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models::{golden_path, small_source};
use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A model with a head of its own, which most adapters are for.
const UNTIED: &str = "gqa3-head32-untied";
/// A model whose head is its embedding.
const TIED: &str = "mqa4-head32";

fn adapter(name: &str) -> PathBuf {
    golden_path("lora").join(name)
}

fn open(model: &str) -> Source {
    Source::open(&small_source(model)).unwrap()
}

/// The name of a tensor in a Hugging Face checkpoint.
fn hub_name(role: Role, layer: u16) -> String {
    let part = match role {
        Role::Embedding => return "model.embed_tokens.weight".to_owned(),
        Role::Head => return "lm_head.weight".to_owned(),
        Role::FinalNorm => return "model.norm.weight".to_owned(),
        Role::AttnNorm => "input_layernorm",
        Role::FfnNorm => "post_attention_layernorm",
        Role::Q | Role::K | Role::V | Role::O => {
            return format!("model.layers.{layer}.self_attn.{}_proj.weight", role.name());
        }
        Role::Gate | Role::Up | Role::Down => {
            return format!("model.layers.{layer}.mlp.{}_proj.weight", role.name());
        }
        role => unreachable!("SmolLM has no {role:?}"),
    };
    format!("model.layers.{layer}.{part}.weight")
}

/// Compares every tensor with those of a case: what `peft` changes has its bits, all else those of
/// the checkpoint.
fn assert_case(case: &Value, source: &Source) {
    let base = open(case["model"].as_str().unwrap());
    assert_eq!(source.config().tied == 1, case["tied"] == true);
    let changed = case["sha256"].as_object().unwrap();
    let mut found = 0;
    for (role, layer) in tensor::order(source.config()) {
        let name = hub_name(role, layer);
        let values = source.load(role, layer).unwrap();
        match changed.get(&name) {
            Some(expected) => {
                let hash = Sha256::digest(bytemuck::cast_slice::<f32, u8>(&values));
                let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(expected, &hash, "{name}");
                found += 1;
            }
            None => {
                // A head of its own that nothing changes is the embedding as it was.
                let is_new = role == Role::Head && base.config().tied == 1;
                let from = if is_new { Role::Embedding } else { role };
                assert!(values == base.load(from, layer).unwrap(), "{name}");
            }
        }
    }
    assert_eq!(found, changed.len());
}

fn cases() -> Value {
    let text = fs::read_to_string(golden_path("lora/merged.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn merged_tensors_have_the_bits_of_peft() {
    let cases = cases();
    let cases = cases.as_object().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases.values() {
        let mut source = open(case["model"].as_str().unwrap());
        for pair in case["adapters"].as_array().unwrap() {
            let (name, scale) = (pair[0].as_str().unwrap(), pair[1].as_f64().unwrap());
            source.merge(&adapter(name), scale).unwrap();
        }
        assert_case(case, &source);
    }
}

#[test]
fn gguf_adapters_are_merged_as_those_of_peft() {
    let mut source = open(UNTIED);
    source.merge(&adapter("plain.gguf"), 1.0).unwrap();
    assert_case(&cases()["plain"], &source);
    let merged = source.adapters().next().unwrap();
    assert_eq!((merged.name.as_str(), merged.matrices), ("plain.gguf", 8));
    let error = open(TIED).merge(&adapter("plain.gguf"), 1.0).unwrap_err();
    assert_eq!(error.code(), Code::WrongShape, "{error}");
    let error = Source::open(&adapter("plain.gguf")).unwrap_err();
    assert_eq!(error.code(), Code::BadArgument, "{error}");
    assert!(error.message().contains("--lora"), "{error}");
}

#[test]
fn damaged_gguf_adapters_are_errors_or_merged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.gguf");
    let whole = fs::read(adapter("plain.gguf")).unwrap();
    let attempt = |bytes: &[u8]| -> Result<()> {
        fs::write(&path, bytes).unwrap();
        let mut source = open(UNTIED);
        source.merge(&path, 1.0)?;
        source.load(Role::Q, 0)?;
        source.load(Role::Embedding, NO_LAYER).map(drop)
    };
    attempt(&whole).unwrap();
    for end in (0..whole.len()).step_by(701) {
        assert!(attempt(&whole[..end]).is_err(), "cut to {end} bytes");
    }
    let mut random = fastrand::Rng::with_seed(4);
    for _ in 0..400 {
        let mut bytes = whole.clone();
        bytes[random.usize(..1500)] ^= 1 << random.u32(..8);
        // Whatever it is, it comes back.
        let _ = attempt(&bytes);
    }
}

/// A copy of an adapter with another value in the last row of an update of the first layer.
fn changed_copy(name: &str, folder: &Path) -> PathBuf {
    let copy = folder.join("changed");
    fs::create_dir(&copy).unwrap();
    let from = adapter(name);
    fs::copy(from.join("adapter_config.json"), copy.join("adapter_config.json")).unwrap();
    let mut bytes = fs::read(from.join("adapter_model.safetensors")).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensor = "base_model.model.model.layers.0.mlp.down_proj.lora_B.weight";
    let end = 8 + header + metadata.info(tensor).unwrap().data_offsets.1;
    bytes[end - 4..end].copy_from_slice(&2.5_f32.to_le_bytes());
    fs::write(copy.join("adapter_model.safetensors"), bytes).unwrap();
    copy
}

#[test]
fn a_continued_calibration_never_mixes_adapters() {
    let folder = tempfile::tempdir().unwrap();
    let changed = changed_copy("task", folder.path());
    let convert = |name: &str, adapter: &Path, last: &str| {
        let mut source = open(UNTIED);
        source.merge(adapter, 1.0).unwrap();
        let text = TextSource::Given(b"The quick brown fox jumps over the lazy dog. 1, 2, 3, 4.");
        let work = folder.path().join(name);
        let calibrate = Calibrate { text, work: &work, cache: None };
        let output = folder.path().join("model.kinglet");
        let options = Options::new(Preset::Q4, 1);
        let mut go = |stage: Stage| match stage.name == last {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        convert_calibrated(&source, &output, &options, &calibrate, &mut go)?;
        Ok::<_, kinglet::Error>(fs::read(&output).unwrap())
    };
    let task = adapter("task");
    let plain = convert("one", &task, "none").unwrap();
    let fresh = convert("two", &changed, "none").unwrap();
    // The first layer is finished when it stops.
    let error = convert("both", &task, "rounding").unwrap_err();
    assert_eq!(error.code(), Code::Interrupted);
    let continued = convert("both", &changed, "none").unwrap();
    assert!(continued == fresh && fresh != plain);
}

#[test]
fn the_command_merges_and_shows_adapters() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.kinglet");
    let say = |args: &[&str]| Said::by(kinglet(folder.path()).args(args));
    let convert = |model: &Path, adapters: &[String]| {
        let mut args = vec!["convert", model.to_str().unwrap(), "-o", output.to_str().unwrap()];
        args.extend(adapters.iter().flat_map(|adapter| ["--lora", adapter.as_str()]));
        say(&args)
    };
    let named = |name: &str, scale: &str| adapter(name).display().to_string() + scale;
    let model = small_source(UNTIED);
    convert(&model, &[named("style", "=0.75"), named("task", "=-0.5")]).ok();
    let shown = say(&["inspect", output.to_str().unwrap()]).ok();
    assert!(
        shown.contains("\nadapter    style: scale 0.75, 16 matrices of rank 3 to 9"),
        "{shown}"
    );
    assert!(shown.contains(", 2 adapters merged, to q8"), "{shown}");
    let document = say(&["inspect", output.to_str().unwrap(), "--json"]).json();
    let adapters = document["adapters"].as_array().unwrap();
    assert!(adapters.len() == 2 && adapters[1].as_str().unwrap().starts_with("task: scale -0.5"));
    let parted = convert(&small_source(TIED), &[named("tied", "")]);
    assert!(parted.err.contains("parts the head from the embedding"), "{parted:?}");
    assert_eq!(
        say(&["inspect", output.to_str().unwrap(), "--json"]).json()["config"]["tied"],
        false
    );
    convert(&small_source(TIED), &[named("style", "")]).fails(1, 304);
    convert(&model, &[named("none", "")]).fails(1, 101);
    convert(&adapter("style"), &[]).fails(2, 404);
    assert_eq!(convert(&model, &[named("style", "=much")]).code, Some(2));
    convert(&model, &[]).ok();
    let document = say(&["inspect", output.to_str().unwrap(), "--json"]).json();
    assert_eq!(document["adapters"], serde_json::json!([]));
}
