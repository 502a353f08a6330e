//! Changes single values of a YAML text and nothing else, byte for byte.
//!
//! The parser's events tell where a value stands. Only those bytes are replaced, and the result is
//! proved: both texts are parsed, and the new one must equal the old one with that value set.

use std::ops::Range;

use anyhow::{Context, Result, bail};
use granit_parser::{Event, Parser, ScalarStyle, StructureStyle};
use serde_yaml::Value;

/// One step of the way to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At<'a> {
    /// A key of a mapping.
    Key(&'a str),
    /// An element of a list, from 0.
    Index(usize),
}

/// Sets the text value at `path`. An error, with the reason, if the text is not one plain YAML document
/// (anchors, aliases, duplicate keys), if the value is not there or is not a text on one line, or if the
/// proof fails.
pub fn set_scalar(text: &str, path: &[At], new: &str) -> Result<String> {
    let tree = Node::parse(text)?;
    let place = tree
        .find(path)
        .with_context(|| format!("{} is not there", shown(path)))?;
    let Kind::Scalar(old, style) = &place.kind else {
        bail!("{} is not a text", shown(path));
    };
    if old == new {
        return Ok(text.to_owned());
    }
    let written = match style {
        ScalarStyle::SingleQuoted => format!("'{}'", new.replace('\'', "''")),
        ScalarStyle::DoubleQuoted => serde_json::to_string(new).context("quoting")?,
        ScalarStyle::Plain if plain(new) => new.to_owned(),
        ScalarStyle::Plain => serde_json::to_string(new).context("quoting")?,
        _ => bail!("{} is written over several lines", shown(path)),
    };
    let after = splice(text, place.bytes.clone(), &written);
    proved(text, after, path, new)
}

/// Sets the text at `annotations` / `key`: a text of lines as a literal block, one without a line break in
/// quotes. Makes the key, and `annotations` at the end of the text, where they aren't there. Errors as
/// [`set_scalar`].
pub fn set_annotation(text: &str, key: &str, new: &str) -> Result<String> {
    let path = [At::Key("annotations"), At::Key(key)];
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let tree = Node::parse(text)?;
    let annotations = tree.find(&path[..1]);
    let indent = annotations.map_or(2, |node| node.column);
    let short = !new.contains('\n');
    let mut block = if short {
        format!(
            "{:indent$}{key}: {}{end}",
            "",
            serde_json::to_string(new).context("quoting")?
        )
    } else {
        format!("{:indent$}{key}: |{end}", "")
    };
    for line in new.lines().filter(|_| !short) {
        block.push_str(&format!("{:1$}{line}{end}", "", indent + 2));
    }
    let after = match annotations {
        None => {
            let gap = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                end
            };
            format!("{text}{gap}annotations:{end}{block}")
        }
        Some(node) => {
            let Kind::Mapping(children, StructureStyle::Block) = &node.kind else {
                bail!("annotations is not written as a block of `key: value` lines");
            };
            match children.iter().find(|(name, ..)| name == key) {
                Some((_, at, value)) => splice(text, lines(text, at.start, value), &block),
                None => {
                    let start = line_start(text, node.bytes.start);
                    splice(text, start..start, &block)
                }
            }
        }
    };
    let block_text: String = new.lines().map(|line| format!("{line}\n")).collect();
    proved(text, after, &path, if short { new } else { &block_text })
}

/// The text, if parsing both proves that they differ in nothing but the value at `path`.
fn proved(before: &str, after: String, path: &[At], new: &str) -> Result<String> {
    let parse = |text: &str| serde_yaml::from_str::<Value>(text).context("not valid YAML");
    let mut wanted = parse(before)?;
    put(&mut wanted, path, new)?;
    let got = parse(&after).with_context(|| format!("setting {} would break the file", shown(path)))?;
    if got != wanted {
        bail!("setting {} would change something else, too", shown(path));
    }
    if comments(before)? != comments(&after)? {
        bail!("setting {} would lose a comment", shown(path));
    }
    Node::parse(&after)?;
    Ok(after)
}

