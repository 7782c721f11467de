package store

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold reduces Vietnamese text to what people type when they search: no case, no marks, đ as d ("Đường Điện Biên" →
// "duong dien bien"), runs of space as one. đ has no decomposition, so no Unicode form removes its stroke and it is
// replaced by hand; SQLite's own lower and LIKE know ASCII only.
func Fold(s string) string {
	s = norm.NFKD.String(cases.Fold().String(s))
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Mn, r):
			return -1
		case r == 'đ':
			return 'd'
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// foldUser reduces a user's name to what must be unique: case and compatibility forms are dropped, marks are kept
// ("An" and "Ân" are two people).
func foldUser(name string) string {
	return norm.NFKC.String(cases.Fold().String(norm.NFKC.String(name)))
}
