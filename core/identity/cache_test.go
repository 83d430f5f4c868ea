package identity

import (
	"crypto"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func cache(t testing.TB, o CacheOptions) *Cache {
	t.Helper()
	c, err := NewCache(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// hit verifies and says whether the cache knew.
func hit(t testing.TB, c *Cache, p *Provider, token string, at time.Time, reason Reason) bool {
	t.Helper()
	before := c.Stats().Misses
	id, got := c.Verify(p, []byte(token), at)
	if got != reason || (id != nil) != (reason == OK) {
		t.Fatalf("reason %s, want %s; identity %v", got, reason, id)
	}
	return c.Stats().Misses == before
}

// consistent counts what the slots hold and compares it with the books.
func consistent(t testing.TB, c *Cache) {
	t.Helper()
	for i := range c.shards {
		s := &c.shards[i]
		var entries, bytes int64
		for j := range s.sets {
			for k := range ways {
				e := s.sets[j].slots[k].Load()
				if e == nil {
					continue
				}
				entries++
				bytes += e.bytes
				if s.sets[j].tags[k].Load() != e.hash || c.shard(e.hash) != s {
					t.Fatal("an entry stands where it is not looked for")
				}
			}
		}
		if entries != s.entries || bytes != s.bytes || bytes > s.limit {
			t.Fatalf("shard %d holds %d entries of %d bytes, its books say %d of %d, limit %d", i, entries, bytes, s.entries, s.bytes, s.limit)
		}
	}
}

func TestCacheTimes(t *testing.T) {
	after := func(seconds int64) time.Time { return now.Add(time.Duration(seconds) * time.Second) }
	token := mint(hsHeader, with("exp", fmt.Sprint(unix+90)), hs256())
	p, c := provider(t), cache(t, CacheOptions{})
	f := func(at int64, known bool, reason Reason) {
		t.Helper()
		if hit(t, c, p, token, after(at), reason) != known {
			t.Fatalf("second %d: known %v", at, !known)
		}
	}
	f(0, false, OK)
	f(0, true, OK)
	f(59, true, OK)
	f(60, false, OK) // the ttl is over
	f(89, true, OK)
	f(90, false, OK) // past exp no entry is believed: the leeway is given by verifying
	f(91, false, OK)
	f(120, false, Expired)
	f(30, false, OK) // the clock was set back: verified anew, and then known
	f(31, true, OK)
	f(-9, false, OK)
	f(-100, false, NotYetValid)
	consistent(t, c)
}

func TestCacheChecksTimeOnHits(t *testing.T) {
	c := cache(t, CacheOptions{TTL: time.Hour})
	p := provider(t, func(o *ProviderOptions) { o.MaxAge = 20 * time.Second })
	token := mint(hsHeader, claims(), hs256())
	hit(t, c, p, token, now, OK)
	if !hit(t, c, p, token, now.Add(40*time.Second), OK) || !hit(t, c, p, token, now.Add(41*time.Second), TooOld) {
		t.Fatal("not from the cache")
	}
	// A token that begins just now is held; a clock a moment behind does not make it valid earlier.
	soon := mint(hsHeader, with("nbf", fmt.Sprint(unix+30)), hs256())
	hit(t, c, p, soon, now, OK)
	if !hit(t, c, p, soon, now.Add(-600*time.Millisecond), NotYetValid) {
		t.Fatal("not from the cache")
	}
}

func TestCacheComparesTheWholeToken(t *testing.T) {
	p, c := provider(t), cache(t, CacheOptions{Entries: 8})
	token := mint(hsHeader, claims(), hs256())
	hit(t, c, p, token, now, OK)
	// An entry found by a hash that two tokens share: forced, for the hash is keyed.
	other := token[:len(token)-1] + "A"
	if other == token {
		other = token[:len(token)-1] + "E"
	}
	ks := p.keys.Load()
	var e *cacheEntry
	for i := range ways {
		if at := c.sets[0].slots[i].Load(); at != nil {
			e = at
		}
	}
	if c.find(ks, e.hash, []byte(token)) != e || c.find(ks, e.hash, []byte(other)) != nil || c.find(ks, e.hash, []byte(token[:20])) != nil {
		t.Fatal("found by hash alone")
	}
	if id, reason := c.Verify(p, []byte(other), now); id != nil {
		t.Fatalf("accepted: %s", reason)
	}
}

func TestCacheHoldsNoRefusals(t *testing.T) {
	p, c := provider(t), cache(t, CacheOptions{})
	for _, bad := range []string{"", "a.b.c", mint(hsHeader, with("exp", "1"), hs256()), mint(hsHeader, claims(), signHMAC(crypto.SHA256.New, []byte("x")))} {
		for range 2 {
			if _, reason := c.Verify(p, []byte(bad), now); reason == OK {
				t.Fatal("accepted")
			}
		}
	}
	if st := c.Stats(); st.Entries != 0 || st.Stored != 0 || st.Misses != 6 {
		t.Fatalf("%+v", st)
	}
}

func TestCacheSeparatesProviders(t *testing.T) {
	c := cache(t, CacheOptions{})
	token := mint(hsHeader, claims(), hs256())
	hit(t, c, provider(t), token, now, OK)
	if !hit(t, c, provider(t), token, now, OK) {
		t.Fatal("the same options after a reload are another generation")
	}
	stricter := provider(t, func(o *ProviderOptions) { o.Issuer = "https://other.example" })
	if hit(t, c, stricter, token, now, BadIssuer) {
		t.Fatal("known under other rules")
	}
	shorter := provider(t, func(o *ProviderOptions) { o.MaxTokenBytes = len(token) - 1 })
	hit(t, c, shorter, token, now, TooLarge)
	named := provider(t, func(o *ProviderOptions) { o.Name = "other" })
	if id, _ := c.Verify(named, []byte(token), now); id.Provider != "other" {
		t.Fatal("another provider's identity")
	}
}

func TestCacheDropsKeysThatWent(t *testing.T) {
	a, b := jwkOf(p256().Public(), `"kid":"a"`), jwkOf(edKey().Public(), `"kid":"b"`)
	p, c := provider(t, withJWKS(jwksOf(a))), cache(t, CacheOptions{})
	token := mint(`{"alg":"ES256","kid":"a"}`, claims(), signECDSA(p256(), crypto.SHA256))
	hit(t, c, p, token, now, OK)
	if err := p.SetJWKS(jwksOf(a, b)); err != nil {
		t.Fatal(err)
	}
	if hit(t, c, p, token, now, OK) {
		t.Fatal("known under other keys")
	}
	if err := p.SetJWKS(jwksOf(b)); err != nil {
		t.Fatal(err)
	}
	hit(t, c, p, token, now, UnknownKey)
}

func TestCachePurge(t *testing.T) {
	p, c := provider(t), cache(t, CacheOptions{})
	token := mint(hsHeader, claims(), hs256())
	hit(t, c, p, token, now, OK)
	c.Purge()
	if st := c.Stats(); st.Entries != 0 || st.Bytes != 0 {
		t.Fatalf("%+v", st)
	}
	if hit(t, c, p, token, now, OK) {
		t.Fatal("known after the purge")
	}
	var none *Cache
	none.Purge()
	if id, reason := none.Verify(p, []byte(token), now); id == nil || reason != OK || none.Stats() != (CacheStats{}) {
		t.Fatal("a nil cache does not verify")
	}
}

func TestCacheBounds(t *testing.T) {
	p := provider(t)
	f := func(o CacheOptions, mostEntries, mostBytes int64) {
		t.Helper()
		c := cache(t, o)
		for i := range 2000 {
			hit(t, c, p, mint(hsHeader, claims(fmt.Sprintf(`"n":%d`, i)), hs256()), now, OK)
		}
		st := c.Stats()
		if st.Entries > mostEntries || st.Bytes > mostBytes || st.Entries < mostEntries/2 && st.Bytes < mostBytes/2 {
			t.Errorf("%+v: %+v", o, st)
		}
		consistent(t, c)
		// What is dead leaves as others come, without anybody asking for it.
		for i := range 2000 {
			hit(t, c, p, mint(hsHeader, claims(fmt.Sprintf(`"n":%d`, i)), hs256()), now.Add(2*time.Minute), OK)
		}
		consistent(t, c)
	}
	f(CacheOptions{Entries: 8}, 8, 1<<20)
	f(CacheOptions{Entries: 255}, 128, 1<<20)
	f(CacheOptions{Entries: 1024}, 1024, 4<<20)
	f(CacheOptions{Bytes: 256 << 10}, 16<<10, 256<<10)
	// A token larger than a shard may hold is verified and not held.
	tiny := cache(t, CacheOptions{Bytes: 1})
	hit(t, tiny, p, mint(hsHeader, claims(), hs256()), now, OK)
	if st := tiny.Stats(); st.Entries != 0 {
		t.Errorf("%+v", st)
	}
	for _, bad := range []CacheOptions{{Entries: 7}, {Entries: -1}, {Entries: 1 << 25}, {Bytes: -1}, {TTL: -1}} {
		if _, err := NewCache(bad); err == nil {
			t.Errorf("took %+v", bad)
		}
	}
}

// The second chance: what is asked for stays while a stream of tokens seen once goes by.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	p, c := provider(t), cache(t, CacheOptions{Entries: 64})
	hot := mint(hsHeader, claims(`"hot":true`), hs256())
	hit(t, c, p, hot, now, OK)
	misses := 0
	for i := range 2000 {
		if !hit(t, c, p, hot, now, OK) {
			misses++
		}
		hit(t, c, p, mint(hsHeader, claims(fmt.Sprintf(`"n":%d`, i)), hs256()), now, OK)
	}
	if misses > 0 {
		t.Fatalf("the hot token was lost %d times", misses)
	}
}

// A set in which everything is used takes the newcomer all the same, and only one entry goes.
func TestCacheReplacesInAUsedSet(t *testing.T) {
	p, c := provider(t), cache(t, CacheOptions{Entries: 8})
	for i := range 20 {
		token := mint(hsHeader, claims(fmt.Sprintf(`"n":%d`, i)), hs256())
		hit(t, c, p, token, now, OK)
		if !hit(t, c, p, token, now, OK) {
			t.Fatalf("token %d was not stored", i)
		}
	}
	if st := c.Stats(); st.Entries != 8 || st.Dropped != 12 {
		t.Fatalf("%+v", st)
	}
	consistent(t, c)
}

// Many hands at once: tokens that verify, forgeries, a clock that wanders, keys that change, purges. Nobody may ever get
// an identity that is not of the token shown, nor one that has expired.
func TestCacheHammer(t *testing.T) {
	a, b := jwkOf(edKey().Public(), `"kid":"a"`), jwkOf(p256().Public(), `"kid":"b"`)
	p := provider(t, withJWKS(jwksOf(a, b)))
	c := cache(t, CacheOptions{Entries: 64, Bytes: 128 << 10})
	var tokens []string
	for i := range 200 {
		payload := with("sub", fmt.Sprintf(`"user-%d"`, i))
		tokens = append(tokens, mint(`{"alg":"EdDSA","kid":"a"}`, payload, signEd(edKey())))
	}
	var hits atomic.Int64
	stop := make(chan struct{})
	var writers, readers sync.WaitGroup
	writers.Go(func() {
		sets := [][]byte{jwksOf(a), jwksOf(a, b)}
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := p.SetJWKS(sets[i%2]); err != nil {
				t.Error(err)
			}
			if i%16 == 0 {
				c.Purge()
			}
			c.Stats()
		}
	})
	for g := range 8 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			buf := make([]byte, 0, 1024)
			for range 1500 {
				i := r.IntN(len(tokens))
				buf = append(buf[:0], tokens[i]...)
				at, expired := now.Add(time.Duration(r.IntN(60))*time.Second), r.IntN(20) == 0
				if expired {
					at = now.Add(331 * time.Second)
				}
				forged := r.IntN(4) == 0
				if forged {
					buf[len(buf)-20] ^= 1
				}
				id, reason := c.Verify(p, buf, at)
				switch {
				case forged || expired:
					if id != nil {
						t.Errorf("accepted: forged %v, expired %v", forged, expired)
						return
					}
				case reason != OK || id.Subject != fmt.Sprintf("user-%d", i):
					t.Errorf("token %d: %s, %+v", i, reason, id)
					return
				default:
					hits.Add(1)
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	writers.Wait()
	consistent(t, c)
	if hits.Load() == 0 {
		t.Fatal("nothing was verified")
	}
}

// A token cut, joined and changed in every place is another token to the cache, too.
func TestCacheNeverTakesAVariant(t *testing.T) {
	p, c := provider(t), cache(t, CacheOptions{})
	token := []byte(mint(hsHeader, claims(), hs256()))
	hit(t, c, p, string(token), now, OK)
	for i := range token {
		for _, bit := range []byte{1, 4, 32, 128} {
			bad := slices.Clone(token)
			bad[i] ^= bit
			if id, _ := c.Verify(p, bad, now); id != nil {
				t.Fatalf("byte %d, bit %d: accepted", i, bit)
			}
		}
		if id, _ := c.Verify(p, token[:i], now); id != nil {
			t.Fatalf("cut at %d: accepted", i)
		}
	}
}
