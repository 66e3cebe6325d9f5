package main

import (
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// A finding is one thing that is wrong, and where. Path is empty where only the message knows.
type finding struct {
	File    string `json:"file"`
	Object  string `json:"object"`
	Path    string `json:"path"`
	Message string `json:"message"`
}

type checker struct {
	schemas  schemas
	findings []finding
}

// checkFile returns an error only for what keeps it from checking.
func (c *checker) checkFile(file string) error {
	documents, err := readDocuments(file)
	if err != nil {
		return err
	}
	security := podSecurityOf(documents)
	for _, each := range documents {
		wrong, err := c.check(each, security)
		if err != nil {
			return err
		}
		for _, err := range wrong {
			c.findings = append(c.findings, findingOf(file, each, err))
		}
	}
	return nil
}

// check goes on from form to schema to validation while the step before found nothing: what
// follows from a wrong form would only hide it.
func (c *checker) check(each document, security podSecurity) ([]error, error) {
	object, wrong := each.decode()
	schema, err := c.schemas.of(each.content.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	if schema != nil {
		// A wrong type is told by the decoder without its place, by the schema with it.
		wrong = append(wrong, schema.check(each.content.Object)...)
	}
	if len(wrong) > 0 {
		return wrong, nil
	}
	if service, ok := object.(*rayv1.RayService); ok {
		// The operator sees the object with its defaults.
		err := runtime.DefaultUnstructuredConverter.FromUnstructured(each.content.Object, service)
		if err != nil {
			return nil, err
		}
		wrong = checkRayService(service)
	} else {
		wrong = checkBuiltIn(object)
	}
	if len(wrong) > 0 {
		return wrong, nil
	}
	return security.check(object)
}

func findingOf(file string, each document, err error) finding {
	found := finding{File: file, Object: each.name(), Message: err.Error()}
	if at, ok := err.(*field.Error); ok {
		found.Path, found.Message = at.Field, at.ErrorBody()
	}
	return found
}
