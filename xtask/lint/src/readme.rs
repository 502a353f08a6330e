//! The front page stays one that is read to its end: details belong to the README of their folder.

use anyhow::Result;
use charts::workspace::Workspace;

use crate::rules::Finding;

pub(crate) const RULE: &str = "readme-length";
pub(crate) const SUMMARY: &str = "README.md has at most 200 lines";

const LONGEST: usize = 200;

/// The finding in a workspace whose README.md is too long.
pub fn judge(workspace: &Workspace) -> Result<Option<Finding>> {
    let file = workspace.root().join("README.md");
    if !file.exists() {
        return Ok(None);
    }
    let lines = fs_err::read_to_string(&file)?.lines().count();
    let finding = || Finding {
        file: "README.md".into(),
        line: Some(LONGEST + 1),
        rule: RULE.into(),
        message: format!("{lines} lines, {LONGEST} are allowed"),
        remedy: "move details to the README of the folder that they are about".into(),
    };
    Ok((lines > LONGEST).then(finding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_page_of_more_than_200_lines_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(folder.path());
        assert_eq!(judge(&workspace).unwrap(), None);
        let found = |lines: usize| {
            fs_err::write(folder.path().join("README.md"), "line\n".repeat(lines)).unwrap();
            judge(&workspace).unwrap()
        };
        assert_eq!(found(200), None);
        assert_eq!(found(201).unwrap().message, "201 lines, 200 are allowed");
    }
}
