//! Rules about what alerts and dashboards ask Prometheus.
//!
//! A name that no program has is answered with silence: the alert never fires, the panel stays empty.
//! ci/metrics holds the names that each program was seen to have.

use std::collections::BTreeSet;

use charts::dashboard::{Dashboard, dashboards};
use charts::manifest::Manifest;
use charts::program::{Program, ProgramKind};
use promql_parser::label::MatchOp;
use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use semver::Version;
use serde_yaml::Value;

use super::{Check, Problem, Rule, Scene};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "promql-readable",
        summary: "every expression of an alert, a recording rule or a panel is PromQL",
        remedy: "correct the expression where the message says",
        check: Check::Render(readable),
    },
    Rule {
        name: "metric-exists",
        summary: "every metric that alerts and panels ask for is one that the program's version was seen to have",
        remedy: "take a name of ci/metrics; for a new version record its names as ci/metrics/README.md says",
        check: Check::Render(exists),
    },
];

/// Names that are there beside those of Tempo and the Collector.
const OTHERS: [&str; 4] = [
    include_str!("../../../../ci/metrics/canary.txt"),
    include_str!("../../../../ci/metrics/disk-guard.txt"),
    include_str!("../../../../ci/metrics/generator.txt"),
    include_str!("../../../../ci/metrics/kubernetes.txt"),
];

/// Names of Tempo by version, ascending.
const TEMPO: [(&str, &str); 4] = [
    ("2.3.0", include_str!("../../../../ci/metrics/tempo-2.3.0.txt")),
    ("2.9.0", include_str!("../../../../ci/metrics/tempo-2.9.0.txt")),
    ("2.10.8", include_str!("../../../../ci/metrics/tempo-2.10.8.txt")),
    ("3.0.3", include_str!("../../../../ci/metrics/tempo-3.0.3.txt")),
];

/// Names of the Collector by version, ascending.
const COLLECTOR: [(&str, &str); 2] = [
    ("0.89.0", include_str!("../../../../ci/metrics/otelcol-0.89.0.txt")),
    ("0.155.0", include_str!("../../../../ci/metrics/otelcol-0.155.0.txt")),
];

/// Names of metrics, each with its type.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// What the programs of a render have, and what is there beside them.
    pub fn of(programs: &[Program]) -> Names {
        let mut names = Names::default();
        OTHERS.iter().for_each(|list| names.add(list));
        for program in programs {
            if let Some(list) = recorded(program.kind, program.version.as_ref()) {
                names.add(list);
            }
        }
        names
    }

    /// Adds a list, a name and its type a line. A histogram and a summary are several series.
    fn add(&mut self, list: &str) {
        for (name, kind) in list.lines().filter_map(|line| line.split_once(' ')) {
            let suffixes: &[&str] = match kind {
                "histogram" => &["", "_bucket", "_sum", "_count"],
                "summary" => &["", "_sum", "_count"],
                _ => &[""],
            };
            self.0.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
        }
    }

    /// Adds names that recording rules give.
    fn record(&mut self, rules: &[Asked]) {
        self.0.extend(rules.iter().filter_map(|rule| rule.records.clone()));
    }

    /// The names in an expression that are not here; what is no PromQL is an error that says where.
    pub fn unknown(&self, promql: &str) -> Result<Vec<String>, String> {
        let mut found = metric_names(promql)?;
        found.retain(|name| !self.0.contains(name));
        Ok(found.into_iter().collect())
    }
}

/// The newest list that is not newer than a program, else the oldest of its major version.
fn recorded(kind: ProgramKind, version: Option<&Version>) -> Option<&'static str> {
    let lists: &[(&str, &str)] = match kind {
        ProgramKind::Tempo => &TEMPO,
        ProgramKind::Collector => &COLLECTOR,
    };
    let version = version?;
    let mut major = Vec::new();
    for (recorded, list) in lists {
        let recorded = Version::parse(recorded).ok()?;
        if recorded.major == version.major {
            major.push((recorded, *list));
        }
    }
    let older = major.iter().rev().find(|(recorded, _)| recorded <= version);
    older.or(major.first()).map(|(_, list)| *list)
}

/// The metrics that an expression names. Grafana's variables count as what they stand for.
fn metric_names(promql: &str) -> Result<BTreeSet<String>, String> {
    let expr = parser::parse(&without_variables(promql))?;
    let mut found = Found(BTreeSet::new());
    let Ok(_) = walk_expr(&mut found, &expr);
    Ok(found.0)
}

/// Grafana's intervals as a time: the parser knows none of its variables.
fn without_variables(promql: &str) -> String {
    ["$__rate_interval", "$__interval", "$__range"]
        .iter()
        .fold(promql.to_owned(), |text, variable| text.replace(variable, "5m"))
}

struct Found(BTreeSet<String>);

impl Found {
    fn add(&mut self, selector: &VectorSelector) {
        let named = selector.matchers.matchers.iter();
        let named = named.filter(|matcher| matcher.name == "__name__" && matcher.op == MatchOp::Equal);
        self.0
            .extend(selector.name.iter().chain(named.map(|m| &m.value)).cloned());
    }
}

impl ExprVisitor for Found {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        match expr {
            Expr::VectorSelector(selector) => self.add(selector),
            Expr::MatrixSelector(matrix) => self.add(&matrix.vs),
            _ => {}
        }
        Ok(true)
    }
}

/// One expression of a manifest.
#[derive(Debug)]
struct Asked<'a> {
    manifest: &'a Manifest,
    /// The alert, the recording rule or the panel.
    who: String,
    /// The name that a recording rule gives.
    records: Option<String>,
    promql: String,
}

