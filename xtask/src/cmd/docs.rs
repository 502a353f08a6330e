//! `cargo xtask docs`: what follows from the comments in values.yaml, and from the code.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use charts::generated::{self, Generated};
use charts::render::RenderOptions;
use charts::workspace::{Chart, Workspace};
use clap::Args;
use kit::failure::Failure;
use lint::rules::Finding;
use lint::values::{ValuesFile, known, readme, schema};
use stack_tests::model::door;
use tera::{Context as Data, Tera};

use crate::ctx::Ctx;
use crate::generated::conclude;

/// Lays out the value tables; its data is a list of [`readme::Table`]s.
const TEMPLATE: &str = "ci/templates/values.md.tera";
/// The part of a chart's README, or of a page beside it, that is written here.
const VALUES: &str = "values";
/// The part with the receivers, where the chart has a place for them.
const DOORS: &str = "doors";
/// What that part follows from.
const DOORS_SOURCE: &str = "tests/src/model/door.rs";
const README: &str = "README.md";
const COMMAND: &str = "cargo xtask docs";

/// Writes values.schema.json and the value tables from the comments in values.yaml, and the table of
/// receivers where there is a place for it: in a chart's README.md or a page docs/*.md of it.
///
/// Each key of values.yaml has its comment directly above it. `# --` begins the description, which
/// may go on in further lines; `# @schema` holds, on one line, JSON Schema keywords (draft-07) as a
/// YAML flow mapping. A map with children may do without, or have a comment without the dashes.
///
/// The type follows from the default; a keyword in @schema wins over it. A key that is not in
/// values.yaml is refused, except below a map whose @schema has additionalProperties, below `global`,
/// and in the values of a dependency: by the schema, or by the templates of a chart that has a
/// files/known-values.yaml, the table of its keys and defaults, which is written here too. The tables stand between the lines `<!-- values:begin -->` and
/// `<!-- values:end -->`, laid out by ci/templates/values.md.tera. What each
/// receiver of the Collector carries stands between `<!-- doors:begin -->` and `<!-- doors:end -->`; it
/// follows from tests/src/model/door.rs.
///
/// A leaf without a description or a @schema that can't be used is a finding with its line, exit code
/// 1; then nothing is written for that chart.
#[derive(Debug, Args)]
#[command(after_help = "A key with its comment:
  # -- Number of pods, 0 or 1.
  # @schema {\"minimum\": 0}
  replicas: 1

Example:
  cargo xtask docs
  cargo xtask docs --check   # in CI: fails and shows the difference")]
pub struct DocsArgs {
    /// Write nothing; fail if a file is not what the comments say.
    #[arg(long)]
    check: bool,
}

pub fn run(ctx: &Ctx, args: &DocsArgs) -> Result<()> {
    let mut all = Docs::default();
    for chart in ctx.workspace.charts()? {
        let docs = generate(&ctx.workspace, &chart)?;
        all.files.extend(docs.files);
        all.findings.extend(docs.findings);
    }
    if all.findings.is_empty() {
        conclude(ctx, &all.files, &[], args.check, COMMAND)?;
        // `lint` renders what is checked in.
        return match args.check || ctx.args.dry_run {
            true => Ok(()),
            false => accepted(ctx),
        };
    }
    if !args.check && !ctx.args.dry_run {
        generated::write(&all.files, &[])?;
    }
    ctx.print(
        &serde_json::json!({"findings": all.findings}),
        all.findings.iter().map(line).collect::<Vec<_>>().join("\n"),
    )?;
    Err(Failure::findings(
        format!(
            "{} findings; the files that they concern can't be written",
            all.findings.len()
        ),
        "fix the lines above: `cargo xtask docs --help` describes the comments",
    ))
}

/// Fails if helm refuses a chart with its own defaults, which it holds to the schemas that were written.
fn accepted(ctx: &Ctx) -> Result<()> {
    let helm = ctx.helm()?;
    for chart in ctx.workspace.charts()? {
        let prepared = helm.prepare(&chart)?;
        let output = ctx
            .runner
            .try_run(&helm.template_step(&prepared, &RenderOptions::documented(chart.name())))?;
        if !output.success() && output.stderr.contains("schema") {
            return Err(Failure::findings(
                format!(
                    "helm refuses {} with its own defaults:\n{}",
                    chart.name(),
                    output.tail()
                ),
                "correct the default in values.yaml, or its @schema: the message says which key",
            ));
        }
    }
    Ok(())
}

/// What can be written for a chart, and why the rest can't.
#[derive(Debug, Default)]
struct Docs {
    files: Vec<Generated>,
    findings: Vec<Finding>,
}

