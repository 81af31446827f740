//! `kinglet.h`: current, free of warnings, and never changed in what programs rely on.
//!
//! After a wanted change, `KINGLET_RECORD=1 cargo test -p kinglet-tests --test c_header` writes the
//! header and the recorded interface anew, unless something of the interface is gone; review the
//! difference.

use kinglet_tests::c::{COMPILERS, checked_library, compile, has, package, sources};
use kinglet_tests::command::Said;
use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use syn::{Expr, Fields, Item, Lit, Meta, MetaNameValue};
use tempfile::TempDir;

/// Sources with something that C sees.
const SOURCES: [&str; 13] = [
    "abi", "trust", "status", "library", "model", "signed", "tokens", "choice", "session", "work",
    "replies", "state", "tools",
];
/// Those of them with structs and constants.
const TYPES: [&str; 2] = ["abi", "trust"];

fn source(name: &str) -> PathBuf {
    package().join("src").join(name).with_extension("rs")
}

/// Compares with what is recorded, or records it.
fn assert_recorded(path: &Path, current: &str) {
    if std::env::var_os("KINGLET_RECORD").is_some() {
        fs::write(path, current).unwrap();
    }
    let recorded = fs::read_to_string(path).unwrap_or_default();
    let is_same = |(a, b): (&str, &str)| a == b;
    let same = recorded.lines().zip(current.lines()).take_while(|&pair| is_same(pair)).count();
    assert!(
        recorded == current,
        "{} is not current from line {} on: {:?} is now {:?}",
        path.display(),
        same + 1,
        recorded.lines().nth(same),
        current.lines().nth(same)
    );
}

#[test]
fn the_header_is_current() {
    let config = cbindgen::Config::from_file(package().join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = SOURCES.iter().fold(builder, |builder, name| builder.with_src(source(name)));
    let mut header = Vec::new();
    builder.generate().expect("the sources can be read").write(&mut header);
    let path = package().join("include/kinglet.h");
    assert_recorded(&path, &String::from_utf8(header).unwrap());
}

#[test]
fn the_header_compiles_without_warnings() {
    let folder = TempDir::new().unwrap();
    let (user, user_of_cpp) = (folder.path().join("user.c"), folder.path().join("user.cpp"));
    for user in [&user, &user_of_cpp] {
        fs::write(user, "#include <kinglet.h>\n#include <kinglet.h>\n").unwrap();
    }
    let object = folder.path().join("user.o");
    for (c, cpp) in COMPILERS {
        if !has("the_header_compiles_without_warnings", c) {
            continue;
        }
        for standard in ["-std=c99", "-std=c11", "-std=c17"] {
            compile(c, &["-c", standard, "-Wconversion", "-Wstrict-prototypes"], &[&user], &object);
        }
        for standard in ["-std=c++11", "-std=c++17"] {
            compile(cpp, &["-c", standard, "-Wconversion"], &[&user_of_cpp], &object);
        }
    }
}

/// The symbols of the shared library, the numbers, and where every field lies.
#[test]
fn the_interface_is_the_recorded_one() {
    if !has("the_interface_is_the_recorded_one", "gcc") {
        return;
    }
    let (path, current) = (sources().join("interface.txt"), format!("{}{}", symbols(), layouts()));
    let recorded = fs::read_to_string(&path).unwrap();
    if let Some(line) = lost(&recorded, &current) {
        panic!("programs rely on `{line}`, which is gone or has changed");
    }
    assert_recorded(&path, &current);
}

/// A line of the recorded interface that the current one lacks. Structs may grow.
fn lost<'r>(recorded: &'r str, current: &str) -> Option<&'r str> {
    let current: HashMap<&str, u64> = current.lines().map(named).collect();
    recorded.lines().find(|line| {
        let (name, number) = named(line);
        let may_grow = line.starts_with("struct ");
        !current.get(name).is_some_and(|&now| now == number || may_grow && now > number)
    })
}

/// A line of the interface, cut in front of the number at its end if it has one.
fn named(line: &str) -> (&str, u64) {
    let cut = line.rsplit_once(' ').and_then(|(name, number)| Some((name, number.parse().ok()?)));
    cut.unwrap_or((line, 0))
}

/// Programs that were compiled for an interface go on to work with those that come after it.
#[test]
fn the_interface_only_grows() {
    let old = "function a\nconstant B 1\nstatus C 0\nstruct d 8\nfield d.e 0 8\n";
    let new = old.replace("function a\n", "function a\nfunction f\n");
    let new = new.replace("struct d 8", "struct d 16") + "field d.g 8 8\n";
    assert_eq!([lost(old, old), lost(old, &new)], [None, None]);
    for (line, other) in [
        ("function a", "function b"),
        ("constant B 1", "constant B 2"),
        ("status C 0", "status C 1"),
        ("struct d 8", "struct d 4"),
        ("field d.e 0 8", "field d.e 4 8"),
        ("field d.e 0 8", "field d.e 0 4"),
    ] {
        assert_eq!(lost(old, &old.replace(line, other)), Some(line));
    }
}

