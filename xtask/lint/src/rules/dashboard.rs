//! Rules about Grafana dashboards.

use std::collections::BTreeSet;

use charts::dashboard::{self, Dashboard, GridPos, Panel};
use charts::manifest::Manifest;

use super::{Check, Problem, Rule, Scene};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "dashboard-readable",
        summary: "a dashboard is JSON that Grafana takes: identity, title, version, time, and panels with ids of their own",
        remedy: "compare it with a dashboard that Grafana exports",
        check: Check::Render(readable),
    },
    Rule {
        name: "dashboard-explained",
        summary: "a panel has a title, a description, a unit, and a legend for each query, and names its datasource",
        remedy: "fill them in, in files/dashboards",
        check: Check::Render(|scene, problems| each(scene, problems, explained)),
    },
    Rule {
        name: "dashboard-filled",
        summary: "no query has a placeholder of the chart left, or a variable that the dashboard lacks",
        remedy: "add the name to \"tempo-stack.dashboards.names\", or the variable to the dashboard",
        check: Check::Render(|scene, problems| each(scene, problems, filled)),
    },
    Rule {
        name: "dashboard-grid",
        summary: "panels stand inside the grid and don't overlap",
        remedy: "change their widths in files/dashboards, at most 24 in a line",
        check: Check::Render(|scene, problems| each(scene, problems, grid)),
    },
    Rule {
        name: "dashboard-size",
        summary: "a dashboard fits into a ConfigMap, with room for the annotation of kubectl apply, which repeats it",
        remedy: "split the dashboard",
        check: Check::Render(size),
    },
];

/// Bytes that the annotations of an object may have together (Kubernetes, validation.TotalAnnotationSizeLimitB).
/// `kubectl apply` and Argo CD without server-side apply put the whole object there, which is less than the 1 MiB of a ConfigMap.
const ANNOTATIONS_MAX: usize = 256 * 1024;
/// Characters of a uid (Grafana, `util.MaxUIDLength`).
const UID_MAX: usize = 40;
/// The model that came with Grafana 8, the first with time series panels.
const SCHEMA_MIN: u32 = 30;
/// Columns of the grid (Grafana, `GRID_COLUMN_COUNT`).
const COLUMNS: u32 = 24;
/// Grafana's own variables that our queries may name.
const GLOBALS: [&str; 3] = ["__rate_interval", "__range", "__interval"];

/// Adds what is said about each dashboard. One that can't be read is a finding of `dashboard-readable` alone.
fn each(scene: &Scene, problems: &mut Vec<Problem>, judge: fn(&Dashboard, &mut Vec<String>)) {
    for manifest in scene.subject.manifests {
        for (_, dashboard) in dashboard::dashboards(manifest).unwrap_or_default() {
            let mut said = Vec::new();
            judge(&dashboard, &mut said);
            problems.extend(said.into_iter().map(|text| problem(manifest, &dashboard, &text)));
        }
    }
}

fn problem(manifest: &Manifest, dashboard: &Dashboard, text: &str) -> Problem {
    Problem::new(manifest, &["data"], format!("dashboard {:?}: {text}", dashboard.title))
}

fn readable(scene: &Scene, problems: &mut Vec<Problem>) {
    for manifest in scene.subject.manifests {
        if let Err(error) = dashboard::dashboards(manifest) {
            problems.push(Problem::new(manifest, &["data"], format!("can't be read: {error:#}")));
        }
    }
    each(scene, problems, complete);
}

