//! `cargo xtask release init --check`: whether a repository has what its releases need.

use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use kit::failure::{Failure, causes};
use release::git::Git;
use release::github::{GitHub, repository};
use release::gpg;
use release::setup::{self, COSIGN_PUB, KEYRING, SecretKey};
use release::site::METADATA;

use super::super::checks::{self, Check, check, skipped};
use super::{ENVIRONMENT, Init, SECRETS, VARIABLES, address, same};

impl Init<'_> {
    pub(super) fn check(&self, git: &Git) -> Result<()> {
        let checks = vec![
            self.repository_is_set(git)?,
            self.settings_are_set(),
            self.ring_is_published()?,
            self.cosign_is_published(),
            self.hub_is_set(),
            self.signing_is_safe(),
            self.cosign_is_safe(),
            self.handed_over()?,
        ];
        if self.ctx.runner.plans() {
            return self.ctx.print_planned();
        }
        self.ctx.print(&checks, checks::lines(&checks))?;
        let failed = checks::failed(&checks);
        if failed.is_empty() {
            return Ok(());
        }
        Err(Failure::findings(
            format!("{} is not set up for releases: {}", self.repository, failed.join(", ")),
            "run `cargo xtask release init`, then the commands that it prints",
        ))
    }

    fn repository_is_set(&self, git: &Git) -> Result<Check> {
        let name = "repository";
        let Some(set) = &self.ctx.publication.repository else {
            return Ok(check(name, false, "Cargo.toml has no `repository`".to_owned()));
        };
        let origin = git.origin()?.and_then(|url| repository(&url).ok());
        Ok(match origin.filter(|origin| !same(set, origin)) {
            Some(origin) => check(
                name,
                false,
                format!("Cargo.toml names {set}, and the remote origin is {origin}"),
            ),
            None if !self.ours => check(name, false, format!("Cargo.toml names {set}, not {}", self.repository)),
            None => check(name, true, set.clone()),
        })
    }

    fn settings_are_set(&self) -> Check {
        let (name, set) = ("settings", &self.ctx.publication);
        let Some(charts) = &set.charts else {
            return check(name, false, "Cargo.toml has no `published-charts`".to_owned());
        };
        if let Err(error) = address("published-charts", charts, &["oci://", "https://"]) {
            return check(name, false, causes(&*error));
        }
        if set.maintainers.is_empty() {
            return check(name, false, "Cargo.toml has no `maintainers`".to_owned());
        }
        let site = set.site.as_ref().map(|site| format!(", and {site}"));
        check(name, true, format!("charts go to {charts}{}", site.unwrap_or_default()))
    }

    fn ring_is_published(&self) -> Result<Check> {
        let (name, ring) = ("sign-key", self.path(KEYRING));
        let Some(set) = &self.ctx.publication.sign_key else {
            return Ok(check(name, false, "Cargo.toml has no `sign-key`".to_owned()));
        };
        if !ring.is_file() {
            return Ok(check(name, false, format!("there is no {KEYRING} with the public key")));
        }
        if std::fs::read_to_string(&ring).is_ok_and(|text| text.contains("PRIVATE KEY")) {
            let what = format!("{KEYRING} holds a secret key: take it out, revoke it and make another");
            return Ok(check(name, false, what));
        }
        let (_, keys) = match gpg::public_parts(&self.ctx.runner, &[&ring]) {
            Ok(parts) => parts,
            Err(error) => return Ok(check(name, false, causes(&*error))),
        };
        let wanted = set.fingerprint.to_uppercase();
        Ok(match keys.iter().find(|key| key.fingerprint == wanted) {
            None => check(name, false, format!("{KEYRING} has no key {wanted}")),
            Some(key) => match key.usable(&ring) {
                Ok(()) => check(name, true, format!("{wanted}, in {KEYRING}")),
                Err(error) => check(name, false, causes(&*error)),
            },
        })
    }

    fn cosign_is_published(&self) -> Check {
        let name = "cosign-pub";
        match std::fs::read_to_string(self.path(COSIGN_PUB)) {
            Ok(text) if text.starts_with("-----BEGIN PUBLIC KEY-----\n") => check(name, true, COSIGN_PUB.to_owned()),
            Ok(_) => check(name, false, format!("{COSIGN_PUB} is no public key in PEM")),
            Err(error) => check(name, false, format!("{COSIGN_PUB} can't be read: {}", error.kind())),
        }
    }

    fn hub_is_set(&self) -> Check {
        let (name, file) = ("hub", format!("ci/{METADATA}"));
        let text = std::fs::read_to_string(self.path(&file)).map_err(anyhow::Error::new);
        match text.and_then(|text| setup::read_hub(&text)) {
            Err(error) => check(name, false, format!("{file}: {error:#}")),
            Ok((owners, _)) if owners.is_empty() => check(name, false, format!("{file} names no owners")),
            Ok((_, Some(id))) if !setup::is_id(&id) => {
                check(name, false, format!("{file}: repositoryID {id} is no UUID"))
            }
            Ok((_, Some(id))) => check(name, true, format!("{file}, repository {id}")),
            Ok((_, None)) => check(
                name,
                true,
                format!("{file}; add the repository at artifacthub.io, then give its id with --repository-id"),
            ),
        }
    }

    /// The secret key is here, only this user can read it, its passphrase is right, and it is the one that is published.
    fn signing_is_safe(&self) -> Check {
        let name = "signing";
        let key = match &self.args.sign_key {
            Some(file) => self.named(file, self.args.passphrase_file.as_deref()),
            None => Ok(self.secrets.signing()),
        };
        let wanted = self
            .ctx
            .publication
            .sign_key
            .as_ref()
            .map(|key| key.fingerprint.to_uppercase());
        self.safe(name, key, |key| {
            let fingerprint = self.unlock(key)?;
            Ok(Some(&fingerprint) == wanted.as_ref() || self.ctx.runner.plans())
        })
    }

    fn cosign_is_safe(&self) -> Check {
        let key = match &self.args.cosign_key {
            Some(file) => self.named(file, self.args.cosign_passphrase_file.as_deref()),
            None => Ok(self.secrets.cosign()),
        };
        self.safe("cosign", key, |key| {
            let published = std::fs::read_to_string(self.path(COSIGN_PUB)).unwrap_or_default();
            Ok(self.public(key)? == published || self.ctx.runner.plans())
        })
    }

    fn safe(&self, name: &'static str, key: Result<SecretKey>, is_ours: impl Fn(&SecretKey) -> Result<bool>) -> Check {
        let key = match key {
            Ok(key) if key.key.is_file() => key,
            Ok(key) => return skipped(name, &format!("{} is not on this machine", key.key.display())),
            Err(error) => return check(name, false, causes(&*error)),
        };
        for file in [Some(&key.key), key.passphrase.as_ref()].into_iter().flatten() {
            let mode = std::fs::metadata(file).map_or(0, |file| file.permissions().mode());
            if mode & 0o077 != 0 {
                let file = file.display();
                return check(name, false, format!("others can read {file}: `chmod 600 {file}`"));
            }
        }
        match is_ours(&key) {
            Ok(true) => check(name, true, format!("{} and its passphrase", key.key.display())),
            Ok(false) => check(
                name,
                false,
                format!("{} is another key than the published one", key.key.display()),
            ),
            Err(error) => check(name, false, causes(&*error)),
        }
    }

    /// Whether GitHub has the secrets and variables, of which it tells the names.
    fn handed_over(&self) -> Result<Check> {
        let name = "github";
        if self.args.access.token()?.is_none() {
            return Ok(skipped(
                name,
                "without GH_TOKEN its secrets and variables can't be listed",
            ));
        }
        let mut access = self.args.access.clone();
        access.name(&self.repository);
        let github = GitHub::open(&access, self.ctx)?;
        let mut missing = Vec::new();
        for (kind, wanted) in [("secrets", &SECRETS[..]), ("variables", &VARIABLES)] {
            let there = match github.names(ENVIRONMENT, kind) {
                Ok(there) => there,
                Err(error) => return Ok(check(name, false, causes(&*error))),
            };
            missing.extend(
                wanted
                    .iter()
                    .copied()
                    .filter(|name| !there.iter().any(|other| other == name)),
            );
        }
        let place = format!("the environment {ENVIRONMENT} of {}", self.repository);
        Ok(match missing.is_empty() {
            true => check(name, true, format!("{place} has all secrets and variables")),
            false => check(name, false, format!("{place} lacks {}", missing.join(", "))),
        })
    }
}
