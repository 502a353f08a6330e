//! Metrics in the Prometheus text format
//! (prometheus.io/docs/instrumenting/exposition_formats, "Text-based format").
//!
//! Of the crates for this, prometheus-parse splits label values at `}` and `,` and skips what it
//! doesn't understand; Tempo's routes have both characters in labels.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// One line of a scrape.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    /// The metric's name, with `_total`, `_bucket`, … as it is printed.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// All series that a program showed at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Scrape {
    series: Vec<Series>,
}

impl Scrape {
    /// Reads the text of `/metrics`. An error names the first line that isn't in the format.
    pub fn parse(text: &str) -> Result<Scrape> {
        let lines = text.lines().map(str::trim).enumerate();
        let samples = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let series = samples
            .map(|(n, line)| series(line).with_context(|| format!("line {} of the metrics: {line:?}", n + 1)))
            .collect::<Result<_>>()?;
        Ok(Scrape { series })
    }

    /// The series with that name and at least those labels.
    pub fn select<'a>(&'a self, name: &'a str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a Series> {
        self.series.iter().filter(move |series| {
            series.name == name && labels.iter().all(|(key, value)| series.label(key) == Some(value))
        })
    }

    /// The sum of these series; none if there isn't any, because a counter that nobody has incremented
    /// may be absent and a misspelt one always is.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.select(name, labels).map(|s| s.value).reduce(|a, b| a + b)
    }
}

impl Series {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

/// `name{label="value",…} value [timestamp]`
fn series(line: &str) -> Result<Series> {
    let end = line.find(['{', ' ', '\t']).context("no value")?;
    let (name, mut rest) = line.split_at(end);
    let mut all = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        (all, rest) = labels(inside)?;
    }
    let value = rest.split_whitespace().next().context("no value")?;
    // Rust reads NaN, +Inf and -Inf as Go writes them.
    let value = value.parse().with_context(|| format!("the value {value:?}"))?;
    if name.is_empty() {
        bail!("no name");
    }
    Ok(Series {
        name: name.into(),
        labels: all,
        value,
    })
}

/// Reads up to the closing brace, and gives back what follows it.
fn labels(mut text: &str) -> Result<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, rest) = text.split_once("=\"").context("a label without a value")?;
        let (value, rest) = quoted(rest)?;
        labels.insert(name.trim().to_owned(), value);
        text = rest;
    }
}

/// Reads up to the closing quote, and gives back what follows it.
fn quoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c)) => value.push(c),
                None => break,
            },
            c => value.push(c),
        }
    }
    bail!("a label value without an end")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP tempo_spans_total Spans "so far" {x="y"}
# TYPE tempo_spans_total counter
tempo_spans_total{tenant="a",route="/api/traces/{id}, v2"} 3
tempo_spans_total{tenant="b",route="say \"hi\"\\\n",} 4.5 1700000000000

up 1
lag{} NaN
top_bucket{le="+Inf"} +Inf
"#;

    #[test]
    fn sums_are_over_the_series_that_have_the_labels() {
        let scrape = Scrape::parse(TEXT).unwrap();
        assert_eq!(scrape.sum("tempo_spans_total", &[]), Some(7.5));
        assert_eq!(scrape.sum("tempo_spans_total", &[("tenant", "a")]), Some(3.0));
        assert_eq!(scrape.sum("tempo_spans_total", &[("tenant", "c")]), None);
        assert_eq!(scrape.sum("tempo_spans", &[]), None);
        assert_eq!(scrape.select("tempo_spans_total", &[]).count(), 2);
        assert_eq!(scrape.series.len(), 5);
    }

    #[test]
    fn label_values_may_hold_every_character() {
        let scrape = Scrape::parse(TEXT).unwrap();
        let routes: Vec<_> = scrape.series.iter().filter_map(|s| s.label("route")).collect();
        assert_eq!(routes, ["/api/traces/{id}, v2", "say \"hi\"\\\n"]);
        assert_eq!(scrape.sum("top_bucket", &[("le", "+Inf")]), Some(f64::INFINITY));
    }

    #[test]
    fn what_is_not_in_the_format_is_an_error_with_its_line() {
        for bad in ["up", "up{a=\"b} 1", "up{a} 1", "up one", "{a=\"b\"} 1", "<html>"] {
            let error = Scrape::parse(&format!("ok 1\n{bad}\n")).unwrap_err();
            assert!(error.to_string().contains("line 2"), "{bad}: {error}");
        }
    }
}
