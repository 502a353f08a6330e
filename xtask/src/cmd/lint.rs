//! `cargo xtask lint`: every case of every chart against every check that needs no cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use charts::workspace::{Case, Chart};
use clap::Args;
use kit::failure::Failure;
use kit::progress::Progress;
use lint::check::{self, LintChart, Report, Tools};
use lint::rules::Finding;
use lint::{links, readme, workflows};

use crate::ctx::{Ctx, print_line};

/// Judges every case of every chart, without a cluster.
///
/// A case is a file charts/<chart>/ci/<case>-values.yaml. Each is linted by `helm lint --strict`
/// with its values against values.schema.json, rendered, and judged by: rules of our own, Pod Security
/// Standards restricted (Kubernetes' own evaluator), the configuration keys that each version of Tempo and the
/// Collector knows, the real programs (`tempo -config.verify=true`, `otelcol validate`) where they are
/// available, the Kubernetes API schemas (kubeconform, offline) and kube-score. The workflows in
/// .github/workflows are judged too: by actionlint, and for actions that are not pinned by a commit and
/// rights that no job needs.
///
/// Each finding names a file, a line where it is known, the rule, what is wrong and what to do.
/// With --format json the findings are an array. Exit code 1 when there are findings.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask lint\n  cargo xtask lint --chart tempo-stack --case s3\n  cargo xtask lint --rules"
)]
pub struct LintArgs {
    /// Only this chart.
    #[arg(long)]
    chart: Option<String>,
    /// Only this case of the charts that have it.
    #[arg(long)]
    case: Option<String>,
    /// Print the rules and what each demands, and judge nothing.
    #[arg(long)]
    rules: bool,
}

pub fn run(ctx: &Ctx, args: &LintArgs) -> Result<()> {
    if args.rules {
        return list_rules(ctx);
    }
    let charts = match &args.chart {
        Some(name) => vec![ctx.workspace.chart(name)?],
        None => ctx.workspace.charts()?,
    };
    let jobs = jobs(&charts, args)?;
    let tools = Tools::get(&ctx.toolbox, ctx.helm()?)?;
    let charts = charts
        .into_iter()
        .map(|chart| LintChart::prepare(&tools.helm, chart))
        .collect::<Result<Vec<_>>>()?;
    let jobs: Vec<_> = jobs.into_iter().map(|(chart, case)| (&charts[chart], case)).collect();
    let progress = Progress::start("judging cases", jobs.len() as u64, ctx.args.quiet);
    let progress = Mutex::new(progress);
    let done = |name: &str| progress.lock().unwrap_or_else(PoisonError::into_inner).advance(name);
    let reports = check::cases(&tools, &ctx.workspace, &jobs, &done)?;
    drop(progress);
    let mut front = workflows::judge(&ctx.workspace, &ctx.toolbox.get("actionlint")?, &ctx.runner)?;
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    front.extend(readme::judge(&ctx.workspace)?);
    front.extend(links::judge(&ctx.workspace)?);
    print_reports(ctx, &reports, &front)
}

fn list_rules(ctx: &Ctx) -> Result<()> {
    let rules: BTreeMap<String, String> = check::rule_list().into_iter().collect();
    let width = rules.keys().map(String::len).max().unwrap_or_default();
    let mut text = String::new();
    for (name, summary) in check::rule_list() {
        writeln!(text, "{name:<width$}  {summary}")?;
    }
    ctx.print(&rules, text)
}

/// The cases to judge, each with the index of its chart.
fn jobs(charts: &[Chart], args: &LintArgs) -> Result<Vec<(usize, Case)>> {
    let mut jobs = Vec::new();
    for (index, chart) in charts.iter().enumerate() {
        jobs.extend(chart.cases()?.into_iter().map(|case| (index, case)));
    }
    let Some(name) = &args.case else { return Ok(jobs) };
    let known: BTreeSet<String> = jobs.iter().map(|(_, case)| case.name.clone()).collect();
    jobs.retain(|(_, case)| case.name == *name);
    if jobs.is_empty() {
        return Err(Failure::unknown("case", name, known.iter().map(String::as_str)));
    }
    Ok(jobs)
}

/// A finding with the cases that show it.
#[derive(Debug, serde::Serialize)]
struct Row<'r> {
    #[serde(flatten)]
    finding: &'r Finding,
    cases: Vec<String>,
}

/// `front` are the findings about the workspace, which are in no case.
fn print_reports(ctx: &Ctx, reports: &[Report], front: &[Finding]) -> Result<()> {
    let mut rows: BTreeMap<&Finding, Vec<String>> = front.iter().map(|finding| (finding, Vec::new())).collect();
    for report in reports {
        for finding in &report.findings {
            rows.entry(finding)
                .or_default()
                .push(format!("{}/{}", report.chart, report.case));
        }
    }
    let rows: Vec<Row> = rows
        .into_iter()
        .map(|(finding, cases)| Row { finding, cases })
        .collect();
    let summary = format!("{} cases, {} findings", reports.len(), rows.len());
    match ctx.args.format {
        crate::ctx::Format::Json => ctx.print(&rows, "")?,
        crate::ctx::Format::Text => {
            print_judges(ctx, reports);
            print_line(&format!("{}{summary}", text(&rows)?))?;
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    Err(Failure::findings(
        summary,
        "correct what each finding names; `cargo xtask lint --rules` says what is demanded",
    ))
}

/// Says who judged the configurations: not every version has a program here.
fn print_judges(ctx: &Ctx, reports: &[Report]) {
    let mut judges: BTreeMap<_, usize> = BTreeMap::new();
    for judgement in reports.iter().flat_map(|report| &report.judgements) {
        *judges.entry(judgement).or_default() += 1;
    }
    for (judgement, count) in judges {
        ctx.say(format!(
            "{count:>3} configurations of {} judged by {}",
            judgement.program,
            judgement.by.join(" and ")
        ));
    }
}

/// The findings, in order of file and line.
fn text(rows: &[Row]) -> Result<String> {
    let mut text = String::new();
    for row in rows {
        let Finding {
            file,
            line,
            rule,
            message,
            remedy,
        } = row.finding;
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        writeln!(text, "{file}{line}: {rule}: {message}")?;
        writeln!(text, "    do: {remedy}")?;
        if !row.cases.is_empty() {
            writeln!(text, "    in: {}", row.cases.join(", "))?;
        }
    }
    Ok(text)
}
