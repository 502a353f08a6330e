//! Other values for a key: what its schema accepts and its default is not.

use serde_json::{Map, Value, json};

use super::{Entry, schema};

/// How many values are worth trying.
const ENOUGH: usize = 4;
/// Texts of the kinds that charts ask for: a name, a host, an address, a quantity, a duration, a
/// version, a percentage or port, a URL.
const TEXTS: &[&str] = &[
    "changed",
    "changed.example",
    "127.9.9.9",
    "7Gi",
    "7h",
    "7.7.7",
    "77",
    "https://changed.example",
];

/// Values to try instead of the default, the most telling first. Empty where the schema leaves no choice.
pub(super) fn of(entry: &Entry) -> Vec<Value> {
    let schema = schema::of_entry(entry);
    let Ok(validator) = schema::compile(&schema) else {
        return Vec::new();
    };
    let default = serde_json::to_value(&entry.value).unwrap_or_default();
    let mut candidates: Vec<Value> = Vec::new();
    for candidate in pool(&schema, &default) {
        if candidate != default && validator.is_valid(&candidate) && !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }
    candidates.truncate(ENOUGH);
    candidates
}

fn pool(schema: &Value, default: &Value) -> Vec<Value> {
    let list = |keyword: &str| {
        schema
            .get(keyword)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let mut pool = list("examples");
    pool.extend(list("enum"));
    match default {
        Value::Bool(value) => pool.push((!value).into()),
        Value::Number(number) => {
            // Small steps stay inside ranges and away from what other keys hold.
            let value = number.as_f64().unwrap_or_default();
            let whole = |value: f64| {
                if number.is_f64() {
                    json!(value)
                } else {
                    json!(value as i64)
                }
            };
            pool.extend([whole(value + 1.0), whole(value - 1.0), whole(value * 2.0), whole(0.0)]);
        }
        Value::String(text) => pool.extend(with_another_digit(text).map(Value::from)),
        Value::Array(items) if !items.is_empty() => pool.push(json!([])),
        Value::Object(map) if !map.is_empty() => pool.push(json!({})),
        _ => {}
    }
    pool.push(instance(schema));
    pool.extend(TEXTS.iter().copied().map(Value::from));
    pool.push(format!("sha256:{}", "7".repeat(64)).into());
    pool.extend([json!(7), json!(true), Value::Null]);
    pool.extend([json!(["changed"]), json!([{"name": "changed"}])]);
    pool.extend([json!({"changed": "changed"}), json!({"changed": {"name": "changed"}})]);
    pool
}

/// The text with its last digit replaced: `2.10.8` → `2.10.9`, `10Gi` → `11Gi`.
fn with_another_digit(text: &str) -> Option<String> {
    let (at, digit) = text.char_indices().rfind(|(_, c)| c.is_ascii_digit())?;
    let other = if digit == '9' { '8' } else { char::from(digit as u8 + 1) };
    Some(format!("{}{other}{}", &text[..at], &text[at + 1..]))
}

/// The simplest value that the common keywords of a schema ask for; it may break the others.
fn instance(schema: &Value) -> Value {
    if let Some(first) = schema.get("const").or_else(|| schema.get("enum")?.get(0)) {
        return first.clone();
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first(),
        kind => kind,
    };
    match kind.and_then(Value::as_str) {
        Some("string") => "changed".into(),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(7.into()),
        Some("boolean") => true.into(),
        Some("array") => schema.get("items").map_or(json!([]), |items| json!([instance(items)])),
        Some("object") => object(schema).into(),
        _ => Value::Null,
    }
}

fn object(schema: &Value) -> Map<String, Value> {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let mut object: Map<String, Value> = required
        .filter_map(Value::as_str)
        .map(|key| (key.to_owned(), instance(&schema["properties"][key])))
        .collect();
    match schema.get("additionalProperties") {
        Some(more @ Value::Object(_)) => object.insert("changed".into(), instance(more)),
        Some(Value::Bool(false)) => None,
        _ => object.insert("changed".into(), "changed".into()),
    };
    object
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;
    use super::*;

    fn candidates(annotation: &str, default: &str) -> Vec<Value> {
        let file = parse(&format!("# -- A.\n# @schema {annotation}\na: {default}\n"));
        assert_eq!(file.findings(), []);
        of(&file.entries[0])
    }

    #[test]
    fn every_candidate_is_accepted_and_is_not_the_default() {
        let cases = [
            ("{}", "true"),
            ("{minimum: 1, maximum: 65535}", "65535"),
            ("{enum: [x, y]}", "x"),
            ("{pattern: \"^[0-9]+(Ki|Mi|Gi)$\"}", "9Gi"),
            ("{pattern: \"^(sha256:[0-9a-f]{64})?$\"}", "\"\""),
            ("{items: {type: object}}", "[]"),
            (
                "{additionalProperties: {type: object, required: [port], properties: {port: {type: integer, minimum: 1}}}}",
                "{}",
            ),
        ];
        for (annotation, default) in cases {
            let found = candidates(annotation, default);
            assert!(!found.is_empty(), "{annotation} {default}");
        }
    }

    #[test]
    fn examples_are_tried_first() {
        assert_eq!(candidates("{examples: [very special]}", "x")[0], "very special");
    }

    #[test]
    fn a_key_without_a_choice_has_none() {
        assert_eq!(candidates("{enum: [x]}", "x"), [Value::Null; 0]);
    }
}
