//! Many changed values in one helm.
//!
//! A template is added to a copy of the chart. For each change it includes the chart's own templates,
//! with that one value changed, until one of them renders differently. A guard that a change trips ends
//! helm; the line in helm's message tells which change it was.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use charts::manifest::parse_all;
use charts::render::{Helm, Prepared, RenderOptions};
use charts::workspace::Chart;
use kit::failure::Failure;
use kit::parallel::in_parallel;
use kit::step::Step;
use serde::Serialize;
use serde_json::{Value, json};

/// How many changes one helm tries: enough to hide its start, few enough that all processors have work
/// and that little is repeated after a guard.
const BATCH: usize = 16;
const PROBE: &str = "templates/xtask-probe.yaml";
/// The line in it that renders without a change; those of the changes follow.
const UNCHANGED_LINE: usize = 3;

/// One value to try.
#[derive(Debug, Clone)]
pub struct Change {
    pub leaf: usize,
    pub path: Vec<String>,
    pub value: Value,
}

/// A change as the template reads it.
#[derive(Debug, Serialize)]
struct Trial<'a> {
    path: &'a [String],
    value: &'a Value,
    /// In the order in which they are compared.
    templates: Vec<&'a str>,
}

/// A copy of a chart with the added template.
pub struct Probe<'a> {
    helm: &'a Helm,
    prepared: Prepared,
    templates: Vec<String>,
    /// `global` and the names of the dependencies: their values reach templates of other charts, which
    /// can't be included with a changed context. Empty without dependencies.
    beyond: Vec<String>,
    batches: AtomicUsize,
}

/// What became of a batch.
enum Tried {
    /// Whether each change made a difference.
    Differs(Vec<bool>),
    /// The change of that index made helm fail.
    Failed(usize),
}

impl<'a> Probe<'a> {
    /// Copies the chart. Fails where it renders differently each time, because then nothing can be told.
    pub fn new(helm: &'a Helm, chart: &Chart, default: &RenderOptions) -> Result<Probe<'a>> {
        let prepared = helm.prepare(chart)?;
        let templates = templates(&prepared)?;
        let file = prepared.dir.join(PROBE);
        // An umbrella may have no template of its own.
        std::fs::create_dir_all(prepared.dir.join("templates")).context("making the folder of the templates")?;
        fs_err::write(&file, probe_text()?)?;
        let dependencies = chart.metadata.dependencies.iter().map(|d| d.name.clone());
        let beyond: Vec<String> = dependencies.flat_map(|name| [name, "global".to_owned()]).collect();
        let probe = Probe {
            helm,
            prepared,
            templates,
            beyond,
            batches: AtomicUsize::new(0),
        };
        let nothing = Change {
            leaf: 0,
            path: Vec::new(),
            value: Value::Null,
        };
        match probe.attempt(default, &[nothing])? {
            Tried::Differs(differs) if differs == [false] => Ok(probe),
            _ => Err(Failure::findings(
                format!("{} renders differently each time", chart.name()),
                "leave clock and chance (now, rand…, gen…) out of its templates",
            )),
        }
    }

    /// The leaves whose change alters a render. `work` are changes with what they are tried in.
    pub fn read(&self, work: &[(&RenderOptions, &[Change])]) -> Result<BTreeSet<usize>> {
        let mut jobs = Vec::new();
        for (options, changes) in work {
            let (beyond, own): (Vec<&Change>, Vec<&Change>) =
                changes.iter().partition(|change| self.reaches_beyond(change));
            let own: Vec<Change> = own.into_iter().cloned().collect();
            jobs.extend(own.chunks(BATCH).map(|batch| (*options, batch.to_vec())));
            jobs.extend(beyond.into_iter().map(|change| (*options, vec![change.clone()])));
        }
        let read = in_parallel(&jobs, |(options, batch)| match batch.as_slice() {
            [one] if self.reaches_beyond(one) => self.render_differs(options, one),
            batch => self.read_batch(options, batch),
        })?;
        Ok(read.into_iter().flatten().collect())
    }

    fn reaches_beyond(&self, change: &Change) -> bool {
        change.path.first().is_some_and(|top| self.beyond.contains(top))
    }

    /// Repeats a batch without the changes that make helm fail; those are read, or they couldn't.
    fn read_batch(&self, options: &RenderOptions, batch: &[Change]) -> Result<Vec<usize>> {
        let mut left = batch.to_vec();
        let mut read = Vec::new();
        while !left.is_empty() {
            match self.attempt(options, &left)? {
                Tried::Failed(index) => read.push(left.remove(index).leaf),
                Tried::Differs(differs) => {
                    let changed = left.iter().zip(differs).filter(|(_, differs)| *differs);
                    read.extend(changed.map(|(change, _)| change.leaf));
                    break;
                }
            }
        }
        Ok(read)
    }

    /// One helm that tries at most [`BATCH`] changes.
    fn attempt(&self, options: &RenderOptions, changes: &[Change]) -> Result<Tried> {
        let name = format!("xtask-probe-{}.json", self.batches.fetch_add(1, Ordering::Relaxed));
        let file = self.prepared.dir.join(&name);
        let trials: Vec<Trial> = changes.iter().map(|change| self.trial(change)).collect();
        let data = json!({"templates": self.templates, "changes": trials}).to_string();
        fs_err::write(&file, data)?;
        // Every strict schema leaves `global` open.
        let step = self.step(options, &json!({"global": {"xtaskProbe": name}}));
        let output = self.helm.runner.try_run(&step)?;
        if !output.success() {
            let index = failed_change(&output.stderr).filter(|index| *index < changes.len());
            return index
                .map(Tried::Failed)
                .ok_or_else(|| self.cannot_render(&output.tail()));
        }
        let manifests = parse_all(&output.stdout)?;
        let probe = manifests.iter().find(|manifest| manifest.template == PROBE);
        let differs = |index: usize| probe?.get_str(&["data", &index.to_string()]).map(|text| text == "true");
        let all: Option<Vec<bool>> = (0..changes.len()).map(differs).collect();
        Ok(Tried::Differs(all.with_context(|| {
            format!("{PROBE} didn't print a result for each change")
        })?))
    }

    fn cannot_render(&self, message: &str) -> anyhow::Error {
        Failure::findings(
            format!("{} does not render with its own values: {message}", self.prepared.name),
            "run `cargo xtask template --check` first",
        )
    }

    /// Templates whose name begins like the top key come first: a change of `otelCollector.…` is
    /// likely to show in `otel-collector-….yaml`.
    fn trial<'c>(&'c self, change: &'c Change) -> Trial<'c> {
        let component = change.path.first().map(|top| kebab(top)).unwrap_or_default();
        let (near, far): (Vec<&str>, Vec<&str>) = self
            .templates
            .iter()
            .map(String::as_str)
            .partition(|template| template.starts_with(&component));
        Trial {
            path: &change.path,
            value: &change.value,
            templates: [near, far].concat(),
        }
    }

    /// Two whole renders, for values that other charts read.
    fn render_differs(&self, options: &RenderOptions, change: &Change) -> Result<Vec<usize>> {
        let keys = change.path.iter().rev();
        let value = keys.fold(change.value.clone(), |value, key| json!({ key: value }));
        let unchanged = self.helm.runner.try_run(&self.step(options, &json!({})))?;
        if !unchanged.success() {
            return Err(self.cannot_render(&unchanged.tail()));
        }
        let changed = self.helm.runner.try_run(&self.step(options, &value))?;
        let differs = !changed.success() || changed.stdout != unchanged.stdout;
        Ok(differs.then_some(change.leaf).into_iter().collect())
    }

    /// Schemas are left out: that one refuses a value says nothing about who reads it.
    fn step(&self, options: &RenderOptions, values: &Value) -> Step {
        self.helm
            .template_step(&self.prepared, options)
            .args(["--skip-schema-validation", "--values", "-"])
            .stdin(values.to_string())
    }
}

/// Which change helm names in its message, by the line of the outermost template.
fn failed_change(message: &str) -> Option<usize> {
    let (_, rest) = message.split_once(&format!("{PROBE}:"))?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let line: usize = digits.parse().ok()?;
    line.checked_sub(UNCHANGED_LINE + 1)
}

/// `otelCollector` → `otel-collector`.
fn kebab(key: &str) -> String {
    let mut kebab = String::new();
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            kebab.push('-');
        }
        kebab.push(c.to_ascii_lowercase());
    }
    kebab
}

