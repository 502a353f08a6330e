//! The Debian root that the node image is made of, and the files that other images take from it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kit::failure::Failure;
use kit::run_dir::RunDir;
use kit::step::Step;

use crate::docker::{Docker, START_DOCKER, environment};
use crate::testbed::base::{KEY_LABEL, PACKAGES_LABEL, Testbed, folder, label, layout_key};

/// A slow mirror on a busy machine takes less.
const BOOTSTRAP_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// Packages of a minimal bookworm with ours, twice: retrieved, then unpacked and configured.
const BOOTSTRAP_LINES: u64 = 540;
const MIRROR: &str = "see whether a Debian mirror can be reached; XTASK_DEBIAN_MIRROR names another";
/// The name of the root's image, before its tag.
pub(crate) const REPOSITORY: &str = "tempo-stack/debian";
/// Takes files out of the root, run inside it.
const COLLECT: &str = "collect.sh";

#[derive(Debug, Clone)]
pub struct Debian {
    pub image: String,
    /// Its id: a rebuilt root has another.
    pub id: String,
    pub packages: String,
}

/// Files of a Debian root.
pub struct Part {
    /// The folder that stands for `/`.
    pub root: PathBuf,
    /// The packages that they come from, with versions, one a line.
    pub packages: String,
}

impl Debian {
    fn key(testbed: &Testbed) -> Result<String> {
        let debian = &testbed.recipe.debian;
        let key = layout_key()
            .text("suite", &debian.suite)
            .value("packages", &debian.packages)?;
        Ok(key.finish())
    }

    fn image_name(testbed: &Testbed) -> Result<String> {
        Ok(format!(
            "{REPOSITORY}:{}-{}",
            testbed.recipe.debian.suite,
            Debian::key(testbed)?
        ))
    }

    /// The root, if Docker has it.
    pub fn find(testbed: &Testbed) -> Result<Option<Debian>> {
        let name = Debian::image_name(testbed)?;
        Ok(testbed.docker.image(&name)?.map(|image| Debian {
            packages: image.label(PACKAGES_LABEL).unwrap_or_default().to_owned(),
            id: image.id,
            image: name,
        }))
    }

    /// The root, built now if Docker doesn't have it or `refresh` asks for the newest packages.
    pub fn get(testbed: &Testbed, refresh: bool) -> Result<Debian> {
        let known = if refresh { None } else { Debian::find(testbed)? };
        match known {
            Some(debian) => Ok(debian),
            None => {
                make(testbed)?;
                Debian::find(testbed)?.context("Docker has lost the Debian root")
            }
        }
    }

    pub(crate) fn part_key(&self, testbed: &Testbed, name: &str) -> Result<String> {
        let key = layout_key()
            .text("debian", &self.id)
            .value("files", &testbed.recipe.debian.parts.get(name))?
            .file(&folder(&testbed.project).join(COLLECT))?;
        Ok(key.finish())
    }

    /// A part, taken from the root unless the cache has it.
    pub fn part(&self, testbed: &Testbed, name: &str) -> Result<Part> {
        let dir = parts(testbed).join(self.part_folder(testbed, name)?);
        let packages = dir.join("packages");
        if !packages.is_file() {
            self.collect(testbed, name, &dir)?;
        }
        let packages = match testbed.plans() {
            true => String::new(),
            false => fs_err::read_to_string(&packages)?,
        };
        let root = dir.join("root");
        Ok(Part { root, packages })
    }

    fn part_folder(&self, testbed: &Testbed, name: &str) -> Result<String> {
        Ok(format!("{name}-{}", self.part_key(testbed, name)?))
    }

    /// Removes from the cache what parts of other roots or other lists have left.
    pub(crate) fn remove_outdated_parts(&self, testbed: &Testbed) -> Result<()> {
        let names = testbed.recipe.debian.parts.keys();
        let current = names
            .map(|name| self.part_folder(testbed, name))
            .collect::<Result<Vec<_>>>()?;
        let dir = parts(testbed);
        if testbed.plans() || !dir.is_dir() {
            return Ok(());
        }
        for entry in fs_err::read_dir(&dir)? {
            let entry = entry.with_context(|| format!("reading {}", dir.display()))?;
            if !current.iter().any(|name| entry.file_name() == name.as_str()) {
                let path = entry.path();
                fs_err::remove_dir_all(&path)?;
            }
        }
        Ok(())
    }

