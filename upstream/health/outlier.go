package health

import (
	"math"
	"math/rand/v2"
	"time"

	"millrace/upstream"
)

// ejection is how long and how often one host has been ejected.
type ejection struct {
	backoff int64 // ejections of late
	until   time.Time
	last    time.Time // of the last ejection or return
	count   int
	ejected bool
}

// eject begins one. Each is longer than the one before, up to a bound.
func (e *ejection) eject(cfg *upstream.OutlierConfig, now time.Time, jitter time.Duration) {
	base, most := cfg.BaseEjectionTime, cfg.EjectionMax()
	if time.Duration(e.backoff)*base < most+base {
		e.backoff++
	}
	e.until = now.Add(min(base*time.Duration(e.backoff), most) + jitter)
	e.ejected, e.last = true, now
	e.count++
}

// sweep takes in that an interval is over. It reports whether the ejection is; an interval without one makes the next shorter.
func (e *ejection) sweep(now time.Time) (over bool) {
	if !e.ejected {
		e.backoff = max(e.backoff-1, 0)
		return false
	}
	return !now.Before(e.until)
}

// mayEject reports whether one more of all hosts may be ejected.
func mayEject(cfg *upstream.OutlierConfig, ejected, hosts int) bool {
	if ejected == 0 && cfg.AlwaysEjectOneHost {
		return true
	}
	return 100*(ejected+1) <= int(cfg.MaxEjectionPercent)*hosts
}

// enforced draws whether a host that was found is ejected.
func enforced(percent uint32) bool { return rand.Uint32N(100) < percent }

// rate is the results of a host in one interval.
type rate struct {
	host    *outlierHost
	total   uint64
	percent float64 // good ones
}

// successThreshold returns the mean of success rates, and that below which a host is an outlier:
// mean − factor ÷ 1000 × standard deviation.
func successThreshold(rates []rate, factor uint32) (mean, threshold float64) {
	if len(rates) == 0 {
		return 0, 0
	}
	for _, r := range rates {
		mean += r.percent
	}
	mean /= float64(len(rates))
	var sum float64
	for _, r := range rates {
		sum += (r.percent - mean) * (r.percent - mean)
	}
	return mean, mean - float64(factor)/1000*math.Sqrt(sum/float64(len(rates)))
}

// withVolume returns the rates of hosts with so many results.
func withVolume(all []rate, volume uint32) (list []rate) {
	for _, r := range all {
		if r.total > 0 && r.total >= uint64(volume) {
			list = append(list, r)
		}
	}
	return list
}

// outlierKind is why a host is ejected.
type outlierKind uint8

const (
	kind5xx outlierKind = iota
	kindGateway
	kindLocalFailure
	kindSuccessRate
	kindLocalSuccessRate
	kindFailurePercentage
	kindLocalFailurePercentage
	kindCount
)

// kindNames are as in the event log.
var kindNames = [kindCount]string{
	"CONSECUTIVE_5XX", "CONSECUTIVE_GATEWAY_FAILURE", "CONSECUTIVE_LOCAL_ORIGIN_FAILURE", "SUCCESS_RATE",
	"SUCCESS_RATE_LOCAL_ORIGIN", "FAILURE_PERCENTAGE", "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
}

// enforcing returns the chance of an ejection, in percent.
func (k outlierKind) enforcing(c *upstream.OutlierConfig) uint32 {
	return [kindCount]uint32{
		c.EnforcingConsecutive5xx, c.EnforcingConsecutiveGatewayFailure, c.EnforcingConsecutiveLocalOriginFailure,
		c.EnforcingSuccessRate, c.EnforcingLocalOriginSuccessRate,
		c.EnforcingFailurePercentage, c.EnforcingFailurePercentageLocalOrigin,
	}[k]
}
