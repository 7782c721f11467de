package console

import (
	"net/http"
	"strings"
)

// texts are all texts of one language by key. A number of {0}, {1}, … stands for what the page fills in.
type texts map[string]string

const (
	vietnamese     = "vi"
	english        = "en"
	languageCookie = "dongthanh_language"
)

// languages returns those that there is a table for, the first being the one of who has not chosen.
func languages() []string { return []string{vietnamese, english} }

func table(language string) texts {
	if language == english {
		return inEnglish
	}
	return inVietnamese
}

// say returns the text of a key with {0}, {1}, … replaced; the key itself where there is none, which a test rules out.
func (t texts) say(key string, args ...string) string {
	text, ok := t[key]
	if !ok {
		return key
	}
	for i, arg := range args {
		text = strings.ReplaceAll(text, "{"+string(rune('0'+i))+"}", arg)
	}
	return text
}

// known returns a language there is a table for.
func known(language string) string {
	if language == english {
		return english
	}
	return vietnamese
}

// languageOf is what the visitor has chosen; Vietnamese until then, whatever the browser was installed in. Where no
// cookie may be set, the address tells.
func languageOf(r *http.Request) string {
	if chosen := r.URL.Query().Get("lang"); chosen != "" && r.Method == http.MethodGet {
		return known(chosen)
	}
	cookie, err := r.Cookie(languageCookie)
	if err != nil {
		return vietnamese
	}
	return known(cookie.Value)
}
