//! What tests of renders share: the real helm, the workspace, and two small charts in a folder of their own.

use std::path::Path;

use charts::render::Helm;
use charts::tools::Toolbox;
use charts::workspace::Workspace;
use kit::step::{Cancel, Runner};
use tempfile::TempDir;

/// The helm that the commands would take.
pub fn helm() -> Helm {
    let runner = Runner::new(Cancel::default(), false);
    let cache = Toolbox::default_cache().unwrap();
    let toolbox = Toolbox::read(Workspace::find().unwrap().root(), cache, runner.clone(), true).unwrap();
    Helm {
        program: toolbox.get("helm").unwrap().path,
        kube_version: "1.34.4".into(),
        runner,
    }
}

/// A workspace with the chart `leaf` and the chart `tree`, which depends on it.
pub struct Sample {
    dir: TempDir,
    pub workspace: Workspace,
}

impl Sample {
    /// Writes both charts.
    pub fn new() -> Sample {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(dir.path());
        let sample = Sample { dir, workspace };
        sample.write("charts/leaf/Chart.yaml", "apiVersion: v2\nname: leaf\nversion: 0.1.0\n");
        sample.write("charts/leaf/values.yaml", LEAF_VALUES);
        sample.write("charts/leaf/templates/config.yaml", LEAF_CONFIG);
        sample.write("charts/leaf/templates/extra.yaml", LEAF_EXTRA);
        sample.write("charts/leaf/templates/NOTES.txt", "{{ .Values.size }}\n");
        sample.write("charts/leaf/ci/default-values.yaml", "{}\n");
        sample.write("charts/leaf/ci/extra-values.yaml", "extra: {enabled: true}\n");
        sample.write("charts/leaf/.helmignore", "ci/\n");
        sample.write("charts/tree/Chart.yaml", TREE_CHART);
        sample.write("charts/tree/values.yaml", TREE_VALUES);
        sample.write("charts/tree/templates/own.yaml", TREE_OWN);
        sample.write("charts/tree/.helmignore", "ci/\n");
        sample.write("charts/tree/ci/default-values.yaml", "{}\n");
        sample.write("charts/tree/ci/off-values.yaml", "leaf: {enabled: false}\n");
        sample
    }

    pub fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Replaces a text that the file must hold.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        self.write(file, &text.replace(from, to));
    }

    /// A path below the workspace.
    pub fn path(&self, file: &str) -> std::path::PathBuf {
        Path::join(self.dir.path(), file)
    }
}

const LEAF_VALUES: &str = r#"# Values of the whole installation.
global:
  # -- Site.
  site: ""
# -- Size.
# @schema {"minimum": 1, "maximum": 9}
size: 3
# -- Mode.
# @schema {"enum": ["fast", "safe"]}
mode: fast
extra:
  # -- Makes one more object.
  enabled: false
  # -- Its text.
  text: hello
# -- Anything.
free: {}
"#;

const LEAF_CONFIG: &str = r#"{{- if gt (int .Values.size) 5 }}{{ fail "size is above 5" }}{{ end -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-config
  namespace: {{ .Release.Namespace }}
data:
  site: {{ .Values.global.site | quote }}
  size: {{ .Values.size | quote }}
  mode: {{ .Values.mode }}
  free: {{ toJson .Values.free | quote }}
"#;

const LEAF_EXTRA: &str = r#"{{- if .Values.extra.enabled }}
apiVersion: v1
kind: Secret
metadata:
  name: {{ .Release.Name }}-extra
stringData:
  text: {{ .Values.extra.text | quote }}
{{- end }}
"#;

const TREE_CHART: &str = r#"apiVersion: v2
name: tree
version: 0.1.0
dependencies:
  - name: leaf
    version: 0.1.0
    repository: file://../leaf
    condition: leaf.enabled
"#;

const TREE_OWN: &str = r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-own
"#;

const TREE_VALUES: &str = r#"global:
  # -- Site.
  site: here
# The other chart.
leaf:
  # -- Installs it.
  enabled: true
"#;
