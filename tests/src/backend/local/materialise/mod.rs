//! Makes a container's view of the world true on this machine: mount paths become folders of the run, names
//! of Services become addresses of the run's network, and what a pod calls its own (127.0.0.1, all
//! interfaces) becomes the pod's address. Only materialised copies are changed, and every replacement is
//! written down.

mod world;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Container;
use regex::Regex;

use self::world::World;
use super::network::Network;
use super::objects::{Objects, Pod, VolumeSource, bytes};

/// The address of the machine, as a pod's field `status.hostIP`.
const HOST_IP: &str = "127.0.0.1";

/// Where a program writes why it ended (Kubernetes API, Container.terminationMessagePath).
const TERMINATION: &str = "/dev/termination-log";
/// A reference to a variable: `$(NAME)` (Kubernetes API, Container.args).
static VARIABLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)").ok());

/// A container as a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Its arguments, without the program.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// What was replaced, one line each.
    pub replacements: Vec<String>,
}

/// Names that lead to several addresses, as a hosts file has them.
pub type Hosts = BTreeMap<String, Vec<Ipv4Addr>>;

/// Where the volumes of a pod lie on this machine.
#[derive(Debug, Clone)]
pub struct Folders {
    /// The run's folder.
    pub run: PathBuf,
}

impl Folders {
    /// What goes with the pod.
    pub fn pod(&self, pod: &Pod) -> PathBuf {
        self.run.join("pods").join(&pod.name)
    }

    /// The folder of a volume.
    pub fn volume(&self, pod: &Pod, volume: &str) -> Result<PathBuf> {
        let found = pod
            .volumes
            .iter()
            .find(|v| v.name == volume)
            .with_context(|| format!("pod {} has no volume {volume}", pod.name))?;
        Ok(match &found.source {
            VolumeSource::Claim(claim) => self.run.join("claims").join(claim),
            _ => self.pod(pod).join("volumes").join(volume),
        })
    }

    /// The folder that a path inside a container is in.
    pub fn host_path(&self, pod: &Pod, container: &Container, path: &str) -> Result<PathBuf> {
        for (mount, host) in self.mounts(pod, container)? {
            if path == mount {
                return Ok(host);
            }
            if let Some(rest) = path.strip_prefix(&mount).and_then(|rest| rest.strip_prefix('/')) {
                return Ok(host.join(rest));
            }
        }
        bail!("{path} is on no volume of container {}", container.name)
    }

    /// Mount paths and the folders behind them, longest path first so that nested mounts win.
    fn mounts(&self, pod: &Pod, container: &Container) -> Result<Vec<(String, PathBuf)>> {
        let mut mounts = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            let mut host = self.volume(pod, &mount.name)?;
            if let Some(sub_path) = &mount.sub_path {
                host.push(sub_path);
            }
            mounts.push((mount.mount_path.trim_end_matches('/').to_owned(), host));
        }
        // The kubelet mounts it into each container.
        let termination = self.pod(pod).join(format!("{}.termination-log", container.name));
        mounts.push((TERMINATION.to_owned(), termination));
        mounts.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Ok(mounts)
    }
}

/// Writes a pod's volumes and works out how to run one of its containers.
pub struct Materialiser<'a> {
    /// What was rendered.
    pub objects: &'a Objects,
    /// Where things go.
    pub folders: &'a Folders,
    /// The release's namespace.
    pub namespace: &'a str,
    /// Which addresses there are.
    pub network: &'a Network,
    /// Objects that were changed since, for volumes.
    pub changed: Changed,
}

