//! The notes of a release, from the commits that touch the chart and what it depends on.

use std::path::Path;

use anyhow::{Context, Result};
use charts::workspace::Chart;
use semver::Version;
use serde::Serialize;
use tera::{Context as Data, Tera};

use super::changed::History;
use super::commits::{Change, ChangeKind};
use super::upgrading::version_of;

/// The layout, relative to the workspace.
pub const TEMPLATE: &str = "ci/templates/release-notes.md.tera";
const TITLE: &str = "# Changelog\n";

/// The notes of one version of a chart.
#[derive(Debug, Clone, Serialize)]
pub struct Notes {
    /// The chart's name.
    pub chart: String,
    /// The version.
    pub version: Version,
    /// The version before it; none if it is the first.
    pub previous: Option<Version>,
    /// Markdown, without a heading for the version.
    pub text: String,
}

#[derive(Debug, Serialize)]
struct Section {
    title: &'static str,
    changes: Vec<Line>,
}

#[derive(Debug, Clone, Serialize)]
struct Line {
    text: String,
    commit: String,
}

#[derive(Debug, Serialize)]
struct Update<'a> {
    name: &'a str,
    version: &'a str,
}

const TITLES: [(ChangeKind, &str); 6] = [
    (ChangeKind::Security, "Security"),
    (ChangeKind::Added, "Added"),
    (ChangeKind::Changed, "Changed"),
    (ChangeKind::Deprecated, "Deprecated"),
    (ChangeKind::Removed, "Removed"),
    (ChangeKind::Fixed, "Fixed"),
];

/// The notes of a chart's version: from its previous tag to its own, or to HEAD where it has none yet.
/// A shallow clone that lacks the previous tag is an error of [`kit::failure::Kind::Environment`].
pub fn of(root: &Path, history: &History, chart: &Chart) -> Result<Notes> {
    let version = chart.metadata.version.clone();
    let mut releases = history.git.releases(chart.name(), Some("HEAD"))?;
    releases.retain(|(other, _)| other.cmp_precedence(&version).is_lt());
    // What the candidates of a final version brought is news to whoever skipped them.
    releases.retain(|(other, _)| !version.pre.is_empty() || other.pre.is_empty());
    let previous = releases.pop();
    match &previous {
        // It also checks that a shallow clone reaches back that far.
        Some((_, tag)) => drop(history.git.merge_base(tag)?),
        None if history.git.shallow => {
            let why = format!("no tag of {} below {version} is in this shallow clone", chart.name());
            return Err(history.git.undecided(&why));
        }
        None => history.git.never_tagged(chart.name())?,
    }
    let from = previous.as_ref().map(|(_, tag)| tag.as_str());
    let until = history.git.tagged(chart.name(), &version)?;
    let changes = history.changes(chart, from, until.as_deref().unwrap_or("HEAD"))?;
    Ok(Notes {
        chart: chart.name().to_owned(),
        text: render(root, chart, &changes, previous.is_some())?,
        previous: previous.map(|(version, _)| version),
        version,
    })
}

fn render(root: &Path, chart: &Chart, changes: &[Change], follows: bool) -> Result<String> {
    let line = |change: &Change, text: &str| Line {
        text: escaped(text),
        commit: change.commit.clone(),
    };
    let breaking: Vec<Line> = changes
        .iter()
        .filter_map(|c| c.breaking.as_ref().map(|text| line(c, text)))
        .collect();
    let section = |(kind, title): (ChangeKind, &'static str)| {
        let of_kind = changes
            .iter()
            .filter(|c| c.kind == Some(kind) && c.breaking.as_ref() != Some(&c.description));
        let changes: Vec<Line> = of_kind.map(|c| line(c, &c.description)).collect();
        (!changes.is_empty()).then_some(Section { title, changes })
    };
    let sections: Vec<Section> = TITLES.into_iter().filter_map(section).collect();
    let dependencies = chart.metadata.dependencies.iter().map(|d| Update {
        name: &d.name,
        version: &d.version,
    });
    let path = root.join(TEMPLATE);
    let template = fs_err::read_to_string(&path)?;
    let mut data = Data::new();
    data.insert("chart", chart.name());
    data.insert("breaking", &breaking);
    data.insert("sections", &sections);
    data.insert("dependencies", &dependencies.collect::<Vec<_>>());
    data.insert("upgrading", &chart.dir.join("UPGRADING.md").is_file());
    data.insert("first", &!follows);
    // Markdown, not HTML: nothing is escaped.
    let text = Tera::one_off(&template, &data, false).with_context(|| format!("rendering {TEMPLATE}"))?;
    Ok(format!("{}\n", text.trim()))
}

