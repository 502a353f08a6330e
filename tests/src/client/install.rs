//! Installs programs from registries into the cache, each once: the key is made of its files, the programs of
//! this machine and the commands.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kit::failure::{Failure, Kind, kind_of};
use kit::key::Key;
use kit::run_dir::RunDir;
use kit::step::{Runner, Step};
use kit::{disk, lock};
use regex::Regex;

/// The largest, of npm, takes a tenth of this.
const SPACE: u64 = 1024 * 1024 * 1024;
/// One command, with a slow registry and empty caches on a busy two-core machine.
const TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// A program of this machine that another one needs, as it is asked for its version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    pub name: &'static str,
    pub version: &'static [&'static str],
    /// The oldest that will do: major and minor.
    pub at_least: (u32, u32),
    /// What brings it.
    pub package: &'static str,
}

pub(crate) const PYTHON: Program = Program {
    name: "python3",
    version: &["--version"],
    at_least: (3, 10),
    package: "python3",
};
pub(crate) const PIP: Program = Program {
    name: "python3",
    version: &["-m", "pip", "--version"],
    at_least: (20, 3),
    package: "python3-pip",
};
pub(crate) const NODE: Program = Program {
    name: "node",
    version: &["--version"],
    at_least: (18, 19),
    package: "nodejs",
};
pub(crate) const NPM: Program = Program {
    name: "npm",
    version: &["--version"],
    at_least: (7, 0),
    package: "npm",
};
pub(crate) const JAVA: Program = Program {
    name: "java",
    version: &["--version"],
    at_least: (11, 0),
    package: "default-jdk-headless",
};
pub(crate) const MAVEN: Program = Program {
    name: "mvn",
    version: &["--version"],
    at_least: (3, 6),
    package: "maven",
};

/// Installs what `requirements.txt` names into `lib`.
pub(crate) const PIP_INSTALL: &[&[&str]] = &[&[
    "python3",
    "-m",
    "pip",
    "install",
    "--no-input",
    "--require-hashes",
    "--only-binary=:all:",
    "--target=lib",
    "--requirement=requirements.txt",
]];

/// What `npm` installs of a lock file.
pub(crate) const NPM_CI: &[&[&str]] = &[&["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]];

/// Copies the jars of a `pom.xml` into `lib`.
pub(crate) const MAVEN_JARS: &[&str] = &[
    "mvn",
    "--batch-mode",
    "--no-transfer-progress",
    "dependency:copy-dependencies",
    "-DoutputDirectory=lib",
];

/// What is installed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Package {
    /// Its folder below the sources.
    pub name: &'static str,
    pub programs: &'static [Program],
    /// Its files, which decide what is installed.
    pub files: &'static [&'static str],
    /// Where what it needs comes from.
    pub registry: &'static str,
    /// The commands that install it, run in a folder with its files.
    pub install: &'static [&'static [&'static str]],
}

/// The program of that name on PATH, or among those for administrators.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
}

