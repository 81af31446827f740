//! From the text of a module to kernels.

pub mod instruction;
pub mod names;
pub mod opcode;
pub mod statement;
pub mod types;

mod body;
mod declare;

use crate::fault::{Fault, code};
use declare::Declaration;
use names::{Constants, Variable};
use statement::{Statement, split, statements};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use types::{Space, Type};

/// Threads of a block where a kernel sets no limit.
const MOST_THREADS: u32 = 1024;

/// A kernel, ready to run.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its name.
    pub name: String,
    /// Offset and bytes of every parameter.
    pub parameters: Vec<(usize, usize)>,
    /// Bytes of all parameters.
    pub parameter_bytes: usize,
    /// How many words, longs and predicates it has.
    pub counts: [usize; 3],
    /// Registers with a value from the start.
    pub constants: Constants,
    /// Instructions; the last one ends the lanes that come there.
    pub code: Vec<instruction::Instruction>,
    /// The texts of instructions by their lines.
    pub lines: HashMap<u32, String>,
    /// Bytes of shared memory that it declares.
    pub shared_bytes: usize,
    /// Bytes of local memory of a thread.
    pub local_bytes: usize,
    /// Threads of a block at most.
    pub most_threads: u32,
    /// The only size of blocks, if there is only one.
    pub exact_block: Option<[u32; 3]>,
}

/// A module.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// Its kernels by their names.
    pub kernels: BTreeMap<String, Arc<Kernel>>,
    /// Addresses and bytes of its variables in global memory.
    pub globals: BTreeMap<String, (u64, u64)>,
}

/// What a module asks of the driver and of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version of PTX: 74 for 7.4.
    pub version: u32,
    /// The target: 87 for `sm_87`.
    pub target: u32,
    /// Whether the target is that device alone, such as `sm_90a`.
    pub is_exact: bool,
}

/// The sentence for text that is no PTX.
fn invalid(line: u32, text: &str) -> Fault {
    Fault::new(code::INVALID_PTX, format!("line {line}: {text}"))
}

/// Reads what a module asks for.
pub fn header(text: &str) -> Result<Header, Fault> {
    let statements = statements(text);
    let find = |directive: &str| {
        let found = statements.iter().find_map(|s| s.text.strip_prefix(directive));
        found.map(str::trim).ok_or_else(|| invalid(1, &format!("there is no {directive}")))
    };
    let (version, target) = (find(".version")?, find(".target")?);
    let wrong = || invalid(1, &format!(".version {version} and .target {target} are unknown"));
    let (major, minor) = version.split_once('.').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
    let target = target.split(',').next().unwrap_or_default().trim();
    let target = target.strip_prefix("sm_").ok_or_else(wrong)?;
    let digits = target.trim_end_matches(['a', 'f']);
    let version = number(major)? * 10 + number(minor)?;
    Ok(Header { version, target: number(digits)?, is_exact: digits != target })
}

/// Reads a module; `place` allocates its variables in global memory.
pub fn parse(
    text: &str,
    place: &mut dyn FnMut(&[u8]) -> Result<u64, Fault>,
) -> Result<Module, Fault> {
    let statements = statements(text);
    let mut module = Module::default();
    let mut variables = HashMap::new();
    let mut shared = Vec::new();
    let mut rest = &statements[..];
    while let Some((statement, after)) = rest.split_first() {
        rest = after;
        let (line, text) = (statement.line, statement.text.as_str());
        let has_body = rest.first().is_some_and(|next| next.text == "{");
        if text.contains(".entry") && has_body {
            let end = block_end(rest).ok_or_else(|| invalid(line, "a block has no end"))?;
            let kernel = kernel(statement, &rest[1..end], &variables, &shared)?;
            module.kernels.insert(kernel.name.clone(), Arc::new(kernel));
            rest = &rest[end + 1..];
        } else if text.contains(".func") && has_body {
            return Err(invalid(line, "the stand-in does not know device functions"));
        } else if text.contains(".func") {
            // A declaration alone; calls are refused.
        } else if text.contains(".shared") {
            shared.push(Declaration::parse(text).map_err(|error| invalid(line, &error))?);
        } else if text.contains(".global") || text.contains(".const") {
            let declared = Declaration::parse(text).map_err(|error| invalid(line, &error))?;
            let address = place(&declared.data)?;
            let bytes = declared.data.len() as u64;
            module.globals.insert(declared.name.clone(), (address, bytes));
            variables.insert(declared.name, Variable { space: Space::Global, address });
        } else if !is_known_directive(text) {
            return Err(invalid(line, &format!("the stand-in does not know {text}")));
        }
    }
    Ok(module)
}

