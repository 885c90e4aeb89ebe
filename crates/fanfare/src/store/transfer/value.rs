//! Rows in a form that does not depend on the store they are in.

use aws_lc_rs::digest::{Context, SHA256};
use uuid::Uuid;

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Value {
    /// Nothing.
    Null,
    /// A number, a time, or 0 or 1 for what is so or not.
    Number(i64),
    /// An id.
    Id(Uuid),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// The values of a row, or of its key, in the order of the table's columns.
pub(in crate::store) type Row = Vec<Value>;

impl Value {
    /// Its size in bytes, roughly.
    pub(in crate::store) fn size(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Null | Value::Number(_) | Value::Id(_) => 8,
        }
    }
}

/// How many rows there are, and the checksum of all of them in their order.
pub(super) struct Sum {
    rows: u64,
    digest: Context,
}

impl Default for Sum {
    fn default() -> Self {
        Sum { rows: 0, digest: Context::new(&SHA256) }
    }
}

impl Sum {
    /// Adds a row.
    pub(super) fn add(&mut self, row: &Row) {
        self.rows += 1;
        row.iter().for_each(|value| self.add_value(value));
    }

    /// The kind, the length and the bytes, so that no two rows read the same.
    fn add_value(&mut self, value: &Value) {
        match value {
            Value::Null => self.digest.update(b"0"),
            Value::Number(number) => self.add_bytes(b"n", &number.to_be_bytes()),
            Value::Id(id) => self.add_bytes(b"i", id.as_bytes()),
            // As PostgreSQL has it.
            Value::Text(text) if text.contains('\0') => {
                self.add_bytes(b"t", text.replace('\0', "\u{fffd}").as_bytes());
            }
            Value::Text(text) => self.add_bytes(b"t", text.as_bytes()),
            Value::Bytes(bytes) => self.add_bytes(b"b", bytes),
        }
    }

    fn add_bytes(&mut self, kind: &[u8; 1], bytes: &[u8]) {
        self.digest.update(kind);
        self.digest.update(&(bytes.len() as u64).to_be_bytes());
        self.digest.update(bytes);
    }

    /// The count and the checksum.
    pub(super) fn done(self) -> (u64, String) {
        let digest = self.digest.finish();
        let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        (self.rows, hex)
    }
}
