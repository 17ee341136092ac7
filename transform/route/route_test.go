package route

import (
	"context"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
)

func TestRoute(t *testing.T) {
	for _, tt := range []struct{ name, regex, replacement, topic, want string }{
		{"group", `ref[.]public[.](.*)`, "routed-$1", "ref.public.log_a", "routed-log_a"},
		{"anchored", `public`, "x", "ref.public.a", "ref.public.a"},
		{"anchored_alternatives", `a|b`, "x", "ab", "ab"},
		{"whole_match", `shop\..*`, "copy.$0", "shop.a", "copy.shop.a"},
		{"several_groups", `(\w+)\.(\w+)`, "$2_$1", "a.b", "b_a"},
		{"digits_as_far_as_groups_go", `(a)(b)`, "$12", "ab", "a2"},
		{"named_group", `(?<t>.*)`, "x.${t}", "a", "x.a"},
		{"escaped", `(a)`, `\$1\\$1`, "a", `$1\a`},
		{"no_match", `zzz`, "x", "a", "a"},
		{"other_scripts", `shop\.(.*)`, "$1", "shop.注文", "注文"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := open(map[string]string{"regex": tt.regex, "replacement": tt.replacement})
			if err != nil {
				t.Fatal(err)
			}
			var b change.Batch
			for range 2 {
				b.Add().Topic = tt.topic
				b.Add() // a topic that is not set yet is left alone
			}
			if err := r.Apply(context.Background(), &b); err != nil {
				t.Fatal(err)
			}
			for i, want := range []string{tt.want, "", tt.want, ""} {
				if b.Events[i].Topic != want {
					t.Errorf("event %d goes to %q, want %q", i, b.Events[i].Topic, want)
				}
			}
		})
	}
}

func TestRouteProblems(t *testing.T) {
	for _, tt := range []struct{ regex, replacement string }{
		{`(`, "x"}, {`a`, `\`}, {`a`, `$1`}, {`a`, `$`}, {`a`, `${`}, {`a`, `${b}`}, {`(?!a)`, "x"}, {``, ``},
	} {
		if _, err := open(map[string]string{"regex": tt.regex, "replacement": tt.replacement}); (err == nil) != (tt.regex == "") {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	r, err := open(map[string]string{"regex": "(a?).*", "replacement": "$1"})
	if err != nil {
		t.Fatal(err)
	}
	var b change.Batch
	b.Add().Topic = "b"
	if err := r.Apply(context.Background(), &b); fault.Code(err) != "ROUTE_EMPTY" {
		t.Errorf("got %v", err)
	}
}

func TestRouteAllocatesNothing(t *testing.T) {
	r, err := open(map[string]string{"regex": "s.(.*)", "replacement": "r.$1"})
	if err != nil {
		t.Fatal(err)
	}
	var b change.Batch
	for range 100 {
		b.Add()
	}
	topics := []string{"s.a", "s.b", "other"}
	if n := testing.AllocsPerRun(100, func() {
		for i := range b.Events {
			b.Events[i].Topic = topics[i%len(topics)]
		}
		if err := r.Apply(context.Background(), &b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if b.Events[1].Topic != "r.b" {
		t.Errorf("topic is %q", b.Events[1].Topic)
	}
}
