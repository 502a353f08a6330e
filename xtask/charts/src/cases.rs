//! Every case of every chart, rendered as it is documented, several at a time.

use anyhow::{Context, Result, bail};
use kit::failure::Failure;
use kit::parallel::in_parallel;
use serde::Deserialize;

use crate::render::{Helm, Prepared, Render, RenderOptions};
use crate::workspace::{Case, Chart};

/// The comment by which a case asks for another release than the documented one.
const RELEASE: &str = "# @release";

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

/// `# @release {name: …, namespace: …}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    name: Option<String>,
    namespace: Option<String>,
}

/// How a case is rendered: as [`RenderOptions::documented`] with its values file, unless its first
/// comment lines hold `# @release {name: …, namespace: …}`.
pub fn options(chart: &Chart, case: &Case) -> Result<RenderOptions> {
    let path = &case.values;
    let text = fs_err::read_to_string(path)?;
    let mut options = RenderOptions::documented(chart.name()).values_file(path);
    if let Some(release) = release(&text).with_context(|| format!("reading {}", path.display()))? {
        options.release = release.name.unwrap_or(options.release);
        options.namespace = release.namespace.unwrap_or(options.namespace);
    }
    Ok(options)
}

fn release(text: &str) -> Result<Option<Release>> {
    let mut found = None;
    let mut in_head = true;
    for line in text.lines() {
        in_head &= line.is_empty() || line.starts_with('#');
        let Some(flow) = line.strip_prefix(RELEASE) else {
            continue;
        };
        if !in_head || found.is_some() {
            bail!("{RELEASE:?} must stand once, in the comment at the top");
        }
        found = Some(serde_yaml::from_str(flow).with_context(|| format!("{line:?}"))?);
    }
    Ok(found)
}

/// Renders every case of the charts, sorted by chart and case. Fails with the first case
/// that doesn't render, in that order.
pub fn render_all(helm: &Helm, charts: &[Chart]) -> Result<Vec<Rendered>> {
    let prepared = in_parallel(charts, |chart| helm.prepare(chart))?;
    let mut jobs = Vec::new();
    for (chart, prepared) in charts.iter().zip(&prepared) {
        for case in chart.cases()? {
            jobs.push((chart, prepared, case));
        }
    }
    in_parallel(&jobs, |(chart, prepared, case)| render(helm, chart, prepared, case))
}

fn render(helm: &Helm, chart: &Chart, prepared: &Prepared, case: &Case) -> Result<Rendered> {
    let options = options(chart, case)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_may_ask_for_a_release_of_its_own() {
        let release = release("# Long names.\n# @release {name: r, namespace: n}\n\na: 1\n")
            .unwrap()
            .unwrap();
        assert_eq!(
            (release.name.as_deref(), release.namespace.as_deref()),
            (Some("r"), Some("n"))
        );
    }

    #[test]
    fn a_release_that_would_be_overlooked_is_refused() {
        assert!(release("a: 1\n# @release {name: r}\n").is_err());
        assert!(release("# @release {name: r}\n# @release {name: s}\n").is_err());
        assert!(release("# @release {nam: r}\n").is_err());
        assert!(release("a: 1\n").unwrap().is_none());
    }
}
