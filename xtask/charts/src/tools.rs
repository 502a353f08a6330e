//! The pinned tools: real programs, built from Go modules under `ci/tools` where PATH has none.
//!
//! A tool is a folder with `tool.yaml`, `go.mod` and `go.sum`. It is built once into a cache that is
//! keyed by the content of its module files, its build settings and the Go version.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kit::disk;
use kit::failure::{Failure, Kind};
use kit::key::Key;
use kit::lock;
use kit::progress::Progress;
use kit::run_dir::RunDir;
use kit::step::{Runner, Step};
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

/// A cold build of the largest tool stays under this, in modules and compiled packages.
const BUILD_SPACE: u64 = 3 * 1024 * 1024 * 1024;
/// A cold build on a busy two-core machine takes less than this.
const BUILD_TIMEOUT: Duration = Duration::from_secs(40 * 60);

/// `ci/tools/<name>/tool.yaml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolFile {
    /// What it is for, in one line.
    pub summary: String,
    /// Which work needs it.
    #[serde(default)]
    pub group: Group,
    /// The Go package to build into a program with the folder's name; empty where `binaries` are set.
    #[serde(default)]
    pub package: String,
    /// Several programs of one module, each a tool of its own: name to Go package.
    #[serde(default)]
    pub binaries: BTreeMap<String, String>,
    /// The version that the module files pin.
    pub version: Version,
    /// Linker flags, beyond those that strip the binary.
    #[serde(default)]
    pub ldflags: String,
    /// Which versions found on PATH may be used instead.
    pub accept: VersionReq,
    /// Arguments that make the program print its version.
    pub probe: Vec<String>,
}

/// Which work needs a tool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Lint, tests and local end-to-end runs: what `tools install` builds without being told names.
    #[default]
    Default,
    /// Signing, pushing and checking releases.
    Release,
    /// A kind cluster and its offline images.
    Testbed,
}

impl ToolFile {
    /// The programs that this file describes, each with the file that describes it alone.
    fn split(self, folder: &str) -> Result<Vec<(String, ToolFile)>> {
        if self.package.is_empty() == self.binaries.is_empty() {
            bail!("either `package` or `binaries` must be set");
        }
        if self.binaries.is_empty() {
            return Ok(vec![(folder.to_owned(), self)]);
        }
        let one = |(name, package): (&String, &String)| {
            let file = ToolFile {
                package: package.clone(),
                binaries: BTreeMap::new(),
                ..self.clone()
            };
            (name.clone(), file)
        };
        Ok(self.binaries.iter().map(one).collect())
    }
}

/// A pinned tool.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its name: the program's, and the folder's where that holds one program.
    pub name: String,
    /// The folder with its module files.
    pub dir: PathBuf,
    /// How it is built and recognised.
    pub file: ToolFile,
}

/// Where a tool was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Named on the command line.
    Given,
    /// On PATH.
    Path,
    /// Built from the pinned module.
    Pinned,
}

/// A tool that can be run.
#[derive(Debug, Clone, Serialize)]
pub struct Installed {
    /// The tool's name.
    pub name: String,
    /// The program.
    pub path: PathBuf,
    /// The version that it really is.
    pub version: Version,
    /// Where it comes from.
    pub origin: Origin,
}

/// The pinned tools of a workspace and the cache that they are built into.
#[derive(Debug, Clone)]
pub struct Toolbox {
    tools: Vec<Tool>,
    /// Programs that the user named; they win over all others.
    given: BTreeMap<String, Installed>,
    cache: PathBuf,
    runner: Runner,
    quiet: bool,
    go: Arc<Mutex<Option<Go>>>,
}

/// What decides a build besides the module files.
#[derive(Debug, Clone)]
struct Go {
    version: String,
    target: String,
}

