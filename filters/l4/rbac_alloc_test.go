//go:build !race

package l4

import "testing"

func TestRBACAllocs(t *testing.T) { // not parallel: allocations of others would count
	rules, err := (&RBACRules{Action: "allow", Policies: map[string]RBACPolicy{
		"a": {[]RBACPermission{{RequestedServerName: &RBACStringMatch{SafeRegex: ptrTo(`.*\.example`)}}}, []RBACPrincipal{{Any: true}}},
		"b": {[]RBACPermission{{DestinationPort: ptrTo(443)}}, []RBACPrincipal{{RemoteIP: "192.0.2.0/24"}, {RemoteIP: "10.0.0.0/8"}}},
	}}).compile()
	if err != nil {
		t.Fatal(err)
	}
	in := rbacInput{remote: mustAddr(t, "10.0.0.1:1"), local: mustAddr(t, "127.0.0.1:443"), serverName: "db.example.com"}
	if n := testing.AllocsPerRun(100, func() {
		if pass, _ := rules.decide(&in); !pass {
			t.Error("does not pass")
		}
	}); n != 0 {
		t.Errorf("decide allocates %v times", n)
	}
}
