// Checks manifests with what a cluster that runs KubeRay would check them with: the API types, the
// CRDs' schemas and rules, and the operator's own validation.
//
//	check build DIR                 a kustomization's objects, as YAML
//	check validate -crds DIR FILE…  what is wrong with objects in YAML: a JSON line a finding
//	check expand FILE               what the operator makes of the RayServices in it, as YAML
//
// It ends with 1 if validate found something, with 2 if it could not do its work.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func main() {
	ctrllog.SetLogger(logr.Discard())
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 2
	}
	os.Exit(code)
}

func run(args []string) (int, error) {
	if len(args) < 2 {
		return 2, fmt.Errorf("usage: check build DIR | validate -crds DIR FILE... | expand FILE")
	}
	switch command, rest := args[0], args[1:]; command {
	case "build":
		return 0, build(rest[0])
	case "validate":
		return validate(rest)
	case "expand":
		return 0, expand(rest[0])
	default:
		return 2, fmt.Errorf("no command %q", command)
	}
}

func build(dir string) error {
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return err
	}
	text, err := objects.AsYaml()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}

func validate(args []string) (int, error) {
	flags := flag.NewFlagSet("validate", flag.ContinueOnError)
	crds := flags.String("crds", "", "folder of the operator's CRDs, `GROUP_PLURAL.yaml` each")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	checker := &checker{schemas: schemas{dir: *crds}}
	for _, file := range flags.Args() {
		if err := checker.checkFile(file); err != nil {
			return 2, err
		}
	}
	output := json.NewEncoder(os.Stdout)
	for _, each := range checker.findings {
		if err := output.Encode(each); err != nil {
			return 2, err
		}
	}
	if len(checker.findings) > 0 {
		return 1, nil
	}
	return 0, nil
}
