//! Products of matrices of bytes: `mma` with 16 rows and 8 columns (9.7.14.5).

use super::lanes::{LANES, Lanes, Row, widest};
use crate::ptx::instruction::{Multiply, Op, Register};
use crate::ptx::names::Names;
use crate::ptx::opcode::Opcode;
use crate::ptx::statement::list;
use crate::ptx::types::Type;

/// Rows of the first matrix and of the result.
const ROWS: usize = 16;
/// Columns of the second matrix and of the result.
const COLUMNS: usize = 8;
/// The most columns of the first matrix.
const DEPTH: usize = 32;

/// Decodes `mma.sync.aligned` for bytes with sums of 32 bits that wrap around.
pub fn decode(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let depth = match (opcode.has("m16n8k16"), opcode.has("m16n8k32")) {
        (true, _) => 16,
        (_, true) => 32,
        _ => return Err(opcode.unsupported()),
    };
    let known = ["sync", "aligned", "row", "col", "m16n8k16", "m16n8k32"];
    let [Type::S32, a_type, b_type, Type::S32] = opcode.types[..] else {
        return Err(opcode.unsupported());
    };
    let has_others =
        opcode.modifiers.iter().any(|m| !known.contains(m) && Type::named(m).is_none());
    let are_bytes = [a_type, b_type].iter().all(|kind| matches!(kind, Type::S8 | Type::U8));
    if has_others || !are_bytes {
        return Err(opcode.unsupported());
    }
    let &[d, a, b, c] = operands else { return Err("mma has four operands".to_owned()) };
    let d = list(d).iter().map(|name| names.target(name, false)).collect::<Result<Vec<_>, _>>()?;
    let mut sources = |text| -> Result<Vec<Register>, String> {
        list(text).iter().map(|name| names.source(name, false)).collect()
    };
    let (a, b, c) = (sources(a)?, sources(b)?, sources(c)?);
    let (Ok(d), Ok(c)) = (d.try_into(), c.try_into()) else {
        return Err("mma has four results and four addends".to_owned());
    };
    if a.len() != depth / 8 || b.len() != depth / 16 {
        return Err(format!("{} has other factors", opcode.text));
    }
    let is_signed = [a_type.is_signed(), b_type.is_signed()];
    Ok(Op::Multiply(Box::new(Multiply { depth, is_signed, d, a, b, c })))
}

impl Multiply {
    /// Multiplies in all lanes. A lane is in one of eight groups, and one of four within it.
    pub fn run(&self, lanes: &mut Lanes) {
        let (a, b) = (self.first(lanes), self.second(lanes));
        let products = widest(|| products(&a, &b));
        let c = self.c.map(|register| lanes.words[usize::from(register)]);
        let mut d: [Row<u32>; 4] = [[0; LANES]; 4];
        for lane in 0..LANES {
            for at in 0..4 {
                let row = lane / 4 + 8 * (at / 2);
                let column = lane % 4 * 2 + at % 2;
                d[at][lane] = c[at][lane].wrapping_add(products[row][column] as u32);
            }
        }
        for (register, row) in self.d.iter().zip(d) {
            lanes.words[usize::from(*register)] = row;
        }
    }

    /// The rows of the first matrix: registers hold four columns each, of the rows of a group, of
    /// those eight further down, and the same for the upper half of the columns.
    fn first(&self, lanes: &Lanes) -> [[i32; DEPTH]; ROWS] {
        let mut rows = [[0; DEPTH]; ROWS];
        for (at, register) in self.a.iter().enumerate() {
            let words = &lanes.words[usize::from(*register)];
            for (lane, word) in words.iter().enumerate() {
                let row = lane / 4 + 8 * (at % 2);
                let column = lane % 4 * 4 + 16 * (at / 2);
                let values = values(*word, self.is_signed[0]);
                rows[row][column..column + 4].copy_from_slice(&values);
            }
        }
        rows
    }

    /// The columns of the second matrix: registers hold four rows each of the column of a group.
    fn second(&self, lanes: &Lanes) -> [[i32; DEPTH]; COLUMNS] {
        let mut columns = [[0; DEPTH]; COLUMNS];
        for (at, register) in self.b.iter().enumerate() {
            let words = &lanes.words[usize::from(*register)];
            for (lane, word) in words.iter().enumerate() {
                let row = lane % 4 * 4 + 16 * at;
                let values = values(*word, self.is_signed[1]);
                columns[lane / 4][row..row + 4].copy_from_slice(&values);
            }
        }
        columns
    }
}

/// Products of all rows with all columns. They fit: bytes have 8 bits, and there are 32.
#[inline(always)]
fn products(a: &[[i32; DEPTH]; ROWS], b: &[[i32; DEPTH]; COLUMNS]) -> [[i32; COLUMNS]; ROWS] {
    let mut products = [[0; COLUMNS]; ROWS];
    for (row, sums) in a.iter().zip(&mut products) {
        for (column, sum) in b.iter().zip(sums) {
            let mut parts = [0i32; 8];
            for (row, column) in row.chunks_exact(8).zip(column.chunks_exact(8)) {
                for at in 0..8 {
                    parts[at] = parts[at].wrapping_add(row[at].wrapping_mul(column[at]));
                }
            }
            *sum = parts.iter().sum();
        }
    }
    products
}

/// The four bytes of a word.
fn values(word: u32, is_signed: bool) -> [i32; 4] {
    let value = |byte: u8| if is_signed { i32::from(byte as i8) } else { i32::from(byte) };
    word.to_le_bytes().map(value)
}
