//! One case through every check that needs no cluster.
//!
//! Per case: `helm lint --strict` (which compares the values with values.schema.json), one
//! `helm template`, then the rules of our own, Pod Security, the configurations, the API schemas and
//! kube-score on what it printed.
//!
//! A case that breaks a rule on purpose says so in its values file: `# lint-allow <rule>: <reason>`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use charts::kubernetes;
use charts::manifest::{Manifest, parse_all};
use charts::program::programs;
use charts::render::{Helm, Prepared, RenderOptions};
use charts::tools::{Installed, Origin, Toolbox};
use charts::workload::workload;
use charts::workspace::{Case, Chart, Workspace};
use kit::run_dir::RunDir;
use kit::step::{Output, Step};
use serde::Serialize;

use crate::config_check::verify::Programs;
use crate::config_check::{self, Judgement};
use crate::rules::{self, Finding, Subject, Variation};
use crate::{artifact_hub, kube_score, pod_security, schema_check};

/// What an allowance begins with.
const ALLOWANCE: &str = "# lint-allow ";

/// The programs that checks run.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Renders and lints.
    pub helm: Helm,
    /// Compares objects with the API schemas.
    pub kubeconform: Installed,
    /// Scores objects.
    pub kube_score: Installed,
    /// Judge configurations.
    pub programs: Programs,
}

impl Tools {
    /// All of them, built where they are missing.
    pub fn get(toolbox: &Toolbox, helm: Helm) -> Result<Tools> {
        Ok(Tools {
            helm,
            kubeconform: toolbox.get("kubeconform")?,
            kube_score: toolbox.get("kube-score")?,
            programs: Programs {
                tempo: toolbox.get("tempo")?,
                collector: toolbox.get("otelcol")?,
            },
        })
    }

    /// All of them without building any: one that would have to be built stands under its bare name.
    pub fn planned(toolbox: &Toolbox, helm_at: impl Fn(PathBuf) -> Helm) -> Result<Tools> {
        let planned = |name: &str| -> Result<Installed> {
            if let Some(found) = toolbox.find(name)? {
                return Ok(found);
            }
            Ok(Installed {
                name: name.to_owned(),
                path: name.into(),
                version: toolbox.tool(name)?.file.version.clone(),
                origin: Origin::Pinned,
            })
        };
        Ok(Tools {
            helm: helm_at(planned("helm")?.path),
            kubeconform: planned("kubeconform")?,
            kube_score: planned("kube-score")?,
            programs: Programs {
                tempo: planned("tempo")?,
                collector: planned("otelcol")?,
            },
        })
    }
}

/// A chart that is ready to be rendered, as it is and as its next version.
#[derive(Debug)]
pub struct LintChart {
    /// The chart.
    pub chart: Chart,
    /// Its copy with dependencies.
    pub prepared: Prepared,
    next: Prepared,
    _next_folder: RunDir,
}

impl LintChart {
    /// Copies the chart and builds its dependencies.
    pub fn prepare(helm: &Helm, chart: Chart) -> Result<LintChart> {
        let prepared = helm.prepare(&chart)?;
        let (folder, next) = next_version(&chart, &prepared)?;
        Ok(LintChart {
            chart,
            prepared,
            next,
            _next_folder: folder,
        })
    }
}

