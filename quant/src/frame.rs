//! Chat templates as frames: the texts that stand around the messages of a conversation.
//!
//! A checkpoint's template is a program in Jinja. `convert` reduces it to a frame where that is
//! possible, and a frame needs neither Jinja nor memory: the text of a conversation is a row of
//! [`Piece`]s. Each says whose text it is, so that control tokens which somebody has typed into a
//! message stay text. `FORMAT.md` has the layout of a frame in the weight file.

use crate::{Code, Result, ensure, fail};
use core::iter;

/// Between the fields of a frame: the unit separator of ASCII.
pub const SEPARATOR: char = '\u{1F}';

/// The roles that messages can have, in the order of a frame's fields.
pub const ROLES: [&str; 3] = ["system", "user", "assistant"];

/// The place of `system` in [`ROLES`].
pub const SYSTEM: usize = 0;
/// The place of `user` in [`ROLES`].
pub const USER: usize = 1;
/// The place of `assistant` in [`ROLES`].
pub const ASSISTANT: usize = 2;

/// One turn of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// One of [`ROLES`].
    pub role: &'a str,
    /// What was said.
    pub content: &'a str,
}

/// A conversation, whose messages are asked for one by one.
#[derive(Clone, Copy)]
pub struct Conversation<'a> {
    /// Messages.
    pub count: usize,
    /// The message of a number below `count`; always the same for a number.
    pub message: &'a dyn Fn(usize) -> Message<'a>,
    /// Whether the text ends with the beginning of the assistant's next reply.
    pub is_reply_next: bool,
}

/// A part of a conversation's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The text, which may be empty.
    pub text: &'a str,
    /// Whether the text is the frame's own. Otherwise it is the content of a message, in which
    /// control tokens are only text.
    pub is_own: bool,
}

/// Which conversations a frame takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Messages in any order.
    Any,
    /// At most one system message in front; then user and assistant in turns, user first.
    Turns,
}

/// What becomes of the contents of a role's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// They stay as they are.
    Kept,
    /// White space at both ends is left out.
    Trimmed,
    /// The frame takes no message of this role.
    Refused,
}

/// What stands around the messages of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around<'a> {
    /// What becomes of the contents.
    pub contents: Contents,
    /// In front of the content that begins a conversation: with what begins every text, and with
    /// the default system message where the model has one.
    pub first: &'a str,
    /// In front of every other content.
    pub next: &'a str,
    /// Behind every content.
    pub after: &'a str,
}

/// A checked frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which conversations it takes.
    pub order: Order,
    /// The text of a conversation without messages, and the same when a reply is next; `None` when
    /// the frame refuses it.
    pub empty: Option<[&'a str; 2]>,
    /// Texts by role, in the order of [`ROLES`].
    pub roles: [Around<'a>; 3],
    /// The beginning of a reply.
    pub reply: &'a str,
}

impl<'a> Frame<'a> {
    /// Takes a frame apart. `Corrupt` when it is none.
    pub fn new(text: &'a str) -> Result<Self> {
        let mut fields = text.split(SEPARATOR);
        let mut field = || match fields.next() {
            Some(field) => Ok(field),
            None => fail!(Code::Corrupt, "the chat frame ends too early: convert the model again"),
        };
        let &[order, empty, system, user, assistant] = field()?.as_bytes() else {
            return Err(unknown_rule());
        };
        let order = match order {
            b'a' => Order::Any,
            b't' => Order::Turns,
            _ => return Err(unknown_rule()),
        };
        let empty_texts = [field()?, field()?];
        let empty = match empty {
            b'k' => Some(empty_texts),
            b'x' => None,
            _ => return Err(unknown_rule()),
        };
        let mut around = |rule| {
            let contents = match rule {
                b'k' => Contents::Kept,
                b't' => Contents::Trimmed,
                b'x' => Contents::Refused,
                _ => return Err(unknown_rule()),
            };
            Ok(Around { contents, first: field()?, next: field()?, after: field()? })
        };
        let roles = [around(system)?, around(user)?, around(assistant)?];
        let reply = field()?;
        ensure!(
            fields.next().is_none(),
            Code::Corrupt,
            "the chat frame has too many texts: convert the model again"
        );
        Ok(Self { order, empty, roles, reply })
    }

    /// The text of a conversation in pieces. `BadArgument` when the frame does not take it.
    pub fn pieces(
        &self,
        conversation: &Conversation<'a>,
    ) -> Result<impl Iterator<Item = Piece<'a>> + Clone + use<'a>> {
        let (frame, chat) = (*self, *conversation);
        self.check(&chat)?;
        let own = |text| Piece { text, is_own: true };
        let turn = move |index: usize| {
            let Message { role, content } = (chat.message)(index);
            let around = frame.around(role).expect("the roles were checked");
            let text = match around.contents {
                Contents::Trimmed => content.trim(),
                Contents::Kept | Contents::Refused => content,
            };
            let before = if index == 0 { around.first } else { around.next };
            [own(before), Piece { text, is_own: false }, own(around.after)]
        };
        let last = match (chat.count, frame.empty) {
            (0, Some(texts)) => texts[usize::from(chat.is_reply_next)],
            _ if chat.is_reply_next => frame.reply,
            _ => "",
        };
        Ok((0..chat.count).flat_map(turn).chain(iter::once(own(last))))
    }

    fn around(&self, role: &str) -> Option<&Around<'a>> {
        let known = ROLES.iter().zip(&self.roles).find(|(name, _)| **name == role);
        known.map(|(_, around)| around)
    }

    /// Whether the frame takes a conversation.
    fn check(&self, chat: &Conversation<'_>) -> Result<()> {
        ensure!(
            chat.count > 0 || self.empty.is_some(),
            Code::BadArgument,
            "the model's chat template refuses a conversation without messages"
        );
        let role = |index: usize| (chat.message)(index).role;
        for index in 0..chat.count {
            let role = role(index);
            let Some(around) = self.around(role) else {
                fail!(
                    Code::BadArgument,
                    "message {index} has the role {role}: give system, user or assistant"
                );
            };
            ensure!(
                around.contents != Contents::Refused,
                Code::BadArgument,
                "the model's chat template takes no {role} messages"
            );
        }
        if self.order == Order::Turns && chat.count > 0 {
            let first = usize::from(role(0) == ROLES[SYSTEM]);
            let is_in_turn = |index: usize| role(index) == ROLES[USER + (index - first) % 2];
            ensure!(
                chat.count > first && (first..chat.count).all(is_in_turn),
                Code::BadArgument,
                "the model's chat template wants user and assistant in turns, user first, and at \
                 most one system message in front of them"
            );
        }
        Ok(())
    }
}

