//! Keys: a short digest over all that decides what a thing becomes.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// A digest that is being fed.
#[derive(Debug, Default)]
pub struct Key(Sha256);

/// Raised when the code that makes images changes what they hold; all else that decides is fed.
const LAYOUT: &str = "1";

impl Key {
    /// A key of something that our code makes: another layout gives another key.
    pub fn of_layout() -> Key {
        Key::default().text("layout", LAYOUT)
    }

    /// Feeds a named text. Lengths keep neighbours apart.
    pub fn text(mut self, name: &str, text: &str) -> Key {
        self.0.update(format!("{name} {}\n", text.len()));
        self.0.update(text);
        self
    }

    /// Feeds a named value as JSON.
    pub fn value(self, name: &str, value: &impl Serialize) -> Result<Key> {
        let text = serde_json::to_string(value).context("writing JSON")?;
        Ok(self.text(name, &text))
    }

    /// Feeds a file.
    pub fn file(self, path: &Path) -> Result<Key> {
        let text = fs_err::read_to_string(path)?;
        Ok(self.text(&path.file_name().unwrap_or_default().to_string_lossy(), &text))
    }

    /// The first 16 hexadecimal digits.
    pub fn finish(self) -> String {
        let digest = self.0.finalize();
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
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
