package admin

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestStatsDoc holds docs/stats.md equal to the tags in the source. To write it again:
//
//	go test ./cmd/internal/admin -run TestStatsDoc -update
//
// It reads the source, not the types: sets are private to the packages that count.
func TestStatsDoc(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..")
	page := statsDoc(t, root)
	path := filepath.Join(root, "docs", "stats.md")
	if *update {
		if err := os.WriteFile(path, page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, page) {
		t.Errorf("docs/stats.md is not what the stat tags say; run: go test ./cmd/internal/admin -run TestStatsDoc -update")
	}
}

// statScopes are the scopes that sets are registered under, by package and type. A set that is
// not listed gets a section of its own, named after its type.
var statScopes = map[string]string{
	"upstream.ClusterStats":              "cluster.<name>.",
	"upstream.MembershipStats":           "cluster.<name>.",
	"upstream.BreakerStats":              "cluster.<name>.circuit_breakers.<priority>.",
	"upstream/health.Stats":              "cluster.<name>.health_check.",
	"upstream/health.SchedulerStats":     "health_check.",
	"upstream/health.OutlierStats":       "cluster.<name>.outlier_detection.",
	"upstream/health.OutliersStats":      "outlier_detection.",
	"filters/httpconn.managerStats":      "http.<stat_prefix>.",
	"filters/router.routerStats":         "http.<stat_prefix>.",
	"filters/accesslog.RingStats":        "access_log.<path>.",
	"filters/accesslog.WriterStats":      "filesystem.",
	"filters/l7.corsStats":               "http.<stat_prefix>.cors.",
	"filters/l7.healthCheckStats":        "http.<stat_prefix>.health_check.",
	"filters/httpconn.listenerStats":     "listener.<address>.http.<stat_prefix>.",
	"cmd/internal/server.listenerStats":  "listener.<address>.",
	"cmd/internal/server.listenerCounts": "listener_manager.",
	"cmd/internal/server.clusterCounts":  "cluster_manager.",
	"engine.LoopStats":                   "server.",
	"cmd/internal/admin.serverStats":     "http.admin.",
	"cmd/internal/server.acceptStats":    "listener.<address>.",

	"cmd/internal/server.certificateStats": "listener.<address>.ssl.certificate.<path>., cluster.<name>.ssl.certificate.<path>.",
	"cmd/internal/server.stapleStats":      "listener.<address>.ssl.",
	"engine/transport.Stats":               "listener.<address>.ssl., cluster.<name>.ssl.",
	"engine/transport.handshakesSet":       "tls.",

	"filters/l4.Stats":                       "listener.<address>.",
	"filters/l4.clientSSLAuthListStats":      "auth.clientssl.<stat_prefix>.",
	"filters/l4.clientSSLAuthStats":          "auth.clientssl.<stat_prefix>.",
	"filters/l4.connectionLimitStats":        "connection_limit.<stat_prefix>.",
	"filters/l4.httpInspectorStats":          "http_inspector.",
	"filters/l4.listenerLocalRateLimitStats": "listener_local_ratelimit.<stat_prefix>.",
	"filters/l4.localRateLimitStats":         "local_rate_limit.<stat_prefix>.",
	"filters/l4.proxyProtocolListenerStats":  "listener.<address>.",
	"filters/l4.proxyProtocolStats":          "proxy_proto.<stat_prefix>.",
	"filters/l4.proxyProtocolVersionStats":   "proxy_proto.<stat_prefix>.versions.<version>.",
	"filters/l4.rateLimitStats":              "ratelimit.<stat_prefix>.",
	"filters/l4.rbacRuleStats":               "<stat_prefix>.rbac.policy.<name>.",
	"filters/l4.rbacShadowStats":             "<stat_prefix>.rbac.<shadow_rules_stat_prefix>.",
	"filters/l4.rbacStats":                   "<stat_prefix>.rbac.",
	"filters/l4.sniDynamicForwardStats":      "sni_dynamic_forward_proxy.<stat_prefix>.",
	"filters/l4.tcpStats":                    "tcp.<stat_prefix>.",
	"filters/l4.tlsInspectorStats":           "tls_inspector.",
	"filters/l4.udpListenerStats":            "listener.<address>.udp.",
	"filters/l4.udpStats":                    "udp.<stat_prefix>.",
	"upstream/pool.UDPStats":                 "cluster.<name>.udp.",
}

// docStat is one row of the page.
type docStat struct{ name, kind, help string }

// docSets collects rows by scope.
type docSets struct {
	scopes map[string][]docStat
	about  map[string]string // first sentence of a set's comment, for sets without a scope
}

func statsDoc(t *testing.T, root string) []byte {
	t.Helper()
	sets := docSets{map[string][]docStat{}, map[string]string{}}
	for _, room := range []string{"cmd", "codec", "engine", "filters", "upstream"} {
		err := filepath.WalkDir(filepath.Join(root, room), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir
			}
			if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			return sets.file(root, path)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return sets.page()
}

// file collects the sets and the functions of one source file.
func (s *docSets) file(root, path string) error {
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Contains(src, []byte("engine/stats")) {
		return nil
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("reading the stat tags: %w", err)
	}
	dir, err := filepath.Rel(root, filepath.Dir(path))
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			for _, spec := range n.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok {
					s.set(filepath.ToSlash(dir), ts, n.Doc)
				}
			}
		case *ast.CallExpr:
			s.function(n)
		}
		return true
	})
	return nil
}

