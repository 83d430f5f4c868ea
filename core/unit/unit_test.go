package unit

import (
	"math"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	f := func(in string, want time.Duration, wantErr string) {
		t.Helper()
		got, err := ParseDuration(in)
		if got != want || text(err) != wantErr {
			t.Fatalf("ParseDuration(%q) = %v, %q; want %v, %q", in, got, text(err), want, wantErr)
		}
	}
	const wants = "wants a duration such as 500ms, 5s, 1m30s, 1h or 30d"

	// every unit, and zero without one
	f("0", 0, "")
	f("0s", 0, "")
	f("7ns", 7, "")
	f("3us", 3*time.Microsecond, "")
	f("500ms", 500*time.Millisecond, "")
	f("5s", 5*time.Second, "")
	f("1m30s", 90*time.Second, "")
	f("1h", time.Hour, "")
	f("30d", 720*time.Hour, "")
	f("1d2h3m4s5ms6us7ns", 26*time.Hour+3*time.Minute+4*time.Second+5006007, "")
	// fractions are exact or an error
	f("1.5s", 1500*time.Millisecond, "")
	f("0.10s", 100*time.Millisecond, "")
	f("2.000s", 2*time.Second, "")
	f("0.5ns", 0, `duration "0.5ns" is finer than its smallest unit`)
	f("0.1234567890123456789s", 0, `duration "0.1234567890123456789s" is finer than its smallest unit`)
	// the largest, and one more
	f("9223372036854775807ns", math.MaxInt64, "")
	f("9223372036854775808ns", 0, `duration "9223372036854775808ns" is too large`)
	f("106752d", 0, `duration "106752d" is too large`)
	f("9223372036s999ms", 0, `duration "9223372036s999ms" is too large`)
	// not a duration
	f("", 0, wants+`, not ""`)
	f("5", 0, `"5" has no unit: `+wants)
	f("1m30", 0, `"1m30" has no unit: `+wants)
	f("-5s", 0, wants+`, not "-5s"`)
	f("1.s", 0, wants+`, not "1.s"`)
	f(".5s", 0, wants+`, not ".5s"`)
	f("5 s", 0, `unknown unit " s" in "5 s": `+wants)
	f("5y", 0, `unknown unit "y" in "5y": `+wants)
	f("30s1m", 0, `unit "m" in "30s1m" is repeated or out of order: `+wants)
	f("1s1s", 0, `unit "s" in "1s1s" is repeated or out of order: `+wants)
}

func TestFormatDuration(t *testing.T) {
	f := func(in time.Duration, want string) {
		t.Helper()
		if got := FormatDuration(in); got != want {
			t.Fatalf("FormatDuration(%d) = %q, want %q", in, got, want)
		}
	}
	f(0, "0s")
	f(500*time.Millisecond, "500ms")
	f(90*time.Second, "1m30s")
	f(720*time.Hour, "30d")
	f(-time.Minute, "-1m")
	f(math.MinInt64, "-106751d23h47m16s854ms775us808ns")
}

func TestParseSize(t *testing.T) {
	f := func(in string, want int64, wantErr string) {
		t.Helper()
		got, err := ParseSize(in)
		if got != want || text(err) != wantErr {
			t.Fatalf("ParseSize(%q) = %v, %q; want %v, %q", in, got, text(err), want, wantErr)
		}
	}
	const wants = "wants a size such as 512B, 64KiB, 10MiB or 1GiB"

	f("0", 0, "")
	f("0B", 0, "")
	f("512B", 512, "")
	f("64KiB", 64<<10, "")
	f("1.25KiB", 1280, "")
	f("10MiB", 10<<20, "")
	f("1GiB", 1<<30, "")
	f("2TiB", 2<<40, "")
	// between two bytes, and past the largest
	f("0.1KiB", 0, `size "0.1KiB" is finer than its smallest unit`)
	f("8388608TiB", 0, `size "8388608TiB" is too large`)
	f("99999999999999999999B", 0, `size "99999999999999999999B" is too large`)
	f("8388607.9999999999TiB", 0, `size "8388607.9999999999TiB" is finer than its smallest unit`)
	// not a size
	f("", 0, wants+`, not ""`)
	f("KiB", 0, wants+`, not "KiB"`)
	f("64", 0, `"64" has no unit: `+wants)
	f("64KB", 0, `unknown unit "KB" in "64KB": `+wants)
	f("64kib", 0, `unknown unit "kib" in "64kib": `+wants)
	f("1MiB2KiB", 0, wants+`, not "1MiB2KiB"`)
}

