//! A model's own chat template: conversations become text the way `transformers` makes it, and
//! tokens among which no message can smuggle a control token.
//!
//! Most templates are frames, which `kinglet convert` has put into the file; those that are none
//! go through a Jinja engine.

mod clock;
mod guard;

use kinglet_core::chat::{self, Conversation, Frame};
use kinglet_core::tokenizer::Tokenizer;
use kinglet_quant::file::TextKey;
use kinglet_quant::template::SpecialTexts;
use kinglet_quant::{Code, Error, File, Result, frame, template};
use std::borrow::Cow;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: Cow<'static, str>,
    /// What was said.
    pub content: String,
}

/// A template, ready to be used.
#[derive(Clone, Debug)]
pub struct Template {
    engine: Engine,
}

#[derive(Clone, Debug)]
enum Engine {
    /// The text of a frame, which was checked.
    Frame(String),
    /// A template that cannot be reduced to a frame.
    Jinja(Box<template::Template>),
}

impl Template {
    /// The template of a model: its frame, or what [`Template::new`] makes of its template.
    pub fn of(model: &File<'_>) -> Result<Self> {
        if model.frame()?.is_some()
            && let Some(text) = model.text(TextKey::ChatFrame)
        {
            return Ok(Self { engine: Engine::Frame(text.to_owned()) });
        }
        jinja(model).map(Self::reduced)
    }

    /// Compiles a Jinja template, and reduces it to a frame where that is possible. `bos` and `eos`
    /// are the texts of the model's special tokens. `NoChatTemplate` when the model has none,
    /// `BadSource` when it does not compile.
    pub fn new(source: Option<&str>, bos: &str, eos: &str) -> Result<Self> {
        let specials = [("bos_token", bos), ("eos_token", eos)].into_iter().collect();
        template::Template::with(present(source)?, specials, Some(clock::now)).map(Self::reduced)
    }

    fn reduced(template: template::Template) -> Self {
        let engine = match template.reduce() {
            Some(frame) => Engine::Frame(frame),
            None => Engine::Jinja(Box::new(template)),
        };
        Self { engine }
    }

    /// Whether the template is a frame, which the C library and firmware can use as well.
    pub fn is_frame(&self) -> bool {
        matches!(self.engine, Engine::Frame(_))
    }

    /// The text of a conversation; with `is_reply_next` ready for the assistant's next reply.
    ///
    /// In this text, control tokens of the template and those that somebody has typed look alike:
    /// to tokenize what strangers say, use [`Self::tokens`]. `BadArgument` when the template
    /// refuses the conversation.
    pub fn render(&self, messages: &[Message], is_reply_next: bool) -> Result<String> {
        match &self.engine {
            Engine::Frame(text) => {
                let message = |index: usize| borrowed(&messages[index]);
                let count = messages.len();
                let conversation =
                    Conversation { count, message: &message, is_reply_next, functions: None };
                let pieces = Frame::new(text)?.pieces(&conversation)?;
                Ok(pieces.map(|piece| piece.text).collect())
            }
            Engine::Jinja(template) => {
                let messages: Vec<_> = messages.iter().map(borrowed).collect();
                template.render(&messages, is_reply_next)
            }
        }
    }

    /// The tokens of a conversation. Control tokens are found in the template's own texts only;
    /// those that are spelled out in a message are split like any text.
    ///
    /// `BadArgument` when the template refuses the conversation.
    pub fn tokens(
        &self,
        tokenizer: &Tokenizer<'_>,
        messages: &[Message],
        is_reply_next: bool,
    ) -> Result<Vec<u32>> {
        match &self.engine {
            Engine::Frame(text) => {
                let frame = Frame::new(text)?;
                let message = |index: usize| borrowed(&messages[index]);
                let count = messages.len();
                let conversation =
                    Conversation { count, message: &message, is_reply_next, functions: None };
                let mut tokens =
                    vec![0; chat::room(tokenizer, chat::text_bytes(&frame, &conversation)?)];
                let count = chat::encode(tokenizer, &frame, &conversation, &mut tokens)?;
                tokens.truncate(count);
                Ok(tokens)
            }
            Engine::Jinja(template) => {
                let texts = messages.iter().flat_map(|m| [m.role.as_ref(), m.content.as_str()]);
                let texts: Vec<&str> = texts.collect();
                guarded(template, tokenizer, &texts, |guard| {
                    let texts: Vec<String> = texts.iter().map(|text| guard(text)).collect();
                    let messages = texts.chunks_exact(2);
                    let messages =
                        messages.map(|pair| frame::Message { role: &pair[0], content: &pair[1] });
                    template.render(&messages.collect::<Vec<_>>(), is_reply_next)
                })
            }
        }
    }
}

/// The template of a model as it is in the checkpoint, compiled.
pub(crate) fn jinja(model: &File<'_>) -> Result<template::Template> {
    let source = present(model.text(TextKey::ChatTemplate))?;
    let text = |token: u32| model.vocab().text(token);
    match model.text(TextKey::SpecialTexts) {
        Some(specials) => {
            let specials = SpecialTexts::from_text(specials);
            template::Template::with(source, specials, Some(clock::now))
        }
        None => template::Template::of(source, model.config(), text, Some(clock::now)),
    }
}

/// The tokens of a conversation by a template in Jinja: see [`guard::render`].
pub(crate) fn guarded(
    template: &template::Template,
    tokenizer: &Tokenizer<'_>,
    texts: &[&str],
    write: impl FnOnce(&dyn Fn(&str) -> String) -> Result<String>,
) -> Result<Vec<u32>> {
    let (text, spans) = guard::render(template.source(), tokenizer, texts, write)?;
    let mut tokens = vec![0; text.len() + tokenizer.put_before()];
    let count = tokenizer.encode_spans(text.as_bytes(), &mut spans.into_iter(), &mut tokens)?;
    tokens.truncate(count);
    Ok(tokens)
}

fn borrowed(message: &Message) -> frame::Message<'_> {
    frame::Message { role: &message.role, content: &message.content }
}

/// The source of a template that is there.
fn present(source: Option<&str>) -> Result<&str> {
    source.filter(|source| !source.is_empty()).ok_or_else(|| {
        Error::new(
            Code::NoChatTemplate,
            format_args!(
                "the model has no chat template: take an -instruct model, or use `kinglet run`"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(content: &str) -> Message {
        Message { role: "user".into(), content: content.into() }
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
