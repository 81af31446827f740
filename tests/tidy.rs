//! Rules for the source tree that neither the compiler nor clippy checks.
//!
//! That every `unsafe` block has its `SAFETY` comment is clippy's work: `lints_are_shared` checks
//! that it applies to every package.

use proc_macro2::Span;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const LINE_COLUMNS: usize = 100;
const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 500;

/// Folders of the project, each with its packages below.
const FOLDERS: [&str; 5] = ["quant", "core", "backends", "boards", "tests"];

/// What else lies at the top, beside dot files and what builds leave behind.
const FILES: [&str; 5] = ["Cargo.lock", "Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Tables that a script has written: rules of layout do not apply.
const GENERATED: [&str; 1] = ["core/src/unicode/tables.rs"];

/// Longer files and why: `(file, lines that it may have, reason)`. Numbers here only fall.
const LONG_FILES: [(&str, usize, &str); 0] = [];

/// Longer functions and why: `(file, function, lines that it may have, reason)`. Numbers here only
/// fall.
const LONG_FUNCTIONS: [(&str, &str, usize, &str); 0] = [];

/// Packages from the bottom up, with their folders: each may depend on those before it.
const LAYERS: [(&str, &str); 10] = [
    ("kinglet-quant", "quant"),
    ("kinglet-core", "core"),
    ("kinglet-backends", "backends"),
    ("kinglet-machine", "boards/machine"),
    ("kinglet", "boards/host"),
    ("kinglet-cli", "boards/cli"),
    ("kinglet-c", "boards/c"),
    ("kinglet-stand-in", "tests/cuda"),
    ("kinglet-portable-tests", "tests/portable"),
    ("kinglet-tests", "tests"),
];

/// Crates without the standard library, at least when their features are off.
const WITHOUT_STD: [&str; 4] =
    ["quant/src/lib.rs", "core/src/lib.rs", "backends/src/lib.rs", "boards/c/src/lib.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn collect(folder: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, extensions, found);
        } else if path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)) {
            found.push(path);
        }
    }
}

/// Every file with one of these extensions: its path from the root, and its content.
fn files(extensions: &[&str]) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(folder), extensions, &mut found);
    }
    let top = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    found.extend(top.filter(|p| p.extension().is_some_and(|e| extensions.iter().any(|x| e == *x))));
    found.sort();
    assert!(!found.is_empty());
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(&path).unwrap())
    };
    found.into_iter().map(read).collect()
}

fn written_by_hand() -> impl Iterator<Item = (String, String)> {
    files(&["rs"]).into_iter().filter(|(name, _)| !GENERATED.contains(&name.as_str()))
}

/// Fails with every broken rule, one on a line.
fn report(broken: &[String]) {
    assert!(broken.is_empty(), "{} places:\n{}", broken.len(), broken.join("\n"));
}

/// Places `file:line: text` of the lines for which `rule` holds.
fn lines_that(files: impl IntoIterator<Item = (String, String)>, rule: impl Fn(&str) -> bool) {
    let mut broken = Vec::new();
    for (name, content) in files {
        for (number, line) in content.lines().enumerate().filter(|(_, line)| rule(line)) {
            broken.push(format!("{name}:{}: {}", number + 1, line.trim()));
        }
    }
    report(&broken);
}

#[test]
fn the_top_holds_what_belongs_there() {
    let names = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    let known = |name: &str| FOLDERS.contains(&name) || FILES.contains(&name) || name == "target";
    names.retain(|name| !name.starts_with('.') && !known(name));
    report(&names);
}

#[test]
fn lines_are_short() {
    lines_that(written_by_hand(), |line| line.chars().count() > LINE_COLUMNS);
}

#[test]
fn files_are_short() {
    let mut broken = Vec::new();
    for (name, content) in written_by_hand() {
        let lines = content.lines().count();
        let defended = LONG_FILES.iter().find(|(file, ..)| *file == name);
        let limit = defended.map_or(FILE_LINES, |(_, limit, _)| *limit);
        if lines > limit {
            broken.push(format!("{name} has {lines} lines, {limit} are allowed"));
        } else if defended.is_some() && lines < limit {
            broken.push(format!("{name} has only {lines} lines now: lower its number"));
        }
    }
    report(&broken);
}

