//! Chat templates as frames: the texts that stand around the messages of a conversation.
//!
//! A checkpoint's template is a program in Jinja. `convert` reduces it to a frame where that is
//! possible, and a frame needs neither Jinja nor memory: the text of a conversation is a row of
//! [`Piece`]s. Each says whose text it is, so that control tokens which somebody has typed into a
//! message stay text. `FORMAT.md` has the layout of a frame in the weight file.

use crate::{Code, Result, ensure, fail};

/// Between the fields of a frame: the unit separator of ASCII.
pub const SEPARATOR: char = '\u{1F}';

/// The roles that messages can have, in the order of a frame's fields.
pub const ROLES: [&str; 3] = ["system", "user", "assistant"];

/// The role of what a called function returned, in conversations with functions.
pub const TOOL: &str = "tool";

/// The place of `system` in [`ROLES`].
pub const SYSTEM: usize = 0;
/// The place of `user` in [`ROLES`].
pub const USER: usize = 1;
/// The place of `assistant` in [`ROLES`].
pub const ASSISTANT: usize = 2;

/// One turn of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// One of [`ROLES`], or [`TOOL`] where there are functions.
    pub role: &'a str,
    /// What was said.
    pub content: &'a str,
}

/// What a conversation has in which the model can call functions. The functions are told in the
/// system message; what they return stands in turns of the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Functions<'a> {
    /// The system message of a conversation without one.
    pub default_system: &'a str,
    /// Between a system message that is not empty and what is told.
    pub joint: &'a str,
    /// What the model is told of the functions.
    pub told: &'a str,
    /// In front of what a function returned, between such of one turn, and behind.
    pub results: [&'a str; 3],
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
    /// The functions that the model can call, if there are some.
    pub functions: Option<Functions<'a>>,
}

impl<'a> Conversation<'a> {
    /// Whether a message is what a function returned.
    fn is_result(&self, index: usize) -> bool {
        self.functions.is_some() && index < self.count && (self.message)(index).role == TOOL
    }

    /// Whether a message goes on with the turn of the one before it, as results of calls do that
    /// were made at once.
    fn goes_on(&self, index: usize) -> bool {
        index > 0 && self.is_result(index) && self.is_result(index - 1)
    }

    /// The functions where no message of the conversation can tell of them.
    fn functions_alone(&self) -> Option<Functions<'a>> {
        let has_system = self.count > 0 && (self.message)(0).role == ROLES[SYSTEM];
        self.functions.filter(|_| !has_system)
    }

    /// The text of a message in the parts that make it up.
    fn texts(&self, index: usize, contents: Contents) -> [&'a str; 4] {
        let Message { role, content } = (self.message)(index);
        let is_trimmed = contents == Contents::Trimmed;
        match self.functions {
            Some(Functions { results: [open, joint, close], .. }) if role == TOOL => {
                [if self.goes_on(index) { joint } else { "" }, open, content, close]
            }
            Some(functions) if index == 0 && role == ROLES[SYSTEM] => {
                let content = if is_trimmed { content.trim_start() } else { content };
                functions.system(content, is_trimmed)
            }
            // Not `trim`, which would be the same code once more.
            _ if is_trimmed => ["", content.trim_start().trim_end(), "", ""],
            _ => ["", content, "", ""],
        }
    }
}

