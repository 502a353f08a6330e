//! Why a workload isn't ready: one line for people, and whether waiting can help.
//!
//! Looks in the order in which Kubernetes works: admission, scheduling and volumes, images,
//! configuration, the program itself, its probes.

use std::fmt;

use k8s_openapi::api::core::v1::{ContainerStatus, Event, PersistentVolumeClaim, Pod};

use super::pods;

/// A program that ended this often won't come up by waiting.
const HOPELESS_ENDS: u32 = 2;

/// What is known of a workload and of all around it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Why its controller could not make a pod, if it says so.
    pub refused: Option<String>,
    /// Its pods, the youngest first.
    pub pods: Vec<Pod>,
    /// Events of the namespace, the oldest first.
    pub events: Vec<Event>,
    pub claims: Vec<PersistentVolumeClaim>,
    /// How many ends of the program this harness asked for.
    pub asked_for: u32,
}

/// At which step it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The API server refused the pod.
    Admission,
    /// No node takes the pod.
    Scheduling,
    Volume,
    Image,
    /// The container can't be made of its spec: a Secret or a ConfigMap is missing.
    Configuration,
    Crash,
    /// The program runs and a probe fails.
    Probe,
    Starting,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Admission => "admission",
            Stage::Scheduling => "scheduling",
            Stage::Volume => "volume",
            Stage::Image => "image",
            Stage::Configuration => "configuration",
            Stage::Crash => "crash",
            Stage::Probe => "probe",
            Stage::Starting => "starting",
        })
    }
}

/// Why a workload isn't ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    /// At which step it stopped.
    pub stage: Stage,
    /// What Kubernetes says, in one line.
    pub text: String,
    /// Waiting won't help.
    pub hopeless: bool,
    /// The pod and container whose log says more.
    pub log: Option<(String, String)>,
}

impl Cause {
    /// Whether the scheduler only waits for room, which comes when other pods go.
    pub(crate) fn is_want_of_room(&self) -> bool {
        self.stage == Stage::Scheduling
            && ["Insufficient cpu", "Insufficient memory"]
                .iter()
                .any(|w| self.text.contains(w))
    }

    fn new(stage: Stage, text: impl Into<String>, hopeless: bool) -> Cause {
        let text: String = text.into();
        Cause {
            stage,
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            hopeless,
            log: None,
        }
    }
}

/// Why the workload isn't ready.
pub fn judge(facts: &Facts) -> Cause {
    let begun = |pod: &Pod| !pods::is_ending(pod) && !pods::is_ready(pod);
    if let Some(refused) = facts.refused.as_ref().filter(|_| !facts.pods.iter().any(begun)) {
        // A ServiceAccount that was just made may not be known yet.
        let hopeless = !refused.contains("error looking up service account");
        return Cause::new(Stage::Admission, refused, hopeless);
    }
    let mut causes = facts.pods.iter().filter(|pod| begun(pod)).map(|pod| of_pod(facts, pod));
    let starting = || match facts.pods.iter().find(|pod| pods::is_ending(pod)) {
        Some(pod) => format!("pod {} of the last revision is still stopping", pods::name(pod)),
        None => "no pod yet".to_owned(),
    };
    causes
        .next()
        .unwrap_or_else(|| Cause::new(Stage::Starting, starting(), false))
}

fn of_pod(facts: &Facts, pod: &Pod) -> Cause {
    let of_container = |status| of_container(facts, pod, status);
    unscheduled(facts, pod)
        .or_else(|| {
            pods::failing_init(pod)
                .chain(pods::statuses(pod))
                .find_map(of_container)
        })
        .or_else(|| volume(facts, pod))
        .unwrap_or_else(|| Cause::new(Stage::Starting, format!("pod {} is starting", pods::name(pod)), false))
}

/// No node, for lack of room or of a volume.
fn unscheduled(facts: &Facts, pod: &Pod) -> Option<Cause> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let scheduled = conditions.into_iter().find(|c| c.type_ == "PodScheduled")?;
    if scheduled.status != "False" {
        return None;
    }
    let message = scheduled.message.clone().unwrap_or_default();
    if let Some(cause) = unbound(facts, pod) {
        return Some(cause);
    }
    Some(Cause::new(Stage::Scheduling, message, false))
}

