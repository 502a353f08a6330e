//! Grafana dashboards inside a render: ConfigMaps for the sidecar, and `GrafanaDashboard`s.

use std::collections::HashMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::manifest::Manifest;

/// A dashboard as Grafana stores it (JSON model of Grafana's documentation, "View dashboard JSON model").
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dashboard {
    /// Identity inside Grafana; at most 40 characters.
    pub uid: String,
    /// What people read.
    pub title: String,
    /// Version of the JSON model; Grafana brings older ones up to date when it loads them.
    pub schema_version: u32,
    /// Rows and panels in one list, in their places.
    pub panels: Vec<Panel>,
    /// The variables that queries may name.
    pub templating: Templating,
    /// The time that is shown first.
    pub time: HashMap<String, String>,
}

/// The variables of a dashboard.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Templating {
    /// In the order in which they are shown.
    pub list: Vec<Variable>,
}

/// A variable, which a query names as `$name`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Variable {
    /// Its name, without the dollar.
    pub name: String,
    /// What stands for "All".
    pub all_value: Option<String>,
    /// What is chosen first.
    pub current: Current,
}

/// The value of a variable.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Current {
    /// A text, or a list of texts where several may be chosen.
    pub value: Value,
}

/// A panel, or the title of a row, whose type is `row`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Panel {
    /// Identity inside the dashboard, from 1.
    pub id: u32,
    /// `timeseries`, `stat`, `table`, `nodeGraph`, `row`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What people read above it.
    pub title: String,
    /// What people read behind the ⓘ.
    pub description: String,
    /// Where it stands.
    pub grid_pos: Option<GridPos>,
    /// How values are shown.
    pub field_config: FieldConfig,
    /// Its queries.
    pub targets: Vec<Target>,
}

/// A place in the grid, which is 24 wide; rows of it are 30 pixels high.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct GridPos {
    /// Columns from the left edge.
    pub x: u32,
    /// Rows from the top.
    pub y: u32,
    /// Width in columns.
    pub w: u32,
    /// Height in rows.
    pub h: u32,
}

impl GridPos {
    /// Whether two places have a cell in common.
    pub fn overlaps(&self, other: &GridPos) -> bool {
        self.x < other.x + other.w
            && other.x < self.x + self.w
            && self.y < other.y + other.h
            && other.y < self.y + self.h
    }
}

/// How the values of a panel are shown.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct FieldConfig {
    /// For all of them.
    pub defaults: FieldDefaults,
}

/// How values are shown where nothing else is said.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct FieldDefaults {
    /// Grafana's name of a unit: `s`, `bytes`, `percentunit`, …
    pub unit: Option<String>,
}

/// A query of a panel.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Target {
    /// Its name inside the panel.
    pub ref_id: String,
    /// Whom it asks.
    pub datasource: Option<Datasource>,
    /// PromQL, of Prometheus.
    pub expr: Option<String>,
    /// TraceQL, of Tempo.
    pub query: Option<String>,
    /// What its lines are called.
    pub legend_format: String,
    /// Who has the metrics, where it isn't the stack itself. Ours: Grafana carries it along.
    pub source: Option<String>,
}

/// A datasource of Grafana.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Datasource {
    /// `prometheus` or `tempo`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its identity inside Grafana.
    pub uid: String,
}

/// Who has the metrics that a query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Tempo, the Collector or the containers beside them: present wherever the stack runs and is scraped.
    Stack,
    /// The kubelet: in a cluster only.
    Kubelet,
    /// The canary: where it is on.
    Canary,
}

/// The language of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// For Prometheus: `/api/v1/query`.
    PromQl,
    /// For Tempo: `/api/search`.
    TraceQl,
}

/// A query as it can be asked: variables are filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Title of the dashboard.
    pub dashboard: String,
    /// Title of the panel.
    pub panel: String,
    /// What its lines are called.
    pub legend: String,
    /// The text to ask.
    pub expr: String,
    /// In which language.
    pub language: Language,
    /// Who has the answer.
    pub source: Source,
}

/// The dashboards of an object with their texts; none where it holds none. A text that isn't a dashboard's JSON is an error.
pub fn dashboards(manifest: &Manifest) -> Result<Vec<(String, Dashboard)>> {
    let texts: Vec<&str> = match manifest.kind.as_str() {
        "GrafanaDashboard" => manifest.get_str(&["spec", "json"]).into_iter().collect(),
        "ConfigMap" => {
            let data = manifest.get(&["data"]).and_then(serde_yaml::Value::as_mapping);
            let is_json = |key: &serde_yaml::Value| key.as_str().is_some_and(|key| key.ends_with(".json"));
            let files = data.into_iter().flatten().filter(|(key, _)| is_json(key));
            files.filter_map(|(_, text)| text.as_str()).collect()
        }
        _ => Vec::new(),
    };
    let read = |text: &str| {
        let dashboard = serde_json::from_str(text).with_context(|| format!("{}: no dashboard", manifest.id()))?;
        Ok((text.to_owned(), dashboard))
    };
    texts.into_iter().map(read).collect()
}