/// A copy of a prepared chart whose version is one patch higher.
fn next_version(chart: &Chart, prepared: &Prepared) -> Result<(RunDir, Prepared)> {
    let folder = RunDir::temporary("next")?;
    let target = folder.path().join(&prepared.name);
    for entry in walkdir::WalkDir::new(&prepared.dir) {
        let entry = entry.with_context(|| format!("reading {}", prepared.dir.display()))?;
        let relative = entry
            .path()
            .strip_prefix(&prepared.dir)
            .context("walked outside the chart")?;
        let to = target.join(relative);
        if entry.file_type().is_dir() {
            fs_err::create_dir_all(&to)?;
        } else {
            fs_err::copy(entry.path(), &to)?;
        }
    }
    let file = target.join("Chart.yaml");
    let text = fs_err::read_to_string(&file)?;
    let mut next = chart.metadata.version.clone();
    next.patch += 1;
    let text: String = text
        .lines()
        .map(|line| match line.split_once(':') {
            Some(("version", _)) => format!("version: {next}\n"),
            Some(("appVersion", _)) => format!("appVersion: \"{next}\"\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    fs_err::write(&file, text)?;
    let prepared = Prepared::archive(&prepared.name, target);
    Ok((folder, prepared))
}

/// What the checks say about one case.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The chart's name.
    pub chart: String,
    /// The case's name.
    pub case: String,
    /// What was found, in order of file and line.
    pub findings: Vec<Finding>,
    /// Who judged its configurations.
    pub judgements: Vec<Judgement>,
}

/// The options that a case is rendered with.
pub fn options(chart: &Chart, case: &Case) -> RenderOptions {
    RenderOptions::documented(chart.name()).values_file(&case.values)
}

/// The `helm lint` step of a case.
pub fn helm_lint_step(helm: &Helm, chart: &Prepared, case: &Case) -> Step {
    helm.step(format!("helm lint {} ({})", chart.name, case.name))
        .args(["lint", "--strict", "--kube-version", &helm.kube_version])
        .arg("--values")
        .path_arg(&case.values)
        .path_arg(&chart.dir)
}

/// What [`case`] would run for a case of a chart whose dependencies are in place: without the
/// programs that judge configurations and without the renders of comparisons, which depend on the first.
pub fn plan(tools: &Tools, workspace: &Workspace, chart: &Chart, case: &Case) -> Result<Vec<Step>> {
    let helm = &tools.helm;
    let prepared = Prepared::archive(chart.name(), &chart.dir);
    let mut steps = vec![
        helm_lint_step(helm, &prepared, case),
        helm.template_step(&prepared, &options(chart, case)),
        kube_score::step(&tools.kube_score, &helm.kube_version),
    ];
    for version in kubernetes::versions(workspace.root())? {
        steps.push(
            helm.for_kubernetes(&version)
                .template_step(&prepared, &options(chart, case)),
        );
        steps.push(schema_check::step(&tools.kubeconform, workspace.root(), &version)?);
    }
    Ok(steps)
}

/// Runs every check on one case. Fails where a program can't be run, not where it finds something.
pub fn case(tools: &Tools, workspace: &Workspace, chart: &LintChart, case: &Case) -> Result<Report> {
    let helm = &tools.helm;
    let options = options(&chart.chart, case);
    let values = fs_err::read_to_string(&case.values)?;
    let shown = workspace.shown(&case.values).to_string();
    let mut report = Report {
        chart: chart.chart.name().to_owned(),
        case: case.name.clone(),
        findings: Vec::new(),
        judgements: Vec::new(),
    };
    report.findings.extend(artifact_hub::judge(workspace, &chart.chart)?);
    let linted = helm.runner.try_run(&helm_lint_step(helm, &chart.prepared, case))?;
    report.findings.extend(helm_messages(&chart.chart, &shown, &linted));
    let rendered = helm.runner.try_run(&helm.template_step(&chart.prepared, &options))?;
    report
        .findings
        .extend(template_messages(&chart.chart, &shown, &rendered));
    if rendered.success() {
        let manifests = parse_all(&rendered.stdout)?;
        let subject = Subject {
            chart: &chart.chart,
            case: &case.name,
            values: &values,
            release: &options.release,
            namespace: &options.namespace,
            manifests: &manifests,
        };
        rendered_checks(tools, workspace, chart, &subject, &options, &mut report)?;
    }
    apply_allowances(&shown, &values, &mut report.findings);
    report.findings.sort();
    report.findings.dedup();
    Ok(report)
}

/// Drops the findings that the case allows; an allowance without a reason or without use is one.
fn apply_allowances(file: &str, values: &str, findings: &mut Vec<Finding>) {
    let mut own = Vec::new();
    for (index, line) in values.lines().enumerate() {
        let Some(allowance) = line.trim_start().strip_prefix(ALLOWANCE) else {
            continue;
        };
        let (rule, reason) = allowance.split_once(':').unwrap_or((allowance, ""));
        let (rule, reason) = (rule.trim(), reason.trim());
        let used = findings.iter().any(|finding| finding.rule == rule);
        if !reason.is_empty() {
            findings.retain(|finding| finding.rule != rule);
        }
        if reason.is_empty() || !used {
            let why = if used {
                "gives no reason"
            } else {
                "allows what nothing finds"
            };
            own.push(Finding {
                file: file.to_owned(),
                line: Some(index + 1),
                rule: "allowance".into(),
                message: format!("{ALLOWANCE}{rule} {why}"),
                remedy: format!("write `{ALLOWANCE}<rule>: <reason>`, or remove the line"),
            });
        }
    }
    findings.append(&mut own);
}

/// The checks on what a case renders to.
fn rendered_checks(
    tools: &Tools,
    workspace: &Workspace,
    chart: &LintChart,
    subject: &Subject,
    options: &RenderOptions,
    report: &mut Report,
) -> Result<()> {
    let (runner, kube_version) = (&tools.helm.runner, &tools.helm.kube_version);
    let render = |variation: &Variation| render_again(&tools.helm, chart, options, variation);
    report.findings.extend(rules::judge(subject, &render)?);
    report.findings.extend(pod_security::judge(subject)?);
    report
        .findings
        .extend(configurations(tools, subject, &mut report.judgements)?);
    let render_for = |version: &str| {
        render_again(
            &tools.helm.for_kubernetes(version),
            chart,
            options,
            &Variation::default(),
        )
    };
    report.findings.extend(schema_check::judge(
        subject,
        &render_for,
        &tools.kubeconform,
        workspace.root(),
        runner,
    )?);
    report
        .findings
        .extend(kube_score::judge(subject, &tools.kube_score, kube_version, runner)?);
    Ok(())
}

/// Renders a case once more, changed.
pub fn render_again(
    helm: &Helm,
    chart: &LintChart,
    options: &RenderOptions,
    variation: &Variation,
) -> Result<Vec<Manifest>> {
    let mut options = options.clone();
    options.release = variation.release.clone().unwrap_or(options.release);
    options.namespace = variation.namespace.clone().unwrap_or(options.namespace);
    options.values = variation.values.clone();
    let prepared = if variation.next_version {
        &chart.next
    } else {
        &chart.prepared
    };
    Ok(helm.template(prepared, &options)?.manifests)
}

/// The key lists and the real programs on every configuration of the case.
fn configurations(tools: &Tools, subject: &Subject, judgements: &mut Vec<Judgement>) -> Result<Vec<Finding>> {
    let workloads: Vec<_> = subject
        .manifests
        .iter()
        .filter_map(|m| workload(m).ok().flatten())
        .collect();
    let mut findings = Vec::new();
    // Where a configuration can't be read, rule `config-readable` says so.
    for program in programs(&workloads, subject.manifests).unwrap_or_default() {
        let folder = RunDir::temporary("config")?;
        let runner = &tools.helm.runner;
        let (found, judgement) =
            config_check::verify::judge(subject, &program, &tools.programs, runner, folder.path())?;
        findings.extend(found);
        judgements.push(judgement);
    }
    Ok(findings)
}

/// Findings in what `helm lint` printed: its `[WARNING]` and `[ERROR]` lines, and what it logged.
fn helm_messages(chart: &Chart, values: &str, output: &Output) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut lines = output.stdout.lines().peekable();
    while let Some(line) = lines.next() {
        let message = ["[WARNING] ", "[ERROR] "]
            .iter()
            .find_map(|level| line.strip_prefix(level));
        if let Some(message) = message {
            let mut message = message.to_owned();
            // The rest of a message stands below it, until the next `[LEVEL]` or an empty line.
            while let Some(more) = lines.next_if(|next| !next.is_empty() && !next.starts_with('[')) {
                message.push(' ');
                message.push_str(more.trim());
            }
            findings.push(helm_finding(chart, values, "helm-lint", &message));
        }
    }
    findings.extend(logged(output).map(|line| helm_finding(chart, values, "helm-lint", &line)));
    findings
}

/// Findings in what `helm template` wrote to standard error; its failure is one.
fn template_messages(chart: &Chart, values: &str, output: &Output) -> Vec<Finding> {
    let mut findings: Vec<_> = logged(output)
        .map(|line| helm_finding(chart, values, "helm-template", &line))
        .collect();
    if !output.success() {
        let errors = output
            .stderr
            .split_once("Error: ")
            .map_or(output.stderr.as_str(), |(_, error)| error);
        let message: Vec<_> = errors.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let message = message
            .join(" ")
            .replace("Use --debug flag to render out invalid YAML", "");
        findings.push(helm_finding(chart, values, "helm-template", message.trim()));
    }
    findings
}

/// What helm logged on standard error, without what its exit code says anyway.
fn logged(output: &Output) -> impl Iterator<Item = String> {
    let is_log = |line: &&str| line.contains("level=") || line.to_ascii_lowercase().starts_with("warning");
    output
        .stderr
        .lines()
        .map(str::trim)
        .filter(is_log)
        // helm lint doesn't fail on `fail`: the render does, with the same message.
        .filter(|line| !line.contains("funcMap fail"))
        .map(|line| line.split_once("msg=").map_or(line, |(_, message)| message).to_owned())
}

/// A finding with the place that helm's message names (`tempo-stack/templates/x.yaml:12:3`), else the values file.
fn helm_finding(chart: &Chart, values: &str, rule: &str, message: &str) -> Finding {
    let place = message
        .split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | '"'))
        .find_map(|word| place(chart, word.trim_end_matches(':')));
    let (file, line) = match place {
        Some((file, line)) => (file, line),
        None if message.starts_with("Chart.yaml") => (format!("charts/{}/Chart.yaml", chart.name()), None),
        None => (values.to_owned(), None),
    };
    Finding {
        file,
        line,
        rule: rule.to_owned(),
        message: message.to_owned(),
        remedy: "correct the template or the case's values; the message says which key".to_owned(),
    }
}