fn is_known_directive(text: &str) -> bool {
    [".version", ".target", ".file", ".pragma"].iter().any(|word| text.starts_with(word))
        || text.split_whitespace().eq([".address_size", "64"])
}

/// Where the block that begins the statements ends.
fn block_end(statements: &[Statement]) -> Option<usize> {
    let mut depth = 0;
    statements.iter().position(|statement| {
        match statement.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

fn kernel(
    head: &Statement,
    statements: &[Statement],
    variables: &HashMap<String, Variable>,
    shared: &[Declaration],
) -> Result<Kernel, Fault> {
    let wrong = |error: String| invalid(head.line, &error);
    let (_, text) = head.text.split_once(".entry").unwrap_or_default();
    let (name, parameters, directives) = match text.split_once('(') {
        Some((name, rest)) => {
            let end = rest.find(')').ok_or_else(|| wrong("a list has no end".to_owned()))?;
            (name.trim(), &rest[..end], &rest[end + 1..])
        }
        None => (text.split_whitespace().next().unwrap_or_default(), "", text),
    };
    let mut variables = variables.clone();
    let (parameters, parameter_bytes) =
        place_parameters(parameters, &mut variables).map_err(wrong)?;
    let (shared_bytes, local_bytes) = body::place_variables(statements, shared, &mut variables)?;
    let numbers = |directive| numbers(directives, directive);
    let threads = |block: [u32; 3]| block.iter().product();
    let exact_block = numbers(".reqntid");
    let most_threads = exact_block.or(numbers(".maxntid")).map_or(MOST_THREADS, threads);
    let decoded = body::decode(statements, variables)?;
    Ok(Kernel {
        name: name.to_owned(),
        parameters,
        parameter_bytes,
        counts: decoded.names.counts,
        constants: decoded.names.constants,
        code: decoded.code,
        lines: decoded.lines,
        shared_bytes,
        local_bytes,
        most_threads,
        exact_block,
    })
}

/// Lays the parameters out (5.1.6): their offsets and bytes, and the bytes of all.
fn place_parameters(
    text: &str,
    variables: &mut HashMap<String, Variable>,
) -> Result<(Vec<(usize, usize)>, usize), String> {
    let (mut places, mut end) = (Vec::new(), 0usize);
    for parameter in split(text) {
        let declared = Declaration::parse(parameter)?;
        // The alignment behind .ptr is that of what the pointer points to.
        let is_pointer = parameter.contains(".ptr");
        let alignment = if is_pointer { declared.kind.bytes() } else { declared.alignment };
        let offset = end.next_multiple_of(alignment);
        end = offset + declared.data.len();
        places.push((offset, declared.data.len()));
        variables.insert(declared.name, Variable { space: Space::Param, address: offset as u64 });
    }
    Ok((places, end))
}

/// The numbers behind a directive; those that are not there are 1.
fn numbers(text: &str, directive: &str) -> Option<[u32; 3]> {
    let (_, rest) = text.split_once(directive)?;
    let rest = rest.split('.').next().unwrap_or_default();
    let mut numbers = [1; 3];
    for (number, text) in numbers.iter_mut().zip(rest.split(',')) {
        *number = text.trim().parse().ok()?;
    }
    Some(numbers)
}

/// The bytes of a number of a type.
fn bytes_of(value: u64, kind: Type) -> Vec<u8> {
    value.to_le_bytes()[..kind.bytes()].to_vec()
}
