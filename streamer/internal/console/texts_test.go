package console

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

func TestBothLanguagesHaveTheSameTexts(t *testing.T) {
	holes := regexp.MustCompile(`\{\d\}`)
	for key, text := range inVietnamese {
		other, ok := inEnglish[key]
		if !ok {
			t.Errorf("%s is missing in English", key)
		}
		a, b := holes.FindAllString(text, -1), holes.FindAllString(other, -1)
		slices.Sort(a)
		slices.Sort(b)
		if !slices.Equal(a, b) {
			t.Errorf("%s has the holes %v in Vietnamese, %v in English", key, a, b)
		}
		if strings.TrimSpace(text) == "" || strings.TrimSpace(other) == "" {
			t.Errorf("%s is empty", key)
		}
	}
	for key := range inEnglish {
		if _, ok := inVietnamese[key]; !ok {
			t.Errorf("%s is missing in Vietnamese", key)
		}
	}
}

// TestEveryTextIsThereAndUsed reads what templates, scripts and Go ask for.
func TestEveryTextIsThereAndUsed(t *testing.T) {
	// A whole key, and a key whose end is found out later: "mic." + word, `mic.${word}_hint`.
	whole := regexp.MustCompile("[\"`]([a-z]+\\.[a-z_]+)[\"`]")
	begun := regexp.MustCompile("[\"`]([a-z]+\\.)(?:[\"`]|\\$\\{)")
	groups := map[string]bool{}
	for key := range inVietnamese {
		group, _, _ := strings.Cut(key, ".")
		groups[group] = true
	}
	used, open := map[string]bool{}, map[string]bool{}
	ours, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := slices.DeleteFunc(ours, func(f string) bool {
		return f == "vietnamese.go" || f == "english.go" || strings.HasSuffix(f, "_test.go")
	})
	for _, pattern := range []string{"templates/*.html", "web/*.ts"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range whole.FindAllStringSubmatch(string(b), -1) {
			group, rest, _ := strings.Cut(m[1], ".")
			if !groups[group] || rest == "ts" || rest == "js" {
				continue
			}
			used[m[1]] = true
			if _, ok := inVietnamese[m[1]]; !ok {
				t.Errorf("%s asks for the text %q, which there is not", f, m[1])
			}
		}
		for _, m := range begun.FindAllStringSubmatch(string(b), -1) {
			open[m[1]] = true
		}
	}
	for key := range inVietnamese {
		group, _, _ := strings.Cut(key, ".")
		if !used[key] && !open[group+"."] {
			t.Errorf("nothing uses the text %q", key)
		}
	}
}

func TestSay(t *testing.T) {
	table := texts{"a": "{0} và {1}, {0}"}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"x", "y"}, "x và y, x"}, {[]string{"x"}, "x và {1}, x"}, {nil, "{0} và {1}, {0}"},
	} {
		if got := table.say("a", c.args...); got != c.want {
			t.Errorf("say(%q) = %q, want %q", c.args, got, c.want)
		}
	}
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "00:00", 0: "00:00", 59999 * time.Millisecond: "00:59", 61 * time.Second: "01:01", 3600 * time.Second: "1:00:00", 37*time.Hour + time.Second: "37:00:01",
	} {
		if got := clock(d); got != want {
			t.Errorf("clock(%v) = %q, want %q", d, got, want)
		}
	}
}

// country makes provinces, each with communes, each with hamlets.
func country(provinces, communes, hamlets int) (list []store.Zone) {
	code := func(n int) zone.Zone { return zone.Zone('A'+rune(n/26%26)) + zone.Zone('A'+rune(n%26)) }
	for p := range provinces {
		pc := code(p)
		list = append(list, store.Zone{Code: pc, Name: "Tỉnh"})
		for c := range communes {
			cc := pc + "/" + code(c)
			list = append(list, store.Zone{Code: cc, Name: "Xã"})
			for h := range hamlets {
				list = append(list, store.Zone{Code: cc + "/" + code(h), Name: "Thôn"})
			}
		}
	}
	return list
}

func TestVisibleAndGrow(t *testing.T) {
	for _, c := range []struct {
		name          string
		list          []store.Zone
		within        zone.Zone
		total, shown  int
		roots, folded int
	}{
		{"demo", country(1, 2, 3), "", 9, 9, 1, 0},
		{"a province", country(1, 20, 10), "", 221, 221, 1, 20},
		{"one of two provinces", country(2, 20, 10), "AB", 221, 221, 1, 20},
		{"one commune with many hamlets", country(1, 2, 60), "AA/AB", 61, 61, 1, 0},
		{"a commune whose code begins like another", append(country(1, 1, 1), store.Zone{Code: "AA/AAA", Name: "Xã"}), "AA/AA", 2, 2, 1, 0},
		{"the whole country", country(30, 100, 30), "", 93030, 3030, 30, 0},
		{"nothing", nil, "31", 0, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			shown, total := visible(c.list, c.within)
			roots := grow(shown, len(shown) > foldFrom)
			folded := 0
			var count func([]*zoneBox) int
			count = func(boxes []*zoneBox) (n int) {
				for _, b := range boxes {
					if b.Folded {
						folded++
					}
					n += 1 + count(b.Children)
				}
				return n
			}
			if n := count(roots); n != len(shown) {
				t.Errorf("%d boxes of %d zones", n, len(shown))
			}
			if total != c.total || len(shown) != c.shown || len(roots) != c.roots || folded != c.folded {
				t.Errorf("total %d, shown %d, roots %d, folded %d; want %d, %d, %d, %d", total, len(shown), len(roots), folded, c.total, c.shown, c.roots, c.folded)
			}
		})
	}
}

// TestDistHoldsWhatPagesLoad catches an entry point that was renamed in one place only.
func TestDistHoldsWhatPagesLoad(t *testing.T) {
	a := newAssets()
	names := regexp.MustCompile(`\{\{asset "([^"]+)"\}\}`)
	loaded := map[string]bool{}
	err := fs.WalkDir(templates, "templates", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := templates.ReadFile(path)
		for _, m := range names.FindAllStringSubmatch(string(b), -1) {
			loaded[m[1]] = true
			if _, ok := a.files[m[1]]; !ok {
				t.Errorf("%s loads %s, which is not in dist", path, m[1])
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range a.files {
		if !loaded[name] {
			t.Errorf("no page loads dist/%s", name)
		}
	}
}