/// `<chart>/templates/<file>:<line>:<column>` as a file of the workspace and a line.
fn place(chart: &Chart, word: &str) -> Option<(String, Option<usize>)> {
    let mut parts = word.split(':');
    let path = parts.next()?;
    let line = parts.next().and_then(|line| line.parse().ok());
    let inside = path.strip_prefix(chart.name())?.strip_prefix('/')?;
    if !inside.contains("templates/") {
        return None;
    }
    let file = if inside.starts_with("charts/") {
        inside.to_owned()
    } else {
        format!("charts/{}/{inside}", chart.name())
    };
    Path::new(&file).extension().is_some().then_some((file, line))
}

/// The rules' names and summaries, for people who want to know what is demanded.
pub fn rule_list() -> Vec<(String, String)> {
    let own = rules::all().map(|rule| (rule.name.to_owned(), rule.summary.to_owned()));
    let pod = pod_security::FIELDS
        .iter()
        .map(|(name, remedy)| ((*name).to_owned(), (*remedy).to_owned()));
    let rest = [
        (artifact_hub::RULE, artifact_hub::SUMMARY),
        ("helm-lint", "helm lint --strict says nothing"),
        ("helm-template", "the case renders, and helm warns of nothing"),
        (
            "renders-again",
            "the case renders with another release, names and versions, too",
        ),
        (
            config_check::KEYS_RULE,
            "every key of a configuration is one that the program's version knows",
        ),
        (
            config_check::verify::RULE,
            "the real program accepts the configuration, where it can be had",
        ),
        (
            schema_check::RULE,
            "every object fits the schema of each committed version of the Kubernetes API, strictly",
        ),
        (
            "kube-score/…",
            "kube-score has nothing against it, beside the checks that are left out",
        ),
    ];
    let rest = rest.map(|(name, summary)| (name.to_owned(), summary.to_owned()));
    own.chain(pod).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(rule: &str) -> Finding {
        Finding {
            file: "f".into(),
            line: None,
            rule: rule.into(),
            message: String::new(),
            remedy: String::new(),
        }
    }

    fn rules_left(values: &str) -> Vec<String> {
        let mut findings = vec![finding("a"), finding("b")];
        apply_allowances("f", values, &mut findings);
        findings.into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn an_allowance_drops_its_rule_only() {
        assert_eq!(rules_left("x: 1\n# lint-allow a: the platform does it\n"), ["b"]);
    }

    #[test]
    fn an_allowance_without_reason_or_use_is_a_finding() {
        assert_eq!(rules_left("# lint-allow a\n"), ["a", "b", "allowance"]);
        assert_eq!(rules_left("# lint-allow c: never\n"), ["a", "b", "allowance"]);
    }

    #[test]
    fn helms_messages_name_file_and_line() {
        let root = charts::workspace::Workspace::find().unwrap();
        let chart = root.chart("tempo-stack").unwrap();
        let message = "execution error at (tempo-stack/templates/tempo-deployment.yaml:17:15): no";
        let found = helm_finding(&chart, "values", "helm-template", message);
        assert_eq!(
            (found.file.as_str(), found.line),
            ("charts/tempo-stack/templates/tempo-deployment.yaml", Some(17))
        );
        assert_eq!(helm_finding(&chart, "values", "helm-lint", "values: no").file, "values");
    }
}
