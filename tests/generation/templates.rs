//! Chat templates of well-known shapes, against what transformers makes of them.

use kinglet_quant::frame::Message;
use kinglet_quant::template::{SpecialTexts, Template};
use kinglet_tests::models::golden_path;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;

/// The clock of `make_templates.py`, which stands still on 2024-03-05, 14:07:09.
fn clock(format: &str) -> String {
    let parts = [
        ("%d", "05"),
        ("%B", "March"),
        ("%b", "Mar"),
        ("%Y", "2024"),
        ("%m", "03"),
        ("%H", "14"),
        ("%M", "07"),
        ("%S", "09"),
    ];
    parts.into_iter().fold(format.to_owned(), |text, (name, value)| text.replace(name, value))
}

fn specials() -> SpecialTexts {
    [("bos_token", "<s>"), ("eos_token", "</s>"), ("pad_token", "<pad>")].into_iter().collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(golden_path(name)).unwrap()
}

fn render(template: &Template, conversation: &Value) -> kinglet_quant::Result<String> {
    let text = |turn: &'_ Value, key: &str| turn[key].as_str().unwrap().to_owned();
    let turns = conversation["messages"].as_array().unwrap().iter();
    let turns: Vec<_> = turns.map(|turn| (text(turn, "role"), text(turn, "content"))).collect();
    let messages = turns.iter().map(|(role, content)| Message { role, content });
    let is_reply_next = conversation["add_generation_prompt"] == true;
    template.render(&messages.collect::<Vec<_>>(), is_reply_next)
}

#[test]
fn templates_write_what_transformers_writes() {
    let goldens: Value = serde_json::from_str(&read("templates.json")).unwrap();
    let conversations: Value = serde_json::from_str(&read("templates/conversations.json")).unwrap();
    let (goldens, conversations) =
        (goldens.as_object().unwrap(), conversations.as_array().unwrap());
    let mut wrong = Vec::new();
    for (name, golden) in goldens {
        let source = read(&format!("templates/{name}.jinja"));
        let template = Template::with(&source, specials(), Some(clock)).unwrap();
        for (conversation, wanted) in conversations.iter().zip(golden["sha256"].as_array().unwrap())
        {
            let text = render(&template, conversation);
            let hash = text.as_ref().ok().map(|text| {
                let hash = Sha256::digest(text);
                hash[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
            });
            if hash.as_deref() != wanted.as_str() {
                wrong.push(format!("{name}: {conversation} becomes {text:?}"));
            }
        }
        if std::env::var("X").is_ok()
            && let Some(first) = golden["first"].as_str()
        {
            let text = render(&template, &conversations[0]);
            if text.as_deref().ok() != Some(first) {
                println!("== {name}\n{first}\n-- {text:?}\n{}", text.clone().unwrap_or_default());
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(goldens.len() >= 40 && conversations.len() == 30);
}
