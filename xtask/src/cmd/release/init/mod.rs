//! `cargo xtask release init`: what a repository needs before its first release.

mod check;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use charts::project::SignKey;
use clap::Args;
use kit::failure::Failure;
use kit::step::quote;
use kit::whole_file::{self, Mode};
use release::cosign::public_key;
use release::git::Git;
use release::github::{GitHubAccess, repository};
use release::gpg::{self, Signer};
use release::package::{cosign, secret};
use release::setup::{self, COSIGN_PUB, KEYRING, SecretKey, Secrets, Settings};
use release::site::METADATA;
use serde::Serialize;

use crate::ctx::Ctx;

/// The environment at GitHub that release.yml runs in, and what it reads there.
const ENVIRONMENT: &str = "release";
const SECRETS: [&str; 5] = [
    "REGISTRY_PASSWORD",
    "SIGNING_KEY",
    "SIGNING_PASSPHRASE",
    "COSIGN_KEY",
    "COSIGN_PASSWORD",
];
const VARIABLES: [&str; 2] = ["RELEASE_TO", "REGISTRY_USER"];

/// Sets this repository up for releases: the settings in Cargo.toml, the keys that sign, Artifact Hub's file.
///
/// An OpenPGP key and a cosign key are made where none are named and none are there. Their secret parts go to a
/// folder outside of the checkout that only this user can read; the public parts go to ci/keys, where anyone finds
/// them. What an upstream's settings say, those of another `repository`, is replaced. At the end the `gh` commands
/// are printed that hand secrets and variables to GitHub.
///
/// Run again, it changes nothing that is right and makes no second key; a run that was killed is completed. A new
/// key is taken with --sign-key, and the old one stays in ci/keys, so that older releases stay verifiable.
///
/// --check changes nothing: it says what is missing, and how to mend it. With a token it also asks GitHub which
/// secrets and variables are set.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask release init --owner 'NAME <ADDRESS>' --charts oci://ghcr.io/OWNER/charts
  cargo xtask release init --check
  GH_TOKEN=$(gh auth token) cargo xtask release init --check")]
pub struct InitArgs {
    /// Only say what is missing; exit code 1 if anything is.
    #[arg(long)]
    check: bool,
    /// Where the charts are published: oci://HOST/PATH or https://HOST/PATH [default: as Cargo.toml says, else
    /// oci://ghcr.io/OWNER/charts].
    #[arg(long, value_name = "URL", env = "XTASK_PUBLISHED_CHARTS")]
    charts: Option<String>,
    /// Where a static repository is served: https://HOST/PATH [default: as Cargo.toml says].
    #[arg(long, value_name = "URL", env = "XTASK_RELEASE_URL")]
    site: Option<String>,
    /// Who publishes, 'NAME <ADDRESS>', for Artifact Hub and in the OpenPGP key [default: `maintainers` in Cargo.toml].
    #[arg(long, value_name = "PERSON")]
    owner: Option<String>,
    /// The id that Artifact Hub gave the repository, which makes its publisher a verified one.
    #[arg(long, value_name = "UUID")]
    repository_id: Option<String>,
    /// The folder of the keys' secret parts, outside of the checkout
    /// [default: tempo-stack/OWNER/NAME in $XDG_CONFIG_HOME or ~/.config].
    #[arg(long, value_name = "DIR", env = "XTASK_RELEASE_KEYS")]
    keys: Option<PathBuf>,
    /// Sign with this OpenPGP secret key instead of making one; it stays where it is.
    #[arg(long, value_name = "FILE", env = "XTASK_KEY_FILE")]
    sign_key: Option<PathBuf>,
    /// A file whose first line is its passphrase [default: the variable XTASK_PASSPHRASE].
    #[arg(long, value_name = "FILE", requires = "sign_key")]
    passphrase_file: Option<PathBuf>,
    /// Sign with this cosign private key instead of making one; it stays where it is.
    #[arg(long, value_name = "FILE", env = "XTASK_COSIGN_KEY")]
    cosign_key: Option<PathBuf>,
    /// A file whose first line is its password [default: the variable COSIGN_PASSWORD].
    #[arg(long, value_name = "FILE", requires = "cosign_key")]
    cosign_passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    access: GitHubAccess,
}

/// What was set up.
#[derive(Debug, Serialize)]
struct Report {
    repository: String,
    /// Relative to the workspace.
    wrote: Vec<String>,
    /// The secret keys that were made.
    made: Vec<PathBuf>,
    /// What to run next.
    commands: Vec<String>,
}

