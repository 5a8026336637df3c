package upstream

// Choice is how [HostSet.Choose] has found the bucket of a request. Each value but the first has a counter.
type Choice uint8

const (
	// ChoseShare is by the shares of priorities and localities, or the only bucket there is.
	ChoseShare Choice = iota
	// ChosePanic is all hosts of a priority, or none, since too few are well.
	ChosePanic
	// ChoseZoneDirect is the zone of this proxy, which can take all its requests.
	ChoseZoneDirect
	// ChoseZoneSampled is the zone of this proxy, which can take some of its requests.
	ChoseZoneSampled
	// ChoseZoneCross is another zone, by what it can take beside its own requests.
	ChoseZoneCross
	// ChoseZoneFull is any zone, since none can take more.
	ChoseZoneFull
	// ChoseLocalPanic is without regard to zones, since too few proxies are well.
	ChoseLocalPanic

	// Beside one of those: ChoseSubset is the subset that the request demands, ChoseFallback what takes its place,
	// ChoseFallbackPanic any host because the default subset is empty.
	ChoseSubset        Choice = 1 << 6
	ChoseFallback      Choice = 2 << 6
	ChoseFallbackPanic Choice = 3 << 6

	subsetMask = 3 << 6
)

// CountChoice counts how a bucket was chosen.
func (s *ClusterStats) CountChoice(how Choice) {
	switch how & subsetMask {
	case ChoseSubset:
		s.SubsetsSelected.Inc()
	case ChoseFallback:
		s.SubsetsFallback.Inc()
	case ChoseFallbackPanic:
		s.SubsetsFallback.Inc()
		s.SubsetsPanic.Inc()
	}
	switch how &^ subsetMask {
	case ChoseShare:
	case ChosePanic:
		s.HealthyPanic.Inc()
	case ChoseZoneDirect:
		s.ZoneDirect.Inc()
	case ChoseZoneSampled:
		s.ZoneSampled.Inc()
	case ChoseZoneFull:
		s.ZoneFull.Inc()
		s.ZoneCross.Inc()
	case ChoseZoneCross:
		s.ZoneCross.Inc()
	case ChoseLocalPanic:
		s.LocalNotOK.Inc()
	}
}
