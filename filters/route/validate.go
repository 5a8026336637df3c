package route

func (cfg *Config) validateAll(report func(path, problem, hint string)) {}
func (m *MatchConfig) kind() (pathKind, string) {
	switch {
	case m.Prefix != "":
		return pathPrefix, m.Prefix
	case m.Path != "":
		return pathExact, m.Path
	case m.SafeRegex != "":
		return pathRegex, m.SafeRegex
	case m.PathSeparatedPrefix != "":
		return pathSeparated, m.PathSeparatedPrefix
	}
	return pathConnect, ""
}
