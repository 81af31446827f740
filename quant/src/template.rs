//! A checkpoint's own chat template, in Jinja, as `transformers` renders it.
//!
//! [`Template::reduce`] makes a [`frame`](crate::frame) of it, which is all that most models need
//! from then on.

mod dialect;
mod methods;
mod python;
mod reduce;

use crate::config::NO_TOKEN;
use crate::frame::{Message, ROLES, SEPARATOR};
use crate::{Code, Config, Error, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, context};
use std::fmt;
use std::ops::RangeInclusive;

pub use minijinja::Value;
pub use minijinja::value::Serde;

/// Steps of a rendering, so that it ends whatever the template says: a conversation of a thousand
/// messages takes less than a tenth.
const MAX_STEPS: u64 = 1_000_000;
/// Steps of each of the many short conversations that a frame is tried on.
const FRAME_STEPS: u64 = MAX_STEPS / 20;

const NAME: &str = "chat";

/// Characters of private use, with which callers may mark parts of messages: JSON has them as they
/// are, also where it escapes all that is not ASCII.
pub const MARKS: RangeInclusive<char> = '\u{F0000}'..='\u{FFFFD}';

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

    /// Reads what [`SpecialTexts::to_text`] has written.
    pub fn from_text(text: &str) -> Self {
        let fields: Vec<&str> = text.split(SEPARATOR).collect();
        fields.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    }

    /// Names and texts in turns, with [`SEPARATOR`] between them; those with a separator in their
    /// text are left out.
    pub fn to_text(&self) -> String {
        let clean = self.entries.iter().filter(|(_, text)| !text.contains(SEPARATOR));
        let fields: Vec<&str> =
            clean.flat_map(|(name, text)| [name.as_str(), text.as_str()]).collect();
        fields.join(&SEPARATOR.to_string())
    }

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

/// What tells the time: the current local time in a format of C's `strftime`.
pub type Clock = fn(&str) -> String;

/// A compiled template.
#[derive(Clone, Debug)]
pub struct Template {
    source: String,
    environment: Environment<'static>,
    specials: SpecialTexts,
}

/// The reason of an error with which a template itself refuses a conversation.
#[derive(Debug)]
struct Refusal;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("raise_exception was called")
    }
}

impl std::error::Error for Refusal {}