/// The text of CHANGELOG.md with the section of this version, newest first; what it said of the other
/// versions stays, and so does what stands above the first, a section of what isn't released among it. Its line
/// ends stay what they are.
pub fn changelog(old: &str, notes: &Notes) -> String {
    let windows = old.contains("\r\n");
    let old = old.replace("\r\n", "\n");
    let old = if old.trim().is_empty() { TITLE } else { &old };
    // Where a section begins, and the version that it is of.
    let mut sections: Vec<(usize, &str)> = Vec::new();
    let (mut at, mut fenced) = (0, false);
    for line in old.split_inclusive('\n') {
        fenced ^= line.trim_start().starts_with("```");
        if line.starts_with("## ") && !fenced {
            sections.push((at, line.trim_end()));
        }
        at += line.len();
    }
    let is_ours = |(_, line): &(usize, &str)| version_of(line).as_ref() == Some(&notes.version);
    let (heading, before, after) = match sections.iter().position(is_ours) {
        Some(n) => {
            let end = sections.get(n + 1).map_or("", |(end, _)| &old[*end..]);
            (sections[n].1.to_owned(), &old[..sections[n].0], end)
        }
        None => {
            let first = sections.iter().find(|(_, line)| version_of(line).is_some());
            let (before, after) = old.split_at(first.map_or(old.len(), |(at, _)| *at));
            (format!("## {}", notes.version), before, after)
        }
    };
    let mut text = format!("{}\n\n{heading}\n\n{}", before.trim_end(), notes.text);
    if !after.is_empty() {
        text.push('\n');
        text.push_str(after);
    }
    let text = text.trim_start();
    if windows {
        text.replace('\n', "\r\n")
    } else {
        text.to_owned()
    }
}

/// A commit's words as Markdown shows them: what begins like HTML, a comment most of all, would hide what
/// follows. Code between backticks is shown as it is.
fn escaped(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let last = parts.len() - 1;
    let part = |(n, part): (usize, &&str)| match n % 2 == 1 && n < last {
        true => (*part).to_owned(),
        false => part.replace('&', "&amp;").replace('<', "&lt;"),
    };
    parts.iter().enumerate().map(part).collect::<Vec<_>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(version: &str, text: &str) -> Notes {
        Notes {
            chart: "c".into(),
            version: version.parse().unwrap(),
            previous: None,
            text: text.into(),
        }
    }

    #[test]
    fn a_section_is_added_on_top_and_replaced_in_place() {
        let one = changelog("", &notes("0.1.0", "- a\n"));
        assert_eq!(one, "# Changelog\n\n## 0.1.0\n\n- a\n");
        let two = changelog(&one, &notes("0.2.0", "### Added\n\n- b\n"));
        assert_eq!(two, "# Changelog\n\n## 0.2.0\n\n### Added\n\n- b\n\n## 0.1.0\n\n- a\n");
        assert_eq!(changelog(&two, &notes("0.2.0", "### Added\n\n- b\n")), two);
        let three = changelog(&two, &notes("0.2.0", "- c\n"));
        assert_eq!(three, "# Changelog\n\n## 0.2.0\n\n- c\n\n## 0.1.0\n\n- a\n");
        assert_eq!(changelog(&three, &notes("0.1.0", "- d\n")), three.replace("- a", "- d"));
        let kept = changelog("# Ours\n\nAll changes.\n", &notes("0.1.0", "- a\n"));
        assert_eq!(kept, "# Ours\n\nAll changes.\n\n## 0.1.0\n\n- a\n");
    }

    #[test]
    fn what_is_not_released_stays_on_top_and_other_headings_and_line_ends_stay() {
        let old = "# Changelog\r\n\r\n## [Unreleased]\r\n\r\n- c\r\n\r\n## [0.1.0] - 2024-01-02\r\n\r\n- a\r\n";
        let new = changelog(old, &notes("0.2.0", "- b\n"));
        assert_eq!(new, old.replace("## [0.1.0]", "## 0.2.0\r\n\r\n- b\r\n\r\n## [0.1.0]"));
        let again = changelog(&new, &notes("0.1.0", "- d\n"));
        assert_eq!(again, new.replace("- a", "- d"));
        let only = changelog("# C\n\n## Unreleased\n\n- c\n", &notes("0.1.0", "- a\n"));
        assert_eq!(only, "# C\n\n## Unreleased\n\n- c\n\n## 0.1.0\n\n- a\n");
        let fenced = "# C\n\n## 0.2.0\n\n```sh\n## 0.1.0\n```\n\n- b\n";
        assert_eq!(changelog(fenced, &notes("0.2.0", "- d\n")), "# C\n\n## 0.2.0\n\n- d\n");
    }

    #[test]
    fn words_of_a_commit_hide_nothing() {
        for (text, wanted) in [
            ("a <!-- b", "a &lt;!-- b"),
            ("take `<name>` & <x>", "take `<name>` &amp; &lt;x>"),
            ("one ` and <b>", "one ` and &lt;b>"),
        ] {
            assert_eq!(escaped(text), wanted);
        }
    }
}
