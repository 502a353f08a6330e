//! Rendered objects against the schemas of the Kubernetes API, strictly and without a network.
//!
//! The schemas are ours: derived from the API server's own OpenAPI file (`api/openapi-spec/swagger.json`
//! of the Go module `k8s.io/kubernetes`, pinned by the go.mod of each version), cut to the kinds that the
//! charts render and committed below ci/schemas. kubeconform compares.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use charts::kubernetes::{folder, version_folder, versions};
use charts::manifest::Manifest;
use charts::tools::Installed;
use kit::failure::{Failure, Kind, kind_of};
use kit::run_dir::RunDir;
use kit::step::{Runner, Step};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::rules::{Finding, Problem, Subject};

pub(crate) const RULE: &str = "api-schema";

/// The kinds that the charts render, as the OpenAPI file names them.
const KINDS: [&str; 17] = [
    "io.k8s.api.apps.v1.Deployment",
    "io.k8s.api.apps.v1.StatefulSet",
    "io.k8s.api.batch.v1.Job",
    "io.k8s.api.core.v1.ConfigMap",
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    "io.k8s.api.networking.v1.Ingress",
    "io.k8s.api.core.v1.PersistentVolumeClaim",
    "io.k8s.api.networking.v1.NetworkPolicy",
    "io.k8s.api.policy.v1.PodDisruptionBudget",
    "io.k8s.api.rbac.v1.ClusterRole",
    "io.k8s.api.rbac.v1.ClusterRoleBinding",
    "io.k8s.api.rbac.v1.Role",
    "io.k8s.api.rbac.v1.RoleBinding",
    "io.k8s.api.core.v1.Pod",
    "io.k8s.api.core.v1.Secret",
    "io.k8s.api.core.v1.Service",
    "io.k8s.api.core.v1.ServiceAccount",
];

