//! The kind node image: a Debian root, kind's own files, the Kubernetes programs and their images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kit::step::{Runner, Step};
use serde::Deserialize;

use crate::docker::Docker;
use crate::testbed::archive::Archive;
use crate::testbed::base::{KEY_LABEL, MODULE_LABEL, PACKAGES_LABEL, Testbed, folder, label, layout_key};
use crate::testbed::debian::Debian;
use crate::testbed::image;

/// Programs that lie in the node itself rather than in an image.
pub const PROGRAMS: [&str; 3] = ["kubelet", "kubeadm", "kubectl"];

/// Files of `ci/testbed` that decide what a node is.
const FILES: [&str; 4] = [
    "setup-node.sh",
    "runc-caps",
    "10-bridge.conflist",
    "refuse-unknown-services.service",
];
/// The container in which the node is put together. It is known by its name: a label would go into the
/// image, and from there to every node of a cluster.
const BUILDER: &str = "tempo-stack-testbed-builder";
const KIND_MODULE: &str = "sigs.k8s.io/kind";
const KIND_FILES: &str = "images/base/files";
/// The Go file that holds kind's storage manifest as a string.
const STORAGE_SOURCE: &str = "pkg/build/nodeimage/const_storage.go";

/// What the node image is made of.
pub fn key(testbed: &Testbed, debian: &Debian) -> Result<String> {
    let toolbox = &testbed.project.toolbox;
    let mut key = layout_key()
        .text("debian", &debian.id)
        .text("kind", &toolbox.build_id("kind")?);
    for program in PROGRAMS {
        key = key.text(program, &toolbox.build_id(program)?);
    }
    for entry in &testbed.recipe.node {
        key = key.text(&testbed.image_name(entry)?, &image::key(testbed, debian, entry)?);
    }
    for file in FILES {
        key = key.file(&folder(&testbed.project).join(file))?;
    }
    Ok(key.finish())
}

/// Builds the node image unless Docker has it up to date.
pub fn build(testbed: &Testbed, debian: &Debian) -> Result<()> {
    let name = testbed.node_image()?;
    let key = key(testbed, debian)?;
    if testbed.has(&name, &key)? {
        return Ok(());
    }
    image::build_all(testbed, &testbed.recipe.node, debian)?;
    let work = testbed.work("node")?;
    let mut progress = testbed.project.progress(format!("node image {name}"), 6);
    progress.advance("kind's files and the programs");
    let overlay = overlay(testbed, work.path())?;
    progress.advance("saving the images of Kubernetes");
    let images = save_images(testbed, work.path())?;
    progress.advance("starting a container");
    // What a killed run left.
    testbed.docker.remove(&removal())?;
    let builder = Container::start(testbed, debian)?;
    progress.advance("copying");
    builder.copy(&overlay, "/overlay.tar")?;
    builder.copy(&images, "/images.tar")?;
    progress.advance("setting the node up");
    let pause = testbed.image_name(testbed.recipe.in_node("pause")?)?;
    builder.exec(
        "tar -C / --keep-directory-symlink -xf /overlay.tar && rm /overlay.tar",
        &[],
    )?;
    builder.exec("bash /setup-node.sh", &[format!("PAUSE_IMAGE={pause}")])?;
    progress.advance("committing");
    builder.commit(&changes(testbed, debian, &key)?, &name)?;
    drop(builder);
    progress.finish("built");
    Ok(())
}

fn changes(testbed: &Testbed, debian: &Debian, key: &str) -> Result<Vec<String>> {
    let version = testbed.kubernetes()?;
    Ok(vec![
        r#"ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]"#.into(),
        "ENV container=docker".into(),
        label(KEY_LABEL, key)?,
        label(PACKAGES_LABEL, &debian.packages)?,
        label(MODULE_LABEL, &testbed.project.toolbox.module("kubelet")?)?,
        label(
            "org.opencontainers.image.title",
            "kind node of the tempo-stack test bed",
        )?,
        label("org.opencontainers.image.version", &version.to_string())?,
        label(
            "org.opencontainers.image.description",
            "Built by `cargo xtask cluster images` for tests; not an upstream image",
        )?,
    ])
}

/// Everything that goes over the Debian root, as one archive.
fn overlay(testbed: &Testbed, work: &Path) -> Result<PathBuf> {
    let source = kind_source(testbed)?;
    let (tree, path) = (work.join("tree"), work.join("overlay.tar"));
    if testbed.plans() {
        return Ok(path);
    }
    let write = |path: &str, content: &[u8]| -> Result<()> {
        let path = tree.join(path);
        let dir = path.parent().context("a path below the tree")?;
        fs_err::create_dir_all(dir)?;
        Ok(fs_err::write(&path, content)?)
    };
    let ours = |name: &str| {
        let path = folder(&testbed.project).join(name);
        fs_err::read(&path)
    };
    write("kind/version", format!("v{}", testbed.kubernetes()?).as_bytes())?;
    write(
        "kind/manifests/default-storage.yaml",
        storage(testbed, &source)?.as_bytes(),
    )?;
    write("etc/cni/net.d/10-bridge.conflist", &ours("10-bridge.conflist")?)?;
    let unit = "refuse-unknown-services.service";
    write(&format!("etc/systemd/system/{unit}"), &ours(unit)?)?;
    write("usr/local/sbin/runc-caps", &ours("runc-caps")?)?;
    write("setup-node.sh", &ours("setup-node.sh")?)?;
    let mut archive = Archive::create(&path)?;
    archive.tree(&source.join(KIND_FILES)).context("packing kind's files")?;
    archive.tree(&tree).context("packing our files")?;
    for program in PROGRAMS {
        let built = testbed.project.toolbox.pinned(program)?.path;
        archive
            .program(&built, &format!("/usr/bin/{program}"))
            .with_context(|| format!("packing {program}"))?;
    }
    archive.finish()?;
    Ok(path)
}

