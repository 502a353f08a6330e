//! A values file as people keep it.

use std::path::Path;

use anyhow::Result;
use kit::failure::Failure;
use serde_yaml::Value;

use crate::yaml;

/// Reads a values file: a YAML mapping, empty where the file is. Anything else is a usage error, also an
/// object of Kubernetes that holds values inside, such as a HelmRelease of Flux or an Application of Argo CD.
pub fn read(file: &Path) -> Result<Value> {
    let bad =
        |why: &str, remedy: &str| Failure::usage(format!("{} can't be read as values: {why}", file.display()), remedy);
    let text = std::fs::read_to_string(file).map_err(|error| {
        bad(
            &error.to_string(),
            "name a YAML file, such as `helm get values RELEASE --output yaml` prints",
        )
    })?;
    match yaml::read(&text) {
        Ok(Value::Null) => Ok(Value::Mapping(Default::default())),
        Ok(Value::Mapping(map)) => {
            if let (Some(_), Some(kind)) = (map.get("apiVersion"), map.get("kind").and_then(Value::as_str)) {
                return Err(bad(
                    &format!("it is an object of the kind {kind}"),
                    "save only the values that stand inside it, as one map from the first column on",
                ));
            }
            // As in a chart of one's own that depends on the other one.
            if map
                .get("tempo")
                .and_then(|tempo| tempo.get("tempo"))
                .is_some_and(Value::is_mapping)
            {
                return Err(bad(
                    "the values of the chart stand below `tempo`",
                    "save only what stands below it, as one map from the first column on",
                ));
            }
            Ok(Value::Mapping(map))
        }
        Ok(_) => Err(bad("it holds no map", "write the values as one YAML map")),
        Err(error) => Err(bad(
            &error.to_string(),
            "correct the YAML; templates of other programs must be filled in before",
        )),
    }
}
