//! values.schema.json: strict, so that a misspelt key fails the install instead of being ignored.

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value, json};

use super::{Annotation, Entry, RULE_SCHEMA, ValuesFile};
use crate::rules::Finding;

/// The key that helm shares between a chart and its dependencies: other charts put their keys there too.
const GLOBAL: &str = "global";
/// The key that switches a dependency; helm validates it against the dependency's schema.
const ENABLED: &str = "enabled";

/// What draft-07 knows (json-schema.org/draft-07, validation §6 to §10). Validators ignore any other
/// word, so a misspelt one would check nothing.
const KEYWORDS: &[&str] = &[
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "items",
    "additionalItems",
    "maxItems",
    "minItems",
    "uniqueItems",
    "contains",
    "maxProperties",
    "minProperties",
    "required",
    "properties",
    "patternProperties",
    "additionalProperties",
    "dependencies",
    "propertyNames",
    "if",
    "then",
    "else",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "format",
    "title",
    "default",
    "examples",
];

/// The schema of a chart's values.
///
/// `global` is open and, with `enabled`, always allowed: a parent chart sets both. The values of a
/// dependency are open too, because its own schema judges them. Defaults are left out: values.yaml is
/// beside the schema, and a default in two places is wrong in one of them some day.
pub fn of_chart(chart: &str, file: &ValuesFile) -> Value {
    let mut properties = Map::new();
    for entry in &file.entries {
        properties.insert(entry.path.join("."), top(file, entry));
    }
    let shared = [
        (
            GLOBAL,
            json!({"description": "Values shared with parent charts and dependencies.", "type": "object"}),
        ),
        (
            ENABLED,
            json!({"description": "Read by a parent chart only, to leave this chart out.", "type": "boolean"}),
        ),
    ];
    for (key, schema) in shared {
        properties.entry(key).or_insert(schema);
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": format!("Values of the chart {chart}"),
        "type": "object",
        "additionalProperties": false,
        "required": required(file.entries.iter().filter(|entry| entry.path != [GLOBAL] && !file.belongs_to_dependency(entry))),
        "properties": properties,
    })
}

/// A compiled schema. Patterns are held to regular expressions without look-around, as Go has them.
pub fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::draft7::meta::validate(schema).map_err(|error| error.to_string())?;
    jsonschema::draft7::options()
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(|error| error.to_string())
}

/// The schema of one key and of all below it: what its default tells, then what `@schema` says.
pub fn of_entry(entry: &Entry) -> Value {
    let mut schema = Map::new();
    if let Some(description) = &entry.description {
        schema.insert("description".into(), description.as_str().into());
    }
    if let Some(kind) = kind_of(&entry.value) {
        schema.insert("type".into(), kind.into());
    }
    if !entry.is_leaf() {
        let children = entry.children.iter();
        let properties: Map<_, _> = children
            .filter_map(|child| Some((child.path.last()?.clone(), of_entry(child))))
            .collect();
        schema.insert("additionalProperties".into(), false.into());
        schema.insert("properties".into(), properties.into());
        if entry.path != [GLOBAL] && !is_open(entry) {
            schema.insert("required".into(), required(&entry.children).into());
        }
    }
    if let Some(annotation) = &entry.annotation {
        schema.extend(annotation.keywords.clone());
    }
    schema.into()
}

/// The keys that must be there once helm has laid a user's values over the defaults.
///
/// Only a null can take one away, and a template that counts on it would fail with a nil pointer or
/// print a 0. Free to go are a default that is empty already, what `@schema` lets be null, and a map
/// that is printed as it stands.
fn required<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Vec<&'e str> {
    let must_stay = |entry: &&Entry| !is_empty(&entry.value) && !admits_null(entry) && !is_open(entry);
    let stay = entries.into_iter().filter(must_stay);
    stay.filter_map(|entry| entry.path.last().map(String::as_str)).collect()
}

fn is_open(entry: &Entry) -> bool {
    entry.annotation.as_ref().is_some_and(Annotation::admits_more_keys)
}

fn admits_null(entry: &Entry) -> bool {
    let kind = entry.annotation.as_ref().and_then(|a| a.keywords.get("type"));
    kind.is_some_and(|kind| kind == "null" || kind.as_array().is_some_and(|kinds| kinds.contains(&"null".into())))
}

fn is_empty(value: &serde_yaml::Value) -> bool {
    match value {
        serde_yaml::Value::Null => true,
        serde_yaml::Value::String(text) => text.is_empty(),
        serde_yaml::Value::Sequence(items) => items.is_empty(),
        serde_yaml::Value::Mapping(map) => map.is_empty(),
        _ => false,
    }
}

