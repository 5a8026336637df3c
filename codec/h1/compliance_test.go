package h1

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"millrace/codec/codectest"
)

// probe is one entry of testdata/http11-compliance.json: a raw request and what a server may do with it.
type probe struct {
	ID, Description, Expected, RawRequest string
}

// behind lists the probes that are about what is done with a good request, by those behind the codec.
var behind = map[string]bool{
	"COMP-METHOD-CONNECT": true, "COMP-UPGRADE-POST": true, "COMP-UPGRADE-MISSING-CONN": true,
	"COMP-UPGRADE-UNKNOWN": true, "COMP-UPGRADE-INVALID-VER": true, "COMP-METHOD-TRACE": true,
	"COMP-TRACE-WITH-BODY": true, "COMP-EXPECT-UNKNOWN": true,
}

// TestCompliance runs the probes at the level of the codec: what must be refused is refused with one of the statuses
// named, or waits for more; what must be taken is taken.
func TestCompliance(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/http11-compliance.json")
	if err != nil {
		t.Fatal(err)
	}
	var probes []probe
	if err := json.Unmarshal(text, &probes); err != nil || len(probes) < 50 {
		t.Fatalf("%d probes, %v", len(probes), err)
	}
	for _, p := range probes {
		t.Run(p.ID, func(t *testing.T) {
			t.Parallel()
			transcript := recordServer([]byte(p.RawRequest))
			if split := recordServer(codectest.Bytes([]byte(p.RawRequest))...); split != transcript {
				t.Errorf("byte by byte it is different\nwhole: %s\nsplit: %s", transcript, split)
			}
			got := outcome(transcript)
			_, status, refused := strings.Cut(got, ", ")
			expected, _, _ := strings.Cut(p.Expected, " (pass)") // what only earns a warning is not good enough
			switch {
			case behind[p.ID]:
				refused = refused && status != "incomplete"
				if refused {
					t.Errorf("%s: %s; want it taken\n%q", p.Description, got, p.RawRequest)
				}
			case status == "incomplete":
				if !strings.Contains(expected, "timeout") {
					t.Errorf("%s: %s; want %s\n%q", p.Description, got, expected, p.RawRequest)
				}
			case refused:
				if !strings.Contains(expected, status) {
					t.Errorf("%s: %s; want %s\n%q", p.Description, got, expected, p.RawRequest)
				}
			case !strings.Contains(expected, "2"):
				t.Errorf("%s: %s; want %s\n%q", p.Description, got, expected, p.RawRequest)
			}
		})
	}
}
