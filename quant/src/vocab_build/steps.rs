//! The steps of a tokenizer around its model, and which of them change anything.

use serde_json::Value;

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

/// What a post-processor adds to the tokens of a text, if it adds anything.
pub(super) fn adds(processor: &Value) -> Option<String> {
    flat(processor, "processors").into_iter().find_map(|step| match kind_of(step) {
        // It changes offsets alone.
        "ByteLevel" => None,
        "TemplateProcessing" => {
            let pieces = step["single"].as_array().map_or(&[][..], Vec::as_slice);
            let ids = |name: &str| step["special_tokens"][name]["ids"].as_array();
            let adds_none = |name: &&str| ids(name).is_some_and(Vec::is_empty);
            let added = pieces.iter().filter_map(|piece| piece["SpecialToken"]["id"].as_str());
            let added: Vec<&str> = added.filter(|name| !adds_none(name)).collect();
            let texts = pieces.iter().filter(|piece| piece["Sequence"]["id"] == "A").count();
            (!added.is_empty() || texts != 1)
                .then(|| format!("TemplateProcessing (it adds {})", added.join(" and ")))
        }
        kind => Some(kind.to_owned()),
    })
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
            assert_eq!(adds(&harmless), None, "{harmless}");
        }
        let adds_begin = template(&[&begin, &text], json!([1]));
        let found = adds(&sequence("processors", &[byte_level, adds_begin])).unwrap();
        assert_eq!(found, "TemplateProcessing (it adds <s>)");
        let roberta = json!({"type": "RobertaProcessing"});
        assert_eq!(adds(&roberta).as_deref(), Some("RobertaProcessing"));
        assert!(adds(&template(&[&text, &text], json!([1]))).is_some());
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
