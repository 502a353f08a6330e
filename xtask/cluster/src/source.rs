//! Where a cluster's images come from: a registry, or the offline test bed.

use anyhow::{Context, Result};
use clap::ValueEnum;
use kit::failure::Failure;
use semver::Version;
use serde::Serialize;

use crate::testbed::recipe::Pulled;

/// What the user asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Images {
    /// From a registry where one can be reached, else from the test bed.
    #[default]
    Auto,
    /// Pulled from a registry.
    Pull,
    /// Made by `cargo xtask cluster images`.
    Testbed,
}

/// Where images really come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// From a registry.
    Pull,
    /// From the test bed.
    Testbed,
}

impl Source {
    /// As the label of a cluster has it.
    pub fn word(self) -> &'static str {
        match self {
            Source::Pull => "pull",
            Source::Testbed => "testbed",
        }
    }

    /// The reverse of [`Source::word`].
    pub(crate) fn from_word(word: &str) -> Option<Source> {
        [Source::Pull, Source::Testbed]
            .into_iter()
            .find(|source| source.word() == word)
    }

    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            Source::Pull => "from a registry",
            Source::Testbed => "from the offline test bed",
        }
    }
}

/// Where images come from, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// Where images come from.
    pub source: Source,
    /// The reason, in one line.
    pub why: String,
    /// The node image.
    pub node: String,
    /// Its Kubernetes version.
    pub kubernetes: Version,
}

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Where the user wants images from.
    pub images: Images,
    /// Where the images of the cluster that is there came from.
    pub kept: Option<Source>,
    /// Which Kubernetes version the user asks for.
    pub kubernetes: Option<&'a Version>,
    /// Which node image the user names.
    pub node_image: Option<&'a str>,
}

/// What the test bed offers.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The name of its node image.
    pub node: &'a str,
    /// Its Kubernetes version.
    pub kubernetes: &'a Version,
}

const ASKED: &str = "requested";
const KEPT: &str = "like those of the cluster that is there";

/// Decides where images come from.
///
/// `can_pull` says why an image can be had from Docker or a registry, or why it can't; it is called only
/// where the answer matters.
pub fn choose(
    wish: Wish,
    pulled: &[Pulled],
    offer: Offer,
    can_pull: impl FnOnce(&str) -> Result<String, String>,
) -> Result<Choice> {
    let default = pulled.first().context("no node image is pinned")?;
    let kubernetes = wish.kubernetes.unwrap_or(&default.kubernetes);
    let pinned = pulled.iter().find(|node| node.kubernetes == *kubernetes);
    let node = match (wish.node_image, pinned) {
        (Some(image), _) => image.to_owned(),
        (None, Some(pinned)) => pinned.node.clone(),
        (None, None) => format!("kindest/node:v{kubernetes}"),
    };
    let pull = |why: String| Choice {
        source: Source::Pull,
        why,
        node: node.clone(),
        kubernetes: kubernetes.clone(),
    };
    match wish.images {
        Images::Pull => Ok(pull(ASKED.into())),
        Images::Testbed => testbed(wish, offer, ASKED.into()),
        Images::Auto => match wish.kept {
            Some(Source::Pull) => Ok(pull(KEPT.into())),
            Some(Source::Testbed) => testbed(wish, offer, KEPT.into()),
            None => can_pull(&node).map(pull).or_else(|why| {
                let name = node.split('@').next().unwrap_or(&node);
                testbed(wish, offer, format!("{name} can't be pulled: {why}"))
            }),
        },
    }
}

fn testbed(wish: Wish, offer: Offer, why: String) -> Result<Choice> {
    let other_version = wish.kubernetes.filter(|version| *version != offer.kubernetes);
    let other_image = wish.node_image.filter(|image| *image != offer.node);
    if other_version.is_some() || other_image.is_some() {
        let wanted = other_version.map_or_else(|| other_image.unwrap_or_default().to_owned(), Version::to_string);
        return Err(Failure::environment(
            format!(
                "the test bed only has Kubernetes {}, not {wanted} ({why})",
                offer.kubernetes
            ),
            "leave out --kubernetes and --node-image, or run it where a registry can be reached",
        ));
    }
    Ok(Choice {
        source: Source::Testbed,
        why,
        node: offer.node.to_owned(),
        kubernetes: offer.kubernetes.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::failure::{Kind, kind_of};

    const TESTBED: Version = Version::new(1, 34, 4);

    fn decide(images: Images, kubernetes: Option<&str>, registry: Result<String, String>) -> Result<Choice> {
        decide_again(images, None, kubernetes, registry)
    }

    fn decide_again(
        images: Images,
        kept: Option<Source>,
        kubernetes: Option<&str>,
        registry: Result<String, String>,
    ) -> Result<Choice> {
        let pulled = [37, 36].map(|minor| Pulled {
            kubernetes: Version::new(1, minor, 0),
            node: format!("kindest/node:v1.{minor}.0@sha256:{minor}"),
        });
        let version = kubernetes.map(|v| Version::parse(v).unwrap());
        let wish = Wish {
            images,
            kept,
            kubernetes: version.as_ref(),
            node_image: None,
        };
        let offer = Offer {
            node: "tempo-stack/kind-node:v1.34.4",
            kubernetes: &TESTBED,
        };
        choose(wish, &pulled, offer, |_| registry)
    }

    #[test]
    fn where_a_registry_answers_the_pinned_node_is_pulled() {
        let choice = decide(Images::Auto, None, Ok("the registry answers".into())).unwrap();
        assert_eq!(choice.source, Source::Pull);
        assert_eq!(choice.node, "kindest/node:v1.37.0@sha256:37");
    }

    #[test]
    fn where_none_answers_the_test_bed_is_taken_and_the_reason_told() {
        let choice = decide(Images::Auto, None, Err("no such host".into())).unwrap();
        assert_eq!(choice.source, Source::Testbed);
        assert_eq!(choice.kubernetes, TESTBED);
        assert!(choice.why.contains("no such host"));
    }

    #[test]
    fn a_registry_that_comes_or_goes_does_not_change_where_a_cluster_has_its_images_from() {
        for (kept, registry) in [
            (Source::Testbed, Ok("the registry answers".into())),
            (Source::Pull, Err("no such host".into())),
        ] {
            let choice = decide_again(Images::Auto, Some(kept), None, registry).unwrap();
            assert_eq!(choice.source, kept);
            assert_eq!(Source::from_word(kept.word()), Some(kept));
        }
        let asked = decide_again(Images::Pull, Some(Source::Testbed), None, Err(String::new())).unwrap();
        assert_eq!(asked.source, Source::Pull);
    }

    #[test]
    fn another_version_is_pulled_by_its_digest_where_that_is_pinned_else_by_its_tag() {
        let pinned = decide(Images::Pull, Some("1.36.0"), Err("never asked".into())).unwrap();
        assert_eq!(pinned.node, "kindest/node:v1.36.0@sha256:36");
        let choice = decide(Images::Pull, Some("1.33.7"), Err("never asked".into())).unwrap();
        assert_eq!(choice.node, "kindest/node:v1.33.7");
    }

    #[test]
    fn the_test_bed_refuses_a_version_that_it_does_not_have() {
        let error = decide(Images::Auto, Some("1.33.7"), Err("no such host".into())).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Environment);
        assert!(
            error.to_string().contains("only has Kubernetes 1.34.4, not 1.33.7"),
            "{error}"
        );
        assert!(decide(Images::Testbed, Some("1.34.4"), Err(String::new())).is_ok());
    }
}
