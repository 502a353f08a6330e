//! Images that run in the cluster, in the parts that the chart's values have.

use std::fmt;
use std::str::FromStr;

use charts::render::set;
use kit::failure::Failure;
use serde_yaml::Value;

/// The registry of a reference that names none.
const DEFAULT_REGISTRY: &str = "docker.io";

/// A reference to an image: `registry/repository:tag@digest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `docker.io`, `localhost`, …
    pub registry: String,
    /// `grafana/tempo`.
    pub repository: String,
    /// `2.9.0`.
    pub tag: Option<String>,
    /// `sha256:…`.
    pub digest: Option<String>,
}

impl FromStr for Image {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Image, anyhow::Error> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[slash..].split_once(':') {
            Some((last, tag)) => (&rest[..slash + last.len()], Some(tag.to_owned())),
            None => (rest, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((first, path)) if first == "localhost" || first.contains(['.', ':']) => (first, path),
            _ => (DEFAULT_REGISTRY, name),
        };
        if repository.is_empty() || (tag.is_none() && digest.is_none()) {
            return Err(Failure::usage(
                format!("{text:?} is not an image with a tag or a digest"),
                "write it as registry/repository:tag",
            ));
        }
        Ok(Image {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag,
            digest,
        })
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// The images of a run. What is not set is the chart's own.
#[derive(Debug, Clone)]
pub struct Images {
    /// Tempo.
    pub tempo: Option<Image>,
    /// The Collector.
    pub otel_collector: Option<Image>,
    /// The S3 server versitygw.
    pub versitygw: Image,
    /// Prometheus.
    pub prometheus: Image,
    /// A shell with `sleep`, `kill`, `cat`, `find`, `base64`, `wget` and `nslookup` in its path: busybox.
    pub helper: Image,
}

impl Default for Images {
    fn default() -> Images {
        let image = |repository: &str, tag: &str| Image {
            registry: DEFAULT_REGISTRY.into(),
            repository: repository.into(),
            tag: Some(tag.into()),
            digest: None,
        };
        Images {
            tempo: None,
            otel_collector: None,
            versitygw: image("versity/versitygw", "v1.8.0"),
            prometheus: image("prom/prometheus", "v3.15.1"),
            helper: image("library/busybox", "1.37.0"),
        }
    }
}

impl Images {
    /// The names under which images are set on the command line.
    pub(crate) const NAMES: [&str; 5] = ["tempo", "otelcol", "versitygw", "prometheus", "helper"];

    /// Sets one by `NAME=IMAGE`.
    pub fn set(&mut self, text: &str) -> Result<(), anyhow::Error> {
        let unknown = || {
            Failure::usage(
                format!("{text:?} sets no image"),
                format!("write NAME=IMAGE, where NAME is one of {}", Images::NAMES.join(", ")),
            )
        };
        let (name, image) = text.split_once('=').ok_or_else(unknown)?;
        let image: Image = image.parse()?;
        match name {
            "tempo" => self.tempo = Some(image),
            "otelcol" => self.otel_collector = Some(image),
            "versitygw" => self.versitygw = image,
            "prometheus" => self.prometheus = image,
            "helper" => self.helper = image,
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// The values of chart `tempo-stack` that name these images.
    pub fn values(&self) -> Value {
        let mut values = Value::Mapping(Default::default());
        let images = [
            (&["tempo", "image"][..], self.tempo.as_ref()),
            (&["otelCollector", "image"], self.otel_collector.as_ref()),
            (&["tempo", "shellImage"], Some(&self.helper)),
            (&["helmTest", "image"], Some(&self.helper)),
        ];
        for (path, image) in images.into_iter().filter_map(|(path, image)| Some((path, image?))) {
            let mut set = |field: &str, text: &str| set(&mut values, &[path, &[field]].concat(), text.into());
            set("registry", &image.registry);
            set("repository", &image.repository);
            for (field, text) in [("tag", &image.tag), ("digest", &image.digest)] {
                if let Some(text) = text {
                    set(field, text);
                }
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_falls_into_the_parts_of_the_values() {
        let image: Image = "localhost/tempo-stack/tempo:2.9.0".parse().unwrap();
        assert_eq!(
            (image.registry.as_str(), image.repository.as_str()),
            ("localhost", "tempo-stack/tempo")
        );
        let image: Image = "registry.example:5000/a/b@sha256:12".parse().unwrap();
        assert_eq!((image.registry.as_str(), image.tag), ("registry.example:5000", None));
        let image: Image = "grafana/tempo:2.10.8".parse().unwrap();
        assert_eq!(image.to_string(), "docker.io/grafana/tempo:2.10.8");
        assert!("grafana/tempo".parse::<Image>().is_err());
    }

    #[test]
    fn only_images_that_are_set_reach_the_values() {
        let mut images = Images::default();
        images.set("tempo=localhost/tempo-stack/tempo:2.9.0").unwrap();
        assert!(images.set("nothing=a:1").is_err());
        let values = serde_yaml::to_string(&images.values()).unwrap();
        assert!(
            values.contains("2.9.0") && !values.contains("otelCollector"),
            "{values}"
        );
    }
}
