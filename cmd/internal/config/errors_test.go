package config

import (
	"strings"
	"testing"
)

// errorCase is a bad file and the exact lines it gets.
type errorCase struct{ name, in, want string }

func runErrorCases(t *testing.T, cases []errorCase, check func(text []byte) Errors) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := check([]byte(tt.in)).Error()
			want := strings.TrimSpace(strings.ReplaceAll(tt.want, "\n\t\t\t", "\n"))
			if got != want {
				t.Errorf("%s\ngot:\n%s\nwant:\n%s", tt.in, got, want)
			}
		})
	}
}

func decodeKitchen(text []byte) Errors {
	var k kitchen
	return Decode("f.json", text, &k, testRegistry())
}

func TestDecodeErrors(t *testing.T) {
	t.Parallel()
	runErrorCases(t, []errorCase{
		{"unknown field", `{"boool": true}`,
			`f.json:1:2: boool: unknown field; did you mean "bool"?`},
		{"unknown field, wrong case", `{"Timeout": "1s"}`,
			`f.json:1:2: Timeout: unknown field; did you mean "timeout"?`},
		{"unknown field, swapped letters", `{"optional": {"mxa": 1}}`,
			`f.json:1:15: optional.mxa: unknown field; did you mean "max"?`},
		{"unknown field, nothing near", `{"optional": {"whatever": 1}}`,
			`f.json:1:15: optional.whatever: unknown field; known fields are max, per or tags`},
		{"unknown field, near one is given", `{"int": 1, "itn": 1}`,
			`f.json:1:12: itn: unknown field; "int" is given already`},
		{"unknown field, Envoy's name", `{"label": "x"}`,
			`f.json:1:2: label: unknown field; it is called "name" here`},
		{"unknown field, empty", `{"": 1}`,
			`f.json:1:2: [""]: unknown field; known fields are bool, int, uint8, uint32, int64, uint64, size, float, percent, name, policy, timeout, …`},
		{"unknown field, Envoy's nesting", `{"some": {"other": 3}}`,
			`f.json:1:2: some: unknown field; what is in it is called "name" here`},
		{"unknown filter, Envoy's name", `{"filters": [{"name": "envoy.filters.http.router"}]}`,
			`f.json:1:23: filters[0].name: unknown http filter "envoy.filters.http.router"; it is called "router" here`},
		{"wrong kinds", `{"bool": 1, "int": "x", "float": [], "name": {}, "words": "red", "labels": [], "limit": 3, "host": 4}`, `
			f.json:1:10: bool: want true or false, got 1
			f.json:1:20: int: want a whole number, got "x"
			f.json:1:34: float: want a number, got an array
			f.json:1:46: name: want a string, got an object
			f.json:1:59: words: want an array, got "red"
			f.json:1:76: labels: want an object, got an array
			f.json:1:89: limit: want an object, got 3
			f.json:1:100: host: want a string or an object, got 4`},
		{"quoted number", `{"int": "3", "float": "1.5"}`, `
			f.json:1:9: int: want a whole number, got "3"; leave out the quotes
			f.json:1:23: float: want a number, got "1.5"; leave out the quotes`},
		{"not whole", `{"int": 1.0, "uint8": 1e2}`, `
			f.json:1:9: int: want a whole number, got 1.0
			f.json:1:23: uint8: want a whole number, got 1e2`},
		{"out of range", `{"int": 101, "uint8": 256, "uint32": 0, "int64": 9223372036854775808, "uint64": -1, "float": 2.6, "percent": 100.5}`, `
			f.json:1:9: int: 101 is out of range -5 to 100
			f.json:1:23: uint8: 256 is out of range 0 to 255
			f.json:1:38: uint32: 0 is out of range 1 to 4294967295
			f.json:1:50: int64: 9223372036854775808 is out of range -9223372036854775808 to 9223372036854775807
			f.json:1:81: uint64: -1 is out of range 0 to 9223372036854775807
			f.json:1:94: float: 2.6 is out of range -1.5 to 2.5
			f.json:1:110: percent: 100.5 is out of range 0 to 100`},
		{"number too large", `{"float": 1e999, "free": {"deep": [1e999]}}`, `
			f.json:1:11: float: 1e999 is out of range -1.5 to 2.5
			f.json:1:26: free: number is out of range`},
		{"sizes", `{"size": "64 KiB", "limits": {"a": {"max": "1KiB"}}}`, `
			f.json:1:10: size: want a size, got "64 KiB"; write bytes, or a number with KiB, MiB, GiB, KB, MB or GB, such as "64KiB"
			f.json:1:44: limits.a.max: want a whole number, got "1KiB"`},
		{"size out of range", `{"size": "2MiB"}`,
			`f.json:1:10: size: "2MiB" is out of range 1KiB to 1MiB`},
		{"size overflow", `{"size": "99999999999GiB"}`,
			`f.json:1:10: size: want a size, got "99999999999GiB"; write bytes, or a number with KiB, MiB, GiB, KB, MB or GB, such as "64KiB"`},
		{"duration as a number", `{"timeout": 5}`,
			`f.json:1:13: timeout: want a duration, got 5; write a string with a unit, such as "5s"`},
		{"duration without unit", `{"timeout": "5"}`,
			`f.json:1:13: timeout: want a duration, got "5"; the unit is missing, as in "5s"`},
		{"duration of bare zero", `{"timeout": "0"}`,
			`f.json:1:13: timeout: want a duration, got "0"; write "0s"`},
		{"duration in days", `{"timeout": "1d"}`,
			`f.json:1:13: timeout: want a duration, got "1d"; write a number with a unit (ns, us, ms, s, m, h), such as "250ms" or "1h30m"`},
		{"durations out of range", `{"timeout": "2h", "limit": {"per": "-1s"}}`, `
			f.json:1:13: timeout: "2h" is out of range 0s to 1h
			f.json:1:36: limit.per: "-1s" is out of range 1ms to 876000h`},
		{"duration that overflows a clock", `{"limit": {"per": "876001h"}}`,
			`f.json:1:19: limit.per: "876001h" is out of range 1ms to 876000h`},
		{"enum", `{"policy": "leastrequest", "words": ["red", "gren", "purple"]}`, `
			f.json:1:12: policy: unknown value "leastrequest"; did you mean "least_request"?
			f.json:1:45: words[1]: unknown value "gren"; did you mean "green"?
			f.json:1:53: words[2]: unknown value "purple"; want "red", "green" or "blue"`},
		{"too many elements", `{"words": ["red", "red", "red", "red"]}`,
			`f.json:1:11: words: 4 elements are more than 3`},
		{"bounds of elements", `{"codes": [200, 600, 199]}`, `
			f.json:1:17: codes[1]: 600 is out of range 200 to 599
			f.json:1:22: codes[2]: 199 is out of range 200 to 599`},
		{"text", `{"prefix": "10.0.0.0/33", "mode": "x", "hosts": ["a", 3, null]}`, `
			f.json:1:12: prefix: netip.ParsePrefix("10.0.0.0/33"): prefix length out of range
			f.json:1:35: mode: want octal digits, got "x"
			f.json:1:50: hosts[0]: "a" is not an IP address; write "10.0.0.1"
			f.json:1:55: hosts[1]: want a string or an object, got 3
			f.json:1:58: hosts[2]: null is not allowed; leave the field out instead`},
		{"required", "{\n  \"hosts\": [\n    {\"weight\": 2}, {\"ip\": \"\"}\n  ]\n}", `
			f.json:3:5: hosts[0].ip: required field is missing
			f.json:3:27: hosts[1].ip: must not be empty`},
		{"required, misspelled", `{"hosts": [{"iq": "::1"}]}`,
			`f.json:1:13: hosts[0].iq: unknown field; did you mean "ip"?`},
		{"null everywhere", `{"bool": null, "words": null, "optional": null, "free": null, "labels": {"a": null}}`, `
			f.json:1:10: bool: null is not allowed; leave the field out instead
			f.json:1:25: words: null is not allowed; leave the field out instead
			f.json:1:43: optional: null is not allowed; leave the field out instead
			f.json:1:57: free: null is not allowed; leave the field out instead
			f.json:1:79: labels.a: null is not allowed; leave the field out instead`},
		{"duplicate", "{\"int\": 1,\n \"name\": \"a\",\n \"int\": 2, \"int\": \"3\"}", `
			f.json:3:2: int: duplicate field (first given at f.json:1:2)
			f.json:3:12: int: duplicate field (first given at f.json:1:2)
			f.json:3:19: int: want a whole number, got "3"; leave out the quotes`},
		{"duplicates elsewhere", `{"labels": {"a.b": "1", "a\u002eb": "2"}, "free": [{"x": 1, "x": 1}], "filters": [{"name": "router", "name": "router"}]}`, `
			f.json:1:25: labels["a.b"]: duplicate field (first given at f.json:1:13)
			f.json:1:61: free[0].x: duplicate field (first given at f.json:1:53)
			f.json:1:102: filters[0].name: duplicate field (first given at f.json:1:84)`},
		{"duplicate of an unknown field", `{"zzz": 1, "zzz": 2, "limit": {"qq": 1, "qq": 2}}`, `
			f.json:1:2: zzz: unknown field; known fields are bool, int, uint8, uint32, int64, uint64, size, float, percent, name, policy, timeout, …
			f.json:1:12: zzz: duplicate field (first given at f.json:1:2)
			f.json:1:32: limit.qq: unknown field; known fields are max, per or tags
			f.json:1:41: limit.qq: duplicate field (first given at f.json:1:32)`},
		{"filters", `{"filters": [{"name": "bufer"}, {"name": "compressor"}, {"nam": "buffer"}, {}, {"name": 3}, "router", {"name": "router"}]}`, `
			f.json:1:23: filters[0].name: unknown http filter "bufer"; did you mean "buffer"?
			f.json:1:42: filters[1].name: unknown http filter "compressor"; not supported yet: compression; want "buffer", "health_check" or "router"
			f.json:1:58: filters[2].nam: unknown field; did you mean "name"?
			f.json:1:76: filters[3].name: required field is missing
			f.json:1:89: filters[4].name: want a string, got 3
			f.json:1:93: filters[5]: want a filter, got "router"; write {"name": "…", "config": {…}}`},
		{"filter configs", `{"filters": [{"name": "buffer"}, {"name": "buffer", "config": []}, {"name": "buffer", "config": {"max_request_bites": 1}},
 {"name": "router", "config": {"x": 1}, "typed_config": {}}]}`, `
			f.json:1:14: filters[0].config.max_request_bytes: required field is missing
			f.json:1:63: filters[1].config: want an object, got an array
			f.json:1:98: filters[2].config.max_request_bites: unknown field; did you mean "max_request_bytes"?
			f.json:2:32: filters[3].config.x: unknown field; no fields are known here
			f.json:2:41: filters[3].typed_config: unknown field; write its fields, without "@type", in "config"`},
		{"order of filters", `{"filters": [{"name": "router"}, {"name": "health_check"}]}`, `
			f.json:1:23: filters[0].name: filter "router" ends the chain, so the filters after it would never run; put it last`},
		{"last filter", `{"filters": [{"name": "health_check"}]}`,
			`f.json:1:23: filters[0].name: the last filter must end the chain, and "health_check" does not; put last "router"`},
		{"validate", `{"tree": {"exact": "a b", "and": [{"exact": "x", "regex": "y"}]}}`, `
			f.json:1:20: tree.exact: a space in "a b"
			f.json:1:35: tree.and[0]: both exact and regex are given; give one`},
		{"validate, with the other place", `{"tree": {"and": [{"exact": "x"}, {"exact": "x"}]}}`,
			`f.json:1:45: tree.and[1].exact: is that of and[0] again, and not of and[9]; remove it (and[0] at f.json:1:19)`},
		{"validate in a map", `{"nodes": {"b.c": {"exact": "x y"}, "a": {"exact": "p q"}}}`, `
			f.json:1:29: nodes["b.c"].exact: a space in "x y"
			f.json:1:52: nodes.a.exact: a space in "p q"`},
		{"counts", `{"nodes": {}, "pair": [], "words": []}`, `
			f.json:1:11: nodes: 0 elements are fewer than 1
			f.json:1:23: pair: 0 elements are fewer than 1`},
		{"validate beside other problems", `{"int": "x", "tree": {"exact": "a b", "and": [{"exact": "x", "regex": "y", "nope": 1}]}}`, `
			f.json:1:9: int: want a whole number, got "x"
			f.json:1:32: tree.exact: a space in "a b"
			f.json:1:76: tree.and[0].nope: unknown field; known fields are exact, regex, target or and`},
		{"not an object", `[1]`,
			`f.json:1:1: want an object, got an array`},
		{"a string", ` "x"`,
			`f.json:1:2: want an object, got "x"`},
		{"long values are clipped", `{"policy": "` + strings.Repeat("é", 100) + `"}`,
			`f.json:1:12: policy: unknown value "` + strings.Repeat("é", 30) + `…"; want "round_robin", "least_request" or "random"`},
	}, decodeKitchen)
}