/// The file that the kinds' files refer to.
const DEFINITIONS: &str = "definitions.json";

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
        // The name that kubeconform forms from apiVersion and kind, with the first label of the group.
        let group = match group.split('.').next() {
            Some("") | None => String::new(),
            Some(label) => format!("-{label}"),
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

/// The kubeconform step for files or folders that follow.
pub fn step(kubeconform: &Installed, root: &Path, kube_version: &str) -> Result<Step> {
    let folder = folder(root);
    if !version_folder(root, kube_version).is_dir() {
        return Err(Failure::usage(
            format!("no schemas of Kubernetes {kube_version} in ci/schemas"),
            format!(
                "those here: {}; `cargo xtask schemas --help` says how to add one",
                versions(root)?.join(", ")
            ),
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
        ]))
}

/// What kubeconform prints with `-output json`.
#[derive(Debug, Deserialize)]
struct Report {
    resources: Vec<Resource>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    filename: PathBuf,
    msg: String,
}

/// A case's objects, the same for some versions of Kubernetes.
#[derive(Debug, Clone)]
pub struct Target {
    versions: Vec<String>,
    /// A case that doesn't render is a finding.
    objects: std::result::Result<Vec<Manifest>, Finding>,
}

impl Target {
    /// What these versions get from a case; fails where helm could not be run.
    pub fn new(subject: &Subject, versions: &[&str], rendered: Result<Vec<Manifest>>) -> Result<Target> {
        let objects = match rendered {
            Ok(manifests) => Ok(manifests),
            Err(error) if kind_of(&error) == Kind::Findings => Err(Finding {
                file: format!("charts/{}/Chart.yaml", subject.chart.name()),
                line: None,
                rule: RULE.into(),
                message: format!("{}: does not render: {error:#}", subject.case),
                remedy: "make the case render for every version that kubeVersion allows".into(),
            }),
            Err(error) => return Err(error.context(format!("Kubernetes {}", versions.join(", ")))),
        };
        Ok(Target {
            versions: versions.iter().map(|version| (*version).to_owned()).collect(),
            objects,
        })
    }

    fn is_for(&self, version: &str) -> bool {
        self.versions.iter().any(|one| one == version)
    }
}

/// What the API schemas of all committed versions of Kubernetes have against each of the cases.
///
/// One kubeconform a version reads every different object of all cases once: what it says about a text
/// is true for each case that renders this text.
pub fn judge(
    cases: &[(Subject, &[Target])],
    kubeconform: &Installed,
    root: &Path,
    runner: &Runner,
) -> Result<Vec<Vec<Finding>>> {
    let versions = versions(root)?;
    let folder = RunDir::temporary("schemas")?;
    let known = runner.in_parallel(&versions, |version| {
        let targets = cases.iter().flat_map(|(_, targets)| *targets);
        let objects = targets.filter(|target| target.is_for(version));
        let objects = objects.flat_map(|target| target.objects.iter().flatten());
        let texts: BTreeSet<&str> = objects.map(|manifest| manifest.text.as_str()).collect();
        let step = step(kubeconform, root, version)?;
        judge_texts(&texts, step, &folder.path().join(version), runner)
    })?;
    let of_case = |(subject, targets): &(Subject, &[Target])| {
        let mut found: BTreeMap<Finding, Vec<&str>> = BTreeMap::new();
        for (version, known) in versions.iter().zip(&known) {
            let target = targets.iter().find(|target| target.is_for(version));
            for finding in target.into_iter().flat_map(|target| findings(subject, target, known)) {
                found.entry(finding).or_default().push(version);
            }
        }
        let named = found.into_iter().map(|(mut finding, of)| {
            if of.len() < versions.len() {
                finding.message += &format!(" (Kubernetes {})", of.join(", "));
            }
            finding
        });
        named.collect()
    };
    Ok(cases.iter().map(of_case).collect())
}

/// What kubeconform finds in each of the texts, with a file of its own in `folder` for each; a text
/// without faults isn't there.
fn judge_texts<'t>(
    texts: &BTreeSet<&'t str>,
    step: Step,
    folder: &Path,
    runner: &Runner,
) -> Result<BTreeMap<&'t str, Vec<Fault>>> {
    fs_err::create_dir_all(folder)?;
    let mut files = BTreeMap::new();
    for (index, text) in texts.iter().enumerate() {
        let file = folder.join(format!("{index}.yaml"));
        fs_err::write(&file, text)?;
        files.insert(file, *text);
    }
    let output = runner.try_run(&step.path_arg(folder))?;
    if runner.plans() {
        return Ok(BTreeMap::new());
    }
    let report: Report = serde_json::from_str(&output.stdout)
        .with_context(|| format!("kubeconform printed no report: {}", output.tail()))?;
    let mut found = BTreeMap::new();
    for Resource { filename, msg } in report.resources {
        let text = files.get(&filename);
        let text = text.with_context(|| format!("kubeconform names {}", filename.display()))?;
        found.insert(*text, faults(&msg));
    }
    Ok(found)
}

/// The findings in a case's objects, by what is known of their texts.
fn findings(subject: &Subject, target: &Target, known: &BTreeMap<&str, Vec<Fault>>) -> Vec<Finding> {
    let manifests = match &target.objects {
        Ok(manifests) => manifests,
        Err(finding) => return vec![finding.clone()],
    };
    let mut findings = Vec::new();
    for manifest in manifests {
        for Fault { path, message } in known.get(manifest.text.as_str()).into_iter().flatten() {
            let keys: Vec<&str> = path.split('/').filter(|key| key.parse::<usize>().is_err()).collect();
            let problem = Problem::new(manifest, &keys, message);
            findings.push(subject.finding(RULE, problem, "give the field the name and type of the API reference"));
        }
    }
    findings
}

/// One thing that kubeconform has against an object.
#[derive(Debug, Clone)]
struct Fault {
    /// The keys that lead to the field, separated by slashes.
    path: String,
    message: String,
}

