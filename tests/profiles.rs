//! What is predicted for boards, against the records of the predicting scripts and against what
//! others have published.

use kinglet_machine::Profile;
use kinglet_machine::roofline::{Engine, Prediction, Unit, Width, Work};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Hidden size, width of the feed-forward part, layers, heads, key-value heads.
const MODELS: [(&str, [f64; 5]); 3] = [
    ("135M", [576.0, 1536.0, 30.0, 9.0, 3.0]),
    ("360M", [960.0, 2560.0, 32.0, 15.0, 5.0]),
    ("1.7B", [2048.0, 8192.0, 24.0, 32.0, 32.0]),
];
const VOCABULARY: f64 = 49152.0;
const HEAD_DIM: f64 = 64.0;

/// What a model of the family asks for behind `context` tokens, its cache in 8 bits.
fn work(model: &str, kind: &str, context: f64) -> Work {
    let (_, [hidden, ffn, layers, heads, kv_heads]) =
        MODELS.iter().find(|(name, _)| *name == model).unwrap();
    let attention = 2.0 * (heads + kv_heads) * HEAD_DIM;
    let layer_multiply_adds = layers * hidden * (attention + 3.0 * ffn);
    let head_multiply_adds = VOCABULARY * hidden;
    let (bits, width) = if kind == "q4" { (4.56, Width::Below8) } else { (8.33, Width::Bits8) };
    // The search of the head reads one of its planes, of 4 bits and scales.
    let weights = layer_multiply_adds * bits / 8.0 + head_multiply_adds * 4.3 / 8.0;
    let cache = layers * 2.0 * kv_heads * (HEAD_DIM + 2.0) * context;
    let decode_bytes = weights + cache;
    Work { decode_bytes, layers: *layers, layer_multiply_adds, head_multiply_adds, width }
}

/// The lines of a record as maps from field to value; quoted fields may hold commas.
fn record(name: &str) -> Vec<HashMap<String, String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/records").join(name);
    let text = fs::read_to_string(path).unwrap();
    let split = |line: &str| -> Vec<String> {
        let mut is_quoted = false;
        let outside = |c: char| {
            is_quoted ^= c == '"';
            c == ',' && !is_quoted
        };
        line.split(outside).map(|field| field.trim_matches('"').to_owned()).collect()
    };
    let mut lines = text.lines().map(split);
    let head = lines.next().unwrap();
    lines.map(|line| head.iter().cloned().zip(line).collect()).collect()
}

/// Compares a prediction with a recorded one, which knows more about kernels.
fn check(line: &HashMap<String, String>, id: &str, unit: Unit, context: f64, most: f64) {
    let field = |name: &str| line[name].as_str();
    let board = Profile::named(id).unwrap();
    let work = work(field("model"), field("type"), context);
    let mine = Prediction::new(&board, unit, &work).unwrap();
    let is_decode = field("test").ends_with("decode");
    let mine = if is_decode { mine.decode } else { mine.prefill.unwrap() };
    let recorded: f64 = field("value").parse().unwrap();
    let ratio = mine / recorded;
    assert!(
        (1.0 - most..1.0 + most).contains(&ratio),
        "{id} {line:?}: the roofline says {mine:.0}"
    );
}

#[test]
fn processors_are_as_the_emulator_and_llvm_predict() {
    let ids = HashMap::from([
        ("Pi Zero 2 W", "pi-zero-2w"),
        ("Pi 3 B+", "pi-3b-plus"),
        ("Pi 4", "pi-4"),
        ("Pi 5", "pi-5"),
        ("Jetson Nano", "jetson-nano"),
        ("Jetson TX2", "jetson-tx2"),
        ("Jetson Orin Nano", "orin-nano-super"),
        ("Jetson Thor", "thor"),
        ("PC with an N100", "n100"),
    ]);
    let lines = record("boards.csv");
    let lines = lines.iter().filter(|l| ["decode", "prefill"].contains(&l["test"].as_str()));
    let mut count = 0;
    for line in lines {
        // The recorded runs have contexts below 80 tokens.
        check(line, ids[line["board"].as_str()], Unit::Processor, 40.0, 0.1);
        count += 1;
    }
    assert!(count >= 32);
}

#[test]
fn gpus_are_as_their_machine_code_predicts() {
    let ids = HashMap::from([
        ("Jetson Xavier NX", "xavier-nx"),
        ("Jetson Orin Nano", "orin-nano"),
        ("Jetson Orin Nano Super", "orin-nano-super"),
        ("Jetson AGX Orin", "agx-orin"),
        ("Jetson Thor", "thor"),
    ]);
    let lines = record("cuda.csv");
    let lines =
        lines.iter().filter(|l| ["GPU decode", "GPU prefill"].contains(&l["test"].as_str()));
    let mut count = 0;
    for line in lines {
        // The roofline leaves out that the last multiprocessors have less to do.
        check(line, ids[line["board"].as_str()], Unit::Gpu, 512.0, 0.25);
        count += 1;
    }
    assert!(count >= 60);
}

/// A published decode speed: board, engine, model, bytes of its file, layers, tokens/s.
struct Published {
    board: &'static str,
    unit: Unit,
    engine: &'static str,
    model: &'static str,
    megabytes: f64,
    layers: f64,
    decode: f64,
}