func TestTextErrors(t *testing.T) {
	t.Parallel()
	runErrorCases(t, []errorCase{
		{"empty", ``, `f.json:1:1: the file is empty; the smallest config is {}`},
		{"only comments", "// nothing\n", `f.json:1:1: the file is empty; the smallest config is {}`},
		{"missing comma", "{\"int\": 1\n \"name\": \"x\"}",
			`f.json:2:2: invalid character '"' after object value (expecting ',' or '}'); a comma is missing before this`},
		{"missing comma in an array", "{\"limit\": {\"tags\": [\"a\" \"b\"]}}",
			`f.json:1:25: limit.tags: invalid character '"' after array element (expecting ',' or ']'); a comma is missing before this`},
		{"two commas", `{"codes": [200,,201]}`,
			`f.json:1:16: codes[1]: invalid character ',' at start of value; there is one comma too many`},
		{"only a comma", `{"codes": [,]}`,
			`f.json:1:12: codes: invalid character ',' at start of value; there is one comma too many`},
		{"single quotes", `{'int': 1}`,
			`f.json:1:2: invalid character '\'' at start of value; strings and names are in double quotes`},
		{"bare name", `{int: 1}`,
			`f.json:1:2: invalid character 'i' at start of value; names and strings are in double quotes`},
		{"unclosed object", "{\"int\": 1\n\n",
			`f.json:1:10: the file ends inside a value; a closing "}" or "]" is missing, or a quote`},
		{"unclosed string", `{"name": "x}`,
			`f.json:1:13: name: the file ends inside a value; a closing "}" or "]" is missing, or a quote`},
		{"string without an end", "{\"name\": \"x,\n \"int\": 1}",
			`f.json:1:13: name: invalid character '\n' in string (expecting non-control character); the string lacks its closing quote`},
		{"unclosed comment", "{\"int\": 1} /* and",
			`f.json:1:12: comment does not end; close it with "*/"`},
		{"slash", `{"int": 1 / 2}`,
			`f.json:1:11: invalid character '/' after object value (expecting ',' or '}'); a comma is missing before this`},
		{"text after the end", "{} \n {}", `f.json:2:2: text after the end of the config`},
		{"bracket after the end", "{}\n}", `f.json:2:1: text after the end of the config`},
		{"byte order mark", "\xef\xbb\xbf{}",
			`f.json:1:1: invalid character '\ufeff' at start of value; save the file without a byte order mark`},
		{"invalid UTF-8", "{\"int\": 1,\n \"name\": \"a\xff\"}",
			`f.json:2:12: invalid UTF-8; save the file as UTF-8`},
		{"invalid UTF-8 in a comment", "{} // \xc3(",
			`f.json:1:7: invalid UTF-8; save the file as UTF-8`},
		{"lone surrogate", `{"name": "\ud800"}`,
			`f.json:1:11: name: invalid surrogate pair ` + "`\\ud800\"}`" + ` in string`},
		{"leading zero", `{"int": 01}`,
			`f.json:1:10: invalid character '1' after object value (expecting ',' or '}'); a comma is missing before this`},
		{"depth bomb", strings.Repeat("[", 100_000),
			`f.json:1:257: nesting is deeper than 256`},
		{"depth bomb of objects", strings.Repeat(`{"a":`, 100_000),
			`f.json:1:1281: nesting is deeper than 256`},
		{"huge", strings.Repeat(" ", MaxBytes+1),
			`f.json:1:1: file is larger than 64MiB`},
	}, decodeKitchen)
}

