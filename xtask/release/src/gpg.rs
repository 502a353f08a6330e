//! Signs archives as helm verifies them, with the real gpg: a `.prov` file (helm.sh/docs/topics/provenance).
//!
//! `helm package --sign` has the same format, but signs with the primary key only: an export of nothing
//! but subkeys, which is what a build machine should hold, can't sign there.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kit::failure::Failure;
use kit::run_dir::{MARKER, RunDir};
use kit::step::{Runner, Step};
use kit::whole_file::{self, Mode};

/// What the signed text begins with (RFC 9580 §7).
const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----\n";
const END: &str = "\n-----BEGIN PGP SIGNATURE-----";
const INSTALL: &str = "install GnuPG (`apt-get install gnupg`)";
const REMEDY: &str = "write it with `gpg --export-secret-keys --armor KEY > FILE` and name it with --key-file";

/// A GnuPG home with the secret key that signs.
pub struct Signer {
    runner: Runner,
    home: PathBuf,
    fingerprint: String,
    passphrase: Option<String>,
    // A home for the key of a file; what gpg started there ends with it.
    temp: Option<RunDir>,
}

/// A key as gpg lists it.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// The primary key's, in capital hexadecimal digits.
    pub fingerprint: String,
    revoked: bool,
    /// In seconds since 1970, of a key that is expired.
    expired: Option<i64>,
    /// Whether the key or one of its subkeys may sign.
    signs: bool,
}

impl Signer {
    /// The key of a file, armored or binary, chosen as in [`Signer::of_home`]. Errors of
    /// [`kit::failure::Kind::Usage`]: no such file, no secret key in it, another key than the wanted one, several
    /// where none is wanted, a wrong or missing passphrase, a key that is expired, revoked, too new for helm, or
    /// can't sign.
    pub fn of_file(runner: &Runner, file: &Path, passphrase: Option<String>, wanted: Option<&str>) -> Result<Signer> {
        fs_err::File::open(file).map_err(|error| {
            let what = format!("the key {} can't be read: {}", file.display(), error.kind());
            Failure::usage(what, REMEDY)
        })?;
        let Home(temp) = Home::new()?;
        let mut signer = Signer {
            runner: runner.clone(),
            home: temp.path().join("home"),
            fingerprint: String::new(),
            passphrase,
            temp: Some(temp),
        };
        let import = signer.step("--import").path_arg(file);
        let output = runner.try_run(&import)?;
        if !output.success() {
            return Err(unusable(file, &output.tail()));
        }
        signer.choose(file, wanted)?;
        Ok(signer)
    }

    /// The key of a GnuPG home that has the fingerprint `wanted`; without one, its only key that can sign.
    /// Errors as for a file.
    pub fn of_home(runner: &Runner, home: &Path, passphrase: Option<String>, wanted: Option<&str>) -> Result<Signer> {
        let mut signer = Signer {
            runner: runner.clone(),
            home: home.to_path_buf(),
            fingerprint: String::new(),
            passphrase,
            temp: None,
        };
        signer.choose(home, wanted)?;
        Ok(signer)
    }

    /// The primary key's fingerprint in capital hexadecimal digits.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn choose(&mut self, from: &Path, wanted: Option<&str>) -> Result<()> {
        let list = self.step("--list-secret-keys").arg("--with-colons");
        let output = self.runner.try_run(&list)?;
        if self.runner.plans() {
            self.fingerprint = wanted.unwrap_or("FINGERPRINT").to_owned();
            return self.unlock(from);
        }
        let keys = keys(&output.stdout);
        let named = |keys: &[&Key]| {
            keys.iter()
                .map(|key| key.fingerprint.clone())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (key, usable) = match wanted {
            Some(wanted) => (keys.iter().find(|key| key.fingerprint == wanted), Vec::new()),
            None => {
                let usable: Vec<&Key> = keys.iter().filter(|key| key.usable(from).is_ok()).collect();
                (usable.first().copied().or(keys.first()), usable)
            }
        };
        if usable.len() > 1 {
            return Err(Failure::usage(
                format!(
                    "{} holds several keys that can sign: {}",
                    from.display(),
                    named(&usable)
                ),
                "name the one that is meant with sign-key in Cargo.toml",
            ));
        }
        let Some(key) = key else {
            let why = output.tail();
            return Err(match (wanted, keys.is_empty()) {
                (Some(wanted), false) => Failure::usage(
                    format!(
                        "the key {} is not {wanted}, which sign-key in Cargo.toml names",
                        named(&keys.iter().collect::<Vec<_>>())
                    ),
                    "sign with that key, or name the new one in Cargo.toml",
                ),
                _ if why.is_empty() => unusable(from, "only public keys"),
                _ => unusable(from, &why),
            });
        };
        key.usable(from)?;
        self.fingerprint = key.fingerprint.clone();
        self.unlock(from)
    }

