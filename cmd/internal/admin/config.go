package admin

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	jsoniter "github.com/json-iterator/go"
)

// redacted stands where a secret was.
const redacted = "[redacted]"

// configDepthMax bounds the recursion over a configuration, as the loader does.
const configDepthMax = 256

// secretNames are the last words of names whose values are secrets, however deep they stand.
// A file's name is not one: "key_file" is shown, "private_key" is not.
var secretNames = regexp.MustCompile(`(?i)(^|_)(password|passwd|passphrase|secret|secrets|token|private_key|inline_key|hmac_key|ticket_keys?|session_ticket_keys?|credentials?|api_key|access_key|auth_key)$`)

// configDump is /config_dump.
func (s *Server) configDump(w http.ResponseWriter, r *http.Request) {
	re, err := regexParam(r, "name_regex")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	d, err := s.deps.ConfigDump()
	if err != nil {
		http.Error(w, "dumping the configuration: "+err.Error(), http.StatusInternalServerError)
		return
	}
	resource := r.Form.Get("resource")
	if resource != "" && jsoniter.Get(d.JSON, resource).ValueType() == jsoniter.InvalidValue {
		http.Error(w, fmt.Sprintf("parameter resource: the configuration has no member %q", resource), http.StatusBadRequest)
		return
	}
	j := newJSON(w, r, indented)
	defer j.done()
	j.object("")
	j.optional("path", d.Path)
	j.str("version_info", d.Hash)
	j.time("last_updated", d.LoadedAt)
	j.key("config")
	c := copier{jsonPage: j, it: jsoniter.ParseBytes(compact, d.JSON), resource: resource, name: re}
	c.value(0)
	j.end()
}

// copier copies JSON from it to the page without its secrets and what was not asked for.
type copier struct {
	*jsonPage
	it       *jsoniter.Iterator
	resource string         // member of the top object to keep, or ""
	name     *regexp.Regexp // elements of the top object's arrays to keep, or nil
}

// value copies one value, whose key has been written.
func (c *copier) value(depth int) {
	if depth > configDepthMax {
		c.it.Skip()
		c.s.WriteNil()
		return
	}
	switch c.it.WhatIsNext() {
	case jsoniter.ObjectValue:
		c.begin('{')
		c.it.ReadObjectCB(func(_ *jsoniter.Iterator, key string) bool {
			c.member(key, depth)
			return true
		})
		c.end()
	case jsoniter.ArrayValue:
		c.begin('[')
		c.it.ReadArrayCB(func(*jsoniter.Iterator) bool {
			c.element(depth)
			return true
		})
		c.end()
	case jsoniter.StringValue:
		c.s.WriteString(c.it.ReadString())
	case jsoniter.NumberValue:
		c.s.WriteRaw(string(c.it.ReadNumber()))
	case jsoniter.BoolValue:
		c.s.WriteBool(c.it.ReadBool())
	default:
		c.it.Skip()
		c.s.WriteNil()
	}
}

func (c *copier) member(key string, depth int) {
	if depth == 0 && c.resource != "" && key != c.resource {
		c.it.Skip()
		return
	}
	c.open()
	if c.comma {
		c.s.WriteMore()
	}
	c.s.WriteObjectField(key)
	c.comma = true
	if secretNames.MatchString(key) {
		c.it.Skip()
		c.s.WriteString(redacted)
		return
	}
	c.value(depth + 1)
}

// element copies an array element. The elements of the configuration's own lists (listeners,
// clusters) are the ones that name_regex is about.
func (c *copier) element(depth int) {
	if depth != 1 || c.name == nil {
		c.key("")
		c.value(depth + 1)
		c.spill()
		return
	}
	raw := c.it.SkipAndReturnBytes()
	if name := jsoniter.Get(raw, "name").ToString(); !c.name.MatchString(name) {
		return
	}
	c.key("")
	whole := c.it
	c.it = jsoniter.ParseBytes(compact, raw)
	c.value(depth + 1)
	c.it = whole
	c.spill()
}

