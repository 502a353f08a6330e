//! The real registry program, and a proxy in front of it that can be shut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use charts::tools::Toolbox;
use charts::workspace::Workspace;
use kit::step::{Cancel, Runner};

/// Who may push.
pub const USER: &str = "bot";
pub const PASSWORD: &str = "s3cret-of-the-registry";

/// A pinned tool, built if need be.
pub fn tool(name: &str) -> PathBuf {
    let runner = Runner::new(Cancel::default(), false);
    let cache = Toolbox::default_cache().unwrap();
    let toolbox = Toolbox::read(Workspace::find().unwrap().root(), cache, runner, true).unwrap();
    toolbox.get(name).unwrap().path
}

/// A registry that runs until it is dropped.
pub struct Registry {
    child: Child,
    /// Its `host:port`.
    pub host: String,
    /// Where it keeps everything.
    pub dir: PathBuf,
}

pub struct Options {
    /// With TLS and basic authentication, else open on plain HTTP.
    pub secure: bool,
    /// On a disk of so many KiB.
    pub disk: Option<u32>,
}

impl Registry {
    /// Starts one with its files, `ca.pem` and `log` among them, in `dir`.
    pub fn start(dir: &Path, options: &Options) -> Registry {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        std::fs::create_dir_all(dir.join("storage")).unwrap();
        std::fs::write(dir.join("config.yml"), "version: 0.1\n").unwrap();
        let program = tool("registry");
        let mut command = match options.disk {
            None => Command::new(&program),
            Some(kib) => {
                // A disk of its own in a mount namespace of its own: nothing to clean up.
                let mut command = Command::new("unshare");
                let script = format!("mount -t tmpfs -o size={kib}k none storage && exec \"$0\" \"$@\"");
                command
                    .args(["--map-root-user", "--mount", "sh", "-c", &script])
                    .arg(&program);
                command
            }
        };
        command
            .args(["serve", "config.yml"])
            .current_dir(dir)
            .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", dir.join("storage"))
            .env("REGISTRY_HTTP_ADDR", &host)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("log")).unwrap());
        if options.secure {
            secure(dir, &mut command);
        }
        let registry = Registry {
            child: command.spawn().unwrap(),
            host,
            dir: dir.to_path_buf(),
        };
        registry.wait();
        registry
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(&self.host).is_err() {
            let log = std::fs::read_to_string(self.dir.join("log")).unwrap();
            assert!(Instant::now() < deadline, "the registry did not start: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All tags of a repository on the registry's disk.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let dir = self
            .dir
            .join("storage/docker/registry/v2/repositories")
            .join(repository)
            .join("_manifests/tags");
        let mut tags: Vec<_> = std::fs::read_dir(dir)
            .map(|list| {
                list.map(|tag| tag.unwrap().file_name().to_string_lossy().into_owned())
                    .collect()
            })
            .unwrap_or_default();
        tags.sort();
        tags
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn secure(dir: &Path, command: &mut Command) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("ca.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let line = format!("{USER}:{}\n", bcrypt::hash(PASSWORD, 4).unwrap());
    std::fs::write(dir.join("users"), line).unwrap();
    std::fs::write(dir.join("password"), format!("{PASSWORD}\n")).unwrap();
    command
        .env("REGISTRY_HTTP_TLS_CERTIFICATE", dir.join("ca.pem"))
        .env("REGISTRY_HTTP_TLS_KEY", dir.join("key.pem"))
        .env("REGISTRY_AUTH", "htpasswd")
        .env("REGISTRY_AUTH_HTPASSWD_REALM", "tests")
        .env("REGISTRY_AUTH_HTPASSWD_PATH", dir.join("users"));
}

/// A proxy to a registry on plain HTTP: it lets so many requests that write through, then none at all.
pub struct Proxy {
    /// Its `host:port`.
    pub host: String,
    left: Arc<AtomicUsize>,
}

impl Proxy {
    pub fn to(registry: &Registry) -> Proxy {
        Proxy::start(registry, false)
    }

    /// One that has the registry list one tag at a time, as some registries do of their own accord: this one pages
    /// where it is asked to.
    pub fn paging(registry: &Registry) -> Proxy {
        Proxy::start(registry, true)
    }

    fn start(registry: &Registry, paging: bool) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let (shared, target) = (left.clone(), registry.host.clone());
        std::thread::spawn(move || {
            for inside in listener.incoming().flatten() {
                let (left, target) = (shared.clone(), target.clone());
                std::thread::spawn(move || pass(inside, &target, &left, paging));
            }
        });
        Proxy { host, left }
    }

    /// Lets so many requests that write through from now on.
    pub fn let_through(&self, writes: usize) {
        self.left.store(writes, Ordering::SeqCst);
    }

    pub fn is_shut(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }
}

/// Passes bytes on until the proxy is shut; a request begins a chunk that its sender wrote at once.
fn pass(mut inside: TcpStream, target: &str, left: &AtomicUsize, paging: bool) {
    if left.load(Ordering::SeqCst) == 0 {
        return;
    }
    let Ok(mut outside) = TcpStream::connect(target) else {
        return;
    };
    let (mut back_from, mut back_to) = (outside.try_clone().unwrap(), inside.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Both);
    });
    let mut buffer = [0u8; 65536];
    while let Ok(n @ 1..) = inside.read(&mut buffer) {
        let writes = [b"POST /".as_slice(), b"PUT /", b"PATCH /"]
            .iter()
            .any(|verb| buffer[..n].starts_with(verb));
        let open = |left: usize| (left > 0).then(|| if writes && left != usize::MAX { left - 1 } else { left });
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, open).is_err()
            || outside.write_all(&asked(&buffer[..n], paging)).is_err()
        {
            break;
        }
    }
    let _ = inside.shutdown(Shutdown::Both);
    let _ = outside.shutdown(Shutdown::Both);
}

/// What is asked, with a limit of one where it is a list of tags without one.
fn asked(chunk: &[u8], paging: bool) -> Vec<u8> {
    let list = b"/tags/list HTTP/1.1\r\n";
    let at = chunk.windows(list.len()).position(|bytes| bytes == list);
    match at.filter(|_| paging && chunk.starts_with(b"GET /v2/")) {
        Some(at) => [&chunk[..at], b"/tags/list?n=1 HTTP/1.1\r\n", &chunk[at + list.len()..]].concat(),
        None => chunk.to_vec(),
    }
}