impl Toolbox {
    /// Reads every `ci/tools/*/tool.yaml` below `root`.
    pub fn read(root: &Path, cache: PathBuf, runner: Runner, quiet: bool) -> Result<Toolbox> {
        let dir = root.join("ci/tools");
        let mut tools = Vec::new();
        for entry in fs_err::read_dir(&dir)? {
            let dir = entry.with_context(|| format!("reading {}", dir.display()))?.path();
            let file = dir.join("tool.yaml");
            if !file.is_file() {
                continue;
            }
            let text = fs_err::read_to_string(&file)?;
            let name = dir
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            let parsed: ToolFile =
                serde_yaml::from_str(&text).with_context(|| format!("parsing {}", file.display()))?;
            let programs = parsed
                .split(&name)
                .with_context(|| format!("reading {}", file.display()))?;
            tools.extend(programs.into_iter().map(|(name, file)| Tool {
                name,
                dir: dir.clone(),
                file,
            }));
        }
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Toolbox {
            tools,
            given: BTreeMap::new(),
            cache,
            runner,
            quiet,
            go: Arc::default(),
        })
    }

    /// `$XTASK_CACHE`, else `$XDG_CACHE_HOME/tempo-stack`, else `~/.cache/tempo-stack`.
    pub fn default_cache() -> Result<PathBuf> {
        let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let cache = var("XTASK_CACHE")
            .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("tempo-stack")))
            .or_else(|| var("HOME").map(|dir| dir.join(".cache/tempo-stack")))
            .ok_or_else(|| {
                Failure::environment(
                    "no folder for the tool cache: HOME is not set",
                    "set XTASK_CACHE to a folder",
                )
            })?;
        // Programs are started from other folders than this one.
        std::path::absolute(&cache).with_context(|| format!("{} can't be a folder", cache.display()))
    }

    /// Where builds have their run folders: what a killed one left is swept from there.
    pub fn builds(&self) -> PathBuf {
        self.cache.join("builds")
    }

    /// All pinned tools, by name.
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// The cache folder.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The tool of that name.
    pub fn tool(&self, name: &str) -> Result<&Tool> {
        let known = self.tools.iter().map(|tool| tool.name.as_str());
        let found = self.tools.iter().find(|tool| tool.name == name);
        found.ok_or_else(|| Failure::unknown("pinned tool", name, known))
    }

    /// The tool from PATH in an accepted version or from the cache; none if it would have to be built.
    pub fn find(&self, name: &str) -> Result<Option<Installed>> {
        let tool = self.tool(name)?;
        if let Some(found) = self.present(tool) {
            return Ok(Some(found));
        }
        // Without Go nothing says which build fits this machine, and nothing could be built either.
        let Ok(go) = self.go(tool) else { return Ok(None) };
        Ok(Some(self.cached(tool, &go)?).filter(|i| i.path.is_file()))
    }

    /// The tool from PATH in an accepted version, from the cache, or built now.
    pub fn get(&self, name: &str) -> Result<Installed> {
        match self.present(self.tool(name)?) {
            Some(found) => Ok(found),
            None => self.pinned(name),
        }
    }

    /// The pinned version, whatever PATH has; built now if the cache doesn't hold it.
    pub fn pinned(&self, name: &str) -> Result<Installed> {
        let tool = self.tool(name)?;
        let go = self.go(tool)?;
        let installed = self.cached(tool, &go)?;
        if installed.path.is_file() {
            return Ok(installed);
        }
        if self.runner.plans() {
            let build = self.build_step(tool, &installed.path);
            if !self.runner.planned().iter().any(|step| step.name == build.name) {
                self.runner.run(&build)?;
            }
            return Ok(installed);
        }
        let dir = installed.path.parent().context("a cached tool has a folder")?;
        std::fs::create_dir_all(dir).map_err(|error| {
            let what = format!("the tool cache can't be used: making {}: {error}", dir.display());
            Failure::environment(what, "set XTASK_CACHE to a folder that this user may write to")
        })?;
        let _lock = self.lock(tool)?;
        // Another run may have built it while this one waited for the lock.
        if !installed.path.is_file() {
            self.build(tool, &go, &installed.path)?;
        }
        Ok(installed)
    }

    /// The pinned version, if the cache holds it; whatever PATH has.
    pub fn find_pinned(&self, name: &str) -> Result<Option<Installed>> {
        let tool = self.tool(name)?;
        let Ok(go) = self.go(tool) else { return Ok(None) };
        Ok(Some(self.cached(tool, &go)?).filter(|i| i.path.is_file()))
    }

    /// A name for exactly the program that the pinned module gives: version and key of its sources.
    pub fn build_id(&self, name: &str) -> Result<String> {
        let tool = self.tool(name)?;
        let key = self.key(tool, &self.go(tool)?)?;
        Ok(format!("{} {}-{key}", tool.name, tool.file.version))
    }

    /// The Go package of a tool and the version of its module, as go.mod has it.
    pub fn module(&self, name: &str) -> Result<String> {
        let tool = self.tool(name)?;
        let path = tool.dir.join("go.mod");
        let text = fs_err::read_to_string(&path)?;
        Ok(required_module(&text, &tool.file.package)
            .unwrap_or_else(|| format!("{} v{}", tool.name, tool.file.version)))
    }

    /// The Go that would build the tool; an error says what to install.
    pub fn can_build(&self, name: &str) -> Result<String> {
        Ok(self.go(self.tool(name)?)?.version)
    }

    /// The build of a tool as a step that writes to `output`.
    pub fn build_step(&self, tool: &Tool, output: &Path) -> Step {
        let ldflags = format!("-s -w {}", tool.file.ldflags);
        self.go_step(format!("building {} {}", tool.name, tool.file.version), tool)
            .args(["build", "-v", "-ldflags", ldflags.trim_end(), "-o"])
            .path_arg(output)
            .arg(&tool.file.package)
            .timeout(BUILD_TIMEOUT)
    }

    /// A go command in the tool's module that never changes or bypasses go.mod and go.sum.
    fn go_step(&self, name: String, tool: &Tool) -> Step {
        Step::new(name, "go")
            .cwd(&tool.dir)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=readonly -trimpath -buildvcs=false")
            .env("GOWORK", "off")
    }

    fn go(&self, tool: &Tool) -> Result<Go> {
        let go = self.any_go(tool)?;
        // With GOTOOLCHAIN=local Go says only in the middle of a build that it is too old.
        match go_line(tool)? {
            Some(needed) if numbers(&go.version) < numbers(&needed) => Err(Failure::tool(
                format!(
                    "{} {} is not on PATH and can't be built: it needs Go {needed}, the Go here is {}",
                    tool.name, tool.file.version, go.version
                ),
                self.install_go()?,
            )),
            _ => Ok(go),
        }
    }

    /// The Go on PATH, whatever its version.
    fn any_go(&self, tool: &Tool) -> Result<Go> {
        let mut known = self
            .go
            .lock()
            .map_err(|_| anyhow::anyhow!("another thread failed while asking for Go"))?;
        if let Some(go) = &*known {
            return Ok(go.clone());
        }
        let remedy = self.install_go()?;
        let missing = |what: String| Failure::tool(what, remedy.as_str());
        let step = self
            .go_step("go env".into(), tool)
            .args(["env", "GOVERSION", "GOOS", "GOARCH"])
            .reads();
        let output = match self.runner.try_run(&step) {
            Ok(output) if output.success() => output,
            Ok(output) => {
                return Err(missing(format!(
                    "{} can't be built: {}",
                    tool.name,
                    output.tail().replace('\n', "; ")
                )));
            }
            Err(error) if kit::failure::kind_of(&error) == Kind::Tool => {
                return Err(missing(format!(
                    "{} {} is not on PATH and can't be built: Go was not found",
                    tool.name, tool.file.version
                )));
            }
            Err(error) => return Err(error),
        };
        let mut lines = output.stdout.lines();
        let (Some(version), Some(os), Some(arch)) = (lines.next(), lines.next(), lines.next()) else {
            bail!("`go env` printed {:?}", output.stdout);
        };
        let go = Go {
            version: version.to_owned(),
            target: format!("{os}/{arch}"),
        };
        *known = Some(go.clone());
        Ok(go)
    }

    /// What to do without a Go that builds every pinned tool.
    fn install_go(&self) -> Result<String> {
        let lines = self.tools.iter().map(go_line).collect::<Result<Vec<_>>>()?;
        let needed = lines.into_iter().flatten().max_by_key(|version| numbers(version));
        let needed = needed.context("no go.mod below ci/tools has a go line")?;
        Ok(format!(
            "install Go {needed} or newer (https://go.dev/dl) and make sure `go version` works"
        ))
    }

    fn cached(&self, tool: &Tool, go: &Go) -> Result<Installed> {
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
    fn key(&self, tool: &Tool, go: &Go) -> Result<String> {
        let mut key = Key::default()
            .text("go", &go.version)
            .text("target", &go.target)
            .text("package", &tool.file.package)
            .text("ldflags", &tool.file.ldflags);
        for entry in walkdir::WalkDir::new(&tool.dir).sort_by_file_name() {
            let entry = entry.with_context(|| format!("reading {}", tool.dir.display()))?;
            let name = entry.file_name().to_string_lossy();
            if entry.file_type().is_file() && (name == "go.mod" || name == "go.sum" || name.ends_with(".go")) {
                key = key.file(entry.path())?;
            }
        }
        Ok(key.finish())
    }

    fn lock(&self, tool: &Tool) -> Result<File> {
        let path = self.cache.join("tools").join(&tool.name).join("lock");
        let what = format!("builds {}", tool.name);
        lock::wait_for(&path, &what, self.quiet, self.runner.cancel())
    }

    fn build(&self, tool: &Tool, go: &Go, target: &Path) -> Result<()> {
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

    /// Takes the program at `path` for the tool of that name, in whatever version it says that it is.
    pub fn give(&mut self, name: &str, path: &Path) -> Result<()> {
        let tool = self.tool(name)?;
        let refused = |why: &str| {
            Failure::usage(
                format!("{} can't be used as {name}: {why}", path.display()),
                format!(
                    "name a {name} that answers `{name} {}` with its version",
                    tool.file.probe.join(" ")
                ),
            )
        };
        let path = std::path::absolute(path).map_err(|error| refused(&error.to_string()))?;
        if !path.is_file() {
            return Err(refused("there is no such file"));
        }
        let version = self
            .version(tool, &path)
            .map_err(|error| refused(&format!("{error:#}")))?;
        let given = Installed {
            name: name.to_owned(),
            version: version.ok_or_else(|| refused("it prints no version"))?,
            path,
            origin: Origin::Given,
        };
        self.given.insert(name.to_owned(), given);
        Ok(())
    }

    /// The version that a program says it is; none if it prints none.
    fn version(&self, tool: &Tool, path: &Path) -> Result<Option<Version>> {
        let step = Step::new(format!("{} version", tool.name), path)
            .args(&tool.file.probe)
            .timeout(Duration::from_secs(10))
            .reads();
        let output = self.runner.try_run(&step)?;
        Ok(find_version(&output.stdout).or_else(|| find_version(&output.stderr)))
    }

    /// The program that was named, else the one on PATH if it says that it is an accepted version.
    fn present(&self, tool: &Tool) -> Option<Installed> {
        if let Some(given) = self.given.get(&tool.name) {
            return Some(given.clone());
        }
        let path = std::env::split_paths(&std::env::var_os("PATH")?)
            .filter_map(|dir| std::path::absolute(dir.join(&tool.name)).ok())
            .find(|path| path.is_file())?;
        let version = self.version(tool, &path).ok()??;
        tool.file.accept.matches(&version).then(|| Installed {
            name: tool.name.clone(),
            path,
            version,
            origin: Origin::Path,
        })
    }
}

/// `package version` for the longest required module that the package belongs to; none for a package
/// of the module itself.
fn required_module(go_mod: &str, package: &str) -> Option<String> {
    let belongs = |module: &str| {
        let rest = package.strip_prefix(module);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    go_mod
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("require ").split_once(' '))
        .filter(|(module, version)| belongs(module) && version.starts_with('v'))
        .max_by_key(|(module, _)| module.len())
        .and_then(|(_, version)| Some(format!("{package} {}", version.split_whitespace().next()?)))
}

/// The `go` line of a tool's go.mod.
fn go_line(tool: &Tool) -> Result<Option<String>> {
    let file = tool.dir.join("go.mod");
    let text = fs_err::read_to_string(&file)?;
    let line = text.lines().find_map(|line| line.strip_prefix("go "));
    Ok(line.map(|version| version.trim().to_owned()))
}

/// The numbers of a Go version, to compare: 1, 26 and 8 of `go1.26.8`, 1 and 27 of `go1.27rc1`.
fn numbers(version: &str) -> Vec<u32> {
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    let parts = version.trim_start_matches(|c: char| !c.is_ascii_digit()).split('.');
    parts.map_while(|part| digits(part).parse().ok()).collect()
}

/// The first word that is a version, with or without a leading `v`.
fn find_version(text: &str) -> Option<Version> {
    text.split(|c: char| c.is_whitespace() || c == ',')
        .find_map(|word| Version::parse(word.trim_start_matches('v')).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;
    use kit::failure::{kind_of, remedy_of};
    use kit::step::Cancel;

    fn toolbox(cache: &Path) -> Toolbox {
        let root = Workspace::find().unwrap();
        Toolbox::read(
            root.root(),
            cache.to_path_buf(),
            Runner::new(Cancel::default(), false),
            true,
        )
        .unwrap()
    }

    fn module(dir: &Path, main: &str) {
        let tool = dir.join("ci/tools/hello");
        std::fs::create_dir_all(&tool).unwrap();
        std::fs::write(tool.join("go.mod"), "module hello\n\ngo 1.21\n").unwrap();
        std::fs::write(tool.join("main.go"), main).unwrap();
        std::fs::write(
            tool.join("tool.yaml"),
            "summary: says hello\npackage: .\nversion: 1.2.3\naccept: '=1.2.3'\nprobe: []\n",
        )
        .unwrap();
    }

    fn hello(dir: &Path) -> Toolbox {
        Toolbox::read(dir, dir.join("cache"), Runner::new(Cancel::default(), false), true).unwrap()
    }

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for (text, version) in [
            ("v4.3.1", "4.3.1"),
            ("otelcol version 0.155.0\n", "0.155.0"),
            ("tempo, version 2.9.0 (branch: , revision: )", "2.9.0"),
            ("Version  : 1.8.0\nBuild", "1.8.0"),
        ] {
            assert_eq!(find_version(text).unwrap().to_string(), version);
        }
        assert_eq!(find_version("development"), None);
    }

    #[test]
    fn a_program_that_was_named_is_taken_as_what_it_says_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        module(temp.path(), "package main\n\nfunc main() {}\n");
        let mut toolbox = hello(temp.path());
        let program = temp.path().join("mine");
        let write = |text: &str| {
            std::fs::write(&program, text).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        write("#!/bin/sh\necho 'hello, version 9.8.7'\n");
        toolbox.give("hello", &program).unwrap();
        let found = toolbox.get("hello").unwrap();
        assert_eq!(
            (found.version.to_string().as_str(), found.origin),
            ("9.8.7", Origin::Given)
        );
        write("#!/bin/sh\necho nothing\n");
        for (path, why) in [
            (program.as_path(), "prints no version"),
            (Path::new("/nowhere"), "no such file"),
        ] {
            let error = toolbox.give("hello", path).unwrap_err();
            assert!(error.to_string().contains(why), "{error:#}");
        }
    }

    #[test]
    fn every_pin_names_the_release_that_its_module_requires() {
        let temp = tempfile::tempdir().unwrap();
        for tool in toolbox(temp.path()).tools() {
            let text = std::fs::read_to_string(tool.dir.join("go.mod")).unwrap();
            assert!(tool.dir.join("go.sum").is_file(), "{} has no go.sum", tool.name);
            // The module proxy holds Tempo's release as a pseudo-version only; pause requires nothing.
            if !["tempo", "pause"].contains(&tool.name.as_str()) {
                assert!(text.contains(&format!(" v{}", tool.file.version)), "{}", tool.name);
            }
        }
    }

    #[test]
    fn the_module_of_a_package_is_the_longest_that_is_required() {
        let text = "module m\n\nrequire (\n\tgo.x/a v1.0.0 // indirect\n\tgo.x/a/b v2.0.0\n)\n";
        assert_eq!(required_module(text, "go.x/a/b/cmd").unwrap(), "go.x/a/b/cmd v2.0.0");
        assert_eq!(required_module(text, "go.x/a/bc").unwrap(), "go.x/a/bc v1.0.0");
        assert_eq!(required_module(text, "."), None);
    }

    #[test]
    fn one_module_may_hold_several_tools() {
        let temp = tempfile::tempdir().unwrap();
        let toolbox = toolbox(temp.path());
        let kubelet = toolbox.tool("kubelet").unwrap();
        let kubectl = toolbox.tool("kubectl").unwrap();
        assert_eq!(kubelet.dir, kubectl.dir);
        assert_eq!(kubelet.file.package, "k8s.io/kubernetes/cmd/kubelet");
        assert_eq!(kubelet.file.group, Group::Testbed);
        assert_eq!(toolbox.tool("helm").unwrap().file.group, Group::Default);
    }

    #[test]
    fn a_file_that_names_both_one_package_and_several_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        module(temp.path(), "package main\n\nfunc main() {}\n");
        let file = temp.path().join("ci/tools/hello/tool.yaml");
        let text = std::fs::read_to_string(&file).unwrap() + "binaries: {a: ./a}\n";
        std::fs::write(&file, text).unwrap();
        let runner = Runner::new(Cancel::default(), false);
        let error = Toolbox::read(temp.path(), temp.path().join("cache"), runner, true).unwrap_err();
        assert!(format!("{error:#}").contains("`package` or `binaries`"), "{error:#}");
    }

    #[test]
    fn a_tool_is_built_once_and_again_when_its_module_changes() {
        let temp = tempfile::tempdir().unwrap();
        module(temp.path(), "package main\n\nfunc main() { println(\"1.2.3\") }\n");
        let first = hello(temp.path()).pinned("hello").unwrap();
        let built = std::fs::metadata(&first.path).unwrap().modified().unwrap();
        let second = hello(temp.path()).pinned("hello").unwrap();
        assert_eq!(
            (
                &second.path,
                std::fs::metadata(&second.path).unwrap().modified().unwrap()
            ),
            (&first.path, built)
        );
        module(temp.path(), "package main\n\nfunc main() { println(\"changed\") }\n");
        assert_ne!(hello(temp.path()).pinned("hello").unwrap().path, first.path);
    }

    #[test]
    fn a_go_that_is_too_old_is_named_before_the_build_with_the_one_to_install() {
        let temp = tempfile::tempdir().unwrap();
        module(temp.path(), "package main\n\nfunc main() {}\n");
        let file = temp.path().join("ci/tools/hello/go.mod");
        std::fs::write(file, "module hello\n\ngo 1.999.0\n").unwrap();
        let mut toolbox = hello(temp.path());
        toolbox.go = Arc::new(Mutex::new(Some(Go {
            version: "go1.998.3".into(),
            target: "linux/amd64".into(),
        })));
        let error = toolbox.pinned("hello").unwrap_err();
        assert_eq!(kind_of(&error), Kind::Tool);
        assert!(
            error.to_string().contains("needs Go 1.999.0, the Go here is go1.998.3"),
            "{error}"
        );
        assert!(remedy_of(&error).unwrap().contains("install Go 1.999.0"));
        assert!(!temp.path().join("cache").exists());
    }

    #[test]
    fn go_versions_compare_by_their_numbers() {
        assert!(numbers("go1.26.8") > numbers("1.26.0"));
        assert!(numbers("go1.9") < numbers("1.21"));
        assert_eq!(numbers("devel go1.27-0a1b"), numbers("go1.27rc1"));
    }

    #[test]
    fn a_cache_that_can_not_be_made_is_the_environments_fault() {
        let temp = tempfile::tempdir().unwrap();
        module(temp.path(), "package main\n\nfunc main() {}\n");
        std::fs::write(temp.path().join("cache"), "a file").unwrap();
        let error = hello(temp.path()).pinned("hello").unwrap_err();
        assert_eq!(kind_of(&error), Kind::Environment);
        assert!(remedy_of(&error).unwrap().contains("XTASK_CACHE"));
    }

    #[test]
    fn a_broken_build_shows_the_compilers_words_and_the_command() {
        let temp = tempfile::tempdir().unwrap();
        module(temp.path(), "package main\n\nfunc main() { undefinedThing() }\n");
        let error = hello(temp.path()).pinned("hello").unwrap_err();
        assert_eq!(kind_of(&error), Kind::Tool);
        assert!(error.to_string().contains("undefined: undefinedThing"), "{error}");
        assert!(remedy_of(&error).unwrap().contains("go build"));
    }

    #[test]
    fn builds_at_the_same_time_do_not_disturb_each_other() {
        let temp = tempfile::tempdir().unwrap();
        module(temp.path(), "package main\n\nfunc main() { println(\"1.2.3\") }\n");
        let paths: Vec<PathBuf> = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| hello(temp.path()).pinned("hello").unwrap().path))
                .collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        assert!(paths.iter().all(|path| path == &paths[0] && path.is_file()));
        let left = |dir: &Path| std::fs::read_dir(dir).unwrap().count();
        let builds = hello(temp.path()).builds();
        assert_eq!(
            (left(paths[0].parent().unwrap()), left(&builds)),
            (1, 0),
            "something was left behind"
        );
    }
}
