//! What a release is tried with and never published to or with: a registry, a web server and keys, which end with a
//! run.

use std::fs::DirBuilder;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kit::run_dir::{MARKER, RunDir};
use kit::step::{Cancel, Runner, Step};
use kit::wait::{self, Probe};

use super::cosign;
use super::gpg::Signer;

/// Whom throw-away keys belong to.
const USER: &str = "throw-away key <nobody@example.com>";
/// How long the registry may take to listen: 0.1 s seen on an idle machine.
const LISTENS: Duration = Duration::from_secs(60);
/// How long a client of the web server may take to ask.
const ASKS: Duration = Duration::from_secs(5);

/// The program `registry` (github.com/distribution/distribution) with TLS at a port of this machine, until it is
/// dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    host: String,
    certificate: PathBuf,
}

impl Registry {
    /// Starts `program` with its files in `dir`, `log` among them, as part of a run. Errors: it ends, or doesn't
    /// listen within a minute.
    pub fn start(program: &Path, dir: &Path, run: &RunDir, cancel: &Cancel) -> Result<Registry> {
        let storage = dir.join("storage");
        fs_err::create_dir_all(&storage)?;
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).context("making a certificate")?;
        let (certificate, key) = (dir.join("ca.pem"), dir.join("key.pem"));
        fs_err::write(&certificate, made.cert.pem())?;
        fs_err::write(&key, made.signing_key.serialize_pem())?;
        fs_err::write(dir.join("config.yml"), "version: 0.1\n")?;
        let host = free_address()?.to_string();
        let child = Command::new(program)
            .args(["serve", "config.yml"])
            .current_dir(dir)
            .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", &storage)
            .env("REGISTRY_HTTP_ADDR", &host)
            .env("REGISTRY_HTTP_TLS_CERTIFICATE", &certificate)
            .env("REGISTRY_HTTP_TLS_KEY", &key)
            .env("OTEL_TRACES_EXPORTER", "none")
            .env(MARKER, run.path())
            // Ctrl-C is for this program, which ends it when nothing needs it any more.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs_err::File::create(dir.join("log"))?.into_file())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let mut registry = Registry {
            child,
            host,
            certificate,
        };
        wait::until(
            "the registry listens",
            Duration::from_millis(20),
            LISTENS,
            cancel,
            || {
                if let Some(status) = registry.child.try_wait()? {
                    let log = fs_err::read_to_string(dir.join("log"))?;
                    bail!("the registry ended with {status}:\n{log}");
                }
                Ok(match TcpStream::connect(&registry.host) {
                    Ok(_) => Probe::Found(()),
                    Err(error) => Probe::NotYet(error.to_string()),
                })
            },
        )?;
        Ok(registry)
    }

    /// Its `host:port`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The certificate that vouches for it, in PEM.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of this machine where nothing listens.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    listener.local_addr().context("looking for a free port")
}

/// A web server for the files of one folder, over plain HTTP at a port of this machine, until it is dropped.
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl WebServer {
    /// Serves what is in `dir` when it is asked for; the folder may be made later.
    pub fn start(dir: &Path) -> Result<WebServer> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("starting a web server")?;
        let address = listener.local_addr().context("starting a web server")?;
        let stopped = Arc::new(AtomicBool::new(false));
        let (dir, stop) = (dir.to_path_buf(), stopped.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                // A client that went away needs no answer.
                let _ = answer(stream, &dir);
            }
        });
        Ok(WebServer {
            address,
            stopped,
            thread: Some(thread),
        })
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes it; where that fails there is nobody to wake.
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, dir: &Path) -> std::io::Result<()> {
    stream.set_read_timeout(Some(ASKS))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return Ok(()) };
    lines.find(String::is_empty);
    let asked = request.split(' ').nth(1).unwrap_or_default();
    let asked = Path::new(asked.split('?').next().unwrap_or_default().trim_start_matches('/'));
    let inside = asked.components().all(|part| matches!(part, Component::Normal(_)));
    let found = inside.then(|| std::fs::read(dir.join(asked)).ok()).flatten();
    let (status, body) = found.map_or(("404 Not Found", Vec::new()), |bytes| ("200 OK", bytes));
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(&[head.as_bytes(), &body].concat())
}

/// Keys that sign, made for one run, in files.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The OpenPGP key with its secret part, armored.
    pub secret: PathBuf,
    /// Its public part, as helm reads it.
    pub ring: PathBuf,
    /// Its fingerprint in capital hexadecimal digits.
    pub fingerprint: String,
    /// The private key of cosign.
    pub cosign: PathBuf,
    /// Its public part.
    pub cosign_pub: PathBuf,
    /// What locks both.
    pub passphrase: String,
}

impl Keys {
    /// Makes them in `dir`, which is made too, with gpg and `cosign`. gpg's agent ends with the run. The folder's
    /// path must be short, because gpg has a socket in there (unix(7): 107 bytes).
    pub fn make(runner: &Runner, run: &RunDir, cosign: &Path, dir: &Path) -> Result<Keys> {
        // A secret that no other run has; nothing that it locks is used elsewhere.
        let name = run.path().file_name().unwrap_or_default();
        let passphrase = format!("throw-away {}", name.to_string_lossy());
        let home = dir.join("gpg");
        DirBuilder::new().recursive(true).mode(0o700).create(&home)?;
        let gpg = |args: &[&str]| {
            let step = Step::new(format!("gpg {}", args.first().unwrap_or(&"")), "gpg")
                .arg("--homedir")
                .path_arg(&home)
                .args(["--batch", "--pinentry-mode", "loopback", "--passphrase-fd", "0"])
                .args(args.iter().copied())
                .stdin(format!("{passphrase}\n"))
                .env("LC_ALL", "C")
                .env(MARKER, run.path().to_string_lossy())
                .hint("install GnuPG (`apt-get install gnupg`)");
            runner.run(&step)
        };
        let (secret, ring) = (dir.join("secret.asc"), dir.join("pubring.gpg"));
        gpg(&["--quick-generate-key", USER, "ed25519", "sign", "1d"])?;
        gpg(&["--armor", "--output", &secret.to_string_lossy(), "--export-secret-keys"])?;
        gpg(&["--output", &ring.to_string_lossy(), "--export"])?;
        let signer = Signer::of_home(runner, &home, Some(passphrase.clone()), None)?;
        let generate = Step::new("cosign generate-key-pair", cosign)
            .arg("generate-key-pair")
            .cwd(dir)
            .secret_env(cosign::PASSWORD, &passphrase);
        runner.run(&generate)?;
        Ok(Keys {
            secret,
            ring,
            fingerprint: signer.fingerprint().to_owned(),
            cosign: dir.join("cosign.key"),
            cosign_pub: dir.join("cosign.pub"),
            passphrase,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn get(server: &WebServer, path: &str) -> String {
        let mut stream = TcpStream::connect(server.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_web_server_gives_the_files_of_its_folder_and_ends_when_it_is_dropped() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("www");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(temp.path().join("secret"), "x").unwrap();
        std::fs::write(folder.join("index.yaml"), "entries").unwrap();
        let server = WebServer::start(&folder).unwrap();
        let text = get(&server, "/index.yaml?x=1");
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("entries"), "{text}");
        for missing in ["/none", "/", "/../secret"] {
            assert!(get(&server, missing).starts_with("HTTP/1.1 404"), "{missing}");
        }
        let address = server.address;
        drop(server);
        assert!(TcpStream::connect(address).is_err());
    }
}
