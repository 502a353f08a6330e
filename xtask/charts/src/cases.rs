//! Every case of every chart, rendered as it is documented, several at a time.

use anyhow::Result;
use kit::failure::Failure;

use crate::render::{Helm, Prepared, Render, RenderOptions};
use crate::workspace::{Case, Chart};

/// One case and what it renders to.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The chart.
    pub chart: Chart,
    /// The case.
    pub case: Case,
    /// How it was rendered.
    pub options: RenderOptions,
    /// What came out.
    pub render: Render,
}

/// How a case is rendered: as [`RenderOptions::documented`], with its values file.
pub fn options(chart: &Chart, case: &Case) -> RenderOptions {
    RenderOptions::documented(chart.name()).values_file(&case.values)
}

/// Renders every case of the charts, sorted by chart and case. Fails with the first case
/// that doesn't render, in that order.
pub fn render_all(helm: &Helm, charts: &[Chart]) -> Result<Vec<Rendered>> {
    let prepared = helm.runner.in_parallel(charts, |chart| helm.prepare(chart))?;
    let mut jobs = Vec::new();
    for (chart, prepared) in charts.iter().zip(&prepared) {
        for case in chart.cases()? {
            jobs.push((chart, prepared, case));
        }
    }
    helm.runner
        .in_parallel(&jobs, |(chart, prepared, case)| render(helm, chart, prepared, case))
}

fn render(helm: &Helm, chart: &Chart, prepared: &Prepared, case: &Case) -> Result<Rendered> {
    let options = options(chart, case);
    let render = helm.template(prepared, &options).map_err(|error| {
        // helm's message speaks of templates only: it must not lose the case, nor its remedy.
        let remedy = kit::failure::remedy_of(&error).unwrap_or_default();
        let what = format!("{} with ci/{}-values.yaml: {error:#}", chart.name(), case.name);
        Failure::err(kit::failure::kind_of(&error), what, remedy)
    })?;
    Ok(Rendered {
        chart: chart.clone(),
        case: case.clone(),
        options,
        render,
    })
}
