//! The documents that a page is made of: tests of `kinglet bench`, and plans of `kinglet plan`.

use crate::errors;
use crate::report::fields::Fields;
use crate::report::plan::Plan;
use crate::report::test::Test;
use kinglet::{Code, Result};
use kinglet_quant::{ensure, fail};
use serde_json::{Deserializer, Value};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes that a file of documents may have: a test of an hour has some hundred thousand.
const MOST_BYTES: u64 = 256 << 20;
/// Tests and plans of a page; more lines would not be told apart.
const MOST_DOCUMENTS: usize = 1000;

const WHAT_TO_GIVE: &str = "give what `kinglet bench -o json` or `kinglet plan --json` has written";

/// What all files hold, in their order.
#[derive(Debug, Default)]
pub struct Documents {
    /// Tests of `kinglet bench`.
    pub tests: Vec<Test>,
    /// Plans of `kinglet plan`.
    pub plans: Vec<Plan>,
}

impl Documents {
    /// Adds those of a file: a list, or one after the other.
    ///
    /// `NotFound` and `Unreadable` for the file, `BadArgument` for what it holds.
    pub fn add(&mut self, path: &Path) -> Result<()> {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|cause| errors::unreadable(path, &cause))?;
        file.take(MOST_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|cause| errors::unreadable(path, &cause))?;
        ensure!(
            bytes.len() as u64 <= MOST_BYTES,
            Code::BadArgument,
            "{} has more than {} MiB: {WHAT_TO_GIVE}",
            path.display(),
            MOST_BYTES >> 20
        );
        self.add_text(&path.display().to_string(), &bytes)
    }

    /// Adds those of a text that messages call `shown`.
    fn add_text(&mut self, shown: &str, bytes: &[u8]) -> Result<()> {
        let mut values = Vec::new();
        for value in Deserializer::from_slice(bytes).into_iter::<Value>() {
            match value {
                Ok(Value::Array(list)) => values.extend(list),
                Ok(value) => values.push(value),
                Err(error) if error.is_eof() => fail!(
                    Code::BadArgument,
                    "{shown} ends in the middle of a document: was bench interrupted? With -o \
                     jsonl, the tests that had ended are whole lines"
                ),
                Err(error) => fail!(
                    Code::BadArgument,
                    "{shown}: line {} is not JSON: {WHAT_TO_GIVE}",
                    error.line()
                ),
            }
        }
        ensure!(!values.is_empty(), Code::BadArgument, "{shown} is empty: {WHAT_TO_GIVE}");
        for (i, value) in values.iter().enumerate() {
            self.add_one(shown, i + 1, value)?;
        }
        ensure!(
            self.tests.len() + self.plans.len() <= MOST_DOCUMENTS,
            Code::BadArgument,
            "there are more than {MOST_DOCUMENTS} tests and plans: give fewer files"
        );
        Ok(())
    }

    fn add_one(&mut self, file: &str, number: usize, value: &Value) -> Result<()> {
        let shown = format!("{file}, document {number}");
        let Some(object) = value.as_object() else {
            fail!(Code::BadArgument, "{shown} is no JSON object: {WHAT_TO_GIVE}")
        };
        let fields = Fields::new(shown, object);
        if fields.has("avg_ts") && fields.has("model_filename") {
            self.tests.push(Test::read(file, &fields)?);
        } else if fields.has("process_bytes") && fields.has("parts") {
            self.plans.push(Plan::read(&fields)?);
        } else if fields.has("board") && fields.has("models") {
            fail!(
                Code::BadArgument,
                "{file} compares boards and has no plan of one: write it with `kinglet plan MODEL \
                 --board BOARD --json`"
            );
        } else {
            fail!(
                Code::BadArgument,
                "{file}, document {number} is neither a test nor a plan: {WHAT_TO_GIVE}"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        let error = Documents::default().add_text("x.json", text.as_bytes()).unwrap_err();
        assert_eq!(error.code(), Code::BadArgument);
        error.message().to_owned()
    }

    #[test]
    fn what_is_no_document_is_refused_in_plain_words() {
        for (text, words) in [
            ("", "x.json is empty: give what"),
            ("[]", "x.json is empty: give what"),
            ("| model | t/s |", "x.json: line 1 is not JSON: give what"),
            ("[\n{\"a\": 1},\n{\"b\"; 2}\n]", "x.json: line 3 is not JSON"),
            ("[\n{\"a\": 1},\n", "x.json ends in the middle of a document: was bench interrupted?"),
            ("[1]", "x.json, document 1 is no JSON object"),
            ("{\"a\": 1}", "x.json, document 1 is neither a test nor a plan"),
            ("{\"board\": \"pi-5\", \"models\": []}", "x.json compares boards and has no plan"),
            ("{\"avg_ts\": 1, \"model_filename\": 2}", "`cpu_info` is missing: take a document"),
            (&"[".repeat(500), "line 1 is not JSON"),
        ] {
            let message = message(text);
            assert!(message.contains(words), "{text}: {message}");
            assert!(!message.contains("column") && !message.contains("expected"), "{message}");
        }
        assert!(message("\u{0}\u{1}").contains("line 1 is not JSON"));
    }

    #[test]
    fn too_many_documents_are_refused() {
        let bytes = ["total", "file", "device", "stack", "program", "process"];
        let bytes: String = bytes.iter().map(|part| format!("\"{part}_bytes\": 9, ")).collect();
        let plan = format!(
            "{{{bytes}\"model\": \"m\", \"kv\": \"int8\", \"context\": 1, \"texts\": 1, \
             \"parts\": []}}\n"
        );
        let mut documents = Documents::default();
        documents.add_text("x.json", plan.repeat(MOST_DOCUMENTS).as_bytes()).unwrap();
        assert_eq!(documents.plans.len(), MOST_DOCUMENTS);
        let error = documents.add_text("y.json", plan.as_bytes()).unwrap_err();
        assert!(error.message().contains("more than 1000 tests and plans: give fewer files"));
    }
}
