//! YAML as helm reads it: by the rules of YAML 1.1 (sigs.k8s.io/yaml), in which `on` is true and 0644 is 420.

use anyhow::{Context, Result};
use granit_parser::{Event, Parser, ScalarStyle};
use serde_yaml::Value;

/// The value of a text. What YAML 1.1 reads otherwise than 1.2 is written as 1.2 has it before it is parsed.
pub(super) fn parse(text: &str) -> Result<Value> {
    let mut modern = String::new();
    let mut done = 0;
    for event in Parser::new_from_str(text) {
        // What is no YAML has a better message from the parser below.
        let Ok((event, span)) = event else { break };
        let (Event::Scalar(scalar, ScalarStyle::Plain, _, None), Some(bytes)) = (event, span.byte_range()) else {
            continue;
        };
        if let Some(meant) = otherwise(&scalar).filter(|_| bytes.start >= done) {
            modern.push_str(text.get(done..bytes.start).context("a place inside the text")?);
            modern.push_str(&meant);
            done = bytes.end;
        }
    }
    modern.push_str(text.get(done..).context("a place inside the text")?);
    Ok(serde_yaml::from_str(&modern)?)
}

/// How YAML 1.2 writes what 1.1 reads in a scalar without quotes; none where both read the same.
fn otherwise(plain: &str) -> Option<String> {
    match plain {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Some("true".to_owned()),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Some("false".to_owned()),
        _ => {}
    }
    let (sign, digits) = match plain.split_at_checked(1) {
        Some(("-", rest)) => ("-", rest),
        Some(("+", rest)) => ("", rest),
        _ => ("", plain),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = digits.replace('_', "");
    let number = if let Some(binary) = digits.strip_prefix("0b") {
        i64::from_str_radix(binary, 2).ok()?
    } else if digits.len() > 1 && digits.starts_with('0') && digits.chars().all(|c| ('0'..='7').contains(&c)) {
        i64::from_str_radix(&digits, 8).ok()?
    } else if digits.chars().all(|c| c.is_ascii_digit()) {
        digits.parse().ok()?
    } else {
        let float = plain.contains('_') && digits.parse::<f64>().is_ok();
        return float.then(|| format!("{sign}{digits}"));
    };
    Some(format!("{sign}{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_what_helm_makes_of_them() {
        let text = "{a: on, b: 0644, c: 1_000, d: y, e: NO, f: 0b11, g: 09, h: 1:30, i: 'on', j: -0644, k: 1_0.5, l: +1, \
                    m: [off, yes], o: on/off}";
        let wanted = "{a: true, b: 420, c: 1000, d: true, e: false, f: 3, g: 9, h: '1:30', i: 'on', j: -420, k: 10.5, \
                      l: 1, m: [false, true], o: on/off}";
        assert_eq!(parse(text).unwrap(), serde_yaml::from_str::<Value>(wanted).unwrap());
    }

    #[test]
    fn all_else_stays_as_it_is() {
        let text = "# on\na: |\n  on\n  0644\nb: \"on\"\nc: !!str on\nd: 2.10\n";
        assert_eq!(parse(text).unwrap(), serde_yaml::from_str::<Value>(text).unwrap());
    }
}
