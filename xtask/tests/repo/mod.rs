//! Two charts in a throw-away git history, and the xtask run on them.

pub mod verify;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::sample::Sample;

/// The charts `leaf` and `tree` (which depends on `leaf`), committed and released as 0.1.0.
pub struct Repo {
    pub sample: Sample,
    /// Where commands run: the sample, or a clone of it.
    pub dir: PathBuf,
}

impl Repo {
    /// A history with one commit and no tag, on branch main.
    pub fn unreleased() -> Repo {
        let sample = Sample::new();
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        sample.write(
            "Cargo.toml",
            "[workspace]\nmembers = []\nresolver = \"3\"\n\n[workspace.metadata.xtask]\nkube-version = \"1.34.4\"\n",
        );
        for folder in ["ci/tools", "ci/templates"] {
            std::fs::create_dir_all(sample.path("ci")).unwrap();
            std::os::unix::fs::symlink(real.join(folder).canonicalize().unwrap(), sample.path(folder)).unwrap();
        }
        sample.write(".gitignore", "/dist/\n/target/\nCargo.lock\n");
        let dir = sample.path(".").canonicalize().unwrap();
        let repo = Repo { sample, dir };
        repo.git(&["init", "-q", "-b", "main"]);
        repo.commit("feat: begin");
        repo
    }

    /// One that may be published: its settings say where to.
    pub fn publishable(address: &str) -> Repo {
        let repo = Repo::unreleased();
        let settings = format!("kube-version = \"1.34.4\"\npublished-charts = \"{address}\"\n");
        repo.sample.edit("Cargo.toml", "kube-version = \"1.34.4\"\n", &settings);
        repo.commit("chore: settings");
        repo
    }

    /// The same files and history in another folder.
    pub fn copy(&self) -> Repo {
        let sample = Sample::new();
        let dir = sample.path(".").canonicalize().unwrap();
        let from = format!("{}/.", self.dir.display());
        expect(&self.command("cp").args(["-a", &from]).arg(&dir).output().unwrap(), 0);
        Repo { sample, dir }
    }

    /// Sets the version of both charts and commits that.
    pub fn raise(&self, from: &str, to: &str) {
        let set = |file: &str| {
            self.sample
                .edit(file, &format!("version: {from}\n"), &format!("version: {to}\n"))
        };
        set("charts/leaf/Chart.yaml");
        set("charts/tree/Chart.yaml");
        self.commit(&format!("chore: {to}"));
    }

    /// With the tags of the first release.
    pub fn released() -> Repo {
        let repo = Repo::unreleased();
        repo.git(&["tag", "leaf-0.1.0"]);
        repo.git(&["tag", "tree-0.1.0"]);
        repo
    }

    /// Appends a line to a file and commits it.
    pub fn change(&self, file: &str, message: &str) {
        let path = self.dir.join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, format!("{text}# {message:.12}\n")).unwrap();
        self.commit(message);
    }

    pub fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-qm", message]);
    }

    /// A program that sees nothing of the caller's settings.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.dir)
            .env("CARGO_MANIFEST_DIR", self.dir.join("xtask"))
            .env("GIT_CEILING_DIRECTORIES", self.dir.parent().unwrap())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        let settings = std::env::vars_os().map(|(name, _)| name);
        let ours = |name: &std::ffi::OsString| {
            let name = name.to_string_lossy();
            // A hook that runs the tests names its own repository.
            let set_here = ["GIT_CEILING_DIRECTORIES", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM"];
            let git = name.starts_with("GIT_") && !set_here.contains(&&*name);
            name.starts_with("XTASK_") && name != "XTASK_CACHE" || name == "COSIGN_PASSWORD" || git
        };
        settings.filter(ours).for_each(|name| {
            command.env_remove(name);
        });
        for name in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{name}_NAME"), "test")
                .env(format!("GIT_{name}_EMAIL"), "test@example.com")
                .env(format!("GIT_{name}_DATE"), "@1600000000 +0200");
        }
        command.env_remove("SOURCE_DATE_EPOCH");
        command
    }

    /// Runs git; it must succeed.
    pub fn git(&self, args: &[&str]) -> String {
        let output = self.command("git").args(args).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn xtask(&self, args: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_xtask")).args(args).output().unwrap()
    }

    /// Runs the xtask, which must succeed, and parses its JSON.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let output = self.xtask(&[&["--format", "json"], args].concat());
        expect(&output, 0);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs the xtask as a plan and in earnest: every program that the plan shows is one that was started.
    /// Returns the plan.
    pub fn planned_is_run(&self, args: &[&str], env: &[(&str, &str)]) -> String {
        let run = |first: &str| {
            let mut command = self.command(env!("CARGO_BIN_EXE_xtask"));
            let output = command
                .arg(first)
                .args(args)
                .envs(env.iter().copied())
                .output()
                .unwrap();
            expect(&output, 0);
            output
        };
        let plan = run("--dry-run");
        let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
        let real = run("-v");
        let real = String::from_utf8_lossy(&real.stderr).into_owned();
        let ran: Vec<_> = real
            .lines()
            .filter_map(|line| line.strip_prefix("$ "))
            .map(steady)
            .collect();
        let planned: Vec<_> = plan
            .lines()
            .filter(|line| !line.starts_with("# "))
            .map(steady)
            .collect();
        assert!(!planned.is_empty());
        for line in planned {
            assert!(
                ran.contains(&line),
                "{line}\nwas planned, and not run:\n{}",
                ran.join("\n")
            );
        }
        plan
    }

    /// The text of a file in a packaged chart, version 0.1.0.
    pub fn archived(&self, chart: &str, file: &str) -> String {
        let archive = format!("dist/{chart}-0.1.0.tgz");
        let output = self
            .command("tar")
            .args(["-xOf", &archive, &format!("{chart}/{file}")])
            .output();
        expect(&output.unwrap(), 0)
    }

    /// A file's text.
    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.dir.join(file)).unwrap()
    }
}

/// A clone of `from` whose workspace is its own.
pub fn clone(from: &Repo, to: &Path, args: &[&str]) -> Repo {
    let url = format!("file://{}", from.dir.display());
    let target = to.display().to_string();
    from.git(&[&["clone", "-q"], args, &[&url, &target]].concat());
    Repo {
        sample: Sample::new(),
        dir: to.canonicalize().unwrap(),
    }
}

/// A command line without what differs from run to run: the ends of temporary folders, and digests.
fn steady(line: &str) -> String {
    let mut parts = line.split("/tempo-stack-");
    let mut steady = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['/', ' ', '\'']).unwrap_or(part.len());
        steady.push_str(&format!("/tempo-stack-{}RUN{}", &part[..end - 6], &part[end..]));
    }
    let mut parts = steady.split("sha256:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |line, part| {
        let rest = part
            .strip_prefix("DIGEST")
            .unwrap_or_else(|| part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
        format!("{line}sha256:DIGEST{rest}")
    })
}

pub fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The output of a run that must end like this.
pub fn expect(output: &Output, code: i32) -> String {
    let text = text(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}
