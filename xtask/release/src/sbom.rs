//! What an archive brings along, as a CycloneDX document (cyclonedx.org/docs/1.6/json).

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use charts::image::Image;
use charts::manifest::Manifest;
use charts::workspace::Chart;
use jsonschema::Registry;
use kit::failure::Failure;
use kit::key::hexadecimal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The JSON schema of CycloneDX 1.6, and those that it refers to, by their names there.
const SCHEMA: &str = include_str!("../schemas/cyclonedx-1.6/bom-1.6.SNAPSHOT.schema.json");
const PARTS: [(&str, &str); 2] = [
    (
        "spdx.SNAPSHOT.schema.json",
        include_str!("../schemas/cyclonedx-1.6/spdx.SNAPSHOT.schema.json"),
    ),
    (
        "jsf-0.82.SNAPSHOT.schema.json",
        include_str!("../schemas/cyclonedx-1.6/jsf-0.82.SNAPSHOT.schema.json"),
    ),
];

/// A container and the image that it runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Container {
    /// The container's name.
    pub name: String,
    /// The reference of its image as rendered: `registry/repository:tag@digest`.
    pub image: String,
}

/// As github.com/package-url/purl-spec has it for type `oci`.
fn purl(image: &Image) -> String {
    let name = image.short_name().to_ascii_lowercase();
    let digest = image.digest.map(|d| format!("@{}", d.replace(':', "%3A")));
    let tag = image.tag.map(|tag| format!("&tag={tag}"));
    let (digest, tag) = (digest.unwrap_or_default(), tag.unwrap_or_default());
    format!("pkg:oci/{name}{digest}?repository_url={}{tag}", image.name)
}

fn component(image: &Image) -> Value {
    let mut component = json!({
        "type": "container",
        "bom-ref": purl(image),
        "name": image.name,
        "version": image.tag.or(image.digest).unwrap_or_default(),
        "purl": purl(image),
    });
    if let Some(digest) = image.digest.and_then(|digest| digest.strip_prefix("sha256:")) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": digest}]);
    }
    component
}

/// Every image of the objects' containers, sorted.
pub fn images(manifests: &[Manifest]) -> Vec<Container> {
    fn collect(value: &serde_yaml::Value, into: &mut BTreeSet<Container>) {
        match value {
            serde_yaml::Value::Mapping(map) => {
                for (key, value) in map {
                    if matches!(key.as_str(), Some("containers" | "initContainers")) {
                        into.extend(value.as_sequence().into_iter().flatten().filter_map(container));
                    }
                    collect(value, into);
                }
            }
            serde_yaml::Value::Sequence(list) => list.iter().for_each(|value| collect(value, into)),
            _ => {}
        }
    }
    let mut images = BTreeSet::new();
    for manifest in manifests {
        collect(&manifest.value, &mut images);
    }
    images.into_iter().collect()
}

fn container(value: &serde_yaml::Value) -> Option<Container> {
    let text = |key: &str| value.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    Some(Container {
        name: text("name")?,
        image: text("image")?,
    })
}

/// The document, the same text for the same archive: its serial number comes from the archive's digest,
/// its date (seconds since 1970) from the commit. `subcharts` are the names and versions of the charts inside.
pub fn document(
    chart: &Chart,
    subcharts: &[(String, String)],
    images: &[Container],
    sha256: &str,
    epoch: u64,
    helm: &str,
) -> Result<String> {
    let chart_purl = |name: &str, version: &str| format!("pkg:helm/{name}@{version}");
    let root = chart_purl(chart.name(), &chart.metadata.version.to_string());
    // One may be there several times.
    let subcharts: BTreeSet<_> = subcharts.iter().collect();
    let charts = subcharts.into_iter().map(|(name, version)| {
        let purl = chart_purl(name, version);
        json!({"type": "application", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    });
    let mut seen = BTreeSet::new();
    let containers = images.iter().map(|container| Image::parse(&container.image));
    let containers = containers.filter(|image| seen.insert(purl(image)));
    let containers = containers.map(|image| component(&image));
    let components: Vec<Value> = charts.chain(containers).collect();
    let needed: Vec<_> = components
        .iter()
        .map(|component| component["bom-ref"].clone())
        .collect();
    let mut subject = json!({
        "type": "application",
        "bom-ref": root,
        "name": chart.name(),
        "version": chart.metadata.version.to_string(),
        "purl": root,
        "hashes": [{"alg": "SHA-256", "content": sha256}],
    });
    if let Some(license) = chart.metadata.annotations.get("artifacthub.io/license") {
        // `Apache-2.0 OR MIT` is no identifier.
        let one = !license.contains(char::is_whitespace);
        subject["licenses"] = match one {
            true => json!([{"license": {"id": license}}]),
            false => json!([{"expression": license}]),
        };
    }
    let date = jiff::Timestamp::from_second(i64::try_from(epoch).context("the date")?).context("the date")?;
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial(sha256),
        "version": 1,
        "metadata": {
            "timestamp": date.to_string(),
            "tools": {"components": [{"type": "application", "name": "helm", "version": helm}]},
            "component": subject,
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": needed}],
    });
    check(&document).with_context(|| format!("the SBOM of {}", chart.name()))?;
    Ok(serde_json::to_string_pretty(&document).context("writing JSON")? + "\n")
}

/// Holds a document to the official schema of CycloneDX 1.6.
fn check(document: &Value) -> Result<()> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).context("a schema of CycloneDX");
    let mut parts = Registry::new();
    for (name, text) in PARTS {
        let uri = format!("http://cyclonedx.org/schema/{name}");
        parts = parts.add(uri, parse(text)?).context("a schema of CycloneDX")?;
    }
    let parts = parts.prepare().context("the schemas of CycloneDX")?;
    let validator = jsonschema::draft7::options()
        .with_registry(&parts)
        .should_validate_formats(true)
        .build(&parse(SCHEMA)?)
        .map_err(|error| anyhow::anyhow!("the schema of CycloneDX: {error}"))?;
    let problems: Vec<_> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::findings(
            format!("it is not as CycloneDX 1.6 has it:\n{}", problems.join("\n")),
            "correct what it was made from: names, versions and images of the chart, and its annotation \
             artifacthub.io/license, which is an identifier or an expression of SPDX",
        )),
    }
}