/// The added template, with a line of its own for each change. An empty path changes nothing. A key
/// below something that is no map (a null in the case) is set on a map that nobody sees.
fn probe_text() -> Result<String> {
    let mut text = String::from(
        r#"{{- define "xtask-probe.digest" }}{{ include (print .root.Template.BasePath "/" .template) .context | sha256sum }}{{ end }}
{{- $probe := dict }}{{ with (.Values.global).xtaskProbe }}{{ $probe = $.Files.Get . | fromJson }}{{ end }}{{ $unchanged := dict }}
{{- range $probe.templates }}{{ $_ := set $unchanged . (include "xtask-probe.digest" (dict "root" $ "template" . "context" $)) }}{{ end }}
"#,
    );
    for index in 0..BATCH {
        let first = if index == 0 {
            // An empty document otherwise, in a render that doesn't probe.
            r#"{{ if $probe.changes }}{{ print "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: xtask-probe\ndata:" }}{{ end }}"#
        } else {
            ""
        };
        writeln!(
            text,
            r#"{first}{{{{- include "xtask-probe.try" (dict "root" $ "probe" $probe "unchanged" $unchanged "index" {index}) }}}}"#
        )?;
    }
    text.push_str(
        r#"
{{- define "xtask-probe.try" }}
{{- if lt .index (len (.probe.changes | default list)) }}
{{- $change := index .probe.changes .index }}
{{- $values := mustDeepCopy .root.Values }}
{{- if $change.path }}
{{- $map := $values }}
{{- range initial $change.path }}{{ $map = ternary (index $map .) dict (kindIs "map" (index $map .)) }}{{ end }}
{{- $_ := set $map (last $change.path) $change.value }}
{{- end }}
{{- $context := set (omit .root "Values") "Values" $values }}
{{- $differs := false }}
{{- range $change.templates }}
{{- if ne (get $.unchanged .) (include "xtask-probe.digest" (dict "root" $.root "template" . "context" $context)) }}
{{- $differs = true }}{{ break }}
{{- end }}
{{- end }}
  "{{ .index }}": "{{ $differs }}"
{{- end }}
{{- end }}
"#,
    );
    Ok(text)
}

/// The files under templates/ that helm prints, relative to that folder.
fn templates(prepared: &Prepared) -> Result<Vec<String>> {
    let dir = prepared.dir.join("templates");
    let mut templates = Vec::new();
    if !dir.is_dir() {
        return Ok(templates);
    }
    for entry in walkdir::WalkDir::new(&dir).sort_by_file_name() {
        let entry = entry.with_context(|| format!("reading {}", dir.display()))?;
        let name = entry.file_name().to_string_lossy();
        if entry.file_type().is_file() && !name.starts_with('_') && name != "NOTES.txt" {
            let relative = entry.path().strip_prefix(&dir).context("walked outside the chart")?;
            templates.push(relative.to_string_lossy().into_owned());
        }
    }
    Ok(templates)
}
