//! What Prometheus knows, asked as Grafana asks it.
//!
//! The API: <https://prometheus.io/docs/prometheus/latest/querying/api/>.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::backend::prometheus::{Prometheus, Verb};

/// The labels of a series.
pub(crate) type Labels = BTreeMap<String, String>;

/// Asks a Prometheus with a password.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    prometheus: &'a dyn Prometheus,
    password: &'a str,
}

/// A series of an answer.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Series {
    /// Its labels.
    #[serde(rename = "metric")]
    pub labels: Labels,
    /// The time in seconds since 1970 and the value; none of a native histogram.
    value: Option<(f64, String)>,
}

impl Series {
    /// A label, empty if it has none of that name.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The value; not a number where the series has histograms.
    pub fn value(&self) -> f64 {
        let text = self.value.as_ref().map(|(_, value)| value.as_str());
        text.and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
    }
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Found {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Exemplars {
    exemplars: Vec<Exemplar>,
}

#[derive(Deserialize)]
struct Exemplar {
    labels: Labels,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// A rule as Prometheus last evaluated it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Rule {
    /// Of an alert its name, else the metric that it records.
    pub name: String,
    /// `inactive`, `pending` or `firing`; none of a recording rule.
    pub state: Option<String>,
    /// `ok`, or `err` where it can't be evaluated.
    pub health: String,
    /// Why it can't.
    #[serde(rename = "lastError", default)]
    pub error: String,
}

impl<'a> Client<'a> {
    pub fn new(prometheus: &'a dyn Prometheus, password: &'a str) -> Client<'a> {
        Client { prometheus, password }
    }

    /// Whether it scrapes kubelets.
    pub fn knows_kubelets(&self) -> bool {
        !self.prometheus.kubelets().is_empty()
    }

    /// The series of an instant query now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Series>> {
        let found: Found = self.get("query", &[("query", expression)]).await?;
        Ok(found.result)
    }

    /// The value of each distinct label of an instant query: the sums of the series that have it.
    pub async fn sums(&self, expression: &str, labels: &[&str]) -> Result<BTreeMap<Vec<String>, f64>> {
        let mut sums = BTreeMap::new();
        for series in self.query(expression).await? {
            let key = labels.iter().map(|label| series.label(label).to_owned()).collect();
            *sums.entry(key).or_insert(0.0) += series.value();
        }
        Ok(sums)
    }

    /// The sum of all series of an instant query; 0 if there is none.
    pub async fn total(&self, expression: &str) -> Result<f64> {
        Ok(self.query(expression).await?.iter().map(Series::value).sum())
    }

    /// The least value of an instant query; none if there is no series.
    pub async fn least(&self, expression: &str) -> Result<Option<f64>> {
        let found = self.query(expression).await?;
        Ok(found.iter().map(Series::value).min_by(f64::total_cmp))
    }

    /// A label of the exemplars that series of an expression have in a time range (seconds since 1970).
    pub async fn exemplars(&self, expression: &str, range: (u64, u64), label: &str) -> Result<BTreeSet<String>> {
        let (start, end) = (range.0.to_string(), range.1.to_string());
        let query = [("query", expression), ("start", &*start), ("end", &*end)];
        let found: Vec<Exemplars> = self.get("query_exemplars", &query).await?;
        let exemplars = found.into_iter().flat_map(|series| series.exemplars);
        Ok(exemplars
            .filter_map(|mut exemplar| exemplar.labels.remove(label))
            .collect())
    }

    /// What it tells of itself.
    pub async fn own_metrics(&self) -> Result<String> {
        self.prometheus.ask(Verb::Get, "/metrics", self.password).await
    }

    /// All rules.
    pub async fn rules(&self) -> Result<Vec<Rule>> {
        let found: Groups = self.get("rules", &[]).await?;
        Ok(found.groups.into_iter().flat_map(|group| group.rules).collect())
    }

    async fn get<T: DeserializeOwned>(&self, what: &str, query: &[(&str, &str)]) -> Result<T> {
        let mut url = Url::parse("http://prometheus/api/v1/")
            .context("a URL")?
            .join(what)
            .context("a URL")?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let path = format!(
            "{}{}",
            url.path(),
            url.query().map(|q| format!("?{q}")).unwrap_or_default()
        );
        let text = self.prometheus.ask(Verb::Get, &path, self.password).await?;
        let answer: Answer<T> =
            serde_json::from_str(&text).with_context(|| format!("the answer to {path}: {text:.300}"))?;
        Ok(answer.data)
    }
}
