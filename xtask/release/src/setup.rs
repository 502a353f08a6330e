//! What a repository needs before its first release: settings, keys, and Artifact Hub's file.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use charts::project::{Maintainer, SignKey};
use kit::failure::Failure;
use kit::step::Runner;
use kit::whole_file::{self, Mode};
use serde_yaml::Value;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table};

use super::cosign;
use super::gpg;

/// The public keys, relative to the workspace.
pub const KEYRING: &str = "ci/keys/signing.asc";
/// See [`KEYRING`].
pub const COSIGN_PUB: &str = "ci/keys/cosign.pub";

/// The secret parts of the keys, each with what unlocks it, in a folder outside of the repository.
#[derive(Debug, Clone)]
pub struct Secrets {
    dir: PathBuf,
}

/// A secret key and the file that its passphrase is in; none where the caller knows it.
#[derive(Debug, Clone)]
pub struct SecretKey {
    /// The key.
    pub key: PathBuf,
    /// A file whose first line is the passphrase.
    pub passphrase: Option<PathBuf>,
}

impl Secrets {
    /// The folder of a repository's keys. An error of [`kit::failure::Kind::Usage`] if it is below `checkout`: what
    /// lies there is committed some day.
    pub fn at(dir: &Path, checkout: &Path) -> Result<Secrets> {
        let dir = std::path::absolute(dir).with_context(|| format!("{} can't be a folder", dir.display()))?;
        // As far as it is there, without symbolic links.
        let there = dir.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
        let real = match there {
            Some((part, real)) => real.join(dir.strip_prefix(part).unwrap_or(Path::new(""))),
            None => dir.clone(),
        };
        let checkout = checkout.canonicalize().unwrap_or_else(|_| checkout.to_path_buf());
        if real.starts_with(&checkout) || dir.components().any(|part| part.as_os_str() == "..") {
            return Err(Failure::usage(
                format!("secret keys don't belong into the checkout: {}", dir.display()),
                "name a folder outside of it with --keys, without `..`",
            ));
        }
        Ok(Secrets { dir })
    }

    /// The OpenPGP key that was made here; whether it is there, the caller sees.
    pub fn signing(&self) -> SecretKey {
        let dir = self.dir.join("openpgp");
        SecretKey {
            key: dir.join("secret.asc"),
            passphrase: Some(dir.join("passphrase")),
        }
    }

    /// The cosign key that was made here.
    pub fn cosign(&self) -> SecretKey {
        let dir = self.dir.join("cosign");
        SecretKey {
            key: dir.join("cosign.key"),
            passphrase: Some(dir.join("password")),
        }
    }

    /// Makes an OpenPGP key of `NAME <ADDRESS>`.
    pub fn make_signing(&self, runner: &Runner, owner: &str) -> Result<SecretKey> {
        let passphrase = gpg::random(runner)?;
        self.make("openpgp", runner, |dir| {
            write_secret(runner, &dir.join("passphrase"), &passphrase)?;
            gpg::make(runner, owner, &passphrase, &dir.join("secret.asc"))
        })?;
        Ok(self.signing())
    }

    /// Makes a cosign key with this cosign.
    pub fn make_cosign(&self, runner: &Runner, program: &Path) -> Result<SecretKey> {
        let password = gpg::random(runner)?;
        self.make("cosign", runner, |dir| {
            write_secret(runner, &dir.join("password"), &password)?;
            // It takes a name and no folder.
            runner.run(&cosign::generate(program, &password).cwd(dir)).map(drop)
        })?;
        Ok(self.cosign())
    }

    /// Fills a folder that only this user can read, and puts it in its place once it is whole.
    fn make(&self, name: &str, runner: &Runner, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let place = self.dir.join(name);
        if runner.plans() {
            return fill(&place);
        }
        let folder = || format!("making {}", place.display());
        fs_err::create_dir_all(&self.dir)?;
        let new = tempfile::Builder::new()
            .prefix(".new-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&self.dir)
            .with_context(folder)?;
        fill(new.path())?;
        // A folder that is there and not empty is not replaced.
        std::fs::rename(new.path(), &place).with_context(folder)?;
        // Nothing is left under its first name to be removed.
        let _ = new.keep();
        Ok(())
    }
}

fn write_secret(runner: &Runner, file: &Path, text: &str) -> Result<()> {
    match runner.plans() {
        true => Ok(()),
        false => whole_file::write(file, text, Mode::Owner),
    }
}

/// What Cargo.toml says about releases.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `https://HOST/OWNER/NAME`.
    pub repository: String,
    /// `oci://…` or `https://…`.
    pub charts: String,
    /// `https://…`, where there is a static repository.
    pub site: Option<String>,
    /// Whom to ask.
    pub maintainers: Vec<Maintainer>,
    /// What signs.
    pub sign_key: SignKey,
}

