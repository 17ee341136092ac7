package main

import (
	"testing"

	"github.com/tailrace/tailrace/internal/servers"
)

// TestDDL is the short form of the campaign ddl.
func TestDDL(t *testing.T) {
	t.Run("case61_random_statements_against_information_schema", func(t *testing.T) {
		v, err := randomDDL(t.Context(), servers.Need(t, "mariadb10"), 120, 61)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(v)
		for _, w := range v.wrong {
			t.Error(w)
		}
		if v.statements < 50 || v.unknown > v.statements/10 {
			t.Error("too few statements were followed")
		}
	})
}
