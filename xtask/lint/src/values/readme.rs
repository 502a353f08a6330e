//! The value tables of a chart's README or page, as data for a template.

use serde::Serialize;
use serde_json::Value;

use super::{Entry, ValuesFile, schema};

/// One table: the keys below one top key, or the top keys that stand alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// The top key; empty for those that stand alone.
    pub key: String,
    /// What its comment says.
    pub description: String,
    /// Its keys.
    pub rows: Vec<Row>,
}

/// One key. All texts are Markdown and hold no bare `|`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The whole path.
    pub key: String,
    /// What values it takes: `integer`, `string or null`, or the choices.
    pub kind: String,
    /// The default as JSON in backticks; empty for a map that is listed key by key.
    pub default: String,
    /// What its comment says.
    pub description: String,
}

/// The tables in the order of the file, the lone top keys first. A map without description has no row,
/// nor has an undescribed key of a dependency.
pub fn tables(file: &ValuesFile) -> Vec<Table> {
    let (lone, sections): (Vec<_>, Vec<_>) = file.entries.iter().partition(|entry| entry.is_leaf());
    let mut tables = Vec::new();
    if !lone.is_empty() {
        tables.push(Table {
            key: String::new(),
            description: String::new(),
            rows: lone.into_iter().filter_map(row).collect(),
        });
    }
    for section in sections {
        let mut inside = Vec::new();
        section.collect(&mut inside);
        tables.push(Table {
            key: section.key(),
            description: section.description.clone().unwrap_or_default(),
            rows: inside.into_iter().skip(1).filter_map(row).collect(),
        });
    }
    tables
}

fn row(entry: &Entry) -> Option<Row> {
    let default = match serde_json::to_string(&entry.value) {
        Ok(json) if entry.is_leaf() => code(&json),
        _ => String::new(),
    };
    Some(Row {
        key: code(&entry.key()),
        kind: cell(&kind(&schema::of_entry(entry))),
        default: cell(&default),
        description: cell(entry.description.as_ref()?),
    })
}

fn kind(schema: &Value) -> String {
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        let choices: Vec<_> = choices.iter().map(|choice| code(&plain(choice))).collect();
        return choices.join(", ");
    }
    match schema.get("type") {
        Some(Value::Array(types)) => types.iter().map(plain).collect::<Vec<_>>().join(" or "),
        Some(one) => plain(one),
        None => "any".to_owned(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Inline code, whatever it holds (spec.commonmark.org §6.1).
fn code(text: &str) -> String {
    if text.contains('`') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}

/// A table's cell ends at a bare bar, even inside code (github.github.com/gfm, tables).
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;
    use super::*;

    #[test]
    fn each_described_key_has_a_row_with_its_type_and_default() {
        let file = parse(
            "# -- Name.\nname: \"a|b\"\n# Section.\nt:\n  # Inner map.\n  m:\n    # -- Kind, `x|y`.\n    # @schema {enum: [x, y]}\n    k: x\n    o:\n      # -- Count.\n      # @schema {type: [integer, \"null\"]}\n      c: 3\n",
        );
        let tables = tables(&file);
        let rows: Vec<_> = tables
            .iter()
            .flat_map(|t| &t.rows)
            .map(|r| [&r.key, &r.kind, &r.default, &r.description].map(String::as_str))
            .collect();
        assert_eq!(
            rows,
            [
                ["`name`", "string", "`\"a\\|b\"`", "Name."],
                ["`t.m`", "object", "", "Inner map."],
                ["`t.m.k`", "`x`, `y`", "`\"x\"`", "Kind, `x\\|y`."],
                ["`t.m.o.c`", "integer or null", "`3`", "Count."],
            ]
        );
        assert_eq!(
            (tables[1].key.as_str(), tables[1].description.as_str()),
            ("t", "Section.")
        );
    }
}
