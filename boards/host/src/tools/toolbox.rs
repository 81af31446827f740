//! The functions of a conversation with a model: its template, and how it writes calls.

use super::{Choice, Dialect, Tools, Turn};
use crate::Model;
use crate::guide::{Guide, Guides};
use crate::template::Template;
use kinglet_quant::Result;

/// What conversations with a model and functions need.
#[derive(Clone, Debug)]
pub struct Toolbox {
    tools: Tools,
    template: Template,
    dialect: Dialect,
}

impl Toolbox {
    /// The functions for a model. `NoChatTemplate` when it has no template.
    pub fn new(model: &Model, tools: Tools) -> Result<Self> {
        let template = Template::of(&model.file())?;
        Ok(Self { tools, template, dialect: Dialect::TAGS })
    }

    /// The functions.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// How the model writes calls.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// The tokens of a conversation; with `is_reply_next` ready for the model's next reply. Control
    /// tokens that are spelled out in turns stay text. `BadArgument` when the template refuses the
    /// conversation.
    pub fn tokens(&self, model: &Model, turns: &[Turn], is_reply_next: bool) -> Result<Vec<u32>> {
        self.template.tokens(&model.tokenizer(), &self.tools.plain(turns), is_reply_next)
    }

    /// The grammar of replies: see [`Tools::guide`].
    pub fn guide(&self, guides: &Guides, choice: Choice<'_>) -> Result<Guide> {
        self.tools.guide(guides, &self.dialect, choice)
    }

    /// The turn that a reply is. `BadArgument` for calls that were cut.
    pub fn read(&self, reply: &str) -> Result<Turn> {
        Ok(match self.dialect.read(reply)? {
            Some(calls) => Turn::Assistant { content: String::new(), calls },
            None => Turn::Assistant { content: reply.to_owned(), calls: Vec::new() },
        })
    }
}
