package server

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// Do not change this table to make a build pass. A new edge needs a decision record.
//
// ranks are the storeys of docs/architecture.md: a package imports packages of lower rank only, and
// equal ranks are strangers.
var ranks = []struct {
	rank     int
	packages string
}{
	{10, "cmd/millrace cmd/internal/config/gen"},
	{9, "cmd/internal/server"},
	{8, "cmd/internal/acme cmd/internal/admin cmd/internal/config cmd/internal/control cmd/internal/xds"},
	{7, "filters/httpconn filters/router filters/l4 filters/l7"},
	{6, "filters"},
	{5, "filters/route filters/accesslog filters/grpcjson upstream/lb upstream/pool upstream/health upstream/discovery"},
	{4, "upstream"},
	{3, "engine/transport engine/handoff engine/enginetest codec/h1 codec/h2 codec/ws codec/proxyproto codec/clienthello"},
	{2, "engine codec"},
	{1, "engine/certs engine/arena engine/stats engine/timer engine/internal/record codec/hpack"},
	{0, "engine/internal/sys codec/ascii"},
}

// codecImports are what packages below codec may import of the standard library.
const codecImports = " bytes encoding/binary errors fmt math math/bits slices strconv strings "

// free are packages outside the storeys: tools that build or test, and test helpers.
var free = []string{"bench", "codec/codectest", "tools"}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func listPackages(t *testing.T) (list []goPackage) {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "millrace/...")
	cmd.Dir = "../../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return list
		case err != nil:
			t.Fatalf("go list: %v", err)
		}
		list = append(list, p)
	}
}

func isFree(path string) bool {
	for _, f := range free {
		if path == f || strings.HasPrefix(path, f+"/") {
			return true
		}
	}
	return false
}

func TestImportRanks(t *testing.T) {
	rank := map[string]int{}
	for _, r := range ranks {
		for _, p := range strings.Fields(r.packages) {
			rank[p] = r.rank
		}
	}
	for _, p := range listPackages(t) {
		path := strings.TrimPrefix(p.ImportPath, "millrace/")
		if isFree(path) {
			continue
		}
		mine, ok := rank[path]
		if !ok {
			t.Errorf("%s has no rank", path)
			continue
		}
		for _, imp := range p.Imports {
			to, inside := strings.CutPrefix(imp, "millrace/")
			switch {
			case inside && isFree(to):
				t.Errorf("%s imports the tool %s", path, to)
			case inside && rank[to] >= mine:
				t.Errorf("%s (rank %d) imports %s (rank %d)", path, mine, to, rank[to])
			case inside && strings.HasPrefix(path, "engine") && strings.HasPrefix(to, "codec"),
				inside && strings.HasPrefix(path, "codec") && strings.HasPrefix(to, "engine"):
				t.Errorf("%s imports %s: the two columns never meet", path, to)
			case !inside && strings.HasPrefix(path, "codec") && !strings.Contains(codecImports, " "+imp+" "):
				t.Errorf("%s imports %s, which codec packages may not", path, imp)
			case !inside && imp == "unsafe" && path != "engine/internal/sys":
				t.Errorf("%s imports unsafe", path)
			}
		}
	}
}
