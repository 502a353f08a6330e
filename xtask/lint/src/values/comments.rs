//! The keys of a YAML text with their places and the comments directly above them.
//!
//! Data parsers drop comments, so this reads the parser's events, which carry comments and places.

use anyhow::{Context, Result, bail};
use granit_parser::{Event, Parser, Span};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comment {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 0.
    column: usize,
    /// What stands after `#`, without the space that follows it.
    pub text: String,
}

/// One key of a mapping; mappings inside lists have none.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// The keys that lead to it, itself last.
    pub path: Vec<String>,
    /// The line, from 1.
    pub line: usize,
    /// The block of comment lines that ends directly above, at the key's own column.
    pub comments: Vec<Comment>,
}

/// What the events say.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The keys in the order of the text.
    pub keys: Vec<Key>,
    /// Comments that stand above no key.
    pub stray: Vec<Comment>,
}

/// A collection that is open while the events pass.
enum Open {
    /// A mapping, and the key whose value comes next.
    Mapping(Option<String>),
    Sequence,
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    pending: Vec<Comment>,
    found: Keys,
}

/// Reads the keys of one YAML document. Aliases are refused: what they stand for has no place of its own.
pub(super) fn read(text: &str) -> Result<Keys> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.context("not valid YAML")?;
        reader.take(event, span)?;
    }
    reader.found.stray.append(&mut reader.pending);
    reader.found.stray.sort_by_key(|comment| comment.line);
    Ok(reader.found)
}

impl Reader {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<()> {
        match event {
            Event::Comment(text, _) => self.pending.push(Comment {
                line: span.start.line(),
                column: span.start.col(),
                text: text.strip_prefix(' ').unwrap_or(&text).trim_end().to_owned(),
            }),
            Event::Scalar(text, ..) => self.scalar(&text, span),
            Event::MappingStart(..) => self.open.push(Open::Mapping(None)),
            Event::SequenceStart(..) => self.open.push(Open::Sequence),
            Event::MappingEnd | Event::SequenceEnd => {
                self.open.pop();
                self.value_ended();
            }
            Event::Alias(_) => bail!(
                "line {}: aliases can't be documented, write the value out",
                span.start.line()
            ),
            _ => {}
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, span: Span) {
        if !matches!(self.open.last(), Some(Open::Mapping(None))) {
            self.value_ended();
            return;
        }
        if let Some(Open::Mapping(key)) = self.open.last_mut() {
            *key = Some(text.to_owned());
        }
        let comments = self.comments_above(span);
        // None inside a list: its elements have no names.
        let path = self
            .open
            .iter()
            .map(|open| match open {
                Open::Mapping(key) => key.clone(),
                Open::Sequence => None,
            })
            .collect::<Option<Vec<_>>>();
        match path {
            Some(path) => self.found.keys.push(Key {
                path,
                line: span.start.line(),
                comments,
            }),
            None => self.found.stray.extend(comments),
        }
    }

    fn value_ended(&mut self) {
        if let Some(Open::Mapping(key)) = self.open.last_mut() {
            *key = None;
        }
    }

    /// The pending comments that belong to a key; the others before it are stray.
    fn comments_above(&mut self, key: Span) -> Vec<Comment> {
        let mut first = self.pending.len();
        let mut below = key.start.line();
        while let Some(comment) = first.checked_sub(1).and_then(|i| self.pending.get(i))
            && comment.line + 1 == below
            && comment.column == key.start.col()
        {
            below = comment.line;
            first -= 1;
        }
        let above = self.pending.split_off(first);
        self.found.stray.append(&mut self.pending);
        above
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comments_of<'a>(keys: &'a Keys, path: &str) -> Vec<&'a str> {
        let key = keys.keys.iter().find(|k| k.path.join(".") == path).unwrap();
        key.comments.iter().map(|c| c.text.as_str()).collect()
    }

    #[test]
    fn a_comment_belongs_to_the_key_below_it_at_the_same_indentation() {
        let keys = read("# top\na:\n  # inner\n  # more\n  b: 1\n# dedented\nc: 2\n").unwrap();
        assert_eq!(comments_of(&keys, "a"), ["top"]);
        assert_eq!(comments_of(&keys, "a.b"), ["inner", "more"]);
        assert_eq!(comments_of(&keys, "c"), ["dedented"]);
        assert_eq!(keys.stray, []);
    }

    #[test]
    fn a_blank_line_or_another_indentation_parts_a_comment_from_the_key() {
        let keys = read("# license\n\na: 1\n  # too deep\nb: 2\n# last\n").unwrap();
        assert!(keys.keys.iter().all(|k| k.comments.is_empty()), "{keys:?}");
        let stray: Vec<_> = keys.stray.iter().map(|c| (c.line, c.text.as_str())).collect();
        assert_eq!(stray, [(1, "license"), (4, "too deep"), (6, "last")]);
    }

    #[test]
    fn what_looks_like_a_comment_inside_a_text_is_none() {
        let keys = read("a: |\n  # not a comment\nb: \"# neither\"\n").unwrap();
        assert_eq!(comments_of(&keys, "b"), [""; 0]);
        assert_eq!(keys.stray, []);
    }

    #[test]
    fn a_comment_behind_a_value_documents_nothing() {
        let keys = read("a: 1 # behind\nb: 2\n").unwrap();
        assert_eq!(comments_of(&keys, "b"), [""; 0]);
        assert_eq!(keys.stray.len(), 1);
    }

    #[test]
    fn an_empty_value_does_not_swallow_the_next_key() {
        let keys = read("a:\n# doc\nb:\nc: 1\n").unwrap();
        assert_eq!(
            keys.keys.iter().map(|k| k.path.join(".")).collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
        assert_eq!(comments_of(&keys, "b"), ["doc"]);
    }

    #[test]
    fn keys_inside_lists_are_not_paths() {
        let keys = read("a:\n  - x: 1\n    # inside\n    y: {z: 2}\nb: 3\n").unwrap();
        assert_eq!(
            keys.keys.iter().map(|k| k.path.join(".")).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    #[test]
    fn an_alias_is_refused_with_its_line() {
        let error = read("a: &x 1\nb: *x\n").unwrap_err();
        assert!(error.to_string().starts_with("line 2"), "{error}");
    }
}