// set collects the tagged fields of a struct type.
func (s *docSets) set(dir string, ts *ast.TypeSpec, doc *ast.CommentGroup) {
	st, ok := ts.Type.(*ast.StructType)
	if !ok {
		return
	}
	var rows []docStat
	for _, f := range st.Fields.List {
		if f.Tag == nil {
			continue
		}
		text, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			continue
		}
		tag := reflect.StructTag(text)
		if name, ok := tag.Lookup("stat"); ok {
			rows = append(rows, docRow(name, typeName(f.Type), tag))
		}
	}
	if len(rows) == 0 {
		return
	}
	key := dir + "." + ts.Name.Name
	scope := statScopes[key]
	if scope == "" {
		scope = key
		sentence, _, _ := strings.Cut(strings.Join(strings.Fields(doc.Text()), " "), ". ")
		s.about[scope] = strings.TrimSuffix(sentence, ".") + "."
	}
	s.scopes[scope] = append(s.scopes[scope], rows...)
}

// docRow makes the row of a field.
func docRow(name, kind string, tag reflect.StructTag) docStat {
	help := tag.Get("help")
	switch kind {
	case "Histogram":
		if tag.Get("unit") == "us" {
			help += " (milliseconds)"
		}
	case "GaugeFunc":
		kind = "Gauge"
	case "Enum":
		name, kind = name+"<rule>", "Counter"
	case "numbers":
		name, kind = name+"<name>", "Counter"
	case "staples":
		name, kind, help = "ocsp_staple_requests, ocsp_staple_responses, ocsp_staple_omitted, ocsp_staple_failed", "Counter",
			"TLS clients that asked for an OCSP staple, that got it, that got none, and that were refused for want of one"
	case "handshakeEvents":
		name, kind, help = "handshakes_started, handshakes_shed, handshakes_timeouts, handshakes_panics", "Counter",
			"TLS handshakes begun, refused because there were too many, that took too long, and that ended in a bug"
	case "Codes":
		name, kind = name+"<code>, "+name+"<n>xx, "+name+"completed", "Counter"
	}
	if tag.Get("agg") == "max" {
		help += " (largest of all loops)"
	}
	return docStat{name, strings.ToLower(kind), help}
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.IndexExpr: // stats.Enum[codec.Reason]
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// function collects a call of Registry.Func or Registry.Text with a constant name, or of a
// local function named gauge or counter that stands for the first.
func (s *docSets) function(call *ast.CallExpr) {
	if len(call.Args) < 2 {
		return
	}
	fun := typeName(call.Fun)
	name, ok := literal(call.Args[0])
	if !ok || !strings.Contains(name, ".") {
		return
	}
	kind, help := "text", 2
	switch fun {
	case "Func":
		k, ok := call.Args[1].(*ast.SelectorExpr)
		if !ok || !strings.HasPrefix(k.Sel.Name, "Kind") {
			return
		}
		kind, help = strings.ToLower(strings.TrimPrefix(k.Sel.Name, "Kind")), 3
	case "Text":
	case "gauge", "counter":
		kind = fun
	default:
		return
	}
	row := docStat{kind: kind}
	if len(call.Args) > help {
		row.help, _ = literal(call.Args[help])
	}
	cut := strings.LastIndexByte(name, '.') + 1
	row.name = name[cut:]
	s.scopes[name[:cut]] = append(s.scopes[name[:cut]], row)
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// statsHead is what stands before the tables.
const statsHead = `# Stats

Every counter, gauge and histogram of millrace, as ` + "`/stats`" + ` shows them. Names are Envoy's where Envoy has
the value, so dashboards carry over. This page is generated from the ` + "`stat`" + ` tags in the source:
` + "`go test ./cmd/internal/admin -run TestStatsDoc -update`" + `.

- A **counter** only grows (until ` + "`/reset_counters`" + `), a **gauge** goes up and down, a **histogram** holds a
  distribution, a **text** is a string.
- Values are kept by each loop and added up when they are read.
- What stands in angle brackets is variable; in Prometheus it is a label:
  ` + "`cluster.web.upstream_rq_total`" + ` is ` + "`envoy_cluster_upstream_rq_total{envoy_cluster_name=\"web\"}`" + `. A status code at the
  end becomes the label ` + "`envoy_response_code`" + `, a class ` + "`envoy_response_code_class`" + `: ` + "`upstream_rq_200`" + ` is
  ` + "`envoy_cluster_upstream_rq{…,envoy_response_code=\"200\"}`" + `, ` + "`upstream_rq_2xx`" + ` is ` + "`envoy_cluster_upstream_rq_xx{…,envoy_response_code_class=\"2\"}`" + `.
- In names that come from the config, ` + "`:`" + ` is shown as ` + "`_`" + `.
- Histograms keep two decimal digits: a quantile is within 5 % of the true value, and the number of values at or
  below each Prometheus bound (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000,
  1800000, 3600000) is exact.
- "Used" (` + "`usedonly`" + `) means not zero, or recorded at least once.
`

// page writes the tables, the ones with a scope first.
func (s *docSets) page() []byte {
	var b bytes.Buffer
	b.WriteString(statsHead)
	var scopes []string
	for scope := range s.scopes {
		scopes = append(scopes, scope)
	}
	slices.SortFunc(scopes, func(x, y string) int {
		if a, b := s.about[x] != "", s.about[y] != ""; a != b {
			if a {
				return 1
			}
			return -1
		}
		return strings.Compare(x, y)
	})
	for _, scope := range scopes {
		if about := s.about[scope]; about != "" {
			fmt.Fprintf(&b, "\n## %s\n\n%s\n", scope, about)
		} else {
			fmt.Fprintf(&b, "\n## `%s`\n", strings.ReplaceAll(scope, ", ", "`, `"))
		}
		b.WriteString("\n| name | type | what |\n|---|---|---|\n")
		rows := s.scopes[scope]
		slices.SortStableFunc(rows, func(x, y docStat) int { return strings.Compare(x.name, y.name) })
		rows = slices.CompactFunc(rows, func(x, y docStat) bool { return x.name == y.name })
		for _, r := range rows {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.ReplaceAll(r.name, ", ", "`, `"), r.kind, strings.ReplaceAll(r.help, "|", "\\|"))
		}
	}
	return b.Bytes()
}
