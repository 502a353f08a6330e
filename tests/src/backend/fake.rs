//! A backend whose stacks only know whether they are up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;
use charts::render::Render;
use charts::tools::Toolbox;
use charts::workspace::Workspace;
use kit::step::{Cancel, Runner};
use serde_yaml::Value;
use tempfile::TempDir;

use super::prometheus::Prometheus;
use super::{Backend, Bucket, Component, Endpoints, Memory, ObjectStore, Stack, StackSpec, Stop};
use crate::env::Shared;

/// Clones know the same stacks.
#[derive(Clone)]
pub struct FakeBackend {
    stacks: Arc<Mutex<Vec<Arc<FakeStack>>>>,
    folder: Arc<TempDir>,
    room: Option<u32>,
    /// The most stacks that were up at the same time.
    most: Arc<AtomicUsize>,
}

impl Default for FakeBackend {
    fn default() -> FakeBackend {
        FakeBackend {
            stacks: Arc::default(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
            room: None,
            most: Arc::default(),
        }
    }
}

impl FakeBackend {
    /// With room for so many stacks.
    pub(crate) fn with_room(room: u32) -> FakeBackend {
        FakeBackend {
            room: Some(room),
            ..FakeBackend::default()
        }
    }

    /// The most stacks that were up at the same time.
    pub(crate) fn most_up(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// Whether each stack is up, by the order of their starts.
    pub fn up(&self) -> Vec<bool> {
        let stacks = self.stacks.lock().unwrap();
        stacks.iter().map(|stack| stack.up.load(Ordering::SeqCst)).collect()
    }
}

/// A run on that backend.
pub fn shared(backend: &FakeBackend, keep: bool) -> Arc<Shared> {
    let workspace = Workspace::find().unwrap();
    let runner = Runner::new(Cancel::default(), false);
    Arc::new(Shared {
        backend: Arc::new(backend.clone()),
        seed: 1,
        artifacts: backend.folder.path().join("e2e"),
        keep,
        full: false,
        quiet: true,
        cancel: Cancel::default(),
        toolbox: Toolbox::read(workspace.root(), backend.folder.path().to_path_buf(), runner, true).unwrap(),
        workspace,
    })
}

/// An empty map.
pub(crate) fn no_values() -> Value {
    Value::Mapping(Default::default())
}

#[async_trait]
impl Backend for FakeBackend {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn versions(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn unproven(&self) -> &[(&'static str, &'static str)] {
        &[]
    }

    fn runs(&self) -> &Path {
        Path::new("")
    }

    async fn start(&self, _spec: &StackSpec) -> Result<Arc<dyn Stack>> {
        let stack = Arc::new(FakeStack {
            up: AtomicBool::new(true),
            render: Render {
                manifests: Vec::new(),
                text: String::new(),
            },
            endpoints: Endpoints::default(),
        });
        self.stacks.lock().unwrap().push(stack.clone());
        let up = self.up().iter().filter(|up| **up).count();
        self.most.fetch_max(up, Ordering::SeqCst);
        Ok(stack)
    }

    async fn room(&self) -> Result<Option<u32>> {
        Ok(self.room)
    }

    async fn object_store(&self, _bucket: &Bucket<'_>) -> Result<Box<dyn ObjectStore>> {
        bail!("a fake has no store")
    }

    async fn prometheus(&self, _password: &str) -> Result<Box<dyn Prometheus>> {
        bail!("a fake has no Prometheus")
    }
}

struct FakeStack {
    up: AtomicBool,
    render: Render,
    endpoints: Endpoints,
}

#[async_trait]
impl Stack for FakeStack {
    fn render(&self) -> &Render {
        &self.render
    }

    fn discovery(&self) -> Result<Value> {
        bail!("a fake has no pods")
    }

    fn namespace(&self) -> &str {
        "fake"
    }

    fn folder(&self) -> &Path {
        Path::new("")
    }

    fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    fn reach(&self, _url: &str) -> Result<String> {
        bail!("nothing of a fake is reached")
    }

    async fn wait_ready(&self, _timeout: Duration) -> Result<()> {
        Ok(())
    }

    async fn pod_names(&self, _component: Component) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn metrics(&self, _component: Component) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }

    async fn restart_container(&self, component: Component) -> Result<Stop> {
        self.stop_pod(component).await
    }

    async fn stop_pod(&self, _component: Component) -> Result<Stop> {
        bail!("a fake has no pod")
    }

    async fn start_pod(&self, _component: Component) -> Result<()> {
        bail!("a fake has no pod")
    }

    async fn memory(&self, _component: Component) -> Result<Memory> {
        bail!("a fake has no memory")
    }

    async fn crashes(&self, _component: Component) -> Result<u32> {
        Ok(0)
    }

    async fn logs(&self, _component: Component) -> Result<String> {
        bail!("a fake has no log")
    }

    async fn files(&self, _component: Component, _folder: &str) -> Result<Option<Vec<String>>> {
        Ok(None)
    }

    async fn configs(&self) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }

    async fn shut_down(&self) -> Result<()> {
        self.up.store(false, Ordering::SeqCst);
        Ok(())
    }
}