/// Every expression of a render.
fn asked<'a>(scene: &Scene<'a>) -> Vec<Asked<'a>> {
    let mut asked = Vec::new();
    for manifest in scene.of_kind("PrometheusRule") {
        let groups = manifest.get(&["spec", "groups"]).and_then(Value::as_sequence);
        let rules = groups
            .into_iter()
            .flatten()
            .filter_map(|group| group["rules"].as_sequence());
        for rule in rules.flatten() {
            let text = |key: &str| rule[key].as_str().map(str::to_owned);
            let records = text("record");
            asked.push(Asked {
                manifest,
                who: text("alert").or_else(|| records.clone()).unwrap_or_default(),
                records,
                promql: text("expr").unwrap_or_default(),
            });
        }
    }
    for manifest in scene.subject.manifests {
        // What can't be read is a finding of `dashboard-readable`.
        for (_, dashboard) in dashboards(manifest).unwrap_or_default() {
            panels(manifest, &dashboard, &mut asked);
        }
    }
    asked
}

/// The expressions of a dashboard that Prometheus is asked.
fn panels<'a>(manifest: &'a Manifest, dashboard: &Dashboard, asked: &mut Vec<Asked<'a>>) {
    for panel in &dashboard.panels {
        for target in &panel.targets {
            let other = target
                .datasource
                .as_ref()
                .is_some_and(|asked| asked.kind != "prometheus");
            if let (Some(expr), false) = (&target.expr, other) {
                asked.push(Asked {
                    manifest,
                    who: format!("panel {:?}", panel.title),
                    records: None,
                    promql: expr.clone(),
                });
            }
        }
    }
}

fn readable(scene: &Scene, problems: &mut Vec<Problem>) {
    for asked in asked(scene) {
        if let Err(error) = metric_names(&asked.promql) {
            problems.push(asked.problem(&error));
        }
    }
}

fn exists(scene: &Scene, problems: &mut Vec<Problem>) {
    let asked = asked(scene);
    let mut names = Names::of(&scene.programs());
    names.record(&asked);
    for one in &asked {
        for name in names.unknown(&one.promql).unwrap_or_default() {
            problems.push(one.problem(&format!("asks for {name}, which no program of this render has")));
        }
    }
}

impl Asked<'_> {
    fn problem(&self, message: &str) -> Problem {
        Problem::new(self.manifest, &["spec", "groups"], format!("{}: {message}", self.who))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(promql: &str) -> Vec<String> {
        metric_names(promql).unwrap().into_iter().collect()
    }

    #[test]
    fn an_expression_names_its_metrics_wherever_they_stand() {
        let expr = "sum by (a) (rate(b_total{c=\"d\"}[5m])) > 0 or absent({__name__=\"e\"}) unless f offset 1m";
        assert_eq!(names(expr), ["b_total", "e", "f"]);
        assert_eq!(names("max_over_time((g - h)[10m:1m])"), ["g", "h"]);
        assert_eq!(names("rate(i[$__rate_interval])"), ["i"]);
        assert!(metric_names("sum(").is_err());
    }

    #[test]
    fn a_histogram_is_three_series_and_a_counter_is_one() {
        let mut names = Names::default();
        names.add("a histogram\nb_total counter\nc summary\n");
        assert_eq!(names.unknown("a_bucket + a_sum + a_count").unwrap(), [""; 0]);
        assert_eq!(
            names.unknown("b_total_sum + c_bucket + c_sum + d").unwrap(),
            ["b_total_sum", "c_bucket", "d"]
        );
    }

    #[test]
    fn a_panel_is_judged_by_what_it_asks_prometheus() {
        let dashboard = serde_json::json!({"panels": [
            {"title": "Rate", "targets": [{"expr": "a"}, {"expr": "b", "datasource": {"type": "prometheus"}}]},
            {"title": "Logs", "targets": [{"expr": "{app=`x`} |= `y`", "datasource": {"type": "loki"}}, {"query": "{}"}]},
        ]});
        let manifests = charts::manifest::parse_all("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n").unwrap();
        let mut asked = Vec::new();
        panels(&manifests[0], &serde_json::from_value(dashboard).unwrap(), &mut asked);
        let asked: Vec<_> = asked
            .iter()
            .map(|one| (one.who.as_str(), one.promql.as_str()))
            .collect();
        assert_eq!(asked, [("panel \"Rate\"", "a"), ("panel \"Rate\"", "b")]);
    }

    #[test]
    fn a_version_without_a_list_is_judged_by_the_nearest_of_its_major() {
        let of = |kind, version: &str| recorded(kind, Some(&Version::parse(version).unwrap()));
        assert_eq!(of(ProgramKind::Tempo, "2.10.0"), Some(TEMPO[1].1));
        assert_eq!(of(ProgramKind::Tempo, "3.1.0"), Some(TEMPO[3].1));
        assert_eq!(of(ProgramKind::Tempo, "3.0.0"), Some(TEMPO[3].1));
        assert_eq!(of(ProgramKind::Tempo, "4.0.0"), None);
        assert_eq!(of(ProgramKind::Collector, "0.125.0"), Some(COLLECTOR[0].1));
    }

    #[test]
    fn the_lists_are_sorted_and_have_each_name_once() {
        for (version, list) in TEMPO.iter().chain(&COLLECTOR) {
            let names: Vec<_> = list.lines().map(|line| line.split_once(' ').unwrap().0).collect();
            assert!(names.is_sorted(), "{version}");
            assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "{version}");
        }
    }
}
