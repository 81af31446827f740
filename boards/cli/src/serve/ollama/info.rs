//! What Ollama's clients ask of the server and its model: `/api/version`, `/api/tags`, `/api/ps`
//! and `/api/show`.

use super::form::time;
use super::{model, tagged};
use crate::serve::app::App;
use crate::serve::failure::Outcome;
use crate::serve::fields::{self, Fields};
use kinglet_quant::file::TextKey;
use kinglet_quant::tensor::Role;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

/// The version of Kinglet.
pub fn version(_app: &App) -> Value {
    json!({"version": env!("CARGO_PKG_VERSION")})
}

/// The models that there are.
pub fn tags(app: &App) -> Value {
    json!({"models": [entry(app)]})
}

/// The models that are loaded, which is the one that there is, for ever.
pub fn running(app: &App) -> Value {
    let mut entry = entry(app);
    entry["expires_at"] = "9999-12-31T23:59:59Z".into();
    entry["size_vram"] = 0.into();
    entry["context_length"] = app.context.into();
    json!({"models": [entry]})
}

/// All that is known of the model.
pub fn show(app: &App, body: &[u8]) -> Outcome<Value> {
    let body = fields::parse(body)?;
    model(&Fields::of(&body, "the body")?, app)?;
    let (file, config) = (app.model.file(), app.model.config());
    let text = |key| file.text(key).unwrap_or_default();
    let mut capabilities = vec!["completion", "embedding"];
    if app.template.is_ok() {
        capabilities.push("tools");
    }
    Ok(json!({
        "license": text(TextKey::Licence),
        "modelfile": "",
        "parameters": "",
        "template": text(TextKey::ChatTemplate),
        "details": details(app),
        "model_info": {
            "general.architecture": "llama",
            "general.basename": app.name,
            "general.parameter_count": config.parameters(),
            "llama.attention.head_count": config.heads,
            "llama.attention.head_count_kv": config.kv_heads,
            "llama.block_count": config.layers,
            // What a prompt and its reply can have here, which may be less than the model's most.
            "llama.context_length": app.context,
            "llama.embedding_length": config.hidden,
            "llama.feed_forward_length": config.ffn,
            "llama.vocab_size": config.vocab_size,
        },
        "capabilities": capabilities,
        "modified_at": began(app),
    }))
}

fn entry(app: &App) -> Value {
    let mut digest = String::new();
    for byte in app.model.file().fingerprint() {
        write!(digest, "{byte:02x}").expect("strings take everything");
    }
    json!({
        "name": tagged(app), "model": tagged(app), "modified_at": began(app),
        "size": app.model.file_bytes(), "digest": digest, "details": details(app),
    })
}

/// Since then this server has the model.
fn began(app: &App) -> String {
    time(UNIX_EPOCH + Duration::from_secs(app.created))
}

fn details(app: &App) -> Value {
    let parameters = app.model.config().parameters() as f64;
    let kind = app.model.file().matrix(Role::Q, 0).kind();
    json!({
        "parent_model": "", "format": "kinglet", "family": "llama", "families": ["llama"],
        "parameter_size": format!("{:.2}M", parameters / 1e6),
        "quantization_level": kind.name(),
    })
}
