//! The lint as a whole, and its checks by other programs: each is tripped on purpose.

#![allow(clippy::unwrap_used)]

mod common;

// The rules' tests use the rest of it.
#[allow(dead_code)]
#[path = "common/change.rs"]
mod change;

use charts::cases;
use charts::kubernetes;
use charts::workspace::{Case, Chart};
use lint::check::{self, LintChart, Report, Tools};
use lint::kube_score;
use lint::rules::{Finding, Subject, Variation};
use lint::schema_check::{self, Target};
use lint::workflows;

use change::{Change, remove, set};
use common::{KUBE_VERSION, helm, toolbox, workspace};

fn tools() -> Tools {
    Tools::get(toolbox(), helm().clone()).unwrap()
}

fn stack() -> Chart {
    workspace().chart("tempo-stack").unwrap()
}

/// Lints the chart with these values.
fn linted(values: &str) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let case = Case {
        name: "of-this-test".into(),
        values: folder.path().join("of-this-test-values.yaml"),
    };
    std::fs::write(&case.values, values).unwrap();
    let chart = LintChart::prepare(helm(), stack()).unwrap();
    judged(&chart, case)
}

fn judged(chart: &LintChart, case: Case) -> Report {
    check::cases(&tools(), &workspace(), &[(chart, case)], &|_| {})
        .unwrap()
        .remove(0)
}

fn only<'f>(findings: &'f [Finding], rule: &str) -> &'f Finding {
    let rules: Vec<_> = findings.iter().map(|finding| finding.rule.as_str()).collect();
    assert_eq!(rules, [rule], "{findings:#?}");
    &findings[0]
}

#[test]
fn the_defaults_have_no_findings_and_name_their_judges() {
    let report = linted("{}\n");
    assert_eq!(report.findings, []);
    let judges: Vec<_> = report.judgements.iter().flat_map(|j| j.by.clone()).collect();
    assert!(judges.contains(&"tempo 2.9.0".to_owned()) && judges.contains(&"otelcol 0.155.0".to_owned()));
}

/// Each size has no findings, however Tempo runs; large mirrors and partitions are as many as its guard asks for.
#[test]
fn every_size_has_no_findings_in_every_mode() {
    const BUCKET: &str = "storage: {backend: s3, s3: {bucket: b, region: r}}";
    let modes = [
        "{}".to_owned(),
        format!("{{replicas: 2, {BUCKET}}}"),
        format!("{{mode: microservices, {BUCKET}}}"),
        format!(
            "{{mode: microservices, image: {{tag: 3.0.3}}, kafka: {{address: 'kafka:9092', partitions: 4}}, {BUCKET}}}"
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let chart = LintChart::prepare(helm(), stack()).unwrap();
    let mut cases = Vec::new();
    for size in ["small", "medium", "large"] {
        for (n, tempo) in modes.iter().enumerate() {
            let values = folder.path().join(format!("{size}-{n}-values.yaml"));
            std::fs::write(
                &values,
                format!("size: {size}\notelCollector: {{replicas: 6}}\ntempo: {tempo}\n"),
            )
            .unwrap();
            let name = format!("{size}-{n}");
            cases.push((&chart, Case { name, values }));
        }
    }
    for report in check::cases(&tools(), &workspace(), &cases, &|_| {}).unwrap() {
        assert_eq!(report.findings, []);
    }
}

#[test]
fn a_value_that_the_schema_refuses_is_found_in_the_values_file() {
    let report = linted("tempo:\n  replicas: many\n");
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.file.ends_with("of-this-test-values.yaml"))
    );
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.rule == "helm-lint" && finding.message.contains("replicas"))
    );
}

#[test]
fn a_key_that_the_chart_does_not_know_is_heard_with_the_right_one() {
    let report = linted("tempo:\n  replica: 1\n");
    let finding = only(&report.findings, "helm-template");
    assert!(finding.message.contains("Did you mean tempo.replicas?"), "{finding:?}");
}

#[test]
fn a_guard_that_refuses_is_heard_with_its_template() {
    let report = linted("tempo:\n  retention:\n    period: 1m\n");
    let finding = only(&report.findings, "helm-template");
    assert!(finding.message.contains("tempo.retention.period"), "{finding:?}");
    assert!(
        finding.file.starts_with("charts/tempo-stack/templates/") && finding.line.is_some(),
        "{finding:?}"
    );
}

#[test]
fn what_helm_warns_of_on_standard_error_is_found() {
    let report = linted("tempo:\n  service: wrong\n");
    let warned = |finding: &Finding| finding.message.contains("cannot overwrite table");
    assert!(report.findings.iter().any(warned), "{:#?}", report.findings);
}

