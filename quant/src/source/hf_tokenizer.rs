//! What a Hugging Face folder says of its tokenizer beside `tokenizer.json`: the names of special
//! tokens and the chat template.

use super::disk::{read_optional, read_text};
use crate::json::Object;
use crate::template::SpecialTexts;
use crate::{Code, Result, ensure, fail};
use serde_json::Value;
use std::path::Path;

/// The file's name.
const NAME: &str = "tokenizer_config.json";
/// The file that older versions of transformers keep special tokens in.
const MAP: &str = "special_tokens_map.json";
/// The name of the template that is used where there are several.
const DEFAULT: &str = "default";

/// The special token that GPT-2's classes have of their own accord.
const OF_GPT2: &str = "<|endoftext|>";

/// Both files of a folder.
pub(super) struct TokenizerConfig {
    settings: Option<Object>,
    /// Counts before `settings` where it is read at all.
    map: Option<Object>,
}

impl TokenizerConfig {
    /// Reads what is there. `BadSource` for files that are no JSON.
    pub fn open(folder: &Path) -> Result<Self> {
        let read = |name: &str| match read_optional(&folder.join(name))? {
            Some(text) => Object::parse(name, &text).map(Some),
            None => Ok(None),
        };
        let settings = read(NAME)?;
        // As transformers has it: newer files say all that the older one says.
        let is_newer = settings.as_ref().is_some_and(|all| all.has("added_tokens_decoder"));
        let map = if is_newer { None } else { read(MAP)? };
        Ok(Self { settings, map })
    }

    /// The text of a special token such as `bos_token`, if there is one.
    pub fn special(&self, key: &str) -> Option<&str> {
        let both = [&self.map, &self.settings].into_iter().flatten();
        let Some(found) = both.into_iter().find(|object| object.has(key)) else {
            return self.own_of_class(key);
        };
        match found.get(key)? {
            Value::String(text) => Some(text),
            Value::Object(token) => token.get("content")?.as_str(),
            _ => None,
        }
    }

    /// The special token that the tokenizer's class has where the files say nothing.
    fn own_of_class(&self, key: &str) -> Option<&str> {
        let class = self.settings.as_ref()?.get("tokenizer_class")?.as_str()?;
        let is_gpt2 = matches!(class, "GPT2Tokenizer" | "GPT2TokenizerFast");
        let has = matches!(key, "bos_token" | "eos_token" | "unk_token");
        (is_gpt2 && has).then_some(OF_GPT2)
    }

    /// The special tokens as templates see them; `None` where no file speaks of any.
    pub fn specials(&self) -> Option<SpecialTexts> {
        if self.settings.is_none() && self.map.is_none() {
            return None;
        }
        let all = SpecialTexts::NAMES.into_iter();
        Some(all.filter_map(|name| Some((name, self.special(name)?))).collect())
    }

    /// The token that the library puts before every text, where it does.
    /// `UnsupportedTokenizer` where it puts one behind, which Kinglet does not.
    pub fn begin(&self) -> Result<Option<&str>> {
        let Some(settings) = &self.settings else { return Ok(None) };
        let token = |switch: &str, key: &str| {
            let is_on = settings.get(switch) == Some(&Value::Bool(true));
            self.special(key).filter(|_| is_on)
        };
        if let Some(token) = token("add_eos_token", "eos_token") {
            fail!(
                Code::UnsupportedTokenizer,
                "{NAME} sets add_eos_token, so that {token} is put to every text, which Kinglet \
                 does not: set it to false if the model was trained without"
            );
        }
        Ok(token("add_bos_token", "bos_token"))
    }

    /// The chat template of a folder; of several, the one called `default`. `notes` takes what the
    /// user should know.
    pub fn chat_template(&self, folder: &Path, notes: &mut Vec<String>) -> Result<Option<String>> {
        let path = folder.join("chat_template.jinja");
        if path.try_exists().unwrap_or(false) {
            return read_text(&path).map(Some);
        }
        let Some(value) = self.settings.as_ref().and_then(|all| all.get("chat_template")) else {
            return Ok(None);
        };
        let named: Vec<(&str, &str)> = match value {
            Value::String(template) => return Ok(Some(template.clone())),
            Value::Object(all) => all
                .iter()
                .filter_map(|(name, text)| Some((name.as_str(), text.as_str()?)))
                .collect(),
            Value::Array(all) => all.iter().filter_map(named_template).collect(),
            Value::Bool(false) => return Ok(None),
            _ => Vec::new(),
        };
        let default = named.iter().find(|(name, _)| *name == DEFAULT);
        if default.is_none() && !named.is_empty() {
            let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
            notes.push(format!(
                "{NAME} has chat templates called {}, but none called {DEFAULT}: the model gets \
                 none",
                names.join(", ")
            ));
        }
        ensure!(
            default.is_some() || !named.is_empty(),
            Code::BadSource,
            "chat_template in {NAME} is neither a text nor texts with names: correct it"
        );
        Ok(default.map(|(_, template)| (*template).to_owned()))
    }
}

/// A template of a list, with its name.
fn named_template(entry: &Value) -> Option<(&str, &str)> {
    Some((entry.get("name")?.as_str()?, entry.get("template")?.as_str()?))
}
