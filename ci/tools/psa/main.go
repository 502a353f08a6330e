// Psa reads a list of pods (metadata and spec) and prints, for each, the checks of the Pod Security
// Standard "restricted" that forbid it: with Kubernetes' own evaluator, as of the version in the argument.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

type violation struct {
	Check  policy.CheckID `json:"check"`
	Reason string         `json:"reason"`
	Detail string         `json:"detail"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("psa 0.37.1")
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "psa:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("one argument is needed: a version of Kubernetes, like v1.34")
	}
	version, err := api.ParseVersion(args[0])
	if err != nil {
		return err
	}
	var pods []corev1.PodTemplateSpec
	if err := json.NewDecoder(os.Stdin).Decode(&pods); err != nil {
		return fmt.Errorf("reading pods: %w", err)
	}
	checks := restricted(version)
	answers := make([][]violation, len(pods))
	for i, pod := range pods {
		answers[i] = []violation{}
		for _, check := range policy.DefaultChecks() {
			forbids, ok := checks[check.ID]
			if !ok {
				continue
			}
			if result := forbids.CheckPod(&pod.ObjectMeta, &pod.Spec); !result.Allowed {
				answers[i] = append(answers[i], violation{check.ID, result.ForbiddenReason, result.ForbiddenDetail})
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

// The checks of a version, each in its revision for that version, without those that another includes.
func restricted(version api.Version) map[policy.CheckID]policy.VersionedCheck {
	checks := map[policy.CheckID]policy.VersionedCheck{}
	for _, check := range policy.DefaultChecks() {
		for _, revision := range check.Versions {
			if !version.Older(revision.MinimumVersion) {
				checks[check.ID] = revision
			}
		}
	}
	for _, check := range checks {
		for _, included := range check.OverrideCheckIDs {
			delete(checks, included)
		}
	}
	return checks
}
