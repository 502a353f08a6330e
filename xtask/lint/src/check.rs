//! Cases through every check that needs no cluster.
//!
//! Per case: `helm lint --strict` (which compares the values with values.schema.json), `helm template`,
//! then the rules of our own, the configurations and kube-score on what it printed. Then Pod Security,
//! promtool and the API schemas on the objects of all cases.
//!
//! A case that breaks a rule on purpose says so in its values file: `# lint-allow <rule>: <reason>`.

use std::path::Path;

use anyhow::{Context, Result};
use charts::cases::options;
use charts::kubernetes;
use charts::manifest::{Manifest, parse_all};
use charts::program::programs;
use charts::render::{Helm, Prepared, RenderOptions};
use charts::tools::{Installed, Toolbox};
use charts::workload::workload;
use charts::workspace::{Case, Chart, Workspace};
use kit::run_dir::RunDir;
use kit::step::Output;
use serde::Serialize;

use crate::config_check::verify::Programs;
use crate::config_check::{self, Judgement};
use crate::rules::{self, Finding, Subject, Variation};
use crate::schema_check::Target;
use crate::{artifact_hub, kube_score, links, pod_security, promtool, readme, schema_check, workflows};

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
    /// Judges pods.
    pub psa: Installed,
    /// Checks rules of Prometheus.
    pub promtool: Installed,
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
            psa: toolbox.get("psa")?,
            promtool: toolbox.get("promtool")?,
            programs: Programs {
                tempo: toolbox.get("tempo")?,
                collector: toolbox.get("otelcol")?,
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
}

impl LintChart {
    /// Copies the chart and builds its dependencies.
    pub fn prepare(helm: &Helm, chart: Chart) -> Result<LintChart> {
        let prepared = helm.prepare(&chart)?;
        Ok(LintChart {
            next: prepared.next_version()?,
            chart,
            prepared,
        })
    }
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

/// A case that was judged alone, with what is left for those who judge all cases at once.
struct Judged<'a> {
    chart: &'a Chart,
    report: Report,
    /// The values file as people see it, and its text.
    values: (String, String),
    options: RenderOptions,
    /// Nothing where the case doesn't render.
    manifests: Vec<Manifest>,
    targets: Vec<Target>,
}

impl Judged<'_> {
    fn subject(&self) -> Subject<'_> {
        Subject {
            chart: self.chart,
            case: &self.report.case,
            values: &self.values.1,
            release: &self.options.release,
            namespace: &self.options.namespace,
            manifests: &self.manifests,
        }
    }
}

