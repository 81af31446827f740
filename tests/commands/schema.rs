//! `kinglet compile-schema`, and replies that follow what it writes.

use kinglet::Type;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const MODEL: &str = "gqa3-head64";

fn say(home: &TempDir, args: &[&str]) -> Said {
    Said::by(kinglet(home.path()).args(args))
}

fn write(home: &TempDir, name: &str, content: &str) -> String {
    let path = home.path().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn replies_follow_a_compiled_schema() {
    let home = TempDir::new().unwrap();
    let schema = json!({
        "type": "object",
        "properties": {"item": {"enum": ["tea", "coffee"]}, "hot": {"type": "boolean"}},
        "required": ["item"],
    });
    let schema = write(&home, "order.json", &schema.to_string());
    let table = home.path().join("order.kschema").to_str().unwrap().to_owned();
    let said = say(&home, &["compile-schema", &schema, "-o", &table]).ok();
    let bytes = fs::metadata(&table).unwrap().len();
    assert!(said.ends_with(&format!(" states, {bytes} bytes\n")), "{said}");
    drop(models::small(MODEL, Type::Q4));
    let model = models::converted_path(MODEL, Type::Q4);
    let run = ["run", model.to_str().unwrap(), "-p", "one", "--json", "--json-schema", &table];
    for seed in ["1", "2", "3"] {
        let reply = say(&home, &[&run[..], &["--temp", "1.5", "--seed", seed]].concat()).json();
        assert_eq!(reply["stop_reason"], "complete");
        let order: Value = serde_json::from_str(reply["text"].as_str().unwrap()).unwrap();
        assert!(["tea", "coffee"].contains(&order["item"].as_str().unwrap()), "{order}");
        assert!(order.get("hot").is_none_or(Value::is_boolean), "{order}");
    }
    let damaged = write(&home, "damaged.kschema", "KSCHEMA\n\u{1}");
    let run = ["run", model.to_str().unwrap(), "-p", "one", "--json-schema", &damaged];
    let said = say(&home, &run);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("the table ends too early"), "{said:?}");
}

#[test]
fn what_cannot_be_compiled_leaves_no_table() {
    let home = TempDir::new().unwrap();
    let table = home.path().join("out.kschema").to_str().unwrap().to_owned();
    let deep = r##"{"type": "object", "properties": {"in": {"$ref": "#"}}, "required": ["in"]}"##;
    for (name, content, code, named) in [
        ("unique.json", r#"{"type": "array", "uniqueItems": true}"#, 2, "uniqueItems"),
        ("broken.json", "{", 2, "line 1, column 1"),
        ("deep.json", deep, 2, "nothing fits"),
    ] {
        let schema = write(&home, name, content);
        let said = say(&home, &["compile-schema", &schema, "-o", &table]);
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!(said.err.contains(named) && said.err.contains(name), "{said:?}");
        assert!(!Path::new(&table).exists());
    }
    let said = say(&home, &["compile-schema", "nowhere.json", "-o", &table]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let schema = write(&home, "right.json", r#"{"type": "null"}"#);
    for depth in ["0", "65", "deep"] {
        let said = say(&home, &["compile-schema", &schema, "-o", &table, "--depth", depth]);
        assert_eq!(said.code, Some(2), "{said:?}");
    }
    let said = say(&home, &["compile-schema", &schema, "-o", &schema]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert_eq!(fs::read_to_string(&schema).unwrap(), r#"{"type": "null"}"#);
    let nowhere = home.path().join("no/where").to_str().unwrap().to_owned();
    assert_eq!(say(&home, &["compile-schema", &schema, "-o", &nowhere]).code, Some(1));
    // A tree whose leaves are as deep as asked, and no deeper.
    let tree = r##"{"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]}"##;
    let tree = write(&home, "tree.json", tree);
    let states = |depth: &str| {
        let said = say(&home, &["compile-schema", &tree, "-o", &table, "--depth", depth]).ok();
        said.split(' ').next().unwrap().parse::<usize>().unwrap()
    };
    assert!(states("1") < states("2") && states("2") < states("9"));
}

#[test]
fn functions_are_compiled_as_well() {
    let home = TempDir::new().unwrap();
    let functions = json!([{"type": "function", "function": {
        "name": "set_light",
        "parameters": {
            "type": "object",
            "properties": {"room": {"enum": ["kitchen", "bath"]}},
            "required": ["room"],
        },
    }}]);
    let functions = write(&home, "functions.json", &functions.to_string());
    let table = home.path().join("functions.ktools").to_str().unwrap().to_owned();
    let compile = ["compile-schema", "--tools", &functions, "-o", &table];
    let said = say(&home, &[&compile[..], &["--tool-choice", "set_light"]].concat()).ok();
    let bytes = fs::metadata(&table).unwrap().len();
    assert!(said.ends_with(&format!(" states, {bytes} bytes\n")), "{said}");
    drop(models::small(MODEL, Type::Q4));
    let model = models::converted_path(MODEL, Type::Q4);
    let run = ["run", model.to_str().unwrap(), "-p", "one", "--json", "--json-schema", &table];
    let reply = say(&home, &run).json();
    let text = reply["text"].as_str().unwrap();
    let calls = text.strip_prefix("<tool_call>").unwrap().strip_suffix("</tool_call>").unwrap();
    let calls: Value = serde_json::from_str(calls).unwrap();
    assert_eq!(calls[0]["name"], "set_light");
    assert!(["kitchen", "bath"].contains(&calls[0]["arguments"]["room"].as_str().unwrap()));
    let of_all = fs::read(&table).unwrap();
    let of_model = ["--model", model.to_str().unwrap(), "--tool-choice", "set_light"];
    say(&home, &[&compile[..], &of_model].concat()).ok();
    assert_eq!(fs::read(&table).unwrap(), of_all, "its template knows no functions");
    let said = say(&home, &[&compile[..], &["--model", "nowhere.kinglet"]].concat());
    assert!(said.code == Some(1) && said.err.contains("nowhere.kinglet"), "{said:?}");
    let said = say(&home, &[&compile[..], &["--tool-choice", "no_such"]].concat());
    assert!(said.code == Some(2) && said.err.contains("no tool no_such"), "{said:?}");
    let said = say(&home, &[&compile[..], &[&functions]].concat());
    assert_eq!(said.code, Some(2), "a schema and functions: {said:?}");
    assert_eq!(say(&home, &["compile-schema", "-o", &table]).code, Some(2));
    let wrong = write(&home, "wrong.json", r#"[{"name": "a b"}]"#);
    let said = say(&home, &["compile-schema", "--tools", &wrong, "-o", &table]);
    assert!(said.code == Some(2) && said.err.contains("wrong.json"), "{said:?}");
}
