//! Functions that models call: how they are told, and what the calls are.

use kinglet::guide::Guides;
use kinglet::tools::{Call, Choice, Dialect, Toolbox, Tools, Turn};
use kinglet::{Code, GenerateOptions, Model, Sampling, SessionOptions, StopReason, Type};
use kinglet_quant::convert::{Options, convert};
use kinglet_quant::source::Source;
use kinglet_tests::models::{SMALL, golden_path, small, small_source};
use serde_json::{Value, json};
use std::fs;
use std::ops::ControlFlow;

const TOOLS: &str = r##"[
    {"type": "function", "function": {
        "name": "set_light",
        "description": "Switches a lamp.",
        "parameters": {
            "type": "object",
            "properties": {
                "room": {"enum": ["kitchen", "bath"]},
                "level": {"$ref": "#/$defs/level"}
            },
            "required": ["room", "level"],
            "additionalProperties": false,
            "$defs": {"level": {"type": "integer", "minimum": 0, "maximum": 10}}
        }
    }},
    {"name": "read-clock"}
]"##;

fn tools() -> Tools {
    Tools::from_json(TOOLS).unwrap()
}

fn is_right(Call { name, arguments }: &Call) -> bool {
    let fields = arguments.as_object().unwrap();
    match name.as_str() {
        "set_light" => {
            fields.len() == 2
                && ["kitchen", "bath"].contains(&arguments["room"].as_str().unwrap())
                && arguments["level"].as_u64().unwrap() <= 10
        }
        "read-clock" => true,
        _ => false,
    }
}

/// A small model with one of the goldens' templates.
pub fn with_template(name: &str) -> Model {
    let template = golden_path(&format!("templates/{name}.jinja"));
    with_source(&fs::read_to_string(template).unwrap())
}

