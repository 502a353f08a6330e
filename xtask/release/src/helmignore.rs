//! Which files of a chart `helm package` leaves out (helm.sh/docs/chart_template_guide/helm_ignore_file).

use std::path::Path;

/// The patterns of a chart's .helmignore.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<String>,
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
            patterns: patterns.map(str::to_owned).collect(),
        }
    }

    /// Whether a file, given relative to the chart, stays out of the package.
    pub fn leaves_out(&self, file: &str) -> bool {
        let parts: Vec<&str> = file.split('/').collect();
        self.patterns.iter().any(|pattern| {
            let (pattern, folder_only) = match pattern.strip_suffix('/') {
                Some(folder) => (folder, true),
                None => (pattern.as_str(), false),
            };
            let depths = 1..=(parts.len() - usize::from(folder_only));
            match pattern.strip_prefix('/').or(pattern.contains('/').then_some(pattern)) {
                Some(whole) => depths.clone().any(|n| glob(whole, &parts[..n].join("/"))),
                None => depths.clone().any(|n| glob(pattern, parts[n - 1])),
            }
        })
    }
}

/// `*` stands for any characters but `/`, `?` for one.
fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    match (pattern.next(), text.clone().next()) {
        (None, None) => true,
        (Some('*'), next) => {
            glob(pattern.as_str(), text.as_str())
                || next.is_some_and(|c| {
                    text.next();
                    c != '/' && glob(&format!("*{}", pattern.as_str()), text.as_str())
                })
        }
        (Some(p), Some(c)) if p == c || (p == '?' && c != '/') => {
            text.next();
            glob(pattern.as_str(), text.as_str())
        }
        _ => false,
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
