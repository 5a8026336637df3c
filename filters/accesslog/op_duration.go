package accesslog

import (
	"fmt"
	"strings"
	"time"
)

const millisecond = int64(time.Millisecond)

// point is a moment in the life of a stream.
type point uint8

const (
	pointStart point = iota
	pointRequestEnd
	pointUpstreamConnect
	pointUpstreamReady
	pointUpstreamHandshake
	pointUpstreamFirstTx
	pointUpstreamLastTx
	pointUpstreamFirstRx
	pointUpstreamBodyRx
	pointUpstreamLastRx
	pointDownstreamFirstTx
	pointDownstreamLastTx
	pointEnd
	pointCount
)

// pointNames are the names COMMON_DURATION takes. A connection from the pool is there at once: the end of connecting
// is known and its beginning did not come. Nor does the end of a handshake.
var pointNames = [pointCount]string{
	pointStart:             "DS_RX_BEG",
	pointRequestEnd:        "DS_RX_END",
	pointUpstreamConnect:   "US_CX_BEG",
	pointUpstreamReady:     "US_CX_END",
	pointUpstreamHandshake: "US_HS_END",
	pointUpstreamFirstTx:   "US_TX_BEG",
	pointUpstreamLastTx:    "US_TX_END",
	pointUpstreamFirstRx:   "US_RX_BEG",
	pointUpstreamBodyRx:    "US_RX_BODY_BEG",
	pointUpstreamLastRx:    "US_RX_END",
	pointDownstreamFirstTx: "DS_TX_BEG",
	pointDownstreamLastTx:  "DS_TX_END",
}

// at returns the moment on the loop's clock, 0 if it did not come.
func (p point) at(r *Record) int64 {
	switch p {
	case pointStart:
		return r.Start
	case pointRequestEnd:
		return r.RequestEnd
	case pointUpstreamConnect:
		return r.UpstreamConnect
	case pointUpstreamReady:
		return r.UpstreamReady
	case pointUpstreamHandshake:
		return r.UpstreamHandshake
	case pointUpstreamFirstTx:
		return r.UpstreamFirstTx
	case pointUpstreamLastTx:
		return r.UpstreamLastTx
	case pointUpstreamFirstRx:
		return r.UpstreamFirstRx
	case pointUpstreamBodyRx:
		return r.UpstreamBodyRx
	case pointUpstreamLastRx:
		return r.UpstreamLastRx
	case pointDownstreamFirstTx:
		return r.DownstreamFirstTx
	case pointDownstreamLastTx:
		return r.DownstreamLastTx
	case pointEnd:
		return r.End
	}
	panic("BUG: accesslog: unknown point in time")
}

// between is the operator for the milliseconds between two points.
func between(from, to point) operator {
	return operator{number: duration, from: from, to: to, unit: millisecond}
}

// duration is the time between two points, absent unless both came, in this order.
func duration(o *operator, r *Record) (uint64, bool) {
	from, to := o.from.at(r), o.to.at(r)
	if from == 0 || to < from {
		return 0, false
	}
	return uint64((to - from) / o.unit), true
}

// parseDuration reads START:END:UNIT; the unit may be left out and is ms then.
func parseDuration(o *operator, arg string) (err error) {
	parts := strings.Split(arg, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return fmt.Errorf("%q is not a start, an end and a unit", arg)
	}
	if o.from, err = parsePoint(parts[0]); err != nil {
		return err
	}
	if o.to, err = parsePoint(parts[1]); err != nil {
		return err
	}
	o.unit = millisecond
	if len(parts) == 3 {
		switch parts[2] {
		case "ms":
		case "us":
			o.unit = int64(time.Microsecond)
		case "ns":
			o.unit = int64(time.Nanosecond)
		default:
			return fmt.Errorf("unknown unit %q, of ms, us and ns", parts[2])
		}
	}
	return nil
}

func parsePoint(name string) (point, error) {
	for p, n := range pointNames {
		if n == name && n != "" {
			return point(p), nil
		}
	}
	return 0, fmt.Errorf("unknown point in time %q, of %s", name, strings.Join(pointNames[:pointEnd], ", "))
}
