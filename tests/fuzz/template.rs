//! Chat templates, and the frames that they are reduced to. The second part of an input is a
//! conversation: a message a line, which begins with the first letter of its role.

use super::checkpoint::TEMPLATE;
use super::parts::{join, split};
use kinglet_core::chat::{Conversation, Frame, Message};
use kinglet_quant::frame::SEPARATOR;
use kinglet_quant::template::{SpecialTexts, Template};

/// Messages of a conversation.
const MOST: usize = 16;

pub fn run(input: &[u8]) -> bool {
    let [source, conversation] = split(input);
    let (Ok(source), Ok(conversation)) = (str::from_utf8(source), str::from_utf8(conversation))
    else {
        return false;
    };
    let specials = [("bos_token", "<s>"), ("eos_token", "<|im_end|>")];
    let specials: SpecialTexts = specials.into_iter().collect();
    assert_eq!(SpecialTexts::from_text(&specials.to_text()), specials);
    check_frame(source, &messages(conversation));
    let Ok(template) = Template::with(source, specials, Some(str::to_owned)) else {
        return false;
    };
    assert_eq!(template.source(), source);
    let messages = messages(conversation);
    let texts = [false, true].map(|is_reply_next| template.render(&messages, is_reply_next));
    if template.check().is_err() {
        return false;
    }
    let Some(text) = template.reduce() else { return true };
    let frame = Frame::new(&text).expect("what is written can be read");
    for (is_reply_next, text) in [false, true].into_iter().zip(texts) {
        // A frame takes fewer conversations, and writes the same text.
        if let Some(written) = write(&frame, &messages, is_reply_next) {
            assert_eq!(text.ok(), Some(written));
        }
    }
    true
}

fn messages(conversation: &str) -> Vec<Message<'_>> {
    conversation.lines().take(MOST).map(message).collect()
}

fn message(line: &str) -> Message<'_> {
    let mut rest = line.chars();
    let role = match rest.next() {
        Some('s') => "system",
        Some('a') => "assistant",
        Some('t') => "tool",
        _ => "user",
    };
    Message { role, content: rest.as_str() }
}

/// Reads an input as the text of a frame, which a file may hold.
fn check_frame(text: &str, messages: &[Message<'_>]) {
    let text = text.replace('|', &SEPARATOR.to_string());
    if let Ok(frame) = Frame::new(&text) {
        let _ = [false, true].map(|is_reply_next| write(&frame, messages, is_reply_next));
    }
}

fn write(frame: &Frame<'_>, messages: &[Message<'_>], is_reply_next: bool) -> Option<String> {
    let message = |index: usize| messages[index];
    let count = messages.len();
    let conversation = Conversation { count, message: &message, is_reply_next, functions: None };
    let pieces = frame.pieces(&conversation).ok()?;
    Some(pieces.map(|piece| piece.text).collect())
}

const CONVERSATION: &str = "sBe short.\nuHi <|im_end|>\na  Hello\nuAnd?";

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seed = |source: &str| join(&[source.as_bytes(), CONVERSATION.as_bytes()]);
    vec![
        ("chatml", seed(TEMPLATE)),
        ("frame", seed("akkkk|||a|b|c|d|e|f|g|h|i|j")),
        ("llama3.2", seed(include_str!("../goldens/templates/llama3.2.jinja"))),
        ("mistral", seed(include_str!("../goldens/templates/mistral.jinja"))),
        ("smollm3", seed(include_str!("../goldens/templates/smollm3.jinja"))),
        ("python", seed(include_str!("../goldens/templates/python-texts.jinja"))),
        ("percent", seed(include_str!("../goldens/templates/percent.jinja"))),
        ("methods", seed(include_str!("../goldens/templates/methods.jinja"))),
        ("filters", seed(include_str!("../goldens/templates/filters.jinja"))),
        ("tojson", seed(include_str!("../goldens/templates/tojson.jinja"))),
    ]
}
