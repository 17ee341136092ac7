package golden

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Difference is where Tailrace does not do what Debezium did, on purpose.
type Difference struct {
	What    string // ours and Debezium's, in a sentence each
	Why     string
	Instead string // the property that asks for Debezium's way; "": there is none
	Where   []Place

	// Ours are records that Debezium does not emit, Theirs those that we don't: they are left out of the comparison. nil: none.
	Ours, Theirs func(r *Record) bool
	// Unordered says that the records of each topic come in another order: they are compared in that of their keys and ops.
	Unordered bool
	// Timing says that it depends on timing whether the difference shows.
	Timing bool
}

// A Place is where a difference shows.
type Place struct {
	Scenario string
	Path     string // a regular expression on the whole path of a Mismatch; "": records of Ours and Theirs only
}

// Explained takes the mismatches that the table explains away from a scenario's. It notes in seen which entries did.
func Explained(table []Difference, scenario string, list []Mismatch, seen map[string]bool) ([]Mismatch, error) {
	var rest []Mismatch
	for _, m := range list {
		known := false
		for i := range table {
			for _, p := range table[i].Where {
				if p.Scenario != scenario || p.Path == "" {
					continue
				}
				re, err := regexp.Compile("^(?:" + p.Path + ")$")
				if err != nil {
					return nil, err
				}
				if re.MatchString(m.Path) {
					known, seen[table[i].What+p.Scenario] = true, true
				}
			}
		}
		if !known {
			rest = append(rest, m)
		}
	}
	return rest, nil
}

// LeaveOut removes the records that the table says only one of both emits. It notes in seen which entries did.
func LeaveOut(table []Difference, scenario string, theirs, ours []Record, seen map[string]bool) (t, o []Record) {
	for i := range table {
		d := &table[i]
		for _, p := range d.Where {
			if p.Scenario != scenario {
				continue
			}
			n, changed := len(theirs)+len(ours), false
			theirs, ours = without(theirs, d.Theirs), without(ours, d.Ours)
			if d.Unordered {
				theirs, changed = inOrder(theirs)
				var too bool
				ours, too = inOrder(ours)
				changed = changed || too
			}
			if changed || len(theirs)+len(ours) < n {
				seen[d.What+p.Scenario] = true
			}
		}
	}
	return theirs, ours
}

func without(recs []Record, drop func(*Record) bool) []Record {
	if drop == nil {
		return recs
	}
	var kept []Record
	for i := range recs {
		if !drop(&recs[i]) {
			kept = append(kept, recs[i])
		}
	}
	return kept
}

// inOrder sorts records by their keys and ops, and reports whether they were in another order.
func inOrder(recs []Record) ([]Record, bool) {
	order := func(a, b Record) int { return strings.Compare(rank(&a), rank(&b)) }
	if slices.IsSortedFunc(recs, order) {
		return recs, false
	}
	recs = slices.Clone(recs)
	slices.SortStableFunc(recs, order)
	return recs, true
}

// rank is what records without an order are sorted by: topic, key, op; what tells records about something else than rows apart.
func rank(r *Record) string {
	var v struct {
		Op, Type string
		Data     struct {
			Scanned    string `json:"scanned_collection"`
			InProgress string `json:"current_collection_in_progress"`
		} `json:"additional_data"`
	}
	key := string(r.Key)
	if json.Unmarshal(r.Value, &v) == nil && v.Type != "" {
		key = v.Type + v.Data.Scanned + v.Data.InProgress
	}
	return r.Topic + " " + key + " " + v.Op
}

// Unseen returns the places of the table that no scenario showed, among those that were run; not those that depend on timing.
func Unseen(table []Difference, ran, seen map[string]bool) []string {
	var list []string
	for _, d := range table {
		for _, p := range d.Where {
			if !d.Timing && ran[p.Scenario] && !seen[d.What+p.Scenario] {
				list = append(list, fmt.Sprintf("%s: %s", p.Scenario, d.What))
			}
		}
	}
	return list
}

// Document writes the table as a page.
func Document(title, intro string, table []Difference) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n", title, intro)
	for _, d := range table {
		fmt.Fprintf(&b, "\n- **%s** %s", d.What, d.Why)
		if d.Instead != "" {
			fmt.Fprintf(&b, " `%s` asks for Debezium's way.", d.Instead)
		}
		b.WriteString("\n")
	}
	return b.String()
}
