//! YAML as helm reads it: `yes`, `no`, `on`, `off` are Booleans and `0644` is octal (YAML 1.1), while the
//! library here follows YAML 1.2, where they are texts.

use anyhow::{Context, Result};
use granit_parser::{Event, Parser, ScalarStyle};
use serde_yaml::Value;

/// Reads a text with helm's eyes; merge keys (`<<`) are merged.
pub(crate) fn read(text: &str) -> Result<Value> {
    let text = replace_plain(text, |plain| match plain {
        _ if is_boolean(plain, true) => Some("true".to_owned()),
        _ if is_boolean(plain, false) => Some("false".to_owned()),
        _ => octal(plain).map(|number| number.to_string()),
    })?;
    let mut value: Value = serde_yaml::from_str(&text)?;
    value.apply_merge()?;
    Ok(value)
}

/// Writes a value so that helm reads the same.
pub fn write(value: &Value) -> Result<String> {
    let text = serde_yaml::to_string(value).context("writing YAML")?;
    replace_plain(&text, |plain| {
        let ambiguous = is_boolean(plain, true) || is_boolean(plain, false) || octal(plain).is_some();
        ambiguous.then(|| format!("'{plain}'"))
    })
}

fn is_boolean(plain: &str, value: bool) -> bool {
    let words = if value { ["y", "yes", "on"] } else { ["n", "no", "off"] };
    let lower = plain.to_lowercase();
    // `yes`, `Yes` and `YES`, but not `yEs`.
    words.contains(&lower.as_str()) && (plain[1..] == lower[1..] || plain == lower.to_uppercase())
}

fn octal(plain: &str) -> Option<u32> {
    let digits = plain.strip_prefix('0').filter(|digits| !digits.is_empty())?;
    u32::from_str_radix(digits, 8).ok()
}

/// Replaces scalars that stand without quotes.
fn replace_plain(text: &str, new: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut result = String::new();
    let mut copied = 0;
    for event in Parser::new_from_str(text) {
        if let (Event::Scalar(plain, ScalarStyle::Plain, ..), span) = event?
            && let Some(new) = new(&plain)
        {
            let bytes = span.byte_range().context("the parser knows no place")?;
            result.push_str(&text[copied..bytes.start]);
            result.push_str(&new);
            copied = bytes.end;
        }
    }
    result.push_str(&text[copied..]);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_mean_what_they_mean_to_helm() {
        let value = read("{a: yes, b: Off, c: 'no', d: 0644, e: '0644', f: yEs, g: \"on\"}").unwrap();
        let wanted = "{a: true, b: false, c: 'no', d: 420, e: '0644', f: yEs, g: 'on'}";
        assert_eq!(value, serde_yaml::from_str::<Value>(wanted).unwrap());
        assert_eq!(
            write(&value).unwrap(),
            "a: true\nb: false\nc: 'no'\nd: 420\ne: '0644'\nf: yEs\ng: 'on'\n"
        );
        let merged = read("x: &x {a: 1}\nz: {<<: *x, b: 2}").unwrap();
        assert_eq!(merged["z"]["a"], Value::from(1));
    }
}
