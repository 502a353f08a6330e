//! Which files of a chart `helm package` leaves out (helm.sh/docs/chart_template_guide/helm_ignore_file).

use std::path::Path;

use regex::Regex;

/// What helm leaves out of every chart (pkg/ignore `AddDefaults`).
const DEFAULTS: &str = "templates/.?*";

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
    /// It begins with `!`: to helm, all that doesn't match stays out.
    negated: bool,
}

impl Ignore {
    /// Reads `dir/.helmignore`.
    pub fn of_chart(dir: &Path) -> Ignore {
        Ignore::parse(&std::fs::read_to_string(dir.join(".helmignore")).unwrap_or_default())
    }

    fn parse(text: &str) -> Ignore {
        let lines = text.lines().chain([DEFAULTS]).map(str::trim);
        let patterns = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ignore {
            patterns: patterns.filter_map(Pattern::parse).collect(),
        }
    }

    /// Whether a file, given relative to the chart, stays out of the package: itself, or a folder above it.
    pub(crate) fn leaves_out(&self, file: &str) -> bool {
        // The patterns themselves are of no use in a package, but helm takes them along.
        let parts: Vec<&str> = file.split('/').collect();
        (1..=parts.len()).any(|n| self.ignores(&parts[..n], n < parts.len()))
    }

    /// As pkg/ignore `Rules.Ignore`: the first pattern that decides.
    fn ignores(&self, parts: &[&str], is_folder: bool) -> bool {
        self.patterns.iter().any(|pattern| {
            let matches = match pattern.whole {
                true => pattern.regex.is_match(&parts.join("/")),
                false => parts.last().is_some_and(|name| pattern.regex.is_match(name)),
            };
            match pattern.negated {
                true => pattern.folder && !is_folder || !matches,
                false => (is_folder || !pattern.folder) && matches,
            }
        })
    }
}

impl Pattern {
    /// As Go's `path/filepath.Match`: `*` stands for any characters but `/`, `?` for one, `[a-z]` and `[^a-z]`
    /// for one of a class, and a backslash takes the meaning from the next character.
    fn parse(text: &str) -> Option<Pattern> {
        let negated = text.starts_with('!');
        let name = text.trim_start_matches('!').trim_end_matches('/');
        let mut regex = String::from("^");
        let mut chars = name.trim_start_matches('/').chars();
        let mut class = false;
        while let Some(c) = chars.next() {
            match c {
                '*' if !class => regex.push_str("[^/]*"),
                '?' if !class => regex.push_str("[^/]"),
                '[' if !class => {
                    class = true;
                    regex.push('[');
                }
                ']' if class => {
                    class = false;
                    regex.push(']');
                }
                '^' | '-' if class => regex.push(c),
                '\\' => regex.push_str(&regex::escape(&chars.next()?.to_string())),
                c => regex.push_str(&regex::escape(&c.to_string())),
            }
        }
        Some(Pattern {
            regex: Regex::new(&format!("{regex}$")).ok()?,
            folder: text.ends_with('/'),
            whole: name.contains('/'),
            negated,
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
            ("templates/.gitkeep", true),
            ("templates/deep/.gitkeep", false),
            ("files/.gitkeep", false),
        ] {
            assert_eq!(ignore.leaves_out(file), out, "{file}");
        }
        let classes = Ignore::parse("[a-c]?.txt\n\\#kept\n[^x].md\n");
        for (file, out) in [
            ("b1.txt", true),
            ("d1.txt", false),
            ("#kept", true),
            ("y.md", true),
            ("x.md", false),
        ] {
            assert_eq!(classes.leaves_out(file), out, "{file}");
        }
    }

    #[test]
    fn a_negation_leaves_out_what_it_does_not_match() {
        let ignore = Ignore::parse("!*.yaml\n");
        assert!(ignore.leaves_out("README.md") && !ignore.leaves_out("values.yaml"));
    }
}
