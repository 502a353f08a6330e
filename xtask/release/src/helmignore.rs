//! Which files of a chart `helm package` leaves out (helm.sh/docs/chart_template_guide/helm_ignore_file).

use std::path::Path;

use regex::Regex;

/// The patterns of a chart's .helmignore.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    regex: Regex,
    folder: bool,
    /// It means the whole path, not the name alone.
    whole: bool,
}

impl Ignore {
    /// Reads `dir/.helmignore`; without one nothing is left out. Negations are not followed: a file
    /// that one would bring back counts as packaged in any case.
    pub fn of_chart(dir: &Path) -> Ignore {
        let text = std::fs::read_to_string(dir.join(".helmignore")).unwrap_or_default();
        if text.lines().any(|line| line.trim_start().starts_with('!')) {
            return Ignore::default();
        }
        Ignore::parse(&text)
    }

    fn parse(text: &str) -> Ignore {
        let lines = text.lines().map(str::trim);
        let patterns = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ignore {
            patterns: patterns.filter_map(Pattern::parse).collect(),
        }
    }

    /// Whether a file, given relative to the chart, stays out of the package.
    pub(crate) fn leaves_out(&self, file: &str) -> bool {
        let parts: Vec<&str> = file.split('/').collect();
        self.patterns.iter().any(|pattern| {
            let depths = 1..=(parts.len() - usize::from(pattern.folder));
            let text = |n: usize| match pattern.whole {
                true => parts[..n].join("/"),
                false => parts[n - 1].to_owned(),
            };
            depths.into_iter().any(|n| pattern.regex.is_match(&text(n)))
        })
    }
}

impl Pattern {
    /// `*` stands for any characters but `/`, `?` for one.
    fn parse(text: &str) -> Option<Pattern> {
        let name = text.trim_end_matches('/');
        let escaped = regex::escape(name.trim_start_matches('/'));
        let regex = escaped.replace(r"\*", "[^/]*").replace(r"\?", "[^/]");
        Some(Pattern {
            regex: Regex::new(&format!("^{regex}$")).ok()?,
            folder: text.ends_with('/'),
            whole: name.contains('/'),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_helm_documents_them() {
        let ignore = Ignore::parse("# c\n*.bak\nci/\n/top.txt\ndocs/*.md\n");
        for (file, out) in [
            ("ci/x-values.yaml", true),
            ("a/ci/b", true),
            ("ci", false),
            ("a/b.bak", true),
            ("top.txt", true),
            ("a/top.txt", false),
            ("docs/a.md", true),
            ("docs/a/b.md", false),
            ("values.yaml", false),
        ] {
            assert_eq!(ignore.leaves_out(file), out, "{file}");
        }
    }
}
