//! `cargo xtask schemas`: the committed Kubernetes API schemas.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use charts::generated::Generated;
use charts::kubernetes;
use clap::Args;
use kit::failure::Failure;
use kit::progress::Progress;
use kit::step::Step;
use lint::schema_check;
use serde::Deserialize;

use crate::ctx::Ctx;
use crate::generated::conclude;

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

pub fn run(ctx: &Ctx, args: &SchemasArgs) -> Result<()> {
    let root = ctx.workspace.root();
    let versions = kubernetes::versions(root)?;
    let mut wanted = Vec::new();
    let mut progress = Progress::start("deriving schemas", versions.len() as u64, ctx.args.quiet);
    for version in &versions {
        let folder = kubernetes::version_folder(root, version);
        let module = folder.join("go.mod");
        let generated = |(name, text)| Generated {
            path: folder.join(name),
            text,
            source: ctx.workspace.shown(&module).to_string(),
        };
        wanted.extend(derived(ctx, &folder, version)?.into_iter().map(generated));
        progress.advance(version);
    }
    drop(progress);
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    conclude(
        ctx,
        &wanted,
        &committed(&versions, root)?,
        args.check,
        "cargo xtask schemas",
    )
}

/// The schemas that are there; the module files beside them are written by hand.
fn committed(versions: &[String], root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for version in versions {
        for entry in fs_err::read_dir(kubernetes::version_folder(root, version))? {
            files.push(entry?.path());
        }
    }
    files.retain(|file| file.extension().is_some_and(|end| end == "json"));
    Ok(files)
}

/// The schemas that a version's folder should hold: file name and content.
fn derived(ctx: &Ctx, folder: &Path, version: &str) -> Result<BTreeMap<String, String>> {
    let output = ctx.runner.run(&download(folder))?;
    if ctx.runner.plans() {
        return Ok(BTreeMap::new());
    }
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
