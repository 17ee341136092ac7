package compare

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/sync/errgroup"
)

// A Side is one place that holds the rows.
type Side interface {
	// Name says what the side is in a table's head: source, log, redis.
	Name() string
	// Read calls emit with the key and the canonical text of every row of the table, in any order, from one goroutine. A table
	// that is not there has no rows. Read is called for several tables at once.
	Read(ctx context.Context, t *Table, emit func(key, line string) error) error
}

// A Result is what the sides hold of one table. Sums and Errs are in the order of the sides.
type Result struct {
	Table *Table
	Sums  []Sum
	Errs  []error // why a side could not be read
}

// Equal reports whether all sides could be read and hold what the first holds.
func (r *Result) Equal() bool {
	for i := range r.Sums {
		if r.Errs[i] != nil || r.Sums[i] != r.Sums[0] {
			return false
		}
	}
	return true
}

// Run reads every table from every side, two reads at a time. Its error is ctx's; what a side says is in the results.
func Run(ctx context.Context, tables []*Table, sides []Side) ([]Result, error) {
	results := make([]Result, len(tables))
	var g errgroup.Group
	g.SetLimit(2)
	for i, t := range tables {
		results[i] = Result{Table: t, Sums: make([]Sum, len(sides)), Errs: make([]error, len(sides))}
		for j, side := range sides {
			g.Go(func() error {
				var sum Sum
				err := side.Read(ctx, t, func(_, line string) error {
					sum.Add(line)
					return nil
				})
				results[i].Sums[j], results[i].Errs[j] = sum, err
				return ctx.Err()
			})
		}
	}
	return results, g.Wait()
}

// A Difference is a row that two sides hold differently; "" is the text of a row that is not there.
type Difference struct {
	Key        string
	Want, Got  string
	WantColumn string // the first column that differs, "" if one row is not there
}

// String names the row and what differs, in at most some hundred characters.
func (d Difference) String() string {
	switch {
	case d.Got == "":
		return fmt.Sprintf("key %s is missing", short(d.Key))
	case d.Want == "":
		return fmt.Sprintf("key %s should not be there", short(d.Key))
	}
	return fmt.Sprintf("key %s, column %s: %s, want %s", short(d.Key), d.WantColumn, short(d.Got), short(d.Want))
}

func short(s string) string {
	if len(s) > 80 {
		return fmt.Sprintf("%s... (%d bytes)", s[:60], len(s))
	}
	return s
}

// Diff returns the first rows, by key, at most limit of them, in which got differs from want. It holds one side in memory.
func Diff(ctx context.Context, t *Table, want, got Side, limit int) ([]Difference, error) {
	rows := map[string]string{}
	err := want.Read(ctx, t, t.apart(func(key, line string) error {
		rows[key] = line
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", want.Name(), err)
	}
	var list []Difference
	seen := map[string]bool{}
	err = got.Read(ctx, t, t.apart(func(key, line string) error {
		w, ok := rows[key]
		if seen[key] {
			list = append(list, Difference{Key: key + " (twice)", Got: line})
		} else if !ok || w != line {
			list = append(list, t.difference(key, w, line))
		}
		seen[key] = true
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", got.Name(), err)
	}
	for key, line := range rows {
		if !seen[key] {
			list = append(list, Difference{Key: key, Want: line})
		}
	}
	slices.SortFunc(list, func(a, b Difference) int { return strings.Compare(a.Key, b.Key) })
	return list[:min(limit, len(list))], nil
}

// apart returns emit, which for a table without a key tells equal rows apart by counting them.
func (t *Table) apart(emit func(key, line string) error) func(key, line string) error {
	if len(t.Key) > 0 {
		return emit
	}
	count := map[string]int{}
	return func(key, line string) error {
		count[key]++
		return emit(fmt.Sprintf("%s number %d", key, count[key]), line)
	}
}

// difference finds the first column in which two lines differ.
func (t *Table) difference(key, want, got string) Difference {
	d := Difference{Key: key, Want: want, Got: got}
	w, g := strings.Split(want, "\t"), strings.Split(got, "\t")
	for i := range min(len(w), len(g), len(t.Columns)) {
		if w[i] != g[i] && want != "" {
			d.WantColumn, d.Want, d.Got = t.Columns[i].Name, w[i], g[i]
			break
		}
	}
	return d
}

// Print writes the results as a table: rows and checksum of each side.
func Print(w io.Writer, results []Result, sides []Side) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := []string{"table", "rows"}
	for _, s := range sides {
		head = append(head, s.Name())
	}
	fmt.Fprintln(tw, strings.Join(append(head, ""), "\t"))
	for i := range results {
		r := &results[i]
		line := []string{r.Table.Name, fmt.Sprint(r.Sums[0].Rows)}
		for j := range sides {
			switch {
			case r.Errs[j] != nil:
				line = append(line, "unreadable")
			case r.Sums[j].Rows != r.Sums[0].Rows:
				line = append(line, fmt.Sprintf("%s (%d rows)", r.Sums[j].Hash(), r.Sums[j].Rows))
			default:
				line = append(line, r.Sums[j].Hash())
			}
		}
		verdict := "equal"
		if !r.Equal() {
			verdict = "DIFFERENT"
		}
		fmt.Fprintln(tw, strings.Join(append(line, verdict), "\t"))
	}
	return tw.Flush()
}

// Explain writes, for each table and side that differ from the first side, why it could not be read or the first rows that
// differ.
func Explain(ctx context.Context, w io.Writer, results []Result, sides []Side) {
	const limit = 5
	for i := range results {
		r := &results[i]
		for j := range sides {
			if r.Errs[j] != nil {
				fmt.Fprintf(w, "%s in %s: %v\n", r.Table, sides[j].Name(), r.Errs[j])
				continue
			}
			if r.Sums[j] == r.Sums[0] || r.Errs[0] != nil {
				continue
			}
			list, err := Diff(ctx, r.Table, sides[0], sides[j], limit)
			if err != nil {
				fmt.Fprintf(w, "%s in %s: %v\n", r.Table, sides[j].Name(), err)
			}
			for _, d := range list {
				fmt.Fprintf(w, "%s in %s: %s\n", r.Table, sides[j].Name(), d)
			}
		}
	}
}
