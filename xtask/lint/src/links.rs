//! Links between Markdown files: each leads to a file that is there, and to a heading that it has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use charts::workspace::Workspace;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use walkdir::{DirEntry, WalkDir};

use crate::rules::Finding;

pub(crate) const RULE: &str = "markdown-link";
pub(crate) const SUMMARY: &str =
    "relative links in Markdown lead to a file that is there, and to a heading that it has";

/// What one Markdown file links to, and can be linked to by.
struct Page {
    /// The headings, as GitHub makes anchors of them.
    anchors: BTreeSet<String>,
    /// Lines, from 1, with the links on them.
    links: Vec<(usize, String)>,
}

/// The links of the workspace's Markdown files that lead nowhere.
pub fn judge(workspace: &Workspace) -> Result<Vec<Finding>> {
    let mut pages = BTreeMap::new();
    let entries = WalkDir::new(workspace.root()).sort_by_file_name().into_iter();
    for entry in entries.filter_entry(|entry| entry.depth() == 0 || ours(entry)) {
        let path = entry?.into_path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs_err::read_to_string(&path)?;
            pages.insert(path.canonicalize()?, (path, page(&text)));
        }
    }
    let mut findings = Vec::new();
    for (path, page) in pages.values() {
        for (line, link) in &page.links {
            findings.extend(wrong(&pages, path, link).map(|message| Finding {
                file: workspace.shown(path).to_string(),
                line: Some(*line),
                rule: RULE.into(),
                message,
                remedy: "correct the link, or bring back what it leads to".into(),
            }));
        }
    }
    Ok(findings)
}

/// Neither hidden, nor what builds and package managers leave.
fn ours(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    !name.starts_with('.') && name != "target" && name != "node_modules"
}

/// Why a link leads nowhere, if it does; those to other places aren't looked at.
fn wrong(pages: &BTreeMap<PathBuf, (PathBuf, Page)>, from: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let to = match file {
        "" => from.to_path_buf(),
        file => from.parent()?.join(file),
    };
    let Ok(to) = to.canonicalize() else {
        return Some(format!("there is no file {file}"));
    };
    let (_, page) = pages.get(&to)?;
    let known = anchor.is_empty() || page.anchors.contains(anchor);
    (!known).then(|| format!("{link}: there is no heading with the anchor #{anchor}"))
}

fn page(text: &str) -> Page {
    let (mut anchors, mut links) = (BTreeSet::new(), Vec::new());
    let mut heading: Option<String> = None;
    for (event, place) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let anchor = anchor(&heading.take().unwrap_or_default());
                let again = (1..).map(|n| format!("{anchor}-{n}"));
                let free = std::iter::once(anchor.clone())
                    .chain(again)
                    .find(|name| !anchors.contains(name));
                anchors.extend(free);
            }
            Event::Text(words) | Event::Code(words) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&words);
                }
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                let line = text[..place.start].matches('\n').count() + 1;
                links.push((line, dest_url.into_string()));
            }
            _ => {}
        }
    }
    Page { anchors, links }
}

/// The anchor of a heading: small letters, hyphens in place of spaces, and no other punctuation.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let kept = heading.chars().filter(kept).flat_map(char::to_lowercase);
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = folder.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let findings = judge(&Workspace::at(folder.path())).unwrap().into_iter();
        let line = |finding: &Finding| finding.line.unwrap_or_default();
        findings
            .map(|finding| format!("{}:{}: {}", finding.file, line(&finding), finding.message))
            .collect()
    }

    #[test]
    fn links_to_files_folders_and_headings_that_are_there_are_right() {
        let readme = "# A\n\n[b](docs/b.md#what-it-costs-a-day) [c](docs) [d](#a) [e](https://example.com/no#x)\n";
        let page = "# B\n\n## What `it` costs, a day\n\n[up](../README.md#a)\n\n```\n[x](none.md)\n```\n";
        assert_eq!(found(&[("README.md", readme), ("docs/b.md", page)]), [""; 0]);
    }

    #[test]
    fn a_link_to_a_missing_file_or_heading_is_found_with_its_line() {
        let readme = "# A\n\n[b](b.md)\n| x |\n| --- |\n| [c](docs/c.md#no) |\n\n[d](#b)\n";
        assert_eq!(
            found(&[
                ("README.md", readme),
                ("docs/c.md", "# C\n"),
                ("target/d.md", "[e](e.md)\n")
            ]),
            [
                "README.md:3: there is no file b.md",
                "README.md:6: docs/c.md#no: there is no heading with the anchor #no",
                "README.md:8: #b: there is no heading with the anchor #b",
            ]
        );
    }

    #[test]
    fn a_heading_that_stands_twice_has_two_anchors() {
        let text = "# Do\n\n# Do\n\n[first](#do) [second](#do-1) [third](#do-2)\n";
        assert_eq!(found(&[("a.md", text)]).len(), 1);
    }
}
