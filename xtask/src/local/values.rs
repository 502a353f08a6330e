//! Values files that a user names.

use std::path::Path;

use anyhow::Result;
use kit::failure::Failure;
use serde_yaml::Value;

/// Reads values of the umbrella chart. An error if the file isn't YAML with a map; an empty file is an empty map.
pub fn read(file: &Path) -> Result<Value> {
    let bad = |why: String| {
        Failure::usage(
            format!("{} can't be used as values: {why}", file.display()),
            "give a YAML file with a map",
        )
    };
    let text = std::fs::read_to_string(file).map_err(|error| bad(error.to_string()))?;
    let values: Value = serde_yaml::from_str(&text).map_err(|error| bad(error.to_string()))?;
    match values {
        Value::Null => Ok(Value::Mapping(Default::default())),
        Value::Mapping(_) => Ok(values),
        _ => Err(bad("it holds no map".into())),
    }
}
