//! `kinglet bench`: documents that scripts for llama-bench read.

use kinglet::Type;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models;
use serde_json::Value;
use std::collections::HashMap;
use std::process::Stdio;
use tempfile::TempDir;

/// The fields of llama-bench's JSON in its order.
const LLAMA_FIELDS: [&str; 44] = [
    "build_commit",
    "build_number",
    "cpu_info",
    "gpu_info",
    "backends",
    "model_filename",
    "model_type",
    "model_size",
    "model_n_params",
    "n_batch",
    "n_ubatch",
    "n_threads",
    "cpu_mask",
    "cpu_strict",
    "poll",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "n_cpu_moe",
    "split_mode",
    "main_gpu",
    "no_kv_offload",
    "flash_attn",
    "devices",
    "tensor_split",
    "tensor_buft_overrides",
    "load_mode",
    "lazy_mode",
    "embeddings",
    "no_op_offload",
    "no_host",
    "repack",
    "fit_target",
    "fit_min_ctx",
    "n_prompt",
    "n_gen",
    "n_depth",
    "test_time",
    "avg_ns",
    "stddev_ns",
    "avg_ts",
    "stddev_ts",
    "samples_ns",
    "samples_ts",
];

/// Kinglet's own.
const OWN_FIELDS: [&str; 19] = [
    "load_ns",
    "ttft_ns",
    "read_bytes_per_second",
    "bytes_per_token",
    "wall_share",
    "multiply_adds_per_second",
    "peak_rss_bytes",
    "p50_ns",
    "p99_ns",
    "tier",
    "texts",
    "watts",
    "joules_per_token",
    "tokens_per_joule",
    "throttled",
    "throttle_flags",
    "rested_ns",
    "power",
    "curve",
];

/// A model with 512 positions.
const MODEL: &str = "gqa3-head64";

/// A cache of its own for each test.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn bench(&self, args: &[&str]) -> Said {
        drop(models::small(MODEL, Type::Q4));
        let mut command = kinglet(self.0.path());
        command.args(["-q", "bench"]).arg(models::converted_path(MODEL, Type::Q4)).args(args);
        Said::by(command.stdin(Stdio::null()))
    }

    fn documents(&self, args: &[&str]) -> Vec<Value> {
        let document = self.bench(&[args, &["-o", "json"]].concat()).json();
        document.as_array().unwrap().clone()
    }
}

/// `(n_threads, n_batch, n_depth, n_prompt, n_gen)` of every test.
fn shapes(documents: &[Value]) -> Vec<[u64; 5]> {
    let fields = ["n_threads", "n_batch", "n_depth", "n_prompt", "n_gen"];
    documents.iter().map(|document| fields.map(|field| document[field].as_u64().unwrap())).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn assert_close(a: &Value, b: f64) {
    let a = a.as_f64().unwrap();
    assert!((a - b).abs() <= 1e-6 * b.abs() + 1.0, "{a} is not {b}");
}

/// The rows of a document of comma-separated values, all of them quoted.
fn csv_rows(text: &str) -> Vec<HashMap<String, String>> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let row = |line: &str| {
        let inner = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).unwrap();
        let values: Vec<&str> = inner.split("\",\"").collect();
        assert_eq!(values.len(), names.len(), "{line}");
        names.iter().zip(values).map(|(name, value)| (name.to_string(), value.into())).collect()
    };
    lines.map(row).collect()
}

#[test]
fn documents_have_the_fields_of_llama_bench_and_their_types() {
    let documents = Place::new().documents(&["-p", "16", "-n", "4", "-r", "2"]);
    assert_eq!(documents.len(), 2);
    for document in &documents {
        let document = document.as_object().unwrap();
        for name in LLAMA_FIELDS.iter().chain(&OWN_FIELDS) {
            assert!(document.contains_key(*name), "{name}");
        }
        for name in ["cpu_strict", "no_kv_offload", "embeddings", "no_host", "repack"] {
            assert!(document[name].is_boolean(), "{name}");
        }
        for name in ["build_number", "poll", "n_gpu_layers", "flash_attn", "no_op_offload"] {
            assert!(document[name].is_i64(), "{name}");
        }
        for name in ["cpu_mask", "devices", "tensor_split", "test_time", "tier", "type_v"] {
            assert!(document[name].is_string(), "{name}");
        }
        assert!(document["ttft_ns"].as_u64() > document["load_ns"].as_u64());
        assert!(document["peak_rss_bytes"].as_u64() > Some(0));
        assert_eq!(document["type_k"], "int8");
        // Nobody asked for these.
        for name in ["watts", "rested_ns", "power", "curve"] {
            assert!(document[name].is_null(), "{name}");
        }
    }
}