/// The text of Cargo.toml with these settings in `[workspace.metadata.xtask]`; all else stays, comments too.
pub fn write_settings(text: &str, settings: &Settings) -> Result<String> {
    let mut document: DocumentMut = text.parse().context("reading Cargo.toml")?;
    let mut table: &mut Item = document.as_item_mut();
    for key in ["workspace", "metadata", "xtask"] {
        table = &mut table[key];
    }
    let table = table
        .as_table_mut()
        .context("Cargo.toml has no table [workspace.metadata.xtask]")?;
    put(table, "repository", Some(settings.repository.as_str().into()));
    put(table, "published-charts", Some(settings.charts.as_str().into()));
    put(table, "published-site", settings.site.as_deref().map(Into::into));
    let people = settings.maintainers.iter();
    let people = people.map(|person| record([("name", &person.name), ("email", &person.email)]));
    put(table, "maintainers", Some(people.collect::<Array>().into()));
    let key = &settings.sign_key;
    let key = record([("fingerprint", &key.fingerprint), ("url", &key.url)]);
    put(table, "sign-key", Some(key.into()));
    Ok(document.to_string())
}

fn record<const N: usize>(fields: [(&str, &String); N]) -> InlineTable {
    fields.into_iter().map(|(key, value)| (key, value.as_str())).collect()
}

/// Changes a value only where it is another, so that its comment stays; none takes it out.
fn put(table: &mut Table, key: &str, value: Option<toml_edit::Value>) {
    let Some(mut value) = value else {
        table.remove(key);
        return;
    };
    let bare = |value: &toml_edit::Value| value.clone().decorated("", "").to_string();
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) if bare(old) == bare(&value) => {}
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => drop(table.insert(key, Item::Value(value))),
    }
}

/// Artifact Hub's file about a repository with these owners, and with the id that it gave the repository
/// (artifacthub.io/docs/topics/repositories). Other keys stay, and so does the comment at the top; an error if there
/// is a comment elsewhere, which would be lost.
pub fn write_hub(old: &str, owners: &[Maintainer], id: Option<&str>) -> Result<String> {
    let mut hub = match serde_yaml::from_str::<Value>(old).context("it is not YAML")? {
        Value::Null => Value::Mapping(Default::default()),
        hub => hub,
    };
    let before = hub.clone();
    let map = hub.as_mapping_mut().context("it is not a mapping")?;
    map.insert(
        "owners".into(),
        serde_yaml::to_value(owners).context("writing the owners")?,
    );
    match id {
        Some(id) => drop(map.insert("repositoryID".into(), id.into())),
        None => drop(map.remove("repositoryID")),
    }
    if hub == before {
        return Ok(old.to_owned());
    }
    let top: Vec<&str> = old
        .lines()
        .take_while(|line| line.starts_with('#') || line.trim().is_empty())
        .collect();
    if old
        .lines()
        .skip(top.len())
        .any(|line| line.trim_start().starts_with('#') || line.contains(" #"))
    {
        anyhow::bail!("it has comments between its keys, which would be lost: set owners and repositoryID by hand");
    }
    let top: String = top.into_iter().map(|line| format!("{line}\n")).collect();
    Ok(top + &serde_yaml::to_string(&hub).context("writing YAML")?)
}

/// The owners and the id that Artifact Hub's file names.
pub fn read_hub(text: &str) -> Result<(Vec<Maintainer>, Option<String>)> {
    let hub: Value = serde_yaml::from_str(text).context("it is not YAML")?;
    let owners = match hub.get("owners") {
        Some(owners) => serde_yaml::from_value(owners.clone()).context("its owners have a name and an email each")?,
        None => Vec::new(),
    };
    Ok((
        owners,
        hub.get("repositoryID").and_then(Value::as_str).map(str::to_owned),
    ))
}

