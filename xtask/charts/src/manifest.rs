//! Rendered Kubernetes objects, parsed once.

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_yaml::Value;

/// One rendered object.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// `apps/v1`, `v1`, …
    pub api_version: String,
    /// `Deployment`, `Service`, …
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// The template it came from, relative to the chart's folder (`templates/tempo-service.yaml`;
    /// `charts/tempo-stack/templates/…` inside an umbrella). Empty where helm named none.
    pub template: String,
    /// The object itself.
    pub value: Value,
    /// The text as helm printed it.
    pub text: String,
}

impl Manifest {
    /// The object as a Kubernetes type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_yaml::from_value(self.value.clone())
            .with_context(|| format!("{} {} is not a valid {}", self.kind, self.name, self.api_version))
    }

    /// `Kind/name`, for messages.
    pub fn id(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    /// A value inside the object: `get(&["spec", "replicas"])`.
    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        lookup(&self.value, path)
    }

    /// A string inside the object.
    pub fn get_str(&self, path: &[&str]) -> Option<&str> {
        self.get(path).and_then(Value::as_str)
    }
}

/// The value under a path of keys.
pub fn lookup<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(*key))
}

/// Splits what `helm template` prints into objects. Empty documents are dropped; a document without
/// kind or name is an error.
pub fn parse_all(text: &str) -> Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    // helm separates documents by a line of three dashes and names the source in a comment under it.
    for document in text.split("\n---").map(|d| d.strip_prefix("---").unwrap_or(d)) {
        let template = document
            .lines()
            .find_map(|line| line.strip_prefix("# Source: "))
            .map(|source| source.split_once('/').map_or(source, |(_, rest)| rest).to_owned())
            .unwrap_or_default();
        let value: Value = serde_yaml::from_str(document)
            .with_context(|| format!("{template} did not render to valid YAML:\n{document}"))?;
        if value.is_null() {
            continue;
        }
        let field = |path: &[&str]| lookup(&value, path).and_then(Value::as_str).map(str::to_owned);
        let (Some(api_version), Some(kind), Some(name)) =
            (field(&["apiVersion"]), field(&["kind"]), field(&["metadata", "name"]))
        else {
            bail!("{template} rendered a document without apiVersion, kind or metadata.name:\n{document}");
        };
        let text = document.trim_start_matches('\n').trim_end().to_owned() + "\n";
        manifests.push(Manifest {
            api_version,
            kind,
            name,
            template,
            value,
            text,
        });
    }
    Ok(manifests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_carry_their_template_and_empty_ones_are_dropped() {
        let text = "---\n# Source: c/templates/a.yaml\napiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\n# Source: c/templates/b.yaml\n---\n# Source: c/charts/d/templates/e.yaml\napiVersion: v1\nkind: Secret\nmetadata:\n  name: e\n";
        let all = parse_all(text).unwrap();
        assert_eq!(
            all.iter().map(Manifest::id).collect::<Vec<_>>(),
            ["Service/a", "Secret/e"]
        );
        assert_eq!(all[1].template, "charts/d/templates/e.yaml");
    }

    #[test]
    fn a_document_without_a_name_is_refused() {
        assert!(parse_all("kind: Service\napiVersion: v1\n").is_err());
    }
}
