//! Rendered objects against the schemas of the Kubernetes API, strictly and without a network.
//!
//! The schemas are ours: derived from the API server's own OpenAPI file (`api/openapi-spec/swagger.json`
//! of the Go module `k8s.io/kubernetes`, pinned by ci/schemas/go.mod), cut to the kinds that the
//! charts render and committed below ci/schemas. kubeconform compares.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Kind};
use crate::manifest::Manifest;
use crate::rules::{Finding, Problem, Subject};
use crate::step::{Runner, Step};
use crate::tools::Installed;

/// The name of findings.
pub const RULE: &str = "api-schema";

/// The kinds that the charts render, as the OpenAPI file names them.
const KINDS: [&str; 9] = [
    "io.k8s.api.apps.v1.Deployment",
    "io.k8s.api.apps.v1.StatefulSet",
    "io.k8s.api.batch.v1.Job",
    "io.k8s.api.core.v1.ConfigMap",
    "io.k8s.api.core.v1.PersistentVolumeClaim",
    "io.k8s.api.core.v1.Pod",
    "io.k8s.api.core.v1.Secret",
    "io.k8s.api.core.v1.Service",
    "io.k8s.api.core.v1.ServiceAccount",
];

/// The file that the kinds' files refer to.
const DEFINITIONS: &str = "definitions.json";

/// Where the committed schemas are: `ci/schemas` below the workspace.
pub fn folder(root: &Path) -> PathBuf {
    root.join("ci/schemas")
}

/// The schemas of the kinds that the charts render: file name and content.
///
/// Every object is closed (`additionalProperties: false`), so that a key that Kubernetes would
/// silently drop is found. Fails where the file lacks a kind or a definition.
pub fn derive(openapi: &Value) -> Result<BTreeMap<String, String>> {
    let definitions = openapi["definitions"]
        .as_object()
        .context("the OpenAPI file has no definitions")?;
    let mut files = BTreeMap::new();
    let mut needed = BTreeSet::new();
    for name in KINDS {
        let definition = definitions.get(name).with_context(|| format!("no definition {name}"))?;
        let group = &definition["x-kubernetes-group-version-kind"][0];
        let text = |key: &str| group[key].as_str().unwrap_or_default();
        let (group, version, kind) = (text("group"), text("version"), text("kind"));
        let schema = kind_schema(definition, group, version, kind);
        references(&schema, definitions, &mut needed)?;
        // The name that kubeconform forms from apiVersion and kind.
        let group = if group.is_empty() {
            String::new()
        } else {
            format!("-{group}")
        };
        let file = format!("{}{group}-{version}.json", kind.to_lowercase());
        files.insert(file, pretty(&schema)?);
    }
    let shared: BTreeMap<&String, Value> = needed
        .iter()
        .map(|name| (name, converted(name, &definitions[name.as_str()])))
        .collect();
    files.insert(DEFINITIONS.into(), pretty(&json!({ "definitions": shared }))?);
    Ok(files)
}

fn pretty(value: &Value) -> Result<String> {
    // One space of indent halves the size of these deep files and keeps diffs readable.
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(value, &mut serializer).context("writing a schema")?;
    bytes.push(b'\n');
    String::from_utf8(bytes).context("a schema is text")
}

/// The schema of a kind itself: its definition, with apiVersion, kind and metadata required.
fn kind_schema(definition: &Value, group: &str, version: &str, kind: &str) -> Value {
    let mut schema = converted("", definition);
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    schema["properties"]["apiVersion"] = json!({ "enum": [api_version] });
    schema["properties"]["kind"] = json!({ "enum": [kind] });
    let mut required = schema["required"].as_array().cloned().unwrap_or_default();
    required.extend(["apiVersion", "kind", "metadata"].map(Value::from));
    schema["required"] = Value::Array(required);
    // What the API server writes is no business of a template.
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.remove("status");
    }
    schema
}

/// Adds the definitions that a schema refers to, and those that they refer to.
fn references(schema: &Value, definitions: &Map<String, Value>, found: &mut BTreeSet<String>) -> Result<()> {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                let Some(target) = value.as_str().filter(|_| key == "$ref") else {
                    references(value, definitions, found)?;
                    continue;
                };
                let name = target.rsplit('/').next().unwrap_or_default();
                let definition = definitions.get(name).with_context(|| format!("no definition {name}"))?;
                if found.insert(name.to_owned()) {
                    references(&converted(name, definition), definitions, found)?;
                }
            }
            Ok(())
        }
        Value::Array(list) => list.iter().try_for_each(|value| references(value, definitions, found)),
        _ => Ok(()),
    }
}

