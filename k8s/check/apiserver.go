package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsinternal "k8s.io/kubernetes/pkg/apis/apps/v1"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	coreinternal "k8s.io/kubernetes/pkg/apis/core/v1"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	networkinginternal "k8s.io/kubernetes/pkg/apis/networking/v1"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	policyinternal "k8s.io/kubernetes/pkg/apis/policy/v1"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	"k8s.io/kubernetes/pkg/apis/rbac"
	rbacinternal "k8s.io/kubernetes/pkg/apis/rbac/v1"
	rbacvalidation "k8s.io/kubernetes/pkg/apis/rbac/validation"
)

// The API server validates its own internal types, after their defaults.
var internal = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		core.AddToScheme, coreinternal.AddToScheme,
		apps.AddToScheme, appsinternal.AddToScheme,
		networking.AddToScheme, networkinginternal.AddToScheme,
		policy.AddToScheme, policyinternal.AddToScheme,
		rbac.AddToScheme, rbacinternal.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	return scheme
}()

// checkBuiltIn gives what the API server would refuse an object of Kubernetes' own kinds for.
func checkBuiltIn(object runtime.Object) []error {
	object = object.DeepCopyObject()
	if pod, ok := object.(*corev1.Pod); ok && pod.Name == "" {
		pod.Name = pod.GenerateName + "abcde" // the server draws them before it validates
	}
	if service, ok := object.(*corev1.Service); ok && service.Spec.ClusterIP != "" {
		service.Spec.ClusterIPs = []string{service.Spec.ClusterIP} // so does the server
	}
	internal.Default(object)
	converted, err := internal.ConvertToVersion(object, runtime.InternalGroupVersioner)
	if err != nil {
		return []error{err}
	}
	found, known := validateInternal(converted)
	if !known {
		return []error{fmt.Errorf("this check knows no validation of %T: add it", object)}
	}
	return errorsOf(found)
}

func validateInternal(object runtime.Object) (found field.ErrorList, known bool) {
	switch it := object.(type) {
	case *core.Pod:
		options := podutil.GetValidationOptionsFromPodSpecAndMeta(&it.Spec, nil, &it.ObjectMeta, nil)
		return corevalidation.ValidatePodCreate(it, options), true
	case *core.Service:
		return corevalidation.ValidateServiceCreate(it), true
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(it), true
	case *core.Secret:
		return corevalidation.ValidateSecret(it), true
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(it), true
	case *core.Namespace:
		return corevalidation.ValidateNamespace(it), true
	case *core.PersistentVolumeClaim:
		options := corevalidation.ValidationOptionsForPersistentVolumeClaimCreate()
		return corevalidation.ValidatePersistentVolumeClaim(it, options), true
	case *apps.Deployment:
		options := podutil.GetValidationOptionsFromPodTemplate(&it.Spec.Template, nil)
		return appsvalidation.ValidateDeployment(it, options), true
	case *apps.StatefulSet:
		options := podutil.GetValidationOptionsFromPodTemplate(&it.Spec.Template, nil)
		return appsvalidation.ValidateStatefulSet(it, options), true
	case *apps.DaemonSet:
		options := podutil.GetValidationOptionsFromPodTemplate(&it.Spec.Template, nil)
		return appsvalidation.ValidateDaemonSet(it, options), true
	case *networking.NetworkPolicy:
		options := networkingvalidation.ValidationOptionsForNetworking(it, nil)
		return networkingvalidation.ValidateNetworkPolicy(it, options), true
	case *networking.Ingress:
		return networkingvalidation.ValidateIngressCreate(it), true
	case *policy.PodDisruptionBudget:
		options := policyvalidation.PodDisruptionBudgetValidationOptions{}
		return policyvalidation.ValidatePodDisruptionBudget(it, options), true
	case *rbac.Role:
		return rbacvalidation.ValidateRole(it), true
	case *rbac.RoleBinding:
		return rbacvalidation.ValidateRoleBinding(it), true
	default:
		return nil, false
	}
}
