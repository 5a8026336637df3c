package config

import "time"

// LoopBalancing is the "loop_balancing" block: loops that are busier than the others hand connections to them.
type LoopBalancing struct {
	// Enabled lets a loop hand idle connections of HTTP/1.1 to the idlest loop. Default true.
	Enabled bool `json:"enabled" default:"true"`
	// BusyRatio is how many times the mean a loop has to be busy. Default 1.3.
	BusyRatio float64 `json:"busy_ratio" default:"1.3" min:"1.05" max:"1000"`
	// MinBusyPercent is how busy it has to be in any case, in percent of the time. Default 30.
	MinBusyPercent float64 `json:"min_busy_percent" default:"30" unit:"percent"`
	// Interval is how long it is measured how busy loops are. Default 1s.
	Interval time.Duration `json:"interval" default:"1s" min:"50ms" max:"1m"`
	// Intervals is in how many of them in a row it has to be so. Default 3.
	Intervals int `json:"intervals" default:"3" min:"1" max:"1000"`
}
