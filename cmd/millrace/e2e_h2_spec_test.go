package main

import (
	"encoding/xml"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// h2specReport is the JUnit file of h2spec.
type h2specReport struct {
	Suites []struct {
		Name  string `xml:"name,attr"`
		Cases []struct {
			Name    string    `xml:"classname,attr"`
			Failure *struct{} `xml:"failure"`
			Error   *struct{} `xml:"error"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// h2specCases is how many there are, with the one that only -S adds.
const h2specCases = 146

// TestH2Spec: every case of h2spec, whatever the upstream speaks, and on a listener that takes HTTP/1.1 too every case
// but the one that begins like neither.
func TestH2Spec(t *testing.T) {
	t.Parallel()
	path := goPeer(t, "h2spec")
	host := bothVersions(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "hello")
	})
	for _, tt := range []struct{ name, codec, cluster, but string }{
		{"h2 to h1", "http2", "", ""},
		{"h2 to h2", "http2", `"protocol": "http2"`, ""},
		// It is answered in HTTP/1.1, as RFC 9113 section 3.4 allows: "a GOAWAY frame MAY be omitted … since an invalid
		// preface indicates that the peer is not using HTTP/2".
		{"auto", "auto", "", "Sends invalid connection preface"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := startProxy(t, oneRoute(host, `"codec_type": "`+tt.codec+`"`, "", tt.cluster))
			file := filepath.Join(t.TempDir(), "junit.xml")
			// The exit code is that of the failures, which are in the file.
			out, _ := run(t, path, "-h", "127.0.0.1", "-p", p.port(), "-P", "/", "-o", "4", "-S", "-j", file)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			checkH2Spec(t, text, tt.but, out)
			p.wantQuiet()
			p.wantStat("http.e2e.downstream_cx_active", 0)
		})
	}
}

// checkH2Spec looks at every case of a report.
func checkH2Spec(t *testing.T, text []byte, but, out string) {
	t.Helper()
	var report h2specReport
	if err := xml.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	count, failed := 0, 0
	for _, suite := range report.Suites {
		for _, c := range suite.Cases {
			count++
			if (c.Failure != nil || c.Error != nil || c.Skipped != nil) && c.Name != but {
				failed++
				t.Errorf("%s: %s", suite.Name, c.Name)
			}
		}
	}
	if count != h2specCases {
		t.Errorf("%d cases, want %d", count, h2specCases)
	}
	if _, detail, ok := strings.Cut(out, "Failures:"); ok && failed > 0 {
		t.Log(detail)
	}
}
