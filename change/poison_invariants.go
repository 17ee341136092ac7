//go:build invariants

package change

// poisonBytes and poisonValues make use after Reset visible (Invariant 6). A batch has one owner, whose own accesses the race
// detector watches; watching each byte of the filling too would make it a hundred times as slow.
//
//go:norace
func poisonBytes(p []byte) {
	for i := range p {
		p[i] = 0xCC
	}
}

//go:norace
func poisonValues(p []Value) {
	for i := range p {
		p[i] = Value{Kind: 0xCC, Num: 0xCCCCCCCCCCCCCCCC}
	}
}
