//! Methods of Python's texts that the engine's own collection lacks or has otherwise.

use minijinja::value::{Tuple, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

type Result<T> = std::result::Result<T, Error>;

/// Calls a method of a value.
pub(super) fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value> {
    match value.as_str() {
        Some(text) => match of_text(text, method, args) {
            Some(result) => result,
            None => unknown_method_callback(state, value, method, args),
        },
        None => unknown_method_callback(state, value, method, args),
    }
}

fn of_text(text: &str, method: &str, args: &[Value]) -> Option<Result<Value>> {
    Some(match method {
        "removeprefix" => from_args(args)
            .map(|(prefix,): (&str,)| text.strip_prefix(prefix).unwrap_or(text).into()),
        "removesuffix" => from_args(args)
            .map(|(suffix,): (&str,)| text.strip_suffix(suffix).unwrap_or(text).into()),
        "partition" => from_args(args).map(|(separator,): (&str,)| {
            let (before, after) = text.split_once(separator).unwrap_or((text, ""));
            parts(before, separator, after, text.contains(separator))
        }),
        "rpartition" => from_args(args).map(|(separator,): (&str,)| {
            let (before, after) = text.rsplit_once(separator).unwrap_or(("", text));
            parts(before, separator, after, text.contains(separator))
        }),
        "rsplit" => from_args(args).map(|(separator, most)| rsplit(text, separator, most)),
        "splitlines" => from_args(args).map(|(keeps,)| lines(text, keeps)),
        "index" => from_args(args).and_then(|(part,): (&str,)| place(text, text.find(part))),
        "rindex" => from_args(args).and_then(|(part,): (&str,)| place(text, text.rfind(part))),
        "center" => from_args(args).map(|(width, fill): (usize, _)| {
            // Of an odd filling, Python puts the larger part in front where the width is odd.
            padded(text, width, fill, |all| all / 2 + (all & width & 1)).into()
        }),
        "format" if is_wide(text) => {
            let sentence = "a width in a format is too large";
            Err(Error::new(ErrorKind::InvalidOperation, sentence))
        }
        "title" => from_args(args).map(|()| titled(text).into()),
        "casefold" => from_args(args).map(|()| text.to_lowercase().into()),
        "swapcase" => from_args(args).map(|()| swapped(text).into()),
        "zfill" => from_args(args).map(|(width,)| zfilled(text, width).into()),
        "ljust" => from_args(args).map(|(width, fill)| padded(text, width, fill, |_| 0).into()),
        "rjust" => from_args(args).map(|(width, fill)| padded(text, width, fill, |all| all).into()),
        _ => return None,
    })
}

/// What stands before a separator, the separator if it is there, and what stands behind it.
fn parts(before: &str, separator: &str, after: &str, is_there: bool) -> Value {
    let separator = if is_there { separator } else { "" };
    Value::from(Tuple::from([before, separator, after].map(Value::from)))
}

/// The number of the character at a byte. An error where there is none.
fn place(text: &str, byte: Option<usize>) -> Result<Value> {
    let missing = || Error::new(ErrorKind::InvalidOperation, "substring not found");
    byte.map(|byte| text[..byte].chars().count().into()).ok_or_else(missing)
}

fn rsplit(text: &str, separator: Option<&str>, most: Option<i64>) -> Value {
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let mut found: Vec<&str> = match separator {
        Some(separator) => text.rsplitn(most.saturating_add(1), separator).collect(),
        None => {
            let (mut words, mut rest) = (Vec::new(), text.trim_end());
            while words.len() < most
                && let Some((before, word)) = rest.rsplit_once(char::is_whitespace)
            {
                words.push(word);
                rest = before.trim_end();
            }
            let rest = if words.len() < most { rest.trim_start() } else { rest };
            words.extend((!rest.is_empty()).then_some(rest));
            words
        }
    };
    found.reverse();
    found.into_iter().map(Value::from).collect()
}

/// The lines of a text, which end at all that Python takes for a line's end.
fn lines(text: &str, keeps: Option<bool>) -> Value {
    const ENDS: [char; 10] = [
        '\n', '\r', '\u{B}', '\u{C}', '\u{1C}', '\u{1D}', '\u{1E}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(ENDS) {
        let end = if rest[at..].starts_with("\r\n") {
            at + 2
        } else {
            at + rest[at..].chars().next().map_or(1, char::len_utf8)
        };
        found.push(Value::from(&rest[..if keeps.unwrap_or(false) { end } else { at }]));
        rest = &rest[end..];
    }
    found.extend((!rest.is_empty()).then(|| Value::from(rest)));
    Value::from(found)
}

/// The text with every letter behind anything else in upper case, and the others in lower case.
fn titled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_inside = false;
    for character in text.chars() {
        match is_inside {
            true => out.extend(character.to_lowercase()),
            false => out.extend(character.to_uppercase()),
        }
        is_inside = character.is_alphabetic();
    }
    out
}

fn swapped(text: &str) -> String {
    let swap = |c: char| match c.is_uppercase() {
        true => c.to_lowercase().collect::<Vec<_>>(),
        false => c.to_uppercase().collect(),
    };
    text.chars().flat_map(swap).collect()
}

/// The text with zeros in front, behind its sign.
fn zfilled(text: &str, width: usize) -> String {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = &text[..text.len() - digits.len()];
    let zeros = width.min(MAX_WIDTH).saturating_sub(text.chars().count());
    format!("{sign}{}{digits}", "0".repeat(zeros))
}

/// Characters that a text is filled up to at most, so that no template asks for gigabytes.
const MAX_WIDTH: usize = 1 << 16;

/// Whether a format asks for more characters than a text is filled up to. Numbers in front of the
/// colon are places of values.
fn is_wide(format: &str) -> bool {
    let fields = format.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let specs = fields.filter_map(|field| field.split_once(':'));
    let mut numbers = specs.flat_map(|(_, spec)| spec.split(|c: char| !c.is_ascii_digit()));
    numbers.any(|digits| {
        !digits.is_empty() && digits.parse::<usize>().map_or(true, |width| width > MAX_WIDTH)
    })
}

/// The text filled up to a width; `in_front` says how much of the filling stands in front of it.
fn padded(
    text: &str,
    width: usize,
    fill: Option<&str>,
    in_front: impl FnOnce(usize) -> usize,
) -> String {
    let missing = width.min(MAX_WIDTH).saturating_sub(text.chars().count());
    let front = in_front(missing);
    let fill = fill.unwrap_or(" ");
    format!("{}{text}{}", fill.repeat(front), fill.repeat(missing - front))
}