impl Materialiser<'_> {
    /// Makes the folders of the pod's volumes and writes what ConfigMaps and Secrets hold. Gives the names that
    /// the pod has to resolve itself, because they lead to several pods and stand where only one address fits.
    pub fn write_volumes(&self, pod: &Pod) -> Result<Hosts> {
        for volume in &pod.volumes {
            let dir = self.folders.volume(pod, &volume.name)?;
            fs_err::create_dir_all(&dir)?;
        }
        self.write(pod, |_| true)
    }

    /// Writes the pod's volumes of an object again.
    pub fn write_changed(&self, pod: &Pod, kind: Kind, name: &str) -> Result<()> {
        let of_it = |source: &VolumeSource| match source {
            VolumeSource::Secret(keys) => kind == Kind::Secret && keys.object == name,
            VolumeSource::ConfigMap(keys) => kind == Kind::ConfigMap && keys.object == name,
            _ => false,
        };
        self.write(pod, of_it).map(drop)
    }

    fn write(&self, pod: &Pod, wanted: impl Fn(&VolumeSource) -> bool) -> Result<Hosts> {
        let mut hosts = Hosts::new();
        for container in pod.init_containers.iter().chain(&pod.containers) {
            let mut world = self.world(pod, container)?;
            for mount in container.volume_mounts.iter().flatten() {
                let volume = pod.volumes.iter().find(|v| v.name == mount.name);
                let Some(volume) = volume.filter(|v| wanted(&v.source)) else {
                    continue;
                };
                let (kind, keys, all) = match &volume.source {
                    VolumeSource::ConfigMap(keys) => (Kind::ConfigMap, keys, &self.objects.config_maps),
                    VolumeSource::Secret(keys) => (Kind::Secret, keys, &self.objects.secrets),
                    _ => continue,
                };
                let name = &keys.object;
                let changed = self.changed.get(&(kind, name.clone()));
                let kind = kind.name();
                let Some(data) = changed
                    .map_or_else(|| present(all, kind, name, keys.optional), |data| Ok(Some(data)))
                    .with_context(|| format!("pod {} mounts volume {}", pod.name, volume.name))?
                else {
                    continue;
                };
                let dir = self.folders.volume(pod, &mount.name)?;
                let mut files = Vec::new();
                for (path, key, text) in keys.files(data).with_context(|| format!("volume {}", volume.name))? {
                    let text = world
                        .document(path, text)
                        .with_context(|| format!("{kind} {name}, key {key}"))?;
                    files.push((path, text));
                }
                publish(&dir, &files).with_context(|| format!("volume {}", volume.name))?;
            }
            hosts.append(&mut world.hosts);
        }
        Ok(hosts)
    }

    /// The container's arguments and environment on this machine.
    pub fn invocation(&self, pod: &Pod, container: &Container) -> Result<Invocation> {
        let mut world = self.world(pod, container)?;
        let env = self.environment(pod, container, &mut world)?;
        let command = container.command.iter().flatten().skip(1);
        let args = command
            .chain(container.args.iter().flatten())
            .map(|arg| world.text(&expand(arg, &env)))
            .collect::<Result<Vec<_>>>()
            .with_context(|| format!("arguments of container {}", container.name))?;
        Ok(Invocation {
            args,
            env,
            replacements: world.replacements,
        })
    }

    /// A URL with its Service name replaced by where this machine reaches it.
    pub fn reach(&self, url: &str) -> Result<String> {
        World {
            objects: self.objects,
            namespace: self.namespace,
            network: self.network,
            pod: None,
            mounts: Vec::new(),
            replacements: Vec::new(),
            hosts: Hosts::new(),
        }
        .services(url)
    }

    fn world<'a>(&'a self, pod: &'a Pod, container: &Container) -> Result<World<'a>> {
        let mounts = self.folders.mounts(pod, container)?;
        Ok(World {
            objects: self.objects,
            namespace: self.namespace,
            network: self.network,
            pod: Some(pod),
            mounts,
            replacements: Vec::new(),
            hosts: Hosts::new(),
        })
    }

    fn environment(&self, pod: &Pod, container: &Container, world: &mut World<'_>) -> Result<BTreeMap<String, String>> {
        let mut env = BTreeMap::new();
        for source in container.env_from.iter().flatten() {
            let prefix = source.prefix.clone().unwrap_or_default();
            let (config_maps, secrets) = (&self.objects.config_maps, &self.objects.secrets);
            let data = if let Some(reference) = &source.config_map_ref {
                present(
                    config_maps,
                    "ConfigMap",
                    &reference.name,
                    reference.optional == Some(true),
                )?
            } else if let Some(reference) = &source.secret_ref {
                present(secrets, "Secret", &reference.name, reference.optional == Some(true))?
            } else {
                None
            };
            for (key, value) in data.into_iter().flatten() {
                env.insert(format!("{prefix}{key}"), value.clone());
            }
        }
        for variable in container.env.iter().flatten() {
            let value = match (&variable.value, &variable.value_from) {
                (Some(value), _) => world.text(&expand(value, &env))?,
                (None, None) => String::new(),
                (None, Some(from)) => {
                    let value = if let Some(field) = &from.field_ref {
                        self.field(pod, &field.field_path)?
                    } else if let Some(resource) = &from.resource_field_ref {
                        resource_field(container, &resource.resource)?
                    } else if let Some(key) = &from.secret_key_ref {
                        entry(&self.objects.secrets, "Secret", &key.name, &key.key)?
                    } else if let Some(key) = &from.config_map_key_ref {
                        entry(&self.objects.config_maps, "ConfigMap", &key.name, &key.key)?
                    } else {
                        bail!(
                            "the local backend doesn't know the source of variable {}",
                            variable.name
                        );
                    };
                    world.note(format!("env {} = from its source", variable.name));
                    value
                }
            };
            env.insert(variable.name.clone(), value);
        }
        Ok(env)
    }

    fn field(&self, pod: &Pod, path: &str) -> Result<String> {
        Ok(match path {
            "metadata.name" => pod.name.clone(),
            "metadata.namespace" => self.namespace.to_owned(),
            "metadata.uid" => pod.name.clone(),
            "status.podIP" => self.network.pod(&pod.name)?.to_string(),
            "status.hostIP" => HOST_IP.to_owned(),
            "spec.nodeName" => "local".to_owned(),
            other => bail!("the local backend has no field {other}"),
        })
    }
}

