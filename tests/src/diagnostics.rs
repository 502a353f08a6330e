//! Finding the first cause of a failure, in the program's own words.

use std::sync::LazyLock;

use regex::Regex;

/// How many lines belong to one message: both programs explain themselves over several.
const MESSAGE_LINES: usize = 4;

/// A line in which a program says that something went wrong.
static TROUBLE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)level=error|\terror\t|^error:|^panic:|\bfatal\b|\bfailed (parsing|to)\b").ok());
/// A line of a lower level that speaks of trouble all the same: a retry, a start that is not through.
static HARMLESS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"level=(warn|info|debug)|\t(warn|info|debug)\t").ok());
/// A line that continues the one above it: indented, a bullet, or a quoted key path.
static CONTINUED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^(\s|\*|-|'|\})").ok());

/// The first message about trouble after the last start that a log tells of.
pub(crate) fn first_cause(log: &str) -> Option<String> {
    let last_start = log.rfind("=== start ").unwrap_or(0);
    let lines: Vec<&str> = log[last_start..]
        .lines()
        .skip(1)
        .filter(|line| !line.trim().is_empty())
        .collect();
    let trouble = TROUBLE.as_ref()?;
    let continued = CONTINUED.as_ref()?;
    let harmless = HARMLESS.as_ref()?;
    let at = lines
        .iter()
        .position(|line| trouble.is_match(line) && !harmless.is_match(line))?;
    let message: Vec<&str> = std::iter::once(lines[at])
        .chain(
            lines[at + 1..]
                .iter()
                .take(MESSAGE_LINES)
                .take_while(|line| continued.is_match(line))
                .copied(),
        )
        .map(str::trim)
        .collect();
    Some(message.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_the_first_trouble_after_the_last_start() {
        let log = "=== start 1: x\nError: old\n=== start 2: x\nlevel=info msg=fine\nfailed parsing config: yaml: unmarshal errors:\n  line 2: field nope not found\nbye\n";
        let cause = first_cause(log).unwrap();
        assert_eq!(
            cause,
            "failed parsing config: yaml: unmarshal errors: line 2: field nope not found"
        );
    }

    #[test]
    fn a_healthy_log_has_no_cause() {
        assert_eq!(first_cause("=== start 1: x\nlevel=info msg=\"Tempo started\"\n"), None);
    }
}
