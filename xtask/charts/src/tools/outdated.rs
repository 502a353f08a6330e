//! Which pinned modules have newer versions that can be had, as Go's module proxy says.

use anyhow::{Context, Result};
use kit::failure::Failure;
use serde::{Deserialize, Serialize};

use super::pin::pinned_modules;
use super::{Tool, Toolbox};

/// A module that a tool pins.
#[derive(Debug, Clone, Serialize)]
pub struct Pin {
    /// The tool's folder below ci/tools.
    pub folder: String,
    /// The module's path. Another major version is another module, which this says nothing of.
    pub module: String,
    /// The version that is pinned.
    pub pinned: String,
    /// The newest version, where that is another one.
    pub newest: Option<String>,
    /// Why the module proxy doesn't say whether there is one.
    pub unknown: Option<String>,
}

/// What is read of `go list -m -u -json` (cmd/go, "List packages or modules").
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Module {
    path: String,
    version: Option<String>,
    update: Option<Box<Module>>,
    error: Option<Problem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Problem {
    err: String,
}

impl Toolbox {
    /// The modules that a tool's programs come from, with their newest versions as far as the module proxy has
    /// them. An error of [`kit::failure::Kind::Environment`] where go can't list them.
    pub fn pins(&self, tool: &Tool) -> Result<Vec<Pin>> {
        let folder = tool
            .dir
            .file_name()
            .context("a tool has a folder")?
            .to_string_lossy()
            .into_owned();
        let go_mod = fs_err::read_to_string(tool.dir.join("go.mod"))?;
        let modules = pinned_modules(&go_mod, &tool.file.package);
        let step = self
            .go_step(format!("asking for newer versions of {folder}"), tool)
            .args(["list", "-e", "-m", "-u", "-json"])
            .args(modules)
            .reads();
        let output = self.runner.try_run(&step)?;
        if !output.success() {
            return Err(Failure::environment(
                format!("the newest versions for {folder} can't be had:\n{}", output.tail()),
                "check the network and GOPROXY, then run the same command again",
            ));
        }
        let listed = serde_json::Deserializer::from_str(&output.stdout).into_iter::<Module>();
        let pin = |module: Module| Pin {
            folder: folder.clone(),
            pinned: module.version.unwrap_or_default(),
            newest: module.update.and_then(|update| update.version),
            unknown: module.error.map(|error| error.err.replace("\n\t", " ")),
            module: module.path,
        };
        listed
            .map(|module| Ok(pin(module.context("reading what go printed")?)))
            .collect()
    }
}
