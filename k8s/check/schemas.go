package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// A customSchema is what the API server holds objects of one custom kind against.
type customSchema struct {
	structure *structural.Structural
	values    validation.SchemaValidator
	rules     *cel.Validator // nil: the CRD has none
}

// The schemas of a folder of CRDs, read as they are asked for.
type schemas struct {
	dir  string
	read map[schema.GroupVersionKind]*customSchema
}

// of gives a kind's schema; nil for Kubernetes' own kinds.
func (s *schemas) of(kind schema.GroupVersionKind) (*customSchema, error) {
	if found, ok := s.read[kind]; ok {
		return found, nil
	}
	name := fmt.Sprintf("%s_%ss.yaml", kind.Group, strings.ToLower(kind.Kind))
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if os.IsNotExist(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	made, err := schemaOf(text, kind.Version)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if s.read == nil {
		s.read = map[schema.GroupVersionKind]*customSchema{}
	}
	s.read[kind] = made
	return made, nil
}

func schemaOf(text []byte, version string) (*customSchema, error) {
	var public apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(text, &public); err != nil {
		return nil, err
	}
	var crd apiextensions.CustomResourceDefinition
	err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(
		&public, &crd, nil,
	)
	if err != nil {
		return nil, err
	}
	definition, err := apiextensions.GetSchemaForVersion(&crd, version)
	if err != nil {
		return nil, err
	}
	structure, err := structural.NewStructural(definition.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	values, _, err := validation.NewSchemaValidator(definition.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	rules := cel.NewValidator(structure, true, celconfig.PerCallLimit)
	return &customSchema{structure: structure, values: values, rules: rules}, nil
}

// check fills in the defaults, then validates, in the order of the API server.
func (s *customSchema) check(object map[string]any) []error {
	defaulting.Default(object, s.structure)
	found := validation.ValidateCustomResource(nil, object, s.values)
	found = append(found, listtype.ValidateListSetsAndMaps(nil, s.structure, object)...)
	found = append(found, objectmeta.Validate(nil, object, s.structure, true)...)
	if s.rules != nil && len(found) == 0 {
		broken, _ := s.rules.Validate(
			context.Background(), nil, s.structure, object, nil, celconfig.RuntimeCELCostBudget,
		)
		found = append(found, broken...)
	}
	return errorsOf(found)
}

func errorsOf(list field.ErrorList) []error {
	var found []error
	for _, each := range list {
		found = append(found, each)
	}
	return found
}
