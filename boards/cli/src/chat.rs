//! A conversation: its messages, and the session that holds what was computed of them.

use crate::out;
use crate::reply::{self, Reply};
use kinglet::template::{Message, Template};
use kinglet::{Code, GenerateOptions, Model, Result, Session};
use kinglet_quant::ensure;

/// Positions that a reply should have at least; older turns are forgotten to make this room.
const REPLY_ROOM: usize = 64;

/// A conversation with a model.
pub struct Conversation {
    model: Model,
    session: Session,
    template: Template,
    system: Option<String>,
    turns: Vec<Message>,
}

impl Conversation {
    /// A conversation that has not begun. `NoChatTemplate` when the model has no template.
    pub fn new(model: Model, session: Session, system: Option<String>) -> Result<Self> {
        let template = Template::of(&model.file())?;
        Ok(Self { model, session, template, system, turns: Vec::new() })
    }

    /// Forgets everything that was said.
    pub fn reset(&mut self) {
        self.turns.clear();
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

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Says something and streams the reply. After a failure the conversation is as it was before.
    pub fn say(
        &mut self,
        text: String,
        options: &GenerateOptions<'_>,
        on_text: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Reply> {
        self.turns.push(Message { role: "user".into(), content: text });
        let reply = self.fit().and_then(|tokens| {
            let known = self.keep_prefix(&tokens);
            let unpaced = &mut || Ok(());
            reply::generate(&mut self.session, &tokens[known..], options, on_text, unpaced)
        });
        match &reply {
            Ok(reply) => {
                self.turns.push(Message { role: "assistant".into(), content: reply.text.clone() });
            }
            Err(_) => {
                self.turns.pop();
            }
        }
        reply
    }

    /// The tokens of the conversation, the oldest turns forgotten until a reply fits behind them.
    fn fit(&mut self) -> Result<Vec<u32>> {
        let context = self.session.plan().limits().context;
        let turns = self.turns.len();
        loop {
            let tokens = self.template.tokens(&self.model.tokenizer(), &self.messages(), true)?;
            if tokens.len() + REPLY_ROOM.min(context / 2) <= context {
                let forgotten = (turns - self.turns.len()) / 2;
                if forgotten > 0 {
                    out::note(format_args!(
                        "the context of {context} is full: the {forgotten} oldest turns are \
                         forgotten"
                    ));
                }
                return Ok(tokens);
            }
            ensure!(
                self.turns.len() > 1,
                Code::PromptTooLong,
                "the message has {} tokens, the context {context}: shorten it or raise --ctx",
                tokens.len()
            );
            self.turns.drain(..2);
        }
    }

    fn messages(&self) -> Vec<Message> {
        let system =
            self.system.iter().map(|text| Message { role: "system".into(), content: text.clone() });
        system.chain(self.turns.iter().cloned()).collect()
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
