//! A checkpoint's own chat template, in Jinja, as `transformers` renders it.
//!
//! [`Template::reduce`] makes a [`frame`](crate::frame) of it, which is all that most models need
//! from then on.

mod reduce;

use crate::config::NO_TOKEN;
use crate::frame::Message;
use crate::{Code, Config, Error, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value, context};
use std::borrow::Cow;

/// Steps of a rendering, so that it ends whatever the template says: a conversation of a thousand
/// messages takes less than a tenth.
const MAX_STEPS: u64 = 1_000_000;

const NAME: &str = "chat";

/// Texts of special tokens, by the names that templates have for them. Names without a text are
/// undefined in templates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTexts {
    entries: Vec<(String, String)>,
}

impl SpecialTexts {
    /// The names that there can be.
    pub const NAMES: [&str; 7] = [
        "bos_token",
        "eos_token",
        "unk_token",
        "sep_token",
        "pad_token",
        "cls_token",
        "mask_token",
    ];

    /// The text that a name stands for.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(own, _)| own == name).map(|(_, text)| text.as_str())
    }
}

impl<N: Into<String>, T: Into<String>> FromIterator<(N, T)> for SpecialTexts {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(entries: I) -> Self {
        let entries = entries.into_iter();
        Self { entries: entries.map(|(name, text)| (name.into(), text.into())).collect() }
    }
}

/// A compiled template.
#[derive(Clone, Debug)]
pub struct Template {
    source: String,
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl Template {
    /// Compiles the template of a model. `token_text` has the bytes that a token stands for.
    /// `BadSource` when the template does not compile.
    pub fn of<'t>(
        source: &str,
        config: &Config,
        token_text: impl Fn(u32) -> &'t [u8],
    ) -> Result<Self> {
        let text = |token: u32| match token {
            NO_TOKEN => Cow::Borrowed(""),
            token => String::from_utf8_lossy(token_text(token)),
        };
        let eos = config.eos_tokens().first().copied().unwrap_or(NO_TOKEN);
        Self::new(source, &text(config.bos), &text(eos))
    }

    /// Compiles a template. `bos` and `eos` are the texts of the model's tokens for the begin of a
    /// text and for its end. `BadSource` when the template does not compile.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("both are plain switches"));
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(MAX_STEPS));
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
        Ok(Self { source: source.into(), environment, bos: bos.into(), eos: eos.into() })
    }

    /// The template in Jinja.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation; with `is_reply_next` ready for the assistant's next reply.
    /// `BadArgument` with the template's words when it refuses the conversation.
    pub fn render(&self, messages: &[Message<'_>], is_reply_next: bool) -> Result<String> {
        let turn = |m: &Message<'_>| context! { role => m.role, content => m.content };
        let variables = context! {
            messages => messages.iter().map(turn).collect::<Vec<Value>>(),
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            add_generation_prompt => is_reply_next,
        };
        self.compiled().render(variables).map_err(|cause| {
            let reason = cause.detail().map_or_else(|| cause.to_string(), str::to_owned);
            Error::new(
                Code::BadArgument,
                format_args!("the chat template refuses the conversation: {reason}"),
            )
        })
    }

    /// The template as the text of a [`Frame`](crate::frame::Frame), if there is a frame that
    /// writes some hundred conversations as the template does, and takes none that it refuses.
    pub fn reduce(&self) -> Option<String> {
        reduce::reduce(self)
    }

    fn compiled(&self) -> minijinja::Template<'_, '_> {
        self.environment.get_template(NAME).expect("it was added")
    }
}
