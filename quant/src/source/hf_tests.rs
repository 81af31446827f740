//! Folders as people have them.

use super::testing::Checkpoint;
use super::*;
use crate::tensor::NO_LAYER;
use serde_json::{Value, json};
use std::fs;

fn open(checkpoint: &Checkpoint) -> Result<Source> {
    Source::open(checkpoint.write().path())
}

/// The message that opening a bent checkpoint fails with.
fn message(bend: impl FnOnce(&mut Checkpoint)) -> String {
    let mut checkpoint = Checkpoint::new();
    bend(&mut checkpoint);
    open(&checkpoint).expect_err("the checkpoint is unusable").message().to_owned()
}

/// What a tool makes of a tensor's name.
type Rename<'r> = &'r dyn Fn(&str) -> String;

/// A checkpoint whose tensors have other names.
fn renamed(rename: impl Fn(&str) -> String) -> Checkpoint {
    let mut checkpoint = Checkpoint::new();
    let tensors = std::mem::take(&mut checkpoint.tensors).into_iter();
    checkpoint.tensors = tensors.map(|(name, tensor)| (rename(&name), tensor)).collect();
    checkpoint
}

/// Fails unless both hold the same weights.
fn assert_same_weights(source: &Source, wanted: &Source, what: &str) {
    for (role, layer) in crate::tensor::order(wanted.config()) {
        let (found, wanted) =
            (source.load(role, layer).unwrap(), wanted.load(role, layer).unwrap());
        assert_eq!(found, wanted, "{what}: {}", crate::tensor::name(role, layer));
    }
}

