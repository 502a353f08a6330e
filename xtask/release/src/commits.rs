//! What commits say about a release: how far the version moves, and the lines of its notes.

use std::collections::BTreeSet;

use serde::Serialize;

use super::version::Level;

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its full id.
    pub id: String,
    /// Its whole message.
    pub message: String,
    /// The files that it touches, relative to the workspace.
    pub files: Vec<String>,
}

/// What kind of change a line of the notes tells (Artifact Hub, `artifacthub.io/changes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Something that was not there before.
    Added,
    /// Something that works in another way.
    Changed,
    /// Something that will go.
    Deprecated,
    /// Something that went.
    Removed,
    /// A defect that went.
    Fixed,
    /// Something that attackers could have used.
    Security,
}

/// What one commit means to users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The commit's id, shortened.
    pub commit: String,
    /// Which kind; none if users need not know (docs, tests, chores).
    pub kind: Option<ChangeKind>,
    /// What changed, in one line.
    pub description: String,
    /// What users must do, where the commit breaks something.
    pub breaking: Option<String>,
    /// How far it moves the version.
    pub level: Level,
    /// Whether the message follows conventionalcommits.org; one that doesn't counts as a patch.
    pub conventional: bool,
}

/// What the commits (newest first) mean, oldest first. A commit that another one of them reverts counts
/// no more, and neither does its revert.
pub fn changes(commits: &[Commit]) -> Vec<Change> {
    let mut gone = BTreeSet::new();
    for commit in commits {
        if gone.contains(&commit.id) {
            continue;
        }
        let reverted = reverts(&commit.message);
        let undone: Vec<_> = commits
            .iter()
            .filter(|other| reverted.iter().any(|id| other.id.starts_with(id)))
            .map(|other| other.id.clone())
            .collect();
        if !undone.is_empty() {
            gone.extend(undone);
            gone.insert(commit.id.clone());
        }
    }
    commits
        .iter()
        .rev()
        .filter(|commit| !gone.contains(&commit.id))
        .map(change)
        .collect()
}

/// The ids in `This reverts commit <id>.` and `Refs: <id>, <id>` of a conventional `revert:`.
fn reverts(message: &str) -> Vec<String> {
    let is_revert = message.starts_with("revert") || message.starts_with("Revert ");
    let ids = message.lines().flat_map(|line| {
        let reverted = line.split_once("This reverts commit ").map(|(_, rest)| (rest, 1));
        let listed = line.strip_prefix("Refs: ").filter(|_| is_revert);
        let (rest, most) = reverted.or(listed.map(|rest| (rest, usize::MAX))).unwrap_or_default();
        rest.split(|c: char| !c.is_ascii_hexdigit()).take(most)
    });
    ids.filter(|id| id.len() >= 7).map(str::to_owned).collect()
}

fn change(commit: &Commit) -> Change {
    let short = commit.id.chars().take(10).collect();
    let message = commit.message.replace("\r\n", "\n");
    let Ok(parsed) = git_conventional::Commit::parse(&message) else {
        return Change {
            commit: short,
            kind: Some(ChangeKind::Changed),
            description: one_line(message.lines().next().unwrap_or_default()),
            breaking: None,
            level: Level::Patch,
            conventional: false,
        };
    };
    let breaking = parsed
        .breaking_description()
        .filter(|_| parsed.breaking())
        .map(one_line);
    let about = parsed.type_().as_str().to_ascii_lowercase();
    let security = about == "security" || parsed.scope().is_some_and(|scope| scope == "security");
    let kind = match about.as_str() {
        _ if security => Some(ChangeKind::Security),
        "feat" => Some(ChangeKind::Added),
        "fix" => Some(ChangeKind::Fixed),
        "deprecate" | "deprecated" => Some(ChangeKind::Deprecated),
        "remove" | "removed" => Some(ChangeKind::Removed),
        "perf" | "refactor" | "revert" | "change" => Some(ChangeKind::Changed),
        _ if breaking.is_some() => Some(ChangeKind::Changed),
        _ => None,
    };
    let level = match (&breaking, about.as_str()) {
        (Some(_), _) => Level::Major,
        (None, "feat") => Level::Minor,
        _ => Level::Patch,
    };
    Change {
        commit: short,
        kind,
        description: one_line(parsed.description()),
        breaking,
        level,
        conventional: true,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(id: &str, message: &str) -> Commit {
        Commit {
            id: id.repeat(40 / id.len()),
            message: message.into(),
            files: vec![],
        }
    }

    #[test]
    fn a_message_decides_kind_and_level() {
        for (message, kind, level) in [
            ("feat(tempo): x", Some(ChangeKind::Added), Level::Minor),
            ("fix: x", Some(ChangeKind::Fixed), Level::Patch),
            ("fix!: x", Some(ChangeKind::Fixed), Level::Major),
            (
                "chore: x\n\nBREAKING CHANGE: do y",
                Some(ChangeKind::Changed),
                Level::Major,
            ),
            ("fix(security): x", Some(ChangeKind::Security), Level::Patch),
            ("docs: x", None, Level::Patch),
            ("Say it plainly", Some(ChangeKind::Changed), Level::Patch),
        ] {
            let change = change(&commit("a", message));
            assert_eq!((change.kind, change.level), (kind, level), "{message}");
        }
        let text = "feat!: x\r\n\r\nBREAKING CHANGE: do\r\n  y\r\n";
        assert_eq!(change(&commit("a", text)).breaking.as_deref(), Some("do y"));
    }

    #[test]
    fn a_reverted_commit_and_its_revert_are_silent_and_a_reverted_revert_speaks_again() {
        let feat = commit("a", "feat: x");
        let revert = commit("b", &format!("Revert \"feat: x\"\n\nThis reverts commit {}.", feat.id));
        let again = commit(
            "c",
            &format!("Reapply \"feat: x\"\n\nThis reverts commit {}.", revert.id),
        );
        assert_eq!(changes(&[revert.clone(), feat.clone()]), []);
        let left = changes(&[again, revert.clone(), feat]);
        assert_eq!(left.iter().map(|c| c.level).collect::<Vec<_>>(), [Level::Minor]);
        let (one, two) = (commit("d", "fix: y"), commit("e", "feat: z"));
        let both = commit("f", &format!("revert: y and z\n\nRefs: {}, {:.10}", one.id, two.id));
        assert_eq!(changes(&[both, two, one]), []);
        // What it reverts was released: that is news.
        assert_eq!(changes(&[revert]).len(), 1);
    }
}