fn resource_field(container: &Container, resource: &str) -> Result<String> {
    let limits = container.resources.as_ref().and_then(|r| r.limits.as_ref());
    let name = resource
        .strip_prefix("limits.")
        .with_context(|| format!("no resource field {resource}"))?;
    let quantity = limits
        .and_then(|l| l.get(name))
        .with_context(|| format!("container {} has no {resource}", container.name))?;
    Ok(bytes(quantity)?.to_string())
}

/// Writes the files of a ConfigMap or Secret as the kubelet does: into a folder of their own, to which `..data` leads
/// and through it a link for each file. A change is one rename, and what was there before is removed after it
/// (kubernetes/kubernetes, pkg/volume/util/atomic_writer.go): programs that watch a file have to notice that.
fn publish(dir: &Path, files: &[(&str, String)]) -> Result<()> {
    let data = dir.join("..data");
    let before = std::fs::read_link(&data).ok();
    let fresh = tempfile::Builder::new().prefix("..").tempdir_in(dir)?.keep();
    for (path, text) in files {
        let file = fresh.join(path);
        if let Some(folder) = file.parent() {
            fs_err::create_dir_all(folder)?;
        }
        fs_err::write(&file, text)?;
    }
    let name = fresh.file_name().context("a folder has a name")?;
    let next = dir.join("..data_tmp");
    fs_err::os::unix::fs::symlink(name, &next)?;
    fs_err::rename(&next, &data)?;
    for top in files.iter().filter_map(|(path, _)| Path::new(path).iter().next()) {
        let link = dir.join(top);
        if std::fs::symlink_metadata(&link).is_err() {
            fs_err::os::unix::fs::symlink(Path::new("..data").join(top), &link)?;
        }
    }
    if let Some(before) = before {
        fs_err::remove_dir_all(dir.join(before))?;
    }
    Ok(())
}

pub(super) type Named = BTreeMap<String, BTreeMap<String, String>>;
/// What objects hold now, by kind and name.
pub(super) type Changed = BTreeMap<(Kind, String), BTreeMap<String, String>>;

/// An object that a volume shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::ConfigMap => "ConfigMap",
            Kind::Secret => "Secret",
        }
    }
}

/// What an object holds; none if it is missing and may be.
fn present<'a>(all: &'a Named, kind: &str, name: &str, optional: bool) -> Result<Option<&'a BTreeMap<String, String>>> {
    match all.get(name) {
        None if !optional => bail!("{kind} {name} does not exist"),
        found => Ok(found),
    }
}

fn entry(all: &Named, kind: &str, name: &str, key: &str) -> Result<String> {
    all.get(name)
        .with_context(|| format!("{kind} {name} does not exist"))?
        .get(key)
        .cloned()
        .with_context(|| format!("{kind} {name} has no key {key}"))
}

