package binlog

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
)

var update = flag.Bool("update", false, "rewrite files of tables, captures and expectations from live servers")

// characters asks a MariaDB for the characters of codes first to last of a charset, with 2*digits bytes. Codes that are
// no character alone are left out.
func characters(d *db, charset string, first, last, digits int) map[uint64]rune {
	d.tb.Helper()
	r := d.exec(fmt.Sprintf("select seq, hex(convert(convert(unhex(lpad(hex(seq), %d, '0')) using %s) using utf32)) from seq_%d_to_%d", digits, charset, first, last))
	m := map[uint64]rune{}
	for i := range r.RowNumber() {
		code, err1 := r.GetUint(i, 0)
		text, err2 := r.GetString(i, 1)
		if err1 != nil || err2 != nil {
			d.tb.Fatal(err1, err2)
		}
		if len(text) != 8 { // NULL, or more than one character
			continue
		}
		char, err := strconv.ParseUint(text, 16, 32)
		if err != nil {
			d.tb.Fatal(err)
		}
		if (char != '?' || code == '?') && char != utf8.RuneError {
			m[code] = rune(char)
		}
	}
	return m
}

// Every code of every charset is the character that the server has for it, and codes without one are not valid.
func TestCharsetsAgreeWithServer_case58(t *testing.T) {
	d := connect(t, "mariadb10")
	for _, name := range slices.Sorted(maps.Keys(singleByte)) {
		compareCharset(t, name, 1, 0, 1<<8-1, characters(d, name, 0, 1<<8-1, 2))
	}
	compareCharset(t, "swe7", 1, 0, 1<<8-1, characters(d, "swe7", 0, 1<<8-1, 2))
	for _, name := range []string{"big5", "cp932", "eucjpms", "euckr", "gb2312", "gbk", "sjis", "ujis"} {
		one, two := characters(d, name, 0x80, 0xFF, 2), characters(d, name, 0x8000, 0xFFFF, 4)
		three := map[uint64]rune{}
		if strings.Contains(name, "uj") || strings.Contains(name, "euc") && name != "euckr" {
			three = characters(d, name, 0x8FA1A1, 0x8FFEFE, 6)
		}
		if *update {
			all := maps.Clone(one)
			maps.Copy(all, two)
			maps.Copy(all, three)
			writeCharset(t, name, all)
			continue
		}
		compareCharset(t, name, 1, 0x80, 0xFF, one)
		compareCharset(t, name, 2, 0x8000, 0xFFFF, two)
		if len(three) > 0 {
			compareCharset(t, name, 3, 0x8FA1A1, 0x8FFEFE, three)
		}
	}
}

