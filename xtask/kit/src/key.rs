//! Keys: a short digest of all that decides what a thing becomes.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// A digest that is being fed.
#[derive(Debug, Default)]
pub struct Key(Sha256);

impl Key {
    /// Feeds a named content. Lengths keep neighbours apart.
    pub fn bytes(mut self, name: &str, content: &[u8]) -> Key {
        self.0.update(format!("{name} {}\n", content.len()));
        self.0.update(content);
        self
    }

    /// Feeds a named text.
    pub fn text(self, name: &str, text: &str) -> Key {
        self.bytes(name, text.as_bytes())
    }

    /// Feeds a named value as JSON.
    pub fn value(self, name: &str, value: &impl Serialize) -> Result<Key> {
        let text = serde_json::to_string(value).context("writing JSON")?;
        Ok(self.text(name, &text))
    }

    /// Feeds a file by its name without the folder.
    pub fn file(self, path: &Path) -> Result<Key> {
        let content = fs_err::read(path)?;
        Ok(self.bytes(&path.file_name().unwrap_or_default().to_string_lossy(), &content))
    }

    /// The first 16 hexadecimal digits.
    pub fn finish(self) -> String {
        hexadecimal(&self.0.finalize()[..8])
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_letters_in_other_fields_give_another_key() {
        let key = |a: &str, b: &str| Key::default().text("a", a).text("b", b).finish();
        assert_ne!(key("xy", "z"), key("x", "yz"));
        assert_eq!(key("xy", "z"), key("xy", "z"));
    }
}
