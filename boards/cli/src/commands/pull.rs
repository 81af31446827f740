//! `kinglet pull`: brings a model into the cache, whole.

use crate::args::PullArgs;
use crate::cache::Cache;
use crate::fetch::fetch;
use crate::manifest::Look;
use crate::{interrupt, names, out};
use kinglet_quant::{Code, Result, fail};
use std::fmt::Write;

/// Fetches a model and prints where it is, or lists the known names.
pub fn run(args: &PullArgs) -> Result<()> {
    let Some(name) = &args.name else { return out::text(&list()) };
    let Some(model) = names::resolve(name) else {
        fail!(
            Code::NotFound,
            "no model is called {name}: take a name of `kinglet pull --list`, or owner/name"
        );
    };
    interrupt::install();
    let path = fetch(&Cache::from_env()?, &model, Look::Content)?;
    out::text(&format!("{}\n", path.display()))
}

fn list() -> String {
    names::KNOWN.iter().fold(String::new(), |mut text, (name, repo)| {
        writeln!(text, "{name:<22} {repo}").expect("strings take everything");
        text
    })
}