    fn collect(&self, testbed: &Testbed, name: &str, dir: &Path) -> Result<()> {
        let work = testbed.work("part")?;
        // Docker refuses characters in a mount that a cache's path may have in --volume.
        let mount = |from: &Path, to: &str| format!("type=bind,source={},target={to}", from.display());
        let step = Docker::step(
            format!("collect {name} from Debian"),
            ["run", "--rm", "--network", "none"],
        )
        .args(["--mount", &mount(&folder(&testbed.project), "/testbed,readonly")])
        .args(["--mount", &mount(work.path(), "/out")])
        .args([self.id.as_str(), "bash", &format!("/testbed/{COLLECT}"), "/out/part"])
        .args(testbed.recipe.debian.parts.get(name).into_iter().flatten());
        if testbed.plans() {
            // Other images may need it, too.
            let noted = testbed
                .project
                .runner
                .planned()
                .iter()
                .any(|noted| noted.name == step.name);
            return if noted {
                Ok(())
            } else {
                testbed.docker.run(&step).map(drop)
            };
        }
        testbed.docker.run(&step)?;
        let parts = dir.parent().context("a part has a folder")?;
        fs_err::create_dir_all(parts)?;
        if dir.is_dir() {
            fs_err::remove_dir_all(dir)?;
        }
        Ok(fs_err::rename(work.path().join("part"), dir)?)
    }
}

fn parts(testbed: &Testbed) -> PathBuf {
    testbed.cache().join("parts")
}

/// Makes a root and gives it to Docker.
///
/// debootstrap runs in a mount namespace of its own, so that what it mounts is gone with it however it
/// ends. It verifies the release's signature with Debian's keyring and each package by its sum.
fn make(testbed: &Testbed) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::environment(
            "building the Debian root needs root privileges",
            "run `cargo xtask cluster images` as root once; the images stay in Docker",
        ));
    }
    let project = &testbed.project;
    let (debian, packages) = (&testbed.recipe.debian, testbed.cache().join("packages"));
    if !testbed.plans() {
        fs_err::create_dir_all(&packages)?;
    }
    let work = testbed.work("debian")?;
    let root = work.path().join("root");
    // debootstrap's progress goes to standard output; the runner hands on standard error.
    let step = Step::new(format!("debootstrap {}", debian.suite), "unshare")
        .args(["--mount", "--propagation", "private"])
        .args(["sh", "-c", r#"exec "$0" "$@" >&2"#])
        .args(["debootstrap", "--variant=minbase", "--force-check-gpg"])
        .arg(format!("--cache-dir={}", packages.display()))
        .arg(format!("--include={}", debian.packages.join(",")))
        .arg(&debian.suite)
        .path_arg(&root)
        .args(std::env::var("XTASK_DEBIAN_MIRROR").ok())
        .timeout(BOOTSTRAP_TIMEOUT)
        .hint(MIRROR)
        .in_run(&work);
    let mut progress = project.progress("Debian root", BOOTSTRAP_LINES);
    let output = project.runner.stream(&step, &mut |line| progress.advance(line))?;
    if output.stderr.contains("debootstrap: not found") || output.code == Some(127) {
        return Err(Failure::tool("debootstrap is not installed", START_DOCKER));
    }
    if !output.success() {
        return Err(Failure::environment(
            format!("{} failed:\n{}", step.name, output.tail()),
            MIRROR,
        ));
    }
    progress.finish(&format!("{:.0} s", output.elapsed.as_secs_f64()));
    pack(testbed, &work, &root)
}

/// The root as an image of Docker's, without what apt can fetch again.
fn pack(testbed: &Testbed, work: &RunDir, root: &Path) -> Result<()> {
    let runner = &testbed.project.runner;
    let query = Step::new("list the Debian packages", "chroot").path_arg(root).args([
        "dpkg-query",
        "--show",
        "--showformat",
        "${Package}=${Version}\\n",
    ]);
    let packages = runner.run(&query).map_err(environment)?.stdout;
    let clean = Step::new("clean the Debian root", "chroot").path_arg(root).args([
        "sh",
        "-c",
        "apt-get clean; rm -rf /var/lib/apt/lists/* /var/log/*.log /var/cache/debconf/*-old",
    ]);
    runner.run(&clean).map_err(environment)?;
    let archive = work.path().join("root.tar");
    let tar = Step::new("pack the Debian root", "tar")
        .args(["--numeric-owner", "-C"])
        .path_arg(root)
        .arg("-cf")
        .path_arg(&archive)
        .arg(".")
        .timeout(Duration::from_secs(600));
    runner.run(&tar).map_err(environment)?;
    let changes = [
        label(KEY_LABEL, &Debian::key(testbed)?)?,
        label(PACKAGES_LABEL, &packages)?,
        label(
            "org.opencontainers.image.title",
            "Debian root of the tempo-stack test bed",
        )?,
        label("org.opencontainers.image.version", &testbed.recipe.debian.suite)?,
    ];
    testbed.import(&archive, &changes, &Debian::image_name(testbed)?)
}