fn comments(text: &str) -> Result<Vec<String>> {
    let mut comments = Vec::new();
    for event in Parser::new_from_str(text) {
        if let Event::Comment(comment, _) = event.map_err(|error| anyhow::anyhow!("not valid YAML: {error}"))?.0 {
            comments.push(comment.into_owned());
        }
    }
    Ok(comments)
}

fn put(value: &mut Value, path: &[At], new: &str) -> Result<()> {
    let Some((first, rest)) = path.split_first() else {
        *value = Value::String(new.to_owned());
        return Ok(());
    };
    match (first, value) {
        (At::Key(key), Value::Mapping(map)) => {
            let inner = map
                .entry(Value::from(*key))
                .or_insert_with(|| Value::Mapping(Default::default()));
            put(inner, rest, new)
        }
        (At::Index(at), Value::Sequence(list)) => put(
            list.get_mut(*at).with_context(|| format!("no element {at}"))?,
            rest,
            new,
        ),
        _ => bail!("{} is not there", shown(path)),
    }
}

/// The text with the value at `path` replaced by one in quotes; where `path` is not there, the text as it is.
/// For a text that need not be plain: the caller proves that nothing else has changed.
pub(crate) fn requote(text: &str, path: &[At], new: &str) -> Result<String> {
    let tree = Node::parse_loosely(text)?;
    match tree.find(path) {
        Some(Node {
            kind: Kind::Scalar(..),
            bytes,
            ..
        }) => {
            let written = serde_json::to_string(new).context("quoting")?;
            Ok(splice(text, bytes.clone(), &written))
        }
        _ => Ok(text.to_owned()),
    }
}

/// Whether the text, written without quotes, is read as a text again.
fn plain(text: &str) -> bool {
    // `sha256:…` is a text, `a: b` a mapping; the proof decides where this is wrong.
    let special = [" #", ": "].iter().any(|part| text.contains(part)) || text.ends_with(':');
    !special && matches!(serde_yaml::from_str(text), Ok(Value::String(read)) if read == text)
}

pub(crate) fn splice(text: &str, range: Range<usize>, new: &str) -> String {
    format!("{}{new}{}", &text[..range.start], &text[range.end..])
}

pub(crate) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// The whole lines of a key, which begins at `start`, and of its value, which ends at `end`. The place of a
/// block reaches to the next key, so a block's lines are told by their indentation.
fn lines(text: &str, start: usize, value: &Node) -> Range<usize> {
    let line_end = |at: usize| text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1);
    let first = line_start(text, start);
    if !matches!(value.kind, Kind::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded)) {
        return first..line_end(value.bytes.end.max(start + 1) - 1);
    }
    let mut end = line_end(start);
    let (mut at, mut indent) = (end, None);
    while at < text.len() {
        let line = &text[at..line_end(at)];
        at = line_end(at);
        let blank = line.trim().is_empty();
        let column = line.len() - line.trim_start().len();
        if !blank && column < *indent.get_or_insert(column.max(start - first + 1)) {
            break;
        }
        end = if blank { end } else { at };
    }
    first..end
}

fn shown(path: &[At]) -> String {
    let part = |at: &At| match at {
        At::Key(key) => (*key).to_owned(),
        At::Index(at) => format!("[{at}]"),
    };
    path.iter().map(part).collect::<Vec<_>>().join(".")
}

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) bytes: Range<usize>,
    /// The column of its first character, from 0.
    pub(crate) column: usize,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Scalar(String, ScalarStyle),
    /// Keys, where they stand, and their values.
    Mapping(Vec<(String, Range<usize>, Node)>, StructureStyle),
    Sequence(Vec<Node>, StructureStyle),
}

impl Node {
    /// Reads a text whose values are to be changed.
    fn parse(text: &str) -> Result<Node> {
        Node::read(text, true)
    }

    /// Reads a text to which something is to be added. Anchors are no hindrance; an alias is an empty text.
    pub(crate) fn parse_loosely(text: &str) -> Result<Node> {
        Node::read(text, false)
    }

