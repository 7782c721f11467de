package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dongthanh/streamer/internal/store"
)

func addUser(t testing.TB, s *store.Store, name string) store.User {
	t.Helper()
	u := store.User{ID: store.NewID(), Name: name, Password: "$argon2id$x", Role: "officer", Zone: "31/11296", Created: day}
	if err := s.AddUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUsers(t *testing.T) {
	s := withZones(t)
	lan := addUser(t, s, "Lan.Đỗ")
	addUser(t, s, "an")
	for _, name := range []string{"Lan.Đỗ", "LAN.ĐỖ", "lan.đỗ", "lan.đo\u0302\u0303", "ｌan.đỗ"} { // NFD, full width
		got, err := s.UserByName(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(lan, got); d != "" {
			t.Errorf("UserByName(%q): %s", name, d)
		}
	}
	if _, err := s.UserByName(t.Context(), "lan.do"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("UserByName without marks: %v, want ErrNotFound", err)
	}
	for name, c := range map[string]struct {
		change func(*store.User)
		want   error
	}{
		"same name": {func(u *store.User) { u.Name = "LAN.đỗ" }, store.ErrConflict},
		"same id":   {func(u *store.User) { u.ID = lan.ID }, store.ErrConflict},
		"zone":      {func(u *store.User) { u.Zone = "31/9" }, store.ErrUnknownZone},
		"role":      {func(u *store.User) { u.Role = "root" }, store.ErrInvalid},
	} {
		u := store.User{ID: store.NewID(), Name: "x", Password: "p", Role: "admin", Zone: "31", Created: day}
		c.change(&u)
		if err := s.AddUser(t.Context(), u); !errors.Is(err, c.want) {
			t.Errorf("%s: AddUser: %v, want %v", name, err, c.want)
		}
	}
	list, err := s.Users(t.Context())
	if err != nil || len(list) != 2 || list[0].Name != "an" {
		t.Errorf("Users = %v, %v, want an and Lan.Đỗ", list, err)
	}
	if err := s.SetPassword(t.Context(), "nobody", "x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("SetPassword of nobody: %v, want ErrNotFound", err)
	}
	if err := s.UpgradePassword(t.Context(), lan.ID, "stale", "y"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("UpgradePassword of a stale hash: %v, want ErrNotFound", err)
	}
	if err := s.UpgradePassword(t.Context(), lan.ID, lan.Password, "y"); err != nil {
		t.Error(err)
	}
	if u, _ := s.User(t.Context(), lan.ID); u.Password != "y" {
		t.Errorf("password hash = %q, want y", u.Password)
	}
}

func TestLoginsEndWithPasswordAndDisabling(t *testing.T) {
	s := withZones(t)
	u, other := addUser(t, s, "a"), addUser(t, s, "b")
	add := func(n int, user string, expires time.Time) {
		t.Helper()
		if err := s.AddLogin(t.Context(), store.Login{Token: hash(n), UserID: user, Created: day, Seen: day, Expires: expires}); err != nil {
			t.Fatal(err)
		}
	}
	has := func(n int) bool {
		t.Helper()
		_, err := s.Login(t.Context(), hash(n))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}
	for name, end := range map[string]func() error{
		"password": func() error { return s.SetPassword(t.Context(), u.ID, "new") },
		"disabled": func() error { return s.DisableUser(t.Context(), u.ID, day) },
		"all":      func() error { return s.DeleteLogins(t.Context(), u.ID) },
	} {
		add(1, u.ID, day.Add(time.Hour))
		add(2, u.ID, day.Add(time.Hour))
		add(3, other.ID, day.Add(time.Hour))
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if has(1) || has(2) || !has(3) {
			t.Errorf("%s: logins = %v %v %v, want only the other person's", name, has(1), has(2), has(3))
		}
		if err := s.TouchLogin(t.Context(), hash(1), day); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: TouchLogin of an ended login: %v, want ErrNotFound", name, err)
		}
		if err := s.DeleteLogin(t.Context(), hash(3)); err != nil || has(3) {
			t.Errorf("DeleteLogin: %v", err)
		}
	}
	if got, _ := s.User(t.Context(), u.ID); !got.Disabled.Equal(day) {
		t.Errorf("disabled at %v, want %v", got.Disabled, day)
	}
	if err := s.EnableUser(t.Context(), u.ID); err != nil {
		t.Error(err)
	}

	add(4, u.ID, day.Add(time.Hour))
	if err := s.TouchLogin(t.Context(), hash(4), day.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	want := store.Login{Token: hash(4), UserID: u.ID, Created: day, Seen: day.Add(time.Minute), Expires: day.Add(time.Hour)}
	if got, err := s.Login(t.Context(), hash(4)); err != nil || got != want {
		t.Errorf("Login = %v, %v, want %v", got, err, want)
	}
	add(5, u.ID, day) // expired when the next one is stored
	add(6, u.ID, day.Add(time.Hour))
	if has(5) || !has(4) {
		t.Errorf("logins 5, 4 = %v, %v, want the expired one forgotten", has(5), has(4))
	}
}
