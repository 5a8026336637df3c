package route

import (
	"fmt"
	"strings"

	"millrace/codec"
)

// level compiles the mutations of one level.
func (c *compiler) level(cfg *HeaderMutations, path string) levelMutations {
	l := levelMutations{
		request:  c.headMutations(cfg.RequestHeadersToAdd, cfg.RequestHeadersToRemove, path+"request_headers_to_add"),
		response: c.headMutations(cfg.ResponseHeadersToAdd, cfg.ResponseHeadersToRemove, path+"response_headers_to_add"),
	}
	c.table.mutates = c.table.mutates || !l.empty()
	return l
}

func (c *compiler) headMutations(add []HeaderValueConfig, remove []string, path string) (hm headMutations) {
	for _, name := range remove {
		hm.remove = append(hm.remove, c.arena.str(strings.ToLower(name)))
	}
	for i := range add {
		hm.add = append(hm.add, c.mutation(&add[i], fmt.Sprintf("%s[%d].value", path, i)))
	}
	return hm
}

// mutation compiles one header to add.
func (c *compiler) mutation(cfg *HeaderValueConfig, path string) mutation {
	m := mutation{name: c.arena.str(strings.ToLower(cfg.Key)), format: formatNone, keepEmpty: cfg.KeepEmptyValue}
	m.id = codec.KnownField([]byte(m.name))
	switch cfg.AppendAction {
	case "add_if_absent":
		m.action = addIfAbsent
	case "overwrite_if_exists_or_add":
		m.action = overwriteOrAdd
	case "overwrite_if_exists":
		m.action = overwriteIfExists
	}
	if literal, ok := literalValue(cfg.Value); ok {
		m.value = c.arena.str(literal)
		return m
	}
	if c.newFormat == nil {
		c.report(path,
			fmt.Sprintf("value %q has operators, which cannot stand here", cfg.Value), "write %% for a percent sign")
		return m
	}
	id, err := c.newFormat(cfg.Value)
	if err != nil {
		c.report(path, err.Error(), "")
	}
	m.format = id
	return m
}

// literalValue returns the text of a value without operators: %% is a percent sign.
func literalValue(s string) (string, bool) {
	plain := strings.ReplaceAll(s, "%%", "")
	return strings.ReplaceAll(s, "%%", "%"), !strings.Contains(plain, "%")
}
