package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/worker"
)

const propertiesPage = "../../docs/properties.md"

// TestPropertiesPage holds the reference of properties against the plugins. -update rewrites it.
func TestPropertiesPage(t *testing.T) {
	var page strings.Builder
	page.WriteString(`# Properties of connectors and transforms

Names and meanings are those of Debezium and Kafka Connect where they have one. A property that is not here is unknown:
` + "`tailrace validate`" + ` warns and suggests (` + "`--strict`" + ` refuses it). Where a cell says "must not be set" or "has no effect", the
rest of it says why. ` + "`GET /connector-plugins/CLASS/config`" + ` answers the same.

This page is made from the plugins: run ` + "`go test ./cmd/tailrace -run TestPropertiesPage -update`" + ` after a change.
`)
	opt := plugins()
	section := func(title, class, doc string, others []string, keys []config.Key) {
		fmt.Fprintf(&page, "\n## %s: `%s`\n\n%s", title, class, doc)
		if len(others) > 0 {
			fmt.Fprintf(&page, " Also answers to `%s`.", strings.Join(others, "`, `"))
		}
		page.WriteString("\n\n| property | default | |\n|---|---|---|\n")
		for _, k := range keys {
			page.WriteString(propertyLine(k))
		}
	}
	own := func(class string) []config.Key {
		v, known := worker.Judge(opt, map[string]string{"connector.class": class})
		if !known {
			t.Fatalf("nobody answers to %s", class)
		}
		keys := slices.DeleteFunc(v.Keys, func(k config.Key) bool {
			return slices.ContainsFunc(config.CommonKeys(), func(c config.Key) bool { return c.Name == k.Name })
		})
		slices.SortFunc(keys, func(a, b config.Key) int { return cmp.Compare(a.Name, b.Name) })
		return keys
	}
	fmt.Fprint(&page, "\n## Every connector\n\n| property | default | |\n|---|---|---|\n")
	for _, k := range config.CommonKeys() {
		page.WriteString(propertyLine(k))
	}
	for _, p := range opt.Sources {
		section("Source", p.Name, p.Doc, p.Classes, own(p.Name))
	}
	for _, p := range opt.Sinks {
		section("Sink", p.Name, p.Doc, p.Classes, own(p.Name))
	}
	for _, p := range opt.Transforms {
		section("Transform", p.Name, p.Doc, p.Classes, p.Keys)
	}
	if flag.Lookup("update").Value.(flag.Getter).Get().(bool) {
		if err := os.WriteFile(propertiesPage, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(propertiesPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != page.String() {
		t.Error("docs/properties.md is not what the plugins say: run go test ./cmd/tailrace -run TestPropertiesPage -update")
	}
}

// propertyLine is a line of a table in Markdown.
func propertyLine(k config.Key) string {
	escape := func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
	value := ""
	switch {
	case k.Required:
		value = "required"
	case k.Default != "":
		value = "`" + escape(k.Default) + "`"
	}
	doc := k.Doc
	if len(k.OneOf) > 0 {
		doc = fmt.Sprintf("`%s`. %s", strings.Join(k.OneOf, "`, `"), doc)
	}
	return fmt.Sprintf("| `%s` | %s | %s |\n", k.Name, value, escape(doc))
}