func TestFormatSize(t *testing.T) {
	f := func(in int64, want string) {
		t.Helper()
		if got := FormatSize(in); got != want {
			t.Fatalf("FormatSize(%d) = %q, want %q", in, got, want)
		}
	}
	f(0, "0B")
	f(1000, "1000B")
	f(64<<10, "64KiB")
	f(1<<30, "1GiB")
}

func TestParseRate(t *testing.T) {
	f := func(in string, want Rate, wantErr string) {
		t.Helper()
		got, err := ParseRate(in)
		if got != want || text(err) != wantErr {
			t.Fatalf("ParseRate(%q) = %v, %q; want %v, %q", in, got, text(err), want, wantErr)
		}
	}
	const wants = "wants a rate such as 10/s, 100/m, 1000/h or 10000/d"

	f("0", Rate{}, "")
	f("100/s", Rate{100, time.Second}, "")
	f("100/m", Rate{100, time.Minute}, "")
	f("1000/h", Rate{1000, time.Hour}, "")
	f("10000/d", Rate{10000, Day}, "")
	// not a rate
	f("", Rate{}, wants+`, not ""`)
	f("/s", Rate{}, wants+`, not "/s"`)
	f("1.5/s", Rate{}, wants+`, not "1.5/s"`)
	f("-1/s", Rate{}, wants+`, not "-1/s"`)
	f("100", Rate{}, `"100" has no period: `+wants)
	f("100/", Rate{}, `unknown period "" in "100/": `+wants)
	f("100/5s", Rate{}, `unknown period "5s" in "100/5s": `+wants)
	f("9223372036854775808/s", Rate{}, `rate "9223372036854775808/s" is too large`)
}

func TestRate(t *testing.T) {
	f := func(in string, daily bool) {
		t.Helper()
		r, err := ParseRate(in)
		if err != nil {
			t.Fatal(err)
		}
		if r.Daily() != daily {
			t.Fatalf("%s is daily: %v", in, r.Daily())
		}
		printed, err := r.MarshalText()
		if err != nil || string(printed) != in {
			t.Fatalf("%s prints as %q, %v", in, printed, err)
		}
	}
	f("0", false)
	f("100/s", false)
	f("1000/h", false)
	f("10000/d", true)
}

func TestParseFraction(t *testing.T) {
	f := func(in string, want float64, wantErr string) {
		t.Helper()
		got, err := ParseFraction(in)
		if got.Float() != want || text(err) != wantErr {
			t.Fatalf("ParseFraction(%q) = %v, %q; want %v, %q", in, got.Float(), text(err), want, wantErr)
		}
	}
	const wants = "wants a fraction such as 20% or 0.5%, at most 100%"

	f("0", 0, "")
	f("0%", 0, "")
	f("20%", 0.2, "")
	f("0.5%", 0.005, "")
	f("100%", 1, "")
	// not a fraction
	f("0.00001%", 0, `fraction "0.00001%" is finer than its smallest unit`)
	f("101%", 0, `fraction "101%" is too large: `+wants)
	f("20", 0, `"20" has no %: `+wants)
	f("0.2", 0, `"0.2" has no %: `+wants)
	f("%", 0, wants+`, not "%"`)
	f("20%%", 0, wants+`, not "20%%"`)
	f("", 0, wants+`, not ""`)
}

func TestFractionString(t *testing.T) {
	f := func(in string) {
		t.Helper()
		got, err := ParseFraction(in)
		if err != nil {
			t.Fatal(err)
		}
		printed, err := got.MarshalText()
		if err != nil || string(printed) != in {
			t.Fatalf("%s prints as %q, %v", in, printed, err)
		}
	}
	f("0%")
	f("20%")
	f("0.5%")
	f("33.3333%")
	f("100%")
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "0", "1m30s", "1.5s", "64KiB", "100/d", "0.5%", "99999999999999999999d", "1.0000000000000000001B"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if d, err := ParseDuration(in); err == nil {
			if again, err := ParseDuration(FormatDuration(d)); err != nil || again != d || d < 0 {
				t.Fatalf("%q: %v, then %v, %v", in, d, again, err)
			}
		}
		if n, err := ParseSize(in); err == nil {
			if again, err := ParseSize(FormatSize(n)); err != nil || again != n || n < 0 {
				t.Fatalf("%q: %v, then %v, %v", in, n, again, err)
			}
		}
		if r, err := ParseRate(in); err == nil {
			if again, err := ParseRate(r.String()); err != nil || again != r || r.N < 0 {
				t.Fatalf("%q: %v, then %v, %v", in, r, again, err)
			}
		}
		if x, err := ParseFraction(in); err == nil {
			if again, err := ParseFraction(x.String()); err != nil || again != x || x < 0 {
				t.Fatalf("%q: %v, then %v, %v", in, x, again, err)
			}
		}
	})
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