/// The folder of kind's module, downloaded if need be and verified by go.sum.
fn kind_source(testbed: &Testbed) -> Result<PathBuf> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Module {
        dir: PathBuf,
    }
    let step = Step::new("find kind's source", "go")
        .args(["mod", "download", "-json", KIND_MODULE])
        .cwd(&testbed.project.toolbox.tool("kind")?.dir)
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .timeout(Duration::from_secs(600));
    let output = testbed.project.runner.run(&step)?;
    if testbed.plans() {
        return Ok(PathBuf::new());
    }
    let module: Module = serde_json::from_str(&output.stdout).context("reading what `go mod download` printed")?;
    Ok(module.dir)
}

/// kind's storage manifest with images of ours.
fn storage(testbed: &Testbed, source: &Path) -> Result<String> {
    let path = source.join(STORAGE_SOURCE);
    let text = fs_err::read_to_string(&path)?;
    let named = |name: &str| testbed.image_name(testbed.recipe.in_node(name)?);
    let images = [
        ("storageProvisionerImage", named("local-path-provisioner")?),
        ("storageHelperImage", named("helper")?),
    ];
    storage_manifest(&text, &images.into()).with_context(|| format!("reading {}", path.display()))
}

/// The raw string `defaultStorageManifest` of a Go source, with the constants that are joined to it
/// replaced: `… image: ` + name + `…`.
fn storage_manifest(source: &str, constants: &BTreeMap<&str, String>) -> Result<String> {
    let (_, mut rest) = source
        .split_once("const defaultStorageManifest = `")
        .context("no defaultStorageManifest")?;
    let mut manifest = String::new();
    loop {
        let (text, after) = rest.split_once('`').context("the string has no end")?;
        manifest.push_str(text);
        let Some(joined) = after.strip_prefix(" + ") else {
            return Ok(manifest);
        };
        let (name, next) = joined
            .split_once(" + `")
            .context("a constant is joined in an unknown way")?;
        let Some(value) = constants.get(name) else {
            bail!("unknown constant {name}");
        };
        manifest.push_str(value);
        rest = next;
    }
}

fn save_images(testbed: &Testbed, work: &Path) -> Result<PathBuf> {
    let path = work.join("images.tar");
    let names = testbed
        .recipe
        .node
        .iter()
        .map(|entry| testbed.image_name(entry))
        .collect::<Result<Vec<_>>>()?;
    let step = Docker::step("save the images of Kubernetes", ["save", "--output"])
        .path_arg(&path)
        .args(names)
        .timeout(Duration::from_secs(600));
    testbed.docker.run(&step)?;
    Ok(path)
}

fn removal() -> Step {
    Docker::step("remove the builder", ["rm", "--force", "--volumes", BUILDER])
}

/// The container in which the node is put together; it goes when this is dropped.
struct Container {
    docker: Docker,
    /// That of the clean-up, which also happens after Ctrl-C.
    last: Runner,
}

impl Container {
    fn start(testbed: &Testbed, debian: &Debian) -> Result<Container> {
        let run = [
            "run",
            "--detach",
            "--privileged",
            "--network",
            "none",
            "--name",
            BUILDER,
        ];
        let step = Docker::step("start the builder", run);
        let step = step.args(["--entrypoint", "/bin/sleep", &debian.image, "infinity"]);
        testbed.docker.run(&step)?;
        Ok(Container {
            docker: testbed.docker.clone(),
            last: testbed.project.runner.uncancelled(),
        })
    }

    fn copy(&self, from: &Path, to: &str) -> Result<()> {
        let step = Docker::step(format!("copy {to}"), ["cp"])
            .path_arg(from)
            .arg(format!("{BUILDER}:{to}"))
            .timeout(Duration::from_secs(300));
        self.docker.run(&step)?;
        Ok(())
    }

    fn exec(&self, script: &str, env: &[String]) -> Result<()> {
        let step = Docker::step(format!("in the node: {script}"), ["exec"])
            .args(env.iter().flat_map(|pair| ["--env", pair]))
            .args([BUILDER, "bash", "-euc", script])
            .timeout(Duration::from_secs(600));
        self.docker.run(&step)?;
        Ok(())
    }

    fn commit(&self, changes: &[String], name: &str) -> Result<()> {
        let step = Docker::step(format!("commit {name}"), ["commit"])
            .args(changes.iter().flat_map(|change| ["--change", change]))
            .args([BUILDER, name])
            .timeout(Duration::from_secs(600));
        self.docker.run(&step)?;
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.last.try_run(&removal());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_storage_manifest_is_read_from_its_source_with_our_images() {
        let source = "const other = `x`\nconst defaultStorageManifest = `\na: ` + first + `\nb: ` + second + `\nc\n`\nvar x = `y`\n";
        let constants = [("first", "1".to_owned()), ("second", "2".to_owned())].into();
        assert_eq!(storage_manifest(source, &constants).unwrap(), "\na: 1\nb: 2\nc\n");
    }

    #[test]
    fn a_constant_that_we_do_not_know_is_refused_rather_than_left_out() {
        let source = "const defaultStorageManifest = `a: ` + third + `\n`";
        let error = storage_manifest(source, &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("third"), "{error}");
    }
}