    /// A signature of nothing shows whether the passphrase is right, before anything is packed.
    fn unlock(&self, from: &Path) -> Result<()> {
        let output = self.runner.try_run(&self.sign_step("--detach-sign").arg("/dev/null"))?;
        let (from, why) = (from.display(), output.tail());
        let what = match (output.success(), &self.passphrase) {
            (true, _) => return Ok(()),
            (false, Some(_)) if why.contains("passphrase") => format!("the passphrase of the key {from} is wrong"),
            (false, None) if why.contains("passphrase") => format!("the key {from} is locked by a passphrase"),
            (false, _) => format!("the key {from} can't sign:\n{why}"),
        };
        Err(Failure::usage(
            what,
            "give its passphrase with --passphrase-file or XTASK_PASSPHRASE",
        ))
    }

    fn step(&self, command: &str) -> Step {
        let step = step_in(&self.home, command);
        match &self.temp {
            Some(temp) => step.env(MARKER, temp.path().to_string_lossy()),
            None => step,
        }
    }

    /// With SHA-512, as helm signs. The passphrase goes through standard input: others can read arguments.
    fn sign_step(&self, command: &str) -> Step {
        let passphrase = self.passphrase.clone().unwrap_or_default() + "\n";
        self.step("--local-user")
            .arg(&self.fingerprint)
            .args([
                "--pinentry-mode",
                "loopback",
                "--passphrase-fd",
                "0",
                "--digest-algo",
                "SHA512",
            ])
            .args(["--armor", "--output", "-", command])
            .stdin(passphrase)
    }

    /// The provenance file of an archive: `chart` is its Chart.yaml, `digests` the names and the SHA-256
    /// of the archive and of what else is signed with it. The text is written to `draft` on the way.
    pub fn provenance(&self, chart: &serde_yaml::Value, digests: &[(String, String)], draft: &Path) -> Result<String> {
        let metadata = serde_yaml::to_string(chart).context("writing YAML")?;
        let digests = digests
            .iter()
            .map(|(name, sha256)| format!("  {name}: sha256:{sha256}\n"));
        fs_err::write(
            draft,
            format!("{metadata}\n...\nfiles:\n{}", digests.collect::<String>()),
        )?;
        Ok(self.runner.run(&self.sign_step("--clear-sign").path_arg(draft))?.stdout)
    }
}

impl Key {
    /// Whether it can sign now, and helm can verify that; `from` is the file that it is in.
    pub fn usable(&self, from: &Path) -> Result<()> {
        let from = from.display();
        let (what, remedy) = match self {
            Key { revoked: true, .. } => (format!("the key {from} is revoked"), "sign with another key"),
            Key { expired: Some(end), .. } => {
                let date = jiff::Timestamp::from_second(*end).context("a key's date")?;
                let extend =
                    "extend it (`gpg --quick-set-expire KEY 1y`) and export it again, or sign with another key";
                (format!("the key {from} expired at {date}"), extend)
            }
            // Of version 4; later ones have longer fingerprints.
            Key { fingerprint, .. } if fingerprint.len() != 40 => (
                format!("the key {from} is of a version that helm can't verify"),
                "sign with a key of version 4, which is what gpg makes",
            ),
            Key { signs: false, .. } => (
                format!("no part of the key {from} is meant for signing"),
                "sign with another key",
            ),
            _ => return Ok(()),
        };
        Err(Failure::usage(what, remedy))
    }
}

fn unusable(from: &Path, why: &str) -> anyhow::Error {
    Failure::usage(format!("{} holds no usable secret key: {why}", from.display()), REMEDY)
}

/// Makes a key that signs for two years, locked by a passphrase; its armored secret part goes to `file`, which only
/// this user can read.
pub fn make(runner: &Runner, owner: &str, passphrase: &str, file: &Path) -> Result<()> {
    let home = Home::new()?;
    let unlocked = |command: &str| {
        home.step(command)
            .args(["--pinentry-mode", "loopback", "--passphrase-fd", "0"])
            .stdin(format!("{passphrase}\n"))
    };
    let step = unlocked("--quick-generate-key").args([owner, "ed25519", "sign", "2y"]);
    runner.run(&step)?;
    let secret = runner.run(&unlocked("--export-secret-keys").arg("--armor"))?.stdout;
    if runner.plans() {
        return Ok(());
    }
    whole_file::write(file, secret, Mode::Owner)
}

/// 24 random bytes in base64.
pub fn random(runner: &Runner) -> Result<String> {
    let step = Step::new("gpg --gen-random", "gpg").args(["--gen-random", "--armor", "1", "24"]);
    Ok(runner.run(&step.hint(INSTALL))?.stdout.trim().to_owned())
}

/// The public parts of the keys in these files, armored, and of which keys they are.
pub fn public_parts(runner: &Runner, files: &[&Path]) -> Result<(String, Vec<Key>)> {
    let home = Home::new()?;
    for file in files {
        runner.run(&home.step("--import").path_arg(file))?;
    }
    let armored = runner.run(&home.step("--export").arg("--armor"))?.stdout;
    let list = runner.run(&home.step("--list-keys").arg("--with-colons"))?.stdout;
    Ok((armored, keys(&list)))
}