#[test]
fn what_nobody_reads_stops_nothing() {
    let plain = open(&Checkpoint::new()).unwrap();
    let whole = Checkpoint::new().config.to_string();
    let with = |members: &str| whole.replacen('{', &format!("{{{members},"), 1);
    let without = |member: &str| whole.replace(member, "\"none\":0");
    for text in [
        format!("\u{FEFF}{whole}"),
        with(r#""init_scale": NaN, "limit": -Infinity, "other": [Infinity]"#),
        whole.replace("\"max_position_embeddings\":512", "\"max_position_embeddings\":512.0"),
        whole.replace("\"attention_bias\":false", "\"attention_bias\":null"),
        with(r#""mlp_bias": null, "rope_parameters": null, "quantization_config": null"#),
        without("\"model_type\":\"llama\"").replacen(
            '{',
            r#"{"architectures": ["LlamaForCausalLM"],"#,
            1,
        ),
    ] {
        let mut checkpoint = Checkpoint::new();
        checkpoint.files.insert("config.json", text.clone());
        let source = open(&checkpoint).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(source.config(), plain.config(), "{text}");
    }
}

#[test]
fn tokens_that_no_vocabulary_has_are_left_out() {
    for (pad, bos) in [(json!(-1), json!(970)), (json!(1_u64 << 40), json!(-1))] {
        let mut checkpoint = Checkpoint::new();
        checkpoint.config["pad_token_id"] = pad;
        checkpoint.config["bos_token_id"] = bos;
        checkpoint.config["eos_token_id"] = json!([-1, 2, 970, 5000]);
        let source = open(&checkpoint).unwrap();
        let config = source.config();
        assert_eq!((config.pad, config.bos), (crate::config::NO_TOKEN, crate::config::NO_TOKEN));
        assert_eq!(config.eos_tokens(), [2, 0]);
    }
}

#[test]
fn files_for_people_stop_nothing() {
    let mut checkpoint = Checkpoint::new();
    checkpoint.files.insert("README.md", "---\r\nlicense: \"mit\"\r\n---\r\nText".into());
    let folder = checkpoint.write();
    let licence = || Source::open(folder.path()).unwrap().texts().licence.clone();
    fs::create_dir(folder.path().join("LICENSE")).unwrap();
    assert_eq!(licence().as_deref(), Some("mit"));
    fs::write(folder.path().join("LICENSE.txt"), b"\xA9 Andr\xE9").unwrap();
    assert_eq!(licence().as_deref(), Some("© André"));
    fs::remove_file(folder.path().join("LICENSE.txt")).unwrap();
    fs::write(folder.path().join("README.md"), b"---\nlicense: mit # \xE9\n---\n").unwrap();
    assert_eq!(licence().as_deref(), Some("mit # é"));
}

#[test]
fn names_that_tools_wrap_are_those_of_the_model() {
    let plain = open(&Checkpoint::new()).unwrap();
    let inner = |name: &str| name.strip_prefix("model.").unwrap().to_owned();
    let renames: [(&str, Rename<'_>); 6] = [
        ("torch.compile", &|name| format!("_orig_mod.{name}")),
        ("PEFT", &|name| format!("base_model.model.{name}")),
        ("data parallel", &|name| format!("module.{name}")),
        ("the model within", &inner),
        ("the model within, wrapped", &|name| format!("base_model.model.{}", inner(name))),
        ("PEFT before a merge", &|name| {
            format!("base_model.model.{}", name.replace("_proj.", "_proj.base_layer."))
        }),
    ];
    for (what, rename) in renames {
        assert_same_weights(&open(&renamed(rename)).unwrap(), &plain, what);
    }
    let twice = message(|checkpoint| {
        let norm = checkpoint.tensors["model.norm.weight"].clone();
        checkpoint.tensors.insert("norm.weight".into(), norm);
    });
    assert!(twice.contains("both model.norm.weight and norm.weight"), "{twice}");
}

#[test]
fn a_tied_model_may_store_its_head_alone() {
    let source = open(&renamed(|name| name.replace("model.embed_tokens", "lm_head"))).unwrap();
    assert_same_weights(&source, &open(&Checkpoint::new()).unwrap(), "the head alone");
}

#[test]
fn a_head_of_its_own_is_used_whatever_the_settings_say() {
    let mut checkpoint = Checkpoint::new();
    let embedding = checkpoint.tensors["model.embed_tokens.weight"].clone();
    checkpoint.tensors.insert("lm_head.weight".into(), embedding);
    assert_eq!(open(&checkpoint).unwrap().config().tied, 1, "both are equal");
    checkpoint.tensors.get_mut("lm_head.weight").unwrap().1[970 * 64 - 1] += 1.0;
    let source = open(&checkpoint).unwrap();
    assert_eq!(source.config().tied, 0);
    assert!(source.notes()[0].contains("a head of its own"), "{:?}", source.notes());
    let head = source.load(Role::Head, NO_LAYER).unwrap();
    assert_eq!(head, checkpoint.tensors["lm_head.weight"].1);
}

#[test]
fn shards_need_no_index() {
    let mut checkpoint = Checkpoint::new();
    checkpoint.shards = 3;
    let folder = checkpoint.write();
    fs::remove_file(folder.path().join("model.safetensors.index.json")).unwrap();
    let source = Source::open(folder.path()).unwrap();
    assert_same_weights(&source, &open(&Checkpoint::new()).unwrap(), "three shards");
    drop(source);
    fs::remove_file(folder.path().join("model-00002-of-00003.safetensors")).unwrap();
    let error = Source::open(folder.path()).unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("part 2 of the 3 parts"), "{error}");
}

#[test]
fn chat_templates_may_have_names() {
    let named = json!({"tool_use": "T", "default": "D"});
    let list = json!([{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]);
    for (written, wanted) in [
        (json!("D"), Some("D")),
        (named, Some("D")),
        (list, Some("D")),
        (json!({"rag": "R"}), None),
        (Value::Null, None),
    ] {
        let mut checkpoint = Checkpoint::new();
        let settings = json!({ "chat_template": written }).to_string();
        checkpoint.files.insert("tokenizer_config.json", format!("\u{FEFF}{settings}"));
        let source = open(&checkpoint).unwrap();
        assert_eq!(source.texts().chat_template.as_deref(), wanted, "{written}");
    }
}

#[test]
fn templates_that_cannot_be_used_are_noted() {
    let mut checkpoint = Checkpoint::new();
    checkpoint.files.insert("chat_template.jinja", "{{ messages | tojson }}".into());
    assert!(open(&checkpoint).unwrap().notes().is_empty());
    checkpoint.files.insert("chat_template.jinja", "{{ messages | unheard_of }}".into());
    let source = open(&checkpoint).unwrap();
    assert!(source.notes()[0].contains("unheard_of is unknown"), "{:?}", source.notes());
    assert!(source.notes()[0].contains("`kinglet chat` does not"), "{:?}", source.notes());
}

#[test]
fn special_tokens_come_from_the_tokenizers_files() {
    let mut checkpoint = Checkpoint::new();
    let specials = |checkpoint: &Checkpoint| open(checkpoint).unwrap().texts().specials.clone();
    assert_eq!(specials(&checkpoint), None);
    let settings = json!({"bos_token": {"content": "<b>"}, "pad_token": false, "eos_token": null,
                          "unk_token": "<u>"});
    checkpoint.files.insert("tokenizer_config.json", settings.to_string());
    let wanted = |entries: &[(&str, &str)]| Some(entries.iter().copied().collect());
    assert_eq!(specials(&checkpoint), wanted(&[("bos_token", "<b>"), ("unk_token", "<u>")]));
    // The older file counts where the newer one does not list the added tokens.
    let map = json!({"bos_token": "<m>"}).to_string();
    checkpoint.files.insert("special_tokens_map.json", map);
    assert_eq!(specials(&checkpoint), wanted(&[("bos_token", "<m>"), ("unk_token", "<u>")]));
    let settings = json!({"bos_token": "<b>", "added_tokens_decoder": {}}).to_string();
    checkpoint.files.insert("tokenizer_config.json", settings);
    assert_eq!(specials(&checkpoint), wanted(&[("bos_token", "<b>")]));
    // Classes may have tokens of their own accord.
    let settings = json!({"tokenizer_class": "GPT2TokenizerFast", "bos_token": null,
                          "eos_token": "<e>", "added_tokens_decoder": {}});
    checkpoint.files.insert("tokenizer_config.json", settings.to_string());
    let found = specials(&checkpoint).unwrap();
    assert_eq!((found.get("unk_token"), found.get("sep_token")), (Some("<|endoftext|>"), None));
    assert_eq!((found.get("bos_token"), found.get("eos_token")), (None, Some("<e>")));
}

#[cfg(unix)]
#[test]
fn the_checkpoint_is_found_below_what_the_user_names() {
    use super::testing::every_type;
    let folder = tempfile::TempDir::new().unwrap();
    let entry = folder.path().join("models--some--small-model");
    let checkpoint = Checkpoint::new().write();
    let blobs = entry.join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    for revision in ["1111", "2222"] {
        let snapshot = entry.join("snapshots").join(revision);
        fs::create_dir_all(&snapshot).unwrap();
        for file in fs::read_dir(checkpoint.path()).unwrap().flatten() {
            let name = file.file_name().into_string().unwrap();
            fs::copy(file.path(), blobs.join(&name)).unwrap();
            let link = format!("../../blobs/{name}");
            // Some tools copy links as texts.
            match revision {
                "1111" => std::os::unix::fs::symlink(link, snapshot.join(name)).unwrap(),
                _ => fs::write(snapshot.join(name), link).unwrap(),
            }
        }
    }
    let plain = open(&Checkpoint::new()).unwrap();
    let error = Source::open(&entry).unwrap_err();
    assert!(error.message().contains("name one of 1111, 2222"), "{error}");
    fs::create_dir(entry.join("refs")).unwrap();
    for revision in ["1111", "2222"] {
        fs::write(entry.join("refs/main"), revision).unwrap();
        for path in [folder.path(), &entry] {
            assert_eq!(locate(path).unwrap(), entry.join("snapshots").join(revision));
            let source = Source::open(path).unwrap();
            assert_same_weights(&source, &plain, revision);
            assert_eq!(source.texts().name, "small-model");
        }
    }
    let home = tempfile::TempDir::new().unwrap();
    std::os::unix::fs::symlink(folder.path(), home.path().join("hub")).unwrap();
    assert_eq!(Source::open(home.path()).unwrap().texts().name, "small-model");
    let gguf = tempfile::TempDir::new().unwrap();
    fs::copy(every_type(), gguf.path().join("one.gguf")).unwrap();
    assert_eq!(Source::open(gguf.path()).unwrap().texts().name, "Every type");
    fs::copy(every_type(), gguf.path().join("two.gguf")).unwrap();
    let error = Source::open(gguf.path()).unwrap_err();
    assert!(error.message().contains("name one of one.gguf, two.gguf"), "{error}");
}

#[test]
fn refusals_name_what_was_found_and_what_to_do() {
    let config = |key: &'static str, value: Value| move |c: &mut Checkpoint| c.config[key] = value;
    let file = |name: &'static str, text: &str| {
        let text = text.to_owned();
        move |c: &mut Checkpoint| drop(c.files.insert(name, text))
    };
    let tensor = |name: &'static str| {
        move |c: &mut Checkpoint| drop(c.tensors.insert(name.into(), (vec![1], vec![1.0])))
    };
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    let qwen = message(|c| {
        c.config["model_type"] = json!("qwen2");
        c.config["architectures"] = json!(["Qwen2ForCausalLM"]);
    });
    let nested = message(|c| {
        c.config = json!({"model_type": "smolvlm", "text_config": {"model_type": "llama"}});
    });
    let classifier = message(config("architectures", json!(["LlamaForSequenceClassification"])));
    let no_head = message(config("tie_word_embeddings", json!(false)));
    let sentencepiece = message(|c| {
        c.files.remove("tokenizer.json");
        c.files.insert("tokenizer.model", "…".into());
    });
    let two_files = message(|c| {
        c.files.remove("tokenizer.json");
        c.files.insert("vocab.json", "{}".into());
        c.files.insert("merges.txt", String::new());
    });
    for (message, parts) in [
        (qwen, ["qwen2 (Qwen2ForCausalLM)", "only language models of the type llama"]),
        (nested, ["smolvlm", "around a text model of the type llama"]),
        (classifier, ["LlamaForSequenceClassification", "only language models"]),
        (message(config("hidden_size", json!("wide"))), ["hidden_size", "is \"wide\", where"]),
        (message(config("hidden_size", Value::Null)), ["does not say hidden_size", "belongs to"]),
        (message(file("config.json", "[1, 2, 3]")), ["config.json holds a list of 3", "save or"]),
        (message(file("config.json", "{\"a\": 1,")), ["line 1, column", "save or fetch"]),
        (message(file("tokenizer.json", pointer)), ["tokenizer.json", "git lfs pull"]),
        (message(file("config.json", pointer)), ["config.json", "git lfs pull"]),
        (message(file("chat_template.jinja", pointer)), ["chat_template.jinja", "git lfs pull"]),
        (message(file("tokenizer.json", "{\"model\": {\"vocab\": 3}}")), ["pre-tokenizer", "BPE"]),
        (no_head, ["no lm_head.weight", "set tie_word_embeddings to true"]),
        (sentencepiece, ["tokenizer.model", "AutoTokenizer"]),
        (two_files, ["vocab.json but no tokenizer.json", "save_pretrained"]),
        (
            message(tensor("model.layers.0.mlp.up_proj.weight.absmax")),
            ["bitsandbytes in 4 bits", "dequantize()"],
        ),
        (message(tensor("model.layers.0.mlp.up_proj.SCB")), ["8 bits", "use the original"]),
        (message(tensor("a.lora_A.default.weight")), ["not merged", "merge_and_unload()"]),
        (
            message(config("quantization_config", json!({"quant_method": "awq"}))),
            ["quantized already (awq)", "dequantize()"],
        ),
        (
            message(config("rope_scaling", json!({"type": "yarn", "factor": 2}))),
            ["rope_scaling of config.json", "(yarn, factor 2)"],
        ),
    ] {
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
}

#[test]
fn tokens_before_every_text_are_put_and_others_refused() {
    let settings = |switch: &str, token: Value| {
        json!({switch: true, "bos_token": token, "eos_token": token}).to_string()
    };
    let message = message(|checkpoint| {
        checkpoint.files.insert("tokenizer_config.json", settings("add_eos_token", json!("<s>")));
    });
    assert!(message.contains("sets add_eos_token, so that <s> is put"), "{message}");
    let mut checkpoint = Checkpoint::new();
    let begin = settings("add_bos_token", json!("<|im_start|>"));
    checkpoint.files.insert("tokenizer_config.json", begin);
    assert_eq!(open(&checkpoint).unwrap().tokenizer().begin(), Some(1));
    for switch in ["add_bos_token", "add_eos_token"] {
        // The library adds nothing where there is no such token.
        let mut checkpoint = Checkpoint::new();
        checkpoint.files.insert("tokenizer_config.json", settings(switch, Value::Null));
        assert!(open(&checkpoint).is_ok());
    }
}

#[test]
fn an_added_token_without_a_row_is_named() {
    let message = message(|checkpoint| {
        let tokenizer = checkpoint.files.get_mut("tokenizer.json").unwrap();
        let mut json: Value = serde_json::from_str(tokenizer).unwrap();
        let added = (952..970).map(|id| (id, format!("<{id}>"))).chain([(970, "<pad>".to_owned())]);
        for (id, content) in added {
            let token = json!({"id": id, "content": content, "special": true});
            json["added_tokens"].as_array_mut().unwrap().push(token);
        }
        *tokenizer = json.to_string();
    });
    let wanted = "971 tokens, the model 970: \"<pad>\" was added without a row for it";
    assert!(message.contains(wanted), "{message}");
}

#[test]
fn weights_in_other_files_are_named() {
    let folder = Checkpoint::new().write();
    let weights = folder.path().join("model.safetensors");
    fs::write(&weights, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        .unwrap();
    let error = Source::open(folder.path()).unwrap_err();
    assert!(error.message().contains("git lfs pull"), "{error}");
    fs::rename(&weights, folder.path().join("pytorch_model.bin")).unwrap();
    let error = Source::open(folder.path()).unwrap_err();
    assert!(error.message().contains("but pytorch_model.bin"), "{error}");
}
