package main

import (
	"fmt"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/api"
	podsecurity "k8s.io/pod-security-admission/policy"
)

// What holds where a namespace says nothing.
var anyPod = api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()}

// What each namespace's labels ask of its pods.
type podSecurity map[string]api.Policy

func podSecurityOf(documents []document) podSecurity {
	found := podSecurity{}
	for _, each := range documents {
		object, _ := each.decode()
		if namespace, ok := object.(*corev1.Namespace); ok {
			policy, _ := api.PolicyToEvaluate(namespace.Labels, api.Policy{Enforce: anyPod})
			found[namespace.Name] = policy
		}
	}
	return found
}

// check gives what a namespace would refuse the pods of an object for.
func (p podSecurity) check(object runtime.Object) ([]error, error) {
	evaluator, err := podsecurity.NewEvaluator(podsecurity.DefaultChecks(), nil)
	if err != nil {
		return nil, err
	}
	var found []error
	for _, pod := range podsOf(object) {
		policy, ok := p[pod.Namespace]
		if !ok {
			continue
		}
		results := evaluator.EvaluatePod(policy.Enforce, &pod.ObjectMeta, &pod.Spec)
		if all := podsecurity.AggregateCheckResults(results); !all.Allowed {
			found = append(found, fmt.Errorf(
				"pod security %q: %s: %s", policy.Enforce.Level, all.ForbiddenReason(), all.ForbiddenDetail(),
			))
		}
	}
	return found, nil
}

func podsOf(object runtime.Object) []*corev1.Pod {
	switch it := object.(type) {
	case *appsv1.Deployment:
		return []*corev1.Pod{podOf(it.ObjectMeta, it.Spec.Template)}
	case *appsv1.StatefulSet:
		return []*corev1.Pod{podOf(it.ObjectMeta, it.Spec.Template)}
	case *appsv1.DaemonSet:
		return []*corev1.Pod{podOf(it.ObjectMeta, it.Spec.Template)}
	case *rayv1.RayService:
		made, _ := makeOf(it)
		var pods []*corev1.Pod
		for _, each := range made {
			if pod, ok := each.(*corev1.Pod); ok {
				pods = append(pods, pod)
			}
		}
		return pods
	default:
		return nil
	}
}

func podOf(owner metav1.ObjectMeta, template corev1.PodTemplateSpec) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	pod.Namespace = owner.Namespace
	return pod
}
