//! Programs out of their official images, for where a registry answers: seconds instead of a build of minutes.
//!
//! oras fetches the image by its digest and checks every blob; the program is the image's entry point. It is run as
//! it is, and nothing of it is kept but in the user's own cache.

use std::fs::Permissions;
use std::io::Read;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use kit::failure::Failure;
use kit::progress;
use kit::run_dir::RunDir;
use kit::step::Step;
use semver::Version;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Tool, Toolbox};
use crate::image::Image;

/// The chart whose values name the official images.
const VALUES: &str = "charts/tempo-stack/values.yaml";
/// How long a registry may take to be reached before a program is built instead.
const REACHED: Duration = Duration::from_secs(3);
/// How long it may take to name a digest.
const RESOLVED: Duration = Duration::from_secs(30);
/// How long an image of some hundred MB may take.
const COPIED: Duration = Duration::from_secs(15 * 60);

/// What a user names instead of a pinned program.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    /// A file of this machine.
    Program(PathBuf),
    /// A version of the official image.
    Version(Version),
    /// Any image.
    Image(String),
}

impl Named {
    /// A file if there is one, else a version if it reads as one, else an image.
    fn parse(text: &str) -> Named {
        let path = Path::new(text);
        if path.is_file() || path.is_absolute() || text.starts_with('.') {
            return Named::Program(path.to_owned());
        }
        if let Ok(version) = Version::parse(text.trim_start_matches('v')) {
            return Named::Version(version);
        }
        if text.contains([':', '@']) {
            return Named::Image(text.to_owned());
        }
        Named::Program(path.to_owned())
    }
}

/// `index.json` of an image layout (image-spec, image-layout.md).
#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Blob>,
}

/// An image's manifest (image-spec, manifest.md).
#[derive(Debug, Deserialize)]
struct Manifest {
    config: Blob,
    layers: Vec<Blob>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blob {
    media_type: String,
    digest: String,
}

/// An image's configuration (image-spec, config.md), as far as it says what runs.
#[derive(Debug, Deserialize)]
struct ImageConfig {
    #[serde(default)]
    config: Command,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Command {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
}

impl Toolbox {
    /// Takes for the tool of that name what the user named: a program, a version of the official image, or an image.
    pub fn name(&mut self, name: &str, text: &str) -> Result<()> {
        match Named::parse(text) {
            Named::Program(path) => self.give(name, &path),
            // What would be built is that version anyway.
            Named::Version(version) if self.tool(name)?.file.version == version => Ok(()),
            Named::Version(version) => {
                let reference = self.official(self.tool(name)?, Some(&version))?;
                self.give_image(name, &reference)
            }
            Named::Image(reference) => self.give_image(name, &reference),
        }
    }

    /// Takes the chart's own image for a tool that would have to be built, if its registry can be reached.
    pub fn prefer_official(&mut self, name: &str) -> Result<()> {
        let tool = self.tool(name)?.clone();
        if self.runner.plans() || tool.file.image.is_empty() || self.find(name)?.is_some() {
            return Ok(());
        }
        let reference = self.official(&tool, None)?;
        let why = match reach(&reference) {
            Ok(()) => match self.give_image(name, &reference) {
                Ok(()) => return Ok(()),
                Err(error) if kit::failure::kind_of(&error) == kit::failure::Kind::Environment => format!("{error:#}"),
                Err(error) => return Err(error),
            },
            Err(why) => why,
        };
        if !self.quiet {
            progress::say(format!(
                "{name} is built from source, since {reference} can't be had: {why}"
            ));
        }
        Ok(())
    }

    /// The image of a tool that the chart's values name, in another version if one is given.
    fn official(&self, tool: &Tool, version: Option<&Version>) -> Result<String> {
        if tool.file.image.is_empty() {
            return Err(Failure::usage(
                format!("no official image of {} is known", tool.name),
                "name an image, or a program of this machine",
            ));
        }
        let file = self.root.join(VALUES);
        let values: serde_yaml::Value =
            serde_yaml::from_str(&fs_err::read_to_string(&file)?).with_context(|| file.display().to_string())?;
        let image = tool
            .file
            .image
            .split('.')
            .try_fold(&values, |value, key| value.get(key))
            .with_context(|| format!("{} has no {}", file.display(), tool.file.image))?;
        let part = |key: &str| image.get(key).and_then(serde_yaml::Value::as_str).unwrap_or_default();
        let tag = version.map_or_else(|| part("tag").to_owned(), Version::to_string);
        Ok(format!("{}/{}:{tag}", part("registry"), part("repository")))
    }

    /// Fetches an image unless the cache holds it, and takes its program.
    fn give_image(&mut self, name: &str, reference: &str) -> Result<()> {
        let tool = self.tool(name)?.clone();
        let oras = self.get("oras")?.path;
        if self.runner.plans() && !oras.is_file() {
            return Ok(());
        }
        let platform = format!("linux/{}", platform()?);
        let resolve = Step::new(format!("asking for {reference}"), &oras)
            .args(["resolve", "--platform", &platform, reference])
            .timeout(RESOLVED)
            .reads();
        let answer = self.runner.try_run(&resolve)?;
        let digest = answer.stdout.trim();
        if !answer.success() || !digest.starts_with("sha256:") {
            return Err(Failure::environment(
                format!("{reference} can't be had: {}", answer.tail()),
                format!("check its name, or name a {name} of this machine by its path"),
            ));
        }
        let path = self
            .cache
            .join("tools")
            .join(name)
            .join(digest.replace(':', "-"))
            .join(name);
        if !path.is_file() {
            let _lock = self.lock(&tool)?;
            if !path.is_file() {
                let by_digest = format!("{}@{digest}", Image::parse(reference).name);
                self.fetch_program(&oras, &by_digest, &platform, &path)?;
            }
        }
        if self.runner.plans() && !path.is_file() {
            return Ok(());
        }
        self.give(name, &path)?;
        if !self.quiet {
            progress::say(format!("{name} is the program of {reference}, {digest}"));
        }
        Ok(())
    }

