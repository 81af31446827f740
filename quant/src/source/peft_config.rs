//! `adapter_config.json` of a PEFT folder.

use crate::{Code, Result, ensure, fail, json};
use regex_lite::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// The file's name.
pub(super) const NAME: &str = "adapter_config.json";

/// `peft`'s values of `r` and `lora_alpha` where the file has none.
const DEFAULT: f64 = 8.0;

/// Initialisations that leave the model's own weights as they are.
const PLAIN_INITS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// Settings that make an adapter more than a sum of products, with what to say of each.
const UNSUPPORTED: [(&str, &str); 14] = [
    ("use_dora", "DoRA scales the columns of the sum"),
    ("lora_bias", "the model would need biases"),
    ("layer_replication", "the model would need more layers"),
    ("use_qalora", "QALoRA pools the inputs"),
    ("alora_invocation_tokens", "aLoRA changes only what follows certain tokens"),
    ("trainable_token_indices", "tokens were trained one by one"),
    ("target_parameters", "parameters without a module were trained"),
    ("use_bdlora", "BD-LoRA has products in blocks"),
    ("arrow_config", "Arrow chooses among adapters for each token"),
    ("monteclora_config", "MonteCLoRA draws its products at random"),
    ("velora_config", "VeLoRA compresses the inputs"),
    ("kasa_config", "KaSA cuts the model's own weights"),
    ("corda_config", "CorDA changes the model's own weights"),
    ("lora_ga_config", "LoRA-GA changes the model's own weights"),
];

/// What the settings say of the factors.
pub(super) struct PeftConfig {
    rank: f64,
    alpha: f64,
    ranks: Vec<(Regex, f64)>,
    alphas: Vec<(Regex, f64)>,
    has_rank_root: bool,
    /// Whether embedding and head were trained as one matrix.
    pub keeps_tie: bool,
    /// The model that the adapter was trained on.
    pub base: Option<String>,
}

/// The two patterns with their keys in the file's order: the first that matches counts.
#[derive(Deserialize)]
struct Patterns {
    rank_pattern: Option<Entries>,
    alpha_pattern: Option<Entries>,
}

struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names with numbers")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl PeftConfig {
    /// Reads the settings; `file` names them in errors. Fails for everything that a merge into the
    /// model's matrices cannot hold.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let text = &json::strict(text);
        let settings = parse(file, text)?;
        reject_unsupported(file, &settings)?;
        let patterns: Patterns = match serde_json::from_str(text) {
            Ok(patterns) => patterns,
            Err(_) => fail!(
                Code::BadSource,
                "rank_pattern or alpha_pattern in {file} is no list of names with numbers: correct \
                 it"
            ),
        };
        let config = Self {
            rank: number(file, "r", settings.get("r"))?.unwrap_or(DEFAULT),
            alpha: number(file, "lora_alpha", settings.get("lora_alpha"))?.unwrap_or(DEFAULT),
            ranks: compile(file, "rank_pattern", patterns.rank_pattern)?,
            alphas: compile(file, "alpha_pattern", patterns.alpha_pattern)?,
            has_rank_root: is_set(settings.get("use_rslora")),
            keeps_tie: is_set(settings.get("ensure_weight_tying")),
            base: base(&settings),
        };
        for rank in config.ranks.iter().map(|(_, rank)| *rank).chain([config.rank]) {
            ensure!(
                rank >= 1.0 && rank.fract() == 0.0,
                Code::BadSource,
                "{file} gives the rank {rank}: ranks are whole numbers of 1 or more"
            );
        }
        Ok(config)
    }

    /// The rank of a module's update.
    pub fn rank(&self, module: &str) -> f64 {
        first(&self.ranks, module).unwrap_or(self.rank)
    }

    /// What the product of a module's factors is multiplied by, for the scale that the user wants.
    pub fn factor(&self, module: &str, scale: f64) -> f64 {
        let rank = self.rank(module);
        let alpha = first(&self.alphas, module).unwrap_or(self.alpha);
        scale * alpha / if self.has_rank_root { rank.sqrt() } else { rank }
    }
}

