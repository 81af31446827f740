//! The body of a kernel: its variables, and its instructions.

use super::declare::Declaration;
use super::instruction::{Flag, Instruction, Op};
use super::invalid;
use super::names::{Names, TRUE, Variable};
use super::opcode::Opcode;
use super::statement::{Statement, split};
use super::types::Space;
use crate::exec::decode;
use crate::fault::Fault;
use std::collections::{HashMap, HashSet};

/// Instructions, and the registers that they use.
pub struct Decoded {
    pub names: Names,
    pub code: Vec<Instruction>,
    pub lines: HashMap<u32, String>,
}

/// Lays out the shared variables that a body uses and its local ones: the bytes of both.
pub fn place_variables(
    statements: &[Statement],
    of_module: &[Declaration],
    variables: &mut HashMap<String, Variable>,
) -> Result<(usize, usize), Fault> {
    let is_word = |c: char| c.is_alphanumeric() || "_$%".contains(c);
    let words = statements.iter().flat_map(|s| s.text.split(|c: char| !is_word(c)));
    let words: HashSet<&str> = words.collect();
    let used = of_module.iter().filter(|declared| words.contains(declared.name.as_str()));
    let (mut shared, mut local): (Vec<Declaration>, Vec<Declaration>) =
        (used.cloned().collect(), Vec::new());
    for Statement { line, text } in statements {
        let list = match text.split_whitespace().next() {
            Some(".shared") => &mut shared,
            Some(".local") => &mut local,
            _ => continue,
        };
        list.push(Declaration::parse(text).map_err(|error| invalid(*line, &error))?);
    }
    // What the launch adds lies behind everything else.
    shared.sort_by_key(|declared| declared.is_dynamic);
    Ok((place(&shared, Space::Shared, variables), place(&local, Space::Local, variables)))
}

fn place(
    declared: &[Declaration],
    space: Space,
    variables: &mut HashMap<String, Variable>,
) -> usize {
    let mut end = 0usize;
    for declared in declared {
        let address = end.next_multiple_of(declared.alignment);
        end = address + declared.data.len();
        variables.insert(declared.name.clone(), Variable { space, address: address as u64 });
    }
    end
}

/// Whether a statement is an instruction.
fn is_instruction(text: &str) -> bool {
    !text.starts_with('.') && !text.ends_with(':') && text != "{" && text != "}"
}

/// Decodes a body.
pub fn decode(
    statements: &[Statement],
    variables: HashMap<String, Variable>,
) -> Result<Decoded, Fault> {
    let mut names = Names::new(variables);
    find_labels(statements, &mut names);
    let (mut code, mut lines) = (Vec::new(), HashMap::new());
    for Statement { line, text } in statements {
        match text.as_str() {
            "{" => names.open(),
            "}" => names.close(),
            text if is_instruction(text) => {
                let decoded = instruction(text, *line, &mut names);
                let located = |error: String| invalid(*line, &format!("{text}: {error}"));
                code.push(decoded.map_err(located)?);
                lines.insert(*line, text.to_owned());
            }
            text => {
                if let Some(registers) = text.strip_prefix(".reg") {
                    names.declare(registers).map_err(|error| invalid(*line, &error))?;
                }
            }
        }
    }
    let always = Flag { register: TRUE, negate: 0 };
    let line = statements.last().map_or(0, |statement| statement.line);
    code.push(Instruction { guard: always, line, op: Op::Exit });
    Ok(Decoded { names, code, lines })
}

/// Finds labels, and the lists of labels of `brx.idx`.
fn find_labels(statements: &[Statement], names: &mut Names) {
    let (mut next, mut last) = (0, "");
    for Statement { text, .. } in statements {
        if let Some(label) = text.strip_suffix(':') {
            names.labels.insert(label.to_owned(), next);
            last = label;
        } else if let Some(targets) = text.strip_prefix(".branchtargets") {
            let targets = split(targets).into_iter().map(str::to_owned).collect();
            names.targets.insert(last.to_owned(), targets);
        } else if is_instruction(text) {
            next += 1;
        }
    }
}

fn instruction(text: &str, line: u32, names: &mut Names) -> Result<Instruction, String> {
    let (guard, text) = match text.strip_prefix('@') {
        Some(rest) => {
            let (flag, rest) = rest.split_once(char::is_whitespace).ok_or("a guard alone")?;
            (names.flag(flag)?, rest.trim())
        }
        None => (Flag { register: TRUE, negate: 0 }, text),
    };
    let (opcode, operands) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let op = decode::decode(&Opcode::new(opcode), &split(operands), names)?;
    Ok(Instruction { guard, line, op })
}