fn generate(workspace: &Workspace, chart: &Chart) -> Result<Docs> {
    let values = ValuesFile::of_chart(workspace, chart)?;
    let mut docs = Docs {
        files: Vec::new(),
        findings: values.findings().to_vec(),
    };
    if !docs.findings.is_empty() {
        return Ok(docs);
    }
    let mut add = |path: &Path, text| {
        docs.files.push(Generated {
            path: path.to_path_buf(),
            text,
            source: values.shown.clone(),
        });
    };
    let known = known::file_of(chart);
    let schema = schema::of_chart(chart.name(), &values, known.is_some());
    let schema = serde_json::to_string_pretty(&schema).context("writing JSON")?;
    add(&chart.dir.join("values.schema.json"), schema + "\n");
    if let Some(known) = known {
        add(&known, known::table(&values)?);
    }
    let parts = [(VALUES, tables(workspace.root(), &values)?), (DOORS, doors())];
    let mut placed = 0;
    for (path, old) in pages(chart)? {
        let here = |part: &str| markers(part).iter().any(|marker| old.contains(marker));
        placed += usize::from(here(VALUES));
        let mut text = Some(old.clone());
        for (part, content) in parts.iter().filter(|(part, _)| here(part)) {
            text = text.and_then(|text| between_markers(&text, part, content));
            if text.is_none() {
                docs.findings.push(no_place(workspace, &path, part));
                break;
            }
        }
        if let Some(text) = text.filter(|_| parts.iter().any(|(part, _)| here(part))) {
            add(&path, text);
        }
    }
    if placed == 0 {
        docs.findings.push(no_place(workspace, &chart.dir.join(README), VALUES));
    }
    Ok(docs)
}

