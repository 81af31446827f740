//! The templates that the core renders, against `transformers` and against a whole Jinja engine.

use fastrand::Rng;
use kinglet::Code;
use kinglet::template::{self, Template};
use kinglet_core::chat::{Chat, Message, render};
use kinglet_tests::models::golden_path;
use kinglet_tests::strings;
use serde_json::Value;
use std::fs;

fn rendered(source: &str, messages: &[Message<'_>], is_reply_next: bool) -> Result<String, Code> {
    let chat = Chat {
        count: messages.len(),
        message: &|index| messages[index],
        is_reply_next,
        bos: "<s>",
        eos: "</s>",
    };
    let mut text = String::new();
    render(source, &chat, &mut |piece| text.push_str(piece)).map_err(|error| error.code())?;
    Ok(text)
}

#[test]
fn conversations_render_as_transformers_renders_them() {
    let goldens: Value =
        serde_json::from_slice(&fs::read(golden_path("chat.json")).unwrap()).unwrap();
    let cases = goldens["cases"].as_array().unwrap();
    assert!(cases.len() > 10);
    for case in cases {
        let messages: Vec<_> = case["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| Message {
                role: m["role"].as_str().unwrap(),
                content: m["content"].as_str().unwrap(),
            })
            .collect();
        let is_reply_next = case["add_generation_prompt"] == true;
        let text = rendered(goldens["template"].as_str().unwrap(), &messages, is_reply_next);
        assert_eq!(text.as_deref(), Ok(case["text"].as_str().unwrap()));
    }
}

/// Templates of published models, and one of every construct.
const TEMPLATES: [&str; 14] = [
    // SmolLM
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + \
     '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' \
     }}{% endif %}",
    // ChatML with trimmed texts
    "{% for message in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}\
     {{ '<|im_start|>' ~ message.role ~ '\\n' ~ message.content | trim ~ '<|im_end|>' }}\
     {% endfor %}",
    // Zephyr
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + \
     message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n\
     {{ '<|system|>\n' + message['content'] + eos_token }}\n\
     {% elif message['role'] == 'assistant' %}\n\
     {{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n\
     {% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n\
     {% endfor %}\n",
    // Llama 2, without what it refuses
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set \
     system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set \
     system_message = false %}{% endif %}{% for message in loop_messages %}{% if loop.index0 == 0 \
     and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + \
     '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}\
     {% endif %}{{ bos_token + '[INST] ' + content + ' [/INST]' }}{% endfor %}",
    "   {#- a comment -#}   a\n  {# another #}\n  b {% if true %} c\n    {%- endif +%}\n d\n\n",
    "  {% if messages | length == 1 %}one{% else %}{{ messages|length }}{% endif %}\n\n x \n",
    "{{ messages[-1].content.strip() if messages[-1].role == 'user' else 'no user' }}",
    "{{ (messages[0].role == 'user' or false) and not add_generation_prompt }}{{ 1 }}{{ none }}",
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.length }}{{ loop.last }}\
     {% endfor %}{{ loop is defined }}{{ tools is not defined }}{{ tools }}",
    "{%- for m in messages -%}\n  {%- for n in messages -%}\n {{- m.role }}{{ n.role -}} \n\
     {%- endfor -%}\n{%- endfor -%}",
    "{% set x = 'a' %}{% for m in messages %}{% set x = 'b' %}{{ x }}{% endfor %}{{ x }}",
    "{% if tools %}{{ tools | tojson }}{% for t in tools %}{% if t %}x{% endif %}{% endfor %}\
     {% else %}{{ \"it's \\\"so\\\" \\q \\\\\" }}{% endif %}",
    "{{ messages[7] is undefined }}{{ messages[0]['name'] is none }}{{ '' or 'b' }}\
     {{ 'a' and '' }}",
    "{% if messages[0].role == 'user' and not tools %}\n\n{% endif %}{{'}}'}}{{ '%}' }}",
];

#[test]
fn templates_render_as_with_a_whole_engine() {
    let mut rng = Rng::with_seed(11);
    for source in TEMPLATES {
        let whole = Template::new(Some(source), "<s>", "</s>").unwrap();
        for _ in 0..40 {
            let turns: Vec<(&str, String)> = (0..rng.usize(1..5))
                .map(|_| {
                    (["system", "user", "assistant"][rng.usize(0..3)], strings::string(&mut rng))
                })
                .collect();
            let messages: Vec<_> =
                turns.iter().map(|(role, content)| Message { role, content }).collect();
            let owned: Vec<_> = turns
                .iter()
                .map(|(role, content)| template::Message {
                    role: (*role).into(),
                    content: content.clone(),
                })
                .collect();
            let is_reply_next = rng.bool();
            let expected = whole.render(&owned, is_reply_next).unwrap();
            let text = rendered(source, &messages, is_reply_next);
            assert_eq!(text.as_deref(), Ok(&*expected), "{source}");
        }
    }
}

#[test]
fn refusals_and_unknown_constructs_are_errors() {
    let user = [Message { role: "user", content: "a" }];
    for (source, code) in [
        ("{{ raise_exception('roles must alternate') }}", Code::BadArgument),
        ("{{ messages | tojson }}", Code::BadSource),
        ("{% macro f() %}{% endmacro %}", Code::BadSource),
        ("{% for x in 'abc' %}{% endfor %}", Code::BadSource),
        ("{% for m in messages %}", Code::BadSource),
        ("{% if true %}{% endfor %}", Code::BadSource),
        ("{% endif %}", Code::BadSource),
        ("{{ 'a", Code::BadSource),
        ("{{ 'a' + 1 }}", Code::BadSource),
        ("{{ 99999999999999999999999 }}", Code::BadSource),
        ("{% if", Code::BadSource),
        ("{{", Code::BadSource),
        ("{#", Code::BadSource),
        ("{%", Code::BadSource),
    ] {
        assert_eq!(rendered(source, &user, true), Err(code), "{source}");
    }
    let deep = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert_eq!(rendered(&format!("{{{{ {deep} }}}}"), &user, true), Err(Code::BadSource));
    let deep = "{% if true %}".repeat(10_000);
    assert_eq!(rendered(&deep, &user, true), Err(Code::BadSource));
    let loops = "{% for m in messages %}".repeat(3);
    assert_eq!(rendered(&loops, &user, true), Err(Code::BadSource));
}

/// Pieces of templates in any order end in a text or an error.
#[test]
fn no_template_panics() {
    const PIECES: [&str; 30] = [
        "{{",
        "}}",
        "{%",
        "%}",
        "{%-",
        "-%}",
        "{#",
        "#}",
        " for m in messages ",
        " endfor ",
        " if ",
        " else ",
        " elif ",
        " endif ",
        " set x = ",
        "'a'",
        "\"",
        "'",
        "\\",
        "messages",
        "[0]",
        "[-",
        "1:]",
        ".role",
        " + ",
        " == ",
        " is defined",
        " and ",
        "é\n ",
        "loop.first",
    ];
    let mut rng = Rng::with_seed(5);
    let user = [Message { role: "user", content: "a" }];
    let mut fine = 0;
    for _ in 0..20_000 {
        let source: String = (0..rng.usize(1..14)).map(|_| PIECES[rng.usize(0..30)]).collect();
        fine += u32::from(rendered(&source, &user, true).is_ok());
    }
    assert!(fine > 100, "{fine}");
}
