//! Ranges of versions in `dependencies`, as helm reads them (helm.sh/docs/topics/charts, github.com/Masterminds/semver).

use semver::{Version, VersionReq};

/// What the version of a dependency must become so that it takes `version`: as it is where that holds, else
/// raised in the same manner. None for a range whose manner can't be told.
pub fn raised(range: &str, version: &Version) -> Option<String> {
    if holds(range, version)? {
        return Some(range.to_owned());
    }
    let start = range.trim().find(|c: char| c.is_ascii_digit())?;
    let (operator, old) = range.trim().split_at(start);
    // `^0.1.0` goes on as `^0.2.0`; what a list of conditions is meant to be, only its author knows.
    let simple = ["", "=", "^", "~", "v"].contains(&operator.trim()) && Version::parse(old).is_ok();
    simple.then(|| format!("{operator}{version}"))
}

/// Whether a version is in the range; none if the range is in a form that isn't known here.
fn holds(range: &str, version: &Version) -> Option<bool> {
    let alternatives = range.split("||").map(alternative).collect::<Option<Vec<_>>>()?;
    Some(alternatives.iter().any(|range| range.matches(version)))
}

/// Conditions that must hold together, separated by commas or spaces.
fn alternative(text: &str) -> Option<VersionReq> {
    let mut parts: Vec<String> = Vec::new();
    let mut operator = String::new();
    for word in text
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty())
    {
        if word.chars().all(|c| "<>=^~".contains(c)) {
            operator.push_str(word);
            continue;
        }
        parts.push(condition(&format!("{operator}{word}"))?);
        operator.clear();
    }
    if parts.is_empty() || !operator.is_empty() {
        return None;
    }
    VersionReq::parse(&parts.join(", ")).ok()
}

/// One condition as Rust's semver writes it: there a bare `1.2.3` means `^1.2.3`, here exactly that.
fn condition(text: &str) -> Option<String> {
    let start = text.find(|c: char| c.is_ascii_digit() || "*xXv".contains(c))?;
    let (operator, version) = text.split_at(start);
    let version = version.trim_start_matches('v');
    let operator = match operator {
        "" | "=" if version.chars().any(|c| "*xX".contains(c)) => "",
        "" | "=" if Version::parse(version).is_ok() => "=",
        // `1.2` means any 1.2.
        "" | "=" => return Some(format!("{version}.*")),
        "=>" => ">=",
        "=<" => "<=",
        "<" | "<=" | ">" | ">=" | "^" | "~" => operator,
        _ => return None,
    };
    Some(format!("{operator}{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_kept_where_it_holds_and_raised_in_its_manner_where_not() {
        for (range, version, wanted) in [
            ("0.1.0", "0.1.1", Some("0.1.1")),
            ("=0.1.0", "0.2.0", Some("=0.2.0")),
            ("^0.1.0", "0.1.9", Some("^0.1.0")),
            ("^0.1.0", "0.2.0", Some("^0.2.0")),
            ("~1.2.0", "1.3.0", Some("~1.3.0")),
            ("1.x", "1.9.0", Some("1.x")),
            ("1.x", "2.0.0", None),
            ("1.2", "1.2.9", Some("1.2")),
            (">=0.1.0 <0.3.0", "0.2.0", Some(">=0.1.0 <0.3.0")),
            (">= 0.1.0, < 0.3.0", "0.3.0", None),
            ("0.1.x || 0.2.x", "0.2.1", Some("0.1.x || 0.2.x")),
            ("*", "7.0.0", Some("*")),
            ("!=1.0.0", "1.0.1", None),
            ("1.0.0 - 2.0.0", "1.5.0", None),
            ("^1.0.0", "2.0.0-rc.1", Some("^2.0.0-rc.1")),
        ] {
            let got = raised(range, &version.parse().unwrap());
            assert_eq!(got.as_deref(), wanted, "{range} {version}");
        }
    }
}
