//! A matrix that lies in a file and is read by rows.

use super::blocks::Encoding;
use super::disk::DiskFile;
use crate::{Code, Result, ensure};
use std::ops::Range;

/// Elements that are read at a time when a whole matrix is checked.
const CHECKED: usize = 1 << 20;

/// Where a matrix lies, row by row, and how its elements are stored.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    offset: u64,
    encoding: Encoding,
    /// As the file has them.
    rows: usize,
    cols: usize,
    row_bytes: usize,
    is_transposed: bool,
}

impl Stored {
    /// A matrix from byte `offset` of a file on. `WrongShape` when it is empty or its rows are no
    /// whole blocks.
    pub fn new(
        offset: u64,
        encoding: Encoding,
        rows: usize,
        cols: usize,
        name: &str,
    ) -> Result<Self> {
        ensure!(
            rows > 0 && cols > 0,
            Code::WrongShape,
            "tensor {name} is empty: an adapter of rank 0 changes nothing, train one of rank 1 or \
             more"
        );
        let row_bytes = encoding.row_bytes(cols);
        ensure!(
            row_bytes.is_some_and(|bytes| bytes.checked_mul(rows).is_some()),
            Code::WrongShape,
            "the {rows} rows of {cols} columns of tensor {name} are no whole blocks of its type"
        );
        let row_bytes = row_bytes.expect("checked above");
        Ok(Self { offset, encoding, rows, cols, row_bytes, is_transposed: false })
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self { is_transposed: !self.is_transposed, ..self }
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        if self.is_transposed { (self.cols, self.rows) } else { (self.rows, self.cols) }
    }

    /// Checks that the whole matrix can be read and that every element is a finite number. `name`
    /// is for the error.
    pub fn check(&self, file: &DiskFile, name: &str) -> Result<()> {
        let end = self.offset.checked_add((self.rows * self.row_bytes) as u64);
        ensure!(
            end.is_some_and(|end| end <= file.len()),
            Code::Truncated,
            "{} ends within tensor {name}: fetch it again",
            file.name()
        );
        let mut values = Vec::new();
        let step = (CHECKED / self.cols).max(1);
        for start in (0..self.rows).step_by(step) {
            values.clear();
            self.read(file, start..self.rows.min(start + step), &mut values)?;
            ensure!(
                values.iter().all(|value| value.is_finite()),
                Code::BadSource,
                "tensor {name} in {} has values that are not finite numbers: the training failed \
                 or the file is damaged, take an earlier checkpoint or fetch it again",
                file.name()
            );
        }
        Ok(())
    }

    /// Replaces `out` by some rows. They lie within the matrix, which was checked.
    pub fn load(&self, file: &DiskFile, rows: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        out.clear();
        if !self.is_transposed {
            return self.read(file, rows, out);
        }
        out.resize(rows.len() * self.rows, 0.0);
        let mut column = Vec::new();
        for i in 0..self.rows {
            column.clear();
            self.read(file, i..i + 1, &mut column)?;
            let values = column[rows.clone()].iter();
            out[i..].iter_mut().step_by(self.rows).zip(values).for_each(|(out, x)| *out = *x);
        }
        Ok(())
    }

    /// Appends rows as the file has them.
    fn read(&self, file: &DiskFile, rows: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        let mut bytes = vec![0; rows.len() * self.row_bytes];
        file.read_at(self.offset + (rows.start * self.row_bytes) as u64, &mut bytes)?;
        self.encoding.decode(&bytes, out);
        Ok(())
    }
}
