//! Who made an archive from what, as an in-toto statement with SLSA provenance (slsa.dev/spec/v1.0/provenance).

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
const BUILD_TYPE: &str = "urn:tempo-stack:xtask:package:v1";

/// What an archive was made from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The full id of the commit; none without git.
    pub commit: Option<String>,
    /// Whether the charts' folder differed from that commit.
    pub uncommitted: bool,
    /// The date of all files, in seconds since 1970.
    pub epoch: u64,
    /// The version of the pinned helm.
    pub helm: String,
    /// The address that local dependencies got; none if they stayed as they are.
    pub published: Option<String>,
}

/// The statement about one archive, the same text for the same archive and source.
pub fn statement(chart: &str, archive: &str, sha256: &str, source: &Source) -> Result<String> {
    let mut materials = vec![json!({
        "name": "helm",
        "uri": format!("pkg:golang/helm.sh/helm/v4@v{}", source.helm),
    })];
    if let Some(commit) = &source.commit {
        materials.push(json!({"name": "source", "digest": {"gitCommit": commit}}));
    }
    let statement = json!({
        "_type": STATEMENT_TYPE,
        "subject": [{"name": archive, "digest": {"sha256": sha256}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"chart": chart, "publishedCharts": source.published},
                "internalParameters": {
                    "SOURCE_DATE_EPOCH": source.epoch.to_string(),
                    "uncommittedChanges": source.uncommitted,
                },
                "resolvedDependencies": materials,
            },
            "runDetails": {"builder": {"id": "urn:tempo-stack:xtask"}},
        },
    });
    Ok(serde_json::to_string_pretty(&statement).context("writing JSON")? + "\n")
}

/// What a statement says of its archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The archive's SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// The commit that it was made from.
    pub commit: Option<String>,
    /// Whether the charts' folder differed from that commit.
    pub uncommitted: bool,
    /// The date of all files, in seconds since 1970.
    pub epoch: u64,
    /// The address that local dependencies got.
    pub published: Option<String>,
}

/// Reads a statement about the archive of this file name. One of another kind would say something else by the
/// same words.
pub fn read(text: &str, archive: &str) -> Result<Claim> {
    let statement: Value = serde_json::from_str(text).context("not valid JSON")?;
    let kinds = [
        ("_type", &statement["_type"], STATEMENT_TYPE),
        ("predicateType", &statement["predicateType"], PREDICATE_TYPE),
        (
            "buildType",
            &statement["predicate"]["buildDefinition"]["buildType"],
            BUILD_TYPE,
        ),
    ];
    for (name, kind, wanted) in kinds {
        ensure!(kind == wanted, "its {name} is {kind}, not {wanted}");
    }
    let subjects = statement["subject"].as_array();
    let subject = subjects.and_then(|list| list.iter().find(|s| s["name"] == archive));
    let sha256 = subject.and_then(|s| s["digest"]["sha256"].as_str());
    let definition = &statement["predicate"]["buildDefinition"];
    let materials = definition["resolvedDependencies"].as_array();
    let source = materials.and_then(|list| list.iter().find(|m| m["name"] == "source"));
    Ok(Claim {
        sha256: sha256
            .with_context(|| format!("it says nothing of {archive}"))?
            .to_owned(),
        commit: source
            .and_then(|s| s["digest"]["gitCommit"].as_str())
            .map(str::to_owned),
        uncommitted: definition["internalParameters"]["uncommittedChanges"] != json!(false),
        epoch: definition["internalParameters"]["SOURCE_DATE_EPOCH"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .context("it names no SOURCE_DATE_EPOCH")?,
        published: definition["externalParameters"]["publishedCharts"]
            .as_str()
            .map(str::to_owned),
    })
}
