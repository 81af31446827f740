//! The steps of a tokenizer around its model, and which of them change anything.

use crate::vocab::{FLAG_PREFIX, FLAG_PREFIX_FIRST, FLAG_PREFIX_MISSING};
use serde_json::Value;

/// What stands for a space in vocabularies of sentencepiece.
const MARK: &str = "\u{2581}";

/// The kind of a step.
pub(super) fn kind_of(step: &Value) -> &str {
    step["type"].as_str().unwrap_or("without a type")
}

/// The steps that a step consists of: those of a `Sequence`, which it has under `key`, and of
/// sequences within it; else itself.
pub(super) fn flat<'v>(step: &'v Value, key: &str) -> Vec<&'v Value> {
    match step[key].as_array() {
        Some(steps) if kind_of(step) == "Sequence" => {
            steps.iter().flat_map(|step| flat(step, key)).collect()
        }
        _ => vec![step],
    }
}

/// What a normalizer does to a text, if it does anything.
pub(super) fn normalizes(normalizer: &Value) -> Option<String> {
    let changes = |step: &&Value| match kind_of(step) {
        "Prepend" => step["prepend"] != "",
        "Strip" => step["strip_left"] != false || step["strip_right"] != false,
        "Replace" => step["pattern"]["String"] != step["content"],
        _ => true,
    };
    let step = flat(normalizer, "normalizers").into_iter().find(changes)?;
    Some(kind_of(step).to_owned())
}

/// The token that a post-processor puts before a text, if it puts any; or what else it adds.
pub(super) fn begins(processor: &Value) -> Result<Option<u32>, String> {
    let mut begin = None;
    for step in flat(processor, "processors") {
        match kind_of(step) {
            // It changes offsets alone.
            "ByteLevel" => {}
            "TemplateProcessing" => {
                let pieces = step["single"].as_array().map_or(&[][..], Vec::as_slice);
                let ids = |name: &str| step["special_tokens"][name]["ids"].as_array();
                let adds_none = |name: &&str| ids(name).is_some_and(Vec::is_empty);
                let added = pieces.iter().filter_map(|piece| piece["SpecialToken"]["id"].as_str());
                let added: Vec<&str> = added.filter(|name| !adds_none(name)).collect();
                let texts = pieces.iter().filter(|piece| piece["Sequence"]["id"] == "A").count();
                let is_first = pieces.first().is_some_and(|piece| !piece["SpecialToken"].is_null());
                let token = match added[..] {
                    [] if texts == 1 => continue,
                    [name] if texts == 1 && is_first && begin.is_none() => match ids(name) {
                        Some(ids) if ids.len() == 1 => ids[0].as_u64(),
                        _ => None,
                    },
                    _ => None,
                };
                begin = token.and_then(|token| u32::try_from(token).ok());
                if begin.is_none() {
                    return Err(format!("TemplateProcessing (it adds {})", added.join(" and ")));
                }
            }
            kind => return Err(kind.to_owned()),
        }
    }
    Ok(begin)
}

/// Whether a step replaces one text by another.
fn replaces(step: &Value, from: &str, to: &str) -> bool {
    kind_of(step) == "Replace" && step["pattern"]["String"] == from && step["content"] == to
}

/// The `FLAG_PREFIX…` bits of a tokenizer of sentencepiece, from its normalizer and its
/// pre-tokenizer; or what it does that is not known.
pub(super) fn prefix(normalizer: &Value, pre_tokenizer: &Value) -> Result<u32, String> {
    let (mut flags, mut marks_spaces) = (0, false);
    for step in flat(normalizer, "normalizers") {
        match kind_of(step) {
            "Prepend" if step["prepend"] == MARK && !marks_spaces => flags |= FLAG_PREFIX,
            "Replace" if replaces(step, " ", MARK) => marks_spaces = true,
            _ if normalizer.is_null() || normalizes(step).is_none() => {}
            kind => return Err(format!("the normalizer {kind}")),
        }
    }
    if !pre_tokenizer.is_null() {
        let is_known = kind_of(pre_tokenizer) == "Metaspace"
            && pre_tokenizer["replacement"] == MARK
            && pre_tokenizer["split"] == false
            && flags == 0;
        flags = match pre_tokenizer["prepend_scheme"].as_str() {
            Some("never") if is_known => 0,
            Some("always") if is_known => FLAG_PREFIX | FLAG_PREFIX_MISSING,
            Some("first") if is_known => FLAG_PREFIX | FLAG_PREFIX_MISSING | FLAG_PREFIX_FIRST,
            _ => return Err(format!("the pre-tokenizer {}", kind_of(pre_tokenizer))),
        };
        marks_spaces = true;
    }
    if marks_spaces { Ok(flags) } else { Err("a tokenizer without pre-tokenizer".to_owned()) }
}