fn unknown_rule() -> crate::Error {
    crate::Error::new(
        Code::Corrupt,
        format_args!("the chat frame has rules that this program does not know"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "akktx\u{1F}0\u{1F}1\u{1F}S\u{1F}s\u{1F};\u{1F}U\u{1F}u\u{1F}.\u{1F}A\u{1F}a\u{1F},\u{1F}R";

    fn write(
        text: &str,
        messages: &[[&str; 2]],
        is_reply_next: bool,
    ) -> Result<std::string::String> {
        let message = |index: usize| {
            let [role, content] = messages[index];
            Message { role, content }
        };
        let conversation = Conversation { count: messages.len(), message: &message, is_reply_next };
        let pieces = Frame::new(text)?.pieces(&conversation)?;
        Ok(pieces.map(|piece| piece.text).collect())
    }

    #[test]
    fn texts_stand_around_contents() {
        let talk = [["system", " x "], ["user", " y "], ["system", "z"]];
        assert_eq!(write(TEXT, &talk, true).unwrap(), "S x ;uy.sz;R");
        assert_eq!(write(TEXT, &talk[1..], false).unwrap(), "Uy.sz;");
        assert_eq!(write(TEXT, &[], false).unwrap(), "0");
        assert_eq!(write(TEXT, &[], true).unwrap(), "1");
        let turns = TEXT.replace("akktx", "txkkk");
        let talk = [["system", "x"], ["user", "y"], ["assistant", "z"]];
        assert_eq!(write(&turns, &talk, false).unwrap(), "Sx;uy.az,");
    }

    #[test]
    fn conversations_that_a_frame_does_not_take_are_refused() {
        let refused = |text: &str, roles: &[&str]| {
            let messages: std::vec::Vec<_> = roles.iter().map(|role| [*role, "x"]).collect();
            write(text, &messages, true).err().map(|error| error.code())
        };
        let turns = TEXT.replace("akktx", "txkkk");
        assert_eq!(refused(TEXT, &["user", "tool"]), Some(Code::BadArgument));
        assert_eq!(refused(TEXT, &["assistant"]), Some(Code::BadArgument));
        for roles in [&[][..], &["system"], &["assistant"], &["user", "user"], &["user", "system"]]
        {
            assert_eq!(refused(&turns, roles), Some(Code::BadArgument), "{roles:?}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let code = |text: &str| Frame::new(text).err().map(|error| error.code());
        assert_eq!(code(TEXT), None);
        for (from, to) in [
            ("akktx", "akkt"),
            ("akktx", "akktxk"),
            ("akktx", "bkktx"),
            ("akktx", "aykkk"),
            ("akktx", "akkyk"),
            ("\u{1F}R", ""),
            ("R", "R\u{1F}"),
        ] {
            assert_eq!(code(&TEXT.replace(from, to)), Some(Code::Corrupt), "{from} {to}");
        }
        assert_eq!(code(""), Some(Code::Corrupt));
    }
}
