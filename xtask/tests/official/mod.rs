//! Programs out of images, from the real registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use charts::tools::{Origin, Toolbox};
use charts::workspace::Workspace;
use kit::failure::{Kind, kind_of, remedy_of};
use kit::step::{Cancel, Runner};

use crate::registry::{Options, Registry, tool};

fn toolbox(cache: &Path) -> Toolbox {
    let root = Workspace::find().unwrap();
    Toolbox::read(
        root.root(),
        cache.to_path_buf(),
        Runner::new(Cancel::default(), false),
        true,
    )
    .unwrap()
}

/// A layer with one file, as `tar` writes it.
fn layer(dir: &Path, file: &str, content: &str) -> PathBuf {
    let layer = dir.join(file.replace('/', "-") + &content.len().to_string() + ".tar.gz");
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(
        std::fs::File::create(&layer).unwrap(),
        flate2::Compression::fast(),
    ));
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, file, content.as_bytes()).unwrap();
    archive.into_inner().unwrap().finish().unwrap();
    layer
}

/// Pushes an image with these layers, from the lowest on, and this configuration.
fn push(oras: &Path, reference: &str, dir: &Path, config: &str, layers: &[PathBuf]) {
    std::fs::write(dir.join("config.json"), config).unwrap();
    let mut command = Command::new(oras);
    command
        .current_dir(dir)
        .args(["push", "--disable-path-validation", reference, "--config"])
        .arg("config.json:application/vnd.oci.image.config.v1+json");
    for layer in layers {
        command.arg(format!(
            "{}:application/vnd.oci.image.layer.v1.tar+gzip",
            layer.display()
        ));
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

const RUNS: &str = r#"{"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/tempo"]}}"#;

#[test]
fn an_images_program_is_what_its_upper_layer_holds_and_is_fetched_once() {
    let temp = tempfile::tempdir().unwrap();
    let registry = Registry::start(
        &temp.path().join("registry"),
        &Options {
            secure: false,
            disk: None,
        },
    );
    // oras talks HTTP to a registry of that name, whatever it is told.
    let host = registry.host.replace("127.0.0.1", "localhost");
    let oras = tool("oras");
    let script = |version: &str| format!("#!/bin/sh\necho 'tempo, version {version}'\n");
    let layers = [
        layer(temp.path(), "tempo", &script("2.9.9")),
        layer(temp.path(), "tempo", &script("9.8.7-rc.1")),
        layer(temp.path(), "etc/tempo", "no program"),
    ];
    let reference = format!("{host}/grafana/tempo:9.8.7");
    push(&oras, &reference, temp.path(), RUNS, &layers);

    let cache = temp.path().join("cache");
    let given = || {
        let mut toolbox = toolbox(&cache);
        // The pinned oras comes from the cache of this machine.
        toolbox.give("oras", &oras).unwrap();
        toolbox
    };
    let program = || {
        let mut toolbox = given();
        toolbox.name("tempo", &reference).unwrap();
        toolbox.get("tempo").unwrap()
    };
    let first = program();
    assert_eq!(
        (first.version.to_string().as_str(), first.origin),
        ("9.8.7-rc.1", Origin::Given)
    );
    let made = std::fs::metadata(&first.path).unwrap().modified().unwrap();
    assert_eq!(program().path, first.path);
    assert_eq!(std::fs::metadata(&first.path).unwrap().modified().unwrap(), made);
    assert_eq!(std::fs::read_dir(given().builds()).unwrap().count(), 0);

    let error = given()
        .name("tempo", &format!("{host}/grafana/tempo:1.0.0"))
        .unwrap_err();
    assert_eq!(kind_of(&error), Kind::Environment, "{error:#}");
    assert!(remedy_of(&error).unwrap().contains("path"), "{error:#}");
    for (config, layers, why) in [
        (
            r#"{"architecture": "amd64", "os": "linux"}"#,
            &layers[..],
            "no entry point",
        ),
        (RUNS, &layers[2..], "none of its layers holds /tempo"),
    ] {
        let reference = format!("{host}/grafana/tempo:broken");
        push(&oras, &reference, temp.path(), config, layers);
        let error = given().name("tempo", &reference).unwrap_err();
        assert!(format!("{error:#}").contains(why), "{error:#}");
    }
}
