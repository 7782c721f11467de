package accounts

import (
	_ "embed"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"

	"dongthanh/streamer/internal/store"
)

const (
	minPassword = 12  // NIST SP 800-63B asks for 8, facts/reliability.md §2.4 for 12
	maxPassword = 200 // taste; in characters

	maxName = 64

	// leastDistinct characters keep out "aaaaaaaaaaaa" and "abababababab". Taste.
	leastDistinct = 5
)

// common.txt holds the words that guessable passwords are made of, folded, one a line.
//
//go:embed common.txt
var commonText string

// CheckName answers ErrName, or nil for a name as RFC 8265 §3 has it: letters and digits of any script, no spaces.
func CheckName(name string) error {
	if name == "" || len(name) > maxInput || !utf8.ValidString(name) {
		return ErrName
	}
	if _, err := precis.UsernameCasePreserved.String(name); err != nil || utf8.RuneCountInString(name) > maxName {
		return ErrName
	}
	return nil
}

// prepare returns the bytes of a password that are hashed (RFC 8265 §4, OpaqueString): spaces are one kind, and NFC,
// since a phone may send "ế" in other code points than the keyboard the password was chosen on.
func prepare(password string) ([]byte, error) {
	if len(password) > maxInput {
		return nil, ErrPasswordLong
	}
	if !utf8.ValidString(password) { // precis would make every invalid byte the same
		return nil, ErrPasswordText
	}
	return precis.OpaqueString.Bytes([]byte(password))
}

// CheckPassword answers why a password must not be chosen by the person of that name: ErrPasswordShort, …Long, …Text,
// …Digits, …Common, …Name, or nil.
func CheckPassword(password, name string) error {
	_, err := checked(password, name)
	return err
}

// checked is CheckPassword, and prepare if that is nil.
func checked(password, name string) ([]byte, error) {
	text, err := prepare(password)
	switch n := utf8.RuneCount(text); {
	case errors.Is(err, ErrPasswordLong):
		return nil, err
	case err != nil && password != "": // ErrPasswordText or precis's own; RFC 8265 knows no empty password
		return nil, ErrPasswordText
	case n < minPassword:
		return nil, ErrPasswordShort
	case n > maxPassword:
		return nil, ErrPasswordLong
	}
	return text, guessable(string(text), name)
}

// guessable refuses what attackers try first: few distinct characters, digits alone (twelve of them are a phone number
// with a birth year, or a citizen's identity number), and one or two common words however decorated.
func guessable(password, name string) error {
	folded := store.Fold(password)
	distinct := map[rune]bool{}
	for _, r := range folded {
		distinct[r] = true
	}
	plain := letters(folded)
	undone := letters(leet.Replace(strings.TrimFunc(folded, func(r rune) bool { return !unicode.IsLetter(r) })))
	switch own := letters(store.Fold(name)); {
	case plain == "":
		return ErrPasswordDigits
	case len(distinct) < leastDistinct:
		return ErrPasswordCommon
	case own != "" && (plain == own || undone == own || plain == own+own):
		return ErrPasswordName
	}
	words := commonWords()
	if made(plain, words, 2) || made(undone, words, 2) {
		return ErrPasswordCommon
	}
	return nil
}

// leet undoes the usual replacements of letters.
var leet = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "@", "a", "$", "s", "!", "i")

// commonWords reads the list anew each time: passwords are chosen rarely, and there is nothing to keep.
func commonWords() map[string]bool {
	words := map[string]bool{}
	for w := range strings.Lines(commonText) {
		words[strings.TrimSpace(w)] = true
	}
	delete(words, "")
	return words
}

// made reports whether s is a row of at most n words.
func made(s string, words map[string]bool, n int) bool {
	if s == "" {
		return true
	}
	if n == 0 {
		return false
	}
	for i := 1; i <= len(s); i++ {
		if words[s[:i]] && made(s[i:], words, n-1) {
			return true
		}
	}
	return false
}

func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) {
			return r
		}
		return -1
	}, s)
}