    fn read(text: &str, strict: bool) -> Result<Node> {
        if text.starts_with('\u{feff}') {
            bail!("it begins with a byte order mark");
        }
        let mut events = Vec::new();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| anyhow::anyhow!("not valid YAML: {error}"))?;
            let line = span.start.line();
            match &event {
                Event::Alias(_) if strict => bail!("line {line}: an alias stands for a value that is elsewhere"),
                Event::Scalar(_, _, 1.., _) | Event::SequenceStart(_, 1.., _) | Event::MappingStart(_, 1.., _)
                    if strict =>
                {
                    bail!("line {line}: an anchor may have aliases that would change, too")
                }
                Event::DocumentStart(..) if events.iter().any(|(e, _, _)| !matches!(e, Event::StreamStart)) => {
                    bail!("line {line}: a second document begins")
                }
                Event::Comment(..) | Event::StreamEnd | Event::DocumentEnd | Event::StreamStart => continue,
                Event::DocumentStart(..) => {
                    continue;
                }
                _ => {}
            }
            let bytes = span.byte_range().context("the parser knows no place")?;
            events.push((event, bytes, span.start.col()));
        }
        if events.is_empty() {
            bail!("it is empty");
        }
        let mut events = events.into_iter();
        let root = Node::next(&mut events, &mut 0)?.context("no value begins the text")?;
        if events.next().is_some() {
            bail!("a second document begins");
        }
        Ok(root)
    }

    /// The next value; none where a collection ends, whose last byte is then before `end`.
    fn next<'a>(
        events: &mut impl Iterator<Item = (Event<'a>, Range<usize>, usize)>,
        end: &mut usize,
    ) -> Result<Option<Node>> {
        let (event, mut bytes, column) = events.next().context("the text ends too early")?;
        let kind = match event {
            Event::Scalar(text, style, ..) => Kind::Scalar(text.into_owned(), style),
            Event::Alias(_) => Kind::Scalar(String::new(), ScalarStyle::Plain),
            Event::SequenceStart(style, ..) => {
                let mut items = Vec::new();
                while let Some(item) = Node::next(events, end)? {
                    bytes.end = bytes.end.max(item.bytes.end);
                    items.push(item);
                }
                if style == StructureStyle::Flow {
                    bytes.end = *end;
                }
                Kind::Sequence(items, style)
            }
            Event::MappingStart(style, ..) => {
                let mut children: Vec<(String, Range<usize>, Node)> = Vec::new();
                while let Some(key) = Node::next(events, end)? {
                    let Kind::Scalar(name, _) = key.kind else {
                        bail!("a key is not a text");
                    };
                    if children.iter().any(|(other, ..)| *other == name) {
                        bail!("the key {name:?} is there twice");
                    }
                    let value = Node::next(events, end)?.context("a key has no value")?;
                    bytes.end = bytes.end.max(value.bytes.end);
                    children.push((name, key.bytes, value));
                }
                if style == StructureStyle::Flow {
                    bytes.end = *end;
                }
                Kind::Mapping(children, style)
            }
            _ => {
                *end = bytes.end;
                return Ok(None);
            }
        };
        Ok(Some(Node { kind, bytes, column }))
    }

    pub(crate) fn find(&self, path: &[At]) -> Option<&Node> {
        let Some((first, rest)) = path.split_first() else {
            return Some(self);
        };
        match (first, &self.kind) {
            (At::Key(key), Kind::Mapping(children, _)) => {
                let (_, _, value) = children.iter().find(|(name, ..)| name == key)?;
                value.find(rest)
            }
            (At::Index(at), Kind::Sequence(items, _)) => items.get(*at)?.find(rest),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHART: &str = "# top\napiVersion: v2 # two\nname: c\nversion:   0.1.0   # keep\nappVersion: \"2.10.8\"\n\
                         # above\nannotations:\n  # in\n  a/b: c\n\ndependencies:\n  - name: d\n    version: '0.1.0'\n\
                         # end\n";

    fn version(text: &str) -> Result<String> {
        set_scalar(text, &[At::Key("version")], "0.2.0")
    }

    #[test]
    fn only_the_bytes_of_the_value_change() {
        assert_eq!(version(CHART).unwrap(), CHART.replace("  0.1.0 ", "  0.2.0 "));
        let path = [At::Key("dependencies"), At::Index(0), At::Key("version")];
        let after = set_scalar(CHART, &path, "0.2.0").unwrap();
        assert_eq!(after, CHART.replace("'0.1.0'", "'0.2.0'"));
        let after = set_scalar(CHART, &[At::Key("appVersion")], "2.11").unwrap();
        assert_eq!(after, CHART.replace("2.10.8", "2.11"));
    }

    #[test]
    fn a_value_that_would_be_read_as_a_number_is_quoted() {
        let after = set_scalar("appVersion: 2.10.8\n", &[At::Key("appVersion")], "2.11").unwrap();
        assert_eq!(after, "appVersion: \"2.11\"\n");
    }

    #[test]
    fn comments_in_odd_places_crlf_flow_style_and_a_missing_last_newline_survive() {
        for text in [
            "name: c\r\nversion: 0.1.0 # x\r\n# y\r\n",
            "{name: c, version: 0.1.0} # x",
            "version: # odd\n  0.1.0\nname: c\n",
            "---\n# x\nversion: \"0.1.0\"\n...\n",
            "name: ü 0.1.0\nversion: 0.1.0",
            "# version: 0.1.0\nversion: 0.1.0\nx: {version: 0.1.0}\n",
        ] {
            let after = version(text).unwrap();
            let position = after.find("0.2.0").unwrap();
            assert_eq!(splice(&after, position..position + 5, "0.1.0"), text);
            let parsed: Value = serde_yaml::from_str(&after).unwrap();
            assert_eq!(parsed["version"], "0.2.0");
        }
    }

    #[test]
    fn what_cannot_be_edited_for_sure_is_refused_with_its_reason() {
        for (text, reason) in [
            ("version: &v 0.1.0\nother: *v\n", "anchor"),
            ("a: &v 0.1.0\nversion: *v\n", "anchor"),
            ("version: 0.1.0\nversion: 0.1.0\n", "twice"),
            ("version: >-\n  0.1.0\n", "several lines"),
            ("version: [0.1.0]\n", "not a text"),
            ("name: c\n", "not there"),
            ("version: 0.1.0\n---\nversion: 0.1.0\n", "second document"),
            ("version: [\n", "not valid YAML"),
            ("\u{feff}version: 0.1.0\n", "byte order mark"),
            ("", "empty"),
        ] {
            let error = format!("{:#}", version(text).unwrap_err());
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn an_annotation_is_made_replaced_and_proved() {
        let new = "- kind: added\n  description: \"x: y\"\n";
        let key = "artifacthub.io/changes";
        let once = set_annotation(CHART, key, new).unwrap();
        let block = "  artifacthub.io/changes: |\n    - kind: added\n      description: \"x: y\"\n";
        assert_eq!(once.replacen(block, "", 1), CHART);
        let twice = set_annotation(&once, key, "- kind: fixed\n  description: z\n").unwrap();
        assert_eq!(set_annotation(&twice, key, new).unwrap(), once);
        let bare = set_annotation("name: c\r\nversion: 1.0.0", key, "- a\n").unwrap();
        assert_eq!(
            bare,
            "name: c\r\nversion: 1.0.0\r\nannotations:\r\n  artifacthub.io/changes: |\r\n    - a\r\n"
        );
        assert!(set_annotation("annotations: {a: b}\n", key, "- a\n").is_err());
        let lost = set_annotation("annotations:\n  x: y # why\n", "x", "- a\n").unwrap_err();
        assert!(lost.to_string().contains("lose a comment"), "{lost}");
    }

    #[test]
    fn comments_between_a_replaced_block_and_the_next_key_stay() {
        let text = "annotations:\n  x: |\n    old\n    older\n  # about y\n  y: z\n\n# about d\nd: e\n";
        let after = set_annotation(text, "x", "new\n").unwrap();
        assert_eq!(after, text.replace("    old\n    older\n", "    new\n"));
        let last = "annotations:\n  x: |\n    old\n\n# about d\nd: e\n";
        assert_eq!(set_annotation(last, "x", "new\n").unwrap(), last.replace("old", "new"));
    }
}
