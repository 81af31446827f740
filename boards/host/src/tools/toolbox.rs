//! The functions of a conversation with a model: its template, and how it writes calls.

use super::own::OwnTemplate;
use super::{Choice, Dialect, Tools, Turn};
use crate::Model;
use crate::guide::{Guide, Guides};
use crate::template::{Template, jinja};
use kinglet_quant::Result;

/// What conversations with a model and functions need.
#[derive(Clone, Debug)]
pub struct Toolbox {
    pub(super) tools: Tools,
    pub(super) writer: Writer,
}

/// What writes conversations.
#[derive(Clone, Debug)]
pub(super) enum Writer {
    /// A template that knows functions.
    Own(Box<OwnTemplate>),
    /// One that does not.
    Plain(Template),
}

impl Toolbox {
    /// The functions for a model. `NoChatTemplate` when it has no template.
    pub fn new(model: &Model, tools: Tools) -> Result<Self> {
        let writer = match OwnTemplate::of(jinja(&model.file())?) {
            Some(own) => Writer::Own(Box::new(own)),
            None => Writer::Plain(Template::of(&model.file())?),
        };
        Ok(Self { tools, writer })
    }

    /// The functions.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// How the model writes calls.
    pub fn dialect(&self) -> &Dialect {
        match &self.writer {
            Writer::Own(own) => &own.dialect,
            Writer::Plain(_) => &Dialect::TAGS,
        }
    }

    /// The tokens of a conversation; with `is_reply_next` ready for the model's next reply. Control
    /// tokens that are spelled out in turns stay text. `BadArgument` when the template refuses the
    /// conversation.
    pub fn tokens(&self, model: &Model, turns: &[Turn], is_reply_next: bool) -> Result<Vec<u32>> {
        let tokenizer = model.tokenizer();
        match &self.writer {
            Writer::Own(own) => own.tokens(&tokenizer, &self.tools, turns, is_reply_next),
            Writer::Plain(template) => {
                template.tokens(&tokenizer, &self.tools.plain(turns), is_reply_next)
            }
        }
    }

    /// The grammar of replies: see [`Tools::guide`].
    pub fn guide(&self, guides: &Guides, choice: Choice<'_>) -> Result<Guide> {
        self.tools.guide(guides, self.dialect(), choice)
    }

    /// The turn that a reply is. `BadArgument` for calls that were cut.
    pub fn read(&self, reply: &str) -> Result<Turn> {
        Ok(match self.dialect().read(reply)? {
            Some(calls) => Turn::Assistant { content: String::new(), calls },
            None => Turn::Assistant { content: reply.to_owned(), calls: Vec::new() },
        })
    }
}