#[test]
fn figures_follow_from_the_samples() {
    let documents = Place::new().documents(&["-p", "48", "-n", "6", "-pg", "9,3", "-r", "3"]);
    for document in &documents {
        let tokens = (document["n_prompt"].as_f64().unwrap()) + document["n_gen"].as_f64().unwrap();
        let (ns, ts) = (numbers(&document["samples_ns"]), numbers(&document["samples_ts"]));
        assert_eq!((ns.len(), ts.len()), (3, 3));
        for (ns, ts) in ns.iter().zip(&ts) {
            assert!((ts * ns / 1e9 - tokens).abs() < 1e-3, "{ts} {ns}");
        }
        assert_close(&document["avg_ns"], mean(&ns));
        assert_close(&document["avg_ts"], mean(&ts));
        let square = ts.iter().map(|x| (x - mean(&ts)).powi(2)).sum::<f64>() / 2.0;
        assert_close(&document["stddev_ts"], square.sqrt());
    }
    let [prompt, generation, both] = &documents[..] else { panic!("three tests were asked for") };
    assert!(prompt["multiply_adds_per_second"].as_f64() > Some(0.0));
    assert!(prompt["p50_ns"].is_null() && prompt["bytes_per_token"].is_null());
    assert!(generation["p50_ns"].as_u64() <= generation["p99_ns"].as_u64());
    let read = generation["bytes_per_token"].as_f64().unwrap();
    let wall = generation["read_bytes_per_second"].as_f64().unwrap();
    let share = generation["wall_share"].as_f64().unwrap();
    let expected = read * generation["avg_ts"].as_f64().unwrap() / wall;
    assert!((share - expected).abs() < 1e-3 * expected);
    assert!(both["p50_ns"].is_u64() && both["wall_share"].is_null());
}

#[test]
fn a_deeper_context_is_more_to_read() {
    let documents = Place::new().documents(&["-p", "0", "-n", "4", "-d", "0,128", "-r", "1"]);
    let read = |i: usize| documents[i]["bytes_per_token"].as_u64().unwrap();
    // Two key-value heads in two layers, 64 bytes and a scale of two for keys and for values.
    let model = models::small(MODEL, Type::Q4);
    let per_position = u64::from(model.config().layers * model.config().kv_heads) * 2 * (64 + 2);
    assert_eq!(read(1) - read(0), 128 * per_position);
}

#[test]
fn lists_and_ranges_make_every_combination() {
    let place = Place::new();
    let args = ["-p", "8", "-p", "4-8+4", "-n", "0", "-t", "1,2", "-b", "8-16*2", "-r", "1"];
    let shapes = shapes(&place.documents(&args));
    let mut expected = Vec::new();
    for batch in [8, 16] {
        for threads in [1, 2] {
            expected.extend([8, 4, 8].map(|prompt| [threads, batch, 0, prompt, 0]));
        }
    }
    assert_eq!(shapes, expected);
}

#[test]
fn tiers_and_caches_are_lists_too() {
    let place = Place::new();
    let args = ["-p", "0", "-n", "2", "--tier", "scalar", "-ctk", "q8_0,f16", "-ctv", "q8_0,f16"];
    let documents = place.documents(&[&args[..], &["-r", "1", "--no-warmup"]].concat());
    let found: Vec<_> = documents.iter().map(|d| (&d["type_k"], &d["type_v"])).collect();
    assert_eq!(found, [(&"int8".into(), &"int8".into()), (&"f16".into(), &"f16".into())]);
    for document in &documents {
        assert_eq!(document["tier"], "scalar");
        assert!(document["ttft_ns"].is_null());
    }
}

#[test]
fn every_format_says_the_same() {
    let place = Place::new();
    let args = ["-p", "8", "-n", "2", "-d", "16", "-t", "1", "-r", "1", "-oe", "csv"];
    let with = |format| place.bench(&[&args[..], &["-o", format]].concat());
    let said = with("jsonl");
    let rows = csv_rows(&said.err);
    let lines: Vec<Value> =
        said.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), lines.len()), (2, 2));
    for (row, line) in rows.iter().zip(&lines) {
        for (name, text) in row {
            match &line[name] {
                Value::String(value) => assert_eq!(text, value),
                Value::Bool(value) => assert_eq!(text, if *value { "1" } else { "0" }),
                Value::Null => assert_eq!(text, ""),
                value => assert_eq!(text.parse(), Ok(value.as_f64().unwrap()), "{name}"),
            }
        }
    }
    let table = with("md").ok();
    assert!(table.contains("| test |") || table.contains(" test | "), "{table}");
    assert!(table.contains(" pp8 @ d16 |") && table.contains(" tg2 @ d16 |"), "{table}");
    let bars = |line: &str| line.matches('|').count();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| bars(row) == bars(rows[0])));
    let statements = with("sql").ok();
    assert!(statements.starts_with("CREATE TABLE IF NOT EXISTS llama_bench ("), "{statements}");
    assert_eq!(statements.matches("INSERT INTO llama_bench (").count(), 2);
}

#[test]
fn wrong_requests_end_with_2() {
    let place = Place::new();
    let wrong: [&[&str]; 8] = [
        &["--fly"],
        &["-p", "x"],
        &["-p", "8-"],
        &["-pg", "8"],
        &["-o", "xml"],
        &["-ctk", "int9"],
        &["-r", "0"],
        &["-ngl", "1"],
    ];
    for args in wrong {
        let said = place.bench(args);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?}");
    }
    place.bench(&["-p", "0", "-n", "0"]).fails(2, 404);
    place.bench(&["--tier", "sse9"]).fails(2, 404);
    place.bench(&["-ctk", "f16", "-ctv", "q8_0"]).fails(2, 404);
    place.bench(&["-t", "0"]).fails(2, 404);
    place.bench(&["-p", "8", "-d", "100000"]).fails(2, 404);
}
