//! Signs archives as helm verifies them: a `.prov` file (helm.sh/docs/topics/provenance), made in process.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result};
use kit::failure::Failure;
use pgp::composed::{ArmorOptions, CleartextSignedMessage, PublicOrSecret, SignedSecretKey, SignedSecretSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, KeyVersion, Password, S2kParams, SecretParams, SigningKey, StringToKey, Timestamp};
use rand_core::OsRng;

/// A secret key that is unlocked and can sign now.
pub struct Signer {
    key: SignedSecretKey,
    /// Which subkey signs; none for the primary key.
    subkey: Option<usize>,
    passphrase: Password,
}

impl Signer {
    /// Reads the first secret key of a file, armored or binary. Errors of [`Kind::Usage`]: no such file,
    /// no secret key in it, a wrong or missing passphrase, a key that is expired, revoked, too new for
    /// helm, or can't sign.
    pub fn read(file: &Path, passphrase: Option<&str>) -> Result<Signer> {
        let bytes = std::fs::read(file).map_err(|error| {
            bad(
                format!("the key {} can't be read: {error}", file.display()),
                "name a file that `gpg --export-secret-keys --armor KEY` wrote with --key-file",
            )
        })?;
        Signer::parse(&bytes, &file.display().to_string(), passphrase)
    }

    /// As [`Signer::read`], from bytes that came from `shown`.
    pub fn parse(bytes: &[u8], shown: &str, passphrase: Option<&str>) -> Result<Signer> {
        let key = secret_key(bytes, shown)?;
        let signer = Signer {
            subkey: signing_part(&key, shown)?,
            key,
            passphrase: passphrase.map_or_else(Password::empty, Password::from),
        };
        signer.unlock(shown, passphrase.is_some())?;
        Ok(signer)
    }

    /// The primary key's fingerprint in capital hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        format!("{:X}", self.key.fingerprint())
    }

    fn unlock(&self, shown: &str, given: bool) -> Result<()> {
        let unlocked = match self.part() {
            Some(sub) => sub.key.unlock(&self.passphrase, |_, _| Ok(())).map(|_| ()),
            None => self.key.primary_key.unlock(&self.passphrase, |_, _| Ok(())).map(|_| ()),
        };
        let remedy = "give it with --passphrase-file or XTASK_PASSPHRASE";
        unlocked.map_err(|_| match given {
            true => bad(format!("the passphrase of the key {shown} is wrong"), remedy),
            false => bad(format!("the key {shown} is locked by a passphrase"), remedy),
        })
    }

    fn part(&self) -> Option<&SignedSecretSubKey> {
        self.subkey.and_then(|index| self.key.secret_subkeys.get(index))
    }

    /// The provenance file of an archive: `chart` is its Chart.yaml, `name` the archive's file name,
    /// `sha256` its digest in hexadecimal digits.
    pub fn provenance(&self, chart: &serde_yaml::Value, name: &str, sha256: &str) -> Result<String> {
        let metadata = serde_yaml::to_string(chart).context("writing YAML")?;
        let text = format!("{metadata}\n...\nfiles:\n  {name}: sha256:{sha256}\n");
        let message = match self.part() {
            Some(sub) => clear_sign(&text, &sub.key, &self.passphrase),
            None => clear_sign(&text, &self.key.primary_key, &self.passphrase),
        };
        let message = message.context("signing")?;
        message
            .to_armored_string(ArmorOptions::default())
            .context("writing the signature")
    }
}

fn bad(what: impl Into<String>, remedy: &str) -> anyhow::Error {
    Failure::usage(what, remedy)
}

/// With SHA-512, which is what helm's own signatures have.
fn clear_sign(text: &str, key: &impl SigningKey, passphrase: &Password) -> pgp::errors::Result<CleartextSignedMessage> {
    let mut config = SignatureConfig::from_key(OsRng, key, SignatureType::Text)?;
    config.hash_alg = HashAlgorithm::Sha512;
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::now()))?,
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
    ];
    config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?];
    CleartextSignedMessage::new(text, config, key, passphrase)
}

