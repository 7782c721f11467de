package store_test

import (
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dongthanh/streamer/internal/store"
)

func addToken(t testing.TB, s *store.Store, n int, change func(*store.Token)) store.Token {
	t.Helper()
	k := store.Token{
		ID: store.NewID(), Secret: hash(n), Kind: store.TokenClient, Name: "Loa cổng đình", Zone: "31/11296/02",
		CreatedBy: "cli", Created: day, Expires: day.Add(24 * time.Hour),
	}
	if change != nil {
		change(&k)
	}
	if err := s.AddToken(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	return k
}

func api(k *store.Token) { k.Kind, k.Role, k.Expires = store.TokenAPI, "officer", time.Time{} }

func TestTokenIsConsumedByExactlyOne(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	addDemoZones(t, s)
	second := openDir(t, dir) // another program on the same database
	for round := range 10 {
		addToken(t, s, round, nil)
		var won, used atomic.Int32
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range 8 {
			wg.Go(func() {
				<-start
				_, err := []*store.Store{s, second}[i%2].ConsumeToken(t.Context(), hash(round), store.NewID(), day)
				switch {
				case err == nil:
					won.Add(1)
				case errors.Is(err, store.ErrUsed):
					used.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		if won.Load() != 1 || used.Load() != 7 {
			t.Fatalf("round %d: %d consumed the token and %d found it used, want 1 and 7", round, won.Load(), used.Load())
		}
		if k, err := s.Token(t.Context(), hash(round)); err != nil || k.Attempts != 8 || k.UsedBy == "" {
			t.Errorf("token = %+v, %v, want 8 attempts", k, err)
		}
	}
}

func TestTokenRefusals(t *testing.T) {
	s := withZones(t)
	addToken(t, s, 1, nil)
	addToken(t, s, 2, func(k *store.Token) { k.Expires = day })
	revoked := addToken(t, s, 3, nil)
	if err := s.RevokeToken(t.Context(), revoked.ID, day); err != nil {
		t.Fatal(err)
	}
	if err := s.RevokeToken(t.Context(), revoked.ID, day.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if k, _ := s.Token(t.Context(), hash(3)); !k.Revoked.Equal(day) {
		t.Errorf("revoked at %v, want the first time", k.Revoked)
	}
	addToken(t, s, 4, api)
	addToken(t, s, 5, func(k *store.Token) { api(k); k.Expires = day })
	revokedAPI := addToken(t, s, 6, api)
	if err := s.RevokeToken(t.Context(), revokedAPI.ID, day); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name        string
		n           int
		enrol, asIs error
	}{
		{"good", 1, nil, store.ErrNotFound},
		{"used", 1, store.ErrUsed, store.ErrNotFound},
		{"expired", 2, store.ErrExpired, store.ErrNotFound},
		{"revoked", 3, store.ErrRevoked, store.ErrNotFound},
		{"unknown", 99, store.ErrNotFound, store.ErrNotFound},
		{"api", 4, store.ErrNotFound, nil},
		{"api expired", 5, store.ErrNotFound, store.ErrExpired},
		{"api revoked", 6, store.ErrNotFound, store.ErrRevoked},
	} {
		if _, err := s.ConsumeToken(t.Context(), hash(c.n), "node", day); !errors.Is(err, c.enrol) {
			t.Errorf("%s: ConsumeToken: %v, want %v", c.name, err, c.enrol)
		}
		if _, err := s.APIToken(t.Context(), hash(c.n), day); !errors.Is(err, c.asIs) {
			t.Errorf("%s: APIToken: %v, want %v", c.name, err, c.asIs)
		}
	}
	if list, err := s.Tokens(t.Context()); err != nil || len(list) != 6 || list[0].ID != revokedAPI.ID {
		t.Errorf("Tokens = %d, %v, want 6, newest first", len(list), err)
	}
	if err := s.RevokeToken(t.Context(), "nothing", day); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("RevokeToken: %v, want ErrNotFound", err)
	}
}

func TestAddTokenRefuses(t *testing.T) {
	s := withZones(t)
	for name, c := range map[string]struct {
		change func(*store.Token)
		want   error
	}{
		"zone":         {func(k *store.Token) { k.Zone = "99" }, store.ErrUnknownZone},
		"kind":         {func(k *store.Token) { k.Kind = "streamer" }, store.ErrInvalid},
		"no role":      {func(k *store.Token) { k.Kind = store.TokenAPI }, store.ErrInvalid},
		"role":         {func(k *store.Token) { k.Role = "admin" }, store.ErrInvalid},
		"never ends":   {func(k *store.Token) { k.Expires = time.Time{} }, store.ErrInvalid},
		"name":         {func(k *store.Token) { k.Name = "" }, store.ErrInvalid},
		"terminal":     {func(k *store.Token) { k.Name = "a\x1b]0;b" }, store.ErrInvalid},
		"known secret": {func(k *store.Token) { k.Secret = hash(1) }, store.ErrConflict},
	} {
		if name == "known secret" {
			addToken(t, s, 1, nil)
		}
		k := store.Token{ID: store.NewID(), Secret: hash(2), Kind: store.TokenRelay, Name: "x", Zone: "31", Created: day, Expires: day.Add(time.Hour)}
		c.change(&k)
		if err := s.AddToken(t.Context(), k); !errors.Is(err, c.want) {
			t.Errorf("%s: AddToken: %v, want %v", name, err, c.want)
		}
	}
}

func node(n byte) store.Node {
	return store.Node{
		ID: store.NewID(), Name: "Loa cổng đình", Kind: store.NodeClient, Zone: "31/11296/02", Certificate: []byte{0x30, n},
		Signing: [32]byte{1, n}, Sealing: [32]byte{2, n}, Serial: string('a' + rune(n)), NotAfter: day.AddDate(1, 0, 0), Enrolled: day,
	}
}

func TestEnrolNodeIsAllOrNothing(t *testing.T) {
	s := withZones(t)
	addToken(t, s, 1, nil)
	bad := errors.New("bad key")
	if _, err := s.EnrolNode(t.Context(), hash(1), day, func(store.Token) (store.Node, error) { return store.Node{}, bad }); !errors.Is(err, bad) {
		t.Errorf("EnrolNode: %v, want build's error", err)
	}
	lost := node(1)
	lost.Zone = "99"
	if _, err := s.EnrolNode(t.Context(), hash(1), day, func(store.Token) (store.Node, error) { return lost, nil }); !errors.Is(err, store.ErrUnknownZone) {
		t.Errorf("EnrolNode: %v, want ErrUnknownZone", err)
	}
	if k, _ := s.Token(t.Context(), hash(1)); k.Attempts != 2 || !k.Used.IsZero() {
		t.Errorf("token = %+v, want unused after two attempts", k)
	}
	want := node(1)
	got, err := s.EnrolNode(t.Context(), hash(1), day, func(k store.Token) (store.Node, error) {
		if k.Zone != want.Zone || k.Name != want.Name || k.Kind != store.TokenClient {
			t.Errorf("build got %+v", k)
		}
		return want, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if k, _ := s.Token(t.Context(), hash(1)); k.UsedBy != want.ID || !k.Used.Equal(day) {
		t.Errorf("token = %+v, want used by the node", k)
	}
	_, err = s.EnrolNode(t.Context(), hash(1), day, func(store.Token) (store.Node, error) { t.Error("built for a used token"); return node(2), nil })
	if !errors.Is(err, store.ErrUsed) {
		t.Errorf("EnrolNode again: %v, want ErrUsed", err)
	}
}

func TestNodes(t *testing.T) {
	s := withZones(t)
	n := node(1)
	for _, x := range []store.Node{n, node(2)} {
		if err := s.AddNode(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Node(t.Context(), n.ID)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(n, got); d != "" {
		t.Error(d)
	}
	for name, c := range map[string]struct {
		change func(*store.Node)
		want   error
	}{
		"serial": {func(x *store.Node) { x.Serial = n.Serial }, store.ErrConflict},
		"id":     {func(x *store.Node) { x.ID = n.ID }, store.ErrConflict},
		"kind":   {func(x *store.Node) { x.Kind = "toaster" }, store.ErrInvalid},
		"cert":   {func(x *store.Node) { x.Certificate = nil }, store.ErrInvalid},
		"zone":   {func(x *store.Node) { x.Zone = "31/9" }, store.ErrUnknownZone},
	} {
		x := node(9)
		c.change(&x)
		if err := s.AddNode(t.Context(), x); !errors.Is(err, c.want) {
			t.Errorf("%s: AddNode: %v, want %v", name, err, c.want)
		}
	}
	n.Certificate, n.Serial, n.Signing = []byte{0x30, 7}, "ff", [32]byte{7}
	if err := s.RenewNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := s.RevokeNode(t.Context(), n.ID, day.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	n.Revoked = day.Add(time.Hour)
	if err := s.RenewNode(t.Context(), n); !errors.Is(err, store.ErrRevoked) {
		t.Errorf("RenewNode of a revoked node: %v, want ErrRevoked", err)
	}
	list, err := s.Nodes(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("Nodes = %v, %v, want 2", list, err)
	}
	if d := cmp.Diff(n, list[0]); d != "" {
		t.Error(d)
	}
	for name, err := range map[string]error{
		"get": func() error { _, err := s.Node(t.Context(), "x"); return err }(), "revoke": s.RevokeNode(t.Context(), "x", day), "renew": s.RenewNode(t.Context(), node(5)),
	} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s of an unknown node: %v, want ErrNotFound", name, err)
		}
	}
}

func TestZoneKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	s := openDir(t, dir)
	addDemoZones(t, s)
	if _, err := s.ZoneKey(t.Context(), "31"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("ZoneKey: %v, want ErrNotFound", err)
	}
	if _, err := s.EnsureZoneKey(t.Context(), "99", day); !errors.Is(err, store.ErrUnknownZone) {
		t.Errorf("EnsureZoneKey: %v, want ErrUnknownZone", err)
	}
	second := openDir(t, dir)
	keys := make([]store.ZoneKey, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = []*store.Store{s, second}[i%2].EnsureZoneKey(t.Context(), "31", day); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k != keys[0] || k.Epoch != 1 || k.Secret == [32]byte{} {
			t.Fatalf("key = %v, want everybody to get the same, of epoch 1", k)
		}
	}
	root, err := s.EnsureZoneKey(t.Context(), "", day) // the whole country has one too
	if err != nil || root.Secret == keys[0].Secret {
		t.Errorf("key of the root = %v, %v, want one of its own", root, err)
	}

	next, err := s.PrepareZoneKey(t.Context(), "31", day)
	if err != nil || next.Epoch != 2 || !next.Activated.IsZero() {
		t.Fatalf("PrepareZoneKey = %v, %v, want epoch 2", next, err)
	}
	skip, err := s.PrepareZoneKey(t.Context(), "31", day) // epoch 2 was handed out to a node that is then revoked
	if err != nil || skip.Epoch != 3 {
		t.Fatalf("PrepareZoneKey = %v, %v, want epoch 3", skip, err)
	}
	if k, _ := s.ZoneKey(t.Context(), "31"); k.Epoch != 1 {
		t.Errorf("current epoch = %d, want 1 before activation", k.Epoch)
	}
	if err := s.ActivateZoneKey(t.Context(), "31", 3, day); err != nil {
		t.Fatal(err)
	}
	if k, _ := s.EnsureZoneKey(t.Context(), "31", day); k.Epoch != 3 || k.Secret != skip.Secret {
		t.Errorf("current key = %v, want epoch 3", k)
	}
	for epoch, want := range map[uint32]error{2: store.ErrConflict, 3: store.ErrConflict, 9: store.ErrNotFound} {
		if err := s.ActivateZoneKey(t.Context(), "31", epoch, day); !errors.Is(err, want) {
			t.Errorf("ActivateZoneKey(%d): %v, want %v", epoch, err, want)
		}
	}
	if list, err := s.ZoneKeys(t.Context(), "31"); err != nil || len(list) != 3 || list[0].Epoch != 3 {
		t.Errorf("ZoneKeys = %v, %v, want 3, newest first", list, err)
	}
}

// TestVolume: what is wished of a loudspeaker is kept, and of nothing else.
func TestVolume(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	addDemoZones(t, s)
	speaker, relay, revoked := node(1), node(2), node(3)
	speaker.Kind, relay.Kind, revoked.Kind = store.NodeClient, store.NodeRelay, store.NodeClient
	for _, x := range []store.Node{speaker, relay, revoked} {
		if err := s.AddNode(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.RevokeNode(t.Context(), revoked.ID, day); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id     string
		volume int32
		want   error
	}{
		{speaker.ID, -600, nil}, {speaker.ID, 0, nil}, {speaker.ID, -6000, nil},
		{speaker.ID, 1, store.ErrInvalid}, {speaker.ID, -6001, store.ErrInvalid},
		{relay.ID, -600, store.ErrNotFound}, {"nobody", -600, store.ErrNotFound}, {revoked.ID, -600, store.ErrRevoked},
	} {
		if err := s.SetVolume(t.Context(), c.id, c.volume); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("SetVolume(%s, %d) = %v, want %v", c.id, c.volume, err, c.want)
		}
	}
	again := openDir(t, dir)
	if n, err := again.Node(t.Context(), speaker.ID); err != nil || n.Volume != -6000 {
		t.Errorf("it is wished to play at %d, %v; want -6000", n.Volume, err)
	}
	if n, err := again.Node(t.Context(), relay.ID); err != nil || n.Volume != 0 {
		t.Errorf("a relay is wished to play at %d, %v", n.Volume, err)
	}
}

// TestNoteSeen: the last note counts, and one of a node that is not there harms no other.
func TestNoteSeen(t *testing.T) {
	s := withZones(t)
	var ids []string
	for i := range byte(3) {
		n := node(i + 1)
		if err := s.AddNode(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, n.ID)
	}
	seen := func() (at []time.Time) {
		list, err := s.Nodes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range list {
			at = append(at, n.Seen)
		}
		return at
	}
	if d := cmp.Diff(make([]time.Time, 3), seen()); d != "" {
		t.Errorf("before: %s", d)
	}
	for _, note := range []map[string]time.Time{
		{ids[0]: day, ids[1]: day.Add(time.Second), "nobody": day},
		{ids[0]: day.Add(time.Minute)},
	} {
		if err := s.NoteSeen(t.Context(), note); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]time.Time{day.Add(time.Minute), day.Add(time.Second), {}}, seen()); d != "" {
		t.Errorf("after: %s", d)
	}
}