/// How each engine uses memory: share of the bandwidth, and µs that it takes for a layer beside
/// reading, which on GPUs are launches. Two numbers for an engine, not for a row.
const ENGINES: [(&str, f64, f64); 6] = [
    ("llama.cpp, A76", 1.0, 0.0),
    // Without dot products its K-quants are limited by computing.
    ("llama.cpp, A72", 0.57, 0.0),
    ("rustllm, A53", 0.5, 0.0),
    ("llama.cpp CUDA", 0.8, 161.0),
    ("MLC", 0.62, 0.0),
    ("TensorRT Edge-LLM", 0.8, 45.0),
];

/// Decoding as published; sizes of files that are not published follow from the bits per weight of
/// their format: Q5_K 5.5, Q6_K 6.56, NVFP4 4.5.
#[rustfmt::skip]
const PUBLISHED: [Published; 13] = {
    use Unit::{Gpu, Processor};
    const fn row(
        board: &'static str, unit: Unit, engine: &'static str, model: &'static str,
        megabytes: f64, layers: f64, decode: f64,
    ) -> Published {
        Published { board, unit, engine, model, megabytes, layers, decode }
    }
    [
        row("pi-zero-2w", Processor, "rustllm, A53", "SmolLM-360M Q4_K_M", 268.9, 32.0, 2.6),
        row("pi-4", Processor, "llama.cpp, A72", "SmolLM-135M Q2_K", 86.4, 30.0, 33.0),
        row("pi-5", Processor, "llama.cpp, A76", "LFM2-350M Q5_K", 244.0, 16.0, 44.45),
        row("pi-5", Processor, "llama.cpp, A76", "LFM2-350M Q6_K", 290.0, 16.0, 39.45),
        row("pi-5", Processor, "llama.cpp, A76", "LFM2-700M Q5_K", 510.0, 16.0, 21.6),
        row("pi-5", Processor, "llama.cpp, A76", "LFM2-700M Q6_K", 608.0, 16.0, 19.1),
        row("orin-nano", Gpu, "llama.cpp CUDA", "SmolLM-135M Q2_K", 86.4, 30.0, 137.0),
        row("orin-nano-super", Gpu, "llama.cpp CUDA", "SmolLM2-135M Q4_K_M", 101.0, 30.0, 165.2),
        row("orin-nano-super", Gpu, "llama.cpp CUDA", "SmolLM2-360M Q8_0", 369.0, 32.0, 102.2),
        row("orin-nano-super", Gpu, "MLC", "SmolLM2-1.7B int4", 963.0, 24.0, 64.5),
        row("orin-nano", Gpu, "MLC", "SmolLM2-1.7B int4", 963.0, 24.0, 41.0),
        row("thor", Gpu, "TensorRT Edge-LLM", "Qwen3-0.6B NVFP4", 335.0, 28.0, 318.6),
        row("thor", Gpu, "TensorRT Edge-LLM", "Qwen3-1.7B NVFP4", 968.0, 28.0, 170.4),
    ]
};

/// Prints the comparison that `boards/README.md` speaks of.
#[test]
fn published_speeds_are_within_a_third() {
    println!(
        "board            engine             model                  published predicted ratio"
    );
    for row in &PUBLISHED {
        let board = Profile::named(row.board).unwrap();
        let (_, share, micros) = ENGINES.iter().find(|(name, ..)| *name == row.engine).unwrap();
        let engine = Engine {
            bandwidth_share: *share,
            seconds_per_layer: micros / 1e6,
            seconds_per_token: 0.0,
        };
        let rate = match row.unit {
            Unit::Processor => board.read_gb_per_s,
            Unit::Gpu => board.theoretical_gb_per_s,
        };
        let predicted = 1.0 / engine.decode_seconds(row.megabytes * 1e6, row.layers, rate);
        let ratio = predicted / row.decode;
        println!(
            "{:<16} {:<18} {:<22} {:>9.1} {predicted:>9.1} {ratio:>5.2}",
            row.board, row.engine, row.model, row.decode
        );
        assert!((0.65..1.35).contains(&ratio), "{} {}", row.board, row.model);
    }
}

/// Watts that others have measured while a board decoded, against the power under load of its
/// profile: board, model, tokens/s, watts.
#[rustfmt::skip]
const PUBLISHED_POWER: [(&str, Unit, &str, f64, f64); 4] = [
    ("pi-5", Unit::Processor, "Llama-3.2-3B, 8 GB board", 4.61, 13.9),
    ("pi-5", Unit::Processor, "Llama-3.2-3B, 16 GB board", 4.88, 11.9),
    ("pi-500", Unit::Processor, "Llama-3.2-3B", 5.55, 13.0),
    ("orin-nano-super", Unit::Gpu, "SmolLM2-360M Q8_0 at 25 W", 102.2, 102.2 / 15.50),
];

#[test]
fn published_energy_is_within_a_third() {
    println!("board            model                          J/token predicted ratio");
    for (id, unit, model, decode, watts) in PUBLISHED_POWER {
        let board = Profile::named(id).unwrap();
        let load = match unit {
            Unit::Processor => board.power.load_watts.unwrap(),
            Unit::Gpu => board.gpu.unwrap().load_watts.unwrap(),
        };
        let (measured, predicted) = (watts / decode, load / decode);
        let ratio = predicted / measured;
        println!("{id:<16} {model:<30} {measured:>7.3} {predicted:>9.3} {ratio:>5.2}");
        assert!((0.65..1.35).contains(&ratio), "{id} {model}");
    }
}
