package metrictest

import "testing"

func TestParse(t *testing.T) {
	f := func(text string, ok bool) {
		t.Helper()
		if _, err := Parse([]byte(text), "rt_seconds"); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	const c = "# HELP c_total x\n# TYPE c_total counter\n"
	const g = "# HELP g x\n# TYPE g gauge\n"
	const h = "# HELP h x\n# TYPE h histogram\n"
	// well-formed
	f("", true)
	f(c+"c_total 1\n", true)
	f(c+`c_total{a="\\\"\n",b=""} 1`+"\n", true)
	f(c+`c_total{a="x", b="y",} 1e+06`+"\n", true)
	f(g+"g NaN\n", true)
	f(h+`h_bucket{le="1"} 1`+"\n"+`h_bucket{le="+Inf"} 2`+"\nh_sum 1\nh_count 2\n", true)
	f("# HELP s x\n# TYPE s summary\n"+`s{quantile="0"} 0`+"\ns_sum 0\ns_count 0\n", true)
	f("# HELP rt_seconds\n# TYPE rt_seconds histogram\n"+`rt_seconds_bucket{le="+Inf"} 2`+"\n", true)
	// lines
	f(c+"c_total 1", false)
	f(c+"\n", false)
	f(c+"# note\n", false)
	f(c+"c_total\n", false)
	f(c+"c_total{\n", false)
	f(c+"c_total  1\n", false)
	f(c+"c_total x\n", false)
	f(c+"c_total{a=\"x\"}1\n", false)
	f("\xff\n", false)
	// names and labels
	f(c+"c-total 1\n", false)
	f(c+"{a=\"b\"} 1\n", false)
	f(c+"c_total{} 1\n", false)
	f(c+`c_total{9="x"} 1`+"\n", false)
	f(c+`c_total{a="x",a="y"} 1`+"\n", false)
	f(c+`c_total{a="\x"} 1`+"\n", false)
	f(c+`c_total{a="x} 1`+"\n", false)
	f(c+`c_total{a="x"b="y"} 1`+"\n", false)
	// families
	f("c_total 1\n", false)
	f("# TYPE c_total counter\nc_total 1\n", false)
	f("# HELP c_total x\n# TYPE c_total count\n", false)
	f("# HELP c_total \\x\n", false)
	f(c+"c_total 1\n"+g+"g 1\n"+c+"c_total{a=\"x\"} 1\n", false)
	f(c+"c_total 1\nc_total 2\n", false)
	f(c+"c_total -1\n", false)
	f(c+"c_total_sum 1\n", false)
	f("# HELP s x\n# TYPE s summary\ns_max 1\n", false)
	// histograms
	f(h+`h_bucket{le="1"} 1`+"\nh_sum 1\nh_count 1\n", false)
	f(h+`h_bucket{le="+Inf"} 2`+"\nh_sum 1\nh_count 1\n", false)
	f(h+`h_bucket{le="+Inf"} 2`+"\nh_count 2\n", false)
	f(h+`h_bucket{le="2"} 1`+"\n"+`h_bucket{le="1"} 2`+"\n", false)
	f(h+`h_bucket{le="1"} 2`+"\n"+`h_bucket{le="2"} 1`+"\n", false)
	f(h+"h_bucket 1\n", false)
	f(h+"h 1\n", false)
}
