//! Docker's command line, and types for what it prints.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use kit::failure::{Failure, Kind, kind_of};
use kit::step::{Output, Runner, Step};
use kit::wait::{self, Probe, TimedOut};
use serde::Deserialize;

/// What to do where Docker doesn't answer.
pub const START_DOCKER: &str = "as root on Debian: bash ci/testbed/docker.sh";
/// The label by which kind finds the containers of a cluster.
pub(crate) const KIND_LABEL: &str = "io.x-k8s.kind.cluster";

/// Docker's words for what is asked for here.
const OBJECTS: [&str; 4] = ["object", "container", "image", "network"];

/// How long a container may be listed before it can be inspected.
const CHANGING: Duration = Duration::from_secs(30);
const CHANGING_PERIOD: Duration = Duration::from_millis(200);

/// What we read of `docker info`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    /// The engine's version.
    #[serde(default)]
    pub server_version: String,
    /// `1` or `2`.
    #[serde(default)]
    pub cgroup_version: String,
    /// The storage driver.
    #[serde(default)]
    pub driver: String,
    /// Where images, containers and volumes lie.
    #[serde(default)]
    pub docker_root_dir: PathBuf,
    /// The runtime of containers that ask for none.
    #[serde(default)]
    pub default_runtime: String,
    /// Why the engine could not be asked.
    #[serde(default)]
    server_errors: Vec<String>,
}

/// What we read of `docker inspect` about a container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    /// Its name, with Docker's leading slash.
    pub name: String,
    /// The id of its image.
    pub image: String,
    /// Whether it runs.
    pub state: ContainerState,
    /// Its networks.
    pub network_settings: NetworkSettings,
}

/// See [`Container`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerState {
    /// `running`, `exited`, `created`, …
    pub status: String,
}

/// See [`Container`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// By name.
    #[serde(default)]
    pub networks: BTreeMap<String, serde_json::Value>,
}

impl Container {
    /// Its name without Docker's slash.
    pub fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }
}

/// What we read of `docker network inspect`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its labels.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What we read of `docker image inspect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// Its id, a digest.
    pub id: String,
    /// Its names.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub repo_tags: Vec<String>,
    /// Bytes on disk.
    #[serde(default)]
    pub size: u64,
    #[serde(default)]
    config: Option<ImageConfig>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageConfig {
    #[serde(default, deserialize_with = "null_is_empty")]
    labels: BTreeMap<String, String>,
}

impl Image {
    /// One of its labels.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.config.as_ref()?.labels.get(key).map(String::as_str)
    }
}

/// Docker prints `null` where there is nothing.
fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(source: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(source)?.unwrap_or_default())
}

/// Docker's command line.
#[derive(Debug, Clone)]
pub struct Docker {
    runner: Runner,
}

impl Docker {
    /// A Docker whose commands `runner` runs.
    pub fn new(runner: Runner) -> Docker {
        Docker { runner }
    }

    /// A docker command as a step.
    pub fn step<I: IntoIterator<Item = S>, S: Into<String>>(name: impl Into<String>, args: I) -> Step {
        Step::new(name, "docker")
            .args(args)
            .hint(format!("see what `docker info` says; {START_DOCKER}"))
    }

    /// Runs a docker command.
    pub fn run(&self, step: &Step) -> Result<Output> {
        self.runner.run(step).map_err(environment)
    }

    /// About the engine; fails with [`Kind::Tool`] where Docker isn't installed, with
    /// [`Kind::Environment`] where no engine answers.
    pub fn info(&self) -> Result<Info> {
        let missing = |what: String| Failure::environment(what, START_DOCKER);
        let step = Docker::step("docker info", ["info", "--format", "{{json .}}"])
            .timeout(Duration::from_secs(20))
            .reads();
        let output = match self.runner.try_run(&step) {
            Ok(output) => output,
            Err(error) if kind_of(&error) == Kind::Tool => {
                let what = "Docker is not installed: no `docker` on PATH";
                return Err(Failure::tool(what, START_DOCKER));
            }
            Err(error) => return Err(error),
        };
        let said = || output.tail().replace('\n', "; ");
        let info: Info = serde_json::from_str(output.stdout.trim())
            .map_err(|_| missing(format!("Docker doesn't answer: {}", said())))?;
        if !output.success() || info.server_version.is_empty() {
            let why = info.server_errors.first().cloned().unwrap_or_else(said);
            return Err(missing(format!("Docker doesn't answer: {why}")));
        }
        Ok(info)
    }

    /// The containers of a kind cluster, ours or not, running or not.
    pub fn nodes(&self, cluster: &str) -> Result<Vec<Container>> {
        let filter = format!("label={KIND_LABEL}={cluster}");
        let list = Docker::step("list the nodes", ["ps", "--all", "--quiet", "--filter", &filter]).reads();
        let inspect = Docker::step("inspect the nodes", ["inspect", "--type", "container"]).reads();
        let what = format!("Docker can inspect the nodes of {cluster}");
        wait::until(&what, CHANGING_PERIOD, CHANGING, self.runner.cancel(), || {
            let listed = self.run(&list)?.stdout;
            if listed.trim().is_empty() {
                return Ok(Probe::Found(Vec::new()));
            }
            let output = self.runner.try_run(&inspect.clone().args(listed.split_whitespace()))?;
            if output.success() {
                return Ok(Probe::Found(parse(&output.stdout)?));
            }
            // Docker lists a container while it still makes it, or no longer quite has it.
            match says_absent(&output.stderr) {
                true => Ok(Probe::NotYet(output.tail())),
                false => Err(failed(&inspect, &output)),
            }
        })
        .map_err(environment)
    }