/// A GnuPG home for a moment; what gpg starts there ends with it.
struct Home(RunDir);

impl Home {
    fn new() -> Result<Home> {
        let temp = RunDir::temporary("gpg")?;
        let home = temp.path().join("home");
        let made = DirBuilder::new().mode(0o700).create(&home);
        made.with_context(|| format!("making {}", home.display()))?;
        Ok(Home(temp))
    }

    fn step(&self, command: &str) -> Step {
        step_in(&self.0.path().join("home"), command).env(MARKER, self.0.path().to_string_lossy())
    }
}

fn step_in(home: &Path, command: &str) -> Step {
    Step::new(format!("gpg {command}"), "gpg")
        .arg("--homedir")
        .path_arg(home)
        .args(["--batch", command])
        .env("LC_ALL", "C")
        .hint(INSTALL)
}

/// The primary keys in what `gpg --with-colons` printed (GnuPG's doc/DETAILS).
fn keys(list: &str) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    let mut primary = false;
    for line in list.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let field = |n: usize| fields.get(n).copied().unwrap_or_default();
        match field(0) {
            "sec" | "pub" => keys.push(Key {
                fingerprint: String::new(),
                revoked: field(1) == "r",
                expired: field(6).parse().ok().filter(|_| field(1) == "e"),
                signs: field(11).contains('S'),
            }),
            "fpr" if primary => {
                if let Some(key) = keys.last_mut() {
                    key.fingerprint = field(9).to_owned();
                }
            }
            _ => {}
        }
        primary = ["sec", "pub"].contains(&field(0));
    }
    keys
}

/// The public keys of a file as helm reads them, binary: an armored file is written anew to `binary`.
pub fn keyring(runner: &Runner, file: &Path, binary: &Path) -> Result<PathBuf> {
    let bytes = fs_err::read(file).map_err(|error| {
        let what = format!("the keyring can't be used: {error}");
        Failure::usage(what, "write it with `gpg --export KEY > FILE`")
    })?;
    if !bytes.starts_with(b"-----BEGIN PGP ") {
        return Ok(file.to_path_buf());
    }
    let step = Step::new("gpg --dearmor", "gpg")
        .args(["--batch", "--dearmor", "--output"])
        .path_arg(binary)
        .path_arg(file)
        .hint("install GnuPG, or name a keyring that `gpg --export KEY > FILE` wrote");
    runner.run(&step)?;
    Ok(binary.to_path_buf())
}

/// The SHA-256 that a `.prov` has for a file; none if it names no such file. Only for one whose signature
/// was verified: the text is taken from where helm takes it.
pub fn signed_digest(prov: &str, name: &str) -> Option<String> {
    let (_, text) = prov.strip_prefix(BEGIN)?.split_once("\n\n")?;
    let (text, _) = text.split_once(END)?;
    let (_, files) = text.split_once("\n...\n")?;
    let files: serde_yaml::Value = serde_yaml::from_str(files).ok()?;
    Some(files["files"][name].as_str()?.trim_start_matches("sha256:").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_key_says_whether_it_may_sign() {
        let list = "sec:-:255:22:AA:1600000000:::-:::cSC:::+::ed25519:::0:\nfpr:::::::::AA11:\nuid:::::::::x:\n\
                    ssb:-:255:22:BB:1600000000::::::s:::+::ed25519::\nfpr:::::::::BB22:\n\
                    sec:e:255:22:CC:1600000000:1600086400::-:::sc:::+::ed25519:::0:\nfpr:::::::::CC33:\n";
        let found = keys(list);
        let key = |fingerprint: &str, expired, signs| Key {
            fingerprint: fingerprint.into(),
            revoked: false,
            expired,
            signs,
        };
        assert_eq!(
            found,
            [key("AA11", None, true), key("CC33", Some(1_600_086_400), false)]
        );
        let refused = |key: &Key| key.usable(Path::new("k")).unwrap_err().to_string();
        assert!(refused(&found[1]).contains("expired at 2020-09-14T12:26:40Z"));
        assert!(refused(&found[0]).contains("a version that helm can't verify"));
        assert!(refused(&key(&"A".repeat(40), None, false)).contains("no part of the key"));
        assert!(key(&"A".repeat(40), None, true).usable(Path::new("k")).is_ok());
    }

    #[test]
    fn a_digest_counts_only_inside_the_signed_text() {
        let prov = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nname: c\n\n...\nfiles:\n  c.tgz: sha256:aa\n\
                    -----BEGIN PGP SIGNATURE-----\n\nxx\n-----END PGP SIGNATURE-----\nfiles:\n  d: sha256:bb\n";
        assert_eq!(signed_digest(prov, "c.tgz").as_deref(), Some("aa"));
        assert_eq!(signed_digest(prov, "d"), None);
        assert_eq!(signed_digest(&format!("x\n{prov}"), "c.tgz"), None);
    }
}
