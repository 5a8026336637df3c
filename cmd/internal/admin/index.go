package admin

import (
	"crypto/rand"
	_ "embed"
	"html/template"
	"net/http"
	"strings"
)

//go:embed index.html
var indexHTML string

var indexTemplate = template.Must(template.New("index").Parse(indexHTML))

// indexData is what the page is made of.
type indexData struct {
	Nonce     string
	State     State
	Version   string
	Endpoints []indexRow
}

// indexRow is one endpoint.
type indexRow struct {
	Path, Help string
	Post       bool
	Params     []indexParam
}

// indexParam is one field of the form of an endpoint.
type indexParam struct {
	Name, Help string
	Flag       bool
	OneOf      []string
}

// index is /: the table of endpoints as forms, and a few live numbers. The page loads nothing
// from anywhere else; only its own script and style may run.
func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	d := indexData{Nonce: rand.Text()}
	if s.deps.State != nil {
		d.State = s.deps.State()
	}
	if s.deps.Info != nil {
		d.Version = s.deps.Info().Version
	}
	for i := range s.endpoints {
		e := &s.endpoints[i]
		if !s.offers(e) || e.path == "/" {
			continue
		}
		row := indexRow{Path: e.path, Help: e.help, Post: e.method == post}
		for _, p := range e.params {
			row.Params = append(row.Params, indexParam{p.name, p.help, p.isFlag(), p.oneOf})
		}
		d.Endpoints = append(d.Endpoints, row)
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+d.Nonce+"'; script-src 'nonce-"+d.Nonce+
		"'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	p := newPage(w, r, htmlType)
	defer p.end()
	if err := indexTemplate.Execute(p, &d); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// help is /help.
func (s *Server) help(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", textType)
	_, _ = w.Write(s.helpText(""))
}

// helpText lists the endpoints the process offers, in Envoy's layout, after prefix.
func (s *Server) helpText(prefix string) []byte {
	var b strings.Builder
	b.WriteString(prefix)
	b.WriteString("admin commands are:\n")
	for i := range s.endpoints {
		e := &s.endpoints[i]
		if !s.offers(e) {
			continue
		}
		b.WriteString("  " + e.path)
		if e.method == post {
			b.WriteString(" (POST)")
		}
		b.WriteString(": " + e.help + "\n")
		for _, p := range e.params {
			b.WriteString("      " + p.name + ": " + p.help)
			if values := strings.Trim(strings.Join(p.oneOf, ", "), ", "); values != "" {
				b.WriteString("; one of " + values)
			}
			b.WriteString("\n")
		}
	}
	return []byte(b.String())
}
