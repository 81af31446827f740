//! `GET /openapi.json`: what the server answers, in the terms of OpenAPI 3.1.
//!
//! `openapi.json` has the requests and the answers to them. What can go wrong with any request is
//! added here.

use super::app::App;
use super::ollama;
use serde_json::{Value, json};

/// The document, with what the model sets a limit to.
pub fn document(app: &App) -> Value {
    let mut document = whole();
    let config = app.model.config();
    let schemas = &mut document["components"]["schemas"];
    schemas["ModelName"]["enum"] = ollama::names(app).into();
    schemas["TokenList"]["items"]["maximum"] = (config.vocab_size - 1).into();
    for limit in ["minimum", "maximum"] {
        schemas["Dimensions"][limit] = config.hidden.into();
    }
    document
}

/// What it is for every model.
fn whole() -> Value {
    let text = include_str!("openapi.json");
    let mut document: Value = serde_json::from_str(text).expect("it was checked by tests");
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            for (status, answer) in failures(path, method) {
                operation["responses"][status] = json!({"$ref": answer});
            }
        }
    }
    document
}

/// The statuses of failures that a request can get, with what the answers are.
fn failures(path: &str, method: &str) -> Vec<(&'static str, String)> {
    let protocol = if path.starts_with("/api/") { "Ollama" } else { "OpenAI" };
    let named = |name: &str| format!("#/components/responses/{protocol}{name}");
    let mut failures = vec![
        ("400", named("BadRequest")),
        ("403", named("Forbidden")),
        ("431", "#/components/responses/HeadTooLarge".into()),
    ];
    if path != "/health" {
        failures.push(("401", named("Unauthorized")));
    }
    if method == "post" {
        failures.push(("408", named("TooSlow")));
        failures.push(("413", named("BodyTooLarge")));
        failures.push(("500", named("Failed")));
        failures.push(("503", named("Busy")));
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::routes;
    use std::collections::BTreeSet;

    #[test]
    fn it_has_the_paths_that_there_are() {
        let document = whole();
        let mut told = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                told.insert((path.as_str(), method.to_uppercase()));
            }
        }
        let known: BTreeSet<_> = routes::all().map(|(path, m)| (path, m.to_string())).collect();
        assert_eq!(told, known);
    }

    /// Every reference leads to something, so that programs can read the document.
    #[test]
    fn references_lead_somewhere() {
        fn check(value: &Value, document: &Value) -> usize {
            match value {
                Value::Array(values) => values.iter().map(|value| check(value, document)).sum(),
                Value::Object(fields) => {
                    let mut count = 0;
                    if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                        let place = reference.strip_prefix('#').expect("it stays in the document");
                        assert!(document.pointer(place).is_some(), "{reference}");
                        count += 1;
                    }
                    count + fields.values().map(|value| check(value, document)).sum::<usize>()
                }
                _ => 0,
            }
        }
        let document = whole();
        assert!(check(&document, &document) > 100);
    }
}