/// Expands `$(NAME)`; an unknown name stays as it is, as in Kubernetes.
fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let Some(pattern) = VARIABLE.as_ref() else {
        return text.to_owned();
    };
    pattern
        .replace_all(text, |found: &regex::Captures<'_>| {
            env.get(&found[1]).cloned().unwrap_or_else(|| found[0].to_owned())
        })
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use charts::manifest::parse_all;
    use serde_yaml::Value;

    const RENDER: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data:
  tempo.yaml: |
    storage: {path: /var/tempo/blocks, other: /var/tempo2}
    server: {http_listen_address: 0.0.0.0, http_listen_port: 3200, grpc_listen_port: 9095}
    memberlist: {bind_addr: [127.0.0.1], join_members: ["gossip:7946", "t-1.gossip.observability.svc:7946"]}
    trusted: [0.0.0.0/0, "::", "http://localhost:1/x", 10.127.0.0.1]
  notes.txt: /var/tempo stays
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
data: {id: YWJj}
---
apiVersion: v1
kind: Service
metadata: {name: tempo}
spec:
  selector: {app.kubernetes.io/component: tempo}
  ports: [{name: http, port: 3200, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: gossip}
spec:
  clusterIP: None
  selector: {app.kubernetes.io/component: tempo}
  ports: [{name: http, port: 7946, targetPort: http}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: t}
spec:
  replicas: 2
  serviceName: gossip
  volumeClaimTemplates: [{metadata: {name: data}}]
  selector: {matchLabels: {app.kubernetes.io/component: tempo}}
  template:
    metadata: {labels: {app.kubernetes.io/component: tempo}}
    spec:
      containers:
      - name: tempo
        args: ["-config.file=/etc/tempo/tempo.yaml", "--peer=$(WHERE)"]
        env:
        - {name: WHERE, value: "http://tempo.observability.svc.cluster.local:3200/x"}
        - {name: ID, valueFrom: {secretKeyRef: {name: keys, key: id}}}
        - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
        resources: {limits: {memory: 1Ki}}
        ports: [{name: http, containerPort: 4000}]
        volumeMounts: [{name: config, mountPath: /etc/tempo}, {name: data, mountPath: /var/tempo}]
      volumes:
      - {name: config, configMap: {name: conf}}
"#;

    fn world(render: &str, test: impl FnOnce(&Materialiser<'_>, &Pod)) {
        let temp = tempfile::tempdir().unwrap();
        let mut objects = Objects::read(&parse_all(render).unwrap()).unwrap();
        let network = Network::claim().unwrap();
        for pod in &mut objects.pods {
            network.add_pod(&pod.name).unwrap();
            pod.loopback_port = Some(20_001);
        }
        let folders = Folders {
            run: temp.path().to_path_buf(),
        };
        test(
            &Materialiser {
                objects: &objects,
                folders: &folders,
                namespace: "observability",
                network: &network,
                changed: Changed::new(),
            },
            &objects.pods[0],
        );
    }

    #[test]
    fn paths_and_service_names_become_local_ones_and_each_is_noted() {
        world(RENDER, |made, pod| {
            let run = made.folders.run.display().to_string();
            let invocation = made.invocation(pod, &pod.containers[0]).unwrap();
            assert_eq!(
                invocation.args,
                [
                    format!("-config.file={run}/pods/t-0/volumes/config/tempo.yaml"),
                    // Its own way to the Service, at the Service's port.
                    format!(
                        "--peer=http://{}:3200/x",
                        made.network.service(Some("t-0"), "tempo").unwrap()
                    )
                ]
            );
            let own = made.network.pod("t-0").unwrap().to_string();
            assert_eq!((invocation.env["ID"].as_str(), &invocation.env["IP"]), ("abc", &own));
            assert_ne!(
                made.network.service(None, "tempo").unwrap(),
                made.network.service(Some("t-0"), "tempo").unwrap()
            );
            assert_eq!(invocation.env["MEM"], "1024");
            assert!(
                invocation
                    .replacements
                    .iter()
                    .any(|r| r.starts_with("tempo.observability.svc")),
                "{invocation:?}"
            );
        });
    }

    #[test]
    fn config_files_are_changed_scalar_by_scalar_and_other_files_not_at_all() {
        world(RENDER, |made, pod| {
            made.write_volumes(pod).unwrap();
            let dir = made.folders.volume(pod, "config").unwrap();
            let config: Value =
                serde_yaml::from_str(&std::fs::read_to_string(dir.join("tempo.yaml")).unwrap()).unwrap();
            let data = made.folders.run.join("claims/data-t-0/blocks").display().to_string();
            assert_eq!(config["storage"]["path"].as_str().unwrap(), data);
            assert_eq!(config["storage"]["other"], "/var/tempo2");
            let [own, other] = ["t-0", "t-1"].map(|pod| made.network.pod(pod).unwrap().to_string());
            assert_eq!(config["server"]["http_listen_address"], own.as_str());
            assert_eq!(config["server"]["http_listen_port"], 3200);
            assert_eq!(config["server"]["grpc_listen_address"], "127.0.0.1");
            assert_eq!(config["server"]["grpc_listen_port"], 20_001);
            assert_eq!(config["memberlist"]["bind_addr"][0], own.as_str());
            let members: Vec<&str> = config["memberlist"]["join_members"]
                .as_sequence()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            assert_eq!(
                members,
                [format!("{own}:7946"), format!("{other}:7946"), format!("{other}:7946")]
            );
            let trusted = &config["trusted"];
            assert_eq!((&trusted[0], &trusted[1]), (&"0.0.0.0/0".into(), &own.as_str().into()));
            assert_eq!(
                (&trusted[2], &trusted[3]),
                (&format!("http://{own}:1/x").into(), &"10.127.0.0.1".into())
            );
            assert_eq!(
                std::fs::read_to_string(dir.join("notes.txt")).unwrap(),
                "/var/tempo stays"
            );
        });
    }

    #[test]
    fn an_unknown_service_name_is_an_error() {
        world(
            &RENDER.replace("tempo.observability.svc", "loki.observability.svc"),
            |made, pod| {
                let error = made.invocation(pod, &pod.containers[0]).unwrap_err();
                assert!(format!("{error:#}").contains("loki.observability.svc"), "{error:#}");
            },
        );
    }

    #[test]
    fn a_service_of_another_namespace_is_an_error() {
        world(
            &RENDER.replace("tempo.observability.svc", "tempo.elsewhere.svc"),
            |made, pod| {
                assert!(made.invocation(pod, &pod.containers[0]).is_err());
            },
        );
    }

    #[test]
    fn an_object_that_is_missing_is_an_error_unless_it_is_optional() {
        let env_from = |reference: &str| {
            RENDER.replace(
                "        env:\n",
                &format!("        envFrom: [{{{reference}}}]\n        env:\n"),
            )
        };
        for kind in ["configMapRef", "secretRef"] {
            world(&env_from(&format!("{kind}: {{name: none}}")), |made, pod| {
                let error = made.invocation(pod, &pod.containers[0]).unwrap_err();
                assert!(format!("{error:#}").contains("none does not exist"), "{error:#}");
            });
            world(
                &env_from(&format!("{kind}: {{name: none, optional: true}}")),
                |made, pod| {
                    made.invocation(pod, &pod.containers[0]).unwrap();
                },
            );
        }
        let volume =
            |more: &str| RENDER.replace("configMap: {name: conf}", &format!("configMap: {{name: none{more}}}"));
        world(&volume(""), |made, pod| assert!(made.write_volumes(pod).is_err()));
        world(&volume(", optional: true"), |made, pod| {
            made.write_volumes(pod).unwrap();
        });
    }

    #[test]
    fn a_volume_with_items_holds_these_keys_under_their_paths_and_no_others() {
        let items = |key: &str| {
            let volume = format!("configMap: {{name: conf, items: [{{key: {key}, path: sub/other.yaml}}]}}");
            RENDER.replace("configMap: {name: conf}", &volume)
        };
        world(&items("tempo.yaml"), |made, pod| {
            made.write_volumes(pod).unwrap();
            let dir = made.folders.volume(pod, "config").unwrap();
            assert!(dir.join("sub/other.yaml").is_file() && !dir.join("notes.txt").exists());
        });
        world(&items("none"), |made, pod| {
            let error = made.write_volumes(pod).unwrap_err();
            assert!(format!("{error:#}").contains("conf has no key none"), "{error:#}");
        });
    }

    #[test]
    fn a_service_that_leads_nowhere_is_an_error() {
        let broken = RENDER.replace("targetPort: http", "targetPort: metrics");
        assert!(Objects::read(&parse_all(&broken).unwrap()).is_err());
    }
}