/// Whether a text looks like the id that Artifact Hub gives a repository: a UUID.
pub fn is_id(text: &str) -> bool {
    let lengths = text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    lengths && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

/// `NAME <ADDRESS>`.
pub fn person(text: &str) -> Result<Maintainer> {
    let parts = text.trim().strip_suffix('>').and_then(|text| text.split_once(" <"));
    let fits = |name: &str, email: &str| !name.trim().is_empty() && email.contains('@') && !email.contains(' ');
    match parts {
        Some((name, email)) if fits(name, email) => Ok(Maintainer {
            name: name.trim().to_owned(),
            email: email.to_owned(),
        }),
        _ => Err(Failure::usage(
            format!("{text:?} is not a name with an address"),
            "write it as 'NAME <ADDRESS>'",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            repository: "https://github.com/a/b".into(),
            charts: "oci://ghcr.io/a/charts".into(),
            site: None,
            maintainers: vec![person("A B <a@example.com>").unwrap()],
            sign_key: SignKey {
                fingerprint: "AA".into(),
                url: "https://github.com/a/b/raw/HEAD/ci/keys/signing.asc".into(),
            },
        }
    }

    #[test]
    fn settings_are_set_once_and_comments_stay() {
        let old = "[workspace]\nmembers = []\n\n[workspace.metadata.xtask]\n# why\nkube-version = \"1\" # this\npublished-site = \
                   \"https://x\"\nrepository = \"https://github.com/up/stream\" # ours\n# later\n\n[profile.dev]\ndebug = 1\n";
        let new = write_settings(old, &settings()).unwrap();
        for part in [
            "# why\nkube-version = \"1\" # this\n",
            "repository = \"https://github.com/a/b\" # ours\n",
            "published-charts = \"oci://ghcr.io/a/charts\"\n",
            "maintainers = [{ name = \"A B\", email = \"a@example.com\" }]\n",
            "# later\n\n[profile.dev]\ndebug = 1\n",
        ] {
            assert!(new.contains(part), "{part} is not in\n{new}");
        }
        assert!(!new.contains("published-site"), "{new}");
        assert_eq!(write_settings(&new, &settings()).unwrap(), new);
        assert!(write_settings("[workspace]\n", &settings()).is_err());
    }

    #[test]
    fn artifact_hubs_file_gets_owners_and_an_id_and_keeps_the_rest() {
        let owners = [person("A B <a@example.com>").unwrap()];
        let old = "# What it is.\n# Why.\nowners: []\nignore:\n- name: x\n";
        let id = "0b3f2a9e-8a55-4d0c-9f6e-0c0f3a1b2c3d";
        let new = write_hub(old, &owners, Some(id)).unwrap();
        assert!(
            new.starts_with("# What it is.\n# Why.\nowners:\n- name: A B\n  email: a@example.com\n"),
            "{new}"
        );
        assert!(new.contains("ignore:\n- name: x\n"), "{new}");
        let (read, read_id) = read_hub(&new).unwrap();
        assert_eq!(
            (read[0].email.as_str(), read_id.as_deref()),
            ("a@example.com", Some(id))
        );
        assert_eq!(write_hub(&new, &owners, Some(id)).unwrap(), new);
        assert!(write_hub("owners: [] # us\n", &owners, None).is_err());
        assert!(is_id(id) && !is_id("0b3f2a9e"));
    }

    #[test]
    fn a_person_has_a_name_and_an_address() {
        assert_eq!(person("A B <a@b.c>").unwrap().name, "A B");
        for text in ["", "A", "a@b.c", "<a@b.c>", "A <a>"] {
            assert!(person(text).is_err(), "{text}");
        }
    }

    #[test]
    fn secret_keys_stay_out_of_the_checkout_whichever_way_it_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let checkout = temp.path().join("checkout");
        std::fs::create_dir_all(&checkout).unwrap();
        std::os::unix::fs::symlink(&checkout, temp.path().join("link")).unwrap();
        for dir in ["checkout/keys", "link/keys/a", "x/../checkout/keys", "checkout"] {
            assert!(Secrets::at(&temp.path().join(dir), &checkout).is_err(), "{dir}");
        }
        assert!(Secrets::at(&temp.path().join("checkout2/keys"), &checkout).is_ok());
    }
}
