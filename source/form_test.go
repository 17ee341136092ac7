package source

import (
	"testing"

	"github.com/tailrace/tailrace/config"
)

// TestSharedSettings: what both families refuse is refused by name, and a placeholder is judged once it is replaced.
func TestSharedSettings(t *testing.T) {
	type shared struct {
		FormSettings
		CompatSettings
	}
	for _, tt := range []struct{ key, value, want string }{
		{"skipped.operations", "c,x", "skipped.operations"},
		{"skipped.operations", "${file:/s:ops}", ""},
		{"skipped.operations", "none", ""},
		{"topic.delimiter", "/", "topic.delimiter"},
		{"topic.delimiter", "${env:D}", ""},
		{"topic.delimiter", "-", ""},
		{"event.processing.failure.handling.mode", "skip", "event.processing.failure.handling.mode"},
		{"event.processing.failure.handling.mode", "fail", ""},
		{"custom.sanitize.pattern", "[a-z]", "custom.sanitize.pattern"},
		{"custom.metric.tags", "${env:TAGS}", ""},
		{"custom.metric.tags", "a=b", "custom.metric.tags"},
		{"guardrail.collections.max", "5", "guardrail.collections.max"},
		{"guardrail.collections.limit.action", "fail", ""},
	} {
		var s shared
		problems := config.Decode(map[string]string{tt.key: tt.value}, &s)
		problems = append(append(problems, s.Problems()...), s.Refused()...)
		got := ""
		for _, p := range problems {
			got += p.Key
		}
		if got != tt.want {
			t.Errorf("%s=%s: problems with %q, want %q", tt.key, tt.value, got, tt.want)
		}
	}
	if got := CheckTimeMode("structured"); len(got) != 1 || got[0].Key != "time.precision.mode" || len(CheckTimeMode("connect")) != 0 {
		t.Errorf("structured: %v", got)
	}
	s := FormSettings{Delimiter: "-", Skipped: []string{"none", "c", "t"}}
	if got := s.TopicOf("__debezium-heartbeat", "shop x"); got != "__debezium-heartbeat-shop_x" {
		t.Errorf("topic %s", got)
	}
	if got := string(rune(s.SkippedOps()[0])) + string(rune(s.SkippedOps()[1])); got != "ct" || len(s.SkippedOps()) != 2 {
		t.Errorf("skipped %q", got)
	}
}
