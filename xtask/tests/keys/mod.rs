//! OpenPGP keys made for one test.

use std::path::{Path, PathBuf};

use pgp::composed::{
    ArmorOptions, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::ser::Serialize;
use pgp::types::KeyVersion;
use rand_core::OsRng;

/// How a key is made.
pub struct Recipe {
    /// The primary key's kind.
    pub kind: KeyType,
    /// 4, which helm knows, or 6.
    pub version: KeyVersion,
    /// What locks it.
    pub passphrase: Option<&'static str>,
    /// Whether the primary key may sign.
    pub signs: bool,
    /// Whether there is a subkey that may.
    pub signing_subkey: bool,
}

/// What `gpg` makes by default: a version 4 key that signs.
pub const USUAL: Recipe = Recipe {
    kind: KeyType::Ed25519Legacy,
    version: KeyVersion::V4,
    passphrase: None,
    signs: true,
    signing_subkey: false,
};

/// A secret key and its public part on disk.
pub struct Key {
    /// Armored.
    pub secret: PathBuf,
    /// As helm reads it: binary packets, no keybox.
    pub ring: PathBuf,
    /// In capital hexadecimal digits.
    pub fingerprint: String,
}

/// Makes a key and writes both parts into `dir`.
pub fn make(dir: &Path, name: &str, recipe: &Recipe) -> Key {
    let mut params = SecretKeyParamsBuilder::default();
    params
        .version(recipe.version)
        .key_type(recipe.kind.clone())
        .can_certify(true)
        .can_sign(recipe.signs)
        .can_encrypt(EncryptionCaps::None)
        .passphrase(recipe.passphrase.map(str::to_owned))
        .primary_user_id("test <test@example.com>".to_owned());
    if recipe.signing_subkey {
        let mut subkey = SubkeyParamsBuilder::default();
        subkey
            .version(recipe.version)
            .key_type(recipe.kind.clone())
            .can_sign(true)
            .passphrase(recipe.passphrase.map(str::to_owned));
        params.subkey(subkey.build().unwrap());
    }
    let key: SignedSecretKey = params.build().unwrap().generate(OsRng).unwrap();
    let (secret, ring) = (dir.join(format!("{name}.asc")), dir.join(format!("{name}.gpg")));
    std::fs::write(&secret, key.to_armored_string(ArmorOptions::default()).unwrap()).unwrap();
    std::fs::write(&ring, key.to_public_key().to_bytes().unwrap()).unwrap();
    use pgp::types::KeyDetails;
    Key {
        secret,
        ring,
        fingerprint: format!("{:X}", key.fingerprint()),
    }
}
