//! values.schema.json: what each value may be, and, for a chart without a table of its keys
//! ([`super::known`]), that no other key is set: a misspelt one must fail the install.

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value, json};

use super::{Entry, RULE_SCHEMA, ValuesFile};
use crate::rules::Finding;

/// The key that helm shares between a chart and its dependencies: other charts put their keys there too.
const GLOBAL: &str = "global";
/// The key that switches a dependency; helm validates it against the dependency's schema.
const ENABLED: &str = "enabled";
/// The key that switches dependencies by tag, which Helm leaves in the values.
const TAGS: &str = "tags";
/// Keys at the root that hold anchors for the rest of a values file.
const NOTES: &str = "^x-";

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
/// beside the schema, and a default in two places is wrong in one of them some day. Nothing is
/// `required`: an upgrade with `--reuse-values` brings the values of a version that lacks new keys.
///
/// Where the chart's templates judge unknown keys (`guarded`), the schema lets them pass, because Helm
/// asks it first and can't say what was meant.
pub fn of_chart(chart: &str, file: &ValuesFile, guarded: bool) -> Value {
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
        (
            TAGS,
            json!({"description": "Read by Helm only, to switch dependencies.", "type": "object"}),
        ),
    ];
    for (key, schema) in shared {
        properties.entry(key).or_insert(schema);
    }
    // Helm puts a dependency's own defaults there before it asks the schema.
    for name in &file.dependencies {
        let values = json!({"description": format!("Values of the chart {name}."), "type": "object"});
        properties.entry(name.as_str()).or_insert(values);
    }
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": format!("Values of the chart {chart}"),
        "type": "object",
        "additionalProperties": false,
        "patternProperties": {NOTES: {"description": "Parts of a values file that others refer to by anchor."}},
        "properties": properties,
    });
    if guarded {
        open(&mut schema, &file.entries);
    }
    schema
}

/// Lets unknown keys pass at the root and in every section.
fn open(schema: &mut Value, entries: &[Entry]) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.get("additionalProperties") == Some(&Value::Bool(false)) {
        object.remove("additionalProperties");
    }
    let Some(properties) = object.get_mut("properties") else {
        return;
    };
    for entry in entries.iter().filter(|entry| !entry.is_leaf()) {
        if let Some(section) = entry.path.last().and_then(|key| properties.get_mut(key)) {
            open(section, &entry.children);
        }
    }
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
    }
    if let Some(annotation) = &entry.annotation {
        schema.extend(annotation.keywords.clone());
    }
    schema.into()
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
        of_chart("c", &file, false)
    }

    fn accepts(schema: &Value, values: Value) -> bool {
        compile(schema).unwrap().is_valid(&values)
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
    fn no_key_is_required_because_old_values_lack_the_new_ones() {
        let schema = schema("section:\n  # -- A.\n  number: 1\n# -- B.\ntext: x\n");
        for old in [json!({}), json!({"section": {}})] {
            assert!(accepts(&schema, old.clone()), "{old}");
        }
    }

    #[test]
    fn a_guarded_chart_lets_unknown_keys_pass_and_still_judges_the_known_ones() {
        let file = parse("a:\n  b:\n    # -- C.\n    c: 1\n# -- D.\n# @schema {additionalProperties: false}\nd: {}\n");
        let schema = of_chart("c", &file, true);
        assert!(accepts(&schema, json!({"x": 1, "a": {"y": 1, "b": {"z": 1}}})));
        assert!(!accepts(&schema, json!({"a": {"b": {"c": "text"}}})));
        assert!(!accepts(&schema, json!({"d": {"free": 1}})));
    }

    #[test]
    fn helms_tags_and_places_for_anchors_may_stand_at_the_root() {
        let schema = schema("# -- A.\na: 1\n");
        assert!(accepts(&schema, json!({"tags": {"t": true}, "x-shared": [1]})));
        assert!(!accepts(&schema, json!({"y-shared": [1]})));
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
