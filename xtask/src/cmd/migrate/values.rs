//! `cargo xtask migrate values`: values of another chart as values of tempo-stack.

use std::path::PathBuf;

use anyhow::{Context, Result};
use charts::render::RenderOptions;
use clap::Args;
use clap::builder::PossibleValuesParser;
use kit::failure::{Failure, Kind, causes, kind_of};
use migrate::convert::{Migration, convert};
use migrate::report::Report;
use migrate::{PEERS, Table, source, yaml};
use serde::Serialize;

use crate::ctx::Ctx;

const CHART: &str = "tempo-stack";

/// Prints values of another chart of Tempo as values of charts/tempo-stack.
///
/// Comments above the values say what has no counterpart and why, which keys the other chart doesn't know
/// either, and which defaults differ; one line on standard error counts them. Secrets that stand in clear
/// are never printed: the values name a Secret instead, and a comment says how to make it.
///
/// The result is rendered with helm. If the chart refuses it, it is printed all the same, with the
/// chart's reasons in the comments, and the command fails.
///
/// Traces stay where they are: let both run until the old ones have expired.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  helm get values tempo --output yaml > old.yaml
  cargo xtask migrate values --from grafana-community/tempo old.yaml > values.yaml
  helm install tempo-stack charts/tempo-stack --namespace observability --values values.yaml")]
pub struct ValuesArgs {
    /// The chart that the values are for; bitnami stands for bitnami/grafana-tempo.
    #[arg(long, value_name = "CHART", value_parser = PossibleValuesParser::new(PEERS))]
    from: String,
    /// The values alone, as a YAML file; not the HelmRelease or the Application that holds them.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Output<'a> {
    values: &'a serde_yaml::Value,
    report: &'a Report,
}

pub fn run(ctx: &Ctx, args: &ValuesArgs) -> Result<()> {
    let source = source::read(&args.file)?;
    let table = Table::read(&ctx.workspace, &args.from)?;
    let Migration { values, mut report } = convert(&table, source);
    let helm = ctx.helm()?;
    let chart = helm.prepare(&ctx.workspace.chart(CHART)?)?;
    let yaml = yaml::write(&values)?;
    let file = tempfile::NamedTempFile::new().context("making a file for helm")?;
    fs_err::write(&file, &yaml)?;
    let options = RenderOptions {
        values_files: vec![file.path().to_owned()],
        ..RenderOptions::documented(CHART)
    };
    if ctx.runner.plans() {
        ctx.runner.run(&helm.template_step(&chart, &options))?;
        return ctx.print_planned();
    }
    match helm.template(&chart, &options) {
        Ok(_) => {}
        Err(error) if kind_of(&error) == Kind::Findings => report.refused = Some(reasons(error.as_ref())),
        Err(error) => return Err(error),
    }
    let text = format!(
        "# Values of {CHART}, from {} for {}.\n{}\n{yaml}",
        args.file.display(),
        args.from,
        report.comments()
    );
    ctx.print(
        &Output {
            values: &values,
            report: &report,
        },
        text,
    )?;
    match &report.refused {
        None => ctx.say(report.summary()),
        Some(_) => {
            return Err(Failure::findings(
                format!("{CHART} refuses these values; {}", report.summary()),
                "correct what the first comment names",
            ));
        }
    }
    Ok(())
}

/// What helm says, without what it says to those who write charts.
fn reasons(error: &(dyn std::error::Error + 'static)) -> String {
    let text = causes(error);
    let said = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with("Use --debug"));
    said.collect::<Vec<_>>().join("\n")
}