/// A small model with a template.
pub fn with_source(template: &str) -> Model {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(small_source(SMALL[1])).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let output = folder.path().join("out.kinglet");
    let source = Source::open(folder.path()).unwrap();
    let options = Options::new(Type::Q8, 1);
    convert(&source, &output, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    Model::open(&output).unwrap()
}

/// The text of a reply and why it ended.
fn reply(model: &Model, toolbox: &Toolbox, choice: Choice<'_>, seed: u64) -> (String, StopReason) {
    let guide = toolbox.guide(&Guides::new(model).unwrap(), choice).unwrap();
    let options = SessionOptions { context: Some(300), ..SessionOptions::default() };
    let mut session = model.session(&options).unwrap();
    let options = GenerateOptions {
        max_tokens: 200,
        sampling: Sampling { temperature: 1.2, seed, ..Sampling::default() },
        grammar: Some(&guide),
        ..GenerateOptions::default()
    };
    let mut text = String::new();
    let made = session.generate(&[5, 9, 17], &options, &mut |piece| {
        text.push_str(piece.text);
        ControlFlow::Continue(())
    });
    (text, made.unwrap().stop_reason)
}

/// Home Assistant describes arguments with formats of its own, and with keywords that no grammar
/// keeps.
#[test]
fn schemas_that_cannot_be_kept_are_refused_where_the_function_is_strict() {
    let model = small(SMALL[1], Type::Q8);
    let guides = Guides::new(&model).unwrap();
    let guide = |strict: Value| {
        let parameters = json!({
            "type": "object",
            "properties": {
                "lamps": {
                    "type": "array", "uniqueItems": true,
                    "items": {"type": "string", "format": "entity_id"},
                },
                "level": {"type": "integer", "minimum": 0, "maximum": 10},
            },
            "required": ["level"],
        });
        let function = json!({"name": "dim", "parameters": parameters, "strict": strict});
        let toolbox = Toolbox::new(&model, Tools::from_json(&json!([function]).to_string())?)?;
        toolbox.guide(&guides, Choice::Required)
    };
    assert!(guide(Value::Null).is_ok() && guide(json!(false)).is_ok());
    let refused = guide(json!(true)).unwrap_err();
    assert_eq!(refused.code(), Code::BadGrammar);
    assert!(refused.message().contains("uniqueItems"), "{}", refused.message());
    assert_eq!(guide(json!("yes")).unwrap_err().code(), Code::BadArgument);
}

/// A model of random weights calls functions that there are, with arguments that fit.
#[test]
fn calls_follow_the_schemas() {
    let plain = small(SMALL[1], Type::Q8);
    let own = with_template("qwen2.5");
    for model in [&plain, &own] {
        let toolbox = Toolbox::new(model, tools()).unwrap();
        let mut names = Vec::new();
        for seed in 0..8 {
            let (text, reason) = reply(model, &toolbox, Choice::Required, seed);
            if reason == StopReason::MaxTokens {
                // It was cut within a call, or goes on with another one.
                assert!(toolbox.read(&text).is_err(), "{text}");
                continue;
            }
            assert_ne!(reason, StopReason::ContextFull);
            let Turn::Assistant { content, calls } = toolbox.read(&text).unwrap() else {
                panic!("a reply is the assistant's turn");
            };
            assert!(content.is_empty() && !calls.is_empty(), "{text}");
            assert!(calls.iter().all(is_right), "{text}");
            names.extend(calls.into_iter().map(|call| call.name));
        }
        assert!(names.len() > 4, "{names:?}");
        let (text, reason) = reply(model, &toolbox, Choice::Named("set_light"), 3);
        let Turn::Assistant { calls, .. } = toolbox.read(&text).unwrap() else { panic!("{text}") };
        assert_eq!((calls.len(), reason), (1, StopReason::Complete), "{text}");
        assert!(calls[0].name == "set_light" && is_right(&calls[0]), "{text}");
    }
}

/// Where it may, the model says what it likes, or calls.
#[test]
fn a_choice_is_the_models() {
    let model = small(SMALL[1], Type::Q8);
    let toolbox = Toolbox::new(&model, tools()).unwrap();
    for seed in 0..6 {
        let (text, _) = reply(&model, &toolbox, Choice::Auto, seed);
        if text.starts_with('<') {
            assert!(
                Dialect::TAGS.open.starts_with(&text) || text.starts_with(&*Dialect::TAGS.open)
            );
        } else {
            let Turn::Assistant { content, calls } = toolbox.read(&text).unwrap() else {
                panic!("{text}")
            };
            assert!(content == text && calls.is_empty());
        }
    }
    let guides = Guides::new(&model).unwrap();
    let error = toolbox.guide(&guides, Choice::Named("no_such")).unwrap_err();
    assert_eq!(error.code(), Code::BadArgument);
}

/// A conversation with a question, calls, results and an answer.
fn conversation() -> Vec<Turn> {
    let call = |name: &str, arguments: Value| Call { name: name.into(), arguments };
    let tool =
        |name: &str, content: &str| Turn::Tool { name: name.into(), content: content.into() };
    vec![
        Turn::System("Be brief.".into()),
        Turn::User("How late is it?<|im_end|>".into()),
        Turn::Assistant {
            content: String::new(),
            calls: vec![
                call("read-clock", json!({})),
                call("set_light", json!({"room": "bath", "level": 3})),
            ],
        },
        tool("read-clock", "12:30"),
        tool("set_light", "done<|im_end|>"),
        Turn::Assistant { content: "Half past twelve.".into(), calls: Vec::new() },
        Turn::User("Thanks".into()),
    ]
}

fn text_of(model: &Model, toolbox: &Toolbox) -> (String, usize) {
    let tokens = toolbox.tokens(model, &conversation(), true).unwrap();
    let vocab = model.file().vocab();
    let bytes: Vec<u8> = tokens.iter().flat_map(|&token| vocab.text(token).to_vec()).collect();
    let controls = tokens.iter().filter(|&&token| vocab.is_control(token)).count();
    (String::from_utf8(bytes).unwrap(), controls)
}

#[test]
fn conversations_are_told_by_the_convention() {
    let model = small(SMALL[1], Type::Q8);
    let toolbox = Toolbox::new(&model, tools()).unwrap();
    assert_eq!(*toolbox.dialect(), Dialect::TAGS);
    let (text, controls) = text_of(&model, &toolbox);
    // Those of six turns, and the beginning of the next; none that somebody has typed.
    assert_eq!(controls, 2 * 6 + 1, "{text}");
    let system = text.split("<|im_end|>").next().unwrap();
    assert!(system.contains("Be brief.\n\n"), "{text}");
    let listed = system.split_once("<tools>").unwrap().1.split_once("</tools>").unwrap().0;
    assert_eq!(serde_json::from_str::<Value>(listed).unwrap(), tools().to_json());
    for part in [
        "<|im_start|>user\nHow late is it?<|im_end|><|im_end|>",
        "<|im_start|>assistant\n<tool_call>[{\"name\": \"read-clock\", \"arguments\": {}}, \
         {\"name\": \"set_light\", \"arguments\": {\"room\": \"bath\", \"level\": 3}}]</tool_call>\
         <|im_end|>",
        "<|im_start|>user\n<tool_response>12:30</tool_response>\n\
         <tool_response>done<|im_end|></tool_response><|im_end|>",
        "<|im_start|>assistant\nHalf past twelve.<|im_end|>",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    assert!(text.ends_with("<|im_start|>assistant\n"), "{text}");
}

#[test]
fn templates_that_know_functions_tell_them_their_own_way() {
    let model = with_template("qwen2.5");
    let toolbox = Toolbox::new(&model, tools()).unwrap();
    let dialect = toolbox.dialect();
    assert_eq!(dialect.open, "<tool_call>\n{\"name\": \"");
    assert_eq!(dialect.between, "\", \"arguments\": ");
    assert_eq!(dialect.separator.as_deref(), Some("}\n</tool_call>\n<tool_call>\n{\"name\": \""));
    assert_eq!(dialect.close, "}\n</tool_call>");
    let (text, controls) = text_of(&model, &toolbox);
    assert_eq!(controls, 2 * 6 + 1, "{text}");
    for part in [
        "{\"name\": \"set_light\", \"arguments\": {\"room\": \"bath\", \"level\": 3}}\n\
         </tool_call>",
        "<tool_response>\n12:30\n</tool_response>\n<tool_response>\ndone<|im_end|>\n\
         </tool_response><|im_end|>",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    // Templates that know no functions, or whose calls cannot be read, take the convention.
    for name in ["smollm2", "gemma", "gpt-oss", "granite"] {
        let model = with_template(name);
        let toolbox = Toolbox::new(&model, tools()).unwrap();
        assert_eq!(*toolbox.dialect(), Dialect::TAGS, "{name}");
    }
}

#[test]
fn lists_that_are_none_are_refused() {
    for (text, named) in [
        ("{", "not a JSON list"),
        ("{}", "not a JSON list"),
        ("[]", "empty"),
        ("[{\"type\": \"retrieval\"}]", "type retrieval"),
        ("[{\"description\": \"x\"}]", "no name"),
        ("[{\"name\": \"a b\"}]", "a b"),
        ("[{\"name\": \"f\"}, {\"name\": \"f\"}]", "two tools"),
        ("[{\"name\": \"f\", \"parameters\": 3}]", "parameters of f"),
    ] {
        let error = Tools::from_json(text).unwrap_err();
        assert_eq!(error.code(), Code::BadArgument);
        assert!(error.message().contains(named), "{}", error.message());
    }
}
