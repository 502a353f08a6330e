//! `cargo xtask schemas`: the committed Kubernetes API schemas.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use charts::kubernetes;
use clap::Args;
use kit::failure::Failure;
use kit::progress::Progress;
use kit::step::Step;
use lint::schema_check;
use serde::Deserialize;

use crate::ctx::Ctx;

/// The Go module that carries the API server's OpenAPI file.
const MODULE: &str = "k8s.io/kubernetes";

/// Derives the Kubernetes API schemas below ci/schemas.
///
/// For each folder ci/schemas/v<version> reads api/openapi-spec/swagger.json of the Go module
/// k8s.io/kubernetes, which the folder's go.mod pins and go.sum verifies, keeps the kinds that the charts
/// render and writes them without prose, with closed objects. Needs Go, and the network where a module
/// isn't downloaded yet; `lint` needs neither.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask schemas --check\n\nAnother version of Kubernetes:\n  \
                  mkdir ci/schemas/v1.38.0 && cd ci/schemas/v1.38.0\n  \
                  go mod init tempo-stack/ci/schemas && go mod edit -require k8s.io/kubernetes@v1.38.0\n  \
                  go mod download k8s.io/kubernetes && cargo xtask schemas"
)]
pub struct SchemasArgs {
    /// Change nothing; fail if a committed file is not what would be written.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run(ctx: &Ctx, args: &SchemasArgs) -> Result<()> {
    let root = ctx.workspace.root();
    let versions = kubernetes::versions(root)?;
    if ctx.args.dry_run {
        let steps: Vec<Step> = versions
            .iter()
            .map(|version| download(&kubernetes::version_folder(root, version)))
            .collect();
        return ctx.print_plan(&steps);
    }
    let mut changed = Vec::new();
    let mut total = 0;
    let mut progress = Progress::start("deriving schemas", versions.len() as u64, ctx.args.quiet);
    for version in &versions {
        let folder = kubernetes::version_folder(root, version);
        let files = derived(ctx, &folder, version)?;
        let differing = differences(&folder, &files)?;
        if !args.check && !differing.is_empty() {
            write(&folder, &files, &differing)?;
        }
        total += files.len();
        changed.extend(differing);
        progress.advance(version);
    }
    drop(progress);
    if args.check {
        return judge(ctx, &changed, total);
    }
    let line = format!(
        "{total} schemas of {} Kubernetes versions, {} changed",
        versions.len(),
        changed.len()
    );
    ctx.conclude(&serde_json::json!({"schemas": total, "changed": changed}), line)
}

/// The schemas that a version's folder should hold: file name and content.
fn derived(ctx: &Ctx, folder: &Path, version: &str) -> Result<BTreeMap<String, String>> {
    let output = ctx.runner.run(&download(folder))?;
    let module: Module = serde_json::from_str(&output.stdout).context("reading what `go mod download` printed")?;
    if module.version.strip_prefix('v') != Some(version) {
        return Err(Failure::usage(
            format!(
                "{} requires Kubernetes {}",
                folder.join("go.mod").display(),
                module.version
            ),
            "require the version that the folder is named for",
        ));
    }
    let file = module.dir.join("api/openapi-spec/swagger.json");
    let text = fs_err::read_to_string(&file)?;
    let openapi = serde_json::from_str(&text).with_context(|| format!("parsing {}", file.display()))?;
    schema_check::derive(&openapi).with_context(|| format!("in {}", file.display()))
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

/// The files that are missing, different or orphaned, beside the module files.
fn differences(folder: &Path, files: &BTreeMap<String, String>) -> Result<Vec<PathBuf>> {
    let mut changed: Vec<PathBuf> = files
        .iter()
        .map(|(name, text)| (folder.join(name), text))
        .filter(|(path, text)| std::fs::read_to_string(path).ok().as_ref() != Some(text))
        .map(|(path, _)| path)
        .collect();
    for entry in fs_err::read_dir(folder)? {
        let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
        if name.is_some_and(|name| name.ends_with(".json") && !files.contains_key(&name)) {
            changed.push(path);
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
    Err(Failure::findings(
        format!("not what the go.mod beside it gives: {}", names.join(", ")),
        "run `cargo xtask schemas` and commit the result",
    ))
}

fn write(folder: &Path, files: &BTreeMap<String, String>, differing: &[PathBuf]) -> Result<()> {
    for path in differing.iter().filter(|path| path.exists()) {
        fs_err::remove_file(path)?;
    }
    for (name, text) in files {
        let path = folder.join(name);
        fs_err::write(&path, text)?;
    }
    Ok(())
}
