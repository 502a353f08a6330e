//! `cargo xtask schemas`: the committed Kubernetes API schemas.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;
use stack_tests::failure::{Failure, Kind};
use stack_tests::schema_check;
use stack_tests::step::Step;

use crate::ctx::Ctx;

/// The Go module that carries the API server's OpenAPI file.
const MODULE: &str = "k8s.io/kubernetes";

/// Derives the Kubernetes API schemas below ci/schemas.
///
/// Reads api/openapi-spec/swagger.json of the Go module k8s.io/kubernetes, which ci/schemas/go.mod
/// pins and go.sum verifies, keeps the kinds that the charts render and writes them without prose,
/// with closed objects. Needs Go, and the network where the module isn't downloaded yet; `lint`
/// needs neither.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cargo xtask schemas --check")]
pub struct SchemasArgs {
    /// Change nothing; fail if a committed file is not what would be written.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run(ctx: &Ctx, args: &SchemasArgs) -> Result<()> {
    let folder = schema_check::folder(ctx.workspace.root());
    let step = download(&folder);
    if ctx.args.dry_run {
        return ctx.print_plan(&[step]);
    }
    let output = ctx.runner.run(&step)?;
    let module: Module = serde_json::from_str(&output.stdout).context("reading what `go mod download` printed")?;
    let version = module.version.trim_start_matches('v');
    if version != ctx.kube_version {
        return Err(Failure::err(
            Kind::Usage,
            format!(
                "ci/schemas/go.mod requires Kubernetes {version}, charts are rendered for {}",
                ctx.kube_version
            ),
            "make ci/schemas/go.mod and kube-version in Cargo.toml agree",
        ));
    }
    let file = module.dir.join("api/openapi-spec/swagger.json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let openapi = serde_json::from_str(&text).with_context(|| format!("parsing {}", file.display()))?;
    let files = schema_check::derive(&openapi)?;
    let target = folder.join(&module.version);
    let changed = differences(&target, &files)?;
    if args.check {
        return judge(ctx, &changed, files.len());
    }
    write(&target, &files)?;
    let line = format!(
        "{} schemas in {}, {} changed",
        files.len(),
        ctx.workspace.shown(&target),
        changed.len()
    );
    ctx.conclude(&serde_json::json!({"schemas": files.len(), "changed": changed}), line)
}

/// What `go mod download -json` prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Module {
    version: String,
    dir: PathBuf,
}

/// The download, or the look into Go's module cache, verified by go.sum.
fn download(folder: &Path) -> Step {
    Step::new("download the Kubernetes API's OpenAPI file", "go")
        .args(["mod", "download", "-json", MODULE])
        .cwd(folder)
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .timeout(Duration::from_secs(15 * 60))
        .hint("install Go and run it where the module proxy can be reached")
}

/// The files that are missing, different or orphaned.
fn differences(folder: &Path, files: &BTreeMap<String, String>) -> Result<Vec<PathBuf>> {
    let mut changed: Vec<PathBuf> = files
        .iter()
        .map(|(name, text)| (folder.join(name), text))
        .filter(|(path, text)| std::fs::read_to_string(path).ok().as_ref() != Some(text))
        .map(|(path, _)| path)
        .collect();
    if folder.is_dir() {
        for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            if name.is_some_and(|name| !files.contains_key(&name)) {
                changed.push(path);
            }
        }
    }
    Ok(changed)
}

fn judge(ctx: &Ctx, changed: &[PathBuf], total: usize) -> Result<()> {
    if changed.is_empty() {
        return ctx.conclude(
            &serde_json::json!({"schemas": total, "changed": []}),
            format!("{total} schemas are up to date"),
        );
    }
    let names: Vec<_> = changed
        .iter()
        .map(|path| ctx.workspace.shown(path).to_string())
        .collect();
    Err(Failure::err(
        Kind::Findings,
        format!("not what ci/schemas/go.mod gives: {}", names.join(", ")),
        "run `cargo xtask schemas` and commit the result",
    ))
}

fn write(folder: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    if folder.is_dir() {
        std::fs::remove_dir_all(folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
