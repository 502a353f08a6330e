//! Builds tools from their modules into the cache, each once.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kit::disk;
use kit::failure::{Failure, Kind};
use kit::key::Key;
use kit::lock;
use kit::progress::Progress;
use kit::run_dir::RunDir;
use kit::step::Step;

use super::go::Go;
use super::{Installed, Origin, Tool, Toolbox};

/// A cold build of the largest tool stays under this, in modules and compiled packages.
const BUILD_SPACE: u64 = 3 * 1024 * 1024 * 1024;
/// A cold build on a busy two-core machine takes less than this.
const BUILD_TIMEOUT: Duration = Duration::from_secs(40 * 60);

impl Toolbox {
    /// The build of a tool as a step that writes to `output`.
    pub(crate) fn build_step(&self, tool: &Tool, output: &Path) -> Step {
        let ldflags = format!("-s -w {}", tool.file.ldflags);
        self.go_step(format!("building {} {}", tool.name, tool.file.version), tool)
            .args([
                "build",
                "-v",
                "-tags",
                &tool.file.tags.join(","),
                "-ldflags",
                ldflags.trim_end(),
                "-o",
            ])
            .path_arg(output)
            .arg(&tool.file.package)
            .timeout(BUILD_TIMEOUT)
    }

    pub(super) fn cached(&self, tool: &Tool, go: &Go) -> Result<Installed> {
        let key = self.key(tool, go)?;
        let version = &tool.file.version;
        let dir = self
            .cache
            .join("tools")
            .join(&tool.name)
            .join(format!("{version}-{key}"));
        Ok(Installed {
            name: tool.name.clone(),
            path: dir.join(&tool.name),
            version: version.clone(),
            origin: Origin::Pinned,
        })
    }

    /// Of all that decides the binary.
    pub(super) fn key(&self, tool: &Tool, go: &Go) -> Result<String> {
        let mut key = Key::default()
            .text("go", &go.version)
            .text("target", &go.target)
            .text("package", &tool.file.package)
            .text("ldflags", &tool.file.ldflags);
        // Tools without tags keep the keys that they had.
        for tag in &tool.file.tags {
            key = key.text("tag", tag);
        }
        for entry in walkdir::WalkDir::new(&tool.dir).sort_by_file_name() {
            let entry = entry.with_context(|| format!("reading {}", tool.dir.display()))?;
            let name = entry.file_name().to_string_lossy();
            if entry.file_type().is_file() && (name == "go.mod" || name == "go.sum" || name.ends_with(".go")) {
                key = key.file(entry.path())?;
            }
        }
        Ok(key.finish())
    }

    pub(super) fn lock(&self, tool: &Tool) -> Result<File> {
        let path = self.cache.join("tools").join(&tool.name).join("lock");
        let what = format!("builds {}", tool.name);
        lock::wait_for(&path, &what, self.quiet, self.runner.cancel())
    }

    pub(super) fn build(&self, tool: &Tool, go: &Go, target: &Path) -> Result<()> {
        let dir = target.parent().context("a cached tool has a folder")?;
        disk::require(dir, BUILD_SPACE, &format!("building {}", tool.name))?;
        let list = self
            .go_step(format!("listing the packages of {}", tool.name), tool)
            .args(["list", "-deps", "-f", "{{.ImportPath}}", &tool.file.package])
            .timeout(BUILD_TIMEOUT);
        // Go leaves its temporary folder behind when it is stopped: in ours, that goes with the run.
        let run = RunDir::create(&self.builds(), &tool.name)?;
        let inside = |step: Step| step.in_run(&run).env("GOTMPDIR", run.path().to_string_lossy());
        let mut progress = Progress::start(format!("building {} {}", tool.name, tool.file.version), 0, self.quiet);
        let listed = self.runner.try_run(&inside(list.clone()))?;
        self.judge(tool, &list, &listed)?;
        progress.set_total(listed.stdout.lines().count() as u64);
        let built = run.path().join(&tool.name);
        let step = self.build_step(tool, &built);
        let output = self
            .runner
            .stream(&inside(step.clone()), &mut |line| progress.advance(line))?;
        self.judge(tool, &step, &output)?;
        // The rename makes it appear whole or not at all.
        std::fs::rename(&built, target).with_context(|| format!("moving {} into the cache", tool.name))?;
        progress.finish(&format!(
            "built with {} in {:.0} s",
            go.version,
            (listed.elapsed + output.elapsed).as_secs_f64()
        ));
        Ok(())
    }

    fn judge(&self, tool: &Tool, step: &Step, output: &kit::step::Output) -> Result<()> {
        if output.success() {
            return Ok(());
        }
        let (kind, remedy) = if output.disk_was_full() {
            (
                Kind::Environment,
                "free some space on the disks of GOCACHE, GOMODCACHE and XTASK_CACHE, then run it again".to_owned(),
            )
        } else {
            (Kind::Tool, format!("repeat it with: {}", step.command_line()))
        };
        Err(Failure::err(
            kind,
            format!("{} {} can't be built:\n{}", tool.name, tool.file.version, output.tail()),
            remedy,
        ))
    }
}