/// Every struct says its size, so that it can grow, or says that it never changes.
#[test]
fn structs_begin_with_their_size() {
    for item in types() {
        let Item::Struct(item) = item else { continue };
        let first = item.fields.iter().next().and_then(|field| field.ident.as_ref());
        let is_sized = first.is_some_and(|first| first == "struct_size");
        let is_fixed = item.attrs.iter().any(|line| text(line).contains("Never changes."));
        assert!(is_sized != is_fixed, "{}", item.ident);
    }
}

/// What C sees but functions and statuses.
fn types() -> impl Iterator<Item = Item> {
    let read = |name: &&str| fs::read_to_string(source(name)).unwrap();
    TYPES.iter().map(read).flat_map(|source| syn::parse_file(&source).unwrap().items)
}

/// A line of a comment; nothing for other attributes.
fn text(attribute: &syn::Attribute) -> String {
    match &attribute.meta {
        Meta::NameValue(MetaNameValue { value: Expr::Lit(line), .. }) => match &line.lit {
            Lit::Str(line) => line.value(),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

/// Every symbol that the shared library exports.
fn symbols() -> String {
    let mut nm = Command::new("nm");
    nm.args(["-D", "--defined-only", "--format=posix"]);
    let listed = Said::by(nm.arg(checked_library().join("libkinglet.so"))).ok();
    let mut names: Vec<&str> = listed.lines().filter_map(|l| l.split(' ').next()).collect();
    names.sort_unstable();
    assert!(names.iter().all(|name| name.starts_with("kinglet_")), "{names:?}");
    names.into_iter().map(|name| format!("function {name}\n")).collect()
}

/// What a C compiler says about every struct, constant and status.
fn layouts() -> String {
    let config: toml::Table =
        fs::read_to_string(package().join("cbindgen.toml")).unwrap().parse().unwrap();
    let renamed = config["export"]["rename"].as_table().unwrap();
    let renamed: HashMap<_, _> =
        renamed.iter().map(|(a, b)| (a.as_str(), b.as_str().unwrap())).collect();
    let mut body = String::new();
    for item in types() {
        match item {
            Item::Struct(item) => {
                describe_struct(renamed[&*item.ident.to_string()], &item, &mut body)
            }
            Item::Const(item) if item.ident.to_string().starts_with("KINGLET_") => {
                let name = item.ident;
                writeln!(body, "printf(\"constant {name} %lld\\n\", (long long){name});").unwrap();
            }
            _ => {}
        }
    }
    for status in header_statuses() {
        writeln!(body, "printf(\"status {status} %d\\n\", {status});").unwrap();
    }
    let folder = TempDir::new().unwrap();
    let (source, program) = (folder.path().join("layout.c"), folder.path().join("layout"));
    let includes = "#include <kinglet.h>\n#include <stdio.h>\n";
    fs::write(&source, format!("{includes}int main(void) {{\n{body}return 0;\n}}\n")).unwrap();
    compile("gcc", &["-std=c99"], &[&source], &program);
    Said::by(&mut Command::new(program)).ok()
}

/// The names of all statuses in the header.
fn header_statuses() -> Vec<String> {
    let header = fs::read_to_string(package().join("include/kinglet.h")).unwrap();
    let values = header.lines().filter_map(|line| line.trim().split_once(" = "));
    let names = values.map(|(name, _)| name).filter(|name| name.starts_with("KINGLET_STATUS_"));
    names.map(str::to_owned).collect()
}

fn describe_struct(name: &str, item: &syn::ItemStruct, body: &mut String) {
    writeln!(body, "printf(\"struct {name} %zu\\n\", sizeof({name}));").unwrap();
    let Fields::Named(fields) = &item.fields else { panic!("{name} has fields without names") };
    for field in fields.named.iter().map(|field| field.ident.as_ref().unwrap()) {
        let size = format!("sizeof((({name} *)0)->{field})");
        let offset = format!("offsetof({name}, {field})");
        writeln!(body, "printf(\"field {name}.{field} %zu %zu\\n\", {offset}, {size});").unwrap();
    }
}

/// Every code of the Rust error has its number in C.
#[test]
fn statuses_are_those_of_the_rust_errors() {
    let numbers = |path: &Path, name: &str| {
        let file = syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
        let found = file.items.into_iter().find_map(|item| match item {
            Item::Enum(item) if item.ident == name => Some(item),
            _ => None,
        });
        let number = |variant: &syn::Variant| match &variant.discriminant.as_ref().unwrap().1 {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Int(number) => number.base10_parse::<i32>().unwrap(),
                _ => panic!("{} is no number", variant.ident),
            },
            _ => panic!("{} is no number", variant.ident),
        };
        let variants = found.expect("the enum is there").variants;
        variants.iter().map(|v| (v.ident.to_string(), number(v))).collect::<Vec<_>>()
    };
    let mut statuses = numbers(&source("status"), "Status");
    assert_eq!(statuses.remove(0), ("Ok".to_owned(), 0));
    assert_eq!(statuses, numbers(&package().join("../../quant/src/error.rs"), "Code"));
}
