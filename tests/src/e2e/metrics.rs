//! A program's own metrics, as its `/metrics` answers them.

use anyhow::{Context, Result};
use prometheus_parse::{Sample, Scrape, Value};

/// One answer of `/metrics`.
#[derive(Debug)]
pub struct Metrics(Vec<Sample>);

impl Metrics {
    /// Parses the Prometheus text format.
    pub fn parse(text: &str) -> Result<Metrics> {
        let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).context("parsing metrics")?;
        Ok(Metrics(scrape.samples))
    }

    /// The sum of all series of this name that have these labels; none if there is no such series.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let matching = self
            .0
            .iter()
            .filter(|s| s.metric == name && labels.iter().all(|(k, v)| s.labels.get(k) == Some(v)));
        let values = matching.filter_map(|sample| match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => Some(value),
            Value::Histogram(_) | Value::Summary(_) => None,
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_labels() {
        let metrics = Metrics::parse("# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\n# TYPE b gauge\nb 7\n").unwrap();
        assert_eq!(metrics.sum("a", &[]), Some(5.0));
        assert_eq!(metrics.sum("a", &[("x", "2")]), Some(3.0));
        assert_eq!((metrics.sum("b", &[]), metrics.sum("c", &[])), (Some(7.0), None));
    }
}
