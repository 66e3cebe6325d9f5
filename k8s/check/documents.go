package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
)

// Every kind that a manifest may hold: Kubernetes' own and KubeRay's.
var kinds = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientscheme.AddToScheme(scheme))
	utilruntime.Must(rayv1.AddToScheme(scheme))
	return scheme
}()

// Takes neither a field that the type lacks nor one that is given twice.
var strict = kjson.NewSerializerWithOptions(
	kjson.DefaultMetaFactory, kinds, kinds, kjson.SerializerOptions{Yaml: true, Strict: true},
)

// One object of a file: its text, and what the text says.
type document struct {
	text    []byte
	content unstructured.Unstructured
}

func (d document) name() string {
	name := d.content.GetKind() + "/" + d.content.GetName()
	if namespace := d.content.GetNamespace(); namespace != "" {
		name += " in " + namespace
	}
	return name
}

// decode gives the typed object (nil if it cannot be had) and all that is wrong with its form.
func (d document) decode() (runtime.Object, []error) {
	object, _, err := strict.Decode(d.text, nil, nil)
	if several, ok := runtime.AsStrictDecodingError(err); ok {
		return object, several.Errors()
	}
	if err != nil {
		return nil, []error{err}
	}
	return object, nil
}

// readDocuments gives the objects of a file of YAML documents; empty documents are skipped.
func readDocuments(file string) ([]document, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	var found []document
	for {
		part, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		content := map[string]any{}
		if err := yaml.Unmarshal(part, &content); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(content) > 0 {
			found = append(found, document{part, unstructured.Unstructured{Object: content}})
		}
	}
}