/// A definition as a JSON schema: no prose, closed objects, local references.
fn converted(name: &str, definition: &Value) -> Value {
    match name {
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => json!({ "type": ["integer", "string"] }),
        // The API server reads a number, too.
        "io.k8s.apimachinery.pkg.api.resource.Quantity" => json!({ "type": ["number", "string"] }),
        _ => convert(definition),
    }
}

fn convert(schema: &Value) -> Value {
    let Some(schema) = schema.as_object() else {
        return schema.clone();
    };
    let mut out = Map::new();
    for (key, value) in schema {
        match key.as_str() {
            "$ref" => {
                let name = value.as_str().and_then(|r| r.rsplit('/').next()).unwrap_or_default();
                out.insert(key.clone(), format!("{DEFINITIONS}#/definitions/{name}").into());
            }
            "properties" => {
                let properties = value.as_object().into_iter().flatten();
                let properties = properties.map(|(name, inner)| (name.clone(), convert(inner)));
                out.insert(key.clone(), Value::Object(properties.collect()));
            }
            "items" | "additionalProperties" => {
                out.insert(key.clone(), convert(value));
            }
            "type" | "required" | "enum" => {
                out.insert(key.clone(), value.clone());
            }
            _ => {}
        }
    }
    if out.contains_key("properties") && !out.contains_key("additionalProperties") {
        out.insert("additionalProperties".into(), false.into());
    }
    Value::Object(out)
}

/// The kubeconform step for objects on standard input.
pub fn step(kubeconform: &Installed, root: &Path, kube_version: &str) -> Result<Step> {
    let folder = folder(root);
    if !folder.join(format!("v{kube_version}")).is_dir() {
        return Err(Failure::err(
            Kind::Usage,
            format!("no schemas of Kubernetes {kube_version} in ci/schemas"),
            format!("require k8s.io/kubernetes v{kube_version} in ci/schemas/go.mod and run `cargo xtask schemas`"),
        ));
    }
    let location = |file: &str| format!("{}/{file}", folder.display());
    Ok(Step::new("kubeconform", &kubeconform.path)
        .timeout(Duration::from_secs(60))
        .args(["-strict", "-output", "json", "-kubernetes-version", kube_version])
        .args([
            "-schema-location".into(),
            location("{{ .NormalizedKubernetesVersion }}/{{ .ResourceKind }}{{ .KindSuffix }}.json"),
        ])
        .args([
            "-schema-location".into(),
            location("{{ .Group }}/{{ .ResourceKind }}_{{ .ResourceAPIVersion }}.json"),
        ])
        .arg("-"))
}

/// What kubeconform prints with `-output json`.
#[derive(Debug, Deserialize)]
struct Report {
    resources: Vec<Resource>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    kind: String,
    name: String,
    msg: String,
}

/// What the API schemas have against a scenario.
pub fn judge(
    subject: &Subject,
    kubeconform: &Installed,
    root: &Path,
    kube_version: &str,
    runner: &Runner,
) -> Result<Vec<Finding>> {
    let step = step(kubeconform, root, kube_version)?;
    let text: Vec<&str> = subject
        .manifests
        .iter()
        .map(|manifest| manifest.text.as_str())
        .collect();
    let output = runner.try_run(&step.stdin(text.join("---\n")))?;
    let report: Report = serde_json::from_str(&output.stdout)
        .with_context(|| format!("kubeconform printed no report: {}", output.tail()))?;
    let mut findings = Vec::new();
    for resource in report.resources {
        let id = |m: &&Manifest| m.kind == resource.kind && m.name == resource.name;
        let Some(manifest) = subject.manifests.iter().find(id) else {
            continue;
        };
        for (path, message) in faults(&resource.msg) {
            let keys: Vec<&str> = path.split('/').filter(|key| key.parse::<usize>().is_err()).collect();
            let problem = Problem::new(manifest, &keys, message);
            findings.push(subject.finding(RULE, problem, "give the field the name and type of the API reference"));
        }
    }
    Ok(findings)
}

/// The single faults inside kubeconform's message: path and text. Its nested headings are left out.
fn faults(message: &str) -> Vec<(String, String)> {
    let mut parts = message.split("- at '").skip(1).peekable();
    let mut faults = Vec::new();
    while let Some(part) = parts.next() {
        let Some((path, text)) = part.split_once("': ") else {
            continue;
        };
        let heading = text.contains("validation failed") || text.contains("' failed");
        if !heading || parts.peek().is_none() {
            faults.push((
                path.to_owned(),
                format!("{}: {}", path.trim_start_matches('/'), text.trim()),
            ));
        }
    }
    if faults.is_empty() {
        faults.push((String::new(), message.trim().to_owned()));
    }
    faults
}
