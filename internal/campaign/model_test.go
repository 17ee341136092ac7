package main

import (
	"testing"

	"github.com/tailrace/tailrace/internal/servers"
)

// TestModel is the short form of the campaign model.
func TestModel(t *testing.T) {
	for server, n := range map[string]int{"postgres15": 2, "mariadb10": 2} {
		t.Run(server, func(t *testing.T) {
			for _, name := range []string{server, "redis"} {
				if err := servers.Missing(name); err != nil {
					t.Skipf("not run: no %s: %v (scripts/servers install brings it)", name, err)
				}
			}
			violations, err := model(t.Context(), server, n, 31, false, t.Output())
			if err != nil || violations > 0 {
				t.Fatalf("%d violations, %v", violations, err)
			}
		})
	}
}
