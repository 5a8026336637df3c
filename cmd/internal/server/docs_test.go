package server

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"millrace/cmd/internal/config"
	"millrace/codec"
	"millrace/engine"
)

// These tests hold the pages a person reads to the code they speak of.

const (
	repoRoot    = "../../.."
	lifePage    = "docs/life-of-a-request.md"
	memoryPage  = "docs/memory.md"
	configBlock = `"listeners"` // a JSON block that has it is a whole config
)

// written are pages that are only there once a command has been run; links to them are good.
var written = map[string]bool{
	"docs/benchmarks.md": true, // make bench
}

// readPage returns a page of the repository.
func readPage(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repoRoot, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pages returns the paths of all Markdown pages for people.
func pages(t *testing.T) []string {
	t.Helper()
	list := []string{"README.md", "CHANGELOG.md"}
	err := filepath.WalkDir(filepath.Join(repoRoot, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		rel, err := filepath.Rel(repoRoot, path)
		list = append(list, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// namedFunc is `path.go` followed by `Type.func` or `func`, in the next cell of a table or behind the end of a line, too.
var namedFunc = regexp.MustCompile("`([\\w./]+\\.go)`(?:\\s+|[ ]*\\|[ ]*)`(?:(\\w+)\\.)?(\\w+)`")

// TestNamedFunctionsExist holds the functions that pages name to the code.
func TestNamedFunctionsExist(t *testing.T) {
	t.Parallel()
	const stepsMin = 11
	for _, page := range pages(t) {
		named := namedFunc.FindAllStringSubmatch(readPage(t, page), -1)
		if page == lifePage && len(named) < stepsMin {
			t.Errorf("%s names %d functions, want at least %d", page, len(named), stepsMin)
		}
		for _, m := range named {
			if err := checkFunc(m[1], m[2], m[3]); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// checkFunc reports whether a file has a function, or a method of a type.
func checkFunc(path, recv, name string) error {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(repoRoot, path), nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == name && receiver(f) == recv {
			return nil
		}
	}
	return fmt.Errorf("%s has no function %s", path, strings.TrimPrefix(recv+"."+name, "."))
}

// receiver returns the name of the type a function is a method of, or "".
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	id, _ := typ.(*ast.Ident)
	if id == nil {
		return ""
	}
	return id.Name
}

// namedFile is a path in backticks that can only be a file of the repository.
var namedFile = regexp.MustCompile("`((?:engine|codec|upstream|filters|bench|cmd|docs)/[\\w./-]+\\.(?:go|md|c|json))`")

// TestNamedFilesExist holds the files that pages name to the repository.
func TestNamedFilesExist(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		for _, m := range namedFile.FindAllStringSubmatch(readPage(t, page), -1) {
			if _, err := os.Stat(filepath.Join(repoRoot, m[1])); err != nil && !written[m[1]] {
				t.Errorf("%s names %s: %v", page, m[1], err)
			}
		}
	}
}

var (
	fence = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```[ \t]*$")
	link  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	title = regexp.MustCompile(`(?m)^#+ (.+?)\s*$`)
)

// TestLinksResolve holds relative links to the pages and headings they lead to.
func TestLinksResolve(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		text := fence.ReplaceAllString(readPage(t, page), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			if err := checkLink(page, m[1]); err != nil {
				t.Errorf("%s: link %q: %v", page, m[1], err)
			}
		}
	}
}

// checkLink follows a relative link of a page.
func checkLink(page, to string) error {
	path, anchor, _ := strings.Cut(to, "#")
	target := page
	if path != "" {
		target = filepath.Join(filepath.Dir(page), path)
	}
	text, err := os.ReadFile(filepath.Join(repoRoot, target))
	if info, serr := os.Stat(filepath.Join(repoRoot, target)); serr == nil && info.IsDir() {
		return nil
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && written[target]:
		return nil
	case err != nil:
		return err
	case anchor == "" || filepath.Ext(target) != ".md":
		return nil
	}
	for _, m := range title.FindAllStringSubmatch(fence.ReplaceAllString(string(text), ""), -1) {
		if slug(m[1]) == anchor {
			return nil
		}
	}
	return fmt.Errorf("%s has no heading for #%s", target, anchor)
}

// slug is the anchor of a heading: lower case, spaces as hyphens, other punctuation left out.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

var jsonFence = regexp.MustCompile("(?ms)^[ \t]*```json[ \t]*\n(.*?)^[ \t]*```")

// TestConfigsInPagesLoad loads every JSON block that is a whole config.
func TestConfigsInPagesLoad(t *testing.T) {
	t.Parallel()
	loaded := map[string]int{}
	for _, page := range pages(t) {
		for _, m := range jsonFence.FindAllStringSubmatchIndex(readPage(t, page), -1) {
			text := readPage(t, page)[m[2]:m[3]]
			if !strings.HasPrefix(strings.TrimSpace(text), "{") || !strings.Contains(text, configBlock) {
				continue
			}
			line := 1 + strings.Count(readPage(t, page)[:m[2]], "\n")
			loaded[page]++
			wantLoads(t, fmt.Sprintf("%s, block in line %d", page, line), text)
		}
	}
	for _, page := range []string{"README.md", "docs/http.md"} {
		if loaded[page] == 0 {
			t.Errorf("%s has no whole config", page)
		}
	}
}

// TestExampleConfigsLoad loads docs/examples.
func TestExampleConfigsLoad(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(repoRoot, "docs/examples/*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		wantLoads(t, file, string(text))
	}
}

// wantLoads loads a config and reports every problem, warnings too.
func wantLoads(t *testing.T, name, text string) {
	t.Helper()
	if _, errs := config.Load(name, []byte(text), Registry()); len(errs) > 0 {
		t.Errorf("%v", errs)
	}
}

// TestMemoryPageNamesEveryLimit holds the tables of docs/memory.md to the structs they list: each number of
// engine.LoopConfig and codec.Limits has a row with its name and its default.
func TestMemoryPageNamesEveryLimit(t *testing.T) {
	t.Parallel()
	page := readPage(t, memoryPage)
	for _, limits := range []any{engine.DefaultLoopConfig(), codec.DefaultLimits()} {
		v := reflect.ValueOf(limits)
		for i := range v.NumField() {
			if !v.Field(i).CanInt() {
				continue
			}
			name := v.Type().Name() + "." + v.Type().Field(i).Name
			row := regexp.MustCompile("(?m)^.*`" + regexp.QuoteMeta(name) + "`.*$").FindString(page)
			if row == "" {
				t.Errorf("%s does not name %s", memoryPage, name)
				continue
			}
			if value := limitText(name, v.Field(i)); !strings.Contains(row, "| "+value+" |") {
				t.Errorf("%s: row of %s lacks its default %q:\n%s", memoryPage, name, value, row)
			}
		}
	}
}

// sized are the names of limits that are bytes.
var sized = regexp.MustCompile(`Bytes|Watermark|BlocksMax`)

// limitText writes a default as the page does: durations as in a config, bytes with a unit, numbers plainly.
func limitText(name string, v reflect.Value) string {
	if s, ok := v.Interface().(fmt.Stringer); ok {
		return s.String()
	}
	n := v.Int()
	switch {
	case sized.MatchString(name) && n%(1<<20) == 0:
		return strconv.FormatInt(n>>20, 10) + " MiB"
	case sized.MatchString(name):
		return strconv.FormatInt(n>>10, 10) + " KiB"
	}
	return strconv.FormatInt(n, 10)
}

// speakers are the functions whose argument is a detail of the access log.
var speakers = map[string]bool{"abort": true, "timeOut": true, "ResetResponse": true, "Reply": true}

// TestErrorsPageNamesEveryDetail holds the tables of errors in docs/http.md to the answers of the connection
// manager and the router.
func TestErrorsPageNamesEveryDetail(t *testing.T) {
	t.Parallel()
	const detailsMin = 25
	page, seen := readPage(t, "docs/http.md"), 0
	for _, dir := range []string{"filters/httpconn", "filters/router"} {
		for _, detail := range detailsOf(t, dir) {
			seen++
			if at := strings.IndexByte(detail, '{'); at > 0 && strings.Contains(page, "…"+detail[at:]) {
				continue // written in short
			}
			if !strings.Contains(page, detail) {
				t.Errorf("docs/http.md does not name the detail %q of %s", detail, dir)
			}
		}
	}
	if seen < detailsMin {
		t.Errorf("found %d details in the code, want at least %d", seen, detailsMin)
	}
}

// detailText is what a detail looks like.
var detailText = regexp.MustCompile(`^[a-z0-9]+[._][a-z0-9_.]+(?:[{(][a-z_]+[})])?$`)

// detailsOf returns the details that the code of a package may write to the access log.
func detailsOf(t *testing.T, dir string) (details []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repoRoot, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil && detailText.MatchString(text) {
				details = append(details, text)
			}
		}
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && speakers[f.Sel.Name] {
					for _, a := range n.Args {
						add(a)
					}
				}
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); !ok || key.Name == "Details" {
					add(n.Value)
				}
			case *ast.AssignStmt:
				if left, ok := n.Lhs[0].(*ast.SelectorExpr); ok && left.Sel.Name == "Details" {
					add(n.Rhs[0])
				}
			}
			return true
		})
	}
	return details
}
