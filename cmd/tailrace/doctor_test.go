package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/internal/servers"
)

func TestDoctor(t *testing.T) {
	u, err := url.Parse(servers.Need(t, "postgres15"))
	if err != nil {
		t.Fatal(err)
	}
	connector := func(name, port, more string) string {
		return fmt.Sprintf("  - name: %s\n    config:\n      connector.class: postgres\n      database.hostname: 127.0.0.1\n      database.port: %s\n"+
			"      database.user: ${env:DOCTOR_USER}\n      database.dbname: postgres\n      topic.prefix: %[1]s\n      slot.name: doctor_%[1]s\n%[3]s", name, port, more)
	}
	path := filepath.Join(t.TempDir(), "connectors.yaml")
	text := "connectors:\n" + connector("missing", u.Port(), "      table.include.list: public.doctor_nosuch\n") + connector("away", "1", "")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCTOR_USER", u.User.Username())
	out, code := execute(t, "doctor", "-c", path)
	for _, want := range []string{`missing: error: table.include.list: "public.doctor_nosuch" matches no table`, "create the table",
		"away: error: database.hostname: cannot connect to 127.0.0.1 port 1", "2 connectors not ready"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if code != 1 {
		t.Errorf("status %d", code)
	}
	if out, code := execute(t, "doctor", "-c", path, "-o", "json", "away"); code != 1 || !strings.Contains(out, `"severity": "error"`) || strings.Contains(out, "nosuch") {
		t.Errorf("status %d\n%s", code, out)
	}
	if out, code := execute(t, "doctor", "-c", path, "nobody"); code != 1 || !strings.Contains(out, "has no connector nobody") {
		t.Errorf("status %d\n%s", code, out)
	}
}