#[test]
fn values_that_weaken_a_pod_are_found_with_the_line_of_the_template() {
    let report = linted("tempo:\n  securityContext:\n    readOnlyRootFilesystem: false\n    privileged: true\n");
    let rules: Vec<_> = report.findings.iter().map(|finding| finding.rule.as_str()).collect();
    assert!(rules.contains(&"pod-security/privileged"), "{rules:?}");
    assert!(
        rules.contains(&"kube-score/container-security-context-readonlyrootfilesystem"),
        "{rules:?}"
    );
}

#[test]
fn an_allowance_in_the_values_file_silences_its_rule() {
    let report =
        linted("# lint-allow kube-score/service-type: this test asks for it\ntempo:\n  service:\n    type: NodePort\n");
    assert_eq!(report.findings, []);
}

/// What the API schemas and kube-score say about the monitored case with a change.
fn checked(change: Change) -> (Vec<Finding>, Vec<Finding>) {
    let chart = LintChart::prepare(helm(), stack()).unwrap();
    let cases = chart.chart.cases().unwrap();
    let case = cases.into_iter().find(|s| s.name == "servicemonitor").unwrap();
    let options = cases::options(&chart.chart, &case);
    let mut manifests = check::render_again(helm(), &chart, &options, &Variation::default()).unwrap();
    change.apply(&mut manifests);
    let subject = Subject {
        chart: &chart.chart,
        case: &case.name,
        values: "",
        release: &options.release,
        namespace: &options.namespace,
        manifests: &manifests,
    };
    let (tools, runner) = (tools(), &helm().runner);
    let root = workspace();
    let versions = kubernetes::versions(root.root()).unwrap();
    let versions: Vec<_> = versions.iter().map(String::as_str).collect();
    let target = Target::new(&subject, &versions, Ok(manifests.clone())).unwrap();
    (
        schema_check::judge(&[(subject, &[target])], &tools.kubeconform, root.root(), runner)
            .unwrap()
            .remove(0),
        kube_score::judge(&subject, &tools.kube_score, KUBE_VERSION, runner).unwrap(),
    )
}

#[test]
fn a_field_that_kubernetes_would_drop_is_found() {
    let (schema, _) = checked(set(
        "StatefulSet",
        "tempo",
        "/spec/template/spec/containers/0/securityContext/readonlyRootFilesystem",
        "true",
    ));
    let finding = only(&schema, "api-schema");
    assert!(finding.message.contains("readonlyRootFilesystem"), "{finding:?}");
    assert_eq!(finding.file, "charts/tempo-stack/templates/tempo-statefulset.yaml");
}

#[test]
fn a_field_of_the_wrong_type_is_found() {
    let path = "/spec/template/spec/terminationGracePeriodSeconds";
    let (schema, score) = checked(set("StatefulSet", "tempo", path, "30s"));
    assert!(
        only(&score, "kube-score/readable")
            .message
            .contains("terminationGracePeriodSeconds")
    );
    let finding = only(&schema, "api-schema");
    assert!(
        finding
            .message
            .contains("terminationGracePeriodSeconds: got string, want integer"),
        "{finding:?}"
    );
    assert!(finding.line.is_none() || finding.line > Some(1));
}

#[test]
fn a_field_that_is_missing_is_found() {
    let (schema, _) = checked(remove("Service", "tempo", "/spec/ports/0/port"));
    assert!(only(&schema, "api-schema").message.contains("port"));
}

#[test]
fn a_port_may_be_a_number_or_a_name_and_a_quantity_too() {
    for (path, value) in [
        ("/spec/template/spec/containers/0/readinessProbe/httpGet/port", "3200"),
        ("/spec/template/spec/containers/0/resources/limits/cpu", "2"),
    ] {
        assert_eq!(checked(set("StatefulSet", "tempo", path, value)).0, []);
    }
}

#[test]
fn a_kind_without_a_schema_is_found() {
    let (schema, _) = checked(set("Service", "tempo", "/apiVersion", "v2"));
    assert!(only(&schema, "api-schema").message.contains("could not find schema"));
}

#[test]
fn an_interval_that_prometheus_cannot_read_is_found() {
    let (schema, _) = checked(set("ServiceMonitor", "tempo", "/spec/endpoints/0/interval", "30 s"));
    assert!(only(&schema, "api-schema").message.contains("interval"));
}

#[test]
fn what_kube_score_calls_critical_is_found() {
    let (schema, score) = checked(remove(
        "StatefulSet",
        "tempo",
        "/spec/template/spec/containers/0/securityContext",
    ));
    assert_eq!(schema, []);
    let rule = "kube-score/container-security-context-readonlyrootfilesystem";
    assert!(
        score
            .iter()
            .any(|finding| finding.rule == rule && !finding.remedy.is_empty()),
        "{score:#?}"
    );
}

