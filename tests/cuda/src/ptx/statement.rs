//! The text of a module, cut into statements.

/// A statement without its semicolon, `{`, `}`, or a label with its colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The line on which it begins, from 1.
    pub line: u32,
    /// Its text, with single spaces at the places of line breaks.
    pub text: String,
}

/// Directives that end with their line.
const LINE_DIRECTIVES: [&str; 5] = [".version", ".target", ".address_size", ".file", ".loc"];

/// Cuts a text into statements.
pub fn statements(text: &str) -> Vec<Statement> {
    let mut cutter = Cutter::default();
    for (number, line) in without_comments(text).lines().enumerate() {
        cutter.line(number as u32 + 1, line);
    }
    cutter.end();
    cutter.found
}

/// The text with spaces in the place of comments; line breaks stay.
fn without_comments(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("/*") {
        clean.push_str(&rest[..start]);
        let end = rest[start..].find("*/").map_or(rest.len(), |length| start + length + 2);
        clean.extend(rest[start..end].chars().filter(|c| *c == '\n'));
        rest = &rest[end..];
    }
    clean.push_str(rest);
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    clean.lines().map(code).collect::<Vec<_>>().join("\n")
}

#[derive(Default)]
struct Cutter {
    found: Vec<Statement>,
    current: String,
    start: u32,
    /// Open braces of operands and initial values.
    depth: u32,
}

impl Cutter {
    fn line(&mut self, number: u32, line: &str) {
        for c in line.chars() {
            if self.current.trim().is_empty() {
                self.current.clear();
                self.start = number;
            }
            self.character(c);
        }
        if LINE_DIRECTIVES.iter().any(|directive| self.current.starts_with(directive)) {
            self.end();
        } else {
            self.current.push(' ');
        }
    }

    fn character(&mut self, c: char) {
        match c {
            ';' => self.end(),
            '{' | '}' if self.depth == 0 && self.is_block() => {
                self.end();
                self.found.push(Statement { line: self.start, text: c.to_string() });
            }
            ':' if is_name(self.current.trim()) => {
                self.current.push(':');
                self.end();
            }
            _ => {
                match c {
                    '{' => self.depth += 1,
                    '}' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                self.current.push(c);
            }
        }
    }

    /// Whether a brace here is that of a block.
    fn is_block(&self) -> bool {
        let text = self.current.trim();
        text.is_empty() || text.contains(".entry") || text.contains(".func")
    }

    fn end(&mut self) {
        let text = self.current.trim();
        if !text.is_empty() {
            self.found.push(Statement { line: self.start, text: text.to_owned() });
        }
        self.current.clear();
        self.depth = 0;
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_$%".contains(c))
}

/// The parts between commas that are in no bracket.
pub fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(text[start..].trim());
    }
    parts
}

/// The parts of a list in braces, or the text itself.
pub fn list(text: &str) -> Vec<&str> {
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(inner) => split(inner),
        None => vec![text],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_labels_and_lists_are_told_apart() {
        let text = ".version 7.0\n.entry k( .param .u32 a )\n{ // one\n\
                    /* two\n */ L1: @%p bra L1;\n\
                    mov.b64 {%r1, %r2},\n %rd1; }\n.global .b8 x[2] = {1, 2};";
        let found = statements(text);
        let texts: Vec<&str> = found.iter().map(|statement| statement.text.as_str()).collect();
        let want = [
            ".version 7.0",
            ".entry k( .param .u32 a )",
            "{",
            "L1:",
            "@%p bra L1",
            "mov.b64 {%r1, %r2},  %rd1",
            "}",
            ".global .b8 x[2] = {1, 2}",
        ];
        assert_eq!(texts, want);
        assert_eq!(found[4].line, 5);
    }

    #[test]
    fn commas_in_brackets_do_not_split() {
        assert_eq!(split("{%r1, %r2}, [%rd1+4], 3"), ["{%r1, %r2}", "[%rd1+4]", "3"]);
        assert_eq!(list("{%r1, %r2}"), ["%r1", "%r2"]);
    }
}
