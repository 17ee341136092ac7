package redis

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/tailrace/tailrace/sink"
)

// A script is Lua that the server keeps under its SHA-1.
type script struct{ text, sum string }

func newScript(parts ...string) script {
	var text string
	for _, p := range parts {
		text += p
	}
	sum := sha1.Sum([]byte(text)) // EVALSHA's own choice, no secret depends on it
	return script{text, hex.EncodeToString(sum[:])}
}

//go:embed head.lua
var headLua string

//go:embed string.lua
var stringLua string

//go:embed hash.lua
var hashLua string

//go:embed tail.lua
var tailLua string

//go:embed truncate.lua
var truncateLua string

//go:embed claim.lua
var claimLua string

var (
	writeJSON      = newScript(headLua, stringLua, tailLua)
	writeHash      = newScript(headLua, hashLua, tailLua)
	truncateScript = newScript(truncateLua)
	claimScript    = newScript(claimLua)
)

// command calls the script by its sum.
func (s script) command(b rueidis.Builder, keys, args []string) rueidis.Completed {
	return b.Arbitrary("EVALSHA", s.sum, strconv.Itoa(len(keys))).Keys(keys...).Args(args...).Build()
}

// run calls the script, and sends its text if the server does not know it (yet, or any more).
func (s script) run(ctx context.Context, c rueidis.Client, keys, args []string) rueidis.RedisResult {
	r := c.Do(ctx, s.command(c.B(), keys, args))
	if err, ok := rueidis.IsRedisErr(r.Error()); ok && err.IsNoScript() {
		r = c.Do(ctx, c.B().Arbitrary("EVAL", s.text, strconv.Itoa(len(keys))).Keys(keys...).Args(args...).Build())
	}
	return r
}

// sorted puts rejections in order of their events, each event once.
func sorted(r sink.Rejected) sink.Rejected {
	slices.SortStableFunc(r, func(a, b sink.RowError) int { return a.Index - b.Index })
	return slices.CompactFunc(r, func(a, b sink.RowError) bool { return a.Index == b.Index })
}