/// What there is to read about a chart, with its text: its README, and the pages in its folder `docs`.
fn pages(chart: &Chart) -> Result<Vec<(PathBuf, String)>> {
    let mut paths = vec![chart.dir.join(README)];
    let folder = chart.dir.join("docs");
    if folder.exists() {
        for entry in fs_err::read_dir(folder)? {
            paths.push(entry?.path());
        }
    }
    paths.retain(|path| path.exists() && path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    let read = |path: PathBuf| Ok((path.clone(), fs_err::read_to_string(path)?));
    paths.into_iter().map(read).collect()
}

/// The table of what each receiver carries, for the chart that has its place.
fn doors() -> String {
    format!(
        "<!-- Written by `{COMMAND}` from {DOORS_SOURCE}: change it there. -->\n\n{}",
        door::markdown_table()
    )
}

/// The lines between which the part of that name is written.
fn markers(part: &str) -> [String; 2] {
    ["begin", "end"].map(|side| format!("<!-- {part}:{side} -->"))
}

fn no_place(workspace: &Workspace, readme: &Path, part: &str) -> Finding {
    let [begin, end] = markers(part);
    Finding {
        file: workspace.shown(readme).to_string(),
        line: None,
        rule: format!("{part}-readme"),
        message: format!("no place for the table of {part}: {begin} and {end} must stand there once each"),
        remedy: "put both lines where the table belongs".into(),
    }
}

fn tables(root: &Path, values: &ValuesFile) -> Result<String> {
    let path = root.join(TEMPLATE);
    let template = fs_err::read_to_string(&path)?;
    let mut data = Data::new();
    data.insert("tables", &readme::tables(values));
    // Markdown, not HTML: nothing is escaped.
    Tera::one_off(&template, &data, false).with_context(|| format!("rendering {TEMPLATE}"))
}

/// The text with what stands between the part's markers replaced; none if they don't stand there once each.
fn between_markers(text: &str, part: &str, inner: &str) -> Option<String> {
    let [begin, end] = markers(part);
    let (before, rest) = text.split_once(&begin)?;
    let (old, after) = rest.split_once(&end)?;
    let again = [before, old, after]
        .iter()
        .any(|text| text.contains(&begin) || text.contains(&end));
    (!again).then(|| format!("{before}{begin}\n{}\n{end}{after}", inner.trim()))
}

/// `file:line: rule: message (remedy)`, as editors and people read it.
fn line(finding: &Finding) -> String {
    let Finding {
        file,
        rule,
        message,
        remedy,
        ..
    } = finding;
    let place = finding
        .line
        .map_or_else(|| file.clone(), |line| format!("{file}:{line}"));
    format!("{place}: {rule}: {message} ({remedy})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(values: &str, readme: &str) -> (tempfile::TempDir, Workspace) {
        let dir = tempfile::tempdir().unwrap();
        let chart = dir.path().join("charts/c");
        std::fs::create_dir_all(&chart).unwrap();
        std::fs::create_dir_all(dir.path().join("ci/templates")).unwrap();
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(TEMPLATE);
        std::fs::copy(template, dir.path().join(TEMPLATE)).unwrap();
        std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: c\nversion: 0.1.0\n").unwrap();
        std::fs::write(chart.join("values.yaml"), values).unwrap();
        std::fs::write(chart.join("README.md"), readme).unwrap();
        let workspace = Workspace::at(dir.path());
        (dir, workspace)
    }

    fn docs(values: &str, readme: &str) -> Docs {
        let (_dir, workspace) = workspace(values, readme);
        generate(&workspace, &workspace.chart("c").unwrap()).unwrap()
    }

    #[test]
    fn the_tables_stand_between_the_markers_and_the_rest_of_the_readme_stays() {
        let docs = docs(
            "# -- A name.\nname: \"\"\n# All of t.\nt:\n  # -- How many.\n  count: 3\n",
            "# C\n\n<!-- values:begin -->\nold\n<!-- values:end -->\n\nMore.\n",
        );
        assert_eq!(
            docs.files[1].text,
            "# C\n\n<!-- values:begin -->\n\
             <!-- Written by `cargo xtask docs` from the comments in values.yaml: change them there. -->\n\n\
             ### General\n\n\
             | Key | Type | Default | Description |\n| --- | --- | --- | --- |\n\
             | `name` | string | `\"\"` | A name. |\n\n\
             ### `t`\n\nAll of t.\n\n\
             | Key | Type | Default | Description |\n| --- | --- | --- | --- |\n\
             | `t.count` | integer | `3` | How many. |\n\
             <!-- values:end -->\n\nMore.\n"
        );
        assert!(docs.files[0].path.ends_with("charts/c/values.schema.json"));
    }

    #[test]
    fn writing_twice_gives_the_same_text() {
        let once = between_markers("a\n<!-- values:begin --><!-- values:end -->\nb", VALUES, "x\n").unwrap();
        assert_eq!(between_markers(&once, VALUES, "x\n").as_ref(), Some(&once));
    }

    #[test]
    fn a_readme_without_both_markers_once_is_a_finding_and_the_schema_is_made_all_the_same() {
        let [begin, end] = markers(VALUES);
        let twice = format!("{begin}{end}{begin}{end}");
        for readme in ["", "# C\n", "<!-- values:end --><!-- values:begin -->", &begin, &twice] {
            let docs = docs("# -- A.\na: 1\n", readme);
            assert_eq!((docs.files.len(), docs.findings.len()), (1, 1), "{readme}");
        }
    }

    #[test]
    fn a_page_beside_the_readme_may_have_the_tables() {
        let (dir, workspace) = workspace("# -- A.\na: 1\n", "# C\n");
        let page = dir.path().join("charts/c/docs/values.md");
        fs_err::create_dir(page.parent().unwrap()).unwrap();
        fs_err::write(&page, markers(VALUES).concat()).unwrap();
        let docs = generate(&workspace, &workspace.chart("c").unwrap()).unwrap();
        assert_eq!((docs.files.len(), docs.findings.len()), (2, 0));
        assert_eq!(docs.files[1].path, page);
        assert!(docs.files[1].text.contains("| `a` |"), "{}", docs.files[1].text);
    }

    #[test]
    fn an_undocumented_key_stops_the_chart_and_is_shown_with_file_and_line() {
        let docs = docs("a:\n  b: 1\n", &markers(VALUES).concat());
        assert!(docs.files.is_empty());
        let shown = line(&docs.findings[0]);
        assert!(
            shown.starts_with("charts/c/values.yaml:2: values-comment: a.b"),
            "{shown}"
        );
    }

    #[test]
    fn a_readme_with_a_place_for_the_receivers_gets_their_table() {
        let values = markers(VALUES).concat();
        let made = docs(
            "# -- A.\na: 1\n",
            &format!("# C\n{values}\n<!-- doors:begin -->\nold\n<!-- doors:end -->\nMore.\n"),
        );
        let text = &made.files[1].text;
        assert!(text.contains(door::markdown_table().trim()), "{text}");
        assert!(text.ends_with("\n<!-- doors:end -->\nMore.\n"), "{text}");
        let broken = docs("# -- A.\na: 1\n", &format!("{values}<!-- doors:begin -->"));
        assert_eq!((broken.files.len(), broken.findings.len()), (1, 1));
        assert_eq!(broken.findings[0].rule, "doors-readme");
    }
}
