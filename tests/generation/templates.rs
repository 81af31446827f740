//! Chat templates of well-known shapes, against what transformers makes of them.

use kinglet::{Code, TextKey, Type, template};
use kinglet_quant::Source;
use kinglet_quant::convert::{Options, convert};
use kinglet_quant::frame::Message;
use kinglet_quant::template::{SpecialTexts, Template};
use kinglet_tests::models::{SMALL, golden_path, small, small_source};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

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
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(goldens.len() >= 40 && conversations.len() == 30);
}

#[test]
fn what_a_template_needs_and_kinglet_lacks_is_told_from_a_refusal() {
    let check = |source: &str| Template::with(source, specials(), None)?.check();
    let lacks = |source: &str, what: &str| {
        let error = check(source).expect_err(source);
        assert_eq!(error.code(), Code::BadSource, "{source}");
        assert!(error.message().contains(what), "{what:?} is not in {error}");
        assert!(!error.message().contains("refuses"), "{error}");
    };
    lacks("{{ messages | no_such_filter }}", "filter no_such_filter is unknown (line 1)");
    lacks("a\n{{ messages[0].content.no_such_method() }}", "no_such_method (line 2)");
    lacks("{{ no_such_function() }}", "no_such_function");
    lacks("{{ messages[0] is no_such_test }}", "no_such_test");
    lacks("{{ messages[7].role }}", "undefined");
    lacks("{% for %}", "cannot be read");
    // What a template itself refuses is no fault of it, and the date is no fault either.
    assert_eq!(check("{{ raise_exception('never') }}"), Ok(()));
    assert_eq!(check("{{ strftime_now('%Y') }}"), Ok(()));
    let refusing = "{% macro m() %}{{ raise_exception('No ' ~ 1) }}{% endmacro %}{{ m() }}";
    let refusal = Template::with(refusing, specials(), None).unwrap().render(&[], true);
    let refusal = refusal.unwrap_err();
    assert_eq!(refusal.code(), Code::BadArgument);
    assert_eq!(refusal.message(), "the chat template refuses the conversation: No 1");
}

#[test]
fn no_template_takes_memory_or_time_without_end() {
    let conversation = [Message { role: "user", content: "Hi" }];
    for (source, code) in [
        ("{{ '%2000000000d' % 5 }}", Code::BadArgument),
        ("{{ '%-2000000000s|' % ('a',) }}", Code::BadArgument),
        ("{{ '{:>2000000000}'.format(1) }}", Code::BadSource),
        ("{{ range(99999) | list | tojson(indent=60000) }}", Code::BadArgument),
        ("{{ [messages] * 9 | tojson(separators=['a' * 90000000, '']) }}", Code::BadArgument),
    ] {
        let error = Template::new(source, "", "").unwrap().render(&conversation, true).unwrap_err();
        assert_eq!(error.code(), code, "{source}: {error}");
    }
    let wide = Template::new("{{ '{:>9}|'.format(1) ~ '%9d|' % 2 }}", "", "").unwrap();
    let text = wide.render(&conversation, true).unwrap();
    assert_eq!(text, "        1|        2|");
}

#[test]
fn templates_that_take_many_steps_have_no_frame() {
    let loops = |count: usize| {
        let frame = "{% for m in messages %}{{ m.role ~ m.content }}{% endfor %}";
        let source = format!("{{% for i in range({count}) %}}{{% endfor %}}{frame}");
        Template::new(&source, "", "").unwrap()
    };
    assert!(loops(10).reduce().is_some());
    let many = loops(30_000);
    let conversation = [Message { role: "user", content: "Hi" }];
    assert!(many.render(&conversation, false).is_ok() && many.check().is_ok());
    assert!(many.reduce().is_none());
}

#[test]
fn templates_with_a_date_have_no_frame() {
    let source =
        |date: &str| format!("{date}{{% for m in messages %}}{{{{ m.content }}}};{{% endfor %}}");
    let reduced = |date| Template::with(&source(date), specials(), Some(clock)).unwrap().reduce();
    assert!(reduced("Today").is_some());
    assert_eq!(reduced("{{ strftime_now('%d') }}"), None);
}

/// A small model, converted with this template and other settings.
fn converted_with(folder: &Path, template: &str, settings: &Value) -> kinglet::Model {
    for entry in fs::read_dir(small_source(SMALL[0])).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    fs::write(folder.join("chat_template.jinja"), template).unwrap();
    fs::write(folder.join("tokenizer_config.json"), settings.to_string()).unwrap();
    let output = folder.join("out.kinglet");
    let checkpoint = Source::open(folder).unwrap();
    let options = Options::new(Type::Q8, 1);
    convert(&checkpoint, &output, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    kinglet::Model::open(&output).unwrap()
}

#[test]
fn weight_files_keep_what_the_tokenizer_says_of_special_tokens() {
    let around = "{{ bos_token }}|{{ eos_token }}|{{ unk_token is defined }}";
    // The first is a frame, the second is none.
    for turns in [
        "{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}",
        "{% for m in messages %}{{ loop.length }}{{ m.content | tojson }};{% endfor %}",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let settings = json!({"eos_token": {"content": "<stop>"}, "bos_token": null});
        let model = converted_with(folder.path(), &format!("{around}{turns}"), &settings);
        let written = template::Template::of(&model.file()).unwrap();
        let message = template::Message { role: "user".into(), content: "a<b".into() };
        let text = written.render(&[message], false).unwrap();
        assert!(text.starts_with("|<stop>|False"), "{text}");
        let is_frame = written.is_frame();
        assert_eq!(model.file().text(TextKey::SpecialTexts).is_none(), is_frame, "{turns}");
        assert_eq!(is_frame, text.ends_with("<user>a<b;"), "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    let model = converted_with(folder.path(), "{{ strftime_now('%Y') }}", &json!({}));
    let written = template::Template::of(&model.file()).unwrap();
    assert!(!written.is_frame());
    let year: u32 = written.render(&[], true).unwrap().parse().unwrap();
    assert!((2020..2200).contains(&year));
}

/// What JSON escapes must not hide where a message has spelled out a control token.
#[test]
fn control_tokens_in_escaped_messages_stay_text() {
    let model = small(SMALL[0], Type::Q8);
    let tokenizer = model.tokenizer();
    let source = "{{ messages[0].content | tojson(ensure_ascii=true) }}<|im_end|>";
    let template = template::Template::new(Some(source), "", "").unwrap();
    let content = "é <|im_end|> 漢";
    let message = template::Message { role: "user".into(), content: content.into() };
    let tokens = template.tokens(&tokenizer, std::slice::from_ref(&message), true).unwrap();
    let text: Vec<u8> = tokens.iter().flat_map(|&token| tokenizer.decode(token)).copied().collect();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text, r#""\u00e9 <|im_end|> \u6f22"<|im_end|>"#);
    assert_eq!(text, template.render(&[message], true).unwrap());
    let controls = tokens.iter().filter(|&&token| tokenizer.vocab().is_control(token)).count();
    assert_eq!(controls, 1, "the template's own");
}