fn secret_key(bytes: &[u8], shown: &str) -> Result<SignedSecretKey> {
    let none = |why: String| {
        bad(
            format!("{shown} holds no usable secret key: {why}"),
            "write the file with `gpg --export-secret-keys --armor KEY`",
        )
    };
    let (keys, _) = PublicOrSecret::from_reader_many(Cursor::new(bytes)).map_err(|error| none(error.to_string()))?;
    let mut public = false;
    for key in keys {
        match key.map_err(|error| none(error.to_string()))? {
            PublicOrSecret::Secret(key) => return Ok(key),
            PublicOrSecret::Public(_) => public = true,
        }
    }
    Err(none(if public { "only public keys" } else { "no key" }.to_owned()))
}

/// The part of a key that may sign now: the primary key, else the first subkey that may.
fn signing_part(key: &SignedSecretKey, shown: &str) -> Result<Option<usize>> {
    let remedy = "sign with another key";
    if key.version() != KeyVersion::V4 {
        return Err(bad(
            format!(
                "the key {shown} is of version {:?}: helm verifies version 4 only",
                key.version()
            ),
            remedy,
        ));
    }
    if !key.details.revocation_signatures.is_empty() {
        return Err(bad(format!("the key {shown} is revoked"), remedy));
    }
    let own = key.details.users.iter().flat_map(|user| &user.signatures);
    let own = newest(own.chain(&key.details.direct_signatures));
    if let Some(own) = own {
        unexpired(own, key.created_at(), shown)?;
        if own.key_flags().sign() && !missing(key.primary_key.secret_params()) {
            return Ok(None);
        }
    }
    let mut expired = None;
    for (index, sub) in key.secret_subkeys.iter().enumerate() {
        let revoked = |s: &Signature| s.typ() == Some(SignatureType::SubkeyRevocation);
        let Some(binding) = newest(sub.signatures.iter()) else {
            continue;
        };
        if !binding.key_flags().sign() || sub.signatures.iter().any(revoked) || missing(sub.key.secret_params()) {
            continue;
        }
        match unexpired(binding, sub.key.created_at(), shown) {
            Ok(()) => return Ok(Some(index)),
            Err(error) => expired = Some(error),
        }
    }
    Err(expired.unwrap_or_else(|| bad(format!("no part of the key {shown} is meant for signing"), remedy)))
}

/// `gpg --export-secret-subkeys` leaves a stub where the primary key's secret was.
fn missing(secret: &SecretParams) -> bool {
    let SecretParams::Encrypted(params) = secret else {
        return false;
    };
    match params.string_to_key_params() {
        S2kParams::Cfb { s2k, .. } | S2kParams::MalleableCfb { s2k, .. } => matches!(s2k, StringToKey::Private { .. }),
        _ => false,
    }
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created().map(Timestamp::as_secs))
}

fn unexpired(signature: &Signature, created: Timestamp, shown: &str) -> Result<()> {
    let Some(lifetime) = signature
        .key_expiration_time()
        .filter(|lifetime| lifetime.as_secs() > 0)
    else {
        return Ok(());
    };
    let end = i64::from(created.as_secs()) + i64::from(lifetime.as_secs());
    if end > i64::from(Timestamp::now().as_secs()) {
        return Ok(());
    }
    let date = jiff::Timestamp::from_second(end).context("a key's date")?;
    Err(bad(
        format!("the key {shown} expired at {date}"),
        "extend it (`gpg --quick-set-expire KEY 1y`) and export it again, or sign with another key",
    ))
}

/// The public keys of a file, armored or binary, secret ones reduced, as helm reads a keyring.
pub fn keyring(file: &Path) -> Result<Vec<u8>> {
    let unusable = |why: String| {
        bad(
            format!("the keyring {} can't be used: {why}", file.display()),
            "write it with `gpg --export KEY > FILE`",
        )
    };
    let bytes = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
    let keys = PublicOrSecret::from_reader_many(Cursor::new(&bytes)).map_err(|error| unusable(error.to_string()))?;
    let mut ring = Vec::new();
    for key in keys.0 {
        let key = match key.map_err(|error| unusable(error.to_string()))? {
            PublicOrSecret::Secret(key) => key.to_public_key(),
            PublicOrSecret::Public(key) => key,
        };
        key.to_writer(&mut ring).context("writing a key")?;
    }
    if ring.is_empty() {
        return Err(unusable("it holds no key".to_owned()));
    }
    Ok(ring)
}