/// Collects every function of a file with its lines.
#[derive(Default)]
struct Functions(Vec<(String, usize)>);

impl Functions {
    fn add(&mut self, signature: &syn::Signature, end: Span) {
        let lines = end.end().line + 1 - signature.span().start().line;
        self.0.push((signature.ident.to_string(), lines));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, function.block.span());
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, function.block.span());
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.add(&function.sig, function.span());
        visit::visit_trait_item_fn(self, function);
    }
}

#[test]
fn functions_are_short() {
    let (mut broken, mut seen) = (Vec::new(), 0);
    for (name, content) in written_by_hand() {
        let mut functions = Functions::default();
        functions.visit_file(&syn::parse_file(&content).unwrap());
        seen += functions.0.len();
        for (function, lines) in functions.0 {
            let defended = LONG_FUNCTIONS.iter().find(|(f, g, ..)| *f == name && *g == function);
            let limit = defended.map_or(FUNCTION_LINES, |(_, _, limit, _)| *limit);
            if lines > limit {
                broken.push(format!("{name}: {function} has {lines} lines, {limit} are allowed"));
            } else if defended.is_some() && lines < limit {
                broken.push(format!("{name}: {function} has {lines} lines: lower its number"));
            }
        }
    }
    assert!(seen > 100);
    report(&broken);
}

#[test]
fn nothing_is_left_for_later() {
    // In two halves, so that this file does not break its own rule.
    let words = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["HA", "CK"]].map(|w| w.concat());
    let is_word = |line: &str, word: &str| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word)
    };
    let rule = |line: &str| words.iter().any(|word| is_word(line, word));
    lines_that(files(&["rs", "toml", "md", "py", "sh"]), rule);
    lines_that(written_by_hand(), |line| {
        line.contains(&["todo", "!("].concat()) || line.contains(&["unimplemented", "!("].concat())
    });
}

#[test]
fn comments_hold_no_code() {
    let rule = |line: &str| {
        let line = line.trim();
        let Some(text) = line.strip_prefix("//") else { return false };
        if text.starts_with(['/', '!']) {
            return false;
        }
        let starts = ["let ", "pub ", "fn ", "use ", "if ", "for ", "return ", "}", "assert"];
        let text = text.trim();
        let ends = text.ends_with(';') || text.ends_with('{');
        ends && (text.contains(['(', '=']) || starts.iter().any(|s| text.starts_with(s)))
            || text == "}"
            || text.starts_with("#[")
    };
    lines_that(written_by_hand(), rule);
}

#[test]
fn no_path_leads_to_someones_machine() {
    let roots = ["home", "root", "Users", "work", "mnt"].map(|name| format!("/{name}/"));
    let rule = |line: &str| {
        roots.iter().any(|root| {
            // An absolute path: not the middle of a relative one or of an address.
            line.match_indices(root.as_str()).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|c| !c.is_alphanumeric() && !"./~}>*-_$)".contains(c))
            })
        })
    };
    lines_that(files(&["rs", "toml", "md", "py", "sh", "json", "jinja"]), rule);
}

fn manifest(folder: &str) -> toml::Table {
    let path = root().join(folder).join("Cargo.toml");
    fs::read_to_string(path).unwrap().parse().unwrap()
}

/// The names in every table of dependencies of a package, those for one target included.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let targets = targets.into_iter().flat_map(|t| t.values()).filter_map(toml::Value::as_table);
    let mut names = Vec::new();
    for table in [manifest].into_iter().chain(targets) {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let found = table.get(kind).and_then(toml::Value::as_table);
            names.extend(found.into_iter().flat_map(|t| t.keys().cloned()));
        }
    }
    names
}

