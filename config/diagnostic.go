package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Severity says whether a diagnostic keeps the daemon from starting.
type Severity uint8

const (
	Error   Severity = iota // the file can't be used
	Warning                 // the file can be used; strict makes an error of it
)

// A Diagnostic is one mistake in a configuration file and where it is. No field holds a secret: excerpts hide the
// values of properties whose names say that they are one. (Invariant 9)
type Diagnostic struct {
	File       string
	Line       int // from 1; 0: the file as a whole
	Column     int // from 1, in characters
	Severity   Severity
	Key        string // the property or structural key, "" if there is none
	Message    string
	Suggestion string // what was probably meant, "" if unknown
	Excerpt    string // the line
}

// String returns "file:line:column: key: message: did you mean suggestion?", and below it the line with a caret. It
// is safe to print: control characters of the file are replaced.
func (d Diagnostic) String() string {
	var b strings.Builder
	b.WriteString(d.File)
	if d.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", d.Line, d.Column)
	}
	b.WriteString(": ")
	if d.Severity == Warning {
		b.WriteString("warning: ")
	}
	if d.Key != "" {
		b.WriteString(d.Key + ": ")
	}
	b.WriteString(d.Message)
	if d.Suggestion != "" {
		b.WriteString(": did you mean " + d.Suggestion + "?")
	}
	head := printable(b.String())
	if d.Line == 0 || d.Excerpt == "" {
		return head
	}
	text, caret := excerptWindow(printable(d.Excerpt), d.Column)
	return head + "\n  " + text + "\n  " + caret
}

// Failed reports whether one of the diagnostics is an error.
func Failed(ds []Diagnostic) bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == Error })
}

// SortDiagnostics orders ds by their places in the file; those of one place stay in their order.
func SortDiagnostics(ds []Diagnostic) {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

const excerptWidth = 120

// excerptWindow cuts the part of a long line around the column and draws the caret line for it.
func excerptWindow(line string, column int) (text, caret string) {
	runes := []rune(line)
	at := min(max(column-1, 0), len(runes))
	from := 0
	if at > excerptWidth-20 {
		from = at - excerptWidth/2
	}
	to := min(len(runes), from+excerptWidth)
	var pad strings.Builder
	for _, r := range runes[from:at] {
		if r == '\t' {
			pad.WriteRune('\t')
		} else {
			pad.WriteRune(' ')
		}
	}
	return string(runes[from:to]), pad.String() + "^"
}

// safeLine returns a line of the file with the values of secrets hidden, also when the line is part of a block or of
// a list below such a property.
func safeLine(lines []string, n int) string {
	if n < 1 || n > len(lines) {
		return ""
	}
	line := lines[n-1]
	if cut := secretValue(line); cut >= 0 {
		return line[:cut] + Hidden
	}
	indent := indentation(line)
	for i := n - 2; i >= 0 && indent > 0; i-- {
		if strings.TrimSpace(lines[i]) == "" || indentation(lines[i]) >= indent {
			continue
		}
		indent = indentation(lines[i])
		if secretValue(lines[i]) >= 0 {
			return line[:len(line)-len(strings.TrimLeft(line, " \t"))] + Hidden
		}
	}
	return line
}

func indentation(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) }

// secretValue returns where the value of the first property with the name of a secret starts in line, or -1.
func secretValue(line string) int {
	for from := 0; ; {
		i := strings.IndexByte(line[from:], ':')
		if i < 0 {
			return -1
		}
		end := from + i
		name := strings.TrimRight(line[:end], `"' `)
		if j := strings.LastIndexAny(name, ` {,"'`+"\t"); j >= 0 {
			name = name[j+1:]
		}
		if IsSecretName(name) {
			value := strings.TrimLeft(line[end+1:], " ")
			return len(line) - len(value)
		}
		from = end + 1
	}
}
