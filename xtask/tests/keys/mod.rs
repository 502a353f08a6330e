//! OpenPGP keys made for one test, by gpg.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::repo::expect;

/// How a key is made.
pub struct Recipe {
    /// As `gpg --quick-generate-key` names it.
    pub algorithm: &'static str,
    /// What locks it; empty for nothing.
    pub passphrase: &'static str,
    /// Whether the primary key may sign.
    pub signs: bool,
    pub signing_subkey: bool,
}

/// A key that signs and isn't locked.
pub const USUAL: Recipe = Recipe {
    algorithm: "ed25519",
    passphrase: "",
    signs: true,
    signing_subkey: false,
};

/// A secret key and its public part on disk.
pub struct Key {
    /// As helm reads it: binary packets, no keybox.
    pub ring: PathBuf,
    /// In capital hexadecimal digits.
    pub fingerprint: String,
}

/// A GnuPG home that ends with what runs for it.
pub struct Home(PathBuf);

impl Home {
    /// An empty one. A socket's path must be short: `dir` too.
    pub fn new(dir: PathBuf) -> Home {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
        Home(dir)
    }

    pub fn try_gpg(&self, passphrase: &str, args: &[&str]) -> Output {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(&self.0);
        command.args([
            "--batch",
            "--yes",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            passphrase,
        ]);
        // GnuPG must be installed.
        command.args(args).output().unwrap()
    }

    /// A gpg that must succeed.
    pub fn gpg(&self, passphrase: &str, args: &[&str]) -> String {
        expect(&self.try_gpg(passphrase, args), 0)
    }

    /// Makes a key.
    pub fn generate(&self, recipe: &Recipe) {
        let usage = if recipe.signs { "sign" } else { "cert" };
        let user = "test <test@example.com>";
        self.gpg(
            recipe.passphrase,
            &["--quick-generate-key", user, recipe.algorithm, usage, "never"],
        );
        if recipe.signing_subkey {
            let key = self.fingerprint();
            self.gpg(recipe.passphrase, &["--quick-add-key", &key, recipe.algorithm, "sign"]);
        }
    }

    /// The fingerprint of the first key.
    pub fn fingerprint(&self) -> String {
        let list = self.gpg("", &["--with-colons", "--list-keys"]);
        let line = list.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.trim_matches(|c| "fpr:".contains(c)).to_owned()
    }

    /// Forgets the passphrases that it was told.
    pub fn forget(&self) {
        let mut command = Command::new("gpgconf");
        command.arg("--homedir").arg(&self.0).args(["--kill", "all"]);
        expect(&command.output().unwrap(), 0);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Makes a key and writes `name.asc`, its armored secret part, and `name.gpg` into `dir`.
pub fn make(dir: &Path, name: &str, recipe: &Recipe) -> Key {
    let temp = tempfile::tempdir().unwrap();
    let home = Home::new(temp.path().join("g"));
    home.generate(recipe);
    let export = |file: &str, what: &[&str]| {
        let output = ["--output", &dir.join(file).display().to_string()].map(str::to_owned);
        let output = output.iter().map(String::as_str);
        home.gpg(
            recipe.passphrase,
            &output.chain(what.iter().copied()).collect::<Vec<_>>(),
        );
    };
    export(&format!("{name}.asc"), &["--armor", "--export-secret-keys"]);
    export(&format!("{name}.gpg"), &["--export"]);
    Key {
        ring: dir.join(format!("{name}.gpg")),
        fingerprint: home.fingerprint(),
    }
}
