//! References to container images.

/// A reference to an image in its parts: `name:tag@digest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image<'a> {
    /// Registry, if one is named, and repository: `docker.io/grafana/tempo`.
    pub name: &'a str,
    /// `2.9.0`.
    pub tag: Option<&'a str>,
    /// `sha256:…`.
    pub digest: Option<&'a str>,
}

impl<'a> Image<'a> {
    /// Takes a reference apart; any text has a name.
    pub fn parse(text: &'a str) -> Image<'a> {
        let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, d)| (rest, Some(d)));
        // A colon before the last slash belongs to the registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let set = |part: &&str| !part.is_empty();
        Image {
            name,
            tag: tag.filter(set),
            digest: digest.filter(set),
        }
    }

    /// The registry, where one is named; and the repository.
    pub fn place(&self) -> (Option<&'a str>, &'a str) {
        match self.name.split_once('/') {
            Some((first, path)) if first == "localhost" || first.contains(['.', ':']) => (Some(first), path),
            _ => (None, self.name),
        }
    }

    /// The last part of its name.
    pub fn short_name(&self) -> &'a str {
        self.name.rsplit('/').next().unwrap_or(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_comes_apart_whatever_it_leaves_out() {
        for (text, registry, repository, short, tag, digest) in [
            ("grafana/tempo:2.1", None, "grafana/tempo", "tempo", Some("2.1"), None),
            ("busybox", None, "busybox", "busybox", None, None),
            ("r:5000/a/b", Some("r:5000"), "a/b", "b", None, None),
            ("r:5000/a/b:2.9.0", Some("r:5000"), "a/b", "b", Some("2.9.0"), None),
            ("localhost/b:", Some("localhost"), "b", "b", None, None),
            (
                "r.io/B:1@sha256:ab",
                Some("r.io"),
                "B",
                "B",
                Some("1"),
                Some("sha256:ab"),
            ),
            (
                "grafana/tempo@sha256:00",
                None,
                "grafana/tempo",
                "tempo",
                None,
                Some("sha256:00"),
            ),
        ] {
            let image = Image::parse(text);
            assert_eq!(image.place(), (registry, repository), "{text}");
            assert_eq!(
                (image.short_name(), image.tag, image.digest),
                (short, tag, digest),
                "{text}"
            );
        }
    }
}