impl Template {
    /// Compiles the template of a model whose files say nothing of special tokens: those of its
    /// configuration take their place. `token_text` has the bytes that a token stands for.
    /// `BadSource` when the template does not compile.
    pub fn of<'t>(
        source: &str,
        config: &Config,
        token_text: impl Fn(u32) -> &'t [u8],
        clock: Option<Clock>,
    ) -> Result<Self> {
        let eos = config.eos_tokens().first().copied().unwrap_or(NO_TOKEN);
        let text = |token: u32| match token {
            NO_TOKEN => String::new(),
            token => String::from_utf8_lossy(token_text(token)).into_owned(),
        };
        let both = [("bos_token", text(config.bos)), ("eos_token", text(eos))];
        let pad = (config.pad != NO_TOKEN).then(|| ("pad_token", text(config.pad)));
        let specials = both.into_iter().chain(pad).collect();
        Self::with(source, specials, clock)
    }

    /// Compiles a template that has no clock. `bos` and `eos` are the texts of the model's tokens
    /// for the begin of a text and for its end. `BadSource` when the template does not compile.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self> {
        Self::with(source, [("bos_token", bos), ("eos_token", eos)].into_iter().collect(), None)
    }

    /// Compiles a template. Without a clock, a template that asks for the date fails to render.
    /// `BadSource` when the template does not compile.
    pub fn with(source: &str, specials: SpecialTexts, clock: Option<Clock>) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let syntax = syntax.expect("both are plain switches");
        let translated = dialect::translated(source, &syntax);
        environment.set_syntax(syntax);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(MAX_STEPS));
        minijinja_contrib::add_to_environment(&mut environment);
        environment.set_unknown_method_callback(methods::call);
        // In Jinja there is no such function, and a text or a mapping is a sequence too.
        environment.remove_global("debug");
        environment.add_test("sequence", |value: &Value| {
            matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
        });
        environment.add_function(
            "raise_exception",
            |text: String| -> std::result::Result<String, _> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, text).with_source(Refusal))
            },
        );
        environment.add_function("strftime_now", move |format: &str| {
            let sentence = "the date is known only while a conversation is written";
            let unknown = || minijinja::Error::new(ErrorKind::InvalidOperation, sentence);
            clock.map(|clock| clock(format)).ok_or_else(unknown)
        });
        environment.add_filter("tojson", python::to_json);
        environment.add_filter(dialect::PERCENT, python::percent);
        environment.add_template_owned(NAME, translated).map_err(|cause| {
            let reason = reason(&cause);
            Error::new(Code::BadSource, format_args!("the chat template cannot be read: {reason}"))
        })?;
        Ok(Self { source: source.into(), environment, specials })
    }

    /// The template in Jinja.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation; with `is_reply_next` ready for the assistant's next reply.
    ///
    /// `BadArgument` with the template's words when it refuses the conversation, and when it takes
    /// too many steps; `BadSource` when it needs something that Kinglet lacks or makes a mistake.
    pub fn render(&self, messages: &[Message<'_>], is_reply_next: bool) -> Result<String> {
        let turn = |m: &Message<'_>| context! { role => m.role, content => m.content };
        let messages: Vec<Value> = messages.iter().map(turn).collect();
        // What a caller of transformers need not give is none, not undefined.
        self.render_with(messages.into(), Value::from(()), is_reply_next)
    }

    /// The text of a conversation with functions: `messages` and `tools` are lists of what
    /// `transformers` hands to templates. Otherwise as [`Template::render`].
    pub fn render_with(
        &self,
        messages: Value,
        tools: Value,
        is_reply_next: bool,
    ) -> Result<String> {
        let own = [
            ("messages", messages),
            ("tools", tools),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(is_reply_next)),
        ];
        let specials = self.specials.entries.iter();
        let specials = specials.map(|(name, text)| (name.as_str(), Value::from(text.as_str())));
        let variables = Value::from_pairs(specials.chain(own));
        self.compiled().render(variables).map_err(|cause| {
            let reason = reason(&cause);
            let (code, what) = if is_refusal(&cause) {
                (Code::BadArgument, "refuses the conversation")
            } else if cause.kind() == ErrorKind::OutOfFuel {
                (Code::BadArgument, "takes too many steps for the conversation")
            } else {
                (Code::BadSource, "needs what Kinglet does not have, or is wrong")
            };
            Error::new(code, format_args!("the chat template {what}: {reason}"))
        })
    }

    /// Writes some conversations, so that what the template needs and Kinglet lacks is known before
    /// anyone talks to the model. `BadSource` with the reason.
    pub fn check(&self) -> Result<()> {
        let clock: Clock = str::to_owned;
        let template = Self::with(&self.source, self.specials.clone(), Some(clock))?;
        let [system, user, assistant] = ROLES.map(|role| Message { role, content: "x" });
        let conversations: [&[Message<'_>]; 3] =
            [&[user], &[system, user], &[user, assistant, user]];
        for messages in conversations {
            for is_reply_next in [true, false] {
                match template.render(messages, is_reply_next) {
                    Err(error) if error.code() == Code::BadSource => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The template as the text of a [`Frame`](crate::frame::Frame), if there is a frame that
    /// writes some hundred conversations as the template does, and takes none that it refuses. A
    /// template that asks for the date has none, nor has one that takes thousands of steps for a
    /// message.
    pub fn reduce(&self) -> Option<String> {
        // No clock: a frame would keep the date of today.
        let mut dateless = Self::with(&self.source, self.specials.clone(), None).ok()?;
        dateless.environment.set_fuel(Some(FRAME_STEPS));
        reduce::reduce(&dateless)
    }

    fn compiled(&self) -> minijinja::Template<'_, '_> {
        self.environment.get_template(NAME).expect("it was added")
    }
}

/// What an error of the engine says, with the line where it knows it.
fn reason(cause: &minijinja::Error) -> String {
    let detail = cause.detail().map_or_else(|| cause.kind().to_string(), str::to_owned);
    match cause.line().filter(|_| !is_refusal(cause)) {
        Some(line) => format!("{detail} (line {line})"),
        None => detail,
    }
}

/// Whether the template itself raised the error.
fn is_refusal(cause: &minijinja::Error) -> bool {
    let mut error: Option<&(dyn std::error::Error + 'static)> = Some(cause);
    while let Some(current) = error {
        if current.is::<Refusal>() {
            return true;
        }
        error = current.source();
    }
    false
}