    /// Removes something, which may be gone already.
    pub fn remove(&self, step: &Step) -> Result<()> {
        let output = self.runner.try_run(step)?;
        if output.success() || says_absent(&output.stderr) {
            return Ok(());
        }
        Err(failed(step, &output))
    }

    /// The network of that name.
    pub fn network(&self, name: &str) -> Result<Option<Network>> {
        self.inspect("network", name)
    }

    /// The image of that name. In a plan that makes it, it is there with another id and without labels.
    pub fn image(&self, name: &str) -> Result<Option<Image>> {
        let makes = |step: &Step| {
            let verb = step.args.first().map(String::as_str);
            matches!(verb, Some("pull" | "import" | "commit")) && step.args.last().is_some_and(|made| made == name)
        };
        if self.runner.planned().iter().any(makes) {
            let id = name.to_owned();
            return Ok(Some(Image { id, ..Image::default() }));
        }
        self.inspect("image", name)
    }

    fn inspect<T: serde::de::DeserializeOwned>(&self, what: &str, name: &str) -> Result<Option<T>> {
        let step = Docker::step(format!("inspect the {what} {name}"), [what, "inspect", name]).reads();
        let output = self.runner.try_run(&step)?;
        if output.success() {
            return Ok(parse::<T>(&output.stdout)?.into_iter().next());
        }
        if says_absent(&output.stderr) {
            return Ok(None);
        }
        Err(failed(&step, &output))
    }

    /// Whether the registry that `image` names answers and has it; the reason if not.
    ///
    /// Docker's client asks the registry for the image's manifest: a few kilobytes, nothing is pulled.
    pub(crate) fn can_pull(&self, image: &str) -> Result<(), String> {
        let step = Docker::step("ask the registry", ["manifest", "inspect", image])
            .timeout(Duration::from_secs(15))
            .reads();
        match self.runner.try_run(&step) {
            Ok(output) if output.success() => Ok(()),
            Ok(output) => Err(output.tail().lines().next_back().unwrap_or_default().trim().to_owned()),
            Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
        }
    }
}

fn failed(step: &Step, output: &Output) -> anyhow::Error {
    Failure::environment(
        format!("{}: {}", step.name, output.tail()),
        step.hint.clone().unwrap_or_default(),
    )
}

/// Whether Docker says that there is no such object, in the words of its engine or of its command line.
///
/// Where no engine answers, newer command lines end with the socket's "no such file or directory".
fn says_absent(stderr: &str) -> bool {
    stderr.to_lowercase().lines().any(|line| {
        let said = ["error response from daemon: ", "error: "]
            .iter()
            .find_map(|prefix| line.strip_prefix(prefix));
        said.is_some_and(|said| {
            OBJECTS.iter().any(|object| {
                said.starts_with(&format!("no such {object}: "))
                    || said.starts_with(&format!("{object} ")) && said.ends_with(" not found")
            })
        })
    })
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<Vec<T>> {
    serde_json::from_str(text).context("reading what docker printed")
}

/// A failure of Docker or kind is the environment's, not a finding about charts.
pub fn environment(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Failure>() {
        Ok(mut failure) => {
            if failure.kind == Kind::Findings {
                failure.kind = Kind::Environment;
            }
            anyhow::Error::new(failure)
        }
        Err(late) if late.is::<TimedOut>() => Failure::environment(late.to_string(), ""),
        Err(other) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_read_from_what_docker_prints() {
        let printed = r#"[{"Id":"1","Name":"/c-control-plane","Image":"sha256:0","State":{"Status":"exited","Pid":0},
            "NetworkSettings":{"Networks":{"kind-c":{"IPAddress":""}}}}]"#;
        let nodes: Vec<Container> = parse(printed).unwrap();
        assert_eq!(nodes[0].name(), "c-control-plane");
        assert_eq!(nodes[0].state.status, "exited");
        assert!(nodes[0].network_settings.networks.contains_key("kind-c"));
    }

    #[test]
    fn an_image_without_labels_or_names_is_read_too() {
        let images: Vec<Image> =
            parse(r#"[{"Id":"sha256:1","RepoTags":null,"Size":5,"Config":{"Labels":null}}]"#).unwrap();
        assert_eq!(images[0].label("any"), None);
        assert!(images[0].repo_tags.is_empty());
    }

    #[test]
    fn an_engine_that_is_down_is_not_taken_for_one_without_an_object() {
        for absent in [
            "Error: No such image: a:1",
            "Error: No such container: c",
            "Error: No such network: kind-a",
            "error: no such object: c",
            "[]\nError response from daemon: No such image: a:1",
            "Error response from daemon: no such image: a:1: No such image: a:1",
            "Error response from daemon: No such container: c",
            "Error response from daemon: network kind-a not found",
        ] {
            assert!(says_absent(absent), "{absent}");
        }
        for down in [
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
            "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if \
             the daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory",
            "error during connect: Get \"http://d:2375/v1.47/images/a/json\": dial tcp: lookup d: no such host",
            "Failed to initialize: unable to resolve docker endpoint: context \"c\": context not found: open \
             /home/me/.docker/contexts/meta/1/meta.json: no such file or directory",
        ] {
            assert!(!says_absent(down), "{down}");
        }
    }
}