// configStatus is /config_status.
func (s *Server) configStatus(w http.ResponseWriter, r *http.Request) {
	st := s.deps.ConfigStatus()
	j := newJSON(w, r, indented)
	defer j.done()
	j.object("")
	j.str("path", st.Path)
	j.str("hash", st.Hash)
	j.time("loaded_at", st.LoadedAt)
	j.uint("loads", st.Loads)
	j.uint("refusals", st.Refusals)
	if !st.LastAttempt.IsZero() {
		j.object("last_reload")
		j.time("at", st.LastAttempt)
		j.report(&st.Last)
		j.end()
	}
	if w := st.Warming; w != nil {
		j.object("warming")
		j.str("hash", w.Hash)
		j.time("since", w.Since)
		j.strings("clusters", w.Clusters)
		j.strings("listeners", w.Listeners)
		j.end()
	}
	j.end()
}

// reload is /reload: 200 and what changed, or 400 and every error, one a line.
func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), reloadTimeout)
	defer cancel()
	rep := s.deps.Reload(ctx)
	code := http.StatusOK
	if !rep.Applied {
		code = http.StatusBadRequest
	}
	if choice(r, "format", "text") == "json" {
		j := newJSON(w, r, indented)
		defer j.done()
		w.WriteHeader(code)
		j.object("")
		j.report(&rep)
		j.end()
		return
	}
	p := newPage(w, r, textType)
	defer p.end()
	w.WriteHeader(code)
	p.report(&rep)
}

// report writes the members of a report.
func (j *jsonPage) report(rep *Report) {
	j.bool("applied", rep.Applied)
	j.optional("hash", rep.Hash)
	j.float("took_ms", float64(rep.Took.Microseconds())/1000)
	j.strings("errors", rep.Errors)
	j.strings("warnings", rep.Warnings)
	j.array("changes")
	for _, c := range rep.Changes {
		j.object("")
		j.str("action", c.Action)
		j.str("kind", c.Kind)
		j.str("name", c.Name)
		j.optional("detail", c.Detail)
		j.end()
		j.spill()
	}
	j.end()
	j.int("unchanged", int64(rep.Unchanged))
	if rep.Warmed > 0 {
		j.int("warmed_clusters", int64(rep.Warmed))
		j.float("warmed_ms", float64(rep.WarmedFor.Microseconds())/1000)
	}
}

// marks stand for the actions of a change, as in a diff.
var marks = map[string]string{"added": "+ ", "changed": "~ ", "removed": "- "}

// report writes a report as text; the first line of an applied one is a summary.
func (p *page) report(rep *Report) {
	if !rep.Applied {
		for _, e := range rep.Errors {
			p.line(e)
		}
		if rep.Dropped {
			p.line("dropped; the configuration was not in force yet")
		} else {
			p.line("refused; the running configuration is unchanged")
		}
		return
	}
	count := map[string]int{}
	for _, c := range rep.Changes {
		count[c.Action]++
	}
	p.line(fmt.Sprintf("reloaded in %v: %d added, %d changed, %d removed, %d unchanged", rep.Took.Round(100*time.Microsecond),
		count["added"], count["changed"], count["removed"], rep.Unchanged))
	if rep.Warmed > 0 {
		p.line(fmt.Sprintf("%d clusters were warmed in %v of that", rep.Warmed, rep.WarmedFor.Round(100*time.Microsecond)))
	}
	for _, c := range rep.Changes {
		detail := ""
		if c.Detail != "" {
			detail = ": " + oneLine(c.Detail)
		}
		p.line(marks[c.Action], c.Kind, " ", oneLine(c.Name), detail)
		p.spill()
	}
	for _, warning := range rep.Warnings {
		p.line("warning: ", strings.TrimSpace(warning))
	}
}