/// Why a program can't run on this machine.
#[derive(Debug)]
pub(crate) struct Missing(pub String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// Where packages come from and where they go.
#[derive(Debug, Clone)]
pub(crate) struct Installer {
    /// `tests/sdks`, `tests/stores`.
    pub sources: PathBuf,
    /// A folder for them in the cache of the tools.
    pub cache: PathBuf,
    /// Where builds have their run folders.
    pub builds: PathBuf,
    pub runner: Runner,
    pub quiet: bool,
}

impl Installer {
    /// The folder of a package in the cache, installed now if it wasn't. An error names the registry that can't
    /// be reached or holds something else than what is pinned.
    pub fn get(&self, package: &Package, say: &dyn Fn(String)) -> Result<Result<PathBuf, Missing>> {
        let mut key = Key::default()
            .value("install", &package.install)?
            .text("machine", std::env::consts::ARCH);
        for program in package.programs {
            match version(&self.runner, program)? {
                Ok(version) => key = key.text(program.name, &version),
                Err(missing) => return Ok(Err(missing)),
            }
        }
        let source = self.sources.join(package.name);
        for file in package.files {
            key = key.file(&source.join(file))?;
        }
        let parent = self.cache.join(package.name);
        let folder = parent.join(key.finish());
        if folder.is_dir() {
            return Ok(Ok(folder));
        }
        let what = format!("installs {}", package.name);
        let _lock = lock::wait_for(&parent.join("lock"), &what, self.quiet, self.runner.cancel())?;
        // Another run may have installed it meanwhile.
        if !folder.is_dir() {
            self.install(package, &source, &folder, say)?;
        }
        Ok(Ok(folder))
    }

    fn install(&self, package: &Package, source: &Path, target: &Path, say: &dyn Fn(String)) -> Result<()> {
        disk::require(target, SPACE, package.name)?;
        let run = RunDir::create(&self.builds, package.name)?;
        let folder = run.path().join("package");
        fs_err::create_dir(&folder)?;
        for file in package.files {
            fs_err::copy(source.join(file), folder.join(file))?;
        }
        for command in package.install {
            let (program, args) = command.split_first().context("a command has a program")?;
            let step = Step::new(command.join(" "), program)
                .args(args.iter().copied())
                .cwd(&folder)
                .in_run(&run)
                .timeout(TIMEOUT)
                .hint(format!(
                    "what it needs comes from {}: see that this machine reaches it, then run it again",
                    package.registry
                ));
            say(format!("{}: {}", package.name, step.name));
            let output = self.runner.run(&step)?;
            say(format!(
                "{}: done after {:.0} s",
                package.name,
                output.elapsed.as_secs_f64()
            ));
        }
        // The rename makes it appear whole or not at all.
        fs_err::rename(&folder, target).with_context(|| format!("moving {} into the cache", package.name))
    }
}

/// What a program says of its version.
pub(crate) fn version(runner: &Runner, program: &Program) -> Result<Result<String, Missing>> {
    let asked = format!("{} {}", program.name, program.version.join(" "));
    let missing = |why: String| {
        let (major, minor) = program.at_least;
        let package = program.package;
        Ok(Err(Missing(format!(
            "`{asked}` {why}; needed is {major}.{minor} or later (on Debian: {package})"
        ))))
    };
    let step = Step::new(asked.clone(), program.name)
        .args(program.version.iter().copied())
        .timeout(Duration::from_secs(30))
        .reads();
    let output = match runner.try_run(&step) {
        Ok(output) if output.success() => output,
        Ok(output) => return missing(format!("failed: {}", output.tail().replace('\n', "; "))),
        Err(error) if kind_of(&error) == Kind::Tool => return missing("was not found on PATH".into()),
        Err(error) => return Err(error),
    };
    match numbers(&output.stdout) {
        Some(found) if found >= program.at_least => Ok(Ok(output.stdout)),
        Some((major, minor)) => missing(format!("says {major}.{minor}")),
        None => Err(Failure::tool(
            format!("`{asked}` names no version: {:?}", output.stdout),
            format!("install {}", program.package),
        )),
    }
}

/// The first two numbers with a dot between them.
fn numbers(text: &str) -> Option<(u32, u32)> {
    let found = Regex::new(r"(\d+)\.(\d+)").ok()?.captures(text)?;
    Some((found[1].parse().ok()?, found[2].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Mutex;

    use kit::step::Cancel;

    use super::*;

    const SH: Program = Program {
        name: "sh",
        version: &["-c", "echo shell 3.11.7"],
        at_least: (3, 9),
        package: "dash",
    };

    const fn application(programs: &'static [Program], install: &'static [&'static [&'static str]]) -> Package {
        Package {
            name: "shell",
            programs,
            files: &["app.sh"],
            registry: "nowhere",
            install,
        }
    }

    fn installer(root: &Path) -> Installer {
        std::fs::create_dir_all(root.join("sdks/shell")).unwrap();
        std::fs::write(root.join("sdks/shell/app.sh"), "").unwrap();
        Installer {
            sources: root.join("sdks"),
            cache: root.join("cache"),
            builds: root.join("builds"),
            runner: Runner::new(Cancel::default(), false),
            quiet: true,
        }
    }

    #[test]
    fn versions_are_found_in_what_the_programs_print() {
        for (text, version) in [
            ("Python 3.11.7", (3, 11)),
            ("v20.20.2", (20, 20)),
            ("openjdk 17.0.15 2025-04-15", (17, 0)),
            ("\u{1b}[1mApache Maven 3.8.7\u{1b}[m", (3, 8)),
            ("go version go1.26.8 linux/amd64", (1, 26)),
        ] {
            assert_eq!(numbers(text), Some(version));
        }
        assert_eq!(numbers("none"), None);
    }

    #[test]
    fn what_the_machine_lacks_is_named_with_the_package_that_brings_it() {
        const OLD: Program = Program {
            at_least: (3, 12),
            ..SH
        };
        const ABSENT: Program = Program {
            name: "no-such-program-here",
            ..SH
        };
        const BROKEN: Program = Program {
            version: &["-c", "echo 'No module named pip' >&2; exit 1"],
            ..SH
        };
        static LACKING: [(Package, &str); 3] = [
            (
                application(&[SH, OLD], &[]),
                "says 3.11; needed is 3.12 or later (on Debian: dash)",
            ),
            (application(&[ABSENT], &[]), "was not found on PATH"),
            (application(&[BROKEN], &[]), "failed: No module named pip"),
        ];
        let temp = tempfile::tempdir().unwrap();
        for (package, why) in &LACKING {
            let Err(Missing(said)) = installer(temp.path()).get(package, &|_| ()).unwrap() else {
                panic!("it can't be there");
            };
            assert!(said.contains(why), "{said}");
        }
        assert!(!temp.path().join("cache").exists());
    }

    #[test]
    fn an_application_is_installed_once_and_again_when_a_file_changes() {
        static PACKAGE: Package = application(&[SH], &[&["touch", "made"]]);
        let temp = tempfile::tempdir().unwrap();
        let said = RefCell::new(Vec::new());
        let get = || {
            let got = installer(temp.path()).get(&PACKAGE, &|line| said.borrow_mut().push(line));
            got.unwrap().ok().unwrap()
        };
        let first = get();
        assert!(first.join("made").is_file() && first.join("app.sh").is_file());
        assert_eq!((get(), said.borrow().len()), (first.clone(), 2));
        let installer = installer(temp.path());
        std::fs::write(temp.path().join("sdks/shell/app.sh"), "changed").unwrap();
        assert_ne!(installer.get(&PACKAGE, &|_| ()).unwrap().ok().unwrap(), first);
    }

    #[test]
    fn a_failed_installation_names_the_registry_and_leaves_nothing() {
        static PACKAGE: Package = application(&[SH], &[&["sh", "-c", "echo 'no route' >&2; exit 1"]]);
        let temp = tempfile::tempdir().unwrap();
        let error = installer(temp.path()).get(&PACKAGE, &|_| ()).err().unwrap();
        assert!(error.to_string().contains("no route"), "{error:#}");
        assert!(kit::failure::remedy_of(&error).unwrap().contains("nowhere"));
        let left = |folder: &str| std::fs::read_dir(temp.path().join(folder)).unwrap().count();
        assert_eq!((left("cache/shell"), left("builds")), (1, 0), "more than the lock");
    }

    #[test]
    fn two_at_the_same_time_install_it_once() {
        static PACKAGE: Package = application(&[SH], &[&["touch", "made"]]);
        let temp = tempfile::tempdir().unwrap();
        let installer = installer(temp.path());
        let said = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let got = installer.get(&PACKAGE, &|_| *said.lock().unwrap() += 1);
                    assert!(got.unwrap().is_ok());
                });
            }
        });
        assert_eq!(said.into_inner().unwrap(), 2);
    }
}
