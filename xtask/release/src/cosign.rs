//! cosign with a key pair and without a transparency log: the real program, as steps.

use std::path::{Path, PathBuf};

use kit::step::Step;

/// A cosign and the private key that it signs with.
#[derive(Debug, Clone)]
pub struct Cosign {
    /// The program.
    pub program: PathBuf,
    /// The key that `cosign generate-key-pair` wrote.
    pub key: PathBuf,
    /// The key's password; cosign would ask on a terminal where there is none.
    pub password: String,
}

/// Passed on to cosign in its environment, never in its arguments.
pub const PASSWORD: &str = "COSIGN_PASSWORD";

impl Cosign {
    /// Signs a file; the signature goes to `bundle`.
    pub(crate) fn sign_blob(&self, file: &Path, bundle: &Path) -> Step {
        self.sign("sign-blob", &format!("cosign sign-blob {}", shown(file)))
            .arg("--bundle")
            .path_arg(bundle)
            .path_arg(file)
    }

    /// Signs what a registry holds: `host/repository@sha256:…`.
    pub fn sign_pushed(&self, reference: &str) -> Step {
        self.sign("sign", &format!("cosign sign {reference}")).arg(reference)
    }

    fn sign(&self, command: &str, name: &str) -> Step {
        let log = ["--use-signing-config=false", "--tlog-upload=false"];
        Step::new(name, &self.program)
            .args([command, "--yes", "--key"])
            .path_arg(&self.key)
            .args(log)
            .secret_env(PASSWORD, &self.password)
            .hint("check the key, and its password in --cosign-passphrase-file or COSIGN_PASSWORD")
    }
}

/// Makes a key pair in the step's folder: cosign.key, which the password locks, and cosign.pub.
pub fn generate(program: &Path, password: &str) -> Step {
    Step::new("cosign generate-key-pair", program)
        .arg("generate-key-pair")
        .secret_env(PASSWORD, password)
}

/// Prints the public part of a key.
pub fn public_key(cosign: &Cosign) -> Step {
    Step::new("cosign public-key", &cosign.program)
        .args(["public-key", "--key"])
        .path_arg(&cosign.key)
        .secret_env(PASSWORD, &cosign.password)
        .hint("check the key, and its password in --cosign-passphrase-file or COSIGN_PASSWORD")
}

/// Checks a file against its bundle with a public key.
pub fn verify_blob(program: &Path, key: &Path, file: &Path, bundle: &Path) -> Step {
    Step::new(format!("cosign verify-blob {}", shown(file)), program)
        .args(["verify-blob", "--key"])
        .path_arg(key)
        .args(["--private-infrastructure", "--bundle"])
        .path_arg(bundle)
        .path_arg(file)
}

/// Checks what a registry holds with a public key.
pub fn verify_pushed(program: &Path, key: &Path, reference: &str) -> Step {
    Step::new(format!("cosign verify {reference}"), program)
        .args(["verify", "--key"])
        .path_arg(key)
        .args(["--private-infrastructure", reference])
}

fn shown(file: &Path) -> String {
    file.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}