/// The model that the settings in `text` say an adapter was trained on, if they do.
pub(super) fn base_of(text: &str) -> Option<String> {
    base(&parse(NAME, &json::strict(text)).ok()?)
}

fn base(settings: &Map<String, Value>) -> Option<String> {
    let name = settings.get("base_model_name_or_path")?.as_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn parse(file: &str, text: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(settings)) => Ok(settings),
        Ok(_) => fail!(Code::BadSource, "{file} holds no settings: save the adapter again"),
        Err(error) => {
            json::reject_stand_in(file, text.as_bytes())?;
            fail!(
                Code::BadSource,
                "{file} is damaged at line {}, column {}: save or fetch the adapter again",
                error.line(),
                error.column()
            )
        }
    }
}

fn reject_unsupported(file: &str, settings: &Map<String, Value>) -> Result<()> {
    let text = |key: &str| settings.get(key).and_then(Value::as_str);
    let kind = text("peft_type").unwrap_or("without a name");
    ensure!(
        kind.eq_ignore_ascii_case("lora"),
        Code::UnsupportedArchitecture,
        "{file} describes an adapter of the kind {kind} (peft_type): only LORA can be merged"
    );
    for (key, why) in UNSUPPORTED {
        ensure!(
            !is_set(settings.get(key)),
            Code::UnsupportedArchitecture,
            "{file} sets {key}, which cannot be merged: {why}; train a LoRA without it"
        );
    }
    let bias = text("bias").unwrap_or("none");
    ensure!(
        bias == "none",
        Code::UnsupportedArchitecture,
        "{file} sets bias to {bias}: models have no biases here, train a LoRA with bias none"
    );
    let init = text("init_lora_weights").unwrap_or("gaussian");
    ensure!(
        PLAIN_INITS.contains(&init),
        Code::UnsupportedArchitecture,
        "{file} sets init_lora_weights to {init}, which changes the model's own weights: save the \
         adapter with path_initial_model_for_weight_conversion, or merge it with peft"
    );
    Ok(())
}

/// Whether a setting is there and neither off nor empty.
fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(all)) => !all.is_empty(),
        Some(Value::Object(all)) => !all.is_empty(),
        Some(_) => true,
    }
}

fn number(file: &str, key: &str, value: Option<&Value>) -> Result<Option<f64>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) => Ok(Some(number)),
            None => fail!(Code::BadSource, "{key} in {file} is no number: correct it"),
        },
    }
}

/// The patterns as `peft` matches them: the name's end, after nothing or a dot.
fn compile(file: &str, key: &str, entries: Option<Entries>) -> Result<Vec<(Regex, f64)>> {
    let mut patterns = Vec::new();
    for (pattern, value) in entries.map_or(Vec::new(), |entries| entries.0) {
        let Ok(regex) = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$")) else {
            fail!(
                Code::BadSource,
                "{key} in {file} has the pattern {pattern:?}, which cannot be matched: write the \
                 modules' names"
            );
        };
        let Some(value) = number(file, key, Some(&value))? else {
            fail!(Code::BadSource, "{key} in {file} has no number for {pattern}: correct it");
        };
        patterns.push((regex, value));
    }
    Ok(patterns)
}

fn first(patterns: &[(Regex, f64)], module: &str) -> Option<f64> {
    patterns.iter().find(|(pattern, _)| pattern.is_match(module)).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pattern_that_matches_counts() {
        let factor = |patterns: &str| {
            let text = format!(r#"{{"peft_type": "LORA", "r": 2, "alpha_pattern": {patterns}}}"#);
            PeftConfig::parse("settings", &text).unwrap().factor("model.layers.0.mlp.up_proj", 1.0)
        };
        assert_eq!(factor(r#"{"up_proj": 6, "mlp.up_proj": 2}"#), 3.0);
        assert_eq!(factor(r#"{"mlp.up_proj": 2, "up_proj": 6}"#), 1.0);
        assert_eq!(factor(r#"{"down_proj": 2, "p_proj": 6}"#), 4.0);
        assert_eq!(factor("{}"), 4.0);
        assert_eq!(factor("null"), 4.0);
    }
}
