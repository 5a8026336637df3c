package accesslog

import "testing"

var benchFormats = []struct {
	name string
	cfg  Config
}{
	{"default", Config{}},
	{"json", Config{Format: "json"}},
	{"json-omit", Config{Format: "json", OmitEmptyValues: true}},
	{"time", Config{Format: "%START_TIME%"}},
	{"short", Config{Format: "%START_TIME(%s.%3f)% %REQ(:METHOD)% %RESPONSE_CODE% %DURATION%"}},
}

func BenchmarkFormat(b *testing.B) {
	for _, bb := range benchFormats {
		b.Run(bb.name, func(b *testing.B) {
			f, r := mustCompile(b, &bb.cfg), newRecord()
			buf := f.Append(nil, r)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				buf = f.Append(buf[:0], r)
			}
		})
	}
}

// BenchmarkLogger is what one request costs its loop: filter, format and ring.
func BenchmarkLogger(b *testing.B) {
	l := newTestLogger(b, &Config{Path: "/dev/null", Filter: &FilterConfig{NotHealthCheck: &struct{}{}}})
	r := newRecord()
	b.ReportAllocs()
	for b.Loop() {
		l.Log(r)
	}
}

func TestFormatAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, bb := range benchFormats {
		f, r := mustCompile(t, &bb.cfg), newRecord()
		buf := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(100, func() { buf = f.Append(buf[:0], r) }); n != 0 {
			t.Errorf("Append of %s allocates %v times; want 0", bb.name, n)
		}
	}
	all := mustCompile(t, &Config{Format: everyOperator()})
	r, buf := newRecord(), make([]byte, 0, 16<<10)
	if n := testing.AllocsPerRun(100, func() { buf = all.Append(buf[:0], r) }); n != 0 {
		t.Errorf("Append of every operator allocates %v times; want 0", n)
	}
}

func everyOperator() string {
	text := ""
	for i := range definitions {
		d := &definitions[i]
		arg := ""
		switch {
		case d.name == "COMMON_DURATION":
			arg = "(DS_RX_BEG:US_RX_BEG:us)"
		case d.needsArg:
			arg = "(x-request-id?x-none)"
		}
		switch d.name {
		case "ENVIRONMENT":
			arg = "(HOME)"
		case "DYNAMIC_METADATA":
			arg = "(pp:x)"
		case "METADATA":
			arg = "(DYNAMIC:pp:x)"
		case coalesceName:
			arg = `({"operators": ["TRACE_ID", {"command": "REQ", "param": "x-none"}, "PROTOCOL"]})`
		}
		text += "%" + d.name + arg + "% "
	}
	return text + "%START_TIME(%a %c %D %F %T %r %R %z %Z %s %f %P)% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%"
}

func TestLoggerAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	l := newTestLogger(t, &Config{Path: "/dev/null", Filter: &FilterConfig{StatusCode: &Comparison{Op: "ge", Value: 200}}})
	r := newRecord()
	l.Log(r)
	if n := testing.AllocsPerRun(1000, func() { l.Log(r) }); n != 0 {
		t.Errorf("Log allocates %v times; want 0", n)
	}
}