fn top(file: &ValuesFile, entry: &Entry) -> Value {
    let mut schema = of_entry(entry);
    if let Some(object) = schema.as_object_mut() {
        if file.belongs_to_dependency(entry) {
            object.retain(|keyword, _| keyword == "description" || keyword == "type");
        } else if entry.path == [GLOBAL] {
            object.remove("additionalProperties");
        }
    }
    schema
}

fn kind_of(value: &serde_yaml::Value) -> Option<&'static str> {
    match value {
        serde_yaml::Value::Null => None,
        serde_yaml::Value::Bool(_) => Some("boolean"),
        serde_yaml::Value::Number(number) if number.is_f64() => Some("number"),
        serde_yaml::Value::Number(_) => Some("integer"),
        serde_yaml::Value::String(_) => Some("string"),
        serde_yaml::Value::Sequence(_) => Some("array"),
        serde_yaml::Value::Mapping(_) => Some("object"),
        serde_yaml::Value::Tagged(tagged) => kind_of(&tagged.value),
    }
}

/// What is wrong with the schema of one key: the first reason is enough.
pub(super) fn check(shown: &str, entry: &Entry) -> Option<Finding> {
    let (message, remedy) = problem(entry)?;
    Some(Finding {
        file: shown.to_owned(),
        line: Some(entry.annotation.as_ref().map_or(entry.line, |a| a.line)),
        rule: RULE_SCHEMA.to_owned(),
        message: format!("{}: {message}", entry.key()),
        remedy: remedy.to_owned(),
    })
}

