//! What tests of charts share: the real helm and the workspace.

#![allow(clippy::unwrap_used)]

use std::sync::OnceLock;

use charts::render::Helm;
use charts::tools::Toolbox;
use charts::workspace::Workspace;
use kit::step::{Cancel, Runner};

/// The Kubernetes version that charts are rendered for.
pub const KUBE_VERSION: &str = "1.34.4";

pub fn workspace() -> Workspace {
    Workspace::find().unwrap()
}

pub fn toolbox() -> &'static Toolbox {
    static TOOLBOX: OnceLock<Toolbox> = OnceLock::new();
    TOOLBOX.get_or_init(|| {
        let runner = Runner::new(Cancel::default(), false);
        Toolbox::read(workspace().root(), Toolbox::default_cache().unwrap(), runner, false).unwrap()
    })
}

pub fn helm() -> &'static Helm {
    static HELM: OnceLock<Helm> = OnceLock::new();
    HELM.get_or_init(|| Helm {
        program: toolbox().get("helm").unwrap().path,
        kube_version: KUBE_VERSION.into(),
        runner: Runner::new(Cancel::default(), false),
    })
}