pub fn run(ctx: &Ctx, args: &InitArgs) -> Result<()> {
    let git = Git::of(ctx)?;
    let repository = which(ctx, args, &git)?;
    let dir = match &args.keys {
        Some(dir) => dir.clone(),
        None => config_dir()?.join("tempo-stack").join(&repository),
    };
    let init = Init {
        ctx,
        args,
        ours: ctx
            .publication
            .repository
            .as_deref()
            .is_none_or(|set| same(set, &repository)),
        secrets: Secrets::at(&dir, &git.top()?)?,
        repository,
    };
    match args.check {
        true => init.check(&git),
        false => init.set_up(),
    }
}

/// The repository that is meant. A fork's Cargo.toml may still name the one that it was forked from.
fn which(ctx: &Ctx, args: &InitArgs, git: &Git) -> Result<String> {
    if let Some(named) = args.access.named()? {
        return Ok(named);
    }
    let origin = git.origin()?;
    let set = ctx.publication.repository.as_deref();
    let candidates = origin.as_deref().into_iter().chain(set);
    candidates.flat_map(repository).next().ok_or_else(|| {
        Failure::usage(
            "which repository on GitHub is meant? Neither the remote `origin` nor Cargo.toml names one",
            "name it: --repository OWNER/NAME",
        )
    })
}

fn same(one: &str, other: &str) -> bool {
    repository(one).is_ok_and(|one| one.eq_ignore_ascii_case(other))
}

fn config_dir() -> Result<PathBuf> {
    let var = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home = || var("HOME").map(|home| home.join(".config"));
    var("XDG_CONFIG_HOME").or_else(home).ok_or_else(|| {
        Failure::usage(
            "neither XDG_CONFIG_HOME nor HOME is set",
            "name a folder for the secret keys with --keys",
        )
    })
}

struct Init<'a> {
    ctx: &'a Ctx,
    args: &'a InitArgs,
    /// `OWNER/NAME`.
    repository: String,
    /// Whether the settings are of this repository, not of one that it was forked from.
    ours: bool,
    secrets: Secrets,
}

