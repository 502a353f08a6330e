//! The pinned tools: real programs, built from Go modules under `ci/tools` where PATH has none.
//!
//! A tool is a folder with `tool.yaml`, `go.mod` and `go.sum`. It is built once into a cache that is
//! keyed by the content of its module files, its build settings and the Go version.

mod build;
mod go;
mod official;
pub mod outdated;
mod pin;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use kit::failure::Failure;
use kit::step::{Runner, Step};
use semver::Version;
use serde::Serialize;

use self::go::Go;
use self::pin::required_module;
pub use self::pin::{Group, Tool, ToolFile};

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
    /// The workspace's folder.
    root: PathBuf,
    cache: PathBuf,
    runner: Runner,
    quiet: bool,
    go: Arc<Mutex<Option<Go>>>,
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
            root: root.to_path_buf(),
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

/// The first word that is a version, with or without a leading `v`.
fn find_version(text: &str) -> Option<Version> {
    text.split(|c: char| c.is_whitespace() || c == ',')
        .find_map(|word| Version::parse(word.trim_start_matches('v')).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;
    use kit::failure::{Kind, kind_of, remedy_of};
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
            let version = &tool.file.version;
            let module = match tool.name.as_str() {
                // The module proxy holds Tempo's release as a pseudo-version only; pause requires nothing.
                "tempo" | "pause" => continue,
                // Release 3.15.1 is module version 0.315.1.
                "prometheus" | "promtool" => format!("0.{}{:02}.{}", version.major, version.minor, version.patch),
                _ => version.to_string(),
            };
            assert!(text.contains(&format!(" v{module}")), "{}", tool.name);
        }
    }

    #[test]
    fn the_module_of_a_package_is_the_longest_that_is_required() {
        let text = "module m\n\nrequire (\n\tgo.x/a v1.0.0 // indirect\n\tgo.x/a/b v2.0.0\n)\n";
        assert_eq!(required_module(text, "go.x/a/b/cmd").unwrap(), "go.x/a/b/cmd v2.0.0");
        assert_eq!(required_module(text, "go.x/a/bc").unwrap(), "go.x/a/bc v1.0.0");
        assert_eq!(required_module(text, "."), None);
        assert_eq!(pin::pinned_modules(text, "go.x/a/b/cmd"), ["go.x/a/b"]);
        let own = "module m\nrequire go.x/a v1.0.0\nrequire (\n\tgo.x/c v1.2.0\n\tgo.x/d v1.3.0 // indirect\n)\n";
        assert_eq!(pin::pinned_modules(own, "."), ["go.x/a", "go.x/c"]);
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
