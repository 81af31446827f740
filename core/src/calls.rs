//! Calls of functions in a reply, and the texts around them.

use kinglet_quant::{Code, Error};

/// The texts around the names and arguments of calls in a reply. Arguments are an object in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect<'a> {
    /// In front of the first call.
    pub open: &'a str,
    /// In front of a name.
    pub before_name: &'a str,
    /// Between a name and its arguments.
    pub between: &'a str,
    /// Behind arguments.
    pub after: &'a str,
    /// Between two calls; none where a reply has one call at most.
    pub separator: Option<&'a str>,
    /// Behind the last call.
    pub close: &'a str,
    /// Whether a reply may open and close without a call.
    pub can_be_empty: bool,
}

/// A call of a function, as it stands in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'r> {
    /// The function's name.
    pub name: &'r str,
    /// Its arguments, an object in JSON.
    pub arguments: &'r str,
}

/// The calls of a reply in their order: see [`Dialect::calls`].
#[derive(Clone, Debug)]
pub struct Calls<'d, 'r> {
    dialect: Dialect<'d>,
    /// What lies behind the calls so far; none behind the last one.
    rest: Option<&'r str>,
    is_first: bool,
}

impl<'d> Dialect<'d> {
    /// The calls of a reply that was made to follow this dialect; `None` for a reply in words. A
    /// reply that was cut ends with `None` in place of a call, which [`cut`] says in words.
    pub fn calls<'r>(&self, reply: &'r str) -> Option<Calls<'d, 'r>> {
        // A beginning of what opens calls was cut, and is read as a call that is none.
        let is_begun = !reply.is_empty() && self.open.starts_with(reply);
        let rest = if is_begun { "" } else { reply.strip_prefix(self.open)? };
        Some(Calls { dialect: *self, rest: Some(rest), is_first: true })
    }
}

impl<'r> Calls<'_, 'r> {
    /// The call that a text begins with, and what lies behind it.
    fn call(&self, text: &'r str) -> Option<(Call<'r>, &'r str)> {
        let Dialect { before_name, between, after, separator, .. } = self.dialect;
        let text = if self.is_first { text } else { text.strip_prefix(separator?)? };
        let text = text.strip_prefix(before_name)?;
        // As `split_once`, whose search for any text is larger than all of this.
        let is_end = |&end: &usize| text.get(end..).is_some_and(|rest| rest.starts_with(between));
        let (name, text) = text.split_at((0..text.len()).find(is_end)?);
        let text = &text[between.len()..];
        let (arguments, behind) = text.split_at(object_end(text)?);
        Some((Call { name, arguments }, behind.strip_prefix(after)?))
    }
}

impl<'r> Iterator for Calls<'_, 'r> {
    type Item = Option<Call<'r>>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let may_end = self.dialect.can_be_empty || !self.is_first;
        // A template may have taken white space behind the calls for its own.
        if may_end && rest.trim_ascii_end() == self.dialect.close.trim_ascii_end() {
            return None;
        }
        let Some((call, behind)) = self.call(rest) else {
            return Some(None);
        };
        self.rest = Some(behind);
        self.is_first = false;
        Some(Some(call))
    }
}

/// The end of the JSON object that a text begins with, if it is whole.
fn object_end(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut is_escaped) = (0_u32, false, false);
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return (byte == b'}').then_some(i + 1);
        }
    }
    None
}

/// What is wrong with a reply that was cut.
#[cold]
pub fn cut() -> Error {
    Error::new(
        Code::BadArgument,
        format_args!("the reply ends within a call: allow it more tokens or a larger context"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const LIST: Dialect<'_> = Dialect {
        open: "<call>[",
        before_name: "{\"name\": \"",
        between: "\", \"arguments\": ",
        after: "}",
        separator: Some(", "),
        close: "]</call>\n",
        can_be_empty: true,
    };
    const ONE: Dialect<'_> =
        Dialect { open: "!", before_name: "", after: "", separator: None, close: "", ..LIST };

    fn read(dialect: Dialect<'_>, reply: &'static str) -> Vec<(&'static str, &'static str)> {
        let calls = dialect.calls(reply).expect("a reply with calls");
        calls.map(|call| call.unwrap()).map(|call| (call.name, call.arguments)).collect()
    }

    #[test]
    fn names_and_arguments_are_parts_of_the_reply() {
        let one = r#"<call>[{"name": "f", "arguments": {}}]</call>"#;
        assert_eq!(read(LIST, one), [("f", "{}")]);
        let two = concat!(
            r#"<call>[{"name": "f", "arguments": {"a": "}]\"{"}}, "#,
            r#"{"name": "g", "arguments": {"b": [{"c": "\\"}]}}]</call>"#
        );
        assert_eq!(read(LIST, two), [("f", r#"{"a": "}]\"{"}"#), ("g", r#"{"b": [{"c": "\\"}]}"#)]);
        assert_eq!(read(LIST, "<call>[]</call>"), []);
        assert_eq!(read(ONE, "!f\", \"arguments\": {\"a\": 1}"), [("f", "{\"a\": 1}")]);
    }

    #[test]
    fn replies_in_words_have_no_calls() {
        for words in ["", "Hello", "call>[", " <call>[]</call>"] {
            assert!(LIST.calls(words).is_none(), "{words}");
        }
    }

    /// A reply that was cut has the calls in front of the cut, then none, then an end.
    #[test]
    fn cuts_are_told() {
        let whole = concat!(
            r#"<call>[{"name": "f", "arguments": {"a": "é]"}}, "#,
            r#"{"name": "g", "arguments": {}}]</call>"#
        );
        for end in 1..whole.len() {
            let Some(reply) = whole.get(..end) else { continue };
            let mut calls = LIST.calls(reply).expect("a beginning of calls");
            let found: Vec<_> = calls.by_ref().collect();
            let (last, before) = found.split_last().unwrap();
            assert!(last.is_none(), "{reply}");
            assert!(before.iter().all(Option::is_some) && before.len() <= 2, "{reply}");
            assert!(calls.next().is_none());
        }
        for wrong in [
            "!f\", \"arguments\": [1]",
            "!f\", \"arguments\": 1",
            "!f\", \"arguments\": {}!f\", \"arguments\": {}",
        ] {
            assert!(ONE.calls(wrong).unwrap().any(|call| call.is_none()), "{wrong}");
        }
    }
}
