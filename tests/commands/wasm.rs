//! The package for WebAssembly says in Node and in a page what the command says.

use kinglet::Type;
use kinglet::schema::compile as compile_schema;
use kinglet_tests::browser::Browser;
use kinglet_tests::c;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::keys;
use kinglet_tests::models::{converted_path, small};
use kinglet_tests::skip::skip;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

const MODEL: &str = "gqa3-head64";
const TARGET: &str = "wasm32-unknown-unknown";
/// What every engine runs; the other module is compared with the definition in `tests/portable`.
const MODULE: &str = "simd128";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn script(name: &str) -> PathBuf {
    root().join("tests/wasm").join(name)
}

/// The folder of the package, built once with the documented command. Where that is not possible,
/// says that `test` is skipped.
fn package(test: &str) -> Option<&'static Path> {
    static PACKAGE: OnceLock<Option<PathBuf>> = OnceLock::new();
    if !c::has(test, "node") {
        return None;
    }
    let package = PACKAGE.get_or_init(|| {
        let find = format!("source boards/release/common.sh && rustc_for {TARGET}");
        let mut rustc = Command::new("bash");
        Said::by(rustc.args(["-c", &find]).current_dir(root())).code.filter(|code| *code == 0)?;
        let mut build = Command::new(root().join("boards/wasm/build"));
        Said::by(build.args(["--only", MODULE])).ok();
        let targets = std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into());
        Some(root().join(targets).join("wasm/package"))
    });
    if package.is_none() {
        skip(test, format_args!("there is no standard library for {TARGET}"));
    }
    package.as_deref()
}

/// What the command says on the definition's kernels, whose bits those of WebAssembly have.
fn text(home: &TempDir, prompt: &str, args: &[&str], sampling: Value) -> Value {
    let mut command = kinglet(home.path());
    command.arg("run").arg(converted_path(MODEL, Type::Q4)).args(["-p", prompt, "-n", "150"]);
    command.args(["--tier", "scalar", "--ignore-eos", "--json"]);
    let said = Said::by(command.args(args)).json();
    json!({"prompt": prompt, "sampling": sampling, "text": said["text"], "tokens": said["tokens"]})
}

/// A greedy text and one that was drawn.
fn texts(home: &TempDir) -> Value {
    drop(small(MODEL, Type::Q4));
    let drawn = ["--temp", "0.9", "--top-p", "0.95", "--seed", "7"];
    let sampling = json!({"temperature": 0.9, "topP": 0.95, "seed": 7});
    json!([
        text(home, "one two three", &["--temp", "0"], json!({})),
        text(home, "Once upon a time", &drawn, sampling),
    ])
}

#[test]
fn the_wasm_package_does_in_node_what_it_promises() {
    let test = "the_wasm_package_does_in_node_what_it_promises";
    let Some(package) = package(test) else { return };
    let home = TempDir::new().unwrap();
    let texts = texts(&home);
    let [signed, table, expected] =
        ["signed.kinglet", "order.kschema", "expected.json"].map(|name| home.path().join(name));
    let mut bytes = fs::read(converted_path(MODEL, Type::Q4)).unwrap();
    keys::sign(&mut bytes, "bird", 7).unwrap();
    fs::write(&signed, bytes).unwrap();
    let schema = fs::read_to_string(root().join("boards/python/tests/order.json")).unwrap();
    fs::write(&table, compile_schema(&schema, 1).unwrap()).unwrap();
    let document = json!({
        "model": converted_path(MODEL, Type::Q4), "context": 256, "texts": texts,
        "signed": signed, "key": keys::PUBLIC, "otherKey": keys::OTHER_PUBLIC, "table": table,
        "interface": root().join("tests/c/interface.txt"),
    });
    fs::write(&expected, document.to_string()).unwrap();
    let said = Said::by(Command::new("node").arg(script("check.mjs")).arg(package).arg(expected));
    assert_eq!(said.code, Some(0), "{}", said.err);
}

/// A server of the package's files and the model, in Node.
struct Files {
    child: Child,
    address: String,
}

impl Files {
    fn of(package: &Path) -> Self {
        let mut node = Command::new("node");
        node.arg(script("server.mjs")).arg(package).arg(converted_path(MODEL, Type::Q4));
        let mut child = node.stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned() }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_wasm_package_replies_in_a_page() {
    let test = "the_wasm_package_replies_in_a_page";
    let Some(package) = package(test) else { return };
    let Some(mut browser) = Browser::start(test) else { return };
    let home = TempDir::new().unwrap();
    let texts = texts(&home);
    let files = Files::of(package);
    let check = fs::read_to_string(script("page.js")).unwrap();
    // With the headers that give pages shared memory, and without.
    for way in ["plain", "isolated"] {
        let query = format!("model=../model.kinglet&tier={MODULE}");
        let example = format!("{}/{way}/examples/page.html?{query}", files.address);
        let loaded = browser.open(&example);
        assert_eq!(loaded.messages, Vec::<String>::new());
        browser.wait("!document.getElementById('send').disabled");
        let found = browser.evaluate(&format!("({check})({texts})"));
        assert_eq!(found["isolated"], way == "isolated");
        assert_eq!(found["texts"], texts, "{way}");
        assert_eq!(found["memory"], found["planned"], "{way}");
        assert!(found["steps"].as_u64().unwrap() > 3, "{way}: the text did not come in pieces");
        assert!(found["ticks"].as_u64().unwrap() > 3, "{way}: the page stood still");
        assert_eq!((&found["endless"], &found["error"]), (&json!("AbortError"), &json!(201)));
    }
    // The page of the example itself.
    browser.evaluate("document.getElementById('send').click()");
    browser.wait("document.getElementById('facts').textContent.includes('tokens/s')");
    let reply = browser.evaluate("document.getElementById('reply').textContent");
    assert!(!reply.as_str().unwrap().is_empty());
}