/// The single faults inside kubeconform's message. Its nested headings are left out.
fn faults(message: &str) -> Vec<Fault> {
    let mut parts = message.split("- at '").skip(1).peekable();
    let mut faults = Vec::new();
    while let Some(part) = parts.next() {
        let Some((path, text)) = part.split_once("': ") else {
            continue;
        };
        let heading = text.contains("validation failed") || text.contains("' failed");
        if !heading || parts.peek().is_none() {
            faults.push(Fault {
                path: path.to_owned(),
                message: format!("{}: {}", path.trim_start_matches('/'), text.trim()),
            });
        }
    }
    if faults.is_empty() {
        faults.push(Fault {
            path: String::new(),
            message: message.trim().to_owned(),
        });
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An OpenAPI file in which every kind has the same small spec.
    fn openapi() -> Value {
        let mut definitions = Map::new();
        for name in KINDS {
            let kind = name.rsplit('.').next().unwrap();
            let group = if name.contains(".apps.") { "apps" } else { "" };
            definitions.insert(
                name.into(),
                json!({
                    "description": "prose",
                    "type": "object",
                    "properties": {
                        "metadata": { "type": "object" },
                        "status": { "$ref": "#/definitions/Gone" },
                        "spec": { "$ref": "#/definitions/Spec", "description": "prose" },
                    },
                    "x-kubernetes-group-version-kind": [{ "group": group, "kind": kind, "version": "v1" }],
                }),
            );
        }
        definitions.insert(
            "Spec".into(),
            json!({
                "type": "object",
                "properties": {
                    "description": { "type": "string", "description": "prose" },
                    "port": { "$ref": "#/definitions/io.k8s.apimachinery.pkg.util.intstr.IntOrString" },
                    "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                },
            }),
        );
        definitions.insert(
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString".into(),
            json!({ "type": "string", "format": "int-or-string" }),
        );
        json!({ "definitions": definitions })
    }

    #[test]
    fn schemas_are_closed_without_prose_and_with_all_that_they_refer_to() {
        let files = derive(&openapi()).unwrap();
        assert_eq!(files.len(), KINDS.len() + 1);
        let kind: Value = serde_json::from_str(&files["deployment-apps-v1.json"]).unwrap();
        assert_eq!(kind["properties"]["apiVersion"], json!({ "enum": ["apps/v1"] }));
        assert_eq!(kind["additionalProperties"], json!(false));
        assert_eq!(
            kind["properties"]["spec"],
            json!({ "$ref": "definitions.json#/definitions/Spec" })
        );
        let shared: Value = serde_json::from_str(&files["definitions.json"]).unwrap();
        let spec = &shared["definitions"]["Spec"];
        // A field may be called `description`; prose is dropped all the same.
        assert_eq!(spec["properties"]["description"], json!({ "type": "string" }));
        assert_eq!(spec["additionalProperties"], json!(false));
        assert_eq!(
            spec["properties"]["labels"]["additionalProperties"],
            json!({ "type": "string" })
        );
        let port = &shared["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
        assert_eq!(port, &json!({ "type": ["integer", "string"] }));
    }

    #[test]
    fn a_definition_that_is_missing_is_named() {
        let mut openapi = openapi();
        openapi["definitions"].as_object_mut().unwrap().remove("Spec");
        assert!(derive(&openapi).unwrap_err().to_string().contains("Spec"));
    }

    #[test]
    fn single_faults_are_read_out_of_nested_ones() {
        let message = "problem validating schema. Check JSON formatting: jsonschema validation failed with 'file:///x#' \
                       - at '/spec': validation failed   - at '/spec/replicas': got string, want integer   \
                       - at '/spec/a/0': validation failed     - at '/spec/a/0/b': additional properties 'c' not allowed";
        let found = faults(message);
        assert_eq!(
            found.iter().map(|fault| fault.message.as_str()).collect::<Vec<_>>(),
            [
                "spec/replicas: got string, want integer",
                "spec/a/0/b: additional properties 'c' not allowed"
            ]
        );
        assert_eq!(
            faults("could not find schema for X")[0].message,
            "could not find schema for X"
        );
    }
}