#[test]
fn dependencies_point_one_way() {
    let mut broken = Vec::new();
    for (place, (package, folder)) in LAYERS.iter().enumerate() {
        let manifest = manifest(folder);
        assert_eq!(manifest["package"]["name"].as_str(), Some(*package));
        for name in dependencies(&manifest) {
            let layer = LAYERS.iter().position(|(package, _)| *package == name);
            if layer.is_some_and(|layer| layer >= place) {
                broken.push(format!("{package} depends on {name}, which lies above it"));
            }
        }
    }
    report(&broken);
    let members = manifest(".")["workspace"]["members"].as_array().unwrap().len();
    assert_eq!(members, LAYERS.len(), "a package has no place in the layers");
}

#[test]
fn lints_are_shared() {
    let top = manifest(".");
    let lints = &top["workspace"]["lints"];
    assert_eq!(lints["clippy"]["undocumented_unsafe_blocks"].as_str(), Some("deny"));
    assert_eq!(lints["rust"]["unsafe_op_in_unsafe_fn"].as_str(), Some("deny"));
    assert!(lints["rust"].get("missing_docs").is_some());
    for (package, folder) in LAYERS {
        let own = &manifest(folder)["lints"];
        assert_eq!(own["workspace"].as_bool(), Some(true), "{package} has lints of its own");
    }
    let allowed = ["allow(clippy::undocumented", "_unsafe_blocks"].concat();
    lines_that(written_by_hand(), |line| line.contains(&allowed));
}

/// Whether a file says `no_std`, at least under some condition.
fn is_without_std(file: &syn::File) -> bool {
    file.attrs.iter().any(|attribute| {
        let meta = &attribute.meta;
        let conditional = |list: &syn::MetaList| {
            list.path.is_ident("cfg_attr") && list.tokens.to_string().ends_with("no_std")
        };
        meta.path().is_ident("no_std") || meta.require_list().is_ok_and(conditional)
    })
}

#[test]
fn the_standard_library_stays_out() {
    for name in WITHOUT_STD {
        let content = fs::read_to_string(root().join(name)).unwrap();
        assert!(is_without_std(&syn::parse_file(&content).unwrap()), "{name} promises no_std");
    }
}

/// Collects the first line of every `unsafe` block.
#[derive(Default)]
struct UnsafeBlocks(Vec<usize>);

impl<'ast> Visit<'ast> for UnsafeBlocks {
    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.0.push(block.span().start().line);
        visit::visit_expr_unsafe(self, block);
    }
}

#[test]
fn unsafe_stays_where_it_belongs() {
    let mut broken = Vec::new();
    for (name, content) in written_by_hand() {
        let free = name.starts_with("quant/") || name.starts_with("core/");
        if !free || name == "core/src/arena.rs" {
            continue;
        }
        let mut blocks = UnsafeBlocks::default();
        blocks.visit_file(&syn::parse_file(&content).unwrap());
        broken.extend(blocks.0.iter().map(|line| format!("{name}:{line}: unsafe")));
    }
    report(&broken);
}

#[test]
fn every_test_file_runs() {
    let manifest = manifest("tests");
    let listed = manifest["test"].as_array().unwrap();
    let listed: Vec<&str> = listed.iter().map(|test| test["path"].as_str().unwrap()).collect();
    for (name, _) in files(&["rs"]) {
        let Some(file) = name.strip_prefix("tests/").filter(|file| !file.contains('/')) else {
            continue;
        };
        assert!(listed.contains(&file), "tests/Cargo.toml does not list {file}: it never runs");
    }
}

#[test]
fn the_top_level_is_small() {
    let mut unknown = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let hidden = name.starts_with('.') || name == "target";
        if entry.path().is_dir() && !hidden && !FOLDERS.contains(&name.as_str()) {
            unknown.push(name);
        }
    }
    report(&unknown);
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for (name, content) in files(&["md"]) {
        let folder = root().join(&name).parent().unwrap().to_owned();
        for link in content.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            if !link.contains("://") && !path.is_empty() && !folder.join(path).exists() {
                broken.push(format!("{name}: there is no {link}"));
            }
        }
    }
    report(&broken);
}

#[test]
fn tables_come_from_their_records() {
    let script = root().join("tests/bench/tables.py");
    match Command::new("python3").arg(script).arg("--check").output() {
        Ok(done) => assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr)),
        Err(_) => eprintln!("SKIPPED tables_come_from_their_records: python3 is not installed"),
    }
}
