//! Checkpoints as people have them, from `../shared/cases/import`: each is read, or refused in
//! words that help.

use kinglet_quant::Source;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models::{RELATIVES, SMALL, small_source};
use kinglet_tests::shared::shared;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The cases that must be read; all others are refused.
const READ: [&str; 43] = [
    "base",
    "cfg_bias_null",
    "cfg_bom",
    "cfg_mpe_float",
    "cfg_pad_minus1",
    "chat_eos_cfg0",
    "chat_fmt",
    "chat_generation_tag",
    "chat_jinja_crlf",
    "chat_named_dict",
    "chat_strftime",
    "chat_tojson",
    "chat_tools_not_none",
    "extra_buffers",
    "gguf_IQ4_NL",
    "gguf_Q2_K",
    "gguf_add_bos",
    "gguf_base",
    "gguf_rope_freqs",
    "gguf_scale_linear",
    "gguf_split",
    "hub",
    "lic_latin1",
    "mixed_dtypes",
    "pad_resized",
    "prefix_inner_only",
    "prefix_lora_unmerged",
    "prefix_peft",
    "re_4.57.6_official",
    "re_5.0.0_fastclass",
    "re_5.24.0_official",
    "re_5.24.0_official_nopost",
    "rope_scaling_both_default",
    "rope_scaling_linear1",
    "shape_stories260k",
    "tc_bom",
    "tc_pad_false",
    "tied_only_head",
    "tied_other_head",
    "tok_norm_empty_seq",
    "tok_pairs",
    "tok_post_seq_bl",
    "tok_post_template_nothing",
];

/// Words of parsers, which tell a user nothing.
const PARSERS: [&str; 6] =
    ["untagged", "expected struct", "missing field", "invalid type", "did not match", "os error"];

/// The folders of cases, and the GGUF files in them by themselves.
fn paths(case: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(case).unwrap().map(|entry| entry.unwrap().path());
    let ggufs = files.filter(|file| file.extension().is_some_and(|end| end == "gguf"));
    ggufs.chain([case.to_owned()]).collect()
}

#[test]
fn checkpoints_of_people_are_read_or_refused_in_plain_words() {
    let name = "checkpoints_of_people_are_read_or_refused_in_plain_words";
    let Some(folder) = shared(name, "cases/import") else { return };
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let case = entry.unwrap().path();
        let case_name = case.file_name().unwrap().to_str().unwrap();
        for path in paths(&case) {
            match Source::open(&path) {
                Ok(_) => assert!(READ.contains(&case_name), "{case_name} is read"),
                Err(error) => {
                    assert!(!READ.contains(&case_name), "{case_name}: {error}");
                    let words = PARSERS.iter().find(|words| error.message().contains(**words));
                    assert_eq!(words, None, "{case_name}: {error}");
                }
            }
        }
        seen += usize::from(READ.contains(&case_name));
    }
    assert_eq!(seen, READ.len(), "a case is missing");
}

/// Llamas with what SmolLM does not have go all the way, calibration included.
#[test]
fn relatives_are_converted_and_run() {
    let tokenizers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../quant/goldens");
    for (name, tokenizer) in [
        (RELATIVES[0], None),
        (RELATIVES[1], None),
        (SMALL[3], Some("pieces-tokenizer.json")),
        (SMALL[3], Some("llama3-tokenizer.json")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(small_source(name)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        if let Some(tokenizer) = tokenizer {
            let to = folder.path().join("tokenizer.json");
            fs::copy(tokenizers.join(tokenizer), to).unwrap();
        }
        let (home, output) = (folder.path().join("home"), folder.path().join("out.kinglet"));
        let text = folder.path().join("text");
        fs::write(&text, "It was a day like any other, 12 of them. ".repeat(40)).unwrap();
        let mut convert = kinglet(&home);
        convert.arg("convert").arg(folder.path()).arg("-o").arg(&output);
        Said::by(convert.args(["--type", "q4", "--calibrate"]).arg(&text)).ok();
        let mut run = kinglet(&home);
        run.arg("run").arg(&output).args(["-p", "It was", "-n", "8", "--ignore-eos", "--json"]);
        let reply = Said::by(run.stdin(Stdio::null())).json();
        assert_eq!(reply["tokens"].as_array().unwrap().len(), 8, "{name}: {reply}");
        let mut inspect = kinglet(&home);
        let report = Said::by(inspect.arg("inspect").arg(&output).arg("--json")).json();
        let version = if tokenizer.is_none() { 3 } else { 2 };
        assert_eq!(report["version"], version, "{name}: {report}");
    }
}

#[test]
fn convert_says_what_a_template_lacks() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(small_source(SMALL[0])).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    fs::write(folder.path().join("chat_template.jinja"), "{{ messages | unheard_of }}").unwrap();
    let output = folder.path().join("out.kinglet");
    let mut convert = kinglet(&folder.path().join("home"));
    convert.arg("convert").arg(folder.path()).arg("-o").arg(&output).args(["--type", "q8"]);
    let said = Said::by(&mut convert);
    assert!(said.err.contains("filter unheard_of is unknown (line 1)"), "{said:?}");
    said.ok();
    let line = folder.path().join("line");
    fs::write(&line, "Hello").unwrap();
    let mut chat = kinglet(&folder.path().join("home"));
    chat.arg("chat").arg(&output).args(["-n", "1"]);
    let said = Said::by(chat.stdin(Stdio::from(fs::File::open(line).unwrap())));
    assert!(said.err.contains("needs what Kinglet does not have"), "{said:?}");
    said.fails(1, 305);
}
