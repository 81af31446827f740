//! Tables of functions, for programs that cannot allocate: what they allow, and what they refuse.

use crate::tools::{with_source, with_template};
use fastrand::Rng;
use kinglet::table::Table;
use kinglet::tools::{Call, Choice, Dialect, Toolbox, Tools, Turn};
use kinglet::{Code, GenerateOptions, Sampling, SessionOptions, StopReason, Type};
use kinglet_core::automaton::State;
use kinglet_core::tools::Tools as OpenTable;
use kinglet_tests::models::{SMALL, small};
use serde_json::{Value, json};
use std::ops::ControlFlow;

const TOOLS: &str = r##"[
    {"type": "function", "function": {"name": "set_light", "parameters": {
        "properties": {
            "room": {"enum": ["kitchen", "bath"]},
            "level": {"$ref": "#/$defs/level"}
        },
        "required": ["room"],
        "$defs": {"level": {"type": "integer", "minimum": 0, "maximum": 10}}
    }}},
    {"name": "read-clock"}
]"##;

fn table(choice: Choice<'_>) -> Vec<u8> {
    Tools::from_json(TOOLS).unwrap().table(choice, 1).unwrap()
}

/// Whether a reply is whole and allowed.
fn allows(table: &[u8], reply: &str) -> bool {
    let replies = OpenTable::open(table).unwrap().replies;
    let state = replies.walk(State::START, reply.as_bytes());
    state.is_some_and(|state| replies.accepts(state))
}

fn call(name: &str, arguments: Value) -> Call {
    Call { name: name.into(), arguments }
}

/// A call, and whether it is one of the functions with arguments of its schema.
fn random_call(rng: &mut Rng) -> (Call, bool) {
    let room = ["kitchen", "bath", "cellar"][rng.usize(..3)];
    let level = rng.u8(..13);
    match rng.u32(..8) {
        0 => (call("read-clock", json!({"room": room})), false),
        1 => (call("read_clock", json!({})), false),
        2 => (call("set_light", json!({"level": level})), false),
        3 | 4 => (call("read-clock", json!({})), true),
        5 => (call("set_light", json!({"room": room})), room != "cellar"),
        _ => {
            let is_right = room != "cellar" && level <= 10;
            (call("set_light", json!({"room": room, "level": level})), is_right)
        }
    }
}

#[test]
fn tables_allow_the_calls_that_fit_and_no_others() {
    let tables = [Choice::Auto, Choice::Required, Choice::Named("set_light")].map(table);
    let mut rng = Rng::with_seed(2);
    let mut counts = [0; 4];
    for _ in 0..2000 {
        let made: Vec<(Call, bool)> = (0..rng.usize(1..4)).map(|_| random_call(&mut rng)).collect();
        let is_right = made.iter().all(|(_, is_right)| *is_right);
        let calls: Vec<Call> = made.into_iter().map(|(call, _)| call).collect();
        let is_named = calls.len() == 1 && calls[0].name == "set_light";
        let reply = Dialect::TAGS.write(&calls);
        let expected = [is_right, is_right, is_right && is_named];
        assert_eq!(tables.each_ref().map(|table| allows(table, &reply)), expected, "{reply}");
        // What follows a whole reply with calls, or is missing of it, fits no more.
        assert!(!allows(&tables[0], &format!("{reply} ")), "{reply}");
        assert!(!allows(&tables[0], &reply[..reply.len() - 1]), "{reply}");
        let found = [!is_right, is_right, is_right && calls.len() > 1, expected[2]];
        counts = std::array::from_fn(|i| counts[i] + usize::from(found[i]));
    }
    assert!(counts.iter().all(|&count| count > 100), "{counts:?}");
    for (reply, expected) in [
        ("<tool_call>[]</tool_call>", [true, false, false]),
        ("Hello, \n<tool_call>[\u{e9}", [true, false, false]),
        ("", [false; 3]),
        ("<b>", [false; 3]),
    ] {
        assert_eq!(tables.each_ref().map(|table| allows(table, reply)), expected, "{reply}");
    }
}

/// A model of random weights walks the table as firmware does.
#[test]
fn replies_of_a_table_are_words_or_calls() {
    let model = small(SMALL[1], Type::Q8);
    let options = SessionOptions { context: Some(300), ..SessionOptions::default() };
    let mut session = model.session(&options).unwrap();
    let [mut called, mut said] = [0, 0];
    for (choice, seed) in [Choice::Auto, Choice::Required]
        .into_iter()
        .flat_map(|choice| (0..8).map(move |seed| (choice, seed)))
    {
        let table = Table::new(&model, &table(choice)).unwrap();
        let options = GenerateOptions {
            max_tokens: 200,
            sampling: Sampling { temperature: 1.2, seed, ..Sampling::default() },
            grammar: Some(&table),
            ..GenerateOptions::default()
        };
        let mut text = String::new();
        session.reset();
        let made = session.generate(&[5, 9, 17], &options, &mut |piece| {
            text.push_str(piece.text);
            ControlFlow::Continue(())
        });
        match (Dialect::TAGS.read(&text), made.unwrap().stop_reason) {
            (Ok(Some(calls)), StopReason::Complete) => {
                assert!(choice == Choice::Auto || !calls.is_empty(), "{text}");
                assert_eq!(Dialect::TAGS.write(&calls).len(), text.len(), "{text}");
                called += calls.len();
            }
            (Ok(None), _) => {
                assert!(choice == Choice::Auto && !text.starts_with('<'), "{text}");
                said += 1;
            }
            (Err(_), reason) => assert_eq!(reason, StopReason::MaxTokens, "{text}"),
            (calls, reason) => panic!("{calls:?} {reason:?} {text}"),
        }
    }
    assert!(called > 4 && said > 0, "{called} {said}");
}

