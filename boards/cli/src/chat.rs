//! A conversation: its messages, and the session that holds what was computed of them.

use crate::out;
use crate::reply::{self, Reply};
use kinglet::template::{Message, Template};
use kinglet::tools::{Toolbox, Turn};
use kinglet::{Code, GenerateOptions, Model, Result, Session};
use kinglet_quant::fail;
use std::collections::VecDeque;

/// Positions that a reply should have at least; older turns are forgotten to make this room.
const REPLY_ROOM: usize = 64;

/// A conversation with a model.
pub struct Conversation {
    model: Model,
    session: Session,
    writer: Writer,
    system: Option<String>,
    turns: Vec<Turn>,
    /// Functions that were called and have not been answered for.
    called: VecDeque<String>,
}

/// What turns the conversation into tokens.
enum Writer {
    Template(Template),
    Toolbox(Box<Toolbox>),
}

impl Conversation {
    /// A conversation that has not begun, maybe with functions. `NoChatTemplate` when the model has
    /// no template.
    pub fn new(
        model: Model,
        session: Session,
        system: Option<String>,
        toolbox: Option<Toolbox>,
    ) -> Result<Self> {
        let writer = match toolbox {
            Some(toolbox) => Writer::Toolbox(Box::new(toolbox)),
            None => Writer::Template(Template::of(&model.file())?),
        };
        let called = VecDeque::new();
        Ok(Self { model, session, writer, system, turns: Vec::new(), called })
    }

    /// Forgets everything that was said.
    pub fn reset(&mut self) {
        self.turns.clear();
        self.called.clear();
        self.session.reset();
    }

    /// Changes the system message.
    pub fn set_system(&mut self, text: String) {
        self.system = Some(text).filter(|text| !text.is_empty());
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Takes what a called function returned. Whether every call has its result, so that the model
    /// can go on. `BadArgument` where no call waits for one.
    pub fn tell_result(&mut self, content: String) -> Result<bool> {
        let Some(name) = self.called.pop_front() else {
            fail!(Code::BadArgument, "no call waits for a result");
        };
        self.turns.push(Turn::Tool { name, content });
        Ok(self.called.is_empty())
    }

    /// Says something and streams the reply; nothing where the results of calls were the last turn.
    /// After a failure the conversation is as it was before.
    pub fn say(
        &mut self,
        text: Option<String>,
        options: &GenerateOptions<'_>,
        on_text: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Reply> {
        let before = self.turns.len();
        self.turns.extend(text.map(Turn::User));
        let reply = self.fit().and_then(|tokens| {
            let known = self.keep_prefix(&tokens);
            let unpaced = &mut || Ok(());
            reply::generate(&mut self.session, &tokens[known..], options, on_text, unpaced)
        });
        match &reply {
            Ok(reply) => self.take(&reply.text),
            Err(_) => self.turns.truncate(before),
        }
        reply
    }

    /// Appends the model's turn.
    fn take(&mut self, reply: &str) {
        let in_words = || Turn::Assistant { content: reply.to_owned(), calls: Vec::new() };
        let turn = match &self.writer {
            // A call that was cut is kept as what it is: a beginning of one.
            Writer::Toolbox(toolbox) => toolbox.read(reply).unwrap_or_else(|_| in_words()),
            Writer::Template(_) => in_words(),
        };
        if let Turn::Assistant { calls, .. } = &turn {
            self.called = calls.iter().map(|call| call.name.clone()).collect();
        }
        self.turns.push(turn);
    }

    /// The tokens of the conversation, the oldest turns forgotten until a reply fits behind them.
    fn fit(&mut self) -> Result<Vec<u32>> {
        let context = self.session.plan().limits().context;
        let mut forgotten = 0;
        loop {
            let tokens = self.tokens()?;
            if tokens.len() + REPLY_ROOM.min(context / 2) <= context {
                if forgotten > 0 {
                    out::note(format_args!(
                        "the context of {context} is full: the {forgotten} oldest turns are \
                         forgotten"
                    ));
                }
                return Ok(tokens);
            }
            // The oldest question goes with all that belongs to it.
            let is_question = |turn: &Turn| matches!(turn, Turn::User(_));
            let Some(next) = self.turns.iter().skip(1).position(is_question) else {
                fail!(
                    Code::PromptTooLong,
                    "the message has {} tokens, the context {context}: shorten it or raise --ctx",
                    tokens.len()
                );
            };
            self.turns.drain(..=next);
            forgotten += 1;
        }
    }

    fn tokens(&self) -> Result<Vec<u32>> {
        let system = self.system.iter().map(|text| Turn::System(text.clone()));
        let turns: Vec<Turn> = system.chain(self.turns.iter().cloned()).collect();
        match &self.writer {
            Writer::Toolbox(toolbox) => toolbox.tokens(&self.model, &turns, true),
            Writer::Template(template) => {
                let messages: Vec<Message> = turns.iter().map(Turn::plain).collect();
                template.tokens(&self.model.tokenizer(), &messages, true)
            }
        }
    }

    /// Rewinds the session to what it shares with `tokens`; returns how many it keeps. The last
    /// token is always left to be computed, because its logits begin the reply.
    fn keep_prefix(&mut self, tokens: &[u32]) -> usize {
        let known =
            shared_prefix(self.session.tokens(), tokens).min(tokens.len().saturating_sub(1));
        self.session.rewind(known);
        known
    }
}

/// Tokens that two sequences have in common at their start.
pub fn shared_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_prefixes_are_counted() {
        assert_eq!(shared_prefix(&[1, 2, 3], &[1, 2, 4, 5]), 2);
        assert_eq!(shared_prefix(&[1, 2], &[1, 2, 3]), 2);
        assert_eq!(shared_prefix(&[], &[1]), 0);
        assert_eq!(shared_prefix(&[2], &[1]), 0);
    }
}
