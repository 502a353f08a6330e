//! `cargo xtask template`: the committed renders.

use anyhow::Result;
use charts::golden;
use clap::Args;

use crate::ctx::Ctx;
use crate::generated::conclude;

/// Renders every chart with every case into tests/golden, to be reviewed like code.
///
/// A case is a file charts/<chart>/ci/<case>-values.yaml. Each object that it renders to is
/// one file, tests/golden/<chart>/<case>/<kind>-<name>.yaml, as helm prints it. The release has
/// the chart's name and is in the namespace `observability`.
///
/// Files that no case renders any more are removed. Nothing is written unless everything renders.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask template && git diff tests/golden   # what a change of a template does to whom
  cargo xtask template --check                    # in CI: fails on a changed, missing or orphaned file")]
pub struct TemplateArgs {
    /// Only this chart.
    #[arg(long, value_name = "CHART")]
    chart: Option<String>,
    /// Write nothing; fail if a file is not what its template renders to.
    #[arg(long)]
    check: bool,
}

pub fn run(ctx: &Ctx, args: &TemplateArgs) -> Result<()> {
    let folder = golden::folder(&ctx.workspace);
    // Without --chart, the folder of a chart that was removed is full of orphans.
    let (charts, owned, command) = match &args.chart {
        Some(name) => {
            let chart = ctx.workspace.chart(name)?;
            let command = format!("cargo xtask template --chart {name}");
            (vec![chart], folder.join(name), command)
        }
        None => (ctx.workspace.charts()?, folder, "cargo xtask template".to_owned()),
    };
    let wanted = golden::wanted(&ctx.helm()?, &ctx.workspace, &charts)?;
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    conclude(ctx, &wanted, &[owned], args.check, &command)
}
