//! A model's own chat template: conversations become text the way `transformers` makes it.

use kinglet_quant::config::NO_TOKEN;
use kinglet_quant::file::TextKey;
use kinglet_quant::{Code, Error, File, Result, fail};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value, context};
use std::borrow::Cow;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: Cow<'static, str>,
    /// What was said.
    pub content: String,
}

/// A compiled template.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

const NAME: &str = "chat";

impl Template {
    /// The template of a model, see [`Template::new`].
    pub fn of(model: &File<'_>) -> Result<Self> {
        let text = |token: u32| match token {
            NO_TOKEN => Cow::Borrowed(""),
            token => String::from_utf8_lossy(model.vocab().text(token)),
        };
        let eos = model.config().eos_tokens().first().copied().unwrap_or(NO_TOKEN);
        Self::new(model.text(TextKey::ChatTemplate), &text(model.config().bos), &text(eos))
    }

    /// Compiles a Jinja template. `bos` and `eos` are the texts of the model's special tokens.
    /// `NoChatTemplate` when the model has none, `BadSource` when it does not compile.
    pub fn new(source: Option<&str>, bos: &str, eos: &str) -> Result<Self> {
        let Some(source) = source.filter(|source| !source.is_empty()) else {
            fail!(
                Code::NoChatTemplate,
                "the model has no chat template: take an -instruct model, or use `kinglet run`"
            );
        };
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("both are plain switches"));
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |text: String| -> std::result::Result<String, _> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, text))
            },
        );
        // The date stays out of prompts: the same conversation must give the same tokens tomorrow.
        environment.add_function("strftime_now", |_format: String| String::new());
        environment.add_template_owned(NAME, source.to_owned()).map_err(|cause| {
            Error::new(Code::BadSource, format_args!("the chat template does not compile: {cause}"))
        })?;
        Ok(Self { environment, bos: bos.into(), eos: eos.into() })
    }

    /// The text of a conversation; with `is_reply_next` ready for the assistant's next reply.
    pub fn render(&self, messages: &[Message], is_reply_next: bool) -> Result<String> {
        let template = self.environment.get_template(NAME).expect("it was added");
        let turn = |m: &Message| context! { role => &*m.role, content => m.content.as_str() };
        let variables = context! {
            messages => messages.iter().map(turn).collect::<Vec<Value>>(),
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            add_generation_prompt => is_reply_next,
        };
        template.render(variables).map_err(|cause| {
            let reason = cause.detail().map_or_else(|| cause.to_string(), str::to_owned);
            Error::new(
                Code::BadArgument,
                format_args!("the chat template refuses the conversation: {reason}"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn user(content: &str) -> Message {
        Message { role: "user".into(), content: content.into() }
    }

    /// What `transformers` renders, made by `tests/goldens/make.py`.
    #[test]
    fn conversations_render_as_recorded() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/chat.json");
        let goldens: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let template = Template::new(goldens["template"].as_str(), "", "").unwrap();
        for case in goldens["cases"].as_array().unwrap() {
            let message = |m: &Value| Message {
                role: m["role"].as_str().unwrap().to_owned().into(),
                content: m["content"].as_str().unwrap().into(),
            };
            let messages: Vec<_> =
                case["messages"].as_array().unwrap().iter().map(message).collect();
            let text = template.render(&messages, case["add_generation_prompt"] == true).unwrap();
            assert_eq!(text, case["text"].as_str().unwrap());
        }
    }

    #[test]
    fn blocks_are_trimmed_and_python_methods_work() {
        let source = "{% for m in messages %}\n    {% if m.role == 'user' %}\n\
            {{ m.content.strip() }}\n    {% endif %}\n{% endfor %}\n\
            {{ bos_token }}{{ messages[0] | tojson }}";
        let template = Template::new(Some(source), "<s>", "</s>").unwrap();
        let text = template.render(&[user("  a ")], true).unwrap();
        assert_eq!(text, "a\n<s>{\"role\": \"user\", \"content\": \"  a \"}");
    }

    #[test]
    fn what_the_template_refuses_is_an_error_with_its_words() {
        let source = "{{ raise_exception('roles must alternate') }}";
        let template = Template::new(Some(source), "", "").unwrap();
        let error = template.render(&[user("a")], true).unwrap_err();
        assert_eq!(error.code(), Code::BadArgument);
        assert!(error.message().contains("roles must alternate"), "{error}");
    }

    #[test]
    fn missing_and_broken_templates_are_errors() {
        let code = |source| Template::new(source, "", "").err().map(|e| e.code());
        assert_eq!(code(None), Some(Code::NoChatTemplate));
        assert_eq!(code(Some("")), Some(Code::NoChatTemplate));
        assert_eq!(code(Some("{% for %}")), Some(Code::BadSource));
    }
}