/// All queries of all dashboards in a render, in their order, as they can be asked.
///
/// `window` is the range of rates, such as `1m`, which must hold at least two scrapes. Variables have the value that
/// stands for all. Queries of the service map have no text and are left out.
pub fn queries(manifests: &[Manifest], window: &str) -> Result<Vec<Query>> {
    let mut all = Vec::new();
    for manifest in manifests {
        for (_, dashboard) in dashboards(manifest)? {
            for panel in &dashboard.panels {
                for target in &panel.targets {
                    let (language, text) = match (&target.expr, &target.query) {
                        (Some(expr), _) => (Language::PromQl, expr),
                        (None, Some(query)) => (Language::TraceQl, query),
                        (None, None) => continue,
                    };
                    all.push(Query {
                        dashboard: dashboard.title.clone(),
                        panel: panel.title.clone(),
                        legend: target.legend_format.clone(),
                        expr: filled(text, &dashboard.templating.list, window),
                        language,
                        source: source(target).with_context(|| format!("{}: {}", dashboard.title, panel.title))?,
                    });
                }
            }
        }
    }
    Ok(all)
}

fn source(target: &Target) -> Result<Source> {
    match target.source.as_deref() {
        None => Ok(Source::Stack),
        Some("kubelet") => Ok(Source::Kubelet),
        Some("canary") => Ok(Source::Canary),
        Some(other) => anyhow::bail!("unknown source of metrics: {other}"),
    }
}

/// A query with Grafana's own variables and the dashboard's filled in.
fn filled(text: &str, variables: &[Variable], window: &str) -> String {
    let mut text = text.replace("$__rate_interval", window).replace("$__range", window);
    for variable in variables {
        let value = variable.all_value.as_deref().or(variable.current.value.as_str());
        text = text.replace(&format!("${}", variable.name), value.unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::parse_all;

    const BOARD: &str = r#"{"uid":"u","title":"Board","schemaVersion":39,
        "templating":{"list":[{"name":"service","allValue":".+","current":{"value":"$__all"}},{"name":"slower","current":{"value":"1s"}}]},
        "panels":[{"id":1,"type":"row","title":"Row"},
        {"id":2,"type":"timeseries","title":"Rate","gridPos":{"x":0,"y":1,"w":12,"h":8},
         "targets":[{"refId":"A","expr":"rate(a{service=~\"$service\"}[$__rate_interval])","legendFormat":"a"},
                    {"refId":"B","expr":"container_b","legendFormat":"b","source":"kubelet"}]},
        {"id":3,"type":"table","title":"Slow","targets":[{"refId":"A","query":"{ duration > $slower }"}]},
        {"id":4,"type":"nodeGraph","title":"Map","targets":[{"refId":"A","serviceMapQuery":""}]}]}"#;

    fn manifests(board: &str) -> Vec<Manifest> {
        let board = serde_json::to_string(board).unwrap();
        parse_all(&format!(
            "kind: ConfigMap\napiVersion: v1\nmetadata: {{name: a}}\ndata: {{a.json: {board}, b.yaml: no}}\n---\n\
             kind: GrafanaDashboard\napiVersion: g/v1\nmetadata: {{name: b}}\nspec: {{json: {board}}}\n"
        ))
        .unwrap()
    }

    #[test]
    fn queries_come_out_of_both_kinds_with_their_variables_filled_in() {
        let all = queries(&manifests(BOARD), "30s").unwrap();
        let of = |n: usize| {
            (
                all[n].panel.as_str(),
                all[n].expr.as_str(),
                all[n].language,
                all[n].source,
            )
        };
        assert_eq!(all.len(), 6);
        assert_eq!(all[..3], all[3..]);
        assert_eq!(
            of(0),
            ("Rate", "rate(a{service=~\".+\"}[30s])", Language::PromQl, Source::Stack)
        );
        assert_eq!(of(1), ("Rate", "container_b", Language::PromQl, Source::Kubelet));
        assert_eq!(of(2), ("Slow", "{ duration > 1s }", Language::TraceQl, Source::Stack));
    }

    #[test]
    fn a_source_that_nobody_knows_and_a_text_that_is_no_dashboard_are_errors() {
        assert!(queries(&manifests(&BOARD.replace("kubelet", "kubelets")), "30s").is_err());
        assert!(queries(&manifests("{\"panels\": 1}"), "30s").is_err());
    }

    #[test]
    fn places_overlap_where_they_have_a_cell_in_common() {
        let at = |x, y| GridPos { x, y, w: 12, h: 8 };
        assert!(at(0, 0).overlaps(&at(11, 7)));
        assert!(!at(0, 0).overlaps(&at(12, 0)) && !at(0, 0).overlaps(&at(0, 8)));
    }
}