fn problem(entry: &Entry) -> Option<(String, &'static str)> {
    let keywords = entry.annotation.as_ref().map(|a| &a.keywords);
    if let Some(word) = keywords.and_then(|k| k.keys().find(|word| !KEYWORDS.contains(&word.as_str()))) {
        return Some((
            format!("{word:?} is not a keyword of JSON Schema draft-07"),
            "correct its spelling: validators ignore a keyword that they don't know",
        ));
    }
    let schema = of_entry(entry);
    if schema.get("type").is_none() && keywords.is_none_or(|k| k.is_empty()) {
        return Some((
            "a null tells no type".into(),
            "say which values it takes: `# @schema {\"type\": [\"string\", \"null\"]}`",
        ));
    }
    let validator = match compile(&schema) {
        Ok(validator) => validator,
        // A broken child is its own finding.
        Err(_) if keywords.is_none() => return None,
        Err(why) => return Some((format!("not a schema: {why}"), "correct the keywords in @schema")),
    };
    let default = serde_json::to_value(&entry.value).ok()?;
    // What a child breaks is the child's finding.
    let own = |error: &ValidationError<'_>| entry.is_leaf() || error.instance_path().as_str().is_empty();
    let error = validator.iter_errors(&default).find(own)?;
    Some((
        format!("its own default is refused: {error}"),
        "change the default or the keywords in @schema",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{findings, parse};
    use super::*;

    fn schema(text: &str) -> Value {
        let file = parse(text);
        assert_eq!(file.findings(), []);
        of_chart("c", &file)
    }

    /// Helm lays the values over the defaults before it asks the schema; these here stand alone.
    fn accepts(schema: &Value, values: Value) -> bool {
        compile(&without_required(schema)).unwrap().is_valid(&values)
    }

    fn without_required(schema: &Value) -> Value {
        match schema {
            Value::Object(map) => {
                let kept = map
                    .iter()
                    .filter(|(key, value)| key.as_str() != "required" || !value.is_array());
                kept.map(|(key, value)| (key.clone(), without_required(value)))
                    .collect::<Map<_, _>>()
                    .into()
            }
            other => other.clone(),
        }
    }

    #[test]
    fn the_type_follows_from_the_default() {
        let schema =
            schema("# -- A.\na: true\n# -- B.\nb: 1\n# -- C.\nc: 1.5\n# -- D.\nd: x\n# -- E.\ne: {}\n# -- F.\nf: []\n");
        let types: Vec<_> = ["a", "b", "c", "d", "e", "f"]
            .iter()
            .map(|key| schema["properties"][key]["type"].as_str().unwrap())
            .collect();
        assert_eq!(types, ["boolean", "integer", "number", "string", "object", "array"]);
        assert!(accepts(&schema, json!({"e": {"anything": 1}, "f": ["anything"]})));
    }

    #[test]
    fn a_misspelt_key_is_refused_at_every_depth() {
        let schema = schema("a:\n  b:\n    # -- C.\n    c: 1\n");
        assert!(accepts(&schema, json!({"a": {"b": {"c": 2}}})));
        for wrong in [
            json!({"aa": {}}),
            json!({"a": {"bb": {}}}),
            json!({"a": {"b": {"cc": 1}}}),
        ] {
            assert!(!accepts(&schema, wrong.clone()), "{wrong}");
        }
    }

    #[test]
    fn what_the_annotation_says_wins_over_what_the_default_tells() {
        let schema = schema(
            "# @schema {additionalProperties: true}\na:\n  # -- B.\n  # @schema {type: [integer, \"null\"], minimum: 1}\n  b: 1\n",
        );
        assert!(accepts(&schema, json!({"a": {"b": null, "more": 1}})));
        assert!(!accepts(&schema, json!({"a": {"b": 0}})));
    }

    #[test]
    fn a_null_can_take_away_what_is_empty_and_nothing_else() {
        let schema = schema(
            "section:\n  # -- A.\n  number: 1\n  # -- B.\n  text: \"\"\n  # -- C.\n  list: []\n  # -- D.\n  # @schema {type: [integer, \"null\"]}\n  free: 1\n# @schema {additionalProperties: true}\nopen:\n  # -- E.\n  number: 1\n",
        );
        let validator = compile(&schema).unwrap();
        assert!(validator.is_valid(&json!({"section": {"number": 1}})));
        for (values, key) in [(json!({}), "section"), (json!({"section": {}}), "number")] {
            let errors: Vec<_> = validator.iter_errors(&values).map(|e| e.to_string()).collect();
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].contains(key), "{errors:?}");
        }
    }

    #[test]
    fn a_parent_chart_may_set_global_and_enabled() {
        for text in ["# -- A.\na: 1\n", "global:\n  # -- R.\n  registry: \"\"\n"] {
            let schema = schema(text);
            assert!(
                accepts(&schema, json!({"global": {"of": "another chart"}, "enabled": false})),
                "{text}"
            );
            assert!(!accepts(&schema, json!({"enabled": "no"})));
        }
    }

    #[test]
    fn known_keys_of_global_keep_their_types() {
        let schema = schema("global:\n  # -- R.\n  registry: \"\"\n");
        assert!(!accepts(&schema, json!({"global": {"registry": 1}})));
    }

    #[test]
    fn the_values_of_a_dependency_are_left_to_its_own_schema() {
        let schema = schema("# -- The other chart.\nsub:\n  # -- Switch.\n  enabled: true\n  list: null\n");
        assert!(accepts(&schema, json!({"sub": {"anything": {"goes": 1}}})));
        assert!(!accepts(&schema, json!({"sub": []})));
    }

    #[test]
    fn the_schema_is_valid_draft_07() {
        let schema = schema("# -- A.\n# @schema {pattern: \"^x$\"}\na: x\nb:\n  # -- C.\n  c: []\n");
        assert!(jsonschema::draft7::meta::validate(&schema).is_ok());
        assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    }

    #[test]
    fn an_annotation_that_cannot_be_used_is_named_with_its_line() {
        let cases = [
            ("{minimun: 1}", "is not a keyword"),
            ("{minimum: x}", "not a schema"),
            ("{type: integr}", "not a schema"),
            ("{minimum: 1", "not a YAML flow mapping"),
            ("minimum", "not a YAML flow mapping"),
            ("", "not a YAML flow mapping"),
            ("{pattern: \"(\", type: string}", "not a schema"),
            ("{minimum: 2}", "its own default is refused"),
        ];
        for (annotation, message) in cases {
            let found = findings(&format!("# -- A.\n# @schema {annotation}\na: 1\n"));
            assert_eq!(found.len(), 1, "{annotation}: {found:?}");
            assert_eq!(found[0].0, 2, "{annotation}");
            assert!(found[0].1.contains(message), "{annotation}: {found:?}");
        }
    }

    #[test]
    fn a_pattern_that_helm_cannot_compile_is_refused() {
        let found = findings("# -- A.\n# @schema {pattern: \"^(?!x)\"}\na: y\n");
        assert!(found[0].1.contains("not a schema"), "{found:?}");
    }

    #[test]
    fn two_annotations_or_descriptions_and_unknown_markers_are_refused() {
        assert_eq!(findings("# -- A.\n# @schema {}\n# @schema {}\na: 1\n")[0].0, 3);
        assert_eq!(findings("# -- A.\n# -- B.\na: 1\n")[0].0, 2);
        assert_eq!(findings("# -- A.\n# @shema {}\na: 1\n")[0].0, 2);
    }

    #[test]
    fn a_null_needs_a_type() {
        assert!(findings("# -- A.\na: null\n")[0].1.contains("tells no type"));
        assert_eq!(findings("# -- A.\n# @schema {type: [string, \"null\"]}\na: null\n"), []);
    }

    #[test]
    fn a_default_that_its_section_refuses_is_found() {
        let found = findings("# @schema {maxProperties: 0}\na:\n  # -- B.\n  b: 1\n");
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
