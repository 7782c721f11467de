package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

func TestZonesInTreeOrder(t *testing.T) {
	s := open(t)
	added, renamed, err := s.UpsertZones(t.Context(), []store.Zone{ // children before parents, a dash that sorts before "/"
		{Code: "31/11296/02", Name: "Thôn Đông"}, {Code: "31/11296/01", Name: "Thôn Tây"}, {Code: "31-a", Name: "Thử"},
		{Code: "31/11296", Name: "  Xã Vĩnh Bảo "}, {Code: "31", Name: "Hải Phòng"}, {Code: "31", Name: "Hải Phòng"},
	}, day)
	if added != 5 || renamed != 0 || err != nil {
		t.Fatalf("UpsertZones = %d, %d, %v, want 5, 0", added, renamed, err)
	}
	added, renamed, err = s.UpsertZones(t.Context(), []store.Zone{
		{Code: "31/11296", Name: "Xã Vĩnh Bảo mới"}, {Code: "31", Name: "Hải Phòng"}, {Code: "31/11296/03", Name: "Thôn Nam"},
	}, day)
	if added != 1 || renamed != 1 || err != nil {
		t.Fatalf("UpsertZones = %d, %d, %v, want 1, 1", added, renamed, err)
	}
	got, err := s.Zones(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []store.Zone{
		{Code: "31", Name: "Hải Phòng"},
		{Code: "31/11296", Name: "Xã Vĩnh Bảo mới", Parent: "31"},
		{Code: "31/11296/01", Name: "Thôn Tây", Parent: "31/11296"},
		{Code: "31/11296/02", Name: "Thôn Đông", Parent: "31/11296"},
		{Code: "31/11296/03", Name: "Thôn Nam", Parent: "31/11296"},
		{Code: "31-a", Name: "Thử"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, code := range []zone.Zone{"", "31/11296"} {
		if z, err := s.Zone(t.Context(), code); err != nil || z.Code != code || z.Name == "" {
			t.Errorf("Zone(%q) = %v, %v", code, z, err)
		}
	}
	if _, err := s.Zone(t.Context(), "99"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Zone(99): %v, want ErrNotFound", err)
	}
}

func TestZoneImportIsAllOrNothing(t *testing.T) {
	s := open(t)
	good := store.Zone{Code: "31", Name: "Hải Phòng"}
	for _, c := range []struct {
		name string
		zone store.Zone
		want error
		says string
	}{
		{"no parent", store.Zone{Code: "32/11", Name: "Xã"}, store.ErrUnknownZone, `"32"`},
		{"no code", store.Zone{Name: "Xã"}, store.ErrInvalid, "without a code"},
		{"bad code", store.Zone{Code: "31/../x", Name: "Xã"}, store.ErrInvalid, "31/../x"},
		{"no name", store.Zone{Code: "31/1", Name: " \t "}, store.ErrInvalid, "empty name"},
		{"long name", store.Zone{Code: "31/1", Name: strings.Repeat("ạ", 121)}, store.ErrInvalid, "121 characters"},
		{"escape in name", store.Zone{Code: "31/1", Name: "a\x1b[31mb"}, store.ErrInvalid, "control"},
		{"bidi in name", store.Zone{Code: "31/1", Name: "a\u202eb"}, store.ErrInvalid, "control"},
		{"not UTF-8", store.Zone{Code: "31/1", Name: "a\xff"}, store.ErrInvalid, "UTF-8"},
		{"twice", store.Zone{Code: "31", Name: "Hà Nội"}, store.ErrConflict, "Hà Nội"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := s.UpsertZones(t.Context(), []store.Zone{good, c.zone}, day)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("UpsertZones: %v, want %v that says %q", err, c.want, c.says)
			}
			if list, err := s.Zones(t.Context()); len(list) != 0 || err != nil {
				t.Errorf("Zones = %v, %v, want none", list, err)
			}
		})
	}
	_, _, err := s.UpsertZones(t.Context(), []store.Zone{{Code: "1/2/3", Name: "a"}, {Code: "4/5", Name: "b"}}, day)
	if err == nil || !strings.Contains(err.Error(), `"1/2/3"`) || !strings.Contains(err.Error(), `"4/5"`) {
		t.Errorf("UpsertZones: %v, want every fault named", err)
	}
}

func TestSearchZones(t *testing.T) {
	s := open(t)
	if _, _, err := s.UpsertZones(t.Context(), []store.Zone{
		{Code: "31", Name: "Hải Phòng"}, {Code: "31/1", Name: "Xã Đông Sơn"}, {Code: "31/2", Name: "Phường Đồ Sơn"},
		{Code: "31/3", Name: "Khu 100%_a"},
	}, day); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]zone.Zone{
		"do son": {"31/2"}, "ĐỒ SƠN": {"31/2"}, "son": {"31/1", "31/2"}, "%": {"31/3"}, "_": {"31/3"}, "0%_": {"31/3"},
		"' OR 1=1 --": nil, "dong": {"31/1"}, "Đo\u0302ng": {"31/1"},
	} {
		list, err := s.SearchZones(t.Context(), text, 10)
		if err != nil {
			t.Fatal(err)
		}
		var got []zone.Zone
		for _, z := range list {
			got = append(got, z.Code)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("SearchZones(%q): %s", text, d)
		}
	}
	if list, err := s.SearchZones(t.Context(), "", 2); len(list) != 2 || err != nil {
		t.Errorf("SearchZones with limit 2 = %v, %v", list, err)
	}
}
