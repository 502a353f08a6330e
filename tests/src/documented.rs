//! The commands that a README prints.

/// The commands of the `sh` blocks of a README, continued lines joined.
pub fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let (mut inside, mut line) = (false, String::new());
    for raw in text.lines().map(str::trim) {
        match (raw, inside) {
            ("```sh", _) => inside = true,
            ("```", _) => inside = false,
            (raw, true) => {
                line.push_str(raw.trim_end_matches('\\').trim());
                if raw.ends_with('\\') {
                    line.push(' ');
                } else {
                    commands.push(std::mem::take(&mut line));
                }
            }
            _ => {}
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_commands_are_those_of_sh_blocks_with_their_continuations() {
        let text = "helm no\n```sh\nhelm a \\\n  --b c\ncurl d\n```\n```yaml\nx: y\n```\n";
        assert_eq!(commands(text), ["helm a --b c", "curl d"]);
    }
}