    fn fetch_program(&self, oras: &Path, by_digest: &str, platform: &str, to: &Path) -> Result<()> {
        let run = RunDir::create(&self.builds(), "image")?;
        let layout = run.path().join("layout");
        let copy = Step::new(format!("fetching {by_digest}"), oras)
            .args(["copy", "--no-tty", "--to-oci-layout", "--platform", platform, by_digest])
            .arg(format!("{}:program", layout.display()))
            .timeout(COPIED)
            .in_run(&run);
        let copied = self.runner.try_run(&copy)?;
        if self.runner.plans() {
            return Ok(());
        }
        if !copied.success() {
            return Err(Failure::environment(
                format!("{by_digest} can't be fetched: {}", copied.tail()),
                "run the same command again, or name a program of this machine by its path",
            ));
        }
        let content = entry_point(&layout).with_context(|| format!("reading {by_digest}"))?;
        let program = run.path().join("program");
        fs_err::write(&program, content)?;
        fs_err::set_permissions(&program, Permissions::from_mode(0o755))?;
        fs_err::create_dir_all(to.parent().context("a cached tool has a folder")?)?;
        // The rename makes it appear whole or not at all.
        fs_err::rename(&program, to)?;
        Ok(())
    }
}

/// This machine's architecture, as images name it.
fn platform() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(Failure::environment(
            format!("no image is known for {other}"),
            "name a program of this machine by its path",
        )),
    }
}

/// Whether the registry of an image takes connections; a proxy is not asked.
fn reach(reference: &str) -> Result<(), String> {
    let host = match Image::parse(reference).place().0 {
        None | Some("docker.io") => "registry-1.docker.io",
        Some(host) => host,
    };
    let address = match host.rsplit_once(':') {
        Some(_) => host.to_owned(),
        None => format!("{host}:443"),
    };
    let mut addresses = address.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    let first = addresses.next().ok_or_else(|| format!("{host} has no address"))?;
    TcpStream::connect_timeout(&first, REACHED)
        .map(drop)
        .map_err(|error| format!("{host}: {error}"))
}

/// The program that the only image of a layout starts.
fn entry_point(layout: &Path) -> Result<Vec<u8>> {
    let index: Index = serde_json::from_slice(&fs_err::read(layout.join("index.json"))?)?;
    let [image] = index.manifests.as_slice() else {
        bail!("it holds {} images, not one", index.manifests.len());
    };
    let manifest: Manifest = read_json(layout, image)?;
    let config: ImageConfig = read_json(layout, &manifest.config)?;
    let Command { entrypoint, cmd } = config.config;
    let command = [entrypoint, cmd].into_iter().flatten().flatten().next();
    let program = command.context("it names no entry point")?;
    let path = program
        .strip_prefix('/')
        .with_context(|| format!("its entry point is {program}, not an absolute path"))?;
    // What an upper layer holds hides what those below it hold.
    for layer in manifest.layers.iter().rev() {
        if let Some(found) = in_layer(layout, layer, Path::new(path))? {
            return Ok(found);
        }
    }
    bail!("none of its layers holds {program}")
}

fn blob(layout: &Path, blob: &Blob) -> PathBuf {
    layout.join("blobs").join(blob.digest.replace(':', "/"))
}

fn read_json<T: DeserializeOwned>(layout: &Path, of: &Blob) -> Result<T> {
    let path = blob(layout, of);
    serde_json::from_slice(&fs_err::read(&path)?).with_context(|| path.display().to_string())
}

/// The content of a file in a layer; none if the layer doesn't hold it.
fn in_layer(layout: &Path, layer: &Blob, path: &Path) -> Result<Option<Vec<u8>>> {
    let file = fs_err::File::open(blob(layout, layer))?;
    let reader: Box<dyn Read> = match layer.media_type.rsplit(['+', '.']).next() {
        Some("gzip") => Box::new(GzDecoder::new(file)),
        Some("tar") => Box::new(file),
        _ => bail!("layers of type {} can't be read", layer.media_type),
    };
    for entry in tar::Archive::new(reader).entries()? {
        let mut entry = entry?;
        // Written as "tempo", "./tempo" or "/tempo".
        let name: PathBuf = entry
            .path()?
            .components()
            .filter(|c| matches!(c, Component::Normal(_)))
            .collect();
        if name != path {
            continue;
        }
        if !entry.header().entry_type().is_file() {
            bail!("{} is not a file there", path.display());
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        return Ok(Some(content));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_names_is_a_file_or_a_version_or_an_image() {
        let version = |text: &str| Named::Version(Version::parse(text).unwrap());
        for (text, named) in [
            ("2.10.8", version("2.10.8")),
            ("v2.10.8", version("2.10.8")),
            ("./tempo", Named::Program("./tempo".into())),
            ("/opt/tempo:2", Named::Program("/opt/tempo:2".into())),
            ("tempo", Named::Program("tempo".into())),
            ("grafana/tempo:2.10.8", Named::Image("grafana/tempo:2.10.8".into())),
            ("r:5000/tempo", Named::Image("r:5000/tempo".into())),
            (
                "grafana/tempo@sha256:ab",
                Named::Image("grafana/tempo@sha256:ab".into()),
            ),
        ] {
            assert_eq!(Named::parse(text), named, "{text}");
        }
    }
}