/// What a reply was becomes a turn of the same text, so that what was computed of it is kept.
#[test]
fn calls_of_a_reply_are_written_as_they_were() {
    let reply = concat!(
        r#"<tool_call>[{"name": "set_light", "arguments": {"room": "bath", "level": 3}}, "#,
        r#"{"name": "read-clock", "arguments": {}}]</tool_call>"#
    );
    assert!(allows(&table(Choice::Auto), reply));
    let calls = Dialect::TAGS.read(reply).unwrap().unwrap();
    let turn = Turn::Assistant { content: String::new(), calls };
    assert_eq!(turn.plain().content, reply);
}

/// A template that knows functions has a table of its own, by which a frame writes what the
/// template writes; one that does so in a way that no frame can is refused.
#[test]
fn templates_that_know_functions_have_tables_of_their_own() {
    let tools = || Tools::from_json(TOOLS).unwrap();
    let model = with_template("qwen2.5");
    let toolbox = Toolbox::new(&model, tools()).unwrap();
    let table = toolbox.table(&model, Choice::Auto, 1).unwrap();
    let OpenTable { functions, dialect, .. } = OpenTable::open(&table).unwrap();
    assert!(functions.told.contains("\"name\": \"set_light\""), "{functions:?}");
    assert_eq!(functions.results, ["<tool_response>\n", "\n", "\n</tool_response>"]);
    assert_eq!(functions.default_system, "You were made to help.");
    let calls = [call("set_light", json!({"room": "bath"})), call("read-clock", json!({}))];
    let reply = toolbox.dialect().write(&calls);
    assert!(allows(&table, &reply) && !allows(&table, &Dialect::TAGS.write(&calls)), "{reply}");
    let found: Vec<&str> = dialect.calls(&reply).unwrap().map(|call| call.unwrap().name).collect();
    assert_eq!(found, ["set_light", "read-clock"]);
    let plain = small(SMALL[1], Type::Q8);
    let of_plain = Toolbox::new(&plain, tools()).unwrap();
    let convention = tools().table(Choice::Auto, 1).unwrap();
    assert_eq!(of_plain.table(&plain, Choice::Auto, 1).unwrap(), convention);
}

/// Tells of functions in front of the first question.
const BEFORE_THE_QUESTION: &str = "{% for m in messages %}\
    {% if m.role == 'assistant' and m.tool_calls %}<|im_start|>assistant\n\
    {% for c in m.tool_calls %}<call>{{ c.function.name }} \
    {{ c.function.arguments | tojson }}</call>{% endfor %}<|im_end|>\n\
    {% else %}<|im_start|>{{ m.role }}\n\
    {% if m.role == 'user' and loop.first and tools %}{{ tools | tojson }}{% endif %}\
    {{ m.content }}<|im_end|>\n{% endif %}{% endfor %}";

#[test]
fn templates_whose_functions_no_frame_can_tell_are_refused() {
    let model = with_source(BEFORE_THE_QUESTION);
    let toolbox = Toolbox::new(&model, Tools::from_json(TOOLS).unwrap()).unwrap();
    assert_eq!(toolbox.dialect().between, " ");
    assert!(toolbox.table(&model, Choice::Auto, 1).is_err_and(|e| e.code() == Code::BadSource));
}

#[test]
fn what_a_table_cannot_keep_is_refused_with_the_functions_name() {
    let compile = |parameters: Value, choice: Choice<'_>| {
        let functions = json!([{"name": "other"}, {"name": "dim", "parameters": parameters}]);
        Tools::from_json(&functions.to_string()).unwrap().table(choice, 1)
    };
    for (parameters, named) in [
        (json!({"type": "array", "items": {"type": "null"}}), "something else than an object"),
        (json!({"anyOf": [{"type": "object"}, {"type": "null"}]}), "something else than an object"),
        (json!({"properties": {"a": {"uniqueItems": true}}}), "uniqueItems"),
        (json!({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}), "nothing fits"),
    ] {
        let error = compile(parameters.clone(), Choice::Auto).unwrap_err();
        assert_eq!(error.code(), Code::BadGrammar, "{parameters}");
        let message = error.message();
        assert!(message.contains(named) && message.contains("the function dim"), "{message}");
        assert!(compile(parameters, Choice::Named("other")).is_ok());
    }
    let error = compile(json!({}), Choice::Named("no_such")).unwrap_err();
    assert_eq!(error.code(), Code::BadArgument);
    let tools = Tools::from_json(TOOLS).unwrap();
    assert_eq!(tools.table(Choice::Auto, 0).unwrap_err().code(), Code::BadArgument);
}