impl Init<'_> {
    fn path(&self, file: &str) -> PathBuf {
        self.ctx.workspace.root().join(file)
    }

    /// A file's text; none where there is none, or where it is an upstream's.
    fn our_text(&self, file: &str) -> Result<Option<String>> {
        match std::fs::read_to_string(self.path(file)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            text => Ok(Some(text.with_context(|| format!("reading {file}"))?).filter(|_| self.ours)),
        }
    }

    fn set_up(&self) -> Result<()> {
        let (ctx, args) = (self.ctx, self.args);
        let set = ctx.publication.clone();
        let maintainers = match &args.owner {
            Some(owner) => vec![setup::person(owner)?],
            None if self.ours && !set.maintainers.is_empty() => set.maintainers,
            None => {
                let what = format!("who publishes the charts of {}?", self.repository);
                return Err(Failure::usage(what, "say it: --owner 'NAME <ADDRESS>'"));
            }
        };
        let owner = self.repository.split('/').next().unwrap_or_default();
        let charts = args.charts.clone().or(set.charts.filter(|_| self.ours));
        let charts = charts.unwrap_or_else(|| format!("oci://ghcr.io/{}/charts", owner.to_lowercase()));
        let charts = address("--charts", &charts, &["oci://", "https://"])?;
        let site = args.site.clone().or(set.site.filter(|_| self.ours));
        let site = site.map(|site| address("--site", &site, &["https://"])).transpose()?;
        if let Some(id) = args.repository_id.as_deref().filter(|id| !setup::is_id(id)) {
            let what = format!("--repository-id {id} is not the id of a repository");
            return Err(Failure::usage(
                what,
                "Artifact Hub shows it in its control panel, in the form of a UUID",
            ));
        }
        let hub = Path::new("ci").join(METADATA).display().to_string();
        let old_hub = std::fs::read_to_string(self.path(&hub)).unwrap_or_default();
        let (_, id) = setup::read_hub(&old_hub).with_context(|| format!("reading {hub}"))?;
        let id = args.repository_id.clone().or(id.filter(|_| self.ours));
        let new_hub = setup::write_hub(&old_hub, &maintainers, id.as_deref());
        let new_hub = new_hub.with_context(|| format!("{hub} can't be changed"))?;

        // From here on there is something to do, which a second run finds done.
        let mut made = Vec::new();
        let person = &maintainers[0];
        let (signing, fingerprint, ring) = self.signing(&format!("{} <{}>", person.name, person.email), &mut made)?;
        let (cosign, public) = self.cosign(&mut made)?;
        let web = format!("{}/{}", args.access.website(), self.repository);
        let settings = Settings {
            charts,
            site,
            maintainers,
            sign_key: SignKey {
                fingerprint,
                url: format!("{web}/raw/HEAD/{KEYRING}"),
            },
            repository: web,
        };
        let manifest = fs_err::read_to_string(self.path("Cargo.toml"))?;
        let mut wrote = Vec::new();
        for (file, text) in [
            (KEYRING, ring),
            (COSIGN_PUB, public),
            (hub.as_str(), new_hub),
            ("Cargo.toml", setup::write_settings(&manifest, &settings)?),
        ] {
            if std::fs::read_to_string(self.path(file)).is_ok_and(|old| old == text) {
                continue;
            }
            wrote.push(file.to_owned());
            if !ctx.runner.plans() {
                whole_file::write(&self.path(file), text, Mode::Kept)?;
            }
        }
        if ctx.runner.plans() {
            for file in &wrote {
                ctx.say(format!("would write {file}"));
            }
            return ctx.print_planned();
        }
        let report = Report {
            commands: self.commands(&settings, signing.as_ref(), cosign.as_ref(), &wrote),
            repository: self.repository.clone(),
            wrote,
            made,
        };
        ctx.print(&report, text(&report))
    }

    /// The key that signs, if it is on this machine; its fingerprint; the public keys for KEYRING.
    fn signing(&self, owner: &str, made: &mut Vec<PathBuf>) -> Result<(Option<SecretKey>, String, String)> {
        let (ctx, args) = (self.ctx, self.args);
        let wanted = ctx.publication.sign_key.as_ref().filter(|_| self.ours);
        let wanted = wanted.map(|key| key.fingerprint.to_uppercase());
        let old = self.our_text(KEYRING)?;
        let key = match &args.sign_key {
            Some(key) => Some(self.named(key, args.passphrase_file.as_deref())?),
            None => match (self.made_signing()?, &wanted) {
                (Some((key, fingerprint)), Some(wanted)) => (fingerprint == *wanted).then_some(key),
                (Some((key, _)), None) => Some(key),
                (None, Some(_)) => None,
                (None, None) => {
                    let key = self.secrets.make_signing(&ctx.runner, owner)?;
                    made.push(key.key.clone());
                    Some(key)
                }
            },
        };
        let Some(key) = key else {
            let fingerprint = wanted.unwrap_or_default();
            let there = self.ring_holds(&fingerprint)?;
            let ring = old.filter(|_| there).ok_or_else(|| {
                Failure::findings(
                    format!("{KEYRING} lacks the key {fingerprint}, which sign-key in Cargo.toml names"),
                    "name its secret part with --sign-key; for a new key, take sign-key out of Cargo.toml first",
                )
            })?;
            return Ok((None, fingerprint, ring));
        };
        if ctx.runner.plans() && !key.key.is_file() {
            return Ok((Some(key), "FINGERPRINT".to_owned(), String::new()));
        }
        let fingerprint = self.unlock(&key)?;
        let ring = self.path(KEYRING);
        let files = [Some(key.key.as_path()), old.as_ref().map(|_| ring.as_path())];
        let files: Vec<&Path> = files.into_iter().flatten().collect();
        let (armored, _) = gpg::public_parts(&ctx.runner, &files)?;
        Ok((Some(key), fingerprint, armored))
    }

    fn named(&self, key: &Path, passphrase: Option<&Path>) -> Result<SecretKey> {
        let whole = |file: &Path| std::path::absolute(file).with_context(|| file.display().to_string());
        Ok(SecretKey {
            key: whole(key)?,
            passphrase: passphrase.map(whole).transpose()?,
        })
    }

    /// The key that an earlier run made, and its fingerprint.
    fn made_signing(&self) -> Result<Option<(SecretKey, String)>> {
        let key = self.secrets.signing();
        if !key.key.is_file() {
            return Ok(None);
        }
        let fingerprint = self.unlock(&key)?;
        Ok(Some((key, fingerprint)))
    }

    /// The fingerprint of a key that signs with its passphrase.
    fn unlock(&self, key: &SecretKey) -> Result<String> {
        let passphrase = secret(key.passphrase.as_deref(), "XTASK_PASSPHRASE")?;
        let signer = Signer::of_file(&self.ctx.runner, &key.key, passphrase, None)?;
        Ok(signer.fingerprint().to_owned())
    }

    fn ring_holds(&self, fingerprint: &str) -> Result<bool> {
        let ring = self.path(KEYRING);
        if !ring.is_file() {
            return Ok(false);
        }
        let (_, keys) = gpg::public_parts(&self.ctx.runner, &[&ring])?;
        Ok(self.ctx.runner.plans() || keys.iter().any(|key| key.fingerprint == fingerprint))
    }

    /// The cosign key, if it is on this machine, and its public part.
    fn cosign(&self, made: &mut Vec<PathBuf>) -> Result<(Option<SecretKey>, String)> {
        let (ctx, args) = (self.ctx, self.args);
        let old = self.our_text(COSIGN_PUB)?;
        let key = match &args.cosign_key {
            Some(key) => self.named(key, args.cosign_passphrase_file.as_deref())?,
            None => {
                let there = self.secrets.cosign();
                match (there.key.is_file(), &old) {
                    (true, Some(old)) if self.public(&there)? != *old => return Ok((None, old.clone())),
                    (true, _) => there,
                    (false, Some(old)) => return Ok((None, old.clone())),
                    (false, None) => {
                        let program = ctx.toolbox.get("cosign")?.path;
                        let key = self.secrets.make_cosign(&ctx.runner, &program)?;
                        made.push(key.key.clone());
                        key
                    }
                }
            }
        };
        if ctx.runner.plans() && !key.key.is_file() {
            return Ok((Some(key), String::new()));
        }
        let public = self.public(&key)?;
        Ok((Some(key), public))
    }

    fn public(&self, key: &SecretKey) -> Result<String> {
        let cosign = cosign(self.ctx, &key.key, key.passphrase.as_deref())?;
        Ok(self.ctx.runner.run(&public_key(&cosign))?.stdout)
    }

    /// What is left to do by hand.
    fn commands(
        &self,
        settings: &Settings,
        signing: Option<&SecretKey>,
        cosign: Option<&SecretKey>,
        wrote: &[String],
    ) -> Vec<String> {
        let mut commands = Vec::new();
        if !wrote.is_empty() {
            commands.push(format!("git add {}", wrote.join(" ")));
            commands.push("git commit --message 'chore: set up releases'".to_owned());
        }
        let to = format!("--env {ENVIRONMENT} --repo {}", self.repository);
        commands.push(format!(
            "gh api --method PUT repos/{}/environments/{ENVIRONMENT}",
            self.repository
        ));
        commands.push(format!(
            "gh variable set RELEASE_TO {to} --body {}",
            quote(&settings.charts)
        ));
        commands.push(format!("gh variable set REGISTRY_USER {to}"));
        commands.push(format!("gh secret set REGISTRY_PASSWORD {to}"));
        let mut hand_over = |names: [&str; 2], key: &SecretKey| {
            let from = |file: &Path| format!(" < {}", quote(&file.to_string_lossy()));
            commands.push(format!("gh secret set {} {to}{}", names[0], from(&key.key)));
            let passphrase = key.passphrase.as_deref().map(from).unwrap_or_default();
            commands.push(format!("gh secret set {} {to}{passphrase}", names[1]));
        };
        if let Some(key) = signing {
            hand_over(["SIGNING_KEY", "SIGNING_PASSPHRASE"], key);
        }
        if let Some(key) = cosign {
            hand_over(["COSIGN_KEY", "COSIGN_PASSWORD"], key);
        }
        commands
    }
}

/// An address without a slash at its end.
fn address(option: &str, url: &str, schemes: &[&str]) -> Result<String> {
    let fits = schemes
        .iter()
        .any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if !fits || url.contains(char::is_whitespace) {
        let forms: Vec<_> = schemes.iter().map(|scheme| format!("{scheme}HOST/PATH")).collect();
        let what = format!("{option} {url:?} is not an address to publish at");
        return Err(Failure::usage(what, format!("write it as {}", forms.join(" or "))));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn text(report: &Report) -> String {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(report.made.iter().map(|key| format!("made       {}", key.display())));
    lines.extend(report.wrote.iter().map(|file| format!("wrote      {file}")));
    if lines.is_empty() {
        lines.push("nothing to do in this checkout".to_owned());
    }
    if !report.made.is_empty() {
        lines.push("Keep a copy of these keys where it can't be lost: nobody can make them again.".to_owned());
    }
    lines.push("Then run, and answer what is asked:".to_owned());
    lines.extend(report.commands.iter().map(|command| format!("  {command}")));
    lines.join("\n")
}