/// Runs every check on the cases, and calls `done` with the name of each that is rendered. Fails where a
/// program can't be run, not where it finds something.
pub fn cases(
    tools: &Tools,
    workspace: &Workspace,
    cases: &[(&LintChart, Case)],
    done: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Report>> {
    let runner = &tools.helm.runner;
    let judged = runner.in_parallel(cases, |(chart, case)| {
        let name = format!("{}/{}", chart.chart.name(), case.name);
        let judged = alone(tools, workspace, chart, case).with_context(|| format!("case {name}"))?;
        done(&name);
        Ok(judged)
    })?;
    // To start one of these programs takes longer than it needs for all objects.
    let subjects: Vec<_> = judged.iter().map(Judged::subject).collect();
    let pods = pod_security::judge(&subjects, &tools.psa, &tools.helm.kube_version, runner)?;
    let rules = promtool::judge(&subjects, &tools.promtool, runner)?;
    let targets = judged.iter().map(|one| one.targets.as_slice());
    let targets: Vec<_> = subjects.into_iter().zip(targets).collect();
    let schemas = schema_check::judge(&targets, &tools.kubeconform, workspace.root(), runner)?;
    let more = pods.into_iter().zip(rules).zip(schemas);
    let reports = judged.into_iter().zip(more).map(|(one, ((pods, rules), schemas))| {
        let (shown, values) = &one.values;
        let mut report = one.report;
        report.findings.extend(pods);
        report.findings.extend(rules);
        report.findings.extend(schemas);
        apply_allowances(shown, values, &mut report.findings);
        report.findings.sort();
        report.findings.dedup();
        report
    });
    Ok(reports.collect())
}

/// All checks of one case that need no other.
fn alone<'a>(tools: &Tools, workspace: &Workspace, chart: &'a LintChart, case: &Case) -> Result<Judged<'a>> {
    let (helm, options) = (&tools.helm, options(&chart.chart, case));
    let shown = workspace.shown(&case.values).to_string();
    let lint = helm
        .step(format!("helm lint {} ({})", chart.chart.name(), case.name))
        .args(["lint", "--strict", "--kube-version", &helm.kube_version, "--values"])
        .path_arg(&case.values)
        .path_arg(&chart.prepared.dir);
    let linted = helm.runner.try_run(&lint)?;
    let rendered = helm.runner.try_run(&helm.template_step(&chart.prepared, &options))?;
    let mut findings = artifact_hub::judge(workspace, &chart.chart)?;
    findings.extend(helm_messages(&chart.chart, &shown, &linted));
    findings.extend(template_messages(&chart.chart, &shown, &rendered));
    let mut judged = Judged {
        chart: &chart.chart,
        report: Report {
            chart: chart.chart.name().to_owned(),
            case: case.name.clone(),
            findings,
            judgements: Vec::new(),
        },
        values: (shown, fs_err::read_to_string(&case.values)?),
        options,
        manifests: Vec::new(),
        targets: Vec::new(),
    };
    if rendered.success() {
        judged.manifests = parse_all(&rendered.stdout)?;
        let mut judgements = Vec::new();
        let findings = render_findings(tools, chart, &judged, &mut judgements)?;
        judged.targets = targets(tools, workspace, chart, &judged)?;
        judged.report.findings.extend(findings);
        judged.report.judgements = judgements;
    }
    Ok(judged)
}

/// The case's objects for every version of Kubernetes whose schemas are here, rendered once where that is enough.
fn targets(tools: &Tools, workspace: &Workspace, chart: &LintChart, judged: &Judged) -> Result<Vec<Target>> {
    let versions = kubernetes::versions(workspace.root())?;
    let groups = kubernetes::alike(&chart.prepared, &judged.values.1, &versions)?;
    let target = |group: Vec<&str>| {
        let helm = tools.helm.for_kubernetes(group[0]);
        let manifests = if group.contains(&tools.helm.kube_version.as_str()) {
            Ok(judged.manifests.clone())
        } else {
            render_again(&helm, chart, &judged.options, &Variation::default())
        };
        Target::new(&judged.subject(), &group, manifests)
    };
    groups.into_iter().map(target).collect()
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

/// The checks on what a case renders to, without those that judge all cases at once.
fn render_findings(
    tools: &Tools,
    chart: &LintChart,
    judged: &Judged,
    judgements: &mut Vec<Judgement>,
) -> Result<Vec<Finding>> {
    let (helm, subject) = (&tools.helm, &judged.subject());
    let render = |variation: &Variation| render_again(helm, chart, &judged.options, variation);
    let mut findings = rules::judge(subject, &render)?;
    findings.extend(configurations(tools, subject, judgements)?);
    findings.extend(kube_score::judge(
        subject,
        &tools.kube_score,
        &helm.kube_version,
        &helm.runner,
    )?);
    Ok(findings)
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
        .map(|field| (field.rule.to_owned(), field.remedy.to_owned()));
    let rest = [
        (artifact_hub::RULE, artifact_hub::SUMMARY),
        (readme::RULE, readme::SUMMARY),
        (links::RULE, links::SUMMARY),
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
            "the real program accepts the configuration, where it is available",
        ),
        (
            schema_check::RULE,
            "every object fits the schema of each committed version of the Kubernetes API, strictly",
        ),
        (promtool::RULE, promtool::SUMMARY),
        (
            "kube-score/…",
            "kube-score has nothing against it, beside the checks that are left out",
        ),
    ];
    let rest = rest.map(|(name, summary)| (name.to_owned(), summary.to_owned()));
    let workflows = workflows::RULES.map(|(name, summary)| (name.to_owned(), summary.to_owned()));
    own.chain(pod).chain(rest).chain(workflows).collect()
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
