//! The keys to the doors: certificates of CAs that exist for one run, tokens and passwords.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use rand::RngExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyUsagePurpose, date_time_ymd};

use crate::client::credentials::KeyPair;

/// What a Secret holds, by key.
pub(crate) type Data = BTreeMap<String, String>;

/// A CA of this run.
pub(crate) struct Ca(CertifiedIssuer<'static, rcgen::KeyPair>);

impl Ca {
    /// A CA of that name.
    pub(crate) fn new(name: &str) -> Result<Ca> {
        let mut params = params(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, key()?).context("making a CA")?;
        Ok(Ca(issuer))
    }

    /// Its certificate, in PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names, the first of which is its subject.
    pub(crate) fn issue(&self, names: &[&str]) -> Result<KeyPair> {
        self.sign(&params(names.first().context("a certificate has a name")?, names)?)
    }

    /// One whose time is over.
    pub(crate) fn issue_expired(&self, name: &str) -> Result<KeyPair> {
        let mut params = params(name, &[name])?;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(&params)
    }

    /// A Secret of the type kubernetes.io/tls with a new certificate for these names.
    pub(crate) fn secret(&self, names: &[&str]) -> Result<Data> {
        let KeyPair { certificate, key } = self.issue(names)?;
        let entries = [("tls.crt", certificate), ("tls.key", key), ("ca.crt", self.pem())];
        Ok(entries.map(|(name, text)| (name.to_owned(), text)).into())
    }

    fn sign(&self, params: &CertificateParams) -> Result<KeyPair> {
        let key = key()?;
        let certificate = params.signed_by(&key, &self.0).context("signing a certificate")?;
        Ok(KeyPair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn key() -> Result<rcgen::KeyPair> {
    rcgen::KeyPair::generate().context("making a key")
}

fn params(subject: &str, names: &[&str]) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).context("the names of a certificate")?;
    params.distinguished_name.push(DnType::CommonName, subject);
    Ok(params)
}

/// A token, or a password, that nothing else holds.
pub(crate) fn token() -> String {
    let bytes: [u8; 24] = rand::rng().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A Secret with one key.
pub(crate) fn one(key: &str, text: impl Into<String>) -> Data {
    [(key.to_owned(), text.into())].into()
}

/// A line of an htpasswd file.
pub(crate) fn htpasswd(name: &str, password: &str) -> Result<String> {
    // The least that bcrypt has: it is asked for at each request, and guards nothing.
    let hash = bcrypt::hash(password, 4).context("hashing a password")?;
    // Go's bcrypt and Apache's write the same format as 2y.
    Ok(format!("{name}:{}\n", hash.replacen("$2b$", "$2y$", 1)))
}