#[test]
fn a_field_that_only_later_versions_know_is_found_with_the_versions_that_would_drop_it() {
    let path = "/spec/template/spec/hostnameOverride";
    let (schema, _) = checked(set("StatefulSet", "tempo", path, "tempo"));
    let message = &only(&schema, "api-schema").message;
    assert!(
        message.contains("hostnameOverride")
            && message.ends_with("(Kubernetes 1.29.15, 1.30.14, 1.31.14, 1.32.13, 1.33.13)"),
        "{message}"
    );
}

#[test]
fn a_chart_that_refuses_a_version_whose_schemas_are_here_is_found() {
    let chart = LintChart::prepare(helm(), stack()).unwrap();
    let file = chart.prepared.dir.join("Chart.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(">=1.29.0-0", ">=1.30.0-0")).unwrap();
    let cases = chart.chart.cases().unwrap();
    let case = cases.into_iter().find(|s| s.name == "default").unwrap();
    let report = judged(&chart, case);
    let message = &only(&report.findings, "api-schema").message;
    assert!(
        message.contains("incompatible with Kubernetes") && message.ends_with("(Kubernetes 1.29.15)"),
        "{message}"
    );
}

#[test]
fn the_versions_of_a_group_get_the_same_objects() {
    let versions = kubernetes::versions(workspace().root()).unwrap();
    for (chart, name) in [("tempo-stack", "full"), ("observability", "default")] {
        let chart = LintChart::prepare(helm(), workspace().chart(chart).unwrap()).unwrap();
        let cases = chart.chart.cases().unwrap();
        let case = cases.into_iter().find(|case| case.name == name).unwrap();
        let values = std::fs::read_to_string(&case.values).unwrap();
        let groups = kubernetes::alike(&chart.prepared, &values, &versions).unwrap();
        // The version decides two things: whether the Collector can pause before it stops, and whether a
        // Service may prefer near pods.
        assert_eq!(
            groups.iter().map(Vec::len).collect::<Vec<_>>(),
            [1, 1, versions.len() - 2]
        );
        for group in groups {
            let render = |version: &&str| {
                let options = cases::options(&chart.chart, &case);
                let helm = helm().for_kubernetes(version);
                helm.template(&chart.prepared, &options).unwrap().text
            };
            let renders: Vec<_> = group.iter().map(render).collect();
            assert!(renders.iter().all(|text| *text == renders[0]), "{name}: {group:?}");
        }
    }
}

#[test]
fn there_are_schemas_of_all_versions_from_the_oldest_that_charts_allow() {
    let root = workspace();
    let versions = kubernetes::versions(root.root()).unwrap();
    assert!(versions.contains(&KUBE_VERSION.to_owned()), "{versions:?}");
    let minors: Vec<u64> = versions
        .iter()
        .map(|v| v.split('.').nth(1).unwrap().parse().unwrap())
        .collect();
    assert_eq!(minors, (29..=37).collect::<Vec<_>>());
    for version in &versions {
        let module = kubernetes::version_folder(root.root(), version).join("go.mod");
        let text = std::fs::read_to_string(&module).unwrap();
        assert!(text.contains(&format!("k8s.io/kubernetes v{version}\n")), "{text}");
    }
    let error = schema_check::step(&tools().kubeconform, root.root(), "1.0.0").unwrap_err();
    assert!(kit::failure::remedy_of(&error).unwrap().contains("cargo xtask schemas"));
}

#[test]
fn actionlint_finds_what_github_would_refuse_and_has_nothing_against_our_workflows() {
    let actionlint = toolbox().get("actionlint").unwrap();
    let runner = &helm().runner;
    assert_eq!(workflows::judge(&workspace(), &actionlint, runner).unwrap(), []);
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = charts::workspace::Workspace::at(folder.path());
    assert_eq!(workflows::judge(&elsewhere, &actionlint, runner).unwrap(), []);
    let dir = folder.path().join(".github/workflows");
    std::fs::create_dir_all(&dir).unwrap();
    let workflow = "on: push\npermissions: {contents: read}\njobs:\n  j:\n    runs-on: ubuntu-24.04\n    steps:\n      \
                    - run: echo ${{ github.evnt.ref }}\n";
    std::fs::write(dir.join("w.yaml"), workflow).unwrap();
    let found = workflows::judge(&elsewhere, &actionlint, runner).unwrap();
    let found = only(&found, "actionlint/expression");
    assert_eq!((found.file.as_str(), found.line), (".github/workflows/w.yaml", Some(7)));
    assert!(found.message.contains("evnt"), "{found:?}");
}
