//! What templates take for granted of Python: `json.dumps`, and `%` between a text and its values.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use std::fmt::Write;

type Result<T> = std::result::Result<T, Error>;

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn is_float(value: &Value) -> bool {
    value.is_number() && !value.is_integer()
}

/// `a % b`: values put into a text, or the remainder with the divisor's sign.
pub(super) fn percent(state: &mut State, left: &Value, right: &Value) -> Result<Value> {
    if left.as_str().is_some() {
        let mut values: Vec<Value> = match right.kind() {
            _ if right.is_tuple() => right.try_iter()?.collect(),
            ValueKind::Map => {
                let keys = right.try_iter()?;
                let entries = keys.map(|key| Ok((key.to_string(), right.get_item(&key)?)));
                vec![Value::from(entries.collect::<Result<Kwargs>>()?)]
            }
            _ => vec![right.clone()],
        };
        values.insert(0, left.clone());
        // It counts what is written as steps, however wide that is asked for.
        return state.apply_filter("format", &values);
    }
    let whole = |value: &Value| i64::try_from(value.clone()).ok().filter(|_| !is_float(value));
    if let (Some(a), Some(b)) = (whole(left), whole(right)) {
        let rest = a.checked_rem(b).ok_or_else(|| invalid("division by zero"))?;
        return Ok(Value::from(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }));
    }
    let number = |value: &Value| f64::try_from(value.clone());
    let (a, b) = (number(left)?, number(right)?);
    if b == 0.0 {
        return Err(invalid("division by zero"));
    }
    let rest = a % b;
    Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }))
}

/// Characters of an indentation at most.
const MAX_INDENT: usize = 1 << 16;
/// Bytes of JSON that count as a step of the template.
const STEP_BYTES: u64 = 64;

/// The filter `tojson` of `transformers`.
pub(super) fn to_json(
    state: &State,
    value: &Value,
    ascii: Option<bool>,
    options: Kwargs,
) -> Result<String> {
    let ascii = ascii.or(options.get("ensure_ascii")?).unwrap_or(false);
    let indent: Option<Value> = options.get("indent")?;
    let indent = match indent.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(indent)?.min(MAX_INDENT)),
        }),
    };
    let separators: Option<Value> = options.get("separators")?;
    let separators = match separators.filter(|pair| !pair.is_none()) {
        Some(pair) => [0, 1].map(|i| pair.get_item(&Value::from(i)).map(|text| text.to_string())),
        None => [if indent.is_some() { "," } else { ", " }, ": "].map(|text| Ok(text.to_owned())),
    };
    let [item, key] = separators;
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let steps = state.fuel_levels().map_or(u64::MAX, |(_, left)| left);
    let most = usize::try_from(steps.saturating_mul(STEP_BYTES)).unwrap_or(usize::MAX);
    let mut dump = Dump { out: String::new(), most, ascii, indent, item: item?, key: key?, sorted };
    dump.value(value, 0)?;
    state.consume_fuel(dump.out.len() as u64 / STEP_BYTES)?;
    Ok(dump.out)
}

/// `json.dumps` with its options.
struct Dump {
    out: String,
    /// Bytes of it that the template has steps for.
    most: usize,
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sorted: bool,
}

/// Levels of lists and objects within each other.
const MAX_DEPTH: usize = 100;

impl Dump {
    fn value(&mut self, value: &Value, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(invalid("values are nested too deeply for tojson"));
        }
        if self.out.len() > self.most {
            return Err(ErrorKind::OutOfFuel.into());
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.text(value.as_str().unwrap_or_default()),
            ValueKind::Seq => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.group(['[', ']'], &items, depth, |dump, item, depth| dump.value(item, depth))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.group(['{', '}'], &keys, depth, |dump, key, depth| {
                    dump.text(&key_text(key)?);
                    let separator = dump.key.clone();
                    dump.out.push_str(&separator);
                    dump.value(&value.get_item(key)?, depth)
                })?;
            }
            kind => return Err(invalid(format!("tojson cannot write a value of the kind {kind}"))),
        }
        Ok(())
    }

    fn group(
        &mut self,
        [open, close]: [char; 2],
        items: &[Value],
        depth: usize,
        mut write: impl FnMut(&mut Self, &Value, usize) -> Result<()>,
    ) -> Result<()> {
        self.out.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                let separator = self.item.clone();
                self.out.push_str(&separator);
            }
            self.new_line(depth + 1);
            write(self, item, depth + 1)?;
        }
        if !items.is_empty() {
            self.new_line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            let escape = match character {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '\u{8}' => "\\b",
                '\u{C}' => "\\f",
                plain if plain >= ' ' && (!self.ascii || plain < '\x7F' || is_mark(plain)) => {
                    self.out.push(plain);
                    continue;
                }
                other => {
                    for unit in other.encode_utf16(&mut [0; 2]) {
                        write!(self.out, "\\u{unit:04x}").expect("strings take everything");
                    }
                    continue;
                }
            };
            self.out.push_str(escape);
        }
        self.out.push('"');
    }
}

/// Whether this may be a mark that a caller put into a text, to find it again in what is written.
fn is_mark(character: char) -> bool {
    super::MARKS.contains(&character)
}

/// What an object calls the member with this key.
fn key_text(key: &Value) -> Result<String> {
    Ok(match key.kind() {
        ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
        ValueKind::Number => number(key),
        kind => return Err(invalid(format!("tojson cannot write a key of the kind {kind}"))),
    })
}

/// A number as Python writes it.
fn number(value: &Value) -> String {
    if !is_float(value) {
        return value.to_string();
    }
    let x = f64::try_from(value.clone()).unwrap_or(f64::NAN);
    if !x.is_finite() {
        let sign = if x.is_sign_negative() { "-" } else { "" };
        return if x.is_nan() { "NaN".to_owned() } else { format!("{sign}Infinity") };
    }
    // The fewest digits that give the same number, with an exponent where Python has one.
    let digits = format!("{x:e}");
    let (mantissa, exponent) = digits.split_once('e').expect("the format has an exponent");
    match exponent.parse::<i32>().expect("the exponent is whole") {
        -4..16 => {
            let plain = x.to_string();
            if plain.contains('.') { plain } else { plain + ".0" }
        }
        power => format!("{mantissa}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs()),
    }
}