/// A claim of the pod that can't be bound.
fn unbound(facts: &Facts, pod: &Pod) -> Option<Cause> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut names = volumes.filter_map(|v| v.persistent_volume_claim.as_ref().map(|c| c.claim_name.as_str()));
    names.find_map(|name| {
        let claim = facts.claims.iter().find(|c| c.metadata.name.as_deref() == Some(name));
        let Some(claim) = claim else {
            return Some(Cause::new(Stage::Volume, format!("claim {name} does not exist"), true));
        };
        if claim.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Pending") {
            return None;
        }
        let failed = event(facts, name, &["ProvisioningFailed", "FailedBinding"])?;
        // A provisioner that failed tries again; a class that isn't there doesn't come.
        let hopeless = failed.reason.as_deref() == Some("FailedBinding") || message(failed).contains("not found");
        Some(Cause::new(
            Stage::Volume,
            format!("claim {name} can't be bound: {}", message(failed)),
            hopeless,
        ))
    })
}

/// A volume that can't be mounted.
fn volume(facts: &Facts, pod: &Pod) -> Option<Cause> {
    let failed = event(
        facts,
        pods::name(pod),
        &["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"],
    )?;
    Some(Cause::new(Stage::Volume, message(failed), false))
}

fn of_container(facts: &Facts, pod: &Pod, status: &ContainerStatus) -> Option<Cause> {
    let state = status.state.as_ref()?;
    let ends = pods::ends(status).saturating_sub(facts.asked_for);
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let text = waiting.message.as_deref().unwrap_or(reason);
        return match reason {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                Some(image(facts, pod, status, reason))
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Some(Cause::new(
                Stage::Configuration,
                format!("container {} can't be made: {text}", status.name),
                true,
            )),
            "CrashLoopBackOff" => Some(crash(pod, status, ends)),
            _ => None,
        };
    }
    if state.terminated.is_some() || ends >= HOPELESS_ENDS {
        return Some(crash(pod, status, ends));
    }
    if state.running.is_some() && !status.ready {
        let failed = event(facts, pods::name(pod), &["Unhealthy"]);
        let what = failed.map_or_else(|| "its probe has not passed yet".to_owned(), message);
        let mut cause = Cause::new(Stage::Probe, format!("container {} runs: {what}", status.name), false);
        cause.log = Some((pods::name(pod).to_owned(), status.name.clone()));
        return Some(cause);
    }
    None
}

fn image(facts: &Facts, pod: &Pod, status: &ContainerStatus, reason: &str) -> Cause {
    // The back-off says only that it waits; what went wrong is in the event of the try.
    let tries = events(facts, pods::name(pod)).filter(|e| e.reason.as_deref() == Some("Failed"));
    let said = tries
        .map(message)
        .find(|m| m.contains("pull") && !m.starts_with("Error:"));
    let why = said.unwrap_or_else(|| reason.to_owned());
    let why = if why.contains(&status.image) {
        why
    } else {
        format!("image {}: {why}", status.image)
    };
    // One failed try may be the network's; after it Kubernetes backs off.
    Cause::new(Stage::Image, why, reason != "ErrImagePull")
}

fn crash(pod: &Pod, status: &ContainerStatus, ends: u32) -> Cause {
    let ended = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| state.and_then(|s| s.terminated.clone());
    let last = ended(status.state.as_ref()).or_else(|| ended(status.last_state.as_ref()));
    let how = last.map_or_else(
        || "ended".to_owned(),
        |end| {
            format!(
                "ended with exit code {} ({})",
                end.exit_code,
                end.reason.unwrap_or_default()
            )
        },
    );
    let times = format!("container {} {how}, {ends} times", status.name);
    let mut cause = Cause::new(Stage::Crash, times, ends >= HOPELESS_ENDS);
    cause.log = Some((pods::name(pod).to_owned(), status.name.clone()));
    cause
}

/// The youngest event of an object with one of these reasons.
fn event<'a>(facts: &'a Facts, object: &str, reasons: &[&str]) -> Option<&'a Event> {
    let mut found: Vec<&Event> = events(facts, object)
        .filter(|e| e.reason.as_deref().is_some_and(|reason| reasons.contains(&reason)))
        .collect();
    found.pop()
}

fn events<'a>(facts: &'a Facts, object: &str) -> impl Iterator<Item = &'a Event> {
    facts
        .events
        .iter()
        .filter(move |e| e.involved_object.name.as_deref() == Some(object))
}