impl<'a> Functions<'a> {
    /// A system message that tells of the functions, in parts.
    fn system(&self, content: &'a str, is_trimmed: bool) -> [&'a str; 4] {
        let joint = if content.is_empty() { "" } else { self.joint };
        let told = if is_trimmed { self.told.trim_end() } else { self.told };
        [content, joint, told, ""]
    }
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
    pub fn pieces(&self, conversation: &Conversation<'a>) -> Result<Pieces<'a>> {
        self.check(conversation)?;
        let tells_alone = conversation.functions_alone().is_some();
        let none = Piece { text: "", is_own: true };
        Ok(Pieces {
            frame: *self,
            conversation: *conversation,
            tells_alone,
            turns: 0,
            turn: [none; TURN_PIECES],
            given: TURN_PIECES,
        })
    }

    /// What stands around a message, unless it has a role that there is not.
    fn around(&self, chat: &Conversation<'_>, index: usize) -> Option<&Around<'a>> {
        let role = if chat.is_result(index) { ROLES[USER] } else { (chat.message)(index).role };
        let known = ROLES.iter().zip(&self.roles).find(|(name, _)| **name == role);
        known.map(|(_, around)| around)
    }

    /// Whether the frame takes a conversation.
    fn check(&self, chat: &Conversation<'_>) -> Result<()> {
        let alone = chat.functions_alone().is_some();
        ensure!(
            chat.count > 0 || alone || self.empty.is_some(),
            Code::BadArgument,
            "the model's chat template refuses a conversation without messages"
        );
        let role = |index: usize| (chat.message)(index).role;
        for index in 0..chat.count {
            let Some(around) = self.around(chat, index) else {
                let tool = if chat.functions.is_some() { ", or tool" } else { "" };
                fail!(
                    Code::BadArgument,
                    "message {index} has the role {}: give system, user or assistant{tool}",
                    role(index)
                );
            };
            ensure!(
                around.contents != Contents::Refused,
                Code::BadArgument,
                "the model's chat template takes no {} messages",
                role(index)
            );
        }
        ensure!(
            !alone || self.roles[SYSTEM].contents != Contents::Refused,
            Code::BadArgument,
            "the model's chat template takes no system message, which would tell of the functions"
        );
        if self.order == Order::Turns && (chat.count > 0 || alone) {
            let first = usize::from(!alone && role(0) == ROLES[SYSTEM]);
            let mut turns = (first..chat.count).filter(|&index| !chat.goes_on(index)).zip(0..);
            let is_in_turn = |(index, turn): (usize, usize)| {
                let role = if chat.is_result(index) { ROLES[USER] } else { role(index) };
                role == ROLES[USER + turn % 2]
            };
            ensure!(
                chat.count > first && turns.all(is_in_turn),
                Code::BadArgument,
                "the model's chat template wants user and assistant in turns, user first, and at \
                 most one system message in front of them"
            );
        }
        Ok(())
    }
}

/// Pieces of a turn at most.
const TURN_PIECES: usize = 6;

/// The text of a conversation in pieces: see [`Frame::pieces`].
#[derive(Clone)]
pub struct Pieces<'a> {
    frame: Frame<'a>,
    conversation: Conversation<'a>,
    /// Whether the functions are told in a turn in front of the messages.
    tells_alone: bool,
    /// Turns so far, what comes behind the last message being one.
    turns: usize,
    /// The last turn, and how many of its pieces were given out.
    turn: [Piece<'a>; TURN_PIECES],
    given: usize,
}

impl<'a> Pieces<'a> {
    /// The pieces of the turn that comes next, if there is one.
    fn turn(&self) -> Option<[Piece<'a>; TURN_PIECES]> {
        let Self { frame, conversation: chat, tells_alone, turns, .. } = self;
        let own = |text| Piece { text, is_own: true };
        let with = |before, texts: [&'a str; 4], after| {
            let [a, b, c, d] = texts.map(|text| Piece { text, is_own: false });
            [own(before), a, b, c, d, own(after)]
        };
        let Some(index) = turns.checked_sub(usize::from(*tells_alone)) else {
            let system = &frame.roles[SYSTEM];
            let functions = chat.functions?;
            let is_trimmed = system.contents == Contents::Trimmed;
            let texts = functions.system(functions.default_system, is_trimmed);
            return Some(with(system.first, texts, system.after));
        };
        if index < chat.count {
            let around = frame.around(chat, index).expect("the roles were checked");
            let texts = chat.texts(index, around.contents);
            let before = match turns {
                _ if chat.goes_on(index) => "",
                0 => around.first,
                _ => around.next,
            };
            let after = if chat.goes_on(index + 1) { "" } else { around.after };
            return Some(with(before, texts, after));
        }
        let last = match (turns, frame.empty) {
            (0, Some(texts)) => texts[usize::from(chat.is_reply_next)],
            _ if chat.is_reply_next => frame.reply,
            _ => "",
        };
        (index == chat.count).then(|| with(last, [""; 4], ""))
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    /// Once for all who write conversations: it is as fast, and they are smaller.
    #[inline(never)]
    fn next(&mut self) -> Option<Piece<'a>> {
        if self.given == TURN_PIECES {
            self.turn = self.turn()?;
            self.turns += 1;
            self.given = 0;
        }
        self.given += 1;
        Some(self.turn[self.given - 1])
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
    use std::string::String;

    const TEXT: &str =
        "akktx\u{1F}0\u{1F}1\u{1F}S\u{1F}s\u{1F};\u{1F}U\u{1F}u\u{1F}.\u{1F}A\u{1F}a\u{1F},\u{1F}R";

    const FUNCTIONS: Functions<'_> = Functions {
        default_system: "default ",
        joint: "+",
        told: "told ",
        results: ["<", "|", ">"],
    };

    fn write(text: &str, messages: &[[&str; 2]], is_reply_next: bool) -> Result<String> {
        write_with(None, text, messages, is_reply_next)
    }

    fn write_with(
        functions: Option<Functions<'_>>,
        text: &str,
        messages: &[[&str; 2]],
        is_reply_next: bool,
    ) -> Result<String> {
        let message = |index: usize| {
            let [role, content] = messages[index];
            Message { role, content }
        };
        let count = messages.len();
        let conversation = Conversation { count, message: &message, is_reply_next, functions };
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
    fn functions_are_told_in_the_system_message_and_results_are_turns_of_the_user() {
        let write = |text: &str, messages: &[[&str; 2]]| {
            write_with(Some(FUNCTIONS), text, messages, true).unwrap()
        };
        let turns = TEXT.replace("akktx", "txkkk");
        let talk = [
            ["system", " x "],
            ["user", " y "],
            ["assistant", "calls"],
            ["tool", " 1 "],
            ["tool", "2"],
            ["assistant", "z"],
            ["user", "w"],
        ];
        let behind_system = "u y .acalls,u< 1 >|<2>.az,uw.R";
        assert_eq!(write(&turns, &talk), ["S x +told ;", behind_system].concat());
        assert_eq!(write(&turns, &talk[1..]), ["Sdefault +told ;", behind_system].concat());
        let any = TEXT.replace("akktx", "akttt");
        assert_eq!(write(&any, &talk[..2]), "Sx +told;uy.R", "contents are trimmed as a whole");
        assert_eq!(write(&any, &[["system", " "], ["tool", " 1 "]]), "Stold;u< 1 >.R");
        assert_eq!(write(&any, &[]), "Sdefault +told;R");
        let unsaid = Functions { default_system: "", ..FUNCTIONS };
        assert_eq!(write_with(Some(unsaid), TEXT, &[], false).unwrap(), "Stold ;");
    }

    #[test]
    fn functions_need_what_the_frame_takes() {
        let code = |text: &str, messages: &[[&str; 2]]| {
            write_with(Some(FUNCTIONS), text, messages, true).err().map(|error| error.code())
        };
        let turns = TEXT.replace("akktx", "txkkk");
        let [user, assistant, tool] = ["user", "assistant", "tool"].map(|role| [role, "x"]);
        assert_eq!(code(&turns, &[user, assistant, tool, tool, assistant]), None);
        for wrong in [&[][..], &[assistant], &[user, tool], &[user, assistant, tool, user]] {
            assert_eq!(code(&turns, wrong), Some(Code::BadArgument), "{wrong:?}");
        }
        assert_eq!(code(&turns, &[user, ["function", "x"]]), Some(Code::BadArgument));
        assert_eq!(code(&TEXT.replace("akktx", "akxkk"), &[user]), Some(Code::BadArgument));
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
