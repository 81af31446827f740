//! The numbered events of a response's stream.

use serde_json::{Value, json};

/// What a stream has told so far.
#[derive(Default)]
pub struct Steps {
    count: u64,
    /// Whether it has begun a message.
    pub has_message: bool,
}

impl Steps {
    /// The next event, with these fields.
    pub fn step(&mut self, name: &str, fields: Value) -> Value {
        self.numbered(&format!("response.{name}"), fields)
    }

    /// The next event about a place in the response.
    pub fn at(&mut self, name: &str, place: &Value, fields: Value) -> Value {
        let mut all = place.clone();
        merge(&mut all, fields);
        self.step(name, all)
    }

    /// The event that tells of a failure.
    pub fn error(&mut self, message: &str) -> Value {
        self.numbered("error", json!({"code": "server_error", "message": message, "param": null}))
    }

    fn numbered(&mut self, kind: &str, fields: Value) -> Value {
        let mut event = json!({"type": kind, "sequence_number": self.count});
        self.count += 1;
        merge(&mut event, fields);
        event
    }
}

/// Adds the fields of one object to another.
fn merge(object: &mut Value, fields: Value) {
    if let (Value::Object(object), Value::Object(fields)) = (object, fields) {
        object.extend(fields);
    }
}
