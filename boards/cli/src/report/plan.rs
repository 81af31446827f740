//! One plan of `kinglet plan --json`.

use crate::report::fields::{Fields, MOST_BYTES, MOST_TOKENS};
use crate::report::test::stem;
use kinglet::Result;

/// The memory that a model takes.
#[derive(Debug)]
pub struct Plan {
    /// The model's file, without folder and ending.
    pub model: String,
    /// The board; `None` for a machine that is none of them.
    pub board: Option<String>,
    /// Positions of a session.
    pub context: f64,
    /// Number format of the cache.
    pub kv: String,
    /// Texts in one pass.
    pub texts: f64,
    /// Parts that [`PARTS`] names, in bytes.
    pub parts: [f64; 6],
    /// All of them.
    pub process_bytes: f64,
    /// What a process may have on the machine.
    pub available_bytes: Option<f64>,
    /// What the user allowed.
    pub budget_bytes: Option<f64>,
}

/// The parts of memory that a page shows.
pub const PARTS: [&str; 6] =
    ["model's file", "keys and values", "working memory", "device", "stacks of threads", "program"];

impl Plan {
    /// Reads a document. `BadArgument` for one that makes no sense.
    pub fn read(fields: &Fields<'_>) -> Result<Self> {
        let bytes = |name| fields.number(name, MOST_BYTES);
        let mut cache = 0.0;
        for part in fields.objects("parts")? {
            if part.text("name")? == "kv_cache" {
                cache = part.number("bytes", MOST_BYTES)?;
            }
        }
        let session = bytes("total_bytes")?;
        let parts = [
            bytes("file_bytes")?,
            cache,
            (session - cache).max(0.0),
            bytes("device_bytes")?,
            bytes("stack_bytes")?,
            bytes("program_bytes")?,
        ];
        let process_bytes = bytes("process_bytes")?;
        fields.ensure_above_0("process_bytes", process_bytes)?;
        Ok(Self {
            model: stem(&fields.text("model")?),
            board: fields.optional_text("board")?,
            context: fields.number("context", MOST_TOKENS)?,
            kv: fields.text("kv")?,
            texts: fields.number("texts", MOST_TOKENS)?,
            parts,
            process_bytes,
            available_bytes: fields.optional_number("available_bytes", MOST_BYTES)?,
            budget_bytes: fields.optional_number("budget_bytes", MOST_BYTES)?,
        })
    }
}
