package main

import (
	"context"
	"fmt"
	"os"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/common"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/utils"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"
)

// The operator draws five characters for each cluster of a service.
const clusterSuffix = "-abcde"

// checkRayService runs the operator's own validation, then has it make its pods and services.
func checkRayService(service *rayv1.RayService) []error {
	var found []error
	add := func(err error) {
		if err != nil {
			found = append(found, err)
		}
	}
	cluster := clusterOf(service)
	add(utils.ValidateRayServiceMetadata(service.ObjectMeta))
	add(utils.ValidateRayServiceSpec(service))
	add(utils.ValidateRayClusterMetadata(cluster.ObjectMeta))
	add(utils.ValidateRayClusterUpgradeOptions(cluster))
	if len(found) > 0 {
		return found
	}
	made, err := makeOf(service)
	add(err)
	for _, each := range made {
		kind := each.GetObjectKind().GroupVersionKind().Kind
		for _, err := range checkBuiltIn(each) {
			add(fmt.Errorf("%s %s that the operator makes: %w", kind, each.GetName(), err))
		}
	}
	return found
}

// expand prints what the operator makes of each RayService: pods, one of each group, and services.
func expand(file string) error {
	documents, err := readDocuments(file)
	if err != nil {
		return err
	}
	for _, each := range documents {
		object, _ := each.decode()
		service, ok := object.(*rayv1.RayService)
		if !ok {
			continue
		}
		made, err := makeOf(service)
		if err != nil {
			return err
		}
		for _, each := range made {
			text, err := yaml.Marshal(each)
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stdout, "---\n%s", text)
		}
	}
	return nil
}

// makeOf follows the operator's reconcilers. It may panic where the operator would.
func makeOf(service *rayv1.RayService) (made []client.Object, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("the operator would panic on it: %v", problem)
		}
	}()
	ctx := context.Background()
	cluster := clusterOf(service)
	made = append(made, headPod(ctx, cluster.DeepCopy()))
	for _, group := range cluster.DeepCopy().Spec.WorkerGroupSpecs {
		made = append(made, workerPod(ctx, cluster.DeepCopy(), group))
	}
	services, err := servicesOf(ctx, service, cluster)
	if err != nil {
		return nil, err
	}
	made = append(made, services...)
	if cluster.Spec.HeadGroupSpec.Template.Spec.ServiceAccountName == "" {
		account, err := common.BuildServiceAccount(cluster)
		if err != nil {
			return nil, err
		}
		made = append(made, account)
	}
	return made, setKinds(made)
}

func clusterOf(service *rayv1.RayService) *rayv1.RayCluster {
	cluster := &rayv1.RayCluster{Spec: *service.Spec.RayClusterSpec.DeepCopy()}
	cluster.Name = service.Name + clusterSuffix
	cluster.Namespace = service.Namespace
	cluster.Annotations = service.Annotations
	cluster.Labels = map[string]string{
		utils.RayOriginatedFromCRNameLabelKey: service.Name,
		utils.RayOriginatedFromCRDLabelKey:    utils.RayOriginatedFromCRDLabelValue(utils.RayServiceCRD),
	}
	return cluster
}

func headPod(ctx context.Context, cluster *rayv1.RayCluster) *corev1.Pod {
	group := cluster.Spec.HeadGroupSpec
	port := common.GetHeadPort(group.RayStartParams)
	name := utils.PodName(cluster.Name, rayv1.HeadNode, false)
	template := common.DefaultHeadPodTemplate(ctx, *cluster, group, name, port)
	autoscales := utils.IsAutoscalingEnabled(&cluster.Spec)
	address := utils.GenerateFQDNServiceName(ctx, *cluster, cluster.Namespace)
	pod := common.BuildPod(
		ctx, template, rayv1.HeadNode, group.RayStartParams, port, autoscales, utils.RayServiceCRD,
		address, nil, cluster.Spec.RayVersion,
	)
	return &pod
}

func workerPod(ctx context.Context, cluster *rayv1.RayCluster, group rayv1.WorkerGroupSpec) *corev1.Pod {
	port := common.GetHeadPort(cluster.Spec.HeadGroupSpec.RayStartParams)
	name := utils.PodName(cluster.Name+"-"+group.GroupName, rayv1.WorkerNode, true)
	address := utils.GenerateFQDNServiceName(ctx, *cluster, cluster.Namespace)
	template := common.DefaultWorkerPodTemplate(
		ctx, *cluster, group, name, address, port, group.GroupName, 0, 0,
	)
	autoscales := utils.IsAutoscalingEnabled(&cluster.Spec)
	pod := common.BuildPod(
		ctx, template, rayv1.WorkerNode, group.RayStartParams, port, autoscales, utils.RayServiceCRD,
		address, nil, cluster.Spec.RayVersion,
	)
	return &pod
}

// servicesOf gives the cluster's head service, and the service's own two.
func servicesOf(
	ctx context.Context, service *rayv1.RayService, cluster *rayv1.RayCluster,
) ([]client.Object, error) {
	own, err := common.BuildServiceForHeadPod(ctx, *cluster, nil, nil)
	if err != nil {
		return nil, err
	}
	head, err := common.BuildHeadServiceForRayService(ctx, *service, *cluster)
	if err != nil {
		return nil, err
	}
	ingress, err := common.BuildServeServiceForRayService(ctx, *service, *cluster)
	if err != nil {
		return nil, err
	}
	return []client.Object{own, head, ingress}, nil
}

func setKinds(objects []client.Object) error {
	for _, each := range objects {
		kind, err := apiutil.GVKForObject(each, kinds)
		if err != nil {
			return err
		}
		each.GetObjectKind().SetGroupVersionKind(kind)
	}
	return nil
}