fn message(event: &Event) -> String {
    event.message.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(yaml: &str) -> Facts {
        let value: serde_yaml::Value = serde_yaml::from_str(yaml).unwrap();
        let list = |key: &str| value.get(key).cloned().unwrap_or(serde_yaml::Value::Sequence(vec![]));
        Facts {
            refused: value.get("refused").and_then(|v| v.as_str()).map(str::to_owned),
            pods: serde_yaml::from_value(list("pods")).unwrap(),
            events: serde_yaml::from_value(list("events")).unwrap(),
            claims: serde_yaml::from_value(list("claims")).unwrap(),
            asked_for: 0,
        }
    }

    fn waiting(reason: &str, restarts: u32) -> String {
        format!(
            "pods: [{{metadata: {{name: p}}, status: {{containerStatuses: [{{name: c, image: 'x:1', imageID: '', ready: false, restartCount: {restarts}, state: {{waiting: {{reason: {reason}}}}}}}]}}}}]\n"
        )
    }

    #[test]
    fn an_image_that_is_not_there_is_named_and_not_waited_for() {
        let events = "events: [{metadata: {}, involvedObject: {name: p}, reason: Failed, message: 'Failed to pull image \"x:1\": not found'}]";
        let cause = judge(&facts(&(waiting("ImagePullBackOff", 0) + events)));
        assert_eq!((cause.stage, cause.hopeless), (Stage::Image, true));
        assert!(cause.text.contains("\"x:1\": not found"), "{}", cause.text);
        assert!(!judge(&facts(&waiting("ErrImagePull", 0))).hopeless);
    }

    #[test]
    fn ends_that_were_asked_for_are_no_crash_loop() {
        let mut facts = facts(&waiting("CrashLoopBackOff", 1));
        assert!(judge(&facts).hopeless);
        facts.asked_for = 2;
        assert!(!judge(&facts).hopeless);
    }

    #[test]
    fn a_refused_pod_is_admissions_unless_its_account_is_just_being_made() {
        let cause = judge(&facts("refused: 'pods \"p\" is forbidden: violates PodSecurity'"));
        assert_eq!((cause.stage, cause.hopeless), (Stage::Admission, true));
        assert!(
            !judge(&facts(
                "refused: 'pods \"p\" is forbidden: error looking up service account a/b'"
            ))
            .hopeless
        );
    }

    #[test]
    fn a_claim_of_a_missing_class_is_the_cause_and_not_the_scheduler() {
        let cause = judge(&facts(
            "pods: [{metadata: {name: p}, spec: {containers: [], volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]}, status: {conditions: [{type: PodScheduled, status: 'False', message: unbound}]}}]\n\
             claims: [{metadata: {name: data}, status: {phase: Pending}}]\n\
             events: [{metadata: {}, involvedObject: {name: data}, reason: ProvisioningFailed, message: 'storageclass \"none\" not found'}]",
        ));
        assert_eq!((cause.stage, cause.hopeless), (Stage::Volume, true));
        assert!(
            cause.text.contains("data") && cause.text.contains("none"),
            "{}",
            cause.text
        );
    }

    #[test]
    fn a_pod_without_room_waits_for_others_to_go_and_one_without_a_node_does_not() {
        let unscheduled = |message: &str| {
            judge(&facts(&format!(
                "pods: [{{metadata: {{name: p}}, status: {{conditions: [{{type: PodScheduled, status: 'False', message: '{message}'}}]}}}}]"
            )))
        };
        let full = unscheduled("0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate");
        assert_eq!(
            (full.stage, full.hopeless, full.is_want_of_room()),
            (Stage::Scheduling, false, true)
        );
        assert!(unscheduled("0/1 nodes are available: 1 Insufficient memory.").is_want_of_room());
        assert!(!unscheduled("0/1 nodes are available: 1 node(s) had untolerated taint").is_want_of_room());
    }

    #[test]
    fn a_failing_probe_is_said_in_the_kubelets_words_and_waited_for() {
        let cause = judge(&facts(
            "pods: [{metadata: {name: p}, status: {containerStatuses: [{name: c, image: x, imageID: '', ready: false, restartCount: 0, state: {running: {}}}]}}]\n\
             events: [{metadata: {}, involvedObject: {name: p}, reason: Unhealthy, message: 'Readiness probe failed: 503'}]",
        ));
        assert_eq!((cause.stage, cause.hopeless), (Stage::Probe, false));
        assert!(cause.text.contains("503"), "{}", cause.text);
    }
}