/// Fails unless a text is a document about the archive of a chart, with this SHA-256 in hexadecimal digits.
pub fn verify(text: &str, chart: &str, version: &str, sha256: &str) -> Result<()> {
    let document: Value = serde_json::from_str(text).context("not valid JSON")?;
    check(&document)?;
    let subject = &document["metadata"]["component"];
    let hashes = subject["hashes"].as_array().into_iter().flatten();
    let mut of_archive = hashes
        .filter(|hash| hash["alg"] == "SHA-256")
        .map(|hash| &hash["content"]);
    ensure!(
        of_archive.any(|content| content == sha256),
        "it speaks of another archive"
    );
    ensure!(
        subject["name"] == chart && subject["version"] == version,
        "it speaks of another chart"
    );
    Ok(())
}

/// A UUID of version 8 (RFC 9562 §5.8) made from an archive's digest.
fn serial(sha256: &str) -> String {
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&Sha256::digest(format!("CycloneDX of {sha256}"))[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hexadecimal(&bytes);
    format!(
        "urn:uuid:{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_url_has_what_the_reference_has() {
        for (reference, wanted) in [
            (
                "grafana/tempo:2.1",
                "pkg:oci/tempo?repository_url=grafana/tempo&tag=2.1",
            ),
            ("r:5000/a/b", "pkg:oci/b?repository_url=r:5000/a/b"),
            ("r/B:1@sha256:ab", "pkg:oci/b@sha256%3Aab?repository_url=r/B&tag=1"),
        ] {
            assert_eq!(purl(&Image::parse(reference)), wanted);
        }
    }

    #[test]
    fn a_document_is_held_to_the_official_schema() {
        let dir = tempfile::tempdir().unwrap();
        let made = |license: &str| {
            let chart = format!(
                "apiVersion: v2\nname: c\nversion: 0.1.0\nannotations: {{artifacthub.io/license: {license}}}\n"
            );
            std::fs::write(dir.path().join("Chart.yaml"), chart).unwrap();
            let images = [Container {
                name: "a".into(),
                image: "r/b:1@sha256:".to_owned() + &"ab".repeat(32),
            }];
            let charts = [("d".to_owned(), "1.0.0".to_owned())];
            document(
                &Chart::read(dir.path()).unwrap(),
                &charts,
                &images,
                &"cd".repeat(32),
                1_600_000_000,
                "4.0.0",
            )
        };
        assert!(made("Apache-2.0 OR MIT").is_ok());
        let refused = |error: anyhow::Error| format!("{error:#}");
        assert!(refused(made("Apache2").unwrap_err()).contains("/metadata/component/licenses"));
        let text = made("Apache-2.0").unwrap();
        assert!(verify(&text, "c", "0.1.0", &"cd".repeat(32)).is_ok());
        for (from, to, why) in [
            ("\"specVersion\": \"1.6\"", "\"specVersion\": 1.6", "/specVersion"),
            ("\"type\": \"container\"", "\"type\": \"image\"", "/components/1/type"),
            ("2020-09-13T", "2020-13-13T", "/metadata/timestamp"),
            ("urn:uuid:", "urn:", "/serialNumber"),
            ("\"components\": [", "\"parts\": [", "parts"),
            ("\"alg\": \"SHA-256\"", "\"alg\": \"SHA256\"", "/hashes/0/alg"),
            ("cdcd", "cdce", "another archive"),
            ("\"name\": \"c\"", "\"name\": \"e\"", "another chart"),
        ] {
            assert!(text.contains(from), "{from}");
            let error = refused(verify(&text.replacen(from, to, 1), "c", "0.1.0", &"cd".repeat(32)).unwrap_err());
            assert!(error.contains(why), "{from}: {error}");
        }
    }

    #[test]
    fn a_serial_number_is_a_uuid_that_follows_from_the_archive() {
        let one = serial("aa");
        assert_eq!((one.len(), &one[23..24]), (45, "8"));
        assert_eq!(one, serial("aa"));
        assert_ne!(one, serial("ab"));
    }
}
