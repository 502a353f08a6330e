//! What a block of comment lines says about the key below it.

use serde_json::Map;

use super::Annotation;
use super::comments::Comment;

const SCHEMA: &str = "@schema";
const DESCRIPTION: &str = "--";

/// A comment block, read.
#[derive(Debug, Default)]
pub(super) struct Description {
    /// The text from `--` on.
    pub marked: Option<String>,
    /// The text of a block without `--`.
    pub plain: Option<String>,
    /// The `@schema` line.
    pub annotation: Option<Annotation>,
    /// What can't be used, with its line.
    pub problems: Vec<(usize, String)>,
}

/// Whether a comment line is meant for the generator.
pub(super) fn is_marked(text: &str) -> bool {
    text.starts_with(DESCRIPTION) || text.starts_with('@')
}

/// Reads the comment lines above one key.
pub(super) fn read(comments: &[Comment]) -> Description {
    let mut description = Description::default();
    for comment in comments {
        let text = comment.text.trim();
        if let Some(flow) = text.strip_prefix(SCHEMA) {
            match annotation(comment.line, flow) {
                Ok(_) if description.annotation.is_some() => {
                    description
                        .problems
                        .push((comment.line, "a second @schema for one key".into()));
                }
                Ok(annotation) => description.annotation = Some(annotation),
                Err(why) => description.problems.push((comment.line, why)),
            }
        } else if text.starts_with('@') {
            description
                .problems
                .push((comment.line, format!("unknown marker in `# {text}`")));
        } else if let Some(first) = text.strip_prefix(DESCRIPTION) {
            if description.marked.is_some() {
                description
                    .problems
                    .push((comment.line, "a second description for one key".into()));
            }
            description.marked = Some(first.trim().to_owned());
        } else if !text.is_empty() {
            let target = if description.marked.is_some() {
                &mut description.marked
            } else {
                &mut description.plain
            };
            append(target, text);
        }
    }
    description.marked = description.marked.filter(|text| !text.is_empty());
    description
}

fn append(target: &mut Option<String>, line: &str) {
    let text = target.get_or_insert_default();
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(line);
}

fn annotation(line: usize, flow: &str) -> Result<Annotation, String> {
    let broken = |why: &str| format!("@schema is not a YAML flow mapping: {why}");
    if !flow.trim_start().starts_with('{') {
        return Err(broken("it doesn't start with a brace"));
    }
    let keywords: Map<String, serde_json::Value> =
        serde_yaml::from_str(flow).map_err(|error| broken(&error.to_string()))?;
    Ok(Annotation { line, keywords })
}
