//! `kinglet boards`: what is known about boards.

use crate::args::{BoardsArgs, BoardsCommand};
use crate::{out, system};
use kinglet::{Code, Result};
use kinglet_machine::{Board, Fact, Profile};
use kinglet_quant::fail;
use serde_json::{Value, json};
use std::fmt::Write;

/// Lists all boards, or shows one.
pub fn run(args: &BoardsArgs) -> Result<()> {
    match &args.command {
        None => list(args.json),
        Some(BoardsCommand::Show { board, json }) => {
            let profile = if board == "here" { here()? } else { Profile::named(board)? };
            show(&profile, *json)
        }
    }
}

fn here() -> Result<Profile> {
    let Some(board) = Board::detect(&system::root()) else {
        fail!(Code::BadArgument, "this machine is not recognised: name a board or a profile")
    };
    Ok(board.profile)
}

fn list(as_json: bool) -> Result<()> {
    let all = Profile::all();
    let here = Board::detect(&system::root()).map(|board| board.profile.id);
    if as_json {
        let document: Vec<Value> = all
            .iter()
            .map(|p| json!({ "id": p.id, "name": p.name, "here": Some(&p.id) == here.as_ref() }))
            .collect();
        return out::json(&document);
    }
    let mut text = String::new();
    for profile in &all {
        let cores: Vec<String> =
            profile.cores.iter().map(|c| format!("{} × {}", c.count, c.kind)).collect();
        let mark = if Some(&profile.id) == here.as_ref() { " (this machine)" } else { "" };
        let Profile { id, name, .. } = profile;
        writeln!(text, "{id:<16} {name:<32} {}{mark}", cores.join(" + "))
            .expect("strings take everything");
    }
    out::text(&text)
}

fn show(profile: &Profile, as_json: bool) -> Result<()> {
    if as_json {
        let facts: Vec<Value> = profile.facts.iter().map(fact).collect();
        return out::json(&json!({ "id": profile.id, "name": profile.name, "facts": facts }));
    }
    let mut text = format!("{}: {}\n", profile.id, profile.name);
    let mut section = "";
    for fact in profile.facts.iter().filter(|fact| fact.name != "name" || !fact.section.is_empty())
    {
        if fact.section != section {
            section = &fact.section;
            writeln!(text, "[{section}]").expect("strings take everything");
        }
        let value = fact.value.to_string();
        let value = value.trim_matches('"');
        let source = fact.source.as_deref().unwrap_or("*");
        writeln!(text, "  {:<22} {value:<28} {source}", fact.name)
            .expect("strings take everything");
    }
    text.push_str("* nobody has checked this\n");
    out::text(&text)
}

fn fact(fact: &Fact) -> Value {
    json!({
        "section": fact.section,
        "name": fact.name,
        "value": value(&fact.value),
        "source": fact.source,
        "verified": fact.source.is_some(),
    })
}

/// The value of a fact; profiles hold numbers, texts, flags and lists of them.
fn value(toml: &toml::Value) -> Value {
    match toml {
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(flag) => (*flag).into(),
        toml::Value::Array(values) => values.iter().map(value).collect(),
        other => other.to_string().trim_matches('"').into(),
    }
}