/// What a decoder does that is not the inverse of sentencepiece's spelling, if it does anything.
/// That a text loses the space that was put before it, pieces of replies cannot know.
pub(super) fn decodes_pieces_otherwise(decoder: &Value) -> Option<String> {
    let steps = flat(decoder, "decoders");
    let is_known = |step: &&Value| match kind_of(step) {
        "ByteFallback" | "Fuse" => true,
        "Metaspace" => step["replacement"] == MARK,
        "Replace" => replaces(step, MARK, " "),
        "Strip" => step["content"] == " " && step["stop"] == 0,
        _ => false,
    };
    let has = |kinds: &[&str]| steps.iter().any(|step| kinds.contains(&kind_of(step)));
    match steps.iter().find(|step| !is_known(step)) {
        Some(step) => Some(kind_of(step).to_owned()),
        None if !has(&["ByteFallback"]) || !has(&["Replace", "Metaspace"]) => {
            Some("that leaves bytes as they are spelled".to_owned())
        }
        None => None,
    }
}

/// What a decoder does that is not the inverse of GPT-2's printable bytes, if it does anything.
pub(super) fn decodes_otherwise(decoder: &Value) -> Option<String> {
    let changes = |step: &&Value| match kind_of(step) {
        "ByteLevel" | "Fuse" => false,
        "Strip" => step["start"] != 0 || step["stop"] != 0,
        "Replace" => step["pattern"]["String"] != step["content"],
        _ => true,
    };
    let steps = flat(decoder, "decoders");
    let has_bytes = steps.iter().any(|step| kind_of(step) == "ByteLevel");
    match steps.into_iter().find(changes) {
        Some(step) => Some(kind_of(step).to_owned()),
        None if !has_bytes => Some("that leaves bytes as they are spelled".to_owned()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sequence(key: &str, steps: &[Value]) -> Value {
        json!({"type": "Sequence", key: steps})
    }

    #[test]
    fn normalizers_that_leave_texts_alone_are_none() {
        let inner = sequence("normalizers", &[]);
        for harmless in [
            inner.clone(),
            sequence("normalizers", &[inner]),
            json!({"type": "Prepend", "prepend": ""}),
            json!({"type": "Strip", "strip_left": false, "strip_right": false}),
            json!({"type": "Replace", "pattern": {"String": " "}, "content": " "}),
        ] {
            assert_eq!(normalizes(&harmless), None, "{harmless}");
        }
        let nfc = json!({"type": "NFC"});
        let nested = sequence("normalizers", &[sequence("normalizers", &[nfc])]);
        assert_eq!(normalizes(&nested).as_deref(), Some("NFC"));
        let replaced = json!({"type": "Replace", "pattern": {"Regex": " "}, "content": " "});
        assert_eq!(normalizes(&replaced).as_deref(), Some("Replace"));
    }

    #[test]
    fn post_processors_that_add_no_token_are_none() {
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let begin = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
        let template = |single: &[&Value], ids: Value| {
            let specials = json!({"<s>": {"id": "<s>", "ids": ids, "tokens": []}});
            json!({"type": "TemplateProcessing", "single": single, "special_tokens": specials})
        };
        let nothing = template(&[&text], json!([1]));
        let byte_level = json!({"type": "ByteLevel"});
        for harmless in [
            byte_level.clone(),
            nothing.clone(),
            sequence("processors", &[]),
            sequence("processors", &[byte_level.clone(), nothing]),
            template(&[&begin, &text], json!([])),
        ] {
            assert_eq!(begins(&harmless), Ok(None), "{harmless}");
        }
        let puts_begin = template(&[&begin, &text], json!([1]));
        assert_eq!(begins(&sequence("processors", &[byte_level, puts_begin])), Ok(Some(1)));
        for other in [
            template(&[&text, &begin], json!([1])),
            template(&[&begin, &text, &begin], json!([1])),
            template(&[&begin, &text], json!([1, 2])),
        ] {
            let found = begins(&other).unwrap_err();
            assert!(found.starts_with("TemplateProcessing (it adds <s>"), "{found}");
        }
        let roberta = json!({"type": "RobertaProcessing"});
        assert_eq!(begins(&roberta), Err("RobertaProcessing".to_owned()));
        assert!(begins(&template(&[&text, &text], json!([1]))).is_err());
    }

    #[test]
    fn decoders_are_the_inverse_of_byte_level() {
        let byte_level = json!({"type": "ByteLevel"});
        let fuse = json!({"type": "Fuse"});
        let one = sequence("decoders", std::slice::from_ref(&byte_level));
        for harmless in [byte_level.clone(), one, sequence("decoders", &[byte_level.clone(), fuse])]
        {
            assert_eq!(decodes_otherwise(&harmless), None, "{harmless}");
        }
        assert!(decodes_otherwise(&sequence("decoders", &[])).is_some());
        let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
        let strips = sequence("decoders", &[byte_level, strip]);
        assert_eq!(decodes_otherwise(&strips).as_deref(), Some("Strip"));
    }
}
