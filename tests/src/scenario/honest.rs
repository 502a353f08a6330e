//! No scenario records a check that can't fail.

use std::path::Path;

/// The arguments of every call of a recorder's method, as they are written.
fn calls<'a>(source: &'a str, method: &str) -> Vec<Vec<&'a str>> {
    let starts = source.match_indices(method).map(|(at, _)| at + method.len());
    starts.map(|at| arguments(&source[at..])).collect()
}

/// What stands between commas up to the closing bracket of a call.
fn arguments(call: &str) -> Vec<&str> {
    let (mut depth, mut in_text, mut escaped, mut from) = (0, false, false, 0);
    let mut arguments = Vec::new();
    for (at, letter) in call.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = in_text,
            '"' => in_text = !in_text,
            _ if in_text => {}
            '(' | '[' | '{' => depth += 1,
            ',' if depth == 0 => {
                arguments.push(call[from..at].trim());
                from = at + 1;
            }
            ')' if depth == 0 => {
                arguments.push(call[from..at].trim());
                break;
            }
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    arguments
}

#[test]
fn no_check_is_recorded_with_a_literal_true() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scenario");
    let mut seen = 0;
    for entry in walkdir::WalkDir::new(&folder).into_iter().flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "rs") || entry.path().ends_with("honest.rs") {
            continue;
        }
        let source = std::fs::read_to_string(entry.path()).unwrap();
        for (method, verdict) in [(".check(", 1), (".measure(", 3)] {
            // A cancel has a `check` too, without arguments.
            for call in calls(&source, method).iter().filter(|call| call.len() > verdict) {
                seen += 1;
                assert_ne!(
                    call[verdict],
                    "true",
                    "{}: {call:?} is a measurement",
                    entry.path().display()
                );
            }
        }
    }
    assert!(seen > 60, "only {seen} checks were found");
}

#[test]
fn arguments_are_told_apart() {
    let call = "format!(\"a, {b}) \\\" c\"), true, detail(x, y));";
    assert_eq!(arguments(call), ["format!(\"a, {b}) \\\" c\")", "true", "detail(x, y)"]);
}
