//! Chart.lock: the digest by which helm tells that it belongs to Chart.yaml.

use anyhow::{Context, Result};
use kit::key::hexadecimal;
use serde::Serialize;
use serde_yaml::Value;
use sha2::{Digest, Sha256};

use super::edit::{At, set_scalar};

/// One dependency as helm hashes it: Go's JSON, empty fields left out (pkg/chart/v2/dependency.go).
#[derive(Debug, Serialize)]
struct Dependency {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Value>,
    repository: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<Value>,
    #[serde(rename = "import-values", skip_serializing_if = "Option::is_none")]
    import_values: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<Value>,
}

/// `sha256:…` over the dependencies of Chart.yaml and those of Chart.lock (internal/resolver `HashReq`).
pub fn digest(chart: &Value, lock: &Value) -> Result<String> {
    let json = serde_json::to_string(&[dependencies(chart), dependencies(lock)]).context("writing JSON")?;
    // As Go's encoder writes them, `>=0.1.0` among others.
    let json = json
        .replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e");
    Ok(format!("sha256:{}", hexadecimal(&Sha256::digest(json))))
}

fn dependencies(document: &Value) -> Vec<Dependency> {
    let list = document.get("dependencies").and_then(Value::as_sequence);
    let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let set = |item: &Value, key: &str| {
        let value = item.get(key).cloned();
        value.filter(|v| !v.is_null() && v.as_str() != Some("") && v.as_bool() != Some(false))
    };
    let read = |item: &Value| Dependency {
        name: text(item, "name"),
        version: set(item, "version"),
        repository: text(item, "repository"),
        condition: set(item, "condition"),
        tags: set(item, "tags"),
        enabled: set(item, "enabled"),
        import_values: set(item, "import-values"),
        alias: set(item, "alias"),
    };
    list.into_iter().flatten().map(read).collect()
}

/// The text of Chart.lock with the version of every dependency of that name and repository set, and the digest
/// that belongs to `chart`, the text of Chart.yaml. All other bytes stay; `generated` too.
pub fn set_version(lock: &str, chart: &str, name: &str, repository: &str, version: &str) -> Result<String> {
    let mut lock = lock.to_owned();
    let locked = dependencies(&parse(&lock)?).into_iter().enumerate();
    for (at, _) in locked.filter(|(_, locked)| locked.name == name && locked.repository == repository) {
        let path = [At::Key("dependencies"), At::Index(at), At::Key("version")];
        lock = set_scalar(&lock, &path, version)?;
    }
    let digest = digest(&parse(chart)?, &parse(&lock)?)?;
    set_scalar(&lock, &[At::Key("digest")], &digest)
}

fn parse(text: &str) -> Result<Value> {
    serde_yaml::from_str(text).context("not valid YAML")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_one_that_helm_wrote() {
        let root = charts::workspace::Workspace::find().unwrap();
        let read = |file: &str| std::fs::read_to_string(root.root().join("charts/observability").join(file)).unwrap();
        let (chart, lock) = (parse(&read("Chart.yaml")).unwrap(), parse(&read("Chart.lock")).unwrap());
        assert_eq!(digest(&chart, &lock).unwrap(), lock["digest"].as_str().unwrap());
    }
}