fn complete(dashboard: &Dashboard, said: &mut Vec<String>) {
    if dashboard.title.is_empty() {
        said.push("has no title".into());
    }
    let uid = &dashboard.uid;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if uid.is_empty() || uid.len() > UID_MAX || !uid.chars().all(allowed) {
        said.push(format!("uid {uid:?} isn't 1 to {UID_MAX} letters, digits, - and _"));
    }
    if dashboard.schema_version < SCHEMA_MIN {
        said.push(format!(
            "schemaVersion is {}, below {SCHEMA_MIN}",
            dashboard.schema_version
        ));
    }
    if !["from", "to"].iter().all(|end| dashboard.time.contains_key(*end)) {
        said.push("time has no from and to".into());
    }
    if !dashboard.panels.iter().any(|panel| panel.kind != "row") {
        said.push("has no panel".into());
    }
    let mut ids = BTreeSet::new();
    for panel in &dashboard.panels {
        if panel.id == 0 || !ids.insert(panel.id) {
            said.push(format!("id {} of {:?} is 0 or another panel's", panel.id, panel.title));
        }
        let names: BTreeSet<_> = panel.targets.iter().map(|target| &target.ref_id).collect();
        if names.len() != panel.targets.len() {
            said.push(format!("queries of {:?} have the same refId", panel.title));
        }
    }
}

fn explained(dashboard: &Dashboard, said: &mut Vec<String>) {
    for panel in &dashboard.panels {
        if panel.title.is_empty() {
            said.push(format!("panel {} has no title", panel.id));
        }
        if panel.kind == "row" {
            continue;
        }
        let mut missing = Vec::new();
        if panel.description.is_empty() {
            missing.push("description");
        }
        // What Tempo answers has units of its own.
        let measures = panel.targets.iter().any(|target| target.expr.is_some());
        if measures && panel.field_config.defaults.unit.as_deref().is_none_or(str::is_empty) {
            missing.push("unit");
        }
        if panel.targets.is_empty() {
            missing.push("query");
        }
        for target in &panel.targets {
            if target.expr.is_some() && target.legend_format.is_empty() {
                missing.push("legend");
            }
            if target.datasource.as_ref().is_none_or(|asked| asked.uid.is_empty()) {
                missing.push("datasource");
            }
        }
        if !missing.is_empty() {
            said.push(format!("panel {:?} has no {}", panel.title, missing.join(", no ")));
        }
    }
}

fn filled(dashboard: &Dashboard, said: &mut Vec<String>) {
    for panel in &dashboard.panels {
        for text in panel
            .targets
            .iter()
            .flat_map(|target| [&target.expr, &target.query])
            .flatten()
        {
            let placeholder = text.split('<').skip(1).find_map(|rest| {
                let (name, _) = rest.split_once('>')?;
                (!name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic() || c == '.')).then_some(name)
            });
            if let Some(name) = placeholder {
                said.push(format!("panel {:?} has <{name}> in its query {text}", panel.title));
            }
            for name in text.split('$').skip(1) {
                let end = name
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(name.len());
                let name = &name[..end];
                if !GLOBALS.contains(&name) && dashboard.templating.list.iter().all(|known| known.name != name) {
                    said.push(format!("panel {:?} has the unknown variable ${name}", panel.title));
                }
            }
        }
    }
}

fn grid(dashboard: &Dashboard, said: &mut Vec<String>) {
    let mut placed: Vec<(&Panel, GridPos)> = Vec::new();
    for panel in &dashboard.panels {
        let Some(at) = panel.grid_pos else {
            said.push(format!("panel {:?} has no place", panel.title));
            continue;
        };
        if at.w == 0 || at.h == 0 || at.x + at.w > COLUMNS {
            said.push(format!("panel {:?} is outside the grid: {at:?}", panel.title));
        }
        if let Some((other, _)) = placed.iter().find(|(_, place)| place.overlaps(&at)) {
            said.push(format!("panel {:?} overlaps {:?}", panel.title, other.title));
        }
        placed.push((panel, at));
    }
}

fn size(scene: &Scene, problems: &mut Vec<Problem>) {
    for manifest in scene.subject.manifests {
        for (text, dashboard) in dashboard::dashboards(manifest).unwrap_or_default() {
            if text.len() > ANNOTATIONS_MAX {
                let message = format!("has {} bytes, more than {ANNOTATIONS_MAX}", text.len());
                problems.push(problem(manifest, &dashboard, &message));
            }
        }
    }
}
