package lint

import (
	"bytes"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	maxLines         = 700 // of a file; 500 is the guide
	maxFunctionLines = 120 // 60 is the guide
)

// root returns the module's directory.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatalf("the module's root is not where it should be: %v", err)
	}
	return dir
}

// files calls visit with the slash-separated path and the content of every text file that people write.
func files(t *testing.T, visit func(name string, content []byte)) {
	t.Helper()
	dir := root(t)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			switch {
			case d.Name() == ".git", d.Name() == "testdata", d.Name() == "target", rel == "build", rel == "data":
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || rel == "go.sum" {
			return nil
		}
		content, err := os.ReadFile(name)
		if os.IsNotExist(err) { // removed meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		if bytes.IndexByte(content, 0) < 0 {
			visit(rel, content)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// forbidden finds what must not be in the repository: unfinished work, and paths of the places where it was written.
// The words are put together here, so that this file does not find itself.
func forbidden() *regexp.Regexp {
	return regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b|/wor` + `k/|\.\./shar` + `ed\b|/tm` + `p/bash_|\bissue` + ` #?[0-9]+\b`)
}

// text returns the offenders of one file.
func text(name string, content []byte) []string {
	var wrong []string
	for i, line := range strings.Split(string(content), "\n") {
		if m := forbidden().FindString(line); m != "" {
			wrong = append(wrong, fmt.Sprintf("%s:%d: %q does not belong into the repository", name, i+1, m))
		}
	}
	if !strings.HasSuffix(name, ".go") {
		return wrong
	}
	if n := bytes.Count(content, []byte("\n")); n > maxLines {
		wrong = append(wrong, fmt.Sprintf("%s has %d lines: split it by what its parts do", name, n))
	}
	formatted, err := format.Source(content)
	if err != nil {
		wrong = append(wrong, fmt.Sprintf("%s: %v", name, err))
	} else if !bytes.Equal(formatted, content) {
		wrong = append(wrong, name+": run gofmt on it")
	}
	return wrong
}

func TestText(t *testing.T) {
	n := 0
	files(t, func(name string, content []byte) {
		n++
		for _, w := range text(name, content) {
			t.Error(w)
		}
	})
	if n < 30 {
		t.Errorf("only %d files were found", n)
	}
}

func TestTextCanFail(t *testing.T) {
	for _, tt := range []struct {
		name, content string
		offenders     int
	}{
		{"a.md", "a TO" + "DO here\nnone\n// FIX" + "ME\n", 2},
		{"a.sh", "cd /wor" + "k/main\n. ../shar" + "ed/x\n", 2},
		{"a.md", "autodo, workflows/ci, network/x\n", 0},
		{"a.go", "package  a\n", 1},
		{"a.go", "package a\n\n" + strings.Repeat("// x\n", maxLines), 1},
		{"a.go", "package\n", 1},
		{"a.go", "package a\n", 0},
	} {
		if got := text(tt.name, []byte(tt.content)); len(got) != tt.offenders {
			t.Errorf("%q: got %v", tt.content, got)
		}
	}
}