func compareCharset(t *testing.T, name string, size, first, last int, want map[uint64]rune) {
	t.Helper()
	var cs Charsets
	wrong := 0
	for code := first; code <= last; code++ {
		p := binary.BigEndian.AppendUint32(nil, uint32(code))[4-size:]
		got, ok, err := cs.Append(nil, name, p)
		if err != nil {
			t.Fatal(err)
		}
		char, known := want[uint64(code)]
		if ok = ok && utf8.RuneCount(got) == 1; ok != known || ok && string(got) != string(char) {
			if wrong++; wrong < 5 {
				t.Errorf("%s %x is %q, %v; the server has %q, %v", name, p, got, ok, char, known)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%s: %d codes differ", name, wrong)
	}
}

func writeCharset(t *testing.T, name string, chars map[uint64]rune) {
	t.Helper()
	var file bytes.Buffer
	z, err := zlib.NewWriterLevel(&file, zlib.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	var p []byte
	lastCode, lastChar := uint64(0), int64(0)
	for _, code := range slices.Sorted(maps.Keys(chars)) {
		p = binary.AppendUvarint(p, code-lastCode)
		p = binary.AppendVarint(p, int64(chars[code])-lastChar)
		lastCode, lastChar = code, int64(chars[code])
	}
	if _, err := z.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("charsets", name+".z"), file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// gb18030 is MySQL's alone: it covers all of Unicode.
func TestGB18030AgreesWithServer_case58(t *testing.T) {
	d := connect(t, "mysql97")
	d.exec("set session cte_max_recursion_depth = 2000000")
	r := d.exec("with recursive s(n) as (select 128 union all select n + if(n < 65536, 1, 211) from s where n < 1113900)" +
		" select n, hex(convert(convert(unhex(lpad(hex(n), 8, '0')) using utf32) using gb18030)) from s where n < 55296 or n > 57343")
	c := newCharset("gb18030")
	wrong, two := 0, map[uint64]rune{}
	for i := range r.RowNumber() {
		n, err1 := r.GetUint(i, 0)
		code, err2 := r.GetString(i, 1)
		p, err3 := hex.DecodeString(code)
		if err1 != nil || err2 != nil || err3 != nil {
			t.Fatal(err1, err2, err3)
		}
		if len(p) == 1 && p[0] == '?' {
			continue
		}
		if len(p) == 2 {
			two[bigEndian(p)] = rune(n)
		}
		if got, ok := c.append(nil, p); !ok || string(got) != string(rune(n)) {
			if wrong++; wrong < 20 {
				t.Errorf("%s is %q, %v; the server has it for U+%04X", code, got, ok, n)
			}
		}
	}
	if *update {
		writeCharset(t, "gb18030", two)
		return
	}
	if r.RowNumber() < 60000 || wrong > 0 {
		t.Errorf("%d of %d codes differ", wrong, r.RowNumber())
	}
}

func TestCollationIDs(t *testing.T) {
	for _, server := range liveServers {
		t.Run(server, func(t *testing.T) {
			d := connect(t, server)
			query := "select id, character_set_name from information_schema.collations"
			if d.maria() {
				query = "select id, character_set_name from information_schema.collation_character_set_applicability where id is not null"
			}
			r := d.exec(query)
			for i := range r.RowNumber() {
				id, err1 := r.GetUint(i, 0)
				want, err2 := r.GetString(i, 1)
				if err1 != nil || err2 != nil {
					t.Fatal(err1, err2)
				}
				if want == "utf8" {
					want = "utf8mb3"
				}
				got, ok := CharsetName(uint16(id))
				if !ok || got != want {
					t.Errorf("%d is %q, the server has %q", id, got, want)
				}
				if newCharset(got) == nil {
					t.Errorf("there is no charset %s", got)
				}
			}
		})
	}
}

// What no charset has a character for stays as it is, and never becomes U+FFFD.
func TestInvalidText_case58(t *testing.T) {
	for _, tt := range []struct {
		charset, text string
		want          string // "": it comes out as bytes
	}{
		{"utf8mb4", "é𝄞", "é𝄞"}, {"utf8mb4", "a\xff", ""}, {"utf8mb4", "a\xed\xa0\x80", ""}, {"utf8mb4", "\xef\xbf\xbd", "\uFFFD"},
		{"latin1", "\x80\x81\xe9", "€\u0081é"}, {"ascii", "a\x80", ""}, {"ascii", "abcdefgh\x7f", "abcdefgh\x7f"},
		{"cp1251", "\x98", ""}, {"gbk", "\xd6\xd0", "中"}, {"gbk", "\xd6", ""}, {"gbk", "a\xff\xff", ""}, {"big5", "\xa4\xa4\xa4", ""},
		{"ucs2", "\x00a", "a"}, {"ucs2", "\x00", ""}, {"ucs2", "\xd8\x34", ""}, {"utf16", "\xd8\x34\xdd\x1e", "𝄞"}, {"utf16", "\xd8\x34", ""},
		{"utf16", "\xdd\x1e\xd8\x34", ""}, {"utf16le", "\x34\xd8\x1e\xdd", "𝄞"}, {"utf32", "\x00\x01\xd1\x1e", "𝄞"}, {"utf32", "\x00\x11\x00\x00", ""},
		{"utf32", "\x00\x00\xd8\x00", ""}, {"gb18030", "\x84\x31\xa4\x37", "\uFFFD"}, {"gb18030", "\xff", ""}, {"gb18030", "a\x81", ""}, {"gb18030", strings.Repeat("\xd6\xd0", 200), strings.Repeat("中", 200)},
		{"swe7", "[\\]", "ÄÖÅ"}, {"swe7", "\x80", ""}, {"ujis", "\x8f\xa2\xb7", "~"}, {"ujis", "\x8f\xa2", ""}, {"eucjpms", "\x8e\xb1", "ｱ"}, {"binary", "\x80", ""},
	} {
		var cs Charsets
		c, err := cs.get(tt.charset, "v")
		if err != nil {
			t.Fatal(err)
		}
		var v change.Value
		c.value(&change.Batch{}, &v, []byte(tt.text))
		switch {
		case tt.want == "" && (v.Kind != change.Bytes || string(v.Data) != tt.text):
			t.Errorf("%s %q is %v %q, want the bytes as they are", tt.charset, tt.text, v.Kind, v.Data)
		case tt.want != "" && (v.Kind != change.Text || string(v.Data) != tt.want):
			t.Errorf("%s %q is %v %q, want %q", tt.charset, tt.text, v.Kind, v.Data, tt.want)
		}
	}
	if _, err := new(Charsets).get("klingon", "v"); fault.Code(err) != "UNKNOWN_CHARSET" {
		t.Errorf("an unknown charset: %v", err)
	}
}
