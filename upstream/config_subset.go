package upstream

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// SubsetConfig divides the hosts of a cluster by their metadata: a request goes to the hosts whose metadata are what its route
// demands (metadata_match).
type SubsetConfig struct {
	// FallbackPolicy is what becomes of a request whose route demands nothing, or what no host has: "no_fallback" answers 503,
	// "any_endpoint" takes any host, "default_subset" one of default_subset. Default "no_fallback".
	FallbackPolicy string `json:"fallback_policy" default:"no_fallback" enum:"no_fallback,any_endpoint,default_subset"`
	// DefaultSubset are the hosts with all of these metadata, for fallback_policy "default_subset".
	DefaultSubset map[string]string `json:"default_subset"`
	// Selectors are the keys by which hosts are divided. A route has to demand exactly the keys of one of them. Required.
	Selectors []SubsetSelectorConfig `json:"subset_selectors" required:"true" max:"64"`
	// PanicModeAny takes any host where the default subset is empty. Only with fallback_policy "default_subset". Default false.
	PanicModeAny bool `json:"panic_mode_any"`
}

// SubsetSelectorConfig is a set of keys: hosts with the same values of all of them are one subset.
type SubsetSelectorConfig struct {
	// Keys of metadata. Required.
	Keys []string `json:"keys" required:"true" min:"1" max:"16"`
	// FallbackPolicy for requests that demand these keys, in place of that of the cluster; "keys_subset" looks again with fewer keys.
	// Default: that of the cluster.
	FallbackPolicy string `json:"fallback_policy" enum:"no_fallback,any_endpoint,default_subset,keys_subset"`
	// FallbackKeysSubset are some of the keys, for fallback_policy "keys_subset". If no host has these either, the fallback of the
	// selector with these keys holds.
	FallbackKeysSubset []string `json:"fallback_keys_subset" max:"16"`
	// SingleHostPerSubset says that no two hosts are in one subset: of those that are the first is taken. Only with one key.
	// Default false.
	SingleHostPerSubset bool `json:"single_host_per_subset"`
}

// The fallback policies of subsets.
const (
	noFallback    = "no_fallback"
	anyEndpoint   = "any_endpoint"
	defaultSubset = "default_subset"
	keysSubset    = "keys_subset"
)

// Validate reports what tags cannot say of subsets.
func (c *SubsetConfig) Validate(report func(path, problem, hint string)) {
	wantsDefault := c.FallbackPolicy == defaultSubset
	seen := map[string]int{}
	for i := range c.Selectors {
		s := &c.Selectors[i]
		at := fmt.Sprintf("subset_selectors[%d]", i)
		key := strconv.Quote(strings.Join(sortedKeys(s.Keys), "\x00"))
		if first, twice := seen[key]; twice {
			report(at+".keys", fmt.Sprintf("these are the keys of subset_selectors[%d] already", first), "")
		} else {
			seen[key] = i
		}
		s.validate(at, report)
		wantsDefault = wantsDefault || s.FallbackPolicy == defaultSubset
	}
	switch {
	case wantsDefault && len(c.DefaultSubset) == 0:
		report("default_subset", "the fallback policy is \"default_subset\", and there is none", `write the metadata of its hosts, such as {"stage": "prod"}`)
	case !wantsDefault && len(c.DefaultSubset) > 0:
		report("default_subset", "no fallback policy is \"default_subset\"", "set fallback_policy, or leave default_subset out")
	}
	if c.PanicModeAny && c.FallbackPolicy != defaultSubset {
		report("panic_mode_any", "it is for fallback_policy \"default_subset\"", "")
	}
}

func (s *SubsetSelectorConfig) validate(at string, report func(path, problem, hint string)) {
	keys := sortedKeys(s.Keys)
	if len(slices.Compact(slices.Clone(keys))) < len(keys) {
		report(at+".keys", "a key appears twice", "")
	}
	if s.SingleHostPerSubset && len(keys) != 1 {
		report(at+".single_host_per_subset", "it is for selectors of one key", "")
	}
	fewer := sortedKeys(s.FallbackKeysSubset)
	inside := !slices.ContainsFunc(fewer, func(k string) bool { return !slices.Contains(keys, k) })
	switch {
	case s.FallbackPolicy != keysSubset && len(fewer) > 0:
		report(at+".fallback_keys_subset", "the fallback policy is not \"keys_subset\"", "")
	case s.FallbackPolicy == keysSubset && (len(fewer) == 0 || len(fewer) >= len(keys) || !inside):
		report(at+".fallback_keys_subset", "it is not a part of keys", "name some of the keys, but not all")
	}
}

func sortedKeys(keys []string) []string { return slices.Sorted(slices.Values(keys)) }
