package accesslog

import "time"

// Config is one entry of access_log: where to, in which form, and of which streams.
type Config struct {
	// Path of the file, which is created if need be and appended to. "/dev/stdout" and "/dev/stderr"
	// are the process's own streams. All entries with one path share a writer.
	Path string `json:"path" required:"true"`
	// Format of a line: "" for Envoy's default line, "json" for the default set of JSON fields, else a
	// text with operators such as "%START_TIME% %RESPONSE_CODE%". Each line ends with one newline.
	Format string `json:"format" v3:"log_format.text_format_source.inline_string"`
	// JSONFormat is an object that is printed for each stream as one line of JSON. Strings in it may have
	// operators; one that is a single operator keeps the type of its value. Objects, arrays, numbers and
	// booleans are allowed too. Names are sorted. Not together with format.
	JSONFormat map[string]any `json:"json_format" v3:"log_format.json_format"`
	// OmitEmptyValues prints "" instead of "-" for values that are absent in text, and leaves
	// members with such values out of JSON. Default: false.
	OmitEmptyValues bool `json:"omit_empty_values" v3:"log_format.omit_empty_values"`
	// Filter says which streams are logged. Default: all.
	Filter *FilterConfig `json:"filter"`
	// BufferSize is how much is collected before it is written, 4 KiB to 4 MiB. Default: 64KiB.
	BufferSize int `json:"buffer_size" unit:"bytes" default:"64KiB" min:"4KiB" max:"4MiB"`
	// FlushInterval is how long a line may wait for more lines, up to 1h. Default: 0s, which is 10s for a file, and 1s
	// for /dev/stdout and /dev/stderr.
	FlushInterval time.Duration `json:"flush_interval" max:"1h"`
	// RingSize is how much each loop may have waiting for the writer; lines beyond it are dropped and
	// counted. It is rounded up to a power of two. Default: 1MiB. 64 KiB to 64 MiB.
	RingSize int `json:"ring_size" unit:"bytes" default:"1MiB" min:"64KiB" max:"64MiB"`
}

// Validate reports what is wrong with the entry beyond its types.
func (c *Config) Validate(report func(path, problem, hint string)) {
	if c.Format != "" && len(c.JSONFormat) > 0 {
		report("json_format", "format and json_format are both given", "keep one of them")
		return
	}
	if _, err := Compile(c); err != nil {
		e := asFormatError(err)
		path := "format"
		if len(c.JSONFormat) > 0 {
			path = "json_format" + e.Path
		}
		report(path, e.Problem, e.Hint)
	}
}
