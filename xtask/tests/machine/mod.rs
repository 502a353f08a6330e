//! A machine whose Docker, kind, Go and debootstrap are a script that writes down every call.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the script plays; the last three are what a Debian root is made with.
const PROGRAMS: [&str; 6] = ["docker", "kind", "go", "unshare", "chroot", "tar"];

/// Two pods and a node, all ready.
const READY: &str = r#"{"items":[
    {"kind":"Node","metadata":{"name":"n"},"status":{"conditions":[{"type":"Ready","status":"True"}]}},
    {"kind":"Pod","metadata":{"name":"p","namespace":"kube-system"},"status":{"phase":"Succeeded",
        "containerStatuses":[{"name":"c","ready":false,"restartCount":1}]}},
    {"kind":"Pod","metadata":{"name":"p","namespace":"local-path-storage"},"status":{"phase":"Succeeded"}}]}"#;

/// The machine; it goes when this is dropped.
pub struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    /// One where no cluster is up and nothing was built.
    pub fn new() -> Machine {
        let dir = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machine/programs");
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        for program in PROGRAMS {
            std::os::unix::fs::symlink(&script, dir.path().join("bin").join(program)).unwrap();
        }
        std::fs::create_dir(dir.path().join("images")).unwrap();
        let machine = Machine { dir };
        machine.write("nodes-and-pods", READY);
        // What is taken from kind's module.
        std::fs::create_dir_all(machine.path("kind-source/pkg/build/nodeimage")).unwrap();
        std::fs::create_dir_all(machine.path("kind-source/images/base/files")).unwrap();
        let storage = "const defaultStorageManifest = `\nkind: Namespace\n`\n";
        machine.write("kind-source/pkg/build/nodeimage/const_storage.go", storage);
        machine
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Sets what a program answers; `machine/programs` says which file does what.
    pub fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    pub fn xtask(&self, args: &[&str]) -> Output {
        let path = std::env::var("PATH").unwrap();
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(args)
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("XTASK_CACHE", self.path("cache"))
            .env("XTASK_ARTIFACTS", self.path("artifacts"))
            .env("HOME", self.dir.path())
            // Its programs write next to nothing.
            .env("XTASK_DISK_CHECK", "off")
            .env_remove("KUBECONFIG")
            .output()
            .unwrap()
    }

    /// All its files but the calls.
    pub fn files(&self) -> Vec<PathBuf> {
        let entries = walkdir::WalkDir::new(self.dir.path()).sort_by_file_name();
        let paths = entries.into_iter().map(|entry| entry.unwrap().into_path());
        paths.filter(|path| !path.ends_with("calls")).collect()
    }

    /// The calls since this was asked last, each a program with its arguments.
    pub fn calls(&self) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(self.path("calls")).unwrap_or_default();
        self.write("calls", "");
        let call = |line: &str| line.trim_end_matches('\x1f').split('\x1f').map(str::to_owned).collect();
        text.lines().map(call).collect()
    }
}

/// The output of a run that must end like this.
pub fn expect(output: &Output, code: i32) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&both).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}
