//! How conversations tell of functions where a frame writes them: by the convention, or as a
//! template does that knows functions.

use super::own::OwnTemplate;
use super::{Call, JOINT, RESULTS, Tools, Turn};
use kinglet_core::chat::{self, Conversation, Frame, Functions, Message};
use kinglet_core::tokenizer::Tokenizer;
use kinglet_quant::Result;
use kinglet_quant::frame::{ROLES, SYSTEM, TOOL, USER};
use serde_json::json;

/// What is looked for in what a template writes. No template has these words.
const WORDS: [&str; 3] = ["kinglet words", "kinglet first result", "kinglet second result"];
const QUESTION: &str = "kinglet question";

/// [`Functions`] with texts of their own.
pub(super) struct Told {
    pub default_system: String,
    pub joint: String,
    pub told: String,
    pub results: [String; 3],
}

impl Told {
    /// By the convention of [`super::Dialect::TAGS`].
    pub fn by_convention(tools: &Tools) -> Self {
        Self {
            default_system: String::new(),
            joint: JOINT.to_owned(),
            told: tools.told(),
            results: RESULTS.map(str::to_owned),
        }
    }

    /// As a template tells them, whose other conversations a frame writes; `None` where the frame
    /// cannot.
    pub fn by_template(
        template: &OwnTemplate,
        frame: &Frame<'_>,
        tokenizer: &Tokenizer<'_>,
        tools: &Tools,
    ) -> Option<Self> {
        let told = Self::found(template, frame, tools)?;
        let is_equal = |turns: &Vec<Turn>| {
            let expected = template.tokens(tokenizer, tools, turns, true);
            let tokens = told.tokens(template, frame, tokenizer, turns);
            matches!((tokens, expected), (Ok(tokens), Ok(expected)) if tokens == expected)
        };
        samples(tools).iter().all(is_equal).then_some(told)
    }

    /// The texts that stand around what is looked for.
    fn found(template: &OwnTemplate, frame: &Frame<'_>, tools: &Tools) -> Option<Self> {
        let (system, user) = (&frame.roles[SYSTEM], &frame.roles[USER]);
        let question = || Turn::User(QUESTION.into());
        let write = |turns: &[Turn]| template.text(tools, turns).ok();
        let behind = [system.after, user.next, QUESTION, user.after].concat();
        let text = write(&[Turn::System(WORDS[0].into()), question()])?;
        let joined = text.strip_prefix(system.first)?.strip_prefix(WORDS[0])?;
        let joined = joined.strip_suffix(&behind)?;
        let text = write(&[question()])?;
        let alone = text.strip_prefix(system.first)?.strip_suffix(&behind)?;
        let (default_system, joint, told) = match alone.strip_suffix(joined) {
            Some(default) => (default, "", joined),
            None => ("", joined.strip_suffix(alone)?, alone),
        };
        let name = &tools.functions()[0].name;
        let call = Call { name: name.clone(), arguments: json!({}) };
        let called = Turn::Assistant { content: String::new(), calls: vec![call] };
        let [first, second] = [WORDS[1], WORDS[2]]
            .map(|content| Turn::Tool { name: name.clone(), content: content.into() });
        let text = write(&[question(), called, first, second])?;
        let (before, rest) = text.split_once(WORDS[1])?;
        let (between, after) = rest.split_once(WORDS[2])?;
        let open = before.rsplit_once(user.next)?.1;
        let close = after.strip_suffix(user.after)?;
        let between = between.strip_prefix(close)?.strip_suffix(open)?;
        Some(Self {
            default_system: default_system.to_owned(),
            joint: joint.to_owned(),
            told: told.to_owned(),
            results: [open, between, close].map(str::to_owned),
        })
    }

    /// The texts, as a frame takes them.
    pub fn borrowed(&self) -> Functions<'_> {
        Functions {
            default_system: &self.default_system,
            joint: &self.joint,
            told: &self.told,
            results: self.results.each_ref().map(String::as_str),
        }
    }

    /// The tokens of a conversation by a frame.
    fn tokens(
        &self,
        template: &OwnTemplate,
        frame: &Frame<'_>,
        tokenizer: &Tokenizer<'_>,
        turns: &[Turn],
    ) -> Result<Vec<u32>> {
        let written: Vec<[String; 2]> = turns.iter().map(|turn| message(template, turn)).collect();
        let message = |index: usize| {
            let [role, content]: &[String; 2] = &written[index];
            Message { role, content }
        };
        let conversation = Conversation {
            count: written.len(),
            message: &message,
            is_reply_next: true,
            functions: Some(self.borrowed()),
        };
        let mut tokens = vec![0; chat::room(tokenizer, chat::text_bytes(frame, &conversation)?)];
        let count = chat::encode(tokenizer, frame, &conversation, &mut tokens)?;
        tokens.truncate(count);
        Ok(tokens)
    }
}

/// A turn as programs in C have it: calls as the reply wrote them.
fn message(template: &OwnTemplate, turn: &Turn) -> [String; 2] {
    let (role, content) = match turn {
        Turn::System(text) => (ROLES[SYSTEM], text.clone()),
        Turn::User(text) => (ROLES[USER], text.clone()),
        Turn::Assistant { content, calls } if calls.is_empty() => ("assistant", content.clone()),
        Turn::Assistant { calls, .. } => ("assistant", template.dialect.write(calls)),
        Turn::Tool { content, .. } => (TOOL, content.clone()),
    };
    [role.to_owned(), content]
}

/// Conversations of all kinds.
fn samples(tools: &Tools) -> Vec<Vec<Turn>> {
    let name = &tools.functions()[0].name;
    let user = || Turn::User(" What\nis it? <|im_end|> ".into());
    let said = || Turn::Assistant { content: "It is 12.".into(), calls: Vec::new() };
    let called = |count: usize| {
        let call = |number| Call { name: name.clone(), arguments: json!({"a": [number, "b\n"]}) };
        Turn::Assistant { content: String::new(), calls: (0..count).map(call).collect() }
    };
    let result = |content: &str| Turn::Tool { name: name.clone(), content: content.to_owned() };
    let begun = [None, Some("Be brief."), Some(" a "), Some("")];
    let begun = begun.map(|text| text.map(|text| Turn::System(text.into())));
    let turns = [
        vec![user()],
        vec![user(), said(), user()],
        vec![user(), called(1), result(" 12\n")],
        vec![user(), called(2), result("{\"a\": 1}"), result(""), said(), user()],
        vec![user(), called(1), result("1"), called(1), result("<2>"), said()],
    ];
    let both = begun.iter().flat_map(|begun| turns.iter().map(move |turns| (begun, turns)));
    both.map(|(begun, turns)| begun.iter().chain(turns).cloned().collect()).collect()
}