// Deepest text that is let through: the recursive parsers must cope with it.
func TestDeepestText(t *testing.T) {
	t.Parallel()
	in := `{"free": ` + strings.Repeat("[", MaxDepth-1) + strings.Repeat("]", MaxDepth-1) + `, "bad": 1}`
	got := decodeKitchen([]byte(in))
	if len(got) != 1 || got[0].Path != "bad" {
		t.Errorf("Decode of text %d deep = %v; want only the unknown field", MaxDepth, got)
	}
}

func TestErrorLimit(t *testing.T) {
	t.Parallel()
	in := `{"codes": [` + strings.Repeat("1,", MaxErrors+500) + `]}`
	got := decodeKitchen([]byte(in))
	last := got[len(got)-1]
	if len(got) != MaxErrors+1 || last.Problem != "500 more problems are not shown" {
		t.Errorf("Decode gives %d problems, the last %v; want %d and a count of the other 500", len(got), last, MaxErrors+1)
	}
}

func TestErrorsWarnings(t *testing.T) {
	t.Parallel()
	es := Errors{{File: "f", Line: 2, Col: 1, Problem: "odd", Warning: true}}
	if es.Fatal() || es.Err() != nil || es.Error() != "f:2:1: warning: odd" {
		t.Errorf("a warning = Fatal %t, Err %v, text %q", es.Fatal(), es.Err(), es.Error())
	}
	es = append(es, &Error{File: "f", Line: 1, Col: 1, Path: "a", Problem: "wrong"})
	es.sort()
	if !es.Fatal() || es.Err() == nil || es.Error() != "f:1:1: a: wrong\nf:2:1: warning: odd" {
		t.Errorf("an error and a warning = Fatal %t, Err %v, text %q", es.Fatal(), es.Err(), es.Error())
	}
}
